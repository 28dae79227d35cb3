"""Stacks of maps in one file are read frame by frame, in memory that does not grow with them."""

import gzip
import io
import json
import tracemalloc

import numpy as np
import pytest
import tifffile
from broken_files import any_tiff, colmap, depth, hdf5, mat, mat73, npy, npz, r3d, spoil

from train3d_jax.errors import DataError
from train3d_jax.formats.depth import ReadSettings, read_depth_file
from train3d_jax.formats.frames import frame_count, read_frames

FRAMES = np.random.default_rng(0).integers(1, 2000, (5, 37, 21)).astype(np.uint16)
FLOATS = FRAMES.astype(np.float32)

STACKS = {
    "plain.npy": npy(FRAMES),
    "last.npy": npy(FLOATS[..., None]),
    "middle.npy": npy(FRAMES[:, None]),
    "packed.npy.gz": gzip.compress(npy(FRAMES), mtime=0),
    "stored.npz": npz(compressed=False, depths=FRAMES),
    "deflated.npz": npz(depths=FLOATS[:, None]),
    "pages.tif": any_tiff(FLOATS, compression="zlib", photometric="minisblack"),
    "colours.tif": any_tiff(np.repeat(FRAMES[..., None], 3, -1), photometric="rgb"),
    "plain.h5": hdf5(FRAMES),
    "frames.h5": hdf5(FLOATS, compression="gzip", chunks=(1, 37, 21)),
    "pairs.h5": hdf5(FLOATS[..., None], compression="lzf", chunks=(2, 16, 16, 1)),
    "seven.mat": mat73(FRAMES.transpose(1, 2, 0), compression="gzip", shuffle=True),
    "five.mat": mat(depths=FRAMES.transpose(1, 2, 0)),
    "capture.r3d": r3d(*FRAMES),
}


def head_of(*shape):
    file = io.BytesIO()
    claim = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, claim)
    return file.getvalue()


def put(path, contents):
    path.write_bytes(contents)
    return path


@pytest.mark.parametrize("name", STACKS)
def test_the_frames_of_a_file_come_one_after_another_as_often_as_is_wanted(tmp_path, name):
    path = put(tmp_path / name, STACKS[name])
    frames = read_frames(path)
    assert (frames.count, len(frames), frames.size) == (5, 5, (37, 21))
    assert frame_count(path) == 5
    for _ in range(2):
        for place, values in enumerate(frames):
            assert values.dtype == np.float32
            np.testing.assert_array_equal(values, FRAMES[place])


@pytest.mark.parametrize("name", STACKS)
def test_spoilt_stacks_are_read_or_refused_in_one_line(tmp_path, capfd, name):
    rng, refused = np.random.default_rng(0), 0
    for _ in range(20):
        path = put(tmp_path / name, spoil(STACKS[name], rng))
        try:
            frames = read_frames(path)
            assert sum(values.shape == frames.size for values in frames) == frames.count
        except DataError as error:
            refused += 1
            assert name in str(error) and "\n" not in str(error)
    assert refused > 2
    assert capfd.readouterr() == ("", "")


def test_a_single_map_is_a_stack_of_one(tmp_path):
    contents = {
        "a.npy": npy(FRAMES[0]),
        "b.npy": npy(FRAMES[:1]),
        "c.npy": npy(np.asfortranarray(FLOATS[0, :, :, None])),
        "d.mat": mat(depth=FRAMES[0]),
        "e.mat": mat73(FLOATS[0]),
        "f.geometric.bin": colmap(FRAMES[0]),
        "g.tif": any_tiff(FRAMES[0]),
        "h.r3d": r3d(FRAMES[0]),
    }
    for name, content in contents.items():
        frames = read_frames(put(tmp_path / name, content))
        assert (frames.count, frames.size, frame_count(tmp_path / name)) == (1, (37, 21), 1)
        np.testing.assert_array_equal(next(iter(frames)), FRAMES[0])
        np.testing.assert_array_equal(read_depth_file(tmp_path / name), FRAMES[0])


def test_settings_hold_for_every_frame(tmp_path):
    values = FLOATS.copy()
    values[:, 0, 0] = 1e10
    path = put(tmp_path / "a.npz", npz(depths=values, conf=FLOATS))
    with pytest.raises(DataError, match="holds depths, conf"):
        read_frames(path)
    for choice in ({"key": "depths"}, {"usual_keys": ("depth", "depths")}):
        settings = ReadSettings(invalid=(1e10,), negate=True, **choice)
        for place, found in enumerate(read_frames(path, settings)):
            assert found[0, 0] == 0
            np.testing.assert_array_equal(found[1:], -FLOATS[place, 1:])


