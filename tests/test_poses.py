"""Every export takes a pose: what is written lands on its pixels through the camera beside it."""

import json
import sys

import cv2
import numpy as np
import plyfile
import pycolmap
import pytest
from rerun.chunk import RrdReader
from scene_views import INTRINSICS, SIZE, grid, pixels_of, plane, pose_of

from train3d_jax.errors import ArgumentError, UserError
from train3d_jax.export import cameras
from train3d_jax.export.point_clouds import write_ply
from train3d_jax.export.recordings import write_rrd
from train3d_jax.formats.colmap import read_colmap
from train3d_jax.geometry import camera
from train3d_jax.geometry.depth_maps import point_cloud
from train3d_jax.geometry.poses import OPENGL_FROM_OPENCV, moved, rigid_pose, turned

DEPTH, _ = plane()
CLOUD = point_cloud(DEPTH, INTRINSICS)
POSES = [None, pose_of(0), pose_of(1)]
PHOTO = (96, 128)


def test_a_pose_is_a_rotation_and_a_translation():
    np.testing.assert_array_equal(rigid_pose(None), np.eye(4))
    pose = pose_of(3)
    np.testing.assert_array_equal(rigid_pose(pose), pose)
    rigid_pose(pose.astype(np.float32))
    bottom = pose.copy()
    bottom[3, 0] = 0.1
    nowhere = pose.copy()
    nowhere[0, 3] = np.nan
    for wrong in (1.01 * pose, bottom, nowhere, pose[:3], np.diag([1.0, 1, -1, 1])):
        with pytest.raises(ArgumentError, match="pose: is not a rotation and a translation") as e:
            rigid_pose(wrong)
        assert "\n" not in str(e.value)


def test_points_move_and_directions_turn():
    pose = pose_of(3)
    back = moved(moved(CLOUD, pose), np.linalg.inv(pose))
    np.testing.assert_allclose(back, CLOUD, atol=1e-5)  # float32
    ends = moved(CLOUD, pose) - moved(np.zeros_like(CLOUD), pose)
    np.testing.assert_allclose(turned(CLOUD, pose), ends, atol=1e-5)
    np.testing.assert_array_equal(OPENGL_FROM_OPENCV @ OPENGL_FROM_OPENCV, np.eye(4))


@pytest.mark.parametrize("size", [SIZE, PHOTO])
@pytest.mark.parametrize("pose", POSES)
@pytest.mark.parametrize("form", ["bin", "txt"])
def test_colmap_projects_its_points_onto_their_pixels(tmp_path, pose, size, form):
    intrinsics = camera.resized_intrinsics(INTRINSICS, SIZE, size)
    cameras.write_colmap(tmp_path, "a.png", size, intrinsics, CLOUD, "metres", pose=pose)
    for path in tmp_path.glob("*.txt" if form == "bin" else "*.bin"):
        path.unlink()
    model = pycolmap.Reconstruction(tmp_path)
    (image,) = model.images.values()
    points = [model.points3D[number].xyz for number in sorted(model.points3D)]
    found = np.array([image.project_point(point) for point in points])
    expected = (grid() + 0.5) * size[1] / SIZE[1]  # COLMAP counts from the corner
    np.testing.assert_allclose(found, expected, atol=2e-3)  # float32, seven digits in text
    to_world = np.vstack([image.cam_from_world().inverse().matrix(), [0, 0, 0, 1]])
    np.testing.assert_allclose(to_world, np.eye(4) if pose is None else pose, atol=1e-6)


@pytest.mark.parametrize("size", [SIZE, PHOTO])
def test_depth_for_colmap_is_read_by_colmap_and_by_us_and_fits_its_camera(tmp_path, size):
    depth = np.where(np.arange(DEPTH.size).reshape(SIZE) % 7 == 0, 0, DEPTH)
    intrinsics = camera.resized_intrinsics(INTRINSICS, SIZE, size)
    cloud = point_cloud(depth, INTRINSICS)
    cameras.write_colmap(tmp_path, "a b.png", size, intrinsics, cloud, "metres", depth=depth)
    path = tmp_path / "stereo" / "depth_maps" / "a b.png.geometric.bin"
    found = pycolmap.DepthMap()
    found.read(path)
    np.testing.assert_array_equal(found.to_array(), depth.astype(np.float32))
    np.testing.assert_array_equal(read_colmap(path), depth.astype(np.float32))
    # As COLMAP's fusion does: the camera is scaled by the sizes of depth map and image.
    written = pycolmap.Reconstruction(tmp_path).cameras[1]
    fx, fy, cx, cy = written.params * np.tile([SIZE[1] / size[1], SIZE[0] / size[0]], 2)
    scaled = np.array([[fx, 0, cx - 0.5], [0, fy, cy - 0.5], [0, 0, 1]])
    np.testing.assert_allclose(point_cloud(found.to_array(), scaled), cloud, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [SIZE, PHOTO])
