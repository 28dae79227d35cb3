import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from train3d_jax.geometry import affine, camera

# Compiled whole: one by one, every operation would be compiled for every shape.
canonicalise = jax.jit(affine.canonicalise)
distort = jax.jit(affine.distort, static_argnames="space")
straighten = jax.jit(affine.straighten, static_argnames="space")
unproject = jax.jit(camera.unproject)

PIXELS = 400


def random_map(seed, outliers=0, masked=0.0, broken=0):
    """Depth between 1 and 5 with values far off, pixels masked out, and NaN and infinities in
    places that the mask leaves in."""
    rng = np.random.default_rng(seed)
    values = rng.uniform(1, 5, PIXELS)
    wild = rng.permutation(PIXELS)
    values[wild[:outliers]] = rng.choice([-1e3, 0, 1e3], outliers)
    values[wild[outliers : outliers + broken]] = rng.choice([np.nan, np.inf, -np.inf], broken)
    mask = rng.random(PIXELS) >= masked
    return values, mask


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**31),
    log_a=st.floats(-3, 3),
    b=st.floats(-1e3, 1e3),
    outliers=st.integers(0, 20),
    masked=st.floats(0, 0.9),
    broken=st.integers(0, 20),
)
@example(seed=0, log_a=0, b=-3.0, outliers=0, masked=0.0, broken=0)
@example(seed=0, log_a=-3, b=1e3, outliers=20, masked=0.9, broken=20)
def test_the_canonical_form_is_the_same_for_every_positive_scale_and_every_shift(
    seed, log_a, b, outliers, masked, broken
):
    with jax.enable_x64(True):
        values, mask = random_map(seed, outliers, masked, broken)
        # What is masked out may hold anything, and something else each time.
        one = canonicalise(np.where(mask, values, np.nan), mask)
        other = canonicalise(np.where(mask, 10**log_a * values + b, -np.inf), mask)
        assert one.solvable and other.solvable
        np.testing.assert_array_equal(other.mask, one.mask)
        np.testing.assert_array_equal(one.mask, mask & np.isfinite(values))
        # a * d + b itself is rounded to eps * |b|, which is 2e-13 / 1e-3 in units of d; the spread
        # of d is above 1, and the furthest outliers are 1e3 spreads away.
        np.testing.assert_allclose(other.values, one.values, rtol=1e-9, atol=1e-8)


def test_values_are_scale_times_input_plus_offset_with_the_quantiles_at_fixed_places():
    with jax.enable_x64(True):
        values, mask = random_map(1, outliers=5, masked=0.3)
        made = canonicalise(-7 + 0.3 * values, mask)
        expected = np.where(mask, made.scale * (-7 + 0.3 * values) + made.offset, 0)
        np.testing.assert_allclose(made.values, expected, rtol=1e-12, atol=1e-12)
        near, far = np.quantile(np.asarray(made.values)[mask], [0.02, 0.98])
        np.testing.assert_allclose([near, far], [0.5, 1.0], rtol=1e-12)


def test_of_true_depth_the_offset_tells_shift_scale_and_near_far_ratio():
    with jax.enable_x64(True):
        true, mask = random_map(2)
        made = canonicalise(true, mask)
        shift, scale = -made.offset, 1 / made.scale
        np.testing.assert_allclose(scale * (made.values + shift), true, rtol=1e-12)
        ratio = np.divide(*np.quantile(true, [0.02, 0.98]))
        np.testing.assert_allclose(affine.shift_to_ratio(shift), ratio, rtol=1e-12)


def test_a_few_wild_pixels_hardly_move_the_others():
    values, mask = random_map(3)
    clean = canonicalise(values.astype(np.float32), mask)
    for wild in (-1e6, 1e6):
        values[:4] = wild
        spoilt = canonicalise(values.astype(np.float32), mask)
        # Four of 400 pixels move the 2 % quantile by 1 % of the pixels, which are evenly spread:
        # by about 1 % of the spread of 0.5.
        np.testing.assert_allclose(spoilt.values[4:], clean.values[4:], atol=0.01)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("values", "mask"),
    [
        (np.ones(PIXELS), np.zeros(PIXELS, bool)),
        (np.full(PIXELS, np.nan), np.ones(PIXELS, bool)),
        (np.full(PIXELS, 1e30), np.ones(PIXELS, bool)),
        (np.full(PIXELS, 0.1), np.ones(PIXELS, bool)),
        (np.zeros(PIXELS), np.ones(PIXELS, bool)),
        (np.arange(PIXELS) * 1.0, np.arange(PIXELS) < affine.MINIMUM_PIXELS - 1),
    ],
    ids=["masked", "NaN", "large", "constant", "zero", "few"],
)
def test_a_map_without_values_or_spread_is_reported_and_gives_no_nan(values, mask, dtype):
    with jax.enable_x64(dtype is np.float64):
        made = canonicalise(values.astype(dtype), mask)
        assert not made.solvable
        assert not made.mask.any()
        np.testing.assert_array_equal(made.values, 0)
        assert (made.scale, made.offset) == (1, 0)


