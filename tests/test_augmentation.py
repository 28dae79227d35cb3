"""Statistics are over `MAPS` maps drawn with one fixed key, so they cannot fail by chance."""

import jax
import numpy as np
import pytest
from box_rooms import box_room

from train3d_jax.geometry import clouds
from train3d_jax.geometry.points import BLOCKS
from train3d_jax.training import augmentation, network_errors, sensor_errors
from train3d_jax.training.choices import KINDS

MAPS = 256
EVERYWHERE = np.ones((MAPS, *BLOCKS), bool)
ROWS, COLUMNS = np.mgrid[: BLOCKS[0], : BLOCKS[1]].astype(np.float32)
# The slopes have no common divisor: else the plane would be made of steps itself.
PLANE = np.broadcast_to(1 + 0.02 * COLUMNS + np.float32(0.01 * 2**0.5) * ROWS, EVERYWHERE.shape)
STEP = np.broadcast_to(np.where(COLUMNS < 32, 1.0, 3.0).astype(np.float32), EVERYWHERE.shape)

augment = jax.jit(augmentation.augment, static_argnames=("kinds", "space"))


def run(kind, *arrays, strength=1.0, seed=0):
    """One kind on arrays, compiled as in training."""
    return np.asarray(jax.jit(kind)(jax.random.key(seed), *arrays, strength))


@pytest.fixture(scope="module")
def rooms():
    """Blocks of 48 rooms in depth, a corner of each masked."""
    rows = []
    for seed in range(48):
        depth, _ = box_room(seed)
        rows.append(clouds.blocks_of(depth, np.add.outer(np.arange(96), np.arange(128)) > 40))
    return jax.tree.map(lambda *arrays: np.stack(arrays), *rows)


def in_disparity(blocks):
    values = np.where(blocks.mask, 1 / np.where(blocks.mask, blocks.values, 1), 0)
    return blocks._replace(values=values.astype(np.float32))


@pytest.fixture(scope="module")
def everything(rooms):
    return augment(jax.random.key(0), rooms, KINDS, 1.0, "depth")


# What each kind does.


def test_noise_of_depth_grows_with_depth_squared():
    w = np.broadcast_to(np.where(COLUMNS < 32, 1.0, 0.25), EVERYWHERE.shape).astype(np.float32)
    z = 1 / run(sensor_errors.add_sensor_noise, w)
    near, far = np.median(z[..., :32].std((1, 2))), np.median(z[..., 32:].std((1, 2)))
    # A little less than 2 for the part in proportion to the depth; 1 and 3 are far off.
    assert 1.85 < np.log(far / near) / np.log(4) < 2.05


def test_noise_is_nearly_absent_in_some_maps_and_a_percent_in_others():
    size = (run(sensor_errors.add_sensor_noise, np.ones_like(PLANE)) - 1).std((1, 2))
    # The least of both kinds together is 0.00035, the most 0.018.
    assert 0.0003 < size.min() < 0.0008 and 0.01 < size.max() < 0.02
    assert 0.002 < np.median(size) < 0.008


def test_noise_is_alike_in_neighbours_as_far_as_its_own_widths_reach():
    noise = run(sensor_errors.add_sensor_noise, np.ones_like(PLANE)) - 1
    noise /= noise.std((1, 2), keepdims=True)
    down = (noise[:, 1:] * noise[:, :-1]).mean((1, 2))
    across = (noise[..., 1:] * noise[..., :-1]).mean((1, 2))
    # White noise has 0 in all maps, and noise as wide down as across no difference, to +- 0.03.
    assert np.quantile(down, 0.1) < 0.1 and np.quantile(down, 0.9) > 0.7
    assert np.quantile(across - down, 0.9) > 0.1 and np.quantile(across - down, 0.1) < -0.1


def test_noise_leaves_depth_positive_however_far_behind():
    w = np.full_like(PLANE, 1e-4)
    noisy = run(sensor_errors.add_sensor_noise, w, strength=2.0)
    assert (noisy >= 0.49e-4).all() and (noisy <= 1.51e-4).all() and noisy.std() > 1e-5


def is_stepped(image, smallest, largest):
    """Whether the values are whole multiples of a step in this range."""
    levels = np.unique(image).astype(float)
    # float32, two operations on numbers of about one: the same level comes out a little different.
    levels = levels[np.diff(levels, prepend=-1) > 2e-6]
    apart = np.diff(levels).min()
    number = np.concatenate([[0], np.cumsum(np.round(np.diff(levels) / apart))])
    step, first = np.polyfit(number, levels, 1)
    at_steps = np.abs(first + step * number - levels).max() < 2e-6
    return smallest < step < largest and at_steps and abs(first / step - round(first / step)) < 0.02