@pytest.mark.parametrize("pose", POSES)
def test_nerfstudio_sees_cloud_and_depth_where_they_are(tmp_path, pose, size):
    intrinsics = camera.resized_intrinsics(INTRINSICS, SIZE, size)
    folder = tmp_path / "a.nerfstudio"
    write_ply(tmp_path / "a.ply", CLOUD, pose=pose)
    cameras.write_nerfstudio(
        folder, "a.png", size, intrinsics, "metres", "../a.ply", DEPTH, pose
    )  # fmt: skip
    found = json.loads((folder / "transforms.json").read_text())
    (frame,) = found["frames"]
    vertices = plyfile.PlyData.read(folder / found["ply_file_path"])["vertex"]
    points = np.stack([vertices[name] for name in "xyz"], -1).astype(float)
    to_camera = np.linalg.inv(np.array(frame["transform_matrix"]))
    x, y, z = to_camera[:3, :3] @ points.T + to_camera[:3, 3:]
    # OpenGL: the camera looks along -z, y is up, and rows count from the top.
    u = found["fl_x"] * x / -z + found["cx"]
    v = found["fl_y"] * -y / -z + found["cy"]
    expected = (grid() + 0.5) * size[1] / SIZE[1]
    np.testing.assert_allclose(np.stack([u, v], -1), expected, atol=2e-3)  # float32
    # As nerfstudio's get_depth_image_from_path, with the default of depth_unit_scale_factor.
    stored = np.load(folder / frame["depth_file_path"]) * 1e-3
    image = cv2.resize(stored, (found["w"], found["h"]), interpolation=cv2.INTER_NEAREST)
    assert image.shape == size
    scale = size[0] // SIZE[0]
    np.testing.assert_allclose(image[::scale, ::scale], -z.reshape(SIZE), rtol=1e-5)


@pytest.mark.parametrize("pose", POSES)
@pytest.mark.parametrize("coloured", [False, True])
def test_rerun_reads_camera_depth_picture_and_points(tmp_path, pose, coloured):
    depth = DEPTH.copy()
    depth[2, 3] = 0
    cloud = point_cloud(depth, INTRINSICS)
    pixels = np.random.default_rng(0).integers(0, 256, (*SIZE, 3)).astype(np.uint8)
    pictured = (pixels[depth > 0], pixels) if coloured else (None, None)
    path = tmp_path / "a.rrd"
    write_rrd(path, depth, INTRINSICS, cloud, "metres", *pictured, pose)
    parts = {}
    for chunk in RrdReader(path).stream():
        assert chunk.is_static
        batch = chunk.to_record_batch()
        for name in batch.schema.names:
            if not name.startswith("rerun."):
                held = batch.column(name).to_pylist()[0][0]
                parts[f"{chunk.entity_path}/{name}".removeprefix("/world/")] = held
                if name.startswith("Points3D"):
                    parts[name] = np.array(batch.column(name).to_pylist()[0])
    # Columns of matrices.
    turn = np.reshape(parts["camera/Transform3D:mat3x3"], (3, 3)).T
    world = parts["Points3D:positions"]
    local = (world - parts["camera/Transform3D:translation"]) @ turn
    matrix = np.reshape(parts["camera/image/Pinhole:image_from_camera"], (3, 3)).T
    np.testing.assert_allclose(matrix, INTRINSICS, rtol=1e-6)
    assert list(parts["camera/image/Pinhole:resolution"]) == [SIZE[1], SIZE[0]]
    expected = grid()[depth.ravel() > 0]
    np.testing.assert_allclose(pixels_of(local, matrix), expected, atol=2e-3)
    stored = np.frombuffer(bytes(parts["camera/image/depth/DepthImage:buffer"]), np.float32)
    np.testing.assert_array_equal(stored.reshape(SIZE), depth.astype(np.float32))
    assert ("camera/image/rgb/Image:buffer" in parts) == coloured
    if coloured:
        shown = np.frombuffer(bytes(parts["camera/image/rgb/Image:buffer"]), np.uint8)
        np.testing.assert_array_equal(shown.reshape(*SIZE, 3), pixels)


def test_without_its_library_a_recording_is_a_line_that_says_what_to_type(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(UserError, match=r"a\.rrd: needs rerun-sdk: pip install '.*\[rerun\]'"):
        write_rrd(tmp_path / "a.rrd", DEPTH, INTRINSICS, CLOUD, "metres")
    assert not list(tmp_path.iterdir())
