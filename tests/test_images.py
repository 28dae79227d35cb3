import numpy as np
import OpenEXR
import pytest
from PIL import Image
from raw_files import exr, png16, put

from data.images import read_colours, read_exr, read_png
from data.protocol import DataError

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


@pytest.mark.parametrize("read", [read_png, read_exr])
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


def test_a_damaged_exr_is_refused_without_a_word_of_the_library(tmp_path, capfd):
    whole = exr(halves())
    for length in (0, 3, 100, len(whole) // 2, len(whole) - 1):
        with pytest.raises(DataError, match=r"map\.exr: is not a readable OpenEXR file"):
            read_exr(put(tmp_path / "map.exr", whole[:length]))
    assert capfd.readouterr() == ("", "")


def test_pictures_in_colour_are_read_as_red_green_blue(tmp_path):
    image = Image.new("P", (3, 2))
    image.putpalette([10, 20, 30])
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(
        read_colours(tmp_path / "a.png"), np.full((2, 3, 3), [10, 20, 30])
    )
    with pytest.raises(DataError, match="not a readable picture"):
        read_colours(put(tmp_path / "b.jpg", b"no picture"))
