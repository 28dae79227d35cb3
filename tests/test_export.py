import json
import math
import struct

import numpy as np
import pytest

from train3d_jax import __version__
from train3d_jax.errors import UserError
from train3d_jax.export import answers as export
from train3d_jax.inference.recovery import Estimate


def parse_ply(contents):
    """Reads a PLY as its format says, with nothing of the project."""
    lines, position = [], 0
    while not lines or lines[-1] != "end_header":
        end = contents.index(b"\n", position)
        lines.append(contents[position:end].decode("ascii"))
        position = end + 1
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    layout = {"float": "f", "uchar": "B"}
    properties = [line.split()[1:] for line in lines if line.startswith("property")]
    names = [name for _, name in properties]
    assert names in (["x", "y", "z"], ["x", "y", "z", "red", "green", "blue"])
    (elements,) = [line.split() for line in lines if line.startswith("element")]
    assert elements[:2] == ["element", "vertex"]
    form = "<" + "".join(layout[kind] for kind, _ in properties)
    points = list(struct.iter_unpack(form, contents[position:]))
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


def test_colours_stand_beside_their_points(tmp_path):
    rng = np.random.default_rng(0)
    points = rng.normal(size=(50, 3)).astype(np.float32)
    colours = rng.integers(0, 256, (50, 3)).astype(np.uint8)
    export.write_ply(tmp_path / "cloud.ply", points, (), colours)
    found, _ = parse_ply((tmp_path / "cloud.ply").read_bytes())
    np.testing.assert_array_equal(np.array(found), np.concatenate([points, colours], 1))
    np.testing.assert_array_equal(export.read_ply(tmp_path / "cloud.ply"), points)


def parse_glb(contents):
    """The scene of a GLB and its binary part, as glTF 2.0 says."""
    magic, version, length = struct.unpack_from("<4sII", contents)
    assert (magic, version, length) == (b"glTF", 2, len(contents)) and length % 4 == 0
    size, kind = struct.unpack_from("<I4s", contents, 12)
    assert kind == b"JSON" and size % 4 == 0
    scene = json.loads(contents[20 : 20 + size])
    if 20 + size == length:
        return scene, b""
    rest, kind = struct.unpack_from("<I4s", contents, 20 + size)
    assert kind == b"BIN\0" and rest % 4 == 0 and 28 + size + rest == length
    return scene, contents[28 + size :]


def test_a_glb_holds_the_points_with_y_up_and_z_backward_and_linear_colours(tmp_path):
    rng = np.random.default_rng(0)
    points = rng.normal(size=(11, 3)).astype(np.float32)
    colours = rng.integers(0, 256, (11, 3)).astype(np.uint8)
    colours[:3] = [[0, 0, 0], [255, 255, 255], [188, 188, 188]]
    export.write_glb(tmp_path / "cloud.glb", points, "metres", colours)
    scene, binary = parse_glb((tmp_path / "cloud.glb").read_bytes())
    (primitive,) = scene["meshes"][0]["primitives"]
    assert primitive["mode"] == 0 and scene["asset"]["extras"]["unit"] == "metres"
    place, paint = (
        scene["accessors"][primitive["attributes"][name]] for name in ("POSITION", "COLOR_0")
    )
    views = [scene["bufferViews"][accessor["bufferView"]] for accessor in (place, paint)]
    parts = [binary[v["byteOffset"] : v["byteOffset"] + v["byteLength"]] for v in views]
    found = np.frombuffer(parts[0], "<f4").reshape(-1, 3)
    np.testing.assert_array_equal(found, points * [1, -1, -1])
    np.testing.assert_array_equal(place["min"], found.min(0))
    np.testing.assert_array_equal(place["max"], found.max(0))
    linear = np.frombuffer(parts[1], np.uint8).reshape(-1, 4)
    # 188 on a screen is half the light: 0.5 * 255, to the nearest step.
    np.testing.assert_array_equal(linear[:3, 0], [0, 255, 128])
    assert (linear[:, 3] == 255).all() and place["count"] == paint["count"] == 11


@pytest.mark.parametrize("colours", [None, np.zeros((0, 3), np.uint8)])
def test_a_glb_without_points_is_an_empty_scene(tmp_path, colours):
    export.write_glb(tmp_path / "cloud.glb", np.zeros((0, 3), np.float32), "metres", colours)
    scene, binary = parse_glb((tmp_path / "cloud.glb").read_bytes())
    assert scene["scenes"] == [{}] and "buffers" not in scene and binary == b""


def test_a_depth_map_is_stored_with_its_camera_unit_and_axes(tmp_path):
    depth = np.random.default_rng(0).uniform(1, 2, (3, 4))
    intrinsics = export.camera_of(5.0, (3, 4))
    export.write_depth(tmp_path / "map.npz", depth, intrinsics, "metres")
    with np.load(tmp_path / "map.npz", allow_pickle=False) as held:
        np.testing.assert_array_equal(held["depth"], depth.astype(np.float32))
        np.testing.assert_array_equal(held["intrinsics"], intrinsics)
        assert str(held["unit"]) == "metres" and "z forward" in str(held["axes"])


@pytest.mark.parametrize("space", ["depth", "disparity"])
def test_depth_beyond_all_bounds_is_missing_and_makes_no_warning(space):
    values = np.array([[1.0, 3e38, 1e-45, 2.0]], np.float32)
    depth = export.recovered_depth(values, 100.0, 0.0, space)
    assert (depth[0, [0, 3]] > 0).all() and depth[0, 1 if space == "depth" else 2] == 0
    assert np.isfinite(export.cloud_of(depth, 0.01)).all()


def test_edges_are_where_depth_jumps_and_holes_are_none():
    depth = np.full((6, 8), 2.0)
    depth[:, 4:] = 2.3  # 15 % further
    depth[0, 0] = 0
    expected = np.zeros((6, 8), bool)
    expected[:, 3:5] = True
    np.testing.assert_array_equal(export.edges(depth, 0.1), expected)
    assert not export.edges(depth, 0.2).any()
    np.testing.assert_array_equal(export.edges(depth.T, 0.1), expected.T)
    np.testing.assert_array_equal(export.edges(7 * depth, 0.1), expected)


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


def test_intrinsics_off_the_centre_and_with_two_focal_lengths_are_kept_to():
    depth = np.array([[1.0, 0.0, 2.0], [4.0, 3.0, 5.0]])
    intrinsics = np.array([[2.0, 0, 0.25], [0, 4.0, 1.5], [0, 0, 1]])
    v, u = np.nonzero(depth)
    z = depth[v, u]
    expected = np.stack([(u - 0.25) * z / 2, (v - 1.5) * z / 4, z], -1)
    np.testing.assert_array_equal(export.cloud_of(depth, intrinsics), expected)


SOLUTION = Estimate(
    focal=100.0,
    shift=0.25,
    a=2.0,
    b=-1.5,
    focal_interval=(90.0, 110.0),
    shift_interval=(0.2, 0.3),
    flags=("near_planar",),
)


def answer(**changes):
    given = {
        "input_name": "folder/map.npy",
        "space": "disparity",
        "size": (200, 300),
        "solution": SOLUTION,
        "metric": False,
        "model": "both@40",
        "method": "hybrid",
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
        "canonical_scale": 2.0,
        "canonical_offset": -1.75,
        "method": "hybrid",
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
