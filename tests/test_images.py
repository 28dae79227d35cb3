import errno
import os
import sys
import threading
from pathlib import Path

import numpy as np
import OpenEXR
import pytest
from broken_files import any_exr, any_tiff, picture, png16_of, spoil, tiff
from PIL import Image
from raw_files import exr, png16, put

from data.parallel.work import make_executor
from train3d_jax.errors import DataError
from train3d_jax.formats.exr import depth_channels, read_exr
from train3d_jax.formats.pictures import read_colours
from train3d_jax.formats.png import read_png
from train3d_jax.formats.tiff import read_tiff

VALUES = np.random.default_rng(0).integers(0, 65536, (37, 21)).astype(np.uint16)


def test_a_16_bit_png_is_read_bit_by_bit(tmp_path):
    values = read_png(put(tmp_path / "map.png", png16(VALUES)))
    assert values.dtype == np.uint16
    np.testing.assert_array_equal(values, VALUES)


def test_a_16_bit_png_of_another_writer_is_read(tmp_path):
    Image.fromarray(VALUES).save(tmp_path / "map.png")
    np.testing.assert_array_equal(read_png(tmp_path / "map.png"), VALUES)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1", "LA"])
def test_a_png_of_8_bits_or_with_colours_is_refused(tmp_path, mode):
    Image.new(mode, (4, 4)).save(tmp_path / "map.png")
    with pytest.raises(DataError, match=r"map\.png: .* not 16-bit grey"):
        read_png(tmp_path / "map.png")


def test_a_png_of_which_one_bit_is_wrong_is_refused(tmp_path):
    whole = png16(VALUES)
    data = whole.index(b"IDAT") + 4
    for place in (20, data + 50, len(whole) - 20):
        spoilt = bytearray(whole)
        spoilt[place] ^= 1
        with pytest.raises(DataError, match="not a readable PNG"):
            read_png(put(tmp_path / "map.png", bytes(spoilt)))


def test_16_bit_colour_is_read_in_full_where_its_channels_agree(tmp_path):
    opaque = np.full_like(VALUES, 65535)
    for channels in ([VALUES, opaque], [VALUES] * 3, [VALUES] * 3 + [opaque]):
        values = read_png(put(tmp_path / "map.png", png16_of(*channels)))
        assert values.dtype == np.uint16
        np.testing.assert_array_equal(values, VALUES)


def test_16_bit_colour_whose_channels_differ_in_the_last_bit_is_refused(tmp_path):
    path = put(tmp_path / "map.png", png16_of(VALUES, VALUES, VALUES ^ 1))
    with pytest.raises(DataError, match="is in colour: its 16-bit channels differ"):
        read_png(path)


def test_alpha_is_missing_or_there_and_nothing_between(tmp_path):
    alpha = np.full_like(VALUES, 65535)
    alpha[:5] = 0
    values = read_png(put(tmp_path / "map.png", png16_of(VALUES, alpha)))
    np.testing.assert_array_equal(values, np.where(alpha > 0, VALUES, 0))
    says_nothing = put(tmp_path / "map.png", png16_of(VALUES, np.zeros_like(alpha)))
    np.testing.assert_array_equal(read_png(says_nothing), VALUES)
    alpha[5] = 30000
    with pytest.raises(DataError, match="is partly transparent"):
        read_png(put(tmp_path / "map.png", png16_of(VALUES, VALUES, VALUES, alpha)))


@pytest.mark.parametrize("read", [read_png, read_exr, read_tiff])
def test_a_file_that_is_not_there_is_reported(tmp_path, read):
    with pytest.raises(DataError, match="nowhere: is missing"):
        read(tmp_path / "nowhere")


def halves(seed=0):
    return np.random.default_rng(seed).uniform(0, 100, (37, 21)).astype(np.float16)


