"""Which source says what of the camera of a map: flags, files beside it, EXIF."""

import json
import math
import os

import numpy as np
import pytest
from camera_files import (
    FOV,
    HEIGHT,
    SIZE,
    THIRD,
    WHOLE,
    WIDTH,
    cameras_txt,
    npz_of,
    record3d,
    zip_of,
)
from PIL import ExifTags, Image
from raw_files import put

from data.user_maps.camera_files.camera import ESTIMATED_SIGMA
from data.user_maps.depth_files import DepthFile
from data.user_maps.known_cameras import KnownCamera
from train3d_jax.errors import DataError
from train3d_jax.export.answers import ANSWER_FIELDS

AUTOMATIC = KnownCamera(automatic=True)


def map_in(folder, relative="map.npy"):
    path = put(folder / relative, b"")
    np.save(path, np.ones(SIZE)) if path.suffix == ".npy" else None
    return DepthFile(folder, relative, relative)


def photo(path, equivalent=26):
    tags = Image.Exif()
    tags[ExifTags.Base.Make] = "ours"
    tags.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm] = equivalent
    Image.new("RGB", (128, 96)).save(path, exif=tags.tobytes())
    return path


def hints_of(file, camera=AUTOMATIC, **given):
    lines = []
    return camera.hints(file, SIZE, report=lines.append, **given), lines


def test_sources_come_in_the_order_of_trust(tmp_path):
    file, picture = map_in(tmp_path / "a"), photo(tmp_path / "photo.jpg")
    put(tmp_path / "a" / "fov.json", FOV)
    camera = KnownCamera(fov_deg=60, plus_minus=5, automatic=True)
    hints, lines = hints_of(file, camera, picture=picture)
    assert [hint.source for hint in hints] == ["flag", "file", "exif"] and not lines
    flag, beside, exif = hints
    assert flag.sigma == pytest.approx(math.radians(5) / math.sin(math.radians(60)))
    low, high = (32 / math.tan(math.radians(fov) / 2) for fov in (65, 55))
    assert math.log(high / low) / 2 == pytest.approx(flag.sigma, rel=0.02)
    assert beside.sigma == ESTIMATED_SIGMA and beside.intrinsics[0, 0] == pytest.approx(50)
    assert exif.intrinsics[0, 0] == pytest.approx(26 / 43.2666 * 80, rel=1e-5)
    assert str(beside) == "focal length from fov.json beside the maps (MoGe), within 5%"
    assert str(exif) == "focal length from EXIF of the pictures, within 3%"


def test_an_exact_flag_and_the_map_alone_look_for_nothing(tmp_path):
    file, picture = map_in(tmp_path), photo(tmp_path / "photo.jpg", 0)
    put(tmp_path / "fov.json", b"broken")
    for camera in (KnownCamera(focal_px=50, automatic=True), KnownCamera()):
        hints, lines = hints_of(file, camera, picture=picture)
        assert len(hints) == camera.is_known and not lines
        assert camera.sources(file, picture) == []
    hints, lines = hints_of(file, picture=picture)
    assert hints == () and len(lines) == 2
    assert all(line.endswith("; not used") for line in lines)


def test_a_soft_focal_length(tmp_path):
    (hint,), _ = hints_of(map_in(tmp_path), KnownCamera(focal_px=50, plus_minus=5))
    assert hint.sigma == 0.1 and hint.intrinsics[0, 0] == 50
    assert not KnownCamera(focal_px=50, plus_minus=5).is_known
    assert KnownCamera(focal_px=50, plus_minus=5).is_given


def test_an_estimate_that_a_flag_names_stays_an_estimate(tmp_path):
    path = put(tmp_path / "fov.json", FOV)
    camera = KnownCamera(intrinsics=path)
    (hint,), _ = hints_of(map_in(tmp_path), camera)
    assert hint.source == "flag" and hint.sigma == ESTIMATED_SIGMA and not camera.is_known
    assert KnownCamera(intrinsics=put(tmp_path / "b.txt", WHOLE["matrix.txt"])).is_known


# Beside the maps.

PLACES = [
    ("map.npy", "map.json", "cam_in.json", "the .json of the maps' names (Metric3D)"),
    ("map.png", "map.npy", "matrix.npy", "the .npy of the maps' names (3x3 matrix)"),
    ("map.npy", "map.txt", "matrix.txt", "the .txt of the maps' names (3x3 matrix)"),
    ("photo.jpg.geometric.bin", "photo.csv", "matrix.csv", "the .csv of the maps' names"),
    ("a/depth.exr", "a/fov.json", "fov.json", "fov.json beside the maps (MoGe)"),
    ("depth/frame_00001.png", "transforms.json", "frames.json", "transforms.json above the maps"),
    ("depth/0.png", "camera_matrix.csv", "matrix.csv", "camera_matrix.csv above the maps"),
    ("rgbd/0.depth", "metadata", "metadata", "of pictures of 192 x 144"),
    ("depth/0.png", "intrinsic/intrinsic_depth.txt", "scannet.txt", "intrinsic_depth.txt above"),
    ("0.png", "cameras.txt", "cameras.txt", "cameras.txt beside the maps (COLMAP, of pictures"),
    ("depth/0.png", "sparse/0/cameras.bin", "cameras.bin", "sparse/0/cameras.bin above the maps"),
    ("stereo/depth_maps/a.jpg.geometric.bin", "sparse/cameras.bin", "cameras.bin", "above"),
    ("0.png", "camera_intrinsic.json", "open3d.json", "camera_intrinsic.json beside"),
]


