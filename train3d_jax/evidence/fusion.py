"""From posteriors to estimates: prior and evidence are multiplied, quantiles are read off.

The network's posterior is used where there is a network, the solver's otherwise.  Medians are the
estimates, quantiles the intervals.  On clean depth votes refine them within a bin.
"""

# JAX types many of its functions in part only, hence what is switched off.
# pyright: strict, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from train3d_jax.evidence.calibration import without_bins
from train3d_jax.evidence.hints import Hints
from train3d_jax.evidence.line_curves import LineCurves
from train3d_jax.evidence.network_posterior import NetworkPosterior, on_solver_bins
from train3d_jax.evidence.planarity import plane_share
from train3d_jax.evidence.prior import focal_prior
from train3d_jax.evidence.refinement import Refined, refine_log_alpha, refine_ratio
from train3d_jax.evidence.settings import solver_settings
from train3d_jax.evidence.solver import GeometricPosterior
from train3d_jax.evidence.targets import (
    RANGES,
    SAFE_RATIO,
    SHIFT_BINS,
    Target,
    quantiles,
    ratio_bins,
)
from train3d_jax.geometry import affine, camera
from train3d_jax.geometry.affine import Canonical, Either, Space
from train3d_jax.geometry.clouds import Blocks

Method = Literal["learned", "geometric"]

INTERVAL = (0.05, 0.5, 0.95)
"""Quantiles of an estimate: the ends of the central 90 %, and the median."""

INTERVAL_SIGMAS = 1.645
"""Standard deviations of a normal distribution on either side that contain 90 %."""

FRAME_DOUBT = 0.05
"""Probability that the posterior of one map of a camera is wrong.  Chosen."""

VOTES_FINEST = 0.85
"""Standard deviations of votes that contain 90 % of true ratios where one bin holds nearly all the
probability.  On 205 clean rendered rooms: 0.59 to 0.84, the smaller the narrower the votes."""

FINEST_WITH_FOCAL = 0.4
"""Bins of the ratio that contain 90 % of true ones where the focal length is known, on 410 clean
rendered views: its bin of 2 % moves the shift by part of that."""

FLAGS = (
    "near_planar", "few_valid_pixels", "out_of_training_range", "solver_disagrees",
    "hint_disagrees",
)  # fmt: skip

EXCLUDED = (0.005, 0.5, 0.995)
"""Quantiles outside of which map and hint exclude each other: the central 99 %.

Chosen on 168 crops of `real/more`: 4 % of right hints of 3 % are doubted, and 61 % of those that
are wrong by a factor of two."""

WIDTH_99 = 2.576
"""Standard deviations of a normal distribution on either side that contain 99 %."""

FEW_VALID = 0.1
"""Share of a map's pixels with a value, below which a map is sparse.  Chosen."""

ONE_PLANE_SHARE = 0.87
"""Share of flat windows with one direction, above which the focal length is unobservable; 1 where
no window is flat.  Chosen: flags the same maps, 3 of 177 apart, as .9 did of windows fitted anew
under the estimate."""

FAR_TAIL = 3.0
"""Distance of a canonical value from 0.75, the middle of the near and the far quantile.

Chosen: such a value is 5.5 times as far beyond its quantile as the two quantiles (0.5 and 1) are
apart, as sky, outliers and the maps of failed networks are, and no room."""

BORDER_SHARE = 0.02
"""Share of a posterior's range at either end, where the range cuts an estimate off.  Chosen."""


class Evidence(NamedTuple):
    """A source of evidence on one quantity.

    Attributes:
      log_likelihood: over the bins of the quantity, up to a constant, shape (..., bins).
      doubt: probability that the source is wrong altogether; then any value is equally likely.
    """

    log_likelihood: jax.Array
    doubt: float = 0.0


