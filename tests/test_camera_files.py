"""Cameras in files: each kind as its producer writes it, the photo's size, and what is broken."""

import json

import numpy as np
import pycolmap
import pytest
from broken_files import npy, spoil
from camera_files import (
    BY_COLUMNS,
    CX,
    CY,
    FX,
    FY,
    HEIGHT,
    MATRIX,
    SIZE,
    THIRD,
    WHOLE,
    WIDTH,
    cameras_bin,
    cameras_txt,
    images_bin,
    images_txt,
    npz_of,
    open3d,
    record3d,
    text_of,
    transforms,
)
from raw_files import put

from data.user_maps.camera_files.camera import ESTIMATED_SIGMA, fitted
from data.user_maps.camera_files.json_forms import read_json
from data.user_maps.camera_files.reading import read_cameras
from train3d_jax.errors import DataError
from train3d_jax.geometry.camera import resized_intrinsics

LENS = (FX, FY, CX + 0.5, CY + 0.5)


def camera_of(path, relative="frame_00001.png", size=SIZE, frame=None):
    camera = read_cameras(path).of(path, relative, frame)
    return fitted(path, camera, size), camera.sigma


@pytest.mark.parametrize("name", WHOLE)
def test_each_kind_gives_the_camera_of_the_map(tmp_path, name):
    matrix, sigma = camera_of(put(tmp_path / name, WHOLE[name]))
    if name == "fov.json":
        wanted = [[50, 0, 31.5], [0, 50, 23.5], [0, 0, 1]]
        np.testing.assert_allclose(matrix, wanted, rtol=1e-9)
        assert sigma == ESTIMATED_SIGMA
    else:
        np.testing.assert_allclose(matrix, THIRD, rtol=1e-9)
        assert sigma == 0


@pytest.mark.parametrize("name", WHOLE)
def test_spoilt_files_are_read_or_refused_in_one_line(tmp_path, name):
    rng, refused = np.random.default_rng(0), 0
    for _ in range(60):
        path = put(tmp_path / name, spoil(WHOLE[name], rng))
        try:
            matrix, sigma = camera_of(path)
            assert np.isfinite(matrix).all() and matrix[0, 0] > 0 and 0 <= sigma < 1
        except DataError as error:
            refused += 1
            assert name in str(error) and "\n" not in str(error) and len(error.reason) < 350
    assert refused > 5


def test_sides_are_scaled_alike_for_any_map_of_the_same_ratio(tmp_path):
    path = put(tmp_path / "cameras.txt", cameras_txt())
    for size in ((HEIGHT, WIDTH), (72, 96), (288, 384), (47, 63)):
        np.testing.assert_allclose(
            camera_of(path, size=size)[0], resized_intrinsics(MATRIX, (HEIGHT, WIDTH), size)
        )


@pytest.mark.parametrize("name", ["fov.json", "metadata", "cameras.bin", "transforms.json"])
def test_the_camera_of_another_picture_is_refused(tmp_path, name):
    path = put(tmp_path / name, WHOLE[name])
    with pytest.raises(DataError, match=r"of another picture: of 1\.33:1, and the map of 64 x 43"):
        camera_of(path, size=(43, 64))


def test_a_photo_of_a_known_size_need_not_be_said(tmp_path):
    # Stray Scanner, whose depth maps have 256 x 192 pixels.
    matrix = [[1598.9, 0, 953.1], [0, 1598.9, 716.4], [0, 0, 1]]
    path = put(tmp_path / "camera_matrix.csv", text_of(matrix, ", "))
    found, _ = camera_of(path, size=(192, 256))
    np.testing.assert_allclose(
        found, resized_intrinsics(np.array(matrix), (1440, 1920), (192, 256))
    )
    with pytest.raises(DataError, match="outside a map of 256 x 144"):
        camera_of(path, size=(144, 256))


def test_what_is_missing_is_said(tmp_path):
    path = put(tmp_path / "matrix.txt", text_of([[800, 0, 500], [0, 800, 300], [0, 0, 1]]))
    with pytest.raises(DataError, match="does not say how large its own image is"):
        camera_of(path)


# One file, several cameras.


def test_frames_of_nerfstudio_are_found_by_name_and_folder(tmp_path):
    contents = json.loads(transforms(("a/0001.png", "b/0001.png", "b/0002.png"), whole=False))
    for place, frame in enumerate(contents["frames"]):
        frame["fl_x"] = FX + 3 * place
    contents["frames"][2]["depth_file_path"] = "depths/d2.exr"
    path = put(tmp_path / "transforms.json", json.dumps(contents).encode())
    for relative, focal in (
        ("b/0001.exr", 51),
        ("a/0001.exr", 50),
        ("d2.png", 52),
        ("2.npy", None),
    ):
        if focal is None:
            with pytest.raises(DataError, match="holds 4 cameras, and none is for"):
                camera_of(path, relative)
        else:
            assert camera_of(path, relative)[0][0, 0] == pytest.approx(focal)
    with pytest.raises(DataError, match="several cameras for images named 0001"):
        camera_of(path, "c/0001.png")