def test_quantised_values_are_whole_steps_of_disparity_or_of_depth():
    stepped = run(sensor_errors.quantise, PLANE, EVERYWHERE)
    kinds = []
    for before, after in zip(PLANE, stepped, strict=True):
        if (before == after).all():
            kinds.append("unchanged")
        elif is_stepped(after, 0.00099 * before.mean(), 0.0201 * before.mean()):
            kinds.append("disparity")
        elif is_stepped(1 / after, 0.00029, 0.004):
            kinds.append("depth")
    counts = {kind: kinds.count(kind) / MAPS for kind in ("unchanged", "disparity", "depth")}
    assert len(kinds) == MAPS
    # Binomial: three standard deviations are 0.09.
    assert counts == pytest.approx({"unchanged": 0.5, "disparity": 0.35, "depth": 0.15}, abs=0.09)


def test_quantisation_makes_nothing_infinitely_far():
    for level in (1e-4, 1e4):  # below one step of disparity, and of depth
        w = PLANE.copy()
        w[:, :8, :8] = level
        stepped = run(sensor_errors.quantise, w, EVERYWHERE, strength=2.0)
        assert (stepped > 0).all() and np.isfinite(stepped).all()
        assert (stepped[:, :8, :8] != np.float32(level)).any()


def test_outliers_are_few_and_within_the_depths_of_the_map():
    changed = run(sensor_errors.add_outliers, PLANE, EVERYWHERE)
    share = (changed != PLANE).mean((1, 2))
    assert 0.015 < share.max() < 0.025
    assert 0.2 < (share > 0).mean() < 0.4
    assert changed.min() >= PLANE.min() and changed.max() <= PLANE.max()
    others = np.log(changed[changed != PLANE])
    # Evenly over the logarithm: its mean is in the middle to within four deviations.
    middle, width = np.log(PLANE.max()) / 2, np.log(PLANE.max())
    assert abs(others.mean() - middle) < 4 * width / np.sqrt(12 * others.size)


def test_holes_are_blobs_of_up_to_half_the_map():
    # A plane has no edges: what is lost beside blobs is the border.
    left = run(sensor_errors.cut_holes, PLANE, EVERYWHERE)[:, 4:-4, 4:-4]
    share = 1 - left.mean((1, 2))
    assert 0.5 < (share == 0).mean() < 0.7
    assert 0.4 < share.max() < 0.6
    holey = left[(share > 0.05) & (share < 0.5)]
    lost = ~holey
    beside = (lost[..., 1:] & lost[..., :-1]).sum((1, 2)) / lost[..., 1:].sum((1, 2))
    # Were blocks lost one by one, it would be the share.
    assert np.median(beside) > 0.75 and len(holey) > 50


def test_edges_of_depth_and_borders_are_eaten_in_some_maps():
    lost = ~run(sensor_errors.cut_holes, STEP, EVERYWHERE)
    at_edge = lost[..., 31:33].mean((1, 2))
    beside = lost[..., [28, 29, 34, 35]].mean((1, 2))
    assert (at_edge > beside + 0.3).mean() > 0.15  # 0.4 of maps
    # Any share of the edge: about two of three eaten maps lie in the middle.
    assert ((at_edge > beside + 0.15) & (at_edge < 0.8)).mean() > 0.15
    # Whole rows and columns, up to three on each side, and differently many.
    for side in (lost, lost[:, ::-1], lost.swapaxes(1, 2), lost[..., ::-1].swapaxes(1, 2)):
        widths = side[:, :8].all(-1).sum(-1)
        assert {0, 1, 2, 3} <= set(widths)
        assert (widths > 3).mean() < 0.02  # a blob may have the rest of a row


def test_beyond_its_reach_and_near_by_a_sensor_sees_nothing():
    left = run(sensor_errors.limit_reach, PLANE, EVERYWHERE)
    seen = np.where(left, PLANE, np.nan)
    # All between two limits, and nothing else.
    low, high = np.nanmin(seen, axis=(1, 2)), np.nanmax(seen, axis=(1, 2))
    low_of, high_of = low[:, None, None], high[:, None, None]
    between = (low_of <= PLANE) & (high_of >= PLANE)
    np.testing.assert_array_equal(left, between)
    # 0.3 of the maps each; a few lose less than a block.
    assert 0.2 < (low > PLANE.min()).mean() < 0.4
    assert 0.2 < (high < PLANE.max()).mean() < 0.4
    assert 0.5 <= left.mean((1, 2)).min() < 0.6


