import struct

import numpy as np
import pytest
from broken_files import any_tiff, picture, tiff
from PIL import Image
from raw_files import put

from train3d_jax.errors import DataError
from train3d_jax.formats.tiff import read_tiff

VALUES = np.random.default_rng(0).integers(1, 2000, (37, 21)).astype(np.uint16)  # exact in a half


def read(tmp_path, contents, **options):
    return read_tiff(put(tmp_path / "map.tif", contents), **options)


@pytest.mark.parametrize("dtype", ["u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    "layout",
    [
        {},
        {"compression": "lzw", "predictor": True},
        {"compression": "zlib", "predictor": True, "tile": (16, 16)},
        {"compression": "zstd", "rowsperstrip": 5},
        {"compression": "packbits"},
        {"compression": "lzma", "bigtiff": True},
    ],
)
def test_numbers_of_any_type_are_read_from_any_layout(tmp_path, dtype, order, layout):
    if dtype in ("u8", "i8"):
        layout = {**layout, "predictor": False}  # tifffile does not write it
    contents = any_tiff(VALUES.astype(order + dtype), byteorder=order, **layout)
    values = read(tmp_path, contents)
    assert values.dtype.newbyteorder("=") == np.dtype(dtype)
    np.testing.assert_array_equal(values, VALUES)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32, ">u2"])
@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate"])
def test_tiffs_of_another_writer_are_read(tmp_path, dtype, compression):
    contents = tiff(VALUES.astype(dtype), compression=compression)
    np.testing.assert_array_equal(read(tmp_path, contents), VALUES)


def test_unsigned_32_bit_tiffs_keep_their_upper_half(tmp_path):
    values = np.array([[1 << 31, 5], [(1 << 32) - 1, 1 << 30]], np.uint32)
    signed, unsigned = (struct.pack("<HHII", 339, 3, 1, kind) for kind in (2, 1))
    contents = tiff(values.view(np.int32)).replace(signed, unsigned)  # the tag of sample formats
    np.testing.assert_array_equal(read(tmp_path, contents), values)


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
@pytest.mark.parametrize("photometric", ["rgb", "minisblack"])
def test_channels_that_agree_are_read_as_one(tmp_path, planar, dtype, photometric):
    axis = -1 if planar == "contig" else 0
    layout = {"photometric": photometric, "planarconfig": planar}
    same = np.stack([VALUES.astype(dtype)] * 3, axis)
    np.testing.assert_array_equal(read(tmp_path, any_tiff(same, **layout)), VALUES)
    different = np.stack([VALUES, VALUES, VALUES + 1], axis).astype(dtype)
    bits = 8 * np.dtype(dtype).itemsize
    with pytest.raises(DataError, match=f"is in colour: its {bits}-bit channels differ"):
        read(tmp_path, any_tiff(different, **layout))


@pytest.mark.parametrize("extra", ["unassalpha", "unspecified"])
def test_what_is_transparent_is_missing(tmp_path, extra):
    alpha = np.full(VALUES.shape, 65535, np.uint16)
    alpha[:5] = 0
    samples = np.stack([VALUES, VALUES, VALUES, alpha], -1)
    contents = any_tiff(samples, photometric="rgb", extrasamples=[extra])
    np.testing.assert_array_equal(read(tmp_path, contents), np.where(alpha > 0, VALUES, 0))


def test_the_value_that_a_geographic_file_calls_missing_comes_out_as_0(tmp_path):
    values = VALUES.astype(np.float32)
    values[3] = -9999
    contents = any_tiff(values, extratags=[(42113, "s", 0, "-9999", True)])
    found = read(tmp_path, contents)
    assert not found[3].any()
    np.testing.assert_array_equal(found[4:], VALUES[4:])


def test_several_pages_are_refused_and_smaller_copies_left_aside(tmp_path):
    pages = [Image.fromarray(VALUES)] * 3
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(DataError, match="holds 3 pages; save each page as its own file"):
        read_tiff(tmp_path / "pages.tif")
    import tifffile

    with tifffile.TiffWriter(tmp_path / "overview.tif") as file:
        file.write(VALUES)
        file.write(VALUES[::2, ::2], subfiletype=1)
    np.testing.assert_array_equal(read_tiff(tmp_path / "overview.tif"), VALUES)


def test_pages_in_a_circle_are_refused(tmp_path):
    contents = bytearray(any_tiff(VALUES, metadata=None))
    (first,) = struct.unpack_from("<I", contents, 4)
    (tags,) = struct.unpack_from("<H", contents, first)
    struct.pack_into("<I", contents, first + 2 + 12 * tags, first)  # the next page: this one
    with pytest.raises(DataError, match="form a circle"):
        read(tmp_path, bytes(contents))


def test_a_palette_is_grey_or_refused(tmp_path):
    image = Image.fromarray((VALUES % 256).astype(np.uint8), "L").convert("P")
    contents = picture(np.asarray(image), "tiff")
    np.testing.assert_array_equal(read(tmp_path, contents, allow_8bit=True), VALUES % 256)
    image.putpalette([value for grey in range(256) for value in (grey, 0, grey)])
    image.save(tmp_path / "palette.tif")
    with pytest.raises(DataError, match="8 bits or colours cannot hold depth"):
        read_tiff(tmp_path / "palette.tif")
    with pytest.raises(DataError, match="its 8-bit channels differ"):
        read_tiff(tmp_path / "palette.tif", allow_8bit=True)


def test_what_is_lossy_is_refused_by_its_name(tmp_path):
    contents = tiff(VALUES.astype(np.uint8), compression="jpeg")
    with pytest.raises(DataError, match="is compressed with JPEG"):
        read(tmp_path, contents, allow_8bit=True)


def test_a_truncated_tiff_is_refused(tmp_path):
    for compression in (None, "zlib"):
        contents = any_tiff(VALUES, compression=compression, metadata=None)
        with pytest.raises(DataError, match="not a readable TIFF"):
            read(tmp_path, contents[:-1])