@pytest.mark.parametrize("binary", [True, False])
def test_images_of_colmap_say_which_camera_is_whose(tmp_path, binary):
    other = (FX + 3, *LENS[1:])
    rows = [
        f"{key} PINHOLE 192 144 {' '.join(map(str, four))}"
        for key, four in enumerate((LENS, other))
    ]
    names = {"x": 0, "photo": 1}
    ending = "bin" if binary else "txt"
    path = put(
        tmp_path / f"cameras.{ending}",
        cameras_bin((0, 1, LENS), (1, 1, other)) if binary else cameras_txt(*rows),
    )
    with pytest.raises(DataError, match=rf"2 cameras; images\.{ending}.* is missing"):
        camera_of(path)
    put(tmp_path / f"images.{ending}", (images_bin if binary else images_txt)(**names))
    assert camera_of(path, "photo.jpg.geometric.bin")[0][0, 0] == pytest.approx(51)
    assert camera_of(path, "x.png")[0][0, 0] == pytest.approx(50)
    rng = np.random.default_rng(0)
    for _ in range(100):
        put(
            tmp_path / f"images.{ending}",
            spoil((images_bin if binary else images_txt)(**names), rng),
        )
        try:
            assert camera_of(path, "x.png")[0][0, 0] > 0
        except DataError as error:
            assert "\n" not in str(error)


def test_colmap_s_own_files_are_read(tmp_path):
    model = pycolmap.Reconstruction()
    model.add_camera(
        pycolmap.Camera(camera_id=7, model="PINHOLE", width=WIDTH, height=HEIGHT, params=LENS)
    )
    model.write_binary(tmp_path)
    np.testing.assert_allclose(camera_of(tmp_path / "cameras.bin")[0], THIRD)
    model.write_text(tmp_path)
    np.testing.assert_allclose(camera_of(tmp_path / "cameras.txt")[0], THIRD)


def test_frames_of_record3d_are_found_by_number(tmp_path):
    path = put(tmp_path / "metadata", record3d(frames=3))
    for relative, focal in (("rgbd/2.depth", 52), ("depth/000001.png", 51), ("9.depth", 50)):
        assert camera_of(path, relative)[0][0, 0] == pytest.approx(focal)
    assert camera_of(path, "any.npy", frame=2)[0][0, 0] == pytest.approx(52)


def test_frames_of_an_array_are_found_by_their_place(tmp_path):
    stack = np.stack([THIRD, THIRD + np.diag([1, 0, 0])])
    path = put(tmp_path / "results.npz", npz_of(depth=np.ones((2, *SIZE)), intrinsics=stack))
    assert [camera_of(path, frame=place)[0][0, 0] for place in range(2)] == [50, 51]
    with pytest.raises(DataError, match="holds 2 cameras"):
        camera_of(path, "1.npz")


def test_a_network_s_estimate_is_not_exact(tmp_path):
    depth = np.ones(SIZE)
    for arrays in ({"intrinsics": THIRD, "conf": depth}, {"focal": 50.0, "pts3d": depth}):
        path = put(
            tmp_path / f"{len(arrays)}{'focal' in arrays}.npz", npz_of(depth=depth, **arrays)
        )
        matrix, sigma = camera_of(path)
        assert matrix[0, 0] == 50 and sigma == ESTIMATED_SIGMA
    assert matrix[0, 2] == 31.5


# Lenses.


def test_small_distortion_is_ignored_and_more_widens(tmp_path):
    sigmas = []
    for k1 in (0.005, -0.1):
        path = put(tmp_path / f"{k1}.json", transforms(k1=k1))
        matrix, sigma = camera_of(path)
        np.testing.assert_allclose(matrix, THIRD)
        sigmas.append(sigma)
    corner = (95 + 2) ** 2 / FX**2 + (74) ** 2 / FY**2
    assert sigmas == [0, pytest.approx(0.1 * corner / 2, rel=0.01)]
    with pytest.raises(DataError, match=r"moves the corners by \d+%: undistort"):
        camera_of(put(tmp_path / "much.json", transforms(k1=-0.5)))