@pytest.mark.parametrize("kind", [sensor_errors.cut_holes, sensor_errors.limit_reach])
def test_half_of_the_valid_blocks_stay_however_strong(kind):
    mask = EVERYWHERE & (COLUMNS > 40)
    left = run(kind, PLANE, mask, strength=2.0)
    assert not (left & ~mask).any()
    share = left.sum((1, 2)) / mask.sum((1, 2))
    assert share.min() >= 0.5 and share.min() < 0.6


def test_blur_smooths_steps_and_keeps_planes_even_beside_holes():
    mask = EVERYWHERE & ((COLUMNS - 20) ** 2 + (ROWS - 40) ** 2 > 50)
    w = np.where(mask, PLANE, 1e6)  # what is missing must not leak
    flat = run(network_errors.blur_edges, w, mask)
    # float32, some twenty operations.
    np.testing.assert_allclose(flat[mask], PLANE[mask], rtol=3e-6)

    blurred = run(network_errors.blur_edges, STEP, EVERYWHERE)
    profile = blurred[:, 32]
    assert (np.diff(profile) > -1e-6).all()
    # Six blocks to each side; the Gaussian is cut off there.
    np.testing.assert_allclose(profile[:, [20, 25, 38, 50]], STEP[:, 0, [20, 25, 38, 50]])
    height = np.diff(profile).max(-1) / 2  # of the largest step that is left
    assert 0.3 < (height == 1).mean() < 0.5
    # The middle of a Gaussian of two and a half blocks carries 0.16.
    assert 0.14 < height.min() < 0.25 and np.quantile(height[height < 1], 0.9) > 0.8


def test_bias_is_smooth_and_without_mean():
    w = np.full_like(PLANE, 100.0)  # so near that flattening the far range does nothing
    error = np.log(run(network_errors.add_bias, w) / w)
    size = error.std((1, 2))
    assert 0.0002 < size.min() < 0.001 and 0.03 < size.max() < 0.041
    # float32 near 100, logarithm: 1e-7 a block, the mean of many.
    np.testing.assert_allclose(error.mean((1, 2)), 0, atol=3e-4 * size.max())
    # A bump of 6 blocks changes by about 1/6 from block to block; white noise by 1.4.
    neighbours = np.diff(error, axis=-1).std((1, 2)) / size
    assert neighbours.max() < 0.2


def test_ripples_are_waves_of_a_few_blocks_in_half_of_the_maps():
    error = np.log(run(network_errors.add_ripple, PLANE) / PLANE)
    size = error.std((1, 2))
    rippled = size > 1e-5
    assert 0.4 < rippled.mean() < 0.6 and 0.005 < size.max() < 0.0081
    # Next to each other more alike than noise (1.4), less than bias (0.2).
    neighbours = np.diff(error[rippled], axis=-1).std((1, 2)) / size[rippled]
    assert 0.1 < neighbours.min() < neighbours.max() < 0.8


def test_bias_flattens_the_far_range_of_half_of_the_maps_and_keeps_the_order():
    near, far, farther = (
        run(network_errors.add_bias, np.full_like(PLANE, w)) for w in (10.0, 1.0, 0.3)
    )
    assert (near > far).all() and (far > farther).all()
    # The same key, the same smooth error: what is left is the flattening.
    flattened = np.median(np.log(far / near) + np.log(10), (1, 2))
    assert 0.4 < (flattened > 1e-4).mean() < 0.6
    assert flattened.min() > -1e-5 and 0.025 < flattened.max() < 0.041


