import struct
import subprocess
import sys
import threading
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from raw_files import (
    OCCI,
    RAW,
    ZLIB,
    depth_units,
    png16,
    put,
    put_scannet_frames,
    put_sens,
    scannet_camera,
    sens,
)

from data.protocol import UnsuitableError
from data.readers import scannet
from data.readers.scannet import ScanNet
from train3d_jax.errors import DataError


def scene_of(root, contents, name="scene0000_00"):
    put(root / name / f"{name}.sens", contents)
    (scene,) = ScanNet(root).scenes()
    return scene


@pytest.mark.parametrize("compression", [RAW, ZLIB])
def test_depth_is_in_metres_and_the_camera_is_the_depth_camera(tmp_path, compression):
    units = [depth_units(480, 640, seed=seed) for seed in range(3)]
    units[1][2, 3] = 0
    contents = sens(units, compression=compression, units_per_metre=500.0)
    scene = scene_of(tmp_path, contents)
    assert list(scene.places) == [(0,), (1,), (2,)]
    for frame in (2, 0, 1):  # in any order
        depth, intrinsics, _ = ScanNet(tmp_path).read(scene, frame)
        assert depth.dtype == np.float32
        np.testing.assert_allclose(depth, units[frame] / 500, rtol=1e-6)
        assert intrinsics.dtype == np.float64
        expected = [[577.59, 0, 318.9], [0, 578.73, 242.7], [0, 0, 1]]
        np.testing.assert_allclose(intrinsics, expected, rtol=1e-6)
    assert ScanNet(tmp_path).read(scene, 1).depth[2, 3] == 0


def test_the_header_is_parsed_once_for_all_frames_until_the_file_changes(tmp_path, monkeypatch):
    scene = scene_of(tmp_path, sens([depth_units(seed=seed) for seed in range(3)]))
    parsed, parse = [], scannet._read_header
    monkeypatch.setattr(scannet, "_read_header", lambda path: parsed.append(path) or parse(path))
    for frame in range(3):
        ScanNet(tmp_path).read(scene, frame)
    assert parsed == [scene.path]
    put(scene.path, sens([depth_units(seed=7)] * 4))
    changed = ScanNet(tmp_path).read(scene, 3).depth
    np.testing.assert_allclose(changed, depth_units(seed=7) / 1000, rtol=1e-6)


def test_threads_that_walk_a_file_at_once_find_the_same_frames(tmp_path, monkeypatch):
    units = [depth_units(seed=seed) for seed in range(4)]
    scene = scene_of(tmp_path, sens(units))
    together, unpack = threading.Barrier(2, timeout=60), scannet._unpack

    def unpack_together(layout, file, path, part):
        found = unpack(layout, file, path, part)
        if part in ("frame 0", "frame 1"):  # both have read where the next one starts
            together.wait()
        return found

    read = ScanNet(tmp_path).read
    with ThreadPoolExecutor(2) as threads, monkeypatch.context() as patch:
        patch.setattr(scannet, "_unpack", unpack_together)
        list(threads.map(read, [scene, scene], [2, 2]))
    for frame in range(4):
        np.testing.assert_allclose(read(scene, frame).depth * 1000, units[frame], rtol=1e-6)


@pytest.mark.parametrize("imu_records", [None, 0, 2])
def test_frames_read_with_or_without_an_imu_block(tmp_path, imu_records):
    units = [depth_units(seed=seed) for seed in range(2)]
    scene = scene_of(tmp_path, sens(units, imu_records=imu_records))
    np.testing.assert_allclose(ScanNet(tmp_path).read(scene, 1).depth * 1000, units[1], rtol=1e-6)


def test_a_frame_whose_pose_was_lost_is_kept(tmp_path):
    units = [depth_units(seed=seed) for seed in range(2)]
    poses = [np.full((4, 4), -np.inf), np.eye(4)]
    scene = scene_of(tmp_path, sens(units, poses=poses))
    assert len(scene.places) == 2
    np.testing.assert_allclose(ScanNet(tmp_path).read(scene, 0).depth * 1000, units[0], rtol=1e-6)