def test_a_spread_that_is_only_rounding_is_none():
    # Every second value is one step of float32 above the others.
    values = np.where(np.arange(PIXELS) % 2, np.float32(1000), np.nextafter(np.float32(1000), 2000))
    mask = np.ones(PIXELS, bool)
    assert not canonicalise(values, mask).solvable
    with jax.enable_x64(True):
        assert canonicalise(values.astype(np.float64), mask).solvable


def test_the_fewest_pixels_that_suffice_are_solved():
    made = canonicalise(np.arange(PIXELS, dtype=np.float32), np.arange(PIXELS) < 16)
    assert made.solvable
    assert made.mask.sum() == affine.MINIMUM_PIXELS == 16


def test_maps_of_a_batch_do_not_touch_each_other():
    maps = [random_map(seed, masked=0.2) for seed in range(3)]
    values = np.stack([v for v, _ in maps]).astype(np.float32)
    values[1] = np.nan
    mask = np.stack([m for _, m in maps])
    together = canonicalise(values, mask)
    np.testing.assert_array_equal(together.solvable, [True, False, True])
    for i in range(3):
        alone = canonicalise(values[i], mask[i])
        for whole, single in zip(together, alone, strict=True):
            np.testing.assert_array_equal(whole[i], single)


def test_masked_quantiles_are_those_of_numpy():
    with jax.enable_x64(True):
        levels = (0.0, 0.02, 0.37, 0.5, 0.98, 1.0)
        quantiles = jax.jit(lambda v, m: jnp.stack(affine.masked_quantiles(v, m, levels)))
        rng = np.random.default_rng(4)
        for count in (1, 2, 17, PIXELS):
            values = rng.normal(size=PIXELS)
            mask = rng.permutation(PIXELS) < count
            expected = np.quantile(values[mask], levels)
            np.testing.assert_allclose(quantiles(values, mask), expected, rtol=1e-12)
        np.testing.assert_array_equal(quantiles(values, np.zeros(PIXELS, bool)), 0)


def test_shift_and_near_far_ratio_are_inverse():
    with jax.enable_x64(True):
        shift = np.concatenate([np.linspace(-0.49, 3, 50), [50.0]])
        ratio = affine.shift_to_ratio(shift)
        assert (np.diff(ratio) > 0).all() and ratio[0] > 0 and ratio[-1] < 1
        np.testing.assert_allclose(affine.ratio_to_shift(ratio), shift, rtol=1e-10)


def true_scene(rng, leading, space):
    """A depth map, its camera, its shift, and the cloud in which depth or disparity are
    canonical plus shift."""
    height, width = 6, 9
    canonical = rng.uniform(0.3, 1.2, (*leading, height, width))
    shift = rng.uniform(-0.2, 2, leading)
    alpha = rng.uniform(0.4, 4, leading)
    focal = alpha * 100.0
    shifted = canonical + shift[..., None, None]
    z = {
        "depth": shifted,
        "disparity": 1 / shifted,
        # Near and far are those of depth; between them depth is interpolated geometrically.
        "log": (1 + shift[..., None, None])
        * ((0.5 + shift) / (1 + shift))[..., None, None] ** (2 - 2 * canonical),
    }[space]
    intrinsics = camera.centred_intrinsics(focal, height, width)
    cloud = np.asarray(unproject(z, intrinsics)).reshape(*leading, -1, 3)
    return canonical, shift, alpha, cloud


@pytest.mark.parametrize("space", ["depth", "disparity", "log"])
@pytest.mark.parametrize("leading", [(), (1,), (3, 1, 2)])
def test_applying_the_labels_to_a_distorted_cloud_gives_the_true_cloud_back(leading, space):
    with jax.enable_x64(True):
        rng = np.random.default_rng(5)
        _, shift, alpha, cloud = true_scene(rng, leading, space)
        distorted = distort(cloud, shift, alpha, space)
        assert np.abs(distorted - cloud).max() > 0.1
        straight = straighten(distorted, shift, alpha, space)
        np.testing.assert_allclose(straight, cloud, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("space", ["depth", "disparity", "log"])
def test_distortion_is_what_unprojecting_canonical_values_with_another_focal_length_makes(space):
    with jax.enable_x64(True):
        rng = np.random.default_rng(6)
        canonical, shift, alpha, cloud = true_scene(rng, (4,), space)
        z = {"depth": canonical, "disparity": 1 / canonical, "log": 0.25 ** (1 - canonical)}[space]
        first_guess = camera.centred_intrinsics(100.0, *canonical.shape[-2:])
        seen = np.asarray(unproject(z, first_guess)).reshape(cloud.shape)
        np.testing.assert_allclose(distort(cloud, shift, alpha, space), seen, rtol=1e-9, atol=1e-9)