def test_lens_moves_pixels_along_the_radius_and_keeps_centre_and_focal_length(rooms):
    bent = augment(jax.random.key(0), rooms, ("lens",), 1.0, "depth")
    before = rooms.pixels - rooms.centre[:, None]
    after = bent.pixels - rooms.centre[:, None]
    # Pixels around 64, float32.
    cross = before[..., 0] * after[..., 1] - before[..., 1] * after[..., 0]
    np.testing.assert_allclose(cross / np.linalg.norm(before, axis=-1), 0, atol=1e-4)
    radius = np.linalg.norm(before, axis=-1) / 80
    factor = (before * after).sum(-1) / (before**2).sum(-1)
    k = np.array([np.polyfit(r**2, f, 1)[0] for r, f in zip(radius, factor, strict=True)])
    assert 0.3 < (np.abs(k) > 1e-4).mean() < 0.6 and 0.05 < np.abs(k).max() < 0.201
    np.testing.assert_allclose(
        factor, 1 + k[:, None] * (radius**2 - network_errors.LENS_NEUTRAL), atol=1e-4
    )
    # The best linear fit is the identity: 4:3 has its neutral radius at 0.477, and a corner of
    # each map is masked here, so that the mean is off by some per cent of k.
    at = rooms.mask[..., None]
    scale = (at * before * after).sum((1, 2)) / (at * before**2).sum((1, 2))
    np.testing.assert_allclose(scale, 1, atol=0.003)
    np.testing.assert_allclose(bent.values, rooms.values, rtol=1e-6)
    np.testing.assert_array_equal(bent.mask, rooms.mask)


def test_far_depth_is_that_of_the_farthest_part_not_of_single_blocks():
    z = 1 / PLANE[:1].copy()
    assert augmentation.far_depth(z, EVERYWHERE[:1])[0] == pytest.approx(z[0, :8, :8].mean())
    without = z[0, :8, :8].mean()
    z[0, 3, 3] *= 2
    assert augmentation.far_depth(z, EVERYWHERE[:1])[0] == pytest.approx(without, rel=0.02)
    masked = EVERYWHERE[:1] & (COLUMNS >= 32)
    assert augmentation.far_depth(z, masked)[0] == pytest.approx(z[0, :8, 32:40].mean())
    assert augmentation.far_depth(z, ~EVERYWHERE[:1])[0] == 1


# What all of them together promise.


@pytest.mark.parametrize("space", ["depth", "disparity"])
def test_strength_zero_is_exactly_the_identity(rooms, space):
    blocks = rooms if space == "depth" else in_disparity(rooms)
    same = augment(jax.random.key(0), blocks, KINDS, 0.0, space)
    jax.tree.map(np.testing.assert_array_equal, tuple(same), tuple(blocks))


def test_maps_as_of_a_network_have_no_holes_and_bend_more_than_those_of_sensors():
    lone, _ = box_room(0)
    blocks = clouds.blocks_of(np.ones_like(lone), np.ones_like(lone, bool))
    batch = jax.tree.map(lambda x: np.repeat(x[None], MAPS, 0), blocks)
    seen = augment(jax.random.key(1), batch, ("bias", "holes"), 1.0, "depth")
    holey = ~np.asarray(seen.mask).all(-1)
    bend = np.log(np.where(seen.mask, seen.values, 1)).std(-1)
    sensors, networks = 0.04, 0.08  # BIAS_SIZE, and twice that
    # Holes leave a part of the field, whose deviation may be a little larger than the whole one's.
    assert bend[holey].max() < 1.3 * sensors
    assert 1.3 * sensors < bend[~holey].max() < networks
    assert holey.mean() < 1 - augmentation.NETWORK_SHARE


def test_some_maps_stay_exactly_as_they_are(rooms, everything):
    same = (everything.values == rooms.values).all(-1)
    assert 0.05 < same.mean() < 0.3  # 0.15 of 48 maps
    np.testing.assert_array_equal(everything.pixels[same], rooms.pixels[same])
    np.testing.assert_array_equal(everything.mask[same], rooms.mask[same])


def test_the_same_key_gives_the_same_and_another_key_other_blocks(rooms, everything):
    again = augment(jax.random.key(0), rooms, KINDS, 1.0, "depth")
    jax.tree.map(np.testing.assert_array_equal, tuple(again), tuple(everything))
    other = augment(jax.random.key(1), rooms, KINDS, 1.0, "depth")
    assert (np.asarray(other.values) != np.asarray(everything.values)).mean() > 0.5


def test_both_spaces_get_the_same(rooms, everything):
    other = augment(jax.random.key(0), in_disparity(rooms), KINDS, 1.0, "disparity")
    np.testing.assert_array_equal(other.mask, everything.mask)
    np.testing.assert_array_equal(other.pixels, everything.pixels)
    mask = np.asarray(everything.mask)
    product = np.asarray(other.values)[mask] * np.asarray(everything.values)[mask]
    # Where a value lies between two steps, rounding may send it to either, up to 1.4 % apart.
    close = np.abs(product - 1) < 2e-6
    assert close.mean() > 0.999 and np.abs(product - 1).max() < 0.04


