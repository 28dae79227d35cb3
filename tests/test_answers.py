import json
import math

import numpy as np
import pytest

from train3d_jax import __version__
from train3d_jax.export import answers as export
from train3d_jax.inference.estimates import Estimate, LineFindings
from train3d_jax.placement.gravity import UNKNOWN, Gravity
from train3d_jax.placement.upright import Upright

SOLUTION = Estimate(
    focal=100.0,
    shift=0.25,
    a=2.0,
    b=-1.5,
    focal_interval=(90.0, 110.0),
    shift_interval=(0.2, 0.3),
    focal_by_map=(80.0, 95.0, 120.0),
    flags=("near_planar",),
)

FINDINGS = LineFindings(
    focal_nats=np.array(0.5),
    shift_nats=np.array(0.25),
    directions=np.eye(3),
    axis=np.zeros(4),
    gravity=np.array([0.0, 1.0, 0.0]),  # by lines alone
    gravity_sigma=np.array(1.5),
)

GRAVITY = Gravity(np.array([0.6, 0.8, 0.0]), 1.5, np.array([36.0, 38.0]), np.array([-1.0, 1.0]))
POSE = np.arange(16.0).reshape(4, 4)


def answer(**changes):
    given = {
        "input_name": "folder/map.npy",
        "space": "disparity",
        "size": (200, 300),
        "solution": SOLUTION,
        "metric": False,
        "model": "both@40",
        "method": "geometric",
        "focal_source": "exif",
        "hints": [("exif", "EXIF of a.jpg", 102.0, 0.03)],
        "segments": 80,
        "findings": FINDINGS,
        "upright": Upright(GRAVITY, 1.25),
        "pose": POSE,
        "metres": ("known_depth", 0.05),
        "canonical": (2.0, -1.75),
        "flags": ("rgb_missing",),
        "settings": "abc",
    }
    return export.answer(**given | changes)


def test_an_answer_holds_camera_shift_and_where_it_is_from(tmp_path):
    export.write_answer(tmp_path / "map.json", answer())
    found = json.loads((tmp_path / "map.json").read_text())
    assert found == {
        "input": "folder/map.npy",
        "space": "disparity",
        "width": 300,
        "height": 200,
        "focal_px": 100.0,
        "normalised_focal": 0.5,
        "fov_x_deg": pytest.approx(2 * math.degrees(math.atan(1.5))),
        "fov_y_deg": pytest.approx(90.0),
        "cx": 149.5,
        "cy": 99.5,
        "intrinsics": [[100.0, 0.0, 149.5], [0.0, 100.0, 99.5], [0.0, 0.0, 1.0]],
        "shift": 0.25,
        "a": 2.0,
        "b": -1.5,
        "unit": "arbitrary",
        "focal_interval_px": [90.0, 110.0],
        "shift_interval": [0.2, 0.3],
        "scale_source": "known_depth",
        "scale_sigma": 0.05,
        "focal_source": "exif",
        "focal_sources": [
            {"source": "exif", "origin": "EXIF of a.jpg", "focal_px": 102.0, "sigma": 0.03},
            {"source": "map", "focal_px": 95.0, "focal_interval_px": [80.0, 120.0]},
        ],
        "lines": {"segments": 80, "used": True, "focal_nats": 0.5, "shift_nats": 0.25},
        "gravity": [0.6, 0.8, 0.0],
        "gravity_sigma_deg": 1.5,
        "roll_deg": pytest.approx(math.degrees(math.asin(0.6))),
        "roll_interval_deg": [36.0, 38.0],
        "pitch_deg": 0.0,
        "pitch_interval_deg": [-1.0, 1.0],
        "camera_height": 1.25,
        "transform": POSE.tolist(),
        "canonical_scale": 2.0,
        "canonical_offset": -1.75,
        "method": "geometric",
        "flags": ["near_planar", "rgb_missing"],
        "model": "both@40",
        "version": __version__,
        "settings": "abc",
        "error": None,
    }
    assert list(found) == list(export.ANSWER_FIELDS)
    assert answer(metric=True)["unit"] == "metres"


def test_what_was_not_found_is_null(tmp_path):
    export.write_answer(tmp_path / "map.json", answer(solution=None, error="all of one value"))
    found = json.loads((tmp_path / "map.json").read_text())
    assert found["error"] == "all of one value"
    for name in (
        "focal_px",
        "fov_x_deg",
        "fov_y_deg",
        "intrinsics",
        "shift",
        "shift_interval",
        "a",
    ):
        assert found[name] is None
    assert (found["width"], found["cx"]) == (300, 149.5)
    unread = answer(solution=None, size=None, error="damaged")
    assert unread["width"] is unread["cx"] is unread["focal_px"] is None


def test_a_known_principal_point_and_ratio_of_focal_lengths_are_kept():
    known = np.array([[55.0, 0, 140], [0, 50, 101], [0, 0, 1]])
    found = answer(intrinsics=known)
    assert (found["focal_px"], found["cx"], found["cy"]) == (100.0, 140.0, 101.0)
    np.testing.assert_allclose(found["intrinsics"], [[110, 0, 140], [0, 100, 101], [0, 0, 1]])
    assert found["fov_x_deg"] == pytest.approx(2 * math.degrees(math.atan(150 / 110)))


def test_a_picture_that_does_not_count_has_used_no_lines():
    unused = answer(segments=0, findings=None)
    assert unused["lines"] == {"segments": 0, "used": False, "focal_nats": 0, "shift_nats": 0}
    assert answer(segments=None, findings=None)["lines"] is None


def test_a_place_that_is_unknown_is_null(tmp_path):
    found = answer(upright=Upright(UNKNOWN, np.nan), pose=None, metres=None)
    for name in (
        "gravity", "gravity_sigma_deg", "roll_deg", "roll_interval_deg", "pitch_deg",
        "pitch_interval_deg", "camera_height", "transform", "scale_source", "scale_sigma",
    ):  # fmt: skip
        assert found[name] is None, name
    export.write_answer(tmp_path / "map.json", found)
    no_floor = answer(upright=Upright(GRAVITY, np.nan), metres=("camera_height", np.nan))
    assert no_floor["roll_deg"] and no_floor["camera_height"] is no_floor["scale_sigma"] is None
    export.write_answer(tmp_path / "map.json", no_floor)


def test_an_interval_without_a_finite_end_is_null(tmp_path):
    endless = answer(solution=SOLUTION._replace(shift_interval=(0.2, math.inf)))
    assert endless["shift_interval"] is None
    export.write_answer(tmp_path / "map.json", endless)


def test_only_whole_answers_are_read_back(tmp_path):
    path = tmp_path / "map.json"
    export.write_answer(path, answer())
    assert export.read_answer(path) == answer()
    for contents in (path.read_bytes()[:-5], b"[]", b'{"input": 1}', b"\xff"):
        path.write_bytes(contents)
        assert export.read_answer(path) is None
    assert export.read_answer(tmp_path / "nowhere.json") is None


def test_no_json_holds_what_json_does_not_know(tmp_path):
    with pytest.raises(ValueError):
        export.write_answer(tmp_path / "map.json", {"a": math.nan})
    assert not (tmp_path / "map.json").exists()
