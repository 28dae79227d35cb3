import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train3d_jax.geometry import clouds, points

blocks_on_device = jax.jit(clouds.blocks_on_device)
one_point_per_voxel = jax.jit(points.one_point_per_voxel, static_argnums=2)
sample_points = jax.jit(points.sample_points, static_argnums=3)


def blocks_by_loops(values, mask, blocks):
    """What `average_blocks` promises, one pixel after the other."""
    height, width = values.shape
    rows, columns = blocks
    cells = {}
    for v in range(height):
        for u in range(width):
            if mask[v, u]:
                # The last block that begins at or before the pixel.
                row = max(r for r in range(rows) if r * height // rows <= v)
                column = max(c for c in range(columns) if c * width // columns <= u)
                cells.setdefault(row * columns + column, []).append((u, v, values[v, u]))
    means = np.zeros((rows * columns, 3))
    for cell, held in cells.items():
        means[cell] = np.mean(held, 0)
    return means, np.isin(np.arange(rows * columns), list(cells))


@pytest.mark.parametrize(
    "size", [(1, 1), (1, 9), (3, 2), (4, 3), (7, 5), (13, 17), (24, 30), (150, 400)]
)
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_blocks_hold_the_mean_place_and_value_of_their_valid_pixels(size, share, dtype):
    rng = np.random.default_rng(0)
    values = rng.uniform(1, 9, size).astype(dtype)
    mask = rng.random(size) < share
    # What is masked out must not reach a sum.
    values[~mask] = rng.choice([np.nan, np.inf, -np.inf, 0], (~mask).sum())
    pixels, means, found = points.average_blocks(values, mask, (4, 3))
    expected, occupied = blocks_by_loops(values, mask, (4, 3))
    assert (pixels.dtype, means.dtype, found.dtype) == (np.float32, np.float32, np.bool_)
    np.testing.assert_array_equal(found, occupied)
    # float64 inside, rounded once to float32.
    np.testing.assert_allclose(pixels[found], expected[found][:, :2], rtol=1e-6)
    np.testing.assert_allclose(means[found], expected[found][:, 2], rtol=1e-6)


@pytest.mark.parametrize("size", [(3, 2), (13, 17), (150, 400)])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
def test_blocks_of_integers_are_exact(size, share, dtype):
    rng = np.random.default_rng(0)
    values = rng.integers(1, np.iinfo(dtype).max, size, dtype, endpoint=True)
    mask = rng.random(size) < share
    _, means, found = points.average_blocks(values, mask, (4, 3))
    expected, occupied = blocks_by_loops(values.astype(np.float64), mask, (4, 3))
    np.testing.assert_array_equal(found, occupied)
    # The sums are exact, the means are rounded to float32 once.
    np.testing.assert_allclose(means[found], expected[found][:, 2], rtol=6e-8)


def test_a_map_of_as_many_pixels_as_blocks_comes_through_unchanged():
    values = np.random.default_rng(1).uniform(1, 9, points.BLOCKS).astype(np.float32)
    pixels, means, mask = points.average_blocks(values, values < 5)
    v, u = np.mgrid[: points.BLOCKS[0], : points.BLOCKS[1]]
    expected = np.stack([u.ravel(), v.ravel()], -1)
    np.testing.assert_array_equal(mask, (values < 5).ravel())
    np.testing.assert_array_equal(pixels[mask], expected[mask])
    np.testing.assert_array_equal(means[mask], values.ravel()[mask])


def test_averaging_commutes_with_scale_and_shift():
    rng = np.random.default_rng(2)
    values = rng.uniform(1, 9, (50, 41))
    mask = rng.random(values.shape) < 0.7
    pixels, means, found = points.average_blocks(values, mask, (8, 8))
    pixels_too, affine, found_too = points.average_blocks(3.5 * values - 20, mask, (8, 8))
    np.testing.assert_array_equal(pixels, pixels_too)
    np.testing.assert_array_equal(found, found_too)
    # Both are rounded to float32 at values up to 20: 1e-6 each.
    np.testing.assert_allclose(affine[found], 3.5 * means[found] - 20, atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (13, 17), (63, 129), (97, 131), (150, 400)])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99, 1.0])
