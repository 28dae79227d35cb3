"""Depth beside the picture of a .heic, as portraits of iPhones hold it."""

import io
import struct
import sys

import numpy as np
import pillow_heif
import pytest
from broken_files import spoil
from PIL import Image

from train3d_jax.errors import DataError
from train3d_jax.formats.depth import ReadSettings, read_depth_file
from train3d_jax.formats.frames import read_frames

VALUES = np.random.default_rng(0).integers(1, 256, (24, 32)).astype(np.uint8)
ALLOWED = ReadSettings(allow_8bit=True)


def box(kind, body):
    return struct.pack(">I4s", 8 + len(body), kind) + body


def boxes(contents, start=0):
    while start < len(contents):
        size, kind = struct.unpack_from(">I4s", contents, start)
        yield kind, contents[start + 8 : start + size]
        start += size


def heic(depth=None):
    """A picture of 64 x 48, with lossless depth beside it."""
    colours = np.random.default_rng(0).integers(0, 255, (48, 64, 3)).astype(np.uint8)
    pictures = pillow_heif.from_pillow(Image.fromarray(colours))
    if depth is not None:
        pictures.add_from_pillow(Image.fromarray(depth))
    file = io.BytesIO()
    pictures.save(file, quality=-1, chroma=444)
    return file.getvalue() if depth is None else with_second_as_depth(file.getvalue())


def with_second_as_depth(contents):
    """The second of two pictures becomes the depth of the first.  The new `meta` is put at the end,
    as places in the file are counted from its start."""
    (meta,) = [body for kind, body in boxes(contents) if kind == b"meta"]
    kept = [box(b"free" if kind == b"meta" else kind, body) for kind, body in boxes(contents)]
    inner = dict(boxes(meta, 4))
    properties = dict(boxes(inner[b"iprp"]))
    number = len([*boxes(properties[b"ipco"])]) + 1
    of_depth = box(b"auxC", bytes(4) + b"urn:mpeg:hevc:2015:auxid:2\0")
    links = bytearray(properties[b"ipma"])  # of item 1 and then of item 2: id, count, numbers
    second = 8 + 3 + links[8 + 2]
    links[second + 2] += 1
    inner[b"iprp"] = box(b"ipco", properties[b"ipco"] + of_depth) + box(
        b"ipma", bytes(links) + bytes([number])
    )
    inner[b"iref"] = bytes(4) + box(b"auxl", struct.pack(">HHH", 2, 1, 1))
    new = b"".join(box(kind, body) for kind, body in inner.items())
    return b"".join(kept) + box(b"meta", meta[:4] + new)


def put(path, contents):
    path.write_bytes(contents)
    return path


def test_the_depth_beside_a_picture_is_read(tmp_path):
    path = put(tmp_path / "portrait.HEIC", heic(VALUES))
    np.testing.assert_array_equal(read_depth_file(path, ALLOWED), VALUES)
    assert read_frames(path, ALLOWED).size == VALUES.shape


def test_it_has_eight_bits_and_is_refused_unless_they_are_allowed(tmp_path):
    with pytest.raises(DataError, match=r"disparity of 8 bits.*allow_8bit"):
        read_depth_file(put(tmp_path / "portrait.heic", heic(VALUES)))


def test_a_picture_alone_is_no_depth_map(tmp_path):
    with pytest.raises(DataError, match="is a picture without a depth map"):
        read_depth_file(put(tmp_path / "photo.heic", heic()), ALLOWED)


def test_spoilt_files_are_read_or_refused_in_one_line(tmp_path, capfd):
    contents, rng, refused = heic(VALUES), np.random.default_rng(0), 0
    for _ in range(40):
        path = put(tmp_path / "portrait.heic", spoil(contents, rng))
        try:
            assert read_depth_file(path, ALLOWED).ndim == 2
        except DataError as error:
            refused += 1
            assert "portrait.heic" in str(error) and "\n" not in str(error)
    assert refused > 10
    assert capfd.readouterr() == ("", "")


def test_without_its_library_the_error_says_what_to_type(tmp_path, monkeypatch):
    path = put(tmp_path / "portrait.heic", heic(VALUES))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(DataError, match=r"needs pillow-heif: pip install 'train3d-jax\[heic\]'"):
        read_depth_file(path, ALLOWED)
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_depth_file(tmp_path / "nowhere.heic", ALLOWED)
