import json
import struct

import numpy as np
import plyfile
import pytest
from ply_files import parse_ply, read_ply
from scene_views import pose_of

from train3d_jax.errors import UserError
from train3d_jax.export.glb import View, write_points
from train3d_jax.export.point_clouds import write_ply

VIEW = View(np.array([[40.0, 0, 15.5], [0, 40, 11.5], [0, 0, 1]]), (24, 32))


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_a_cloud_is_a_binary_ply_of_float32(tmp_path, count):
    points = np.random.default_rng(0).normal(size=(count, 3)).astype(np.float32)
    write_ply(tmp_path / "folder" / "cloud.ply", points, ("axes: x right", "unit: metres"))
    found, comments = parse_ply((tmp_path / "folder" / "cloud.ply").read_bytes())
    np.testing.assert_array_equal(np.array(found, np.float32).reshape(-1, 3), points)
    assert comments == ["comment axes: x right", "comment unit: metres"]
    np.testing.assert_array_equal(read_ply(tmp_path / "folder" / "cloud.ply"), points)


def test_colours_stand_beside_their_points(tmp_path):
    rng = np.random.default_rng(0)
    points = rng.normal(size=(50, 3)).astype(np.float32)
    colours = rng.integers(0, 256, (50, 3)).astype(np.uint8)
    write_ply(tmp_path / "cloud.ply", points, (), colours)
    found, _ = parse_ply((tmp_path / "cloud.ply").read_bytes())
    np.testing.assert_array_equal(np.array(found), np.concatenate([points, colours], 1))
    np.testing.assert_array_equal(read_ply(tmp_path / "cloud.ply"), points)


@pytest.mark.parametrize("coloured", [False, True])
@pytest.mark.parametrize("pose", [None, pose_of(0)])
def test_plyfile_reads_normals_and_colours_under_a_pose(tmp_path, coloured, pose):
    rng = np.random.default_rng(0)
    points, normals = rng.normal(size=(2, 50, 3)).astype(np.float32)
    colours = rng.integers(0, 256, (50, 3)).astype(np.uint8) if coloured else None
    write_ply(tmp_path / "cloud.ply", points, ("unit: metres",), colours, normals, pose)
    data = plyfile.PlyData.read(tmp_path / "cloud.ply")
    vertices = data["vertex"]
    pose = np.eye(4) if pose is None else pose
    for names, expected in (
        ("x y z", points @ pose[:3, :3].T + pose[:3, 3]), ("nx ny nz", normals @ pose[:3, :3].T),
    ):  # fmt: skip
        found = np.stack([vertices[name] for name in names.split()], -1)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    if coloured:
        found = np.stack([vertices[name] for name in ("red", "green", "blue")], -1)
        np.testing.assert_array_equal(found, colours)
    assert data.comments == ["unit: metres"] and len(vertices.properties) == 6 + 3 * coloured


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
    write_points(tmp_path / "cloud.glb", points, VIEW, "metres", colours)
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
def test_a_glb_without_points_holds_its_camera_alone(tmp_path, colours):
    write_points(tmp_path / "cloud.glb", np.zeros((0, 3), np.float32), VIEW, "metres", colours)
    scene, binary = parse_glb((tmp_path / "cloud.glb").read_bytes())
    assert [node["name"] for node in scene["nodes"]] == ["camera"]
    assert "meshes" not in scene and "buffers" not in scene and binary == b""


def test_points_that_are_not_contiguous_or_not_float32_are_written_right(tmp_path):
    points = np.arange(12.0).reshape(3, 4).T[:, ::-1]
    write_ply(tmp_path / "cloud.ply", points)
    found, _ = parse_ply((tmp_path / "cloud.ply").read_bytes())
    np.testing.assert_array_equal(found, points)


def test_a_place_that_cannot_be_written_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cloud\.ply: cannot be written"):
        write_ply(tmp_path / "file" / "cloud.ply", np.zeros((1, 3)))
