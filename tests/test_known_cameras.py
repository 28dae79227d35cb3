import json
import math

import numpy as np
import pytest
from raw_files import put

from data.user_maps.depth_files import DepthFile
from data.user_maps.known_cameras import KnownCamera, ray_length_to_depth, read_intrinsics
from train3d_jax.errors import DataError, UserError

INTRINSICS = np.array([[500.0, 0, 310], [0, 480, 250], [0, 0, 1]])
SIZE = (480, 640)


def file_of(folder, relative="a/map.npy"):
    return DepthFile(folder, relative, relative)


def test_one_number_means_a_centred_camera(tmp_path):
    focal = KnownCamera(focal_px=400.0).of(file_of(tmp_path), SIZE)
    np.testing.assert_array_equal(focal, [[400, 0, 319.5], [0, 400, 239.5], [0, 0, 1]])
    fov = KnownCamera(fov_deg=90.0).of(file_of(tmp_path), SIZE)
    assert fov is not None and fov[0, 0] == pytest.approx(320)
    assert KnownCamera().of(file_of(tmp_path), SIZE) is None and not KnownCamera().is_known


@pytest.mark.parametrize(
    "contents",
    [
        INTRINSICS.tolist(),
        {"intrinsics": INTRINSICS.tolist(), "focal_px": 480},
        {"fx": 500, "fy": 480, "cx": 310, "cy": 250},
    ],
)
def test_intrinsics_are_read_from_each_kind_of_json(tmp_path, contents):
    path = put(tmp_path / "camera.json", json.dumps(contents).encode())
    np.testing.assert_array_equal(read_intrinsics(path), INTRINSICS)
    np.testing.assert_array_equal(
        KnownCamera(intrinsics=path).of(file_of(tmp_path), SIZE), INTRINSICS
    )


def test_each_map_has_its_own_intrinsics_in_a_folder(tmp_path):
    for place, name in enumerate(("a/map.npy", "b/map.npy")):
        (tmp_path / name).parent.mkdir()
        np.save(tmp_path / name, INTRINSICS + np.diag([place, place, 0]))
    camera = KnownCamera(intrinsics=tmp_path)
    for place, relative in enumerate(("a/map.png", "b/map.exr")):
        found = camera.of(file_of(tmp_path, relative), SIZE)
        assert found is not None and found[0, 0] == 500 + place
    with pytest.raises(DataError, match=r"no intrinsics c/map\.npy or c/map\.json"):
        camera.of(file_of(tmp_path, "c/map.png"), SIZE)


@pytest.mark.parametrize(
    ("contents", "reason"),
    [
        (b"", "no intrinsics"),
        (b"[" * 100_000, "no intrinsics"),
        (b'{"K": 3}', "no intrinsics"),
        (b"[[1, 2], [3]]", "no intrinsics"),
        (b"[[1, 0], [0, 1]]", r"shape \(2, 2\)"),
        (b"[[1, 2, 3], [0, 1, 2], [0, 0, 1]]", "is not"),  # skew
        (b"[[NaN, 0, 3], [0, 1, 2], [0, 0, 1]]", "is not"),
        (b"[[-5, 0, 3], [0, 1, 2], [0, 0, 1]]", "not over 0"),
    ],
)
def test_what_is_no_camera_is_refused(tmp_path, contents, reason):
    path = put(tmp_path / "camera.json", contents)
    with pytest.raises(DataError, match=rf"camera\.json: .*{reason}"):
        KnownCamera(intrinsics=path)


def test_intrinsics_of_another_size_are_refused(tmp_path):
    path = put(tmp_path / "camera.json", json.dumps(INTRINSICS.tolist()).encode())
    with pytest.raises(DataError, match="principal point outside a map of 300 x 200"):
        KnownCamera(intrinsics=path).of(file_of(tmp_path), (200, 300))
    tiny = put(tmp_path / "tiny.json", b'{"fx": 0.8, "fy": 0.8, "cx": 300, "cy": 200}')
    with pytest.raises(DataError, match="field of view"):  # normalised, not in pixels
        KnownCamera(intrinsics=tiny).of(file_of(tmp_path), SIZE)


def test_a_camera_of_an_image_half_or_nearly_twice_as_large_is_refused(tmp_path):
    for scale in (0.5, 1.9):
        matrix = np.diag([scale, scale, 1.0]) @ INTRINSICS
        path = put(tmp_path / "camera.json", json.dumps(matrix.tolist()).encode())
        with pytest.raises(DataError, match="times as large as 640 x 480 pixels"):
            KnownCamera(intrinsics=path).of(file_of(tmp_path), SIZE)


def test_a_crop_moves_the_principal_point_and_is_accepted(tmp_path):
    for cx, cy in ((20, 250), (620, 240), (310, 10), (150, 400)):
        matrix = [[500.0, 0, cx], [0, 480, cy], [0, 0, 1]]
        path = put(tmp_path / "camera.json", json.dumps(matrix).encode())
        found = KnownCamera(intrinsics=path).of(file_of(tmp_path), SIZE)
        np.testing.assert_array_equal(found, matrix)


def test_a_focal_length_that_is_not_in_pixels_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"map\.npy: --focal_px=0\.9: .*field of view of 18"):
        KnownCamera(focal_px=0.9).of(file_of(tmp_path), SIZE)


def test_intrinsics_that_are_not_there_are_reported_at_once(tmp_path):
    with pytest.raises(UserError, match=r"--intrinsics=.*nowhere"):
        KnownCamera(intrinsics=tmp_path / "nowhere")


@pytest.mark.parametrize("space", ["depth", "disparity"])
def test_ray_lengths_become_depth(space):
    rng = np.random.default_rng(0)
    depth = rng.uniform(1, 5, (6, 9))
    intrinsics = np.array([[7.0, 0, 3], [0, 8, 2], [0, 0, 1]])
    v, u = np.mgrid[:6, :9]
    points = np.stack([(u - 3) / 7 * depth, (v - 2) / 8 * depth, depth], -1)
    lengths = np.linalg.norm(points, axis=-1)
    given, wanted = (lengths, depth) if space == "depth" else (1 / lengths, 1 / depth)
    # The ray's length is computed in float32.
    np.testing.assert_allclose(ray_length_to_depth(given, intrinsics, space), wanted, rtol=1e-6)
    assert math.isclose(ray_length_to_depth(given, intrinsics, space)[2, 3], given[2, 3])
