"""Captures of own cameras: what is read, and what is named as broken."""

import json

import numpy as np
import pytest
from camera_files import FX, SIZE, THIRD, record3d, transforms
from own_files import put_nerfstudio, put_r3d, put_record3d, put_tum
from raw_files import depth_units, png16, put
from test_own_data import NUMBERS, config, lines
from test_own_data import no_pictures as no_pictures

from data.prepare.preparation import prepare
from data.readers.nerfstudio import Nerfstudio
from data.readers.record3d import Record3D
from data.readers.tum import Tum
from train3d_jax.errors import DataError, UserError

CAMERA = "9 9.5 3.5 2.5"
MATRIX = [[9, 0, 3.5], [0, 9.5, 2.5], [0, 0, 1]]


def frames_of(scene):
    return [frame for (frame,) in scene.places]


def only_scene(reader):
    (scene,) = reader.scenes()
    return scene, frames_of(scene)


# TUM RGB-D


@pytest.mark.parametrize("below", ["", "some", "some/more"])
def test_captures_of_tum_are_found_with_their_cameras(tmp_path, below):
    units = depth_units(6, 8, base=5000, seed=1)
    put_tum(tmp_path / "tum" / below, "mine", calibration=CAMERA)
    roots = [tmp_path / "tum"] if below != "some/more" else [tmp_path / "tum" / "some"]
    for root in (*roots, tmp_path / "tum" / below / "mine"):
        (scene,) = Tum(root).scenes()
        assert scene.name.endswith("mine") and len(scene.places) == 3
        ((frame,),) = list(scene.places)[1:2]
        depth, intrinsics, _ = Tum(root).read(scene, frame)
        np.testing.assert_array_equal(depth, units / np.float32(5000))
        np.testing.assert_array_equal(intrinsics, MATRIX)


@pytest.mark.parametrize(
    ("name", "fx"),
    [
        ("rgbd_dataset_freiburg1_xyz", 517.3),
        ("rgbd_dataset_freiburg2_desk", 520.9),
        ("rgbd_dataset_freiburg3_cabinet", 535.4),
    ],
)
def test_sequences_of_the_benchmark_have_the_published_cameras(tmp_path, name, fx):
    put_tum(tmp_path, name, frames=1, size=(480, 640))
    (scene,) = Tum(tmp_path).scenes()
    ((frame,),) = scene.places
    _, intrinsics, _ = Tum(tmp_path).read(scene, frame)
    assert intrinsics[0, 0] == fx
    assert Tum(tmp_path, NUMBERS).read(scene, frame).intrinsics[0, 0] == 9  # the flag wins
    put(tmp_path / name / "calibration.txt", CAMERA.encode())
    assert Tum(tmp_path).read(scene, frame).intrinsics[0, 0] == 9


def test_a_published_camera_is_not_taken_for_images_of_another_size(tmp_path):
    put_tum(tmp_path, "rgbd_dataset_freiburg1_xyz", frames=1)
    (scene,) = Tum(tmp_path).scenes()
    ((frame,),) = scene.places
    with pytest.raises(DataError, match=r"8x6 pixels, .* 640x480; give --tum_camera"):
        Tum(tmp_path).read(scene, frame)
    assert Tum(tmp_path, NUMBERS).read(scene, frame).depth.shape == (6, 8)


