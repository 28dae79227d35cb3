"""Geometry against computed rooms, whose shift and focal length are known exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from box_rooms import box_room

from train3d_jax.evidence import likelihoods, refinement, solver
from train3d_jax.evidence.planarity import plane_share
from train3d_jax.evidence.settings import solver_settings
from train3d_jax.evidence.targets import focal_bins, quantiles, ratio_bins
from train3d_jax.geometry import affine, camera, clouds, metrics
from train3d_jax.inference import recovery as inference

ROOMS = [box_room(seed) for seed in range(8)]
FOCALS = np.array([intrinsics[0, 0] for _, intrinsics in ROOMS])
MIDDLE = (0.05, 0.5, 0.95)


def solve(blocks, space, *known):
    canonical = affine.canonicalise(blocks.values, blocks.mask)
    return solver.solve(blocks, canonical, space, *known)


compiled = jax.jit(solve, static_argnames="space")
parallelism = jax.jit(likelihoods.parallelism, static_argnums=(2, 3))
share_of_one_direction = jax.jit(plane_share, static_argnums=(1, 2))


def solved(blocks, space, shift=None, focal=None):
    """Of eight maps: one program for each space, whatever is known."""
    unknown = np.full(8, np.nan, np.float32)
    known = (unknown if value is None else value for value in (shift, focal))
    return compiled(blocks, space, *known)


def answer(blocks):
    """Shift and focal length of maps of depth."""
    return jax.jit(read_off)(blocks, solved(blocks, "depth"))


def read_off(blocks, solution):
    """Shift and focal length, as `inference` reads them off the posteriors."""
    ratio = quantiles(solution.shift, "shift", MIDDLE)[:, 1]
    log_alpha = quantiles(solution.focal, "focal", MIDDLE)[:, 1]
    ratio = refinement.refine_ratio(solution, ratio).value
    log_alpha = refinement.refine_log_alpha(solution, ratio, log_alpha, "depth").value
    focal = jnp.exp(log_alpha) * camera.initial_focal(blocks.size[:, 0])
    return affine.ratio_to_shift(ratio), focal


def blocks_of(maps):
    return inference.make_blocks([np.float32(values) for values in maps])


def true_shifts(blocks):
    return -np.asarray(affine.canonicalise(blocks.values, blocks.mask).offset)


def errors(maps):
    blocks = blocks_of(maps)
    shift, focal = answer(blocks)
    return (
        np.asarray(metrics.shift_error(shift, true_shifts(blocks))),
        np.abs(np.asarray(focal) / FOCALS - 1),
    )


def test_rooms_without_noise_are_solved_with_nothing_known():
    shift, focal = errors([values for values, _ in ROOMS])
    # The targets for rendered rooms are medians of 0.005 and 3 %; empty rooms are easier.
    assert np.median(shift) < 5e-4 and shift.max() < 5e-3
    assert np.median(focal) < 0.01 and focal.max() < 0.05


def test_noise_and_holes_and_outliers_cost_accuracy_but_not_the_answer():
    rng = np.random.default_rng(0)
    spoilt = []
    for values, _ in ROOMS:
        values = values * rng.normal(1, 0.003, values.shape)
        values[rng.random(values.shape) < 0.2] = 0
        values[20:35, 40:70] = 0
        values = np.where(rng.random(values.shape) < 0.002, values * 1.5, values)
        spoilt.append(values)
    shift, focal = errors(spoilt)
    assert np.median(shift) < 0.02
    assert np.median(focal) < 0.06


def test_more_noise_makes_wider_posteriors():
    rng = np.random.default_rng(1)
    values = ROOMS[0][0]
    noise = rng.normal(0, 1, values.shape)
    maps = [values * (1 + strength * noise) for strength in (0, 0.003, 0.01, 0.03)]
    solution = solved(blocks_of(maps * 2), "depth")
    entropy = -(jnp.exp(solution.shift) * solution.shift).sum(-1)
    assert (np.diff(entropy[:4]) > 0).all()


def test_posteriors_are_normalised():
    solution = solved(blocks_of([values for values, _ in ROOMS]), "depth")
    for log_probability in (solution.shift, solution.focal):
        np.testing.assert_allclose(jnp.exp(log_probability).sum(-1), 1, rtol=1e-4)


@pytest.mark.parametrize("known", ["shift", "focal"])
def test_what_is_known_has_all_the_probability(known):
    blocks = blocks_of([values for values, _ in ROOMS])
    shift = true_shifts(blocks) if known == "shift" else None
    focal = np.float32(FOCALS) if known == "focal" else None
    solution = solved(blocks, "depth", shift, focal)
    first_guess = np.asarray(camera.initial_focal(96))
    ratio = ratio_bins()[np.asarray(solution.shift).argmax(-1)]
    focal = np.exp(focal_bins()[np.asarray(solution.focal).argmax(-1)]) * first_guess
    # Within a bin of the truth, known or estimated: two thousandths of the ratio, 2 % of the focal
    # length; an estimate may lie a few bins off.
    tolerance = (0.0021, 0.1) if known == "shift" else (0.01, 0.011)
    true_ratio = affine.shift_to_ratio(true_shifts(blocks))
    np.testing.assert_allclose(ratio, true_ratio, atol=tolerance[0])
    np.testing.assert_allclose(focal, FOCALS, rtol=tolerance[1])


def test_parallel_planes_determine_the_shift_where_there_is_no_right_angle():
    """A table over a sloping floor, in disparity: nothing is bent, no angle is right."""
    v, u = np.mgrid[:96, :128]
    normal = np.array([0.2, 0.5, 0.8])
    rays = np.stack([(u - 63.5) / 100, (v - 47.5) / 100, np.ones(u.shape)], -1)
    disparity = rays @ normal / np.where(u > 60, 0.7, 1.3)
    blocks = blocks_of([3 * disparity + 0.4] * 8)
    solution = solved(blocks, "disparity")
    true = true_shifts(blocks_of([disparity]))[0]
    fit = solution.fit
    settings = solver_settings("disparity")
    parallel = parallelism(fit.windows, fit.base, "disparity", settings)[0]
    low, _, high = np.asarray(quantiles(solution.shift, "shift", MIDDLE))[0]
    ratio = ratio_bins()[parallel.argmax()]
    assert abs(ratio - affine.shift_to_ratio(true)) < 0.02
    assert low < affine.shift_to_ratio(true) < high and high - low < 0.3
    np.testing.assert_array_equal(solution.fit.curvature, 0)


def test_in_disparity_space_angles_constrain_both():
    blocks = blocks_of([1 / values for values, _ in ROOMS])
    solution = solved(blocks, "disparity")
    ratio = quantiles(solution.shift, "shift", MIDDLE)[:, 1]
    log_alpha = quantiles(solution.focal, "focal", MIDDLE)[:, 1]
    # Far less than by curvature: the medians only, and against a guess of 1/2 and of 60 degrees.
    true_ratio = affine.shift_to_ratio(true_shifts(blocks))
    true_alpha = np.log(FOCALS / np.asarray(camera.initial_focal(96)))
    assert np.median(np.abs(ratio - true_ratio)) < 0.5 * np.median(np.abs(0.5 - true_ratio))
    assert np.median(np.abs(log_alpha - true_alpha)) < 0.6 * np.median(np.abs(true_alpha))


def test_derivatives_are_those_of_finite_differences():
    """Of the answers with respect to depth, in float64: float32 would round differences away."""
    with jax.enable_x64(True):
        blocks = blocks_of([ROOMS[0][0]])
        pixels = jnp.asarray(blocks.pixels, float)
        # Whole rows of the floor are equally far away, and a quantile has no derivative where
        # values are equal: a millionth of noise parts them, a tenth of what counts as rounding.
        parted = np.random.default_rng(0).normal(1, 1e-6, blocks.values.shape)
        values = jnp.asarray(blocks.values * parted, float)
        x, y = np.moveaxis(np.asarray(pixels), -1, 0) / 100
        bumps = (x * x, x * y, np.sin(3 * x + 2 * y))

        def of(values):
            moved = blocks._replace(pixels=pixels, values=values)
            shift, focal = read_off(moved, solve(moved, "depth"))
            return jnp.stack([shift[0], jnp.log(focal[0])])

        @jax.jit
        def both(values):  # one program: half of it is the same
            found, back = jax.vjp(of, values)
            return found, jax.vmap(back)(jnp.eye(2))[0]

        _, slopes = both(values)
        assert np.isfinite(slopes).all()
        for bump in bumps:
            step = 1e-9 * np.asarray(values) * bump
            difference = (both(values + step)[0] - both(values - step)[0]) / 2
            np.testing.assert_allclose((slopes * step).sum((-2, -1)), difference, rtol=0.05)


def test_one_plane_has_one_direction_and_a_room_has_several():
    v, u = np.mgrid[-0.5:0.5:96j, -0.6:0.6:128j]
    blocks = blocks_of([1 / (0.4 + 0.1 * u + 0.05 * v), ROOMS[0][0]] * 4)
    focal = np.array([96 / 1.0, FOCALS[0]] * 4, np.float32)
    first_guess = np.asarray(camera.initial_focal(blocks.size[:, 0]))
    fit = solved(blocks, "depth").fit
    share = share_of_one_direction(
        fit, "depth", solver_settings("depth"), true_shifts(blocks), focal / first_guess
    )
    assert share[0] > 0.99 and share[1] < 0.8


def test_maps_of_nothing_give_finite_numbers():
    blocks = blocks_of([np.zeros((96, 128)), np.full((96, 128), 3.0), *[ROOMS[0][0]] * 6])
    assert isinstance(blocks, clouds.Blocks)
    for values in answer(blocks):
        assert np.isfinite(values).all()
