"""What geometry alone tells about shift and focal length: a search without any learning.

Three facts (`surfaces`) are turned into probabilities.  On a plane 1 / (d + s) is affine in the
image only for the right shift s, whatever the focal length; so the bending of 1 / d in every window
has a likelihood for each shift.  Many planes are parallel, and then have one vanishing line, which
they have only for the right shift, again whatever the focal length.  And walls meet at right
angles; so the cosine between the planes of every pair of windows has a likelihood for each focal
length.  Each speaks with the deviation that its fits explain, and is believed to come from a plane
(from parallel ones, from a right angle) only with some chance: one that does not fit an answer says
no more than that, and outliers are outvoted.

Sums of such logarithms over windows, tempered because windows overlap, are posteriors over the same
quantities and ranges as a network's (`targets.RANGES`), on finer bins.  Their medians are the
answers, and a few reweighted least-squares steps over the votes themselves resolve what is finer
than a bin.  In disparity space a shift bends nothing, and parallels and angles alone tell of it.

Everything is batched over leading axes with `jax.vmap`, of static shape, and differentiable.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from train3d_jax import chunking
from train3d_jax.evidence import joint_posterior
from train3d_jax.evidence.targets import RANGES, bin_centres
from train3d_jax.geometry import affine, camera, points
from train3d_jax.geometry.affine import Space
from train3d_jax.geometry.clouds import Blocks
from train3d_jax.windows import planes, quadrics

GRIDS = ((16, 16), (11, 11), (7, 7), (5, 5), (4, 4), (3, 3))
"""Windows across and down at each scale.  The large ones hold few planes, but where the depth is
noisy they alone see curvature: with 1 % of noise they halve the error of the shift."""

PAIRS, NODE_PAIRS = 1536, 512
"""Pairs of windows, of all scales, whose angles are looked at; and so many of them where it is
under many shifts.  A third of the pairs answers real depth as well, rendered rooms a tenth of a
degree worse."""

PLANE_ODDS = 0.2
ANGLE_ODDS = 0.05
"""Odds that a window lies on one plane, and that a pair of planes is at a right angle."""

BEND_TOLERANCE = 0.02
BEND_RANGE = 3.0
"""Deviation of the bending q of windows on planes beyond their noise, and how widely it is spread
in windows that lie on none."""

TWIST_WEIGHT = 0.7
"""How much the curvature across the slope, which a plane has not, adds to the deviation of the one
along it: the root of 1/2, as it has two components."""

PARALLEL_ODDS = 0.05
"""Odds that the planes of a pair of windows are parallel, or one plane."""

PARALLEL_TOLERANCE = 0.015
"""Deviation of a parallel plane's gradient beyond the noise of the fits, over the gradients that
are compared and the usual one of the map: about one degree."""

PARALLEL_PAIRS, PARALLEL_BINS = 768, 128
"""Pairs that are compared, of those in `window_pairs` the first, and at how many shifts."""

COSINE_TOLERANCE = 0.02
"""Deviation of right angles beyond the noise of the fits: one degree."""

NOISE_QUANTILE = 0.2
"""Of the windows' residuals: the least that any window's noise is taken to be.  A small residual is
luck in a window of few points, and would make it the loudest."""

TEMPER = {"shift": 0.25, "parallel": 0.035, "focal": 0.06}
"""Share of the windows' (pairs') log-likelihood that counts: they overlap and share planes.  Fitted
so that 90 % intervals hold the truth of 87 to 95 % of 410 rendered views of unseen rooms, clean
ones and with 1 % of noise, in both spaces."""

NODES = {"depth": 12, "disparity": 64}
"""Shifts at which angles are looked at, see `joint_posterior.nodes`."""

SCORE_RATIOS = 128
"""Shifts at which angles are looked at where all are asked for (`scores`)."""

LEAST_WINDOWS = 4
"""Fewer windows than this are nothing to judge a map by."""

LEAST_TRUE_DEPTH = 0.02
"""Canonical units: where a shift leaves less depth than this, a pixel is left out."""


ANGLE_BINS = {"depth": joint_posterior.FOCAL_BINS, "disparity": joint_posterior.FOCAL_BINS // 2}
"""Focal lengths at which angles are looked at: the more nodes, the fewer, for time's sake."""