def fuse(prior: Float[Either, "*b n"], *sources: Evidence) -> Float[Array, "*c n"]:
    """The posterior by a prior and independent sources of evidence: their product.

    Args:
      prior: log-probability over bins, up to a constant, shape (..., bins).
      sources: of evidence.

    Returns:
      Normalised log-probability, shape (..., bins).
    """
    total = jnp.asarray(prior)
    for log_likelihood, doubt in sources:
        total = total + (_may_be_wrong(log_likelihood, doubt) if doubt else log_likelihood)
    return jax.nn.log_softmax(total)


class Fused(NamedTuple):
    """Estimates of a batch with their intervals, low end, median and high end, and flags.

    Attributes:
      shift: canonical units, shape (B, 3).
      focal: pixels, shape (B, 3).
      has_evidence: whether the method had any, shape (B,).
      focal_by_map: `focal` by the prior and the map alone.
      map_wins: `focal` is known up to a width that the map excludes, and the map's evidence is the
        wider of both: the hint is to be dropped, shape (B,).
      flags: for each of `FLAGS` whether it is raised, shape (B,).
      shift_posterior, focal_posterior: over the bins, where they are estimated, shape (B, bins).
    """

    shift: jax.Array
    focal: jax.Array
    has_evidence: jax.Array
    focal_by_map: jax.Array
    map_wins: jax.Array
    flags: dict[str, jax.Array]
    shift_posterior: jax.Array
    focal_posterior: jax.Array


def estimate(
    geometry: GeometricPosterior,
    network: NetworkPosterior,
    blocks: Blocks,
    canonical: Canonical,
    method: Method,
    space: Space,
    known_shift: Float[Either, " b"],
    known_focal: Float[Either, " b"],
    hints: Hints,
    lines: LineCurves | None = None,
) -> Fused:
    """Estimates shift and focal length of a batch of B maps.

    Args:
      geometry: of the solver.
      network: of the networks.
      blocks: the maps.
      canonical: their canonical form.
      method: whose posterior the estimates come from, where there are both.
      space: of the maps' values.
      known_shift: canonical units, shape (B,); NaN where it is estimated.
      known_focal: pixels, shape (B,); the same.
      hints: what is known up to a width.
      lines: what lines of pictures say, with which `geometry` has been multiplied.
    """
    unknown_shift, unknown_focal = jnp.isnan(known_shift), jnp.isnan(known_focal)
    first_guess = camera.initial_focal(blocks.size[..., 0])
    prior = focal_prior(blocks.size)
    net_shift, net_focal = on_solver_bins(network, first_guess, lines)
    by_geometry = fuse(prior, Evidence(geometry.focal - geometry.focal_prior))
    by_network = None if net_focal is None else fuse(prior, Evidence(net_focal))
    if net_shift is not None:
        net_shift = fuse(net_shift, Evidence(hints.of_shift()))
    learned = method == "learned"
    of_shift = net_shift if learned and net_shift is not None else geometry.shift
    of_map = by_network if learned and by_network is not None else by_geometry
    hinted = _hinted(of_map, prior, hints, jnp.asarray(known_focal), first_guess)
    ratio = quantiles(of_shift, "shift", INTERVAL)
    log_alpha = quantiles(hinted.posterior, "focal", INTERVAL)
    log_alpha_by_map = quantiles(of_map, "focal", INTERVAL)
    if learned:
        ratio, log_alpha = _within_bins(ratio, log_alpha, network, ~unknown_focal)
    else:
        ratio, log_alpha = _by_votes(ratio, log_alpha, geometry, space)
    shift = affine.ratio_to_shift(jnp.clip(ratio, *SAFE_RATIO))
    focal = jnp.exp(log_alpha) * first_guess[:, None]
    shift = jnp.where(unknown_shift[:, None], shift, known_shift[:, None])
    focal = jnp.where(unknown_focal[:, None], focal, known_focal[:, None])
    disagree = unknown_shift & _exclude_each_other(net_shift, geometry.shift, "shift")
    disagree |= unknown_focal & _exclude_each_other(by_network, by_geometry, "focal")
    out_of_range = unknown_shift & _at_border(ratio[:, 1], "shift")
    out_of_range |= unknown_focal & _at_border(log_alpha[:, 1], "focal")
    middle = (affine.NEAR_VALUE + affine.FAR_VALUE) / 2
    distance = jnp.abs(jnp.where(canonical.mask, canonical.values, 1.0) - middle)
    out_of_range |= distance.max(-1) > FAR_TAIL
    alpha = focal[:, 1] / first_guess
    planes = plane_share(geometry.fit, space, solver_settings(space), shift[:, 1], alpha)
    flags = {
        "near_planar": (planes > ONE_PLANE_SHARE) & canonical.solvable,
        "few_valid_pixels": _few_valid(blocks),
        "out_of_training_range": out_of_range & canonical.solvable,
        "solver_disagrees": disagree & canonical.solvable,
        "hint_disagrees": hinted.disagrees & canonical.solvable,
    }
    has_evidence = learned | geometry.fit.has_evidence
    by_map = jnp.exp(log_alpha_by_map) * first_guess[:, None]
    posteriors = of_shift, hinted.posterior
    return Fused(shift, focal, has_evidence, by_map, hinted.map_wins, flags, *posteriors)


