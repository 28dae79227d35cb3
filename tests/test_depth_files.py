import struct

import numpy as np
import OpenEXR
import pytest
from broken_files import pfm, picture, tiff
from PIL import Image
from raw_files import exr, png16, put

from data.depth_files import ReadSettings, find_depth_files, read_depth_file
from data.protocol import DataError
from train3d_jax.errors import UserError

VALUES = np.random.default_rng(0).integers(1, 2000, (5, 7)).astype(np.uint16)  # exact in a half


def put_npy(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, values)
    return path


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.uint16, np.int64, ">f4"])
def test_numpy_files_of_any_type_of_number_are_read(tmp_path, dtype):
    values = read_depth_file(put_npy(tmp_path / "map.npy", VALUES.astype(dtype)))
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, VALUES)


def test_an_npz_is_read_where_it_holds_one_array(tmp_path):
    np.savez(tmp_path / "one.npz", depth=VALUES)
    np.testing.assert_array_equal(read_depth_file(tmp_path / "one.npz"), VALUES)
    np.savez(tmp_path / "two.npz", depth=VALUES, mask=VALUES)
    with pytest.raises(DataError, match=r"two\.npz: holds depth, mask; .* one array"):
        read_depth_file(tmp_path / "two.npz")


def test_of_several_arrays_the_key_chooses(tmp_path):
    np.savez(tmp_path / "two.npz", depth=VALUES, mask=VALUES > 0)
    np.testing.assert_array_equal(
        read_depth_file(tmp_path / "two.npz", ReadSettings(key="depth")), VALUES
    )
    with pytest.raises(DataError, match="holds no disparity, only depth, mask"):
        read_depth_file(tmp_path / "two.npz", ReadSettings(key="disparity"))
    with pytest.raises(DataError, match="holds bool, not numbers"):
        read_depth_file(tmp_path / "two.npz", ReadSettings(key="mask"))


def test_of_several_channels_the_channel_chooses(tmp_path):
    path = tmp_path / "map.exr"
    channels = {name: VALUES.astype(np.float32) + place for place, name in enumerate("YZ")}
    OpenEXR.File({"compression": OpenEXR.ZIP_COMPRESSION}, channels).write(str(path))
    np.testing.assert_array_equal(read_depth_file(path, ReadSettings(channel="Z")), VALUES + 1.0)
    with pytest.raises(DataError, match="--channel"):
        read_depth_file(path)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32, ">u2"])
@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate"])
def test_tiffs_of_16_and_32_bits_are_read(tmp_path, dtype, compression):
    contents = tiff(VALUES.astype(dtype), compression=compression)
    np.testing.assert_array_equal(read_depth_file(put(tmp_path / "map.tif", contents)), VALUES)


def test_unsigned_32_bit_tiffs_keep_their_upper_half(tmp_path):
    values = np.array([[1 << 31, 5], [(1 << 32) - 1, 1 << 30]], np.uint32)
    signed, unsigned = (struct.pack("<HHII", 339, 3, 1, kind) for kind in (2, 1))
    contents = tiff(values.view(np.int32)).replace(signed, unsigned)  # the tag of sample formats
    found = read_depth_file(put(tmp_path / "map.tiff", contents))
    np.testing.assert_array_equal(found, values.astype(np.float32))