@pytest.mark.parametrize(
    ("file", "contents", "message"),
    [
        ("calibration.txt", b"1 2 3", "does not hold four numbers"),
        ("calibration.txt", b"nan 9 3 3", "not finite with positive"),
        ("calibration.txt", b"\xff\xfe", "does not hold four numbers"),
        ("calibration.txt", None, r"depth\.txt: comes without a camera; give --tum_camera"),
        ("depth.txt", b"# nothing\n", "names no depth map"),
        ("depth.txt", b"1305031102.1\n", "line 1 is not a time and a file"),
        ("depth.txt", b"\xff\xfe", "is no text"),
    ],
)
def test_a_capture_that_cannot_be_used_is_named_and_the_others_are_taken(
    tmp_path, no_pictures, file, contents, message
):
    root = tmp_path / "tum"
    put_tum(root, "good", calibration=CAMERA)
    put_tum(root, "bad", calibration=CAMERA)
    if contents is None:
        (root / "bad" / file).unlink()
    else:
        put(root / "bad" / file, contents)
    summary = prepare(config(tmp_path / "out", (3,), tum=root))
    assert (summary.taken, summary.broken) == ({"tum": 3}, 1)
    (rejected,) = lines(tmp_path / "out", "quarantine.jsonl")
    assert rejected["stage"] == "list" and rejected["file"].startswith("bad/")
    with pytest.raises(UserError, match=message) as error:
        prepare(config(tmp_path / "b", (1,), tum=root / "bad"))
    assert "\n" not in str(error.value) and not (tmp_path / "b").exists()


# nerfstudio


def test_captures_of_nerfstudio_have_the_camera_of_the_photos_in_pixels_of_the_maps(tmp_path):
    put_nerfstudio(tmp_path, "room", frames=3)
    scene, frames = only_scene(Nerfstudio(tmp_path))
    assert frames == [f"depth/frame_{number:05d}.png" for number in (1, 2, 3)]
    depth, intrinsics, stored = Nerfstudio(tmp_path).read(scene, frames[1])
    millimetres = depth_units(*SIZE, seed=2)
    np.testing.assert_array_equal(depth, millimetres / np.float32(1000))
    assert stored is not None and stored.units_per_metre == 1000
    np.testing.assert_allclose(intrinsics, THIRD, rtol=1e-12)


def test_frames_of_nerfstudio_may_have_cameras_of_their_own_and_depth_of_other_formats(tmp_path):
    capture = put_nerfstudio(tmp_path, "room", frames=2)
    contents = json.loads(transforms(("images/a.png", "images/b.png"), whole=False))
    contents["frames"][0] |= {"depth_file_path": "depth/a.npy"}
    contents["frames"][1] |= {"depth_file_path": "./depth/b.png", "fl_x": 1.2 * FX}
    contents["frames"].append({**contents["frames"][1], "depth_file_path": None})
    put(capture / "transforms.json", contents)
    np.save(capture / "depth/a.npy", np.where(np.eye(*SIZE), np.nan, 2500.0))
    put(capture / "depth/b.png", png16(depth_units(*SIZE)))
    scene, frames = only_scene(Nerfstudio(capture))
    a, b = (Nerfstudio(capture).read(scene, frame) for frame in frames)
    np.testing.assert_array_equal(a.depth, np.where(np.eye(*SIZE), 0, 2.5))
    assert (a.intrinsics[0, 0], b.intrinsics[0, 0]) == (FX / 3, 0.4 * FX)


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"{", "is no JSON"),
        (b'{"frames": 3}', "holds no intrinsics"),
        (transforms(), "none of its frames has a depth_file_path"),
        (transforms(camera_model="OPENCV_FISHEYE", whole=False), "OPENCV_FISHEYE"),
        (transforms(fl_x=None), "holds no intrinsics"),
    ],
)
def test_a_transforms_json_that_cannot_be_used_is_named(tmp_path, no_pictures, contents, message):
    put_nerfstudio(tmp_path / "own", "good", frames=2)
    put(put_nerfstudio(tmp_path / "own", "bad", frames=2) / "transforms.json", contents)
    summary = prepare(config(tmp_path / "out", (2,), nerfstudio=tmp_path / "own"))
    assert (summary.taken, summary.broken) == ({"nerfstudio": 2}, 1)
    (rejected,) = lines(tmp_path / "out", "quarantine.jsonl")
    assert rejected["file"] == "bad/transforms.json" and message in rejected["reason"]
    with pytest.raises(UserError, match=message) as error:
        prepare(config(tmp_path / "b", (1,), nerfstudio=tmp_path / "own/bad"))
    assert "\n" not in str(error.value) and not (tmp_path / "b").exists()