class Fit(NamedTuple):
    """Windows fitted to maps, any leading axes.

    Attributes:
      bending: log-likelihood of each of `joint_posterior.ratio_bins` by how flat planes are, shape
        (..., SHIFT_BINS); 0 in disparity space, where no shift bends anything.
      bend: votes for the ratio, each window's own.
      windows: the fits, to 1 / (canonical + base) in depth space, to the canonical disparity else.
      base: shift that the windows were fitted with, canonical units, shape (...).
    """

    bending: jax.Array
    bend: planes.Votes
    windows: quadrics.Windows
    base: jax.Array


class Solution(NamedTuple):
    """What geometry tells about maps, any leading axes.

    Attributes:
      shift: log-probability over the near/far ratio, shape (..., SHIFT_BINS).
      focal: log-probability over log(focal / f0), shape (..., FOCAL_BINS); f0 of 60 degrees.
      fit: what it rests on.
    """

    shift: jax.Array
    focal: jax.Array
    fit: Fit


def solve(
    blocks: Blocks,
    space: Space,
    known_shift: jax.Array | None = None,
    known_focal: jax.Array | None = None,
) -> Solution:
    """Looks at a batch of maps.

    Args:
      blocks: the maps, leading axis B.
      space: of their values.
      known_shift: canonical units, shape (B,); None where it is sought.
      known_focal: pixels, shape (B,); None where it is sought.

    Returns:
      Posteriors and what they rest on, leading axis B.  A known value has all of its probability
      in its own bin.
    """
    canonical = affine.canonicalise(blocks.values, blocks.mask)
    first_guess = camera.initial_focal(blocks.size[..., 0])
    rays = (blocks.pixels - blocks.centre[..., None, :]) / first_guess[..., None, None]
    log_alpha = None if known_focal is None else jnp.log(known_focal / first_guess)
    ratio = None if known_shift is None else affine.shift_to_ratio(known_shift)
    told = () if ratio is None else (ratio,)
    fit = chunking.over_maps(
        lambda rays, values, mask, *ratio: fit_windows(rays, values, mask, space, *ratio),
        rays, canonical.values, canonical.mask, *told,
    )  # fmt: skip

    def one(fit: Fit, ratio: jax.Array | None, log_alpha: jax.Array | None) -> Solution:
        return _solve_one(fit, space, ratio, log_alpha)

    axes = (0, None if ratio is None else 0, None if log_alpha is None else 0)
    return jax.vmap(one, axes)(fit, ratio, log_alpha)


def _solve_one(fit: Fit, space: Space, ratio, log_alpha) -> Solution:
    if ratio is None:
        # Not in `fit_windows`: networks, which judge pairs for themselves, take its windows alone.
        told = fit.bending + _parallel_likelihood(fit.windows, fit.base, space)
    else:
        told = joint_posterior.point_mass(ratio, joint_posterior.ratio_bins())
    belief = joint_posterior.focal_prior()
    if log_alpha is not None:
        belief = joint_posterior.point_mass(log_alpha, joint_posterior.focal_bins())
    nodes = jax.lax.stop_gradient(joint_posterior.nodes(told, NODES[space]))
    pairs = window_pairs()[:NODE_PAIRS]
    bins = bin_centres("focal", ANGLE_BINS[space])
    angles = jax.vmap(
        lambda node: _angles(
            fit.windows, affine.ratio_to_shift(node) - fit.base, space, pairs, bins
        )
    )(nodes)
    # These pairs speak for all of them.
    angles = joint_posterior.at_focal_bins(TEMPER["focal"] * PAIRS / NODE_PAIRS * angles)
    shift, focal = joint_posterior.margins(told, nodes, angles + belief)
    return Solution(shift, focal, fit)