@pytest.mark.parametrize(("relative", "name", "kind", "said"), PLACES)
def test_what_producers_write_is_found(tmp_path, relative, name, kind, said):
    file = map_in(tmp_path, relative)
    path = put(tmp_path / name, WHOLE[kind])
    ((hint,), lines) = hints_of(file)
    assert said in str(hint) and not lines
    assert hint.source == "file" and hint.intrinsics[0, 0] == pytest.approx(50)
    assert AUTOMATIC.sources(file) == [path]


def test_the_depth_file_itself_comes_first(tmp_path):
    file = DepthFile(tmp_path, "results.npz", "results")
    put(file.path, npz_of(depth=np.ones((2, *SIZE)), intrinsics=np.stack([THIRD, 2 * THIRD])))
    put(tmp_path / "fov.json", FOV)
    hints, lines = hints_of(file, frame=0)
    assert str(hints[0]).startswith("focal length from the depth files (3x3 matrix)")
    np.testing.assert_allclose(hints[0].intrinsics, THIRD)
    assert len(hints) == 1 and not lines


def test_a_recording_holds_the_cameras_of_its_frames(tmp_path):
    file = DepthFile(tmp_path, "a.r3d", "a")
    put(file.path, zip_of(metadata=record3d(frames=2)))
    for frame, focal in ((0, 50), (1, 51), (None, 50)):
        (hint,), lines = hints_of(file, frame=frame)
        assert hint.intrinsics[0, 0] == pytest.approx(focal) and not lines
    assert hint.origin == "the depth files (Record3D, of pictures of 192 x 144)"


def test_fov_json_above_is_of_another_picture(tmp_path):
    put(tmp_path / "fov.json", FOV)
    assert hints_of(map_in(tmp_path, "a/depth.exr")) == ((), [])


def test_a_file_that_does_not_fit_is_said_and_passed_over(tmp_path):
    file = map_in(tmp_path, "a/map.npy")
    put(tmp_path / "a" / "fov.json", b'{"fov_x": 60, "fov_y": 60}')
    put(tmp_path / "cameras.txt", cameras_txt())
    hints, (line,) = hints_of(file)
    assert hints[0].origin.startswith("cameras.txt above")
    assert line == (
        "fov.json beside the maps: is the camera of another picture: of 1:1, and the map of 64 x "
        "48 pixels is 1.33:1; not used"
    )


def test_other_files_of_a_map_s_name_are_passed_over_without_a_word(tmp_path):
    file = map_in(tmp_path, "map.png")
    put(tmp_path / "map.json", b'{"caption": "a room"}')
    put(tmp_path / "map.txt", b"0 0.5 0.5 0.2 0.2\n")
    put(tmp_path / "map.csv", b"a,b\n")
    np.save(tmp_path / "map.npy", np.ones(SIZE))
    put(tmp_path / "metadata", b"made by a camera")
    assert hints_of(file) == ((), [])
    put(tmp_path / "map.json", b'{"cam_in": [1, 2, 3]}')
    assert len(hints_of(file)[1]) == 1  # one that is meant is not


def test_answers_of_ours_are_cameras_by_flag_only(tmp_path):
    answer = dict.fromkeys(ANSWER_FIELDS) | {"width": 64, "height": 48}
    path = put(tmp_path / "map.json", json.dumps({**answer, "intrinsics": THIRD.tolist()}).encode())
    file = map_in(tmp_path)
    assert hints_of(file) == ((), [])
    (hint,), _ = hints_of(file, KnownCamera(intrinsics=path))
    np.testing.assert_array_equal(hint.intrinsics, THIRD)
    depth = DepthFile(tmp_path, "out.npz", "out")
    arrays = {"depth": np.ones(SIZE), "intrinsics": THIRD, "unit": "metres", "axes": "x"}
    put(depth.path, npz_of(**arrays))
    assert hints_of(depth) == ((), [])


def test_what_a_flag_gives_has_to_fit(tmp_path):
    path = put(tmp_path / "metadata.json", record3d())
    with pytest.raises(DataError, match="another picture"):
        KnownCamera(intrinsics=path, automatic=True).hints(map_in(tmp_path), (64, 48))


def test_a_folder_of_intrinsics_may_be_a_model_of_colmap(tmp_path):
    put(tmp_path / "sparse" / "0" / "cameras.txt", cameras_txt())
    file = map_in(tmp_path / "in", "b/map.png")
    for folder in (tmp_path, tmp_path / "sparse" / "0"):
        camera = KnownCamera(intrinsics=folder)
        (hint,), _ = hints_of(file, camera)
        np.testing.assert_allclose(hint.intrinsics, THIRD)
        assert camera.sources(file) == [tmp_path / "sparse" / "0" / "cameras.txt"]


def test_files_that_appear_later_are_seen(tmp_path):
    file = map_in(tmp_path / "a")
    assert hints_of(file)[0] == ()
    put(tmp_path / "a" / "fov.json", FOV)
    os.utime(tmp_path / "a", ns=(1, 1))  # folders' times are as coarse as a tick
    assert len(hints_of(file)[0]) == 1


def test_sides_of_the_photo_need_not_be_those_of_the_picture(tmp_path):
    put(tmp_path / "map.json", WHOLE["four.json"])
    (hint,) = AUTOMATIC.hints(map_in(tmp_path), (HEIGHT // 2, WIDTH // 2))
    assert hint.intrinsics[0, 0] == pytest.approx(75)