def test_both_roots_are_accepted(tmp_path):
    put_sens(tmp_path / "scans", "scene0001_00")
    for root in (tmp_path, tmp_path / "scans"):
        assert [scene.name for scene in ScanNet(root).scenes()] == ["scene0001_00"]


@pytest.mark.parametrize("where", [".", "scans", "scannet_frames_25k", "tasks/scannet_frames_25k"])
@pytest.mark.parametrize(
    ("names", "camera"),
    [
        (("0", "1", "10", "9"), "intrinsic/intrinsic_depth.txt"),  # as SensReader exports
        (("000000", "000100", "001000", "000900"), "intrinsics_depth.txt"),  # scannet_frames_25k
    ],
)
def test_exported_frames_are_read_as_those_of_a_sens(tmp_path, where, names, camera):
    base = tmp_path / where
    put_scannet_frames(base, "scene0001_00", names, camera)
    put(base / "scene0001_00" / "depth" / f"._{names[0]}.png", b"\0\5\x16\7")
    put(base / "scene0001_00" / "label" / "0.png", b"no depth")
    (base / "scene0002_00").mkdir()
    reader = ScanNet(tmp_path)
    (scene,) = reader.scenes()
    assert scene.name == "scene0001_00"
    in_order = [names[0], names[1], names[3], names[2]]
    assert [frame for (frame,) in scene.places] == in_order
    assert reader.file(scene, names[1]) == base / "scene0001_00" / "depth" / f"{names[1]}.png"
    depth, intrinsics, _ = reader.read(scene, names[1])
    assert depth.dtype == np.float32 and intrinsics.dtype == np.float64
    np.testing.assert_allclose(depth, depth_units(4, 6, seed=1) / 1000, rtol=1e-6)
    np.testing.assert_allclose(intrinsics, scannet_camera(4, 6), atol=1e-5)


def test_of_a_sens_and_its_exported_frames_the_sens_is_read(tmp_path):
    put_sens(tmp_path / "scans", "scene0001_00")
    put_scannet_frames(tmp_path / "scans", "scene0001_00")
    put_scannet_frames(tmp_path / "tasks" / "scannet_frames_25k", "scene0001_00")
    (scene,) = ScanNet(tmp_path).scenes()
    assert scene.path.suffix == ".sens" and list(scene.places) == [(0,), (1,), (2,)]


@pytest.mark.parametrize(
    "text", [None, b"", b"577 0 318\n0 578 242\n0 0 1\n", b"\xff" * 40, b"nan " * 16, b"-1 " * 16]
)
def test_exported_frames_without_a_camera_are_an_error_that_names_its_file(tmp_path, text):
    put_scannet_frames(tmp_path, "scene0001_00")
    camera = tmp_path / "scene0001_00/intrinsic/intrinsic_depth.txt"
    camera.unlink()
    if text is not None:
        put(camera, text)
    with pytest.raises(DataError, match=r"scene0001_00/intrinsic/intrinsic_depth\.txt: "):
        (scene,) = ScanNet(tmp_path).scenes()
        ScanNet(tmp_path).read(scene, "0")


@pytest.mark.parametrize("contents", [b"", png16(depth_units())[:-20], b"\x89PNG\r\n\x1a\n"])
def test_a_damaged_exported_frame_is_an_error_that_names_it(tmp_path, contents):
    put_scannet_frames(tmp_path, "scene0001_00")
    put(tmp_path / "scene0001_00/depth/1.png", contents)
    (scene,) = ScanNet(tmp_path).scenes()
    with pytest.raises(DataError, match=r"scene0001_00/depth/1\.png: "):
        ScanNet(tmp_path).read(scene, "1")


