"""In float32, in which the encoder calls it: the fits are written so that float32 suffices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train3d_jax.geometry import affine
from train3d_jax.windows import planes, quadrics
from train3d_jax.windows.block_windows import WindowSettings, fit_block_windows, mirrored

# Compiled whole, and all clouds of one size: compiling is what takes the time.
fit_windows = jax.jit(quadrics.fit_windows)
shift_votes = jax.jit(planes.shift_votes)
focal_votes = jax.jit(planes.focal_votes, static_argnames="space")
curvature = jax.jit(planes.curvature)
solve = jax.jit(quadrics.solve_positive_definite)

U, V = np.meshgrid(np.linspace(-0.7, 0.7, 64), np.linspace(-0.5, 0.5, 64))
RAYS = np.stack([U, V], -1).reshape(-1, 2)
EVERYTHING = np.ones(len(RAYS), bool)
WINDOWS = sum(columns * rows for columns, rows in quadrics.GRIDS)


def fit(rays, inverse_depth, mask=EVERYTHING):
    return fit_windows(np.float32(rays), np.float32(inverse_depth), mask)


@functools.partial(jax.jit, static_argnames=("consensus", "grids"))
def fitted(w, mask, consensus, grids):
    return fit_block_windows(RAYS, w, mask, (64, 64), WindowSettings(grids), consensus)


def fit_blocks(w, mask=EVERYTHING, consensus=True, grids=quadrics.GRIDS):
    return fitted(np.float32(w), mask, consensus, grids)


def canonical_inverse(true_inverse, space):
    """The canonical inverse depth (or disparity) of a scene without noise, and its shift."""
    true = 1 / true_inverse if space == "depth" else true_inverse
    scale = (true.max() - true.min()) / 0.5
    shift = true.min() / scale - 0.5
    canonical = true / scale - shift
    return (1 / canonical if space == "depth" else canonical), shift


@pytest.mark.parametrize("gradient", [(0.6, 0.5), (0.15, -0.1), (0.0, 0.8), (-0.7, 0.0)])
def test_windows_on_a_plane_vote_for_its_true_near_far_ratio(gradient):
    w, shift = canonical_inverse(1 + RAYS @ gradient, "depth")
    votes = shift_votes(fit(RAYS, w))
    ratio = affine.shift_to_ratio(shift)
    assert votes.mask.all()
    error = np.abs(votes.value - ratio)
    # What is left is the cubic part of w, which a quadric leaves out: 0.001 at the median and 0.01
    # in the worst window, which is large and near.
    assert np.median(error) < 0.002
    assert error.max() < 0.012


def test_noise_throws_votes_about_as_far_as_their_deviations_say():
    w, _ = canonical_inverse(1 + RAYS @ (0.3, 0.6), "depth")
    noise = np.random.default_rng(0).normal(0, 1e-4, w.shape)
    clean, noisy = shift_votes(fit(RAYS, w)), shift_votes(fit(RAYS, w * (1 + noise)))
    both = np.asarray(clean.mask & noisy.mask)
    # So little noise that the deviation, a first order, holds nearly everywhere.
    assert both.mean() > 0.95
    error = np.asarray(noisy.value - clean.value)[both] / np.asarray(noisy.sigma)[both]
    # In units of its deviation an error has a median of 0.67.  The windows are wider than high, and
    # in 4 x 4 points the residual of six coefficients tells the noise to a quarter only.
    assert 0.5 < np.median(np.abs(error)) < 0.95


def true_rays_of(alpha):
    """Rays (x, y, 1) of a focal length alpha times the assumed one."""
    return np.concatenate([RAYS / alpha, np.ones((len(RAYS), 1))], 1)


def right_angle(alpha, space, tilt=0.3, pan=0.5):
    """A floor and a wall at a right angle, seen with a focal length alpha times the assumed one.

    Returns the canonical inverse depth, the shift, and which pixels see the floor.
    """
    floor = np.array([0, np.cos(tilt), np.sin(tilt)]) / 1.2
    wall = np.array([np.sin(pan), -np.sin(tilt) * np.cos(pan), np.cos(tilt) * np.cos(pan)]) / 2.5
    assert abs(floor @ wall) < 1e-12
    true_rays = true_rays_of(alpha)
    of_floor, of_wall = true_rays @ floor, true_rays @ wall
    return *canonical_inverse(np.maximum(of_floor, of_wall), space), of_floor > of_wall


def pairs_across(windows, on_floor):
    """Pairs of a window that sees the floor alone and one that sees the wall alone."""
    centre, extent = np.asarray(windows.centre), np.asarray(windows.extent)
    inside = (np.abs(RAYS - centre[:, None]) <= extent[:, None] + 1e-5).all(-1)
    share = (inside * on_floor).sum(-1) / inside.sum(-1)
    pairs = np.meshgrid(np.flatnonzero(share == 1), np.flatnonzero(share == 0))
    return np.stack(pairs, -1).reshape(-1, 2)[::7]


def seen(w, on_floor):
    """The windows of a scene of two planes, and pairs across both."""
    windows = fit(RAYS, w)
    pairs = pairs_across(windows, on_floor)
    assert len(pairs) > 500
    return windows, pairs


@pytest.mark.parametrize("space", ["depth", "disparity"])
@pytest.mark.parametrize("alpha", [0.6, 1.4])
def test_two_planes_at_a_right_angle_vote_for_the_true_focal_ratio(alpha, space):
    w, shift, on_floor = right_angle(alpha, space)
    windows, pairs = seen(w, on_floor)
    votes = focal_votes(windows, np.float32(shift), pairs, space=space)
    assert votes.mask.all()
    # Wholly on planes nothing but float32 and, in depth space, the cubic part is left.
    error = np.abs(votes.value - np.log(alpha))
    assert np.median(error) < (0.005 if space == "depth" else 1e-4)
    assert error.max() < (0.02 if space == "depth" else 1e-3)
    assert (votes.sigma > 0).all() and votes.sigma.max() < 0.1
    # And the shift has to be taken off first.
    wrong = focal_votes(windows, np.float32(shift + 0.3), pairs, space=space)
    assert np.median(np.abs(np.asarray(wrong.value) - np.log(alpha))[wrong.mask]) > 0.1


def test_parallel_planes_cast_no_vote_for_a_focal_length():
    w, shift = canonical_inverse(1 + RAYS @ (0.3, 0.4), "depth")
    windows = fit(RAYS, w)
    pairs = np.array([(0, 100), (5, 300), (200, 425)])
    votes = focal_votes(windows, np.float32(shift), pairs, space="depth")
    assert not votes.mask.any()
    np.testing.assert_array_equal(votes.value, 0)


def parallel_planes(alpha, space):
    """A floor and a table over half of it, seen with a focal length alpha times the assumed one."""
    normal = np.array([0.1, 0.5, 0.8])
    true_rays = true_rays_of(alpha)
    on_table = RAYS[:, 0] > 0
    return *canonical_inverse(true_rays @ normal / np.where(on_table, 0.6, 1.4), space), ~on_table


@functools.partial(jax.jit, static_argnames="space")
def parallels(windows, shift, pairs, space):
    return planes.parallel_residuals(planes.gather_pairs(windows, pairs), shift, space)


@pytest.mark.parametrize("space", ["depth", "disparity"])
@pytest.mark.parametrize("alpha", [0.8, 1.6])
def test_parallel_planes_are_parallel_at_the_true_shift_alone(alpha, space):
    w, shift, on_floor = parallel_planes(alpha, space)
    windows, pairs = seen(w, on_floor)

    def distance(shift):
        pair = parallels(windows, np.float32(shift), pairs, space=space)
        assert pair.mask.mean() > 0.5  # a wrong shift puts some behind the camera
        return np.sqrt(np.median((pair.distance2 / pair.size2)[pair.mask]))

    # The cubic part of w, which a quadric leaves out, turns a plane by a thousandth.
    assert distance(shift) < (5e-3 if space == "depth" else 1e-4)
    assert distance(shift + 0.1) > 0.02 and distance(shift - 0.1) > 0.02


def test_planes_at_a_right_angle_are_parallel_at_no_shift():
    w, shift, on_floor = right_angle(1.0, "disparity")
    windows, pairs = seen(w, on_floor)
    for wrong in np.linspace(-0.4, 20.0, 30):
        pair = parallels(windows, np.float32(shift + wrong), pairs, space="disparity")
        assert (np.sqrt(pair.distance2 / pair.size2)[pair.mask] > 0.3).all()


def test_what_noise_does_to_parallel_planes_is_as_large_as_their_variance_says():
    w, shift, on_floor = parallel_planes(1.0, "disparity")
    noisy = w + np.random.default_rng(0).normal(0, 1e-3, w.shape)
    windows, pairs = seen(noisy, on_floor)
    pair = parallels(windows, np.float32(shift), pairs, space="disparity")
    # Squares of two components: 2 in the mean, and a median of 2 log 2 = 1.4.  The windows'
    # residuals tell their noise to a quarter only.
    squares = np.asarray(pair.distance2 / pair.variance)[pair.mask]
    assert 0.7 < np.median(squares) < 2.8


def test_in_disparity_a_shift_leaves_planes_flat_and_in_depth_it_bends_them():
    true = 1 + RAYS @ (0.5, 0.4)
    flat = fit(RAYS, canonical_inverse(true, "disparity")[0])
    bent = fit(RAYS, canonical_inverse(true, "depth")[0])
    # Rounding of 1e-7 over a square window half a tenth wide: 1e-4.
    assert np.abs(flat.hessian).max() < 2e-3
    assert np.median(np.abs(bent.hessian[:, 0])) > 0.1


def test_a_quadric_is_fitted_exactly():
    """w = 1 + a u + b v + c u^2 + d u v + e v^2 has these derivatives everywhere."""
    a, b, c, d, e = 0.3, -0.2, 0.5, 0.25, -0.4
    u, v = RAYS.T
    windows = fit(RAYS, 1 + a * u + b * v + c * u * u + d * u * v + e * v * v)
    u, v = np.asarray(windows.centre).T
    assert windows.mask.shape == (WINDOWS,) and windows.mask.all()
    # The ridge takes 1e-6 of a coefficient off, float32 the rest; a second derivative in the
    # smallest windows is a difference of 1e-7 over (1/32 of the image)^2.
    np.testing.assert_allclose(
        windows.value, 1 + a * u + b * v + c * u * u + d * u * v + e * v * v, atol=1e-5
    )
    gradient = np.stack([a + 2 * c * u + d * v, b + d * u + 2 * e * v], -1)
    np.testing.assert_allclose(windows.gradient, gradient, atol=1e-4)
    np.testing.assert_allclose(windows.hessian, [[2 * c, d, 2 * e]] * WINDOWS, atol=5e-3)
    assert windows.residual.max() < 1e-5
    assert windows.count.sum() == len(quadrics.GRIDS) * len(RAYS)


def test_windows_of_blocks_are_fitted_as_exactly_where_points_are_missing():
    a, b, c, d, e = 0.3, -0.2, 0.5, 0.25, -0.4
    u, v = RAYS.T
    w = 1 + a * u + b * v + c * u * u + d * u * v + e * v * v
    mask = np.random.default_rng(6).random(len(RAYS)) < 0.8
    mask[: 64 * 20] = False
    windows = fit_blocks(np.where(mask, w, np.nan), mask, consensus=False)
    assert windows.count.sum() == len(quadrics.GRIDS) * mask.sum()
    assert 0.5 * WINDOWS < windows.mask.sum() < 0.8 * WINDOWS
    kept = np.asarray(windows.mask)
    u, v = np.asarray(windows.centre)[kept].T
    gradient = np.stack([a + 2 * c * u + d * v, b + d * u + 2 * e * v], -1)
    # As above, and windows of few points are worse conditioned.
    np.testing.assert_allclose(windows.gradient[kept], gradient, atol=1e-3)
    hessian = np.tile([2 * c, d, 2 * e], (len(u), 1))
    np.testing.assert_allclose(np.asarray(windows.hessian)[kept], hessian, atol=0.05)
    assert np.isfinite(np.concatenate([np.ravel(values) for values in windows])).all()


@pytest.mark.parametrize("step", [0.0, 0.4])
def test_a_large_window_that_sees_two_surfaces_turns_to_that_of_most_points(step):
    # Two planes that meet, or with a step between them, in the fourth of 7 x 7 windows, columns 27
    # to 35, whose left 6 columns see the first.
    one, other, border = np.float32([0.3, 0.4]), np.float32([-0.8, 0.1]), RAYS[33, 0] - 0.01
    beyond = 1 + step + border * (one - other)[0] + RAYS @ other
    w = np.where(RAYS[:, 0] < border, 1 + RAYS @ one, beyond)
    w = w * (1 + np.random.default_rng(8).normal(0, 1e-3, w.shape))
    window = 16 * 16 + 11 * 11 + 3 * 7 + 3
    between, turned = fit_blocks(w, consensus=False), fit_blocks(w)
    assert np.linalg.norm(between.gradient[window] - one) > 0.25
    # Noise of 0.001 in 54 points over half a width of 0.06 leaves 0.004 of a slope.
    assert np.linalg.norm(turned.gradient[window] - one) < 0.02
    assert 40 < turned.count[window] < 60 < between.count[window]
    assert turned.centre[window, 0] < between.centre[window, 0] - 0.02


def test_on_one_surface_all_points_agree():
    w = 1 + RAYS @ (0.3, -0.2) + 0.2 * RAYS[:, 0] * RAYS[:, 1]
    once, anew = fit_blocks(w, consensus=False), fit_blocks(w)
    # Weights of 1 up to the rounding of the residuals, and the same roundings as above.
    np.testing.assert_allclose(anew.count, once.count, rtol=1e-3)
    np.testing.assert_allclose(anew.value, once.value, atol=1e-5)
    np.testing.assert_allclose(anew.gradient, once.gradient, atol=1e-3)


def test_holes_and_sparse_points_leave_large_windows_what_they_tell():
    w = 1 + RAYS @ (0.3, -0.2)
    hole = (np.abs(RAYS[:, 0] - 0.2) > 0.3) | (np.abs(RAYS[:, 1]) > 0.2)
    # Of a quarter of the points no window of 4 x 4 has enough to tell of a plane.
    sparse = np.random.default_rng(10).random(len(RAYS)) < 0.25
    for mask, told in ((hole, 0.8), (sparse, 0.3)):
        plain = fit_blocks(np.where(mask, w, np.nan), mask, consensus=False)
        windows = fit_blocks(np.where(mask, w, np.nan), mask)
        np.testing.assert_array_equal(windows.mask, plain.mask)
        kept = np.asarray(windows.mask)
        assert kept.mean() > told
        # As windows of few points are conditioned.
        np.testing.assert_allclose(windows.gradient[kept], plain.gradient[kept], atol=2e-3)


def test_points_that_do_not_count_are_not_asked():
    mask = np.random.default_rng(9).random(len(RAYS)) < 0.5
    w = 1 + RAYS @ (0.3, -0.2)
    one, other = fit_blocks(np.where(mask, w, np.nan), mask), fit_blocks(np.where(mask, w, 5), mask)
    for name in quadrics.Windows._fields:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    assert np.isfinite(np.concatenate([np.ravel(values) for values in one])).all()
    nothing = fit_blocks(w, ~EVERYTHING)
    assert not nothing.mask.any()
    assert np.isfinite(np.concatenate([np.ravel(values) for values in nothing])).all()


def test_the_order_of_the_points_means_nothing():
    rng = np.random.default_rng(1)
    w, _ = canonical_inverse(1 + RAYS @ (0.3, 0.4), "depth")
    w = w * (1 + rng.normal(0, 1e-3, w.shape))
    mask = rng.random(len(w)) < 0.8
    order = rng.permutation(len(w))
    one, other = fit(RAYS, w, mask), fit(RAYS[order], w[order], mask[order])
    np.testing.assert_array_equal(one.mask, other.mask)
    np.testing.assert_array_equal(one.count, other.count)
    # Sums in another order: a few roundings of 1e-7, divided by the width of a window (1/20) for
    # the gradient and by its square for the Hessian.
    np.testing.assert_allclose(one.value, other.value, atol=2e-6)
    np.testing.assert_allclose(one.gradient, other.gradient, atol=1e-4)
    np.testing.assert_allclose(one.hessian, other.hessian, atol=5e-3)
    np.testing.assert_allclose(one.residual, other.residual, rtol=1e-3, atol=1e-7)


def test_masked_points_do_not_count():
    w, _ = canonical_inverse(1 + RAYS @ (0.3, 0.4), "depth")
    # Inside the others' bounds: only the mask tells that they are wrong.
    mask = np.random.default_rng(2).random(len(w)) < 0.7
    spoilt = np.where(mask, w, 100.0)
    elsewhere = np.where(mask[:, None], RAYS, 0.1)
    one, other = fit(RAYS, w, mask), fit(elsewhere, spoilt, mask)
    for name in quadrics.Windows._fields:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


def test_rounding_does_not_decide_in_which_window_a_point_is():
    # Points as even as blocks are; 7 windows of 9 columns each would have borders on points.
    even = np.stack(np.meshgrid(*[np.linspace(-0.6, 0.6, 64)] * 2), -1).reshape(-1, 2)
    w = 1 + even @ (0.3, 0.4)
    rng = np.random.default_rng(5)
    count = fit(even, w).count
    for _ in range(5):
        moved = even * (1 + rng.uniform(-2e-7, 2e-7, even.shape))  # by a rounding of float32
        np.testing.assert_array_equal(fit(moved, w).count, count)


DEGENERATE = {
    "all masked": (RAYS, np.ones(len(RAYS)), ~EVERYTHING),
    "one point": (RAYS, np.ones(len(RAYS)), np.arange(len(RAYS)) == 7),
    "one column": (RAYS * [0, 1], 1 + RAYS[:, 1], EVERYTHING),
    "one place": (RAYS * 0, 1 + 0.1 * RAYS[:, 0], EVERYTHING),
    "constant": (RAYS, np.ones(len(RAYS)), EVERYTHING),
    "few points": (RAYS, 1 + 0.3 * RAYS[:, 0], np.arange(len(RAYS)) % 600 == 0),
}


@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate_clouds_give_finite_numbers(name):
    windows = fit(*DEGENERATE[name])
    pairs = np.random.default_rng(3).integers(0, WINDOWS, (100, 2))
    results = [
        windows,
        curvature(windows),
        shift_votes(windows),
        *(
            focal_votes(windows, np.float32(shift), pairs, space=space)
            for shift in (-0.5, 0.0, 5.0)
            for space in ("depth", "disparity")
        ),
    ]
    for result in results:
        for values in result:
            assert np.isfinite(values).all()
    if name in ("all masked", "one point", "few points"):
        assert not windows.mask.any()


def test_small_positive_definite_systems_are_solved_as_numpy_solves_them():
    rng = np.random.default_rng(4)
    root = rng.normal(size=(50, 6, 6))
    matrix = root @ np.swapaxes(root, -1, -2) + 0.5 * np.eye(6)
    right = rng.normal(size=(50, 6))
    expected = np.linalg.solve(matrix, right[..., None])[..., 0]
    found = solve(np.float32(matrix), np.float32(right))
    # float32 (6e-8) times the condition of the matrices, up to 100 here, times a few operations.
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=2e-5)


def test_a_singular_system_gives_finite_numbers():
    assert np.isfinite(solve(jnp.zeros((6, 6)), jnp.zeros(6))).all()
    assert np.isfinite(solve(jnp.ones((6, 6)), jnp.ones(6))).all()


@pytest.mark.parametrize("consensus", [False, True])
def test_mirrored_windows_are_those_of_the_mirrored_map(consensus):
    rng = np.random.default_rng(3)
    w = 1 + 0.3 * U - 0.2 * V + 0.4 * U * V + rng.normal(0, 0.01, U.shape)
    mask = rng.random(U.shape) < 0.9
    grids = ((16, 16), (11, 7), (3, 3))
    # The grid of rays is the same from either side.
    one = mirrored(fit_blocks(w.ravel(), mask.ravel(), consensus, grids), grids)
    other = fit_blocks(w[:, ::-1].ravel(), mask[:, ::-1].ravel(), consensus, grids)
    for name, value in other._asdict().items():
        # Sums in another order; a second derivative divides them by a small window's square.
        scale = np.abs(value).max()
        np.testing.assert_allclose(getattr(one, name), value, atol=1e-4 * scale, err_msg=name)