def test_a_tiff_of_several_pages_is_refused(tmp_path):
    pages = [Image.fromarray(VALUES), Image.fromarray(VALUES)]
    pages[0].save(tmp_path / "map.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(DataError, match="holds 2 pages"):
        read_depth_file(tmp_path / "map.tif")


@pytest.mark.parametrize("scale", [-1.0, 1.0, -0.5])
def test_a_pfm_is_read_from_its_lowest_row_in_either_byte_order(tmp_path, scale):
    found = read_depth_file(put(tmp_path / "map.pfm", pfm(VALUES, scale)))
    np.testing.assert_array_equal(found, VALUES)


def test_a_pfm_in_colour_is_refused(tmp_path):
    with pytest.raises(DataError, match="in colour"):
        read_depth_file(put(tmp_path / "map.pfm", b"PF\n1 1\n-1\n" + bytes(12)))


@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_eight_bits_are_refused_unless_they_are_allowed(tmp_path, kind):
    values = VALUES.astype(np.uint8)
    grey = put(tmp_path / f"grey.{kind}", picture(values, kind))
    copies = put(tmp_path / f"copies.{kind}", picture(np.stack([values] * 3, -1), kind))
    for path in (grey, copies):
        with pytest.raises(DataError, match="8 bits or colours cannot hold depth"):
            read_depth_file(path)
        np.testing.assert_array_equal(read_depth_file(path, ReadSettings(allow_8bit=True)), values)


def test_colours_are_refused_even_where_eight_bits_are_allowed(tmp_path):
    mapped = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    path = put(tmp_path / "map.png", picture(mapped, "png"))
    with pytest.raises(DataError, match="is in colour"):
        read_depth_file(path, ReadSettings(allow_8bit=True))


def test_values_that_mean_missing_come_out_as_0(tmp_path):
    values = VALUES.astype(np.float32)
    values[0, :3] = (-1, 65535, 65534)
    path = put_npy(tmp_path / "map.npy", values)
    found = read_depth_file(path, ReadSettings(invalid=(-1, 65535)))
    np.testing.assert_array_equal(found[0, :3], [0, 0, 65534])
    np.testing.assert_array_equal(found[1:], values[1:])


def test_png_and_exr_are_read_as_they_are_stored(tmp_path):
    put(tmp_path / "map.PNG", png16(VALUES))
    put(tmp_path / "map.exr", exr(VALUES.astype(np.float16)))
    for name in ("map.PNG", "map.exr"):
        values = read_depth_file(tmp_path / name)
        assert values.dtype == np.float32
        np.testing.assert_array_equal(values, VALUES)


@pytest.mark.parametrize("shape", [(1, 5, 7), (5, 7, 1), (1, 1, 5, 7), (1, 5, 7, 1)])
def test_axes_of_length_one_are_left_out(tmp_path, shape):
    values = read_depth_file(put_npy(tmp_path / "map.npy", VALUES.reshape(shape)))
    np.testing.assert_array_equal(values, VALUES)


@pytest.mark.parametrize("shape", [(35, 1), (1, 35), (1, 1)])
def test_a_map_one_pixel_wide_is_a_map(tmp_path, shape):
    values = VALUES.ravel()[: np.prod(shape)].reshape(shape)
    assert read_depth_file(put_npy(tmp_path / "map.npy", values)).shape == shape


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (VALUES.ravel(), r"shape \(35,\)"),
        (np.zeros((3, 5, 7)), r"shape \(3, 5, 7\)"),
        (np.float32(3), r"shape \(\)"),
        (np.zeros((0, 7)), r"shape \(0, 7\)"),
        (np.full((5, 7), "a"), "not numbers"),
        (np.ones((5, 7), bool), "not numbers"),
        (np.ones((5, 7), complex), "not numbers"),
    ],
)
def test_what_is_no_map_of_numbers_is_refused(tmp_path, values, reason):
    with pytest.raises(DataError, match=rf"map\.npy: holds .*{reason}"):
        read_depth_file(put_npy(tmp_path / "map.npy", values))