COLOUR = ((1170.2, 0, 647.8), (0, 1170.2, 483.8), (0, 0, 1))
UNFIT = {
    "the principal point is (647.8, 483.8)": COLOUR,
    "the principal point is (-40, 242.7)": ((577.6, 0, -40), (0, 578.7, 242.7), (0, 0, 1)),
    "the principal point is (0, 0)": np.array(scannet_camera(480, 640)).T,
    "the field of view is 180 by 180 degrees": ((1, 0, 318.9), (0, 1, 242.7), (0, 0, 1)),
    "the field of view is 0.0635 by 0.0475": ((577590, 0, 318.9), (0, 578730, 242.7), (0, 0, 1)),
    "the focal lengths are 577.6 and 192.9": ((577.6, 0, 318.9), (0, 192.9, 242.7), (0, 0, 1)),
}


@pytest.mark.parametrize("reason", UNFIT)
def test_a_sens_whose_camera_does_not_fit_its_depth_is_no_scene_to_train_on(tmp_path, reason):
    put_sens(tmp_path, "scene0000_00")
    units = [depth_units(480, 640)]
    put(tmp_path / "scene0001_00/scene0001_00.sens", sens(units, intrinsics=UNFIT[reason]))
    left_out = []
    assert [scene.name for scene in ScanNet(tmp_path).scenes(left_out.append)] == ["scene0000_00"]
    (error,) = left_out
    assert isinstance(error, UnsuitableError)
    assert f"its camera does not fit 640x480 pixels: {reason}" in error.reason


def test_scenes_come_by_name_and_without_empty_ones(tmp_path, monkeypatch):
    for name in ("scene0001_00", "scene0002_00", "scene0000_00"):
        put_sens(tmp_path, name)
    put(tmp_path / "scene0003_00" / "scene0003_00.sens", sens([]))
    put(tmp_path / "scene0004_00" / "scene0004_00.txt", b"no .sens here")
    listed = Path.iterdir
    for order in (sorted, lambda names: sorted(names, reverse=True)):
        monkeypatch.setattr(Path, "iterdir", lambda path, order=order: iter(order(listed(path))))
        names = [scene.name for scene in ScanNet(tmp_path).scenes()]
        assert names == ["scene0000_00", "scene0001_00", "scene0002_00"]


def test_a_frame_is_reached_without_reading_what_lies_before_it(tmp_path):
    units = [depth_units(4, 6, seed=seed) for seed in range(2)]
    gap = 3 << 30  # bytes of colour before the depth of frame 1, a hole in the file
    whole = sens(units, colors=[b"", b""], imu_records=None)
    payload = zlib.compress(units[1].tobytes())
    head = whole[: len(whole) - len(payload) - 16] + struct.pack("<QQ", gap, len(payload))
    path = tmp_path / "scene0000_00" / "scene0000_00.sens"
    path.parent.mkdir()
    with path.open("wb") as file:
        file.write(head)
        file.seek(gap, 1)
        file.write(payload)
    tracemalloc.start()
    (scene,) = ScanNet(tmp_path).scenes()
    depth = ScanNet(tmp_path).read(scene, 1).depth
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_allclose(depth * 1000, units[1], rtol=1e-6)
    assert peak < 4 << 20


def test_a_file_written_anew_is_read_anew(tmp_path):
    frames = [depth_units(seed=seed) for seed in range(3)]
    scene = scene_of(tmp_path, sens(frames, compression=ZLIB))
    ScanNet(tmp_path).read(scene, 2)
    scene = scene_of(tmp_path, sens(frames, compression=RAW))
    np.testing.assert_allclose(ScanNet(tmp_path).read(scene, 2).depth * 1000, frames[2], rtol=1e-6)


def test_a_file_cut_anywhere_is_an_error_that_names_it(tmp_path):
    whole = sens([depth_units(4, 6, seed=seed) for seed in range(2)], imu_records=None)
    for length in range(0, len(whole), 7):
        with pytest.raises(DataError, match=r"scene0000_00\.sens: .*(truncated|ends)"):
            scene = scene_of(tmp_path, whole[:length])
            ScanNet(tmp_path).read(scene, 1)


