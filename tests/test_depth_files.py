import numpy as np
import pytest
from raw_files import exr, png16, put

from data.depth_files import find_depth_files, read_depth_file
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
    with pytest.raises(DataError, match="not a readable numpy file"):
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
    return [(file.relative_to(path).as_posix(), name) for file, name in find_depth_files(path)]


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
    assert find_depth_files(path) == [(path, "some.map")]


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
        read_depth_file(put(tmp_path / "map.tiff", b""))