def test_pickles_are_not_loaded(tmp_path):
    np.save(tmp_path / "map.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(DataError, match="holds object, not numbers"):
        read_depth_file(tmp_path / "map.npy")


@pytest.mark.parametrize("name", ["map.npy", "map.npz", "map.png", "map.exr"])
def test_a_damaged_file_is_refused_in_one_line_that_names_it(tmp_path, name):
    put_npy(tmp_path / "map.npy", VALUES)
    np.savez_compressed(tmp_path / "map.npz", VALUES)
    put(tmp_path / "map.png", png16(VALUES))
    put(tmp_path / "map.exr", exr(VALUES.astype(np.float16)))
    whole = (tmp_path / name).read_bytes()
    for length in (0, 5, len(whole) // 2, len(whole) - 14):
        (tmp_path / name).write_bytes(whole[:length])
        with pytest.raises(DataError) as error:
            read_depth_file(tmp_path / name)
        assert name in str(error.value) and "\n" not in str(error.value)


def test_values_too_large_for_float32_become_infinite_without_a_warning(tmp_path):
    values = np.full((5, 7), 1e300)
    assert np.isinf(read_depth_file(put_npy(tmp_path / "map.npy", values))).all()


def names(path):
    return [(file.relative, file.name) for file in find_depth_files(path)]


def test_depth_maps_are_found_in_all_folders_in_the_order_of_their_names(tmp_path):
    for name in ("b/map.npy", "a.PNG", "b/c/map.exr", "notes.txt", "a.jpg", "c.npz"):
        put(tmp_path / name, b"")
    (tmp_path / "folder.npy").mkdir()
    assert names(tmp_path) == [
        ("a.PNG", "a"),
        ("b/c/map.exr", "b/c/map"),
        ("b/map.npy", "b/map"),
        ("c.npz", "c"),
    ]


def test_a_single_file_is_found(tmp_path):
    path = put(tmp_path / "some.map.npy", b"")
    (found,) = find_depth_files(path)
    assert (found.path, found.relative, found.name) == (path, "some.map.npy", "some.map")


def test_no_two_maps_get_the_same_name(tmp_path):
    inputs = ("a.npy", "a.png", "b/a.npy", "c.npy", "c.v2.npy", "d.npy", "d.npz", "d.npy.png")
    for name in inputs:
        put(tmp_path / name, b"")
    found = dict(names(tmp_path))
    assert found["a.npy"] == "a.npy" and found["a.png"] == "a.png"
    assert (found["b/a.npy"], found["c.npy"], found["c.v2.npy"]) == ("b/a", "c", "c.v2")
    assert len(set(found.values())) == len(inputs)


@pytest.mark.parametrize("name", ["nowhere", "empty", "notes.txt"])
def test_nothing_to_read_is_an_error_that_names_the_place(tmp_path, name):
    (tmp_path / "empty").mkdir()
    put(tmp_path / "notes.txt", b"")
    with pytest.raises(UserError, match=name):
        find_depth_files(tmp_path / name)


def test_a_file_of_another_kind_is_refused(tmp_path):
    with pytest.raises(DataError, match="is not a depth map"):
        read_depth_file(put(tmp_path / "map.jpg", b""))


def test_a_pattern_finds_what_matches_and_keeps_the_paths_behind_its_fixed_part(tmp_path):
    for name in ("s/1/depth.png", "s/1/mask.png", "s/2/x/depth.png", "s/2/depth.txt"):
        put(tmp_path / name, b"")
    found = find_depth_files(tmp_path / "s" / "**" / "depth.*")
    assert {file.root for file in found} == {tmp_path / "s"}
    assert [file.relative for file in found] == ["1/depth.png", "2/x/depth.png"]
    assert [file.path.is_file() for file in found] == [True, True]
    with pytest.raises(UserError, match="holds no depth map"):
        find_depth_files(tmp_path / "*.png")


def test_a_name_with_brackets_is_a_name_where_it_is_there(tmp_path):
    put(tmp_path / "map[1].npy", b"")
    assert find_depth_files(tmp_path / "map[1].npy")[0].relative == "map[1].npy"


def test_what_an_earlier_run_left_is_no_input(tmp_path):
    for name in ("a.npy", "out/a.npz", "outer.npy"):
        put(tmp_path / name, b"")
    found = find_depth_files(tmp_path, leave_out=tmp_path / "out")
    assert [file.relative for file in found] == ["a.npy", "outer.npy"]


def test_reserved_names_keep_their_suffix(tmp_path):
    for name in ("summary.npy", "a.npy"):
        put(tmp_path / name, b"")
    found = find_depth_files(tmp_path, reserved=("summary",))
    assert [file.name for file in found] == ["a", "summary.npy"]
    single = find_depth_files(tmp_path / "summary.npy", reserved=("summary",))
    assert [file.name for file in single] == ["summary.npy"]