def test_a_camera_of_other_photos_and_a_lens_that_bends_are_not_trained_on(tmp_path, no_pictures):
    put_nerfstudio(tmp_path / "own", "good", frames=2)
    put_nerfstudio(tmp_path / "own", "upright", frames=2, w=144, h=192)
    put_nerfstudio(tmp_path / "own", "bent", frames=2, k1=-0.2)
    summary = prepare(config(tmp_path / "out", (2,), nerfstudio=tmp_path / "own"))
    assert (summary.taken, summary.broken, summary.unsuitable) == ({"nerfstudio": 2}, 2, 2)
    reasons = [each["reason"] for each in lines(tmp_path / "out", "quarantine.jsonl")]
    for reason in ("is the camera of another picture", "bends too much for a pinhole"):
        assert any(reason in each for each in reasons), reasons


# Record3D


def test_recordings_of_record3d_have_the_camera_of_each_frame(tmp_path):
    put_record3d(tmp_path, "mug", frames=11)
    scene, frames = only_scene(Record3D(tmp_path))
    assert frames == [f"depth/{number}.exr" for number in range(11)]  # by number, not by name
    depth, intrinsics, _ = Record3D(tmp_path).read(scene, frames[10])
    np.testing.assert_array_equal(depth, np.float16(depth_units(*SIZE, seed=10) / 1000))
    assert intrinsics[0, 0] == (FX + 30) / 3
    put(tmp_path / "mug" / "metadata.json", record3d())
    np.testing.assert_allclose(Record3D(tmp_path).read(scene, frames[10]).intrinsics, THIRD)


@pytest.mark.parametrize(
    ("contents", "message"),
    [(b"{", "is no JSON"), (b"{}", "holds no intrinsics"), (record3d(K=[1]), "no intrinsics")],
)
def test_a_recording_without_a_camera_is_named(tmp_path, contents, message):
    put(put_record3d(tmp_path / "own", "bad") / "metadata.json", contents)
    with pytest.raises(UserError, match=rf"metadata\.json: .*{message}"):
        prepare(config(tmp_path / "b", (1,), record3d=tmp_path / "own"))


@pytest.mark.parametrize("below", ["", "phone"])
def test_packed_recordings_of_record3d_are_read_as_they_are(tmp_path, below):
    file = put_r3d(tmp_path / below, "mug", frames=11)
    put(tmp_path / below / "._mug.r3d", b"of macOS")
    reader = Record3D(tmp_path)
    scene, frames = only_scene(reader)
    assert scene.name == f"{below}/mug".strip("/") and reader.file(scene, frames[0]) == file
    assert frames == [f"rgbd/{number}.depth" for number in range(11)]
    depth, intrinsics, _ = reader.read(scene, frames[10])
    np.testing.assert_array_equal(depth, depth_units(*SIZE, seed=10) / np.float32(1000))
    assert intrinsics[0, 0] == (FX + 30) / 3


def test_packed_recordings_that_are_broken_are_named_and_the_others_are_taken(
    tmp_path, no_pictures
):
    own = tmp_path / "own"
    whole = put_r3d(own, "good", frames=4).read_bytes()
    put(own / "cut.r3d", whole[: len(whole) // 2])
    put_r3d(own, "empty", frames=0)
    put_r3d(own, "blind", frames=2, metadata=b"{}")
    first = whole.index(b"bvx")
    put(own / "flipped.r3d", whole[:first] + b"\0" + whole[first + 1 :])
    summary = prepare(config(tmp_path / "out", (7,), record3d=own))
    assert summary.taken == {"record3d": 7}
    found = lines(tmp_path / "out", "quarantine.jsonl")
    assert [(each["file"], each["stage"]) for each in found] == [
        ("blind.r3d", "list"), ("cut.r3d", "list"), ("empty.r3d", "list"), ("flipped.r3d", "read"),
    ]  # fmt: skip
    reasons = ("no intrinsics", "not a readable .r3d", "no depth map", "Bad CRC")
    for each, reason in zip(found, reasons, strict=True):
        assert reason in each["reason"]
