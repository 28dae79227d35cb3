import numpy as np
import OpenEXR
import pytest
from broken_files import picture
from raw_files import exr, png16, put

from data.user_maps.depth_files import find_depth_files, search
from launch import program
from train3d_jax.errors import DataError, UserError
from train3d_jax.formats.depth import ReadSettings, read_depth_file

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
    with pytest.raises(DataError) as error:
        read_depth_file(path)
    assert "--channel" in program.message(error.value)


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
    for kind in ("png", "tiff"):
        path = put(tmp_path / f"map.{kind}", picture(mapped, kind))
        with pytest.raises(DataError, match="is in colour: its 8-bit channels differ"):
            read_depth_file(path, ReadSettings(allow_8bit=True))


def test_values_that_mean_missing_come_out_as_0(tmp_path):
    values = VALUES.astype(np.float32)
    values[0, :3] = (-1, 65535, 65534)
    path = put_npy(tmp_path / "map.npy", values)
    found = read_depth_file(path, ReadSettings(invalid=(-1, 65535)))
    np.testing.assert_array_equal(found[0, :3], [0, 0, 65534])
    np.testing.assert_array_equal(found[1:], values[1:])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_a_value_that_means_missing_is_compared_in_the_type_of_the_file(tmp_path, dtype):
    values = VALUES.astype(dtype)
    values[0, :2] = (0.001, 0.0011)
    path = put_npy(tmp_path / "map.npy", values)
    found = read_depth_file(path, ReadSettings(invalid=(0.001,)))
    assert found[0, 0] == 0 and found[0, 1] == np.float32(values[0, 1])
    np.testing.assert_array_equal(found[1:], VALUES[1:])


def test_float64_files_of_float32_values_hold_the_value_of_float32(tmp_path):
    path = put_npy(tmp_path / "map.npy", np.full((5, 7), np.float32(0.001)).astype(float))
    assert not read_depth_file(path, ReadSettings(invalid=(0.001,))).any()


@pytest.mark.parametrize(
    ("dtype", "missing"),
    [(np.uint16, 65535), (np.int16, -1), (np.int64, (1 << 63) - 1), (np.uint64, (1 << 64) - 1)],
)
def test_integers_are_compared_exactly(tmp_path, dtype, missing):
    values = np.full((2, 3), missing, dtype)
    values[0] -= 1
    path = put_npy(tmp_path / "map.npy", values)
    found = read_depth_file(path, ReadSettings(invalid=(missing, 1.5, -70000, float("nan"))))
    assert found[0].all() and not found[1].any()


@pytest.mark.parametrize("missing", [np.nan, np.inf, -np.inf, 1e300])
def test_what_is_not_finite_can_be_named_as_missing(tmp_path, missing):
    values = np.full((2, 3), 5, np.float32)
    with np.errstate(over="ignore"):
        values[1] = missing
    path = put_npy(tmp_path / "map.npy", values)
    found = read_depth_file(path, ReadSettings(invalid=(missing,)))
    np.testing.assert_array_equal(found, [[5, 5, 5], [0, 0, 0]])


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


@pytest.mark.parametrize(
    ("shape", "way_out"),
    [
        (
            (4, 24, 32),
            r"4 maps of 24 x 32 \(a clip\?\), which launch.infer takes .* save each",
        ),
        ((4, 1, 24, 32), "4 maps of 24 x 32"),
        ((24, 32, 3), "3 channels; save the one that holds depth"),
    ],
)
def test_several_maps_in_one_array_are_refused_with_the_way_out(tmp_path, shape, way_out):
    np.savez(tmp_path / "map.npz", depths=np.ones(shape))
    with pytest.raises(DataError, match=rf"map\.npz: holds an array of shape .*{way_out}"):
        read_depth_file(tmp_path / "map.npz")


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


def test_depth_maps_are_listed_in_all_folders_in_the_order_of_their_names(tmp_path):
    for name in ("b/map.npy", "a.PNG", "b/c/map.exr", "notes.txt", "a.jpg", "c.npz"):
        put(tmp_path / name, b"")
    (tmp_path / "folder.npy").mkdir()
    assert names(tmp_path) == [
        ("a.PNG", "a"),
        ("b/c/map.exr", "b/c/map"),
        ("b/map.npy", "b/map"),
        ("c.npz", "c"),
    ]


def test_a_single_file_is_listed(tmp_path):
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


def test_a_folder_without_depth_maps_says_what_it_holds(tmp_path):
    for place in range(12):
        put(tmp_path / f"{place}.raw", b"")
    for name in ("a.dpt", "b/a.DPT", "a.npz.gz", "a.jpg", "README", "._a.raw", ".DS_Store"):
        put(tmp_path / name, b"")
    with pytest.raises(UserError) as error:
        find_depth_files(tmp_path)
    assert str(error.value).endswith(
        "there are 12 .raw, 2 .dpt, 1 without a suffix, 1 .jpg, 1 .npz.gz"
    )
    with pytest.raises(UserError, match=r"holds no depth map; .* there are 12 \.raw$"):
        find_depth_files(tmp_path / "*.raw")


def test_files_of_other_kinds_are_counted_beside_depth_maps(tmp_path):
    others = ("a.raw", "b/b.raw", "c.dat", "d.heic", "e.npz.gz", "f.tar.gz", "cameras.bin")
    companions = ("a.jpg", "a.json", "a.txt", "a.ply", "LICENSE", ".git/hooks/a.sample", "x.1 m")
    for name in ("a.npy", "._a.npy", "out/a.raw", *others, *companions):
        put(tmp_path / name, b"")
    found = search(tmp_path, leave_out=tmp_path / "out")
    assert [file.relative for file in found.files] == ["a.npy"]
    kinds = {".raw": 2, ".dat": 1, ".heic": 1, ".npz.gz": 1, ".tar.gz": 1, ".bin": 1}
    assert found.others == kinds
    assert search(tmp_path / "a.npy").others == {}


def test_suffixes_of_two_parts_are_found_counted_and_left_out_of_names(tmp_path):
    for name in ("a.npy.gz", "b/room.jpg.geometric.bin", "b/room.jpg.photometric.bin", ".npy.gz"):
        put(tmp_path / name, b"")
    put(tmp_path / "c.MAT", b"")
    found = search(tmp_path)
    assert [(file.relative, file.name) for file in found.files] == [
        ("a.npy.gz", "a"),
        ("b/room.jpg.geometric.bin", "b/room.jpg.geometric.bin"),
        ("b/room.jpg.photometric.bin", "b/room.jpg.photometric.bin"),
        ("c.MAT", "c"),
    ]
    assert str(found.files[1].bare) == "b/room.jpg"
    assert found.others == {}
    assert names(tmp_path / "a.npy.gz") == [("a.npy.gz", "a")]


def test_pictures_that_may_hold_depth_are_read_where_there_is_nothing_else(tmp_path):
    for name in ("a.HEIC", "b.heif", "c.jpg"):
        put(tmp_path / name, b"")
    assert names(tmp_path) == [("a.HEIC", "a"), ("b.heif", "b")]
    put(tmp_path / "a.npy", b"")
    assert names(tmp_path) == [("a.npy", "a")]
    assert search(tmp_path).others == {".heic": 1, ".heif": 1}
    assert names(tmp_path / "a.HEIC") == [("a.HEIC", "a")]


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