def test_blocks_are_the_same_on_the_device(size, share):
    """Far from 0, where sums of float32 would lose what differs between the pixels of a block."""
    rng = np.random.default_rng(4)
    values = rng.uniform(1000, 1009, size).astype(np.float32)
    missing = rng.random(size) >= share
    values[missing] = rng.choice([np.nan, np.inf, -np.inf, 0], missing.sum())
    expected = clouds.blocks_of(values, clouds.valid(values))
    found = jax.tree.map(lambda rows: np.asarray(rows[0]), blocks_on_device(values[None]))
    np.testing.assert_array_equal(found.mask, expected.mask)
    # Means in float64, rounded once, and in float32 of differences: two units in the last place.
    for rows, others in ((found.values, expected.values), (found.pixels, expected.pixels)):
        np.testing.assert_array_max_ulp(rows[found.mask], others[found.mask], maxulp=2)
    for name in ("size", "centre", "valid_share"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-6)


@pytest.mark.parametrize("leading", [(), (3,)])
@pytest.mark.parametrize("voxel_size", [0.05, 0.3, 10.0])
def test_exactly_one_point_stays_in_each_occupied_voxel(voxel_size, leading):
    rng = np.random.default_rng(3)
    cloud = rng.uniform(-1, 1, (*leading, 500, 3)).astype(np.float32)
    cloud[..., 400:, :] = cloud[..., :100, :]  # and the very same point twice
    mask = rng.random(cloud.shape[:-1]) < 0.8
    cloud[~mask] = rng.choice([np.nan, np.inf, 0.5], cloud[~mask].shape)
    kept = np.asarray(one_point_per_voxel(cloud, mask, voxel_size))
    assert not (kept & ~mask).any()
    voxel = np.floor(cloud / np.float32(voxel_size))
    for i in np.ndindex(*leading):
        occupied = np.unique(voxel[i][mask[i]], axis=0)
        stayed = voxel[i][kept[i]]
        assert len(stayed) == len(occupied)
        np.testing.assert_array_equal(np.unique(stayed, axis=0), occupied)


def test_a_voxel_size_of_zero_keeps_every_point():
    cloud = np.zeros((10, 3), np.float32)
    mask = np.arange(10) % 2 == 0
    np.testing.assert_array_equal(one_point_per_voxel(cloud, mask, 0), mask)


def test_no_point_stays_where_all_are_masked():
    cloud = np.full((10, 3), np.nan, np.float32)
    assert not one_point_per_voxel(cloud, np.zeros(10, bool), 0.1).any()


def numbered_points(count, available, seed=0):
    """Points that carry their own number from 1, NaN where masked, `available` of them valid."""
    mask = np.random.default_rng(seed).permutation(count) < available
    cloud = np.repeat(np.arange(1.0, count + 1, dtype=np.float32)[:, None], 3, 1)
    cloud[~mask] = np.nan
    return cloud, mask


@pytest.mark.parametrize("count", [1, 20, 50, 80])
@pytest.mark.parametrize("available", [0, 7, 20, 50])
def test_points_are_drawn_without_replacement_and_padded_where_there_are_too_few(available, count):
    cloud, mask = numbered_points(50, available)
    drawn, kept = map(np.asarray, sample_points(jax.random.key(0), cloud, mask, count))
    assert drawn.shape == (count, 3) and kept.shape == (count,)
    assert kept.sum() == min(available, count)
    np.testing.assert_array_equal(drawn[~kept], 0)
    numbers = drawn[kept][:, 0]
    assert len(np.unique(numbers)) == len(numbers)
    assert set(numbers) <= set(cloud[mask][:, 0])


def test_every_point_is_drawn_as_often_as_every_other():
    cloud, mask = numbered_points(20, 12)
    keys = jax.random.split(jax.random.key(1), 2000)
    drawn, kept = jax.vmap(lambda key: points.sample_points(key, jnp.asarray(cloud), mask, 4))(keys)
    assert kept.all()
    counts = np.bincount(np.asarray(drawn)[..., 0].ravel().astype(int), minlength=21)[1:]
    np.testing.assert_array_equal(counts[~mask], 0)
    # 2000 draws of 4 out of 12: 667 each, standard deviation 21; five of them.
    np.testing.assert_allclose(counts[mask], 2000 * 4 / 12, atol=105)


def test_the_key_alone_decides_what_is_drawn_and_maps_of_a_batch_differ():
    cloud, mask = numbered_points(50, 50)
    cloud, mask = np.stack([cloud, cloud]), np.stack([mask, mask])
    first, _ = sample_points(jax.random.key(2), cloud, mask, 20)
    again, _ = sample_points(jax.random.key(2), cloud, mask, 20)
    other, _ = sample_points(jax.random.key(3), cloud, mask, 20)
    np.testing.assert_array_equal(first, again)
    assert (np.asarray(first) != np.asarray(other)).any()
    assert (np.asarray(first[0]) != np.asarray(first[1])).any()