@pytest.mark.parametrize(
    ("name", "contents", "reason"),
    [
        ("a.npy", npy(FRAMES[:0]), r"shape \(0, 37, 21\): an empty clip"),
        ("a.npz", npz(depths=FRAMES[:0]), "an empty clip"),
        ("a.h5", hdf5(FRAMES[:0]), "an empty clip"),
        ("a.mat", mat73(FRAMES[:0].transpose(1, 2, 0)), "an empty clip"),
        ("a.r3d", r3d(), "an empty clip"),
        ("a.tif", any_tiff(FRAMES)[:8], "not a readable TIFF"),
        ("a.npy", npy(np.ones((2, 3, 4, 5))), r"shape \(2, 3, 4, 5\)"),
        ("a.npy", npy(np.ones((24, 32, 3))), "3 channels; save the one that holds depth"),
        ("a.npy", npy(np.ones(24)), r"shape \(24,\)"),
        ("a.npy.gz", gzip.compress(head_of((1 << 20) + 1, 37, 21), mtime=0), "1048577 frames"),
    ],
)
def test_what_is_no_clip_is_refused_in_one_line(tmp_path, name, contents, reason):
    path = put(tmp_path / name, contents)
    for read in (read_frames, frame_count):
        with pytest.raises(DataError, match=reason):
            read(path)


def test_frames_of_different_sizes_are_refused(tmp_path):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        for values in (FRAMES[0], FRAMES[1], FRAMES[2, :30]):
            file.write(values, photometric="minisblack")
    with pytest.raises(DataError, match="the first is 21 x 37, page 3 21 x 30"):
        read_frames(path)
    frames = read_frames(put(tmp_path / "a.r3d", r3d(FRAMES[0], FRAMES[1, :30])))
    with pytest.raises(DataError, match="unpacks to 630 values, not to 37 x 21"):
        list(frames)


def test_smaller_copies_of_a_page_are_no_frames(tmp_path):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        for values in FRAMES:
            file.write(values, photometric="minisblack")
            file.write(values[::2, ::2], photometric="minisblack", subfiletype=1)
    assert frame_count(path) == 5
    np.testing.assert_array_equal(np.stack([*read_frames(path)]), FRAMES)


def test_frames_in_fortran_order_are_refused_with_the_way_out(tmp_path):
    for name, contents in (
        ("a.npy", npy(np.asfortranarray(FRAMES))),
        ("a.npz", npz(depths=np.asfortranarray(FRAMES))),
    ):
        frames = read_frames(put(tmp_path / name, contents))
        with pytest.raises(DataError, match=r"Fortran order.*; save np.ascontiguousarray"):
            list(frames)


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path):
    for name, few in (("a.npy", npy(FRAMES[:3])), ("a.h5", hdf5(FRAMES[:3])), ("a.tif", None)):
        path = put(tmp_path / name, few or any_tiff(FRAMES[:3], photometric="minisblack"))
        frames = read_frames(path)
        put(path, STACKS[{"a.npy": "plain.npy", "a.h5": "plain.h5", "a.tif": "pages.tif"}[name]])
        with pytest.raises(DataError, match="was changed while it was read"):
            list(frames)
        path.unlink()
        with pytest.raises(DataError, match=r"cannot be read: No such file|is missing"):
            list(frames)


def test_maps_of_a_recording_have_the_size_that_its_metadata_state(tmp_path):
    values = np.random.default_rng(0).random((192, 256)).astype(np.float32)
    lying = {"w": 1920, "h": 1440}
    path = put(tmp_path / "a.r3d", r3d(values, metadata=lying))
    np.testing.assert_array_equal(read_depth_file(path), values)
    upright = put(tmp_path / "b.r3d", r3d(values, metadata={"w": 1440, "h": 1920}))
    assert read_frames(upright).size == (256, 192)
    single = put(tmp_path / "7.depth", depth(values))
    assert read_depth_file(single).shape == (256, 192)
    for metadata, folder in (({"dw": 256, "dh": 192}, "rgbd"), (lying, "")):
        place = tmp_path / json.dumps(metadata) / folder
        place.mkdir(parents=True)
        (tmp_path / json.dumps(metadata) / "metadata").write_text(json.dumps(metadata))
        np.testing.assert_array_equal(
            read_depth_file(put(place / "0.depth", depth(values))), values
        )
    face = np.ones((640, 480), np.float32)
    assert read_depth_file(put(tmp_path / "8.depth", depth(face))).shape == (640, 480)


LONG = np.zeros((200, 64, 64), np.float32)


@pytest.mark.parametrize(
    ("name", "stack"),
    [
        ("a.npy", npy),
        ("a.npy.gz", lambda values: gzip.compress(npy(values), mtime=0)),
        ("a.npz", lambda values: npz(depths=values)),
        ("a.tif", lambda values: any_tiff(values, photometric="minisblack", compression="zlib")),
        ("a.h5", lambda values: hdf5(values, compression="gzip", chunks=(1, 64, 64))),
        ("b.h5", hdf5),
        ("seven.mat", lambda values: mat73(values.transpose(1, 2, 0), chunks=(1, 64, 64))),
        ("five.mat", lambda values: mat(depths=values.transpose(1, 2, 0))),
        ("a.r3d", lambda values: r3d(*values)),
    ],
)
def test_memory_does_not_grow_with_the_frames(tmp_path, name, stack):
    def peak(values):
        path = put(tmp_path / name, stack(values))
        sum(1 for _ in read_frames(path))  # imports and caches
        tracemalloc.start()
        found = sum(1 for _ in read_frames(path))
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert found == len(values)
        return most

    # A zip's list of files and a TIFF's list of pages do grow, by less than a kilobyte a frame.
    assert peak(LONG) - peak(LONG[:10]) < 0.08 * LONG.nbytes