class Scores(NamedTuple):
    """How well maps fit straight rooms, for all answers there are; any leading axes.

    Attributes:
      flat: log-likelihood that planes are flat at each of `ratio_bins`, shape (..., SHIFT_BINS); 0
        where no window lies on a plane, and throughout in disparity space.
      right: the same of right angles, at each of `score_ratios` and `focal_bins`, shape
        (..., SCORE_RATIOS, FOCAL_BINS); without any prior.
    """

    flat: jax.Array
    right: jax.Array


def score_ratios() -> np.ndarray:
    """The near/far ratios of `Scores.right`, shape (SCORE_RATIOS,)."""
    return bin_centres("shift", SCORE_RATIOS)


def scores(blocks: Blocks, space: Space) -> Scores:
    """Looks at every shift and focal length of a batch of maps, leading axis B."""
    canonical = affine.canonicalise(blocks.values, blocks.mask)
    first_guess = camera.initial_focal(blocks.size[..., 0])
    rays = (blocks.pixels - blocks.centre[..., None, :]) / first_guess[..., None, None]

    def one(rays, values, mask):
        fit = fit_windows(rays, values, mask, space, None)
        # One after the other: all at once would be a hundred megabytes.
        right = jax.lax.map(
            lambda ratio: _angles(
                fit.windows,
                affine.ratio_to_shift(ratio) - fit.base,
                space,
                window_pairs(),
                joint_posterior.focal_bins(),
            ),
            jnp.asarray(score_ratios(), values.dtype),
        )
        return Scores(fit.bending, right)

    return jax.vmap(one)(rays, canonical.values, canonical.mask)


# Traced once for all who call it: tracing is most of the time to a first answer.
@functools.partial(jax.jit, static_argnames="consensus")
def fit_map(rays, w, mask, consensus: bool = False) -> quadrics.Windows:
    """Fits the windows of all `GRIDS` to w, (P,), no residual less than most of the map's."""
    w = jnp.where(mask, w, 1.0)
    return _with_noise_floor(
        quadrics.fit_block_windows(rays, w, mask, points.BLOCKS, GRIDS, consensus)
    )


def _with_noise_floor(windows: quadrics.Windows) -> quadrics.Windows:
    """Raises residuals to what most windows have, relative to w as the noise of depth is."""
    freedom = jnp.maximum(windows.count - 6, 1) / jnp.maximum(windows.count, 1)
    relative = windows.residual / jnp.sqrt(freedom) / windows.value
    (floor,) = affine.masked_quantiles(relative, windows.mask, (NOISE_QUANTILE,))
    return windows._replace(
        residual=jnp.maximum(windows.residual, floor * windows.value * jnp.sqrt(freedom))
    )


@functools.partial(jax.jit, static_argnames="space")
def fit_windows(rays, values, mask, space: Space, ratio=None) -> Fit:
    """Fits windows to a map; in depth space to 1 / (depth + shift), by a first guess of the shift.

    Args:
      rays: (u, v), shape (P, 2).
      values: canonical depth or disparity, shape (P,).
      mask: shape (P,).
      space: of the values.
      ratio: in depth space, the near/far ratio to fit at, shape (); None for the one at which most
        is flat.
    """
    base = jnp.zeros((), values.dtype)
    positive = mask & (values > affine.SMALLEST_VALUE)
    if space == "disparity":
        windows = fit_map(rays, values, positive, consensus=True)
        nothing = jnp.zeros_like(windows.value)
        votes = planes.Votes(nothing, nothing + 1, nothing > 0)
        return Fit(jnp.zeros(joint_posterior.SHIFT_BINS, values.dtype), votes, windows, base)
    if ratio is None:
        # A quadric leaves out the cubic part of 1 / d, which fades as the shift is taken off.
        windows = fit_map(rays, 1 / jnp.where(mask, values, 1), positive)
        first = jax.nn.log_softmax(_bend_likelihood(windows, base))
        ratio = jnp.asarray(joint_posterior.ratio_bins())[first.argmax()]
    base = jax.lax.stop_gradient(affine.ratio_to_shift(jnp.clip(ratio, 0.02, 0.98)))
    positive = mask & (values + base > LEAST_TRUE_DEPTH)
    windows = fit_map(rays, 1 / jnp.where(positive, values + base, 1), positive, consensus=True)
    return Fit(_bend_likelihood(windows, base), _bend_votes(windows, base), windows, base)