@pytest.mark.parametrize(
    ("row", "focal"),
    [
        ("1 SIMPLE_PINHOLE 192 144 150 95.5 70.5", 50),
        ("1 SIMPLE_RADIAL 192 144 150 95.5 70.5 0.001", 50),
        ("1 RADIAL 192 144 150 95.5 70.5 0.001 0", 50),
        ("1 OPENCV 192 144 150 151 95.5 70.5 0 0 0.0001 0", 50),
        ("1 FULL_OPENCV 192 144 150 151 95.5 70.5 0.1 0 0 0 0 0.1 0 0", 50),  # they cancel
        ("1 OPENCV_FISHEYE 192 144 150 151 95.5 70.5 0 0 0 0", "OPENCV_FISHEYE .*undistort"),
        ("1 FOV 192 144 150 151 95.5 70.5 0.5", "FOV"),
        ("1 DIVISION 192 144 150 151 95.5 70.5 0.5", "DIVISION"),
        ("1 PINHOLE 192 144 150 151 95.5", "has 4 numbers, not 3"),
        ("1 PINHOLE 192 144 -1 151 95.5 70.5", "focal lengths are -1"),
        ("1 PINHOLE 0 144 150 151 95.5 70.5", "image of 0 x 144"),
        ("1 PINHOLE 192 144 nan 151 95.5 70.5", "no number"),
    ],
)
def test_models_of_colmap(tmp_path, row, focal):
    path = put(tmp_path / "cameras.txt", cameras_txt(row))
    if isinstance(focal, str):
        with pytest.raises(DataError, match=focal):
            camera_of(path)
    else:
        matrix, sigma = camera_of(path)
        assert matrix[0, 0] == pytest.approx(focal) and sigma == 0


# What is no camera.


@pytest.mark.parametrize(
    ("name", "contents", "reason"),
    [
        ("fov.json", b'{"fov_x": 0, "fov_y": 40}', "not in 0 to 180"),
        ("fov.json", b'{"fov_x": "60", "fov_y": 40}', "no number"),
        ("a.json", b'{"cam_in": [1, 2, 3]}', "no intrinsics"),
        ("a.json", b'{"fx": NaN, "fy": 1, "cx": 2, "cy": 3}', "no number"),
        ("a.json", b'{"fx": 1' + b"0" * 400 + b', "fy": 1, "cx": 2, "cy": 3}', "no intrinsics"),
        ("transforms.json", transforms(w=0), "an image of 0 x 144"),
        ("transforms.json", b'{"frames": [{"file_path": "a.png"}]}', "a frame has no fl_x"),
        ("transforms.json", b'{"frames": [3]}', "no intrinsics"),
        ("a.json", transforms().replace(b"OPENCV", b"OPENCV_FISHEYE"), "not that of a pinhole"),
        ("a.json", open3d(width="wide"), "no number"),
        ("metadata", record3d(K=BY_COLUMNS[:8]), "no intrinsics"),
        ("metadata", b"\x00\x01", "no JSON"),
        ("a.txt", b"0 0.5 0.5 0.2 0.2\n1 0.5 0.5 0.2 0.2\n", r"shape \(2, 5\)"),
        ("a.txt", b"a room\n", "no intrinsics"),
        ("a.csv", b"1,2\n3\n", "no intrinsics"),
        ("a.txt", b"1 0 0 3\n0 1 0 3\n0 0 1 3\n0 0 0 1\n", "4x4 with a last"),  # a pose
        ("a.npy", npy(np.ones((48, 64))), r"shape \(48, 64\)"),
        ("a.npz", npz_of(depth=np.ones(SIZE)), "holds none of intrinsics"),
        ("a.png", b"", "not a file of intrinsics"),
        ("cameras.txt", b"# none\n", "lists none"),
        ("cameras.bin", b"\xff" * 8, "it says that it holds"),
    ],
)
def test_what_is_no_camera_is_said_in_one_line(tmp_path, name, contents, reason):
    with pytest.raises(DataError, match=rf"{name}: .*{reason}") as error:
        camera_of(put(tmp_path / name, contents))
    assert "\n" not in str(error.value)


def test_a_pickle_is_never_opened(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("was unpickled",))

    bomb = np.array([[Bomb()]], object)
    put(tmp_path / "a.npy", npy(bomb, allow_pickle=True))
    np.savez(tmp_path / "a.npz", intrinsics=bomb)
    for name in ("a.npy", "a.npz"):
        with pytest.raises(DataError, match="not numbers"):
            camera_of(tmp_path / name)


def test_a_file_is_read_once_until_it_changes(tmp_path, monkeypatch):
    reads = []
    monkeypatch.setattr(
        "data.user_maps.camera_files.reading.read_json",
        lambda path: reads.append(path) or read_json(path),
    )
    path = put(tmp_path / "transforms.json", transforms())
    for number in range(20):
        camera_of(path, f"frame_{number}.png")
    assert len(reads) == 1
    put(path, transforms(fl_x=2.0 * FX))
    assert camera_of(path)[0][0, 0] == pytest.approx(100) and len(reads) == 2
