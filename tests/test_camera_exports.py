import json

import numpy as np
import pycolmap
import pytest

from train3d_jax.export import cameras
from train3d_jax.geometry import camera
from train3d_jax.geometry.depth_maps import point_cloud

INTRINSICS = np.array([[50.0, 0, 33], [0, 48, 21], [0, 0, 1]])
DEPTH = np.random.default_rng(0).uniform(1, 3, (40, 64))
CLOUD = point_cloud(DEPTH, INTRINSICS)


def rows(path):
    lines = path.read_text().splitlines()
    return [line.split() for line in lines if line and not line.startswith("#")]


def test_a_colmap_model_projects_its_points_onto_the_pixels_that_they_are_from(tmp_path):
    colours = np.random.default_rng(0).integers(0, 256, CLOUD.shape).astype(np.uint8)
    cameras.write_colmap(tmp_path, "a.png", DEPTH.shape, INTRINSICS, CLOUD, "metres", colours)
    ((number, model, width, height, *four),) = rows(tmp_path / "cameras.txt")
    assert (number, model, width, height) == ("1", "PINHOLE", "64", "40")
    fx, fy, cx, cy = map(float, four)
    ((image, *pose, of_camera, name),) = rows(tmp_path / "images.txt")
    assert (image, of_camera, name) == ("1", "1", "a.png")
    assert [float(part) for part in pose] == [1, 0, 0, 0, 0, 0, 0]
    # Two lines an image; the second, of key points, is empty.
    assert (tmp_path / "images.txt").read_text().endswith("a.png\n\n")
    points = np.array(rows(tmp_path / "points3D.txt"), float)
    assert points.shape == (DEPTH.size, 8) and len(set(points[:, 0])) == DEPTH.size
    x, y, z = points[:, 1:4].T
    v, u = np.mgrid[:40, :64].reshape(2, -1)
    # COLMAP counts pixels from the corner: centres are at halves.  Seven digits are written.
    np.testing.assert_allclose(fx * x / z + cx, u + 0.5, atol=1e-4)
    np.testing.assert_allclose(fy * y / z + cy, v + 0.5, atol=1e-4)
    np.testing.assert_array_equal(points[:, 4:7], colours)
    assert "unit: metres" in (tmp_path / "points3D.txt").read_text()


def test_of_a_large_cloud_colmap_gets_an_even_share(tmp_path):
    cloud = np.arange(150_000.0).reshape(-1, 3)
    cameras.write_colmap(tmp_path, "a.png", (1, 1), INTRINSICS, cloud, "metres")
    points = np.array(rows(tmp_path / "points3D.txt"), float)
    assert 10_000 < len(points) <= 20_000
    assert len(np.unique(np.diff(points[:, 1]))) == 1 and points[-1, 1] > 0.99 * cloud[-1, 0]


def projections(model):
    """Where COLMAP itself puts the points of a model with one image, (N, 2), and that image."""
    (image,) = model.images.values()
    points = [model.points3D[number].xyz for number in sorted(model.points3D)]
    return np.array([image.project_point(point) for point in points]), image


@pytest.mark.parametrize("to_size", [(40, 64), (160, 256), (90, 64), (20, 50)])
@pytest.mark.parametrize("form", ["bin", "txt"])
def test_colmap_s_camera_is_that_of_the_image_that_it_names(tmp_path, to_size, form):
    # Pixel (u, v) of the map covers [u, u + 1] / 64 of the width of the photo.
    intrinsics = camera.resized_intrinsics(INTRINSICS, DEPTH.shape, to_size)
    cameras.write_colmap(tmp_path, "a.png", to_size, intrinsics, CLOUD, "metres")
    for path in tmp_path.glob("*.txt" if form == "bin" else "*.bin"):
        path.unlink()
    found, image = projections(pycolmap.Reconstruction(tmp_path))
    assert (image.camera.height, image.camera.width) == to_size
    v, u = np.mgrid[:40, :64].reshape(2, -1)
    expected = np.stack([(u + 0.5) * to_size[1] / 64, (v + 0.5) * to_size[0] / 40], -1)
    # Seven digits of the points are written in text, and are float32 in binary.
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_colmap_gets_the_same_cloud_in_binary_and_in_text(tmp_path):
    colours = np.random.default_rng(0).integers(0, 256, CLOUD.shape).astype(np.uint8)
    cameras.write_colmap(tmp_path, "a.png", DEPTH.shape, INTRINSICS, CLOUD, "metres", colours)
    binary = pycolmap.Reconstruction(tmp_path)
    for path in tmp_path.glob("*.bin"):
        path.unlink()
    for model in (binary, pycolmap.Reconstruction(tmp_path)):
        points = [model.points3D[number + 1] for number in range(len(CLOUD))]
        np.testing.assert_allclose([point.xyz for point in points], CLOUD, rtol=1e-6)
        np.testing.assert_array_equal([point.color for point in points], colours)


@pytest.mark.parametrize(
    ("name", "in_text"),
    [
        ("living room (1).npy", False),
        (" two  spaces ", False),
        ("tab\tand\nline.png", False),
        ("no-break\u00a0space.png", False),  # COLMAP reads it; scripts that split lines do not
        ("küche_部屋.jpg", True),
        ('"5\'",#;.png', True),
    ],
)
def test_colmap_finds_an_image_again_whatever_it_is_called(tmp_path, name, in_text):
    cameras.write_colmap(tmp_path, name, DEPTH.shape, INTRINSICS, CLOUD, "metres")
    text = [tmp_path / f"{part}.txt" for part in ("cameras", "images", "points3D")]
    assert [path.exists() for path in text] == 3 * [in_text]
    assert {path.name for path in tmp_path.iterdir()} <= set(cameras.COLMAP_FILES)
    names = [image.name for image in pycolmap.Reconstruction(tmp_path).images.values()]
    assert names == [name]
    if in_text:
        for path in tmp_path.glob("*.bin"):
            path.unlink()
        names = [image.name for image in pycolmap.Reconstruction(tmp_path).images.values()]
        assert names == [name]


@pytest.mark.parametrize("cloud", [None, "../a.ply"])
def test_nerfstudio_s_camera_sees_the_cloud_where_it_is(tmp_path, cloud):
    path = tmp_path / "a" / "transforms.json"
    cameras.write_nerfstudio(path.parent, "../../a.png", DEPTH.shape, INTRINSICS, "metres", cloud)
    found = json.loads(path.read_text())
    assert (found["w"], found["h"], found.get("ply_file_path")) == (64, 40, cloud)
    (frame,) = found["frames"]
    assert frame["file_path"] == "../../a.png"
    to_world = np.array(frame["transform_matrix"])
    assert np.linalg.det(to_world) == pytest.approx(1)  # a turn, no mirror
    # OpenGL: the camera looks along -z, y is up, and rows count from the top.
    x, y, z = np.linalg.inv(to_world)[:3, :3] @ CLOUD.T.astype(float)
    u = found["fl_x"] * x / -z + found["cx"]
    v = found["fl_y"] * -y / -z + found["cy"]
    pixels, _ = camera.project(CLOUD, INTRINSICS)
    # Centres at halves there, at integers here; float32.
    np.testing.assert_allclose(np.stack([u, v], -1), np.asarray(pixels) + 0.5, atol=1e-4)