def bends(windows: quadrics.Windows) -> tuple[jax.Array, jax.Array]:
    """The bending along the slope and its deviation, the curvature across the slope included.

    Shapes (..., M) both; see `planes.bending`.
    """
    q, deviation, _ = planes.bending(windows)
    slope = jnp.maximum((windows.gradient**2).sum(-1), 1e-12)
    h = windows.hessian
    twist = h[..., 0] ** 2 + 2 * h[..., 1] ** 2 + h[..., 2] ** 2 - (q * slope) ** 2
    twist = TWIST_WEIGHT * jnp.sqrt(jnp.maximum(twist, 0) + 1e-12) / slope
    return q, jnp.sqrt(deviation**2 + twist**2 + BEND_TOLERANCE**2)


def _bend_likelihood(windows, base) -> jax.Array:
    q, deviation = bends(windows)
    spread = jnp.hypot(1.0, BEND_RANGE / deviation)

    def at(shift: jax.Array) -> jax.Array:
        shift = shift - base
        divisor = 1 + shift * windows.value
        possible = windows.mask & (divisor > LEAST_TRUE_DEPTH)
        distance = (q - 2 * shift / jnp.where(possible, divisor, 1.0)) / deviation
        likelihood = jnp.exp(-0.5 * distance**2) * spread
        return jnp.log1p(jnp.where(possible, PLANE_ODDS * likelihood, 0.0)).sum(-1)

    return TEMPER["shift"] * chunking.over_bins(
        at, affine.ratio_to_shift(joint_posterior.ratio_bins())
    )


def _parallel_likelihood(windows, base, space: Space) -> jax.Array:
    """Log-likelihood of each of `ratio_bins` by how many planes are parallel, of one map."""
    pair = planes.gather_pairs(windows, window_pairs()[:PARALLEL_PAIRS])
    # Gathered once: fused into what follows, pairs would be gathered again for every bin.
    pair = jax.lax.optimization_barrier(pair)
    usual = usual_gradient(windows)

    def at(shift: jax.Array) -> jax.Array:
        misfits = planes.parallel_misfits(pair, shift - base, space)
        return jnp.log1p(PARALLEL_ODDS * parallel_likelihood(misfits, usual)).sum(-1)

    return TEMPER["parallel"] * joint_posterior.at_ratio_bins(
        chunking.over_bins(at, affine.ratio_to_shift(bin_centres("shift", PARALLEL_BINS)))
    )


def usual_gradient(windows: quadrics.Windows) -> jax.Array:
    """Mean square of a component of the gradients of a map's windows (..., M); shape (..., 1)."""
    square = jnp.where(windows.mask, (windows.gradient**2).mean(-1), 0.0).sum(-1, keepdims=True)
    return square / jnp.maximum(windows.mask.sum(-1, keepdims=True), 1) + 1e-6