def test_frames_before_a_cut_can_be_read(tmp_path):
    units = [depth_units(4, 6, seed=seed) for seed in range(2)]
    whole = sens(units, imu_records=None)
    scene = scene_of(tmp_path, whole[:-1])
    np.testing.assert_allclose(ScanNet(tmp_path).read(scene, 0).depth * 1000, units[0], rtol=1e-6)


def damaged_zlib(payload_change):
    units = depth_units(4, 6)
    whole = sens([units], colors=[b""], imu_records=None)
    payload = payload_change(zlib.compress(units.tobytes()))
    old = len(zlib.compress(units.tobytes()))
    return whole[: len(whole) - old - 8] + struct.pack("<Q", len(payload)) + payload


NAN = float("nan")
DAMAGED = {
    "occi_ushort": sens([depth_units()], compression=OCCI),
    "unknown compression": sens([depth_units()], compression=5),
    "version 3": sens([depth_units()], version=3),
    "sensor": struct.pack("<IQ", 4, 1 << 60) + bytes(500),
    "depth_shift": sens([depth_units()], units_per_metre=0.0),
    "intrinsics": sens([depth_units()], intrinsics=((NAN, 0, 3), (0, 500, 3), (0, 0, 1))),
    "does not decompress": damaged_zlib(lambda payload: b"\0" * len(payload)),
    "ends early": damaged_zlib(lambda payload: payload[:-2]),
    "has 24 bytes, not the 48": damaged_zlib(lambda payload: zlib.compress(bytes(24))),
    "has 49 bytes, not the 48": damaged_zlib(lambda payload: zlib.compress(bytes(5000))),
    "claims 3 frames": sens([])[:-16] + struct.pack("<QQ", 3, 0),
}


@pytest.mark.parametrize("reason", DAMAGED)
def test_a_damaged_file_is_an_error_that_names_it_and_says_why(tmp_path, reason):
    with pytest.raises(DataError, match=reason) as error:
        scene = scene_of(tmp_path, DAMAGED[reason])
        ScanNet(tmp_path).read(scene, 0)
    assert "scene0000_00.sens" in str(error.value) and "\n" not in str(error.value)


def test_a_frame_that_is_not_there_is_an_error(tmp_path):
    scene = scene_of(tmp_path, sens([depth_units()]))
    for frame in (-1, 1):
        with pytest.raises(DataError, match=f"no frame {frame}"):
            ScanNet(tmp_path).read(scene, frame)


def test_memory_does_not_grow_with_the_size_of_a_file(tmp_path):
    """A sparse `.sens` of 2 GiB, prepared by a worker of its own."""
    frames, gap = 40, (2 << 30) // 40  # bytes of colour before each depth, holes in the file
    units = depth_units(480, 640)
    payload = zlib.compress(units.tobytes())
    head = sens([units], colors=[b""], imu_records=None)
    head = head[: len(head) - len(payload) - 96]
    path = put(tmp_path / "raw/scene0000_00/scene0000_00.sens", b"")
    with path.open("wb") as file:
        file.write(head[:-8] + struct.pack("<Q", frames))
        for _ in range(frames):
            file.write(bytes(80) + struct.pack("<QQ", gap, len(payload)))
            file.seek(gap, 1)
            file.write(payload)
    assert path.stat().st_size > 2 << 30
    # The largest resident memory of the workers, waited for when the executor shuts down.
    program = (
        "import resource, sys; from pathlib import Path; from data.prepare.preparation import *\n"
        "if __name__ == '__main__':\n"
        "    raw, out = map(Path, sys.argv[1:])\n"
        f"    prepare(PrepareConfig((raw, None, None), ({frames}, 0, 0), out, num_workers=1))\n"
        "    print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "raw"), str(tmp_path / "out")],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 400 << 10  # KiB
