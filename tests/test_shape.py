"""What the library's users get: straight depth and clouds, and files read as the programs do."""

import numpy as np
import pytest
from box_rooms import box_room
from broken_files import whole_files
from raw_files import put

from train3d_jax import UserError, load_model, read_depth, recover
from train3d_jax.geometry import camera
from train3d_jax.inference import estimates
from train3d_jax.inference import recovery as inference

VALUES, CAMERA = box_room(0)
GEOMETRY = load_model(None, space="depth")


@pytest.fixture(scope="module")
def shape():
    return GEOMETRY.recover(0.1 * VALUES + 0.3)


def test_the_straight_depth_is_the_true_one_up_to_scale(shape):
    assert shape.solvable and shape.mask.all() and shape.depth.dtype == np.float32
    ratio = shape.depth / VALUES
    assert np.ptp(ratio) < 0.02 * ratio.mean()
    np.testing.assert_allclose(shape.a * (0.1 * VALUES + 0.3) + shape.b, shape.depth, rtol=1e-5)


def test_points_are_seen_where_the_depth_is(shape):
    pixels, depth = camera.project(shape.points.reshape(-1, 3), shape.intrinsics)
    grid = camera.pixel_grid(*shape.depth.shape).reshape(-1, 2)
    np.testing.assert_allclose(pixels, grid, atol=1e-3)
    np.testing.assert_array_equal(np.reshape(depth, shape.depth.shape), shape.depth)


def test_camera_and_field_of_view_are_those_of_the_focal_length(shape):
    np.testing.assert_allclose(
        shape.intrinsics, [[shape.focal_px, 0, 63.5], [0, shape.focal_px, 47.5], [0, 0, 1]]
    )
    assert np.tan(np.radians(shape.fov_deg / 2)) == pytest.approx(64 / shape.focal_px)
    low, high = shape.focal_interval_px
    assert low < shape.focal_px < high
    assert f"focal_px={shape.focal_px:.1f} ({low:.1f} to {high:.1f})" in repr(shape)


def test_given_intrinsics_are_kept_with_their_principal_point_and_pixels_that_are_not_square():
    wide = np.diag([1.25, 1, 1]) @ CAMERA + np.array([[0, 0, 3.0], [0, 0, -2], [0, 0, 0]])
    found = GEOMETRY.recover([VALUES] * 3, intrinsics=wide)
    np.testing.assert_allclose(found.intrinsics, [wide] * 3, rtol=1e-6)
    x, y = found.points[1][10, 20, :2] / found.points[1][10, 20, 2]
    assert x == pytest.approx((20 - wide[0, 2]) / wide[0, 0], rel=1e-5)
    assert y == pytest.approx((10 - wide[1, 2]) / wide[1, 1], rel=1e-5)
    assert found.fov_deg[1] == pytest.approx(np.degrees(2 * np.arctan(64 / wide[0, 0])))


def test_what_the_mask_leaves_out_is_as_if_it_were_missing():
    mask = np.ones(VALUES.shape, bool)
    mask[20:50, :70] = False
    zeros = GEOMETRY.recover(np.where(mask, VALUES, 0))
    other = np.where(mask, VALUES, 17.0)
    for given in (mask, mask[None], mask[..., None], 255 * mask.astype(np.uint8), mask.tolist()):
        found = GEOMETRY.recover(other, given)
        np.testing.assert_array_equal(found.mask, mask)
        np.testing.assert_array_equal(found.depth, zeros.depth)
        assert found.focal_px == zeros.focal_px and found.flags == zeros.flags
    assert not found.points[~mask].any()


def test_a_batch_has_leading_axes_and_a_list_has_lists_of_maps_of_several_sizes():
    mask = np.median(VALUES) > VALUES
    masks = np.stack([mask, ~mask, mask])
    batch = GEOMETRY.recover(np.stack([VALUES] * 3), masks)
    assert batch.points.shape == (3, 96, 128, 3) and batch.intrinsics.shape == (3, 3, 3)
    np.testing.assert_array_equal(batch.mask, masks)
    small = VALUES[:80, :100]
    several = GEOMETRY.recover([VALUES, small, small], [mask, *np.ones((2, 80, 100), bool)])
    assert [depth.shape for depth in several.depth] == [(96, 128), (80, 100), (80, 100)]
    assert [points.shape for points in several.points] == [(96, 128, 3)] + 2 * [(80, 100, 3)]
    np.testing.assert_array_equal(several.intrinsics[:2, :2, 2], [[63.5, 47.5], [49.5, 39.5]])
    assert several.focal_px[0] == batch.focal_px[0] and "3 maps" in repr(several)
    for found in (batch, several):
        assert [type(flags) for flags in found.flags] == [tuple] * 3
        assert found.fov_deg.shape == (3,) and found.shift_interval.shape == (3, 2)


def test_a_map_without_an_answer_has_no_numbers_and_no_depth():
    found = GEOMETRY.recover(np.full((30, 40), 2.5))
    assert not found.solvable and not found.mask.any() and not found.depth.any()
    assert not found.points.any()
    assert (
        all(np.isnan(found.focal_interval_px)) and np.isnan([found.a, found.b, found.fov_deg]).all()
    )


def test_in_disparity_space_the_straight_depth_is_the_inverse(monkeypatch):
    def recover_blocks(networks, blocks, known, method, space, at_once, segments):
        numbers = np.ones(len(blocks.size))
        pairs, flags = np.ones((len(numbers), 2)), dict.fromkeys(estimates.FLAGS, numbers < 0)
        by_map, wins = np.ones((len(numbers), 3)), numbers < 0
        answers = [
            numbers,
            100 * numbers,
            pairs,
            pairs,
            by_map,
            wins,
            2 * numbers,
            numbers,
            numbers,
        ]
        return inference.Estimates(numbers > 0, *answers, flags)

    monkeypatch.setattr(inference, "recover_blocks", recover_blocks)
    found = recover([VALUES] * 17, None, space="disparity")  # more than are solved at once
    assert len(found.depth) == 17 and (found.a == 2).all() and (found.b == 2).all()
    np.testing.assert_allclose(found.depth[16], 1 / (2 * VALUES + 2), rtol=1e-6)


# Files.

UNITS = np.random.default_rng(0).integers(1, 2000, (5, 7)).astype(np.uint16)  # exact in a half


@pytest.mark.parametrize(("name", "contents"), whole_files(UNITS).items())
def test_a_file_of_each_kind_is_read(tmp_path, name, contents):
    path = put(tmp_path / name, contents)
    for given in (path, str(path)):
        values = read_depth(given)
        assert values.dtype == np.float32
        np.testing.assert_array_equal(values, UNITS)


def test_what_a_file_does_not_say_is_an_argument(tmp_path):
    path = tmp_path / "two.npz"
    np.savez(path, depth=UNITS.astype(float), other=UNITS)
    with pytest.raises(UserError, match=r"two\.npz: holds depth, other; .* name it \(key\)"):
        read_depth(path)
    found = read_depth(path, key="depth", invalid=[float(UNITS[0, 0])], negate=True)
    np.testing.assert_array_equal(found, np.where(UNITS[0, 0] == UNITS, 0, -UNITS.astype(float)))
    with pytest.raises(UserError, match=r"nowhere\.npy: cannot be read"):
        read_depth(tmp_path / "nowhere.npy")