def test_switching_a_kind_off_leaves_what_the_others_draw(rooms, everything):
    without = augment(jax.random.key(0), rooms, ("blur", "bias"), 1.0, "depth")
    lens = augment(jax.random.key(0), rooms, ("lens",), 1.0, "depth")
    holes = augment(jax.random.key(0), rooms, ("holes", "reach"), 1.0, "depth")
    others = tuple(kind for kind in KINDS if kind not in ("holes", "reach"))
    whole = augment(jax.random.key(0), rooms, others, 1.0, "depth")
    # Rounding again: some units in the last place of a pixel's coordinate, up to 320.
    np.testing.assert_allclose(lens.pixels, everything.pixels, rtol=0, atol=1e-4)
    np.testing.assert_array_equal(holes.mask, everything.mask)
    assert (np.asarray(holes.mask) != rooms.mask).any()
    # Rounding: the compiler fuses other operations.
    expected = np.where(everything.mask, whole.values, 0)
    different = np.abs(everything.values - expected) > 2e-6 * expected
    assert different.mean() < 0.001  # between two steps, as above
    np.testing.assert_array_equal(without.mask, rooms.mask)
    np.testing.assert_array_equal(without.pixels, rooms.pixels)


def test_maps_of_a_batch_differ():
    """The same map many times: every one is changed in another way."""
    depth, _ = box_room(0)
    one = clouds.blocks_of(depth, depth > 0)
    same = jax.tree.map(lambda array: np.stack([array] * 48), one)
    change = np.asarray(augment(jax.random.key(0), same, KINDS, 1.0, "depth").values) - same.values
    touched = change[(change != 0).any(-1)]
    assert len(np.unique(touched, axis=0)) == len(touched) > 30


@pytest.mark.parametrize("strength", [0.5, 2.0])
def test_values_stay_finite_and_positive_and_masked_blocks_masked(rooms, strength):
    rng = np.random.default_rng(0)
    wild = np.exp(rng.uniform(np.log(1e-3), np.log(1e4), rooms.values.shape)).astype(np.float32)
    wild[24:] = rooms.values[24:] * 1e3
    mask = rooms.mask & (rng.random(rooms.mask.shape) < rng.random((48, 1)))
    mask[0] = False
    mask[1] = np.arange(mask.shape[1]) == 7
    wild[2] = 5.0
    # Anything may stand where nothing is valid.
    blocks = rooms._replace(values=np.where(mask, wild, np.nan), mask=mask)
    for space in ("depth", "disparity"):
        out = augment(jax.random.key(1), blocks, KINDS, strength, space)
        out = jax.tree.map(np.asarray, out)
        assert all(np.isfinite(array).all() for array in out)
        assert (out.values[out.mask] > 0).all() and (out.values[~out.mask] == 0).all()
        assert not (out.mask & ~mask).any()
        assert (out.mask.sum(-1) >= mask.sum(-1) / 2).all()


def test_maps_without_a_batch_axis_mapped_over_and_one_by_one(rooms):
    two = jax.tree.map(lambda array: array[:2], rooms)
    keys = jax.random.split(jax.random.key(0))
    mapped = jax.jit(
        jax.vmap(lambda key, blocks: augmentation.augment(key, blocks, KINDS, 1.0, "depth"))
    )(keys, two)
    for i in range(2):
        one = clouds.Blocks(*(array[i] for array in two))
        alone = augment(keys[i], one, KINDS, 1.0, "depth")
        assert [array.shape for array in alone] == [array.shape for array in one]
        assert (alone.values != one.values).any()
        np.testing.assert_array_equal(mapped.mask[i], alone.mask)
        np.testing.assert_allclose(mapped.pixels[i], alone.pixels, rtol=1e-6)
        different = np.abs(mapped.values[i] - alone.values) > 2e-6 * alone.values
        assert different.mean() < 0.001  # between two steps, as above


def test_an_unknown_kind_and_another_grid_are_refused(rooms):
    with pytest.raises(ValueError, match="fog"):
        augmentation.augment(jax.random.key(0), rooms, ("fog", "blur"), 1.0, "depth")
    small = rooms._replace(values=rooms.values[:, :100], mask=rooms.mask[:, :100])
    with pytest.raises(ValueError, match="100 blocks"):
        augmentation.augment(jax.random.key(0), small, KINDS, 1.0, "depth")
