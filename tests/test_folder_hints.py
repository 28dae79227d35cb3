"""Hints on the camera in a run over a folder: what is used, what is printed, what is kept."""

import json
import os

import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from box_rooms import box_room
from folders import NAMES, SIZE, config_of, fill, focal_lengths, recovered
from folders import solver as solver
from raw_files import put

from data.user_maps.depth_files import DepthFile
from data.user_maps.known_cameras import KnownCamera
from launch.recovery import camera_flags, one_map
from train3d_jax.errors import UserError
from train3d_jax.geometry.depth_maps import point_cloud

AUTOMATIC = KnownCamera(automatic=True)
EXACT = b'{"fx": 40, "fy": 41, "cx": 15, "cy": 12, "w": 32, "h": 24}'
SOFT = b'{"fov_x": 43.6, "fov_y": 33.4}'


def lines_of(capsys):
    return [line for line in capsys.readouterr().out.splitlines() if "camera:" in line]


def test_an_exact_camera_beside_maps_is_used_and_said_once(tmp_path, solver, capsys):
    fill(tmp_path / "in", NAMES[:5])
    put(tmp_path / "in" / "a" / "intrinsics.json", EXACT)
    assert recovered(tmp_path, camera=AUTOMATIC) == (5, 0, 0)
    (line,) = lines_of(capsys)
    assert line == "camera: focal length from intrinsics.json beside the maps (fx, fy, cx, cy)"
    known = np.concatenate([known.focal for _, known in solver])
    np.testing.assert_array_equal(known[:4], [41, 41, 41, np.nan])
    answer = json.loads((tmp_path / "out" / "a/map0.json").read_text())
    assert answer["intrinsics"] == [[40, 0, 15], [0, 41, 12], [0, 0, 1]]
    solver.clear()
    recovered(tmp_path)  # the map alone
    assert all(np.isnan(known.focal).all() for _, known in solver)
    assert lines_of(capsys) == []


def test_a_soft_hint_is_kept_with_the_map(tmp_path, capsys):
    fill(tmp_path / "in", ["map.npy"])
    put(tmp_path / "in" / "fov.json", SOFT)
    found = one_map.read_map(
        DepthFile(tmp_path / "in", "map.npy", "map"), config_of(tmp_path, camera=AUTOMATIC)
    )
    (hint,) = found.hints
    assert hint.source == "file" and hint.sigma > 0 and found.intrinsics is hint.intrinsics
    assert found.notes == ("camera: focal length from fov.json beside the maps (MoGe), within 5%",)


def test_a_shared_camera_uses_no_hint_and_says_so(tmp_path, solver, capsys):
    fill(tmp_path / "in", ["map.npy"])
    put(tmp_path / "in" / "intrinsics.json", EXACT)
    config = config_of(tmp_path, camera=AUTOMATIC, shared_camera=True)
    found = one_map.read_map(DepthFile(tmp_path / "in", "map.npy", "map"), config)
    assert found.intrinsics is None and found.hints == ()
    assert found.notes[0].endswith("cx, cy): not used, --shared_camera estimates it")
    with pytest.raises(UserError, match="--shared_camera"):
        config_of(tmp_path, camera=KnownCamera(focal_px=30, plus_minus=3), shared_camera=True)


def test_a_known_shift_and_a_camera_that_is_found_leave_the_points(tmp_path, solver):
    fill(tmp_path / "in", ["map.npy"])
    put(tmp_path / "in" / "intrinsics.json", EXACT)
    assert recovered(tmp_path, camera=AUTOMATIC, shift_known=True) == (1, 0, 0)
    assert focal_lengths(tmp_path / "out") == {41}
    soft = KnownCamera(fov_deg=60, plus_minus=5)
    assert recovered(tmp_path, camera=soft, shift_known=True) == (1, 0, 0)


def test_ray_lengths_take_an_exact_camera_that_is_found(tmp_path, solver):
    depth, intrinsics = box_room(0, SIZE)
    points = point_cloud(depth, intrinsics).reshape(*SIZE, 3)
    for name in ("a", "b"):
        put(tmp_path / "in" / name / "map.npy", b"")
        np.save(tmp_path / "in" / name / "map.npy", np.linalg.norm(points, axis=-1))
    put(tmp_path / "in" / "a" / "map.json", json.dumps(intrinsics.tolist()).encode())
    put(tmp_path / "in" / "b" / "fov.json", SOFT)
    assert recovered(tmp_path, camera=AUTOMATIC, ray_depth=True) == (1, 1, 0)
    config = config_of(tmp_path, camera=AUTOMATIC, ray_depth=True)
    found = one_map.read_map(DepthFile(tmp_path / "in", "a/map.npy", "a/map"), config)
    np.testing.assert_allclose(found.values, depth, rtol=1e-5)
    answer = json.loads((tmp_path / "out" / "b/map.json").read_text())
    assert answer["error"].startswith("--ray_depth needs the exact camera of each map")
    with pytest.raises(UserError, match="--ray_depth needs a known camera"):
        config_of(tmp_path, camera=AUTOMATIC, ray_depth=True, shared_camera=True)


def test_what_cannot_be_used_is_one_line_and_nothing_is_lost(tmp_path, solver, capsys):
    fill(tmp_path / "in", NAMES[:3])
    put(tmp_path / "in" / "a" / "fov.json", b'{"fov_x": 60, "fov_y": 60}')
    assert recovered(tmp_path, camera=AUTOMATIC) == (3, 0, 0)
    (line,) = lines_of(capsys)
    assert line.startswith("camera: fov.json beside the maps: is the camera of another picture")


def test_answers_are_not_kept_where_a_file_beside_them_has_changed(tmp_path, solver):
    fill(tmp_path / "in", ["a/0.npy", "b/0.npy"])
    path = put(tmp_path / "in" / "a" / "fov.json", SOFT)
    recovered(tmp_path, camera=AUTOMATIC)
    assert recovered(tmp_path, camera=AUTOMATIC, resume=True).resumed == 2
    os.utime(path, (2e9, 2e9))
    assert recovered(tmp_path, camera=AUTOMATIC, resume=True) == (2, 0, 1)


# Flags.


@pytest.fixture
def parsed():
    flags.FLAGS.mark_as_parsed()


@pytest.mark.parametrize(
    ("text", "measure"),
    [
        ("60", (60, 0)),
        ("60+-5", (60, 5)),
        ("60 ± 0.5", (60, 0.5)),
        ("6e1+/-5", (60, 5)),
        ("60+-0", (60, 0)),
    ],
)
def test_a_measure_has_a_width(parsed, text, measure):
    with flagsaver.as_parsed(fov_deg=text):
        camera = camera_flags.known_camera()
    assert (camera.fov_deg, camera.plus_minus) == measure and camera.automatic
    with flagsaver.as_parsed(focal_px=text, camera="map"):
        camera = camera_flags.known_camera()
    assert (camera.focal_px, camera.plus_minus) == measure and not camera.automatic


@pytest.mark.parametrize(
    "text", ["", "wide", "60+-", "60+-5+-5", "60+-nan", "60+--5", "inf", "0.5"]
)
def test_what_is_no_measure_is_refused(parsed, text):
    with (
        pytest.raises(flags.IllegalFlagValueError, match="give"),
        flagsaver.as_parsed(fov_deg=text),
    ):
        pass