def parallel_likelihood(
    misfits: planes.ParallelMisfits, usual: jax.Array, deviation: jax.Array | float = 1.0
) -> jax.Array:
    """How much likelier gradients are of parallel planes than of any others of the map.

    Args:
      misfits: of pairs of windows, shape (..., P).
      usual: as of `usual_gradient`, shape (..., 1).
      deviation: factor on that of the noise and of the tolerance, shape (..., P).

    Returns:
      Likelihood over that of a normal distribution as wide as gradients are, (..., P); 0 for what
      is masked.
    """
    variance = misfits.variance + PARALLEL_TOLERANCE**2 * (misfits.size2 + usual)
    variance = variance * deviation**2
    likely = usual / variance * jnp.exp(-0.5 * misfits.distance2 / variance)
    return jnp.where(misfits.mask, likely, 0.0)


def _bend_votes(windows, base) -> planes.Votes:
    q, deviation = bends(windows)
    half_turn = 2 - q * windows.value
    possible = windows.mask & (half_turn > 0.1)
    half_turn = jnp.where(possible, half_turn, 1.0)
    far = 1 + base + q / half_turn
    possible &= far > 1e-2
    far = jnp.where(possible, far, 1.0)
    # ratio = 1 - 0.5 / (1 + shift), shift = base + q / (2 - q w)
    return planes.Votes(1 - 0.5 / far, deviation / half_turn**2 / far**2, possible)


def _angles(windows, shift, space, pairs, log_alpha) -> jax.Array:
    """Log-likelihood of right angles at focal ratios, (F,), under a shift."""
    # Gathered once: fused into what follows, pairs would be gathered again for every bin.
    pair = jax.lax.optimization_barrier(planes.pair_angles(windows, shift, pairs, space))

    def at(alpha2: jax.Array) -> jax.Array:
        product, lengths, noise = normal_products(pair, alpha2)
        variance = noise + COSINE_TOLERANCE**2 * lengths  # of the product
        likelihood = jnp.exp(-0.5 * product**2 / variance) * jnp.sqrt(lengths / variance)
        return jnp.log(1 + jnp.where(pair.mask, ANGLE_ODDS * likelihood, 0.0)).sum(-1)

    return chunking.over_bins(at, jnp.exp(2 * jnp.asarray(log_alpha, windows.value.dtype)))