def test_an_exr_is_read_in_the_type_that_it_is_stored_in(tmp_path):
    values = read_exr(put(tmp_path / "map.exr", exr(halves())))
    assert values.dtype == np.float16
    np.testing.assert_array_equal(values, halves())
    np.testing.assert_array_equal(
        read_exr(put(tmp_path / "map.exr", exr(halves(), b"Z")), "Z"), halves()
    )


def test_a_channel_is_chosen_by_its_name_and_never_guessed(tmp_path):
    path = tmp_path / "map.exr"
    channels = {name: halves(seed).astype(np.float32) for seed, name in enumerate("YZ")}
    header = {"compression": OpenEXR.ZIP_COMPRESSION}
    OpenEXR.File(header, dict(channels)).write(str(path))
    np.testing.assert_array_equal(read_exr(path, "Z"), channels["Z"])
    with pytest.raises(DataError, match="has no channel R, only Y, Z"):
        read_exr(path, "R")
    with pytest.raises(DataError, match="has the channels Y, Z"):
        read_exr(path)


@pytest.mark.parametrize("alpha", [{}, {"A": np.ones((37, 21), np.float32)}])
@pytest.mark.parametrize("layer", ["", "view.depth."])
def test_an_exr_whose_colours_agree_needs_no_channel(tmp_path, alpha, layer):
    path = tmp_path / "map.exr"
    channels = {layer + name: values for name, values in {**dict.fromkeys("RGB", halves())}.items()}
    any_exr(path, channels | {layer + name: values for name, values in alpha.items()})
    values = read_exr(path)
    assert values.dtype == np.float16
    np.testing.assert_array_equal(values, halves())
    any_exr(path, channels | {layer + "G": halves(1)})
    with pytest.raises(DataError, match="its 16-bit channels differ"):
        read_exr(path)


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        ("anything", "anything"),
        ("Y, A", "Y"),
        ("R, G, B, Z", "Z"),
        ("R, G, B, A, depth", "depth"),
        ("ViewLayer.Combined.R, ViewLayer.Combined.G, ViewLayer.Depth.Z", "ViewLayer.Depth.Z"),
        ("Image.R, Image.G, Image.B, Depth.V", "Depth.V"),
        ("N.X, N.Y, N.Z, Z", "Z"),
        ("V.Combined.R, V.Depth.Z, V.Mist.Z, V.Denoising Depth.Z", "V.Depth.Z"),
        ("V.Combined.R, V.Combined.G, V.Combined.B, V.Mist.Z", None),
        ("Z, z", None),
        ("Y, Z", None),
        ("X, Y, Z", None),
        ("left.Z, right.Z", None),
        ("Z, depth", None),
        ("Y, BY, RY", None),
        ("N.X, N.Y, N.Z", None),
    ],
)
def test_the_depth_channel_is_taken_where_it_is_clear(names, chosen):
    choice = depth_channels(names.split(", "))
    assert (choice and choice.channels) == (chosen and [chosen])


def test_a_worker_process_reads_as_this_one_and_prints_nothing(tmp_path, capfd):
    """Workers decode with OpenEXR's own binding."""
    whole = {
        "half": exr(halves()),
        "float": any_exr(tmp_path / "x.exr", {"Y": VALUES.astype(np.float32)}),
    }
    paths = []
    for name, contents in whole.items():
        rng = np.random.default_rng(0)
        spoilt = [contents[:-1]] + [spoil(contents, rng) for _ in range(20)]
        paths += [
            put(tmp_path / f"{name}{place}.exr", each)
            for place, each in enumerate([contents, *spoilt])
        ]
    with make_executor(1) as executor:
        found = [executor.submit(read_exr, path) for path in paths]
        refused = 0
        for path, future in zip(paths, found, strict=True):
            try:
                expected = read_exr(path)
            except DataError as error:
                assert str(future.exception()) == str(error)
                refused += 1
                continue
            assert future.result().dtype == expected.dtype
            np.testing.assert_array_equal(future.result(), expected)
    assert 20 < refused < len(paths) - 2
    assert capfd.readouterr() == ("", "")