class _Hinted(NamedTuple):
    """The posterior of the focal length by map and hint, and whether they exclude each other.

    Attributes:
      posterior: log-probability over the bins, shape (B, bins).
      disagrees: map and hint, or a known value, exclude each other, shape (B,).
      map_wins: see `Fused`.
    """

    posterior: jax.Array
    disagrees: jax.Array
    map_wins: jax.Array


def _hinted(
    of_map: jax.Array, prior: jax.Array, hints: Hints, known_focal: jax.Array, first_guess: Array
) -> _Hinted:
    """Multiplies map and hint; where they exclude each other the wider evidence is taken alone."""
    hint = hints.of_focal(first_guess)
    is_soft = ~jnp.isnan(hints.focal)
    value = jnp.log(jnp.where(is_soft, hints.focal, known_focal) / first_guess)
    # A known value has no width; of two bins the nearest is taken, so a bin is its width.
    half = jnp.where(is_soft, WIDTH_99 * hints.focal_sigma, 0.0)
    by_map = quantiles(of_map, "focal", EXCLUDED)
    by_hint = value[:, None] + half[:, None] * np.array([-1.0, 0.0, 1.0])
    disagrees = _outside(by_map, by_hint) & _outside(by_hint, by_map)
    map_is_wider = by_map[:, 2] - by_map[:, 0] > 2 * half
    product = fuse(of_map, Evidence(hint))
    posterior = jnp.where((disagrees & is_soft)[:, None], fuse(prior, Evidence(hint)), product)
    map_wins = disagrees & is_soft & map_is_wider
    return _Hinted(jnp.where(map_wins[:, None], of_map, posterior), disagrees, map_wins)


class LogLikelihoods(NamedTuple):
    """The evidence of maps, without any prior or hint of the same quantity, at most 0.

    Attributes:
      focal: of each focal length, at `focal_bins`, shape (B, FOCAL_BINS).
      shift: of each near/far ratio, at `ratio_bins`, shape (B, SHIFT_BINS); by the focal length
        that is known or hinted at, too.
    """

    focal: jax.Array
    shift: jax.Array


def log_likelihoods(
    geometry: GeometricPosterior,
    network: NetworkPosterior,
    blocks: Blocks,
    hints: Hints,
    method: Method,
    lines: LineCurves | None = None,
) -> LogLikelihoods:
    """What each of B maps says, to be multiplied over the maps of one camera or clip.

    Args:
      geometry: of the solver, whose shift has been multiplied with the hint.
      network: of the networks.
      blocks: the maps.
      hints: that the solver was given.
      method: whose evidence is taken, where there are both.
      lines: what lines of pictures say, with which `geometry` has been multiplied.
    """
    prior = focal_prior(blocks.size)
    first_guess = camera.initial_focal(blocks.size[..., 0])
    network = network if method == "learned" else NetworkPosterior()
    shift, focal = on_solver_bins(network, first_guess, lines)
    shift = geometry.shift - hints.of_shift() if shift is None else shift
    focal = geometry.focal - geometry.focal_prior if focal is None else focal
    nothing = np.zeros(shift.shape[-1])
    return LogLikelihoods(
        doubted(fuse(prior, Evidence(focal)), FRAME_DOUBT) - prior,
        doubted(fuse(nothing, Evidence(shift)), FRAME_DOUBT),
    )