def normal_products(
    pair: planes.PairAngles, alpha2: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Products of the normals of pairs of windows under focal ratios.

    Args:
      pair: the pairs.
      alpha2: squared focal ratios, of a shape that goes with that of the pairs.

    Returns:
      The products, the squared lengths multiplied, and the variance of the products by the fits'
      noise, of the shape of both.
    """
    lengths = jnp.maximum(
        (alpha2 * pair.slopes[0] + pair.offsets[0]) * (alpha2 * pair.slopes[1] + pair.offsets[1]),
        1e-12,
    )
    product = alpha2 * pair.across + pair.along
    noise = jnp.maximum((alpha2 * pair.noise[0] + pair.noise[1]) * alpha2 + pair.noise[2], 0.0)
    return product, lengths, noise


def window_pairs() -> np.ndarray:
    """A fixed choice of pairs of windows, spread over all scales, shape (PAIRS, 2)."""
    first, second = np.triu_indices(sum(across * down for across, down in GRIDS), 1)
    chosen = np.random.default_rng(0).permutation(len(first))[:PAIRS]
    return np.stack([first[chosen], second[chosen]], -1).astype(np.int32)


class Refined(NamedTuple):
    """A value where votes lie, and its deviation by theirs; shapes (...)."""

    value: jax.Array
    deviation: jax.Array


def refine_ratio(solution: Solution, ratio: jax.Array) -> Refined:
    """Moves a ratio to where the votes about it lie, by at most 1.5 bins; shape (...)."""
    return _refine(solution.fit.bend, ratio, 1.5 / joint_posterior.SHIFT_BINS, 0.002)


def refine_log_alpha(
    solution: Solution, ratio: jax.Array, log_alpha: jax.Array, space: Space
) -> Refined:
    """The same for log(focal / f0), by the votes of pairs of windows under a shift."""
    pairs = window_pairs()
    shift = affine.ratio_to_shift(ratio) - solution.fit.base
    vote = lambda windows, s: planes.focal_votes(windows, s, pairs, space)  # noqa: E731
    votes = jax.vmap(vote)(solution.fit.windows, shift)
    low, high = RANGES["focal"]
    return _refine(votes, log_alpha, 1.5 * (high - low) / joint_posterior.FOCAL_BINS, 0.005)


def _refine(votes: planes.Votes, start: jax.Array, reach: float, least: float) -> Refined:
    """Reweighted least squares: the mean of the votes near it, each as sure as it says."""

    def near(votes, value):
        distance = (votes.value - value[..., None]) / jnp.hypot(votes.deviation, least)
        return jnp.where(votes.mask, jnp.exp(-0.5 * distance**2), 0.0)

    def step(votes, value):
        weight = near(votes, value) / jnp.hypot(votes.deviation, least) ** 3
        total = weight.sum(-1)
        # Pulled to where it was by very little, which decides where no vote is near.
        return (((weight * votes.value).sum(-1)) + 1e-3 * value) / (total + 1e-3)

    fixed = jax.lax.stop_gradient(votes)
    value = jax.lax.fori_loop(0, 40, lambda _, x: step(fixed, x), jax.lax.stop_gradient(start))
    precision = (near(fixed, value) / jnp.hypot(fixed.deviation, least) ** 2).sum(-1)
    # Derivatives as of the fixed point that the steps approach: of one step at it, over what the
    # step does not take back.
    _, slope = jax.jvp(lambda x: step(fixed, x), (value,), (jnp.ones_like(value),))
    value = value + (step(votes, value) - step(fixed, value)) / jnp.maximum(1 - slope, 0.1)
    return Refined(
        jnp.clip(value, start - reach, start + reach), 1 / jnp.sqrt(jnp.maximum(precision, 1e-6))
    )


def plane_share(blocks: Blocks, space: Space, shift: jax.Array, focal: jax.Array) -> jax.Array:
    """The largest share of the flat windows whose planes have one and the same direction.

    Args:
      blocks: the maps, leading axis B.
      space: of their values.
      shift: canonical units, shape (B,).
      focal: pixels, shape (B,).

    Returns:
      Shape (B,), in [0, 1]; 1 where no window is flat.
    """
    canonical = affine.canonicalise(blocks.values, blocks.mask)
    rays = (blocks.pixels - blocks.centre[..., None, :]) / focal[..., None, None]

    def one(rays, values, mask, shift):
        true = values + shift
        mask = mask & (true > LEAST_TRUE_DEPTH)
        w = jnp.where(mask, true, 1.0)
        w = 1 / w if space == "depth" else w
        windows = _with_noise_floor(
            quadrics.fit_block_windows(rays, w, mask, points.BLOCKS, ((11, 11),))
        )
        g, m = planes.plane_normals(windows, jnp.zeros(()), space)
        normal = jnp.concatenate([g, m[:, None]], -1)
        normal = normal / jnp.sqrt((normal**2).sum(-1, keepdims=True) + 1e-12)
        relative = windows.residual / windows.value
        (usual,) = affine.masked_quantiles(relative, windows.mask, (NOISE_QUANTILE,))
        weight = windows.count * (windows.mask & (relative < 3 * usual + FLAT_RESIDUAL))
        alike = jnp.abs(normal @ normal.T) > ONE_DIRECTION_COSINE
        total = weight.sum()
        return jnp.where(total > 0, (alike * weight).sum(-1).max() / jnp.maximum(total, 1), 1.0)

    return jax.vmap(one)(rays, canonical.values, canonical.mask, shift)


FLAT_RESIDUAL = 0.003
"""Relative residual below which a window is flat on any map."""

ONE_DIRECTION_COSINE = 0.985
"""Planes within ten degrees have one direction."""