def test_all_parts_of_an_exr_are_searched(tmp_path):
    path, z = tmp_path / "map.exr", halves().astype(np.float32)
    colours = OpenEXR.Part({}, dict.fromkeys("RGB", halves(1)), "beauty")
    OpenEXR.File([colours, OpenEXR.Part({}, {"Z": z}, "depth")]).write(str(path))
    np.testing.assert_array_equal(read_exr(path), z)
    parts = [OpenEXR.Part({}, {"Z": z + place}, f"view{place}") for place in range(2)]
    OpenEXR.File(parts).write(str(path))
    with pytest.raises(DataError, match=r"has the channels view0\.Z, view1\.Z"):
        read_exr(path)
    np.testing.assert_array_equal(read_exr(path, "view1.Z"), z + 1)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are text")
def test_an_exr_whose_name_is_no_text_is_refused_for_that(tmp_path):
    with pytest.raises(DataError, match="a name that is not UTF-8"):
        read_exr(put(tmp_path / os.fsdecode(b"\xff.exr"), exr(halves())))


def test_a_damaged_exr_is_refused(tmp_path):
    whole = exr(halves())
    for length in (0, 3, 100, len(whole) // 2, len(whole) - 1):
        with pytest.raises(DataError, match=r"map\.exr: is not a readable OpenEXR file"):
            read_exr(put(tmp_path / "map.exr", whole[:length]))


def test_lines_of_other_threads_arrive_while_files_are_read_and_nothing_else_does(tmp_path, capfd):
    """Whole and damaged OpenEXR and TIFF files are read while another thread prints."""
    rng = np.random.default_rng(0)
    whole = {
        "map.exr": exr(halves()),
        "map.tif": tiff(VALUES, compression="tiff_lzw"),
        "map.tiff": any_tiff(VALUES.astype(np.float32), compression="zlib", predictor=True),
    }
    readers = {"map.exr": read_exr, "map.tif": read_tiff, "map.tiff": read_tiff}
    done, lines = threading.Event(), [0, 0]

    def print_lines():
        while not done.is_set():
            for stream in (1, 2):
                os.write(stream, f"line {lines[stream - 1]}\n".encode())
                lines[stream - 1] += 1

    printing = threading.Thread(target=print_lines)
    printing.start()
    refused = 0
    for name, contents in whole.items():
        for spoilt in [contents, contents[: len(contents) // 2]] + [
            spoil(contents, rng) for _ in range(20)
        ]:
            try:
                readers[name](put(tmp_path / name, spoilt))
            except DataError:
                refused += 1
    done.set()
    printing.join()
    assert refused > 20 and min(lines) > 0
    for captured, count in zip(capfd.readouterr(), lines, strict=True):
        assert captured.splitlines() == [f"line {number}" for number in range(count)]


def test_pictures_in_colour_are_read_as_red_green_blue(tmp_path):
    image = Image.new("P", (3, 2))
    image.putpalette([10, 20, 30])
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(
        read_colours(tmp_path / "a.png"), np.full((2, 3, 3), [10, 20, 30])
    )
    with pytest.raises(DataError, match="not a readable picture"):
        read_colours(put(tmp_path / "b.jpg", b"no picture"))


def test_grey_pictures_of_16_bits_are_not_cut_off_at_white(tmp_path):
    grey = np.array([[0, 255, 256], [25600, 51455, 65535]], np.uint16)
    seen = read_colours(put(tmp_path / "a.png", picture(grey, "png")))
    np.testing.assert_array_equal(seen, np.repeat([[[0], [0], [1]], [[100], [200], [255]]], 3, -1))


def test_a_picture_without_permission_is_told_in_one_line(tmp_path, monkeypatch):
    path = put(tmp_path / "a.png", picture(np.zeros((2, 3, 3), np.uint8), "png"))

    def refused(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refused)
    with pytest.raises(DataError, match=r"a\.png: cannot be read: Permission denied$"):
        read_colours(path)