def doubted(curve: Float[Array, "*b n"], doubt: float) -> Float[Array, "*b n"]:
    """A log-likelihood that may be wrong, see `Evidence.doubt`, from its maximum on."""
    curve = _may_be_wrong(curve, doubt)
    return curve - curve.max(-1, keepdims=True)


def _may_be_wrong(curve: jax.Array, doubt: float) -> jax.Array:
    even = jnp.log(doubt / curve.shape[-1])
    return jnp.logaddexp(jax.nn.log_softmax(curve) + jnp.log1p(-doubt), even)


def _within_bins(
    ratio: jax.Array, log_alpha: jax.Array, network: NetworkPosterior, focal_known: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Intervals by a network without the width that is due to its bins."""
    if network.shift is not None:
        finest = network.finest_shift
        if finest is not None:
            finest = jnp.where(focal_known, jnp.maximum(finest, FINEST_WITH_FOCAL), finest)[:, None]
        ratio = without_bins(ratio, "shift", network.shift.shape[-1], finest)
    if network.focal is not None:
        bins = network.focal.shape[-1]
        log_alpha = without_bins(log_alpha, "focal", bins, network.finest_focal)
    return ratio, log_alpha


def _by_votes(
    ratio: jax.Array, log_alpha: jax.Array, geometry: GeometricPosterior, space: Space
) -> tuple[jax.Array, jax.Array]:
    """Medians refined by votes: a bin is coarser than the evidence of clean maps."""
    finer = refine_ratio(geometry, ratio[:, 1])
    ratio = _with_median(ratio, finer)
    if space != "disparity":
        width = ratio_bins()[1] - ratio_bins()[0]
        finest = jnp.minimum(VOTES_FINEST * finer.sigma[:, None] / width, 0.5)
        ratio = without_bins(ratio, "shift", SHIFT_BINS, finest)
    within = jnp.clip(ratio[:, 1], *SAFE_RATIO)
    finer = refine_log_alpha(geometry, within, log_alpha[:, 1], space)
    return ratio, _with_median(log_alpha, finer)


def _with_median(interval: jax.Array, finer: Refined) -> jax.Array:
    """Replaces the median, which may push the ends outwards."""
    low = jnp.minimum(interval[:, 0], finer.value)
    high = jnp.maximum(interval[:, 2], finer.value)
    return jnp.stack([low, finer.value, high], -1)


def _exclude_each_other(
    network: jax.Array | None, geometry: jax.Array, target: Target
) -> jax.Array:
    """Whether the interval of either posterior excludes the median of the other, shape (B,)."""
    if network is None:
        return jnp.zeros(geometry.shape[:-1], bool)
    one, other = (quantiles(posterior, target, INTERVAL) for posterior in (network, geometry))
    return _outside(one, other) & _outside(other, one)


def _outside(one: jax.Array, other: jax.Array) -> jax.Array:
    """Whether the medians of intervals (B, 3) lie outside of other intervals."""
    return (one[:, 1] < other[:, 0]) | (one[:, 1] > other[:, 2])


def _at_border(value: jax.Array, target: Target) -> jax.Array:
    low, high = RANGES[target]
    part = (value - low) / (high - low)
    return (part < BORDER_SHARE) | (part > 1 - BORDER_SHARE)


def _few_valid(blocks: Blocks) -> jax.Array:
    """Whether less than `FEW_VALID` of the pixels hold a value; of the blocks, without a count."""
    share = blocks.valid_share
    return jnp.asarray(blocks.mask.mean(-1) if share is None else share) < FEW_VALID
