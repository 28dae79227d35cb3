import json
import math
import struct

import numpy as np
import pytest

from train3d_jax import __version__, export
from train3d_jax.errors import UserError
from train3d_jax.inference import Solution


def parse_ply(contents):
    """Reads a PLY as its format says, with nothing of the project."""
    lines, position = [], 0
    while not lines or lines[-1] != "end_header":
        end = contents.index(b"\n", position)
        lines.append(contents[position:end].decode("ascii"))
        position = end + 1
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    assert [line for line in lines if line.startswith("property")] == [
        *("property float x", "property float y", "property float z")
    ]
    (elements,) = [line.split() for line in lines if line.startswith("element")]
    assert elements[:2] == ["element", "vertex"]
    points = list(struct.iter_unpack("<3f", contents[position:]))
    assert len(points) == int(elements[2])
    return points, [line for line in lines if line.startswith("comment")]


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_a_cloud_is_a_binary_ply_of_float32(tmp_path, count):
    points = np.random.default_rng(0).normal(size=(count, 3)).astype(np.float32)
    export.write_ply(tmp_path / "folder" / "cloud.ply", points, ("axes: x right", "unit: metres"))
    found, comments = parse_ply((tmp_path / "folder" / "cloud.ply").read_bytes())
    np.testing.assert_array_equal(np.array(found, np.float32).reshape(-1, 3), points)
    assert comments == ["comment axes: x right", "comment unit: metres"]
    np.testing.assert_array_equal(export.read_ply(tmp_path / "folder" / "cloud.ply"), points)


def test_points_that_are_not_contiguous_or_not_float32_are_written_right(tmp_path):
    points = np.arange(12.0).reshape(3, 4).T[:, ::-1]
    export.write_ply(tmp_path / "cloud.ply", points)
    found, _ = parse_ply((tmp_path / "cloud.ply").read_bytes())
    np.testing.assert_array_equal(found, points)


def test_a_place_that_cannot_be_written_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cloud\.ply: cannot be written"):
        export.write_ply(tmp_path / "file" / "cloud.ply", np.zeros((1, 3)))


def test_depth_is_a_times_input_plus_b_and_missing_stays_missing():
    values = np.array([[1.0, 2.0, 0.0], [np.nan, np.inf, -4.0]], np.float32)
    found = export.recovered_depth(values, 2.0, 0.5, "depth")
    # -4 would lie behind the camera.
    np.testing.assert_array_equal(found, [[2.5, 4.5, 0], [0, 0, 0]])
    inverse = export.recovered_depth(values, 2.0, 0.5, "disparity")
    np.testing.assert_allclose(inverse, [[1 / 2.5, 1 / 4.5, 0], [0, 0, 0]], rtol=1e-15)


def test_the_cloud_of_a_depth_map_is_unprojected_about_the_image_centre():
    depth = np.array([[1.0, 0.0, 2.0], [4.0, 3.0, 0.0]])
    # Centre (1, 0.5); row by row, missing pixels left out.
    expected = [[-0.5, -0.25, 1], [1, -0.5, 2], [-2, 1, 4], [0, 0.75, 3]]
    cloud = export.cloud_of(depth, 2.0)
    assert cloud.dtype == np.float32
    np.testing.assert_array_equal(cloud, expected)


def answer(**changes):
    given = {
        "input_name": "folder/map.npy",
        "space": "disparity",
        "size": (200, 300),
        "solution": Solution(100.0, 0.25, 2.0, -1.5, (90.0, 110.0), (0.2, 0.3), ()),
        "metric": False,
        "model": "both@40",
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
        "fov_x_deg": pytest.approx(2 * math.degrees(math.atan(1.5))),
        "fov_y_deg": pytest.approx(90.0),
        "cx": 149.5,
        "cy": 99.5,
        "shift": 0.25,
        "a": 2.0,
        "b": -1.5,
        "unit": "arbitrary",
        "model": "both@40",
        "version": __version__,
        "error": None,
    }
    assert list(found) == list(export.ANSWER_FIELDS)
    assert answer(metric=True)["unit"] == "metres"


def test_what_was_not_found_is_null(tmp_path):
    export.write_answer(tmp_path / "map.json", answer(solution=None, error="all of one value"))
    found = json.loads((tmp_path / "map.json").read_text())
    assert found["error"] == "all of one value"
    for name in ("focal_px", "fov_x_deg", "fov_y_deg", "shift", "a", "b"):
        assert found[name] is None
    assert (found["width"], found["cx"]) == (300, 149.5)


def test_no_json_holds_what_json_does_not_know(tmp_path):
    with pytest.raises(ValueError):
        export.write_answer(tmp_path / "map.json", {"a": math.nan})
    assert not (tmp_path / "map.json").exists()
