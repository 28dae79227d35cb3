"""Shift and focal length by geometry alone: a search without learning.

The likelihoods of flat windows, of parallel planes and of right angles (`likelihoods`), with equal
weights for all windows and pairs, tempered because windows overlap.  They give posteriors over the
same quantities and ranges as a network's.

Everything has a leading batch axis, is of static shape, and differentiable.
"""

# JAX types many of its functions in part only, hence what is switched off.
# pyright: strict, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float64

from train3d_jax.evidence import likelihoods
from train3d_jax.evidence.hints import Hints
from train3d_jax.evidence.joint_posterior import marginals, shift_nodes
from train3d_jax.evidence.line_curves import LineCurves
from train3d_jax.evidence.prior import focal_prior, or_known
from train3d_jax.evidence.settings import EvidenceSettings, solver_settings
from train3d_jax.evidence.targets import (
    FOCAL_BINS,
    at_focal_bins,
    bin_centres,
    focal_bins,
    ratio_bins,
)
from train3d_jax.evidence.window_fit import WindowFit, fit_maps
from train3d_jax.geometry import affine, camera
from train3d_jax.geometry.affine import Canonical, Either, Space
from train3d_jax.geometry.clouds import Blocks, block_rays

SCORE_RATIOS = 128
"""Shifts of `Scores`."""

ALL_PAIRS = 1536
"""Pairs of `Scores`."""


class GeometricPosterior(NamedTuple):
    """Posteriors of maps by geometry, any leading axes.

    Attributes:
      shift: log-probability over the near/far ratio, shape (..., SHIFT_BINS).
      focal: log-probability over log(focal / f0), shape (..., FOCAL_BINS); f0 of 60 degrees.
      focal_prior: what `focal` was multiplied with: the prior, a hint, or what is known.
      fit: the windows.
      joint: of which `shift` and `focal` are the marginals.
    """

    shift: jax.Array
    focal: jax.Array
    focal_prior: jax.Array
    fit: WindowFit
    joint: "Joint"


class Joint(NamedTuple):
    """The arguments of `joint_posterior.marginals`."""

    shift: jax.Array
    nodes: jax.Array
    both: jax.Array


def solve(
    blocks: Blocks,
    canonical: Canonical,
    space: Space,
    known_shift: Float[Either, " b"] | None = None,
    known_focal: Float[Either, " b"] | None = None,
    settings: EvidenceSettings | None = None,
    hints: Hints | None = None,
) -> GeometricPosterior:
    """Computes the posteriors of a batch of maps.

    Args:
      blocks: the maps, leading axis B.
      canonical: their canonical form.
      space: of their values.
      known_shift: canonical units, shape (B,); NaN, and None for all, where it is estimated.
      known_focal: pixels, shape (B,); the same.
      settings: of the evidence; None for `settings.solver_settings`.
      hints: what is known up to a width.

    Returns:
      Posteriors, leading axis B.  A known value has all of its probability in its bin.
    """
    settings = settings or solver_settings(space)
    first_guess = camera.initial_focal(blocks.size[..., 0])
    rays = block_rays(blocks, first_guess)
    ratio = None if known_shift is None else affine.shift_to_ratio(known_shift)
    fit = fit_maps(rays, canonical.values, canonical.mask, space, settings, ratio)
    # Not in the fit: networks weight pairs themselves, and take its windows alone.
    shift = fit.curvature + likelihoods.parallelism(fit.windows, fit.base, space, settings)
    shift = shift if hints is None else shift + hints.of_shift()
    shift = or_known(shift, ratio, ratio_bins())
    log_alpha = None if known_focal is None else jnp.log(known_focal / first_guess)
    prior = focal_prior(blocks.size)
    prior = prior if hints is None else prior + hints.of_focal(first_guess)
    prior = or_known(prior, log_alpha, focal_bins())
    nodes = jax.lax.stop_gradient(shift_nodes(shift, settings.angles))
    angles = likelihoods.right_angles(fit.windows, fit.base, nodes, space, settings)
    joint = Joint(shift, nodes, at_focal_bins(angles) + prior[:, None])
    return GeometricPosterior(*marginals(*joint), prior, fit, joint)


def with_lines(geometry: GeometricPosterior, lines: LineCurves) -> GeometricPosterior:
    """Posteriors by planes and lines: those of planes, multiplied with what lines say."""
    shift, nodes, both = geometry.joint
    joint = Joint(shift + lines.shift, nodes, both + lines.focal[:, None])
    of_shift, of_focal = marginals(*joint)
    return geometry._replace(shift=of_shift, focal=of_focal, joint=joint)


class Scores(NamedTuple):
    """How flat and how right-angled maps are under all shifts and focal lengths.

    Leading axes (...).

    Attributes:
      flat: log-likelihood by curvature at each of `ratio_bins`, shape (..., SHIFT_BINS); 0 where no
        window lies on a plane, and throughout in disparity space.
      right: by right angles, at each of `score_ratios` and `focal_bins`, shape (..., SCORE_RATIOS,
        FOCAL_BINS); without any prior, and not tempered.
    """

    flat: jax.Array
    right: jax.Array


def score_ratios() -> Float64[np.ndarray, "128"]:
    """The near/far ratios of `Scores.right`, shape (SCORE_RATIOS,)."""
    return bin_centres("shift", SCORE_RATIOS)


def scores(blocks: Blocks, space: Space) -> Scores:
    """Evaluates every shift and focal length of a batch of maps, leading axis B."""
    settings = _untempered(solver_settings(space).with_pairs(ALL_PAIRS))
    canonical = affine.canonicalise(blocks.values, blocks.mask)
    rays = block_rays(blocks, camera.initial_focal(blocks.size[..., 0]))
    fit = fit_maps(rays, canonical.values, canonical.mask, space, solver_settings(space))
    ratios = jnp.broadcast_to(
        jnp.asarray(score_ratios(), rays.dtype), (*fit.base.shape, SCORE_RATIOS)
    )
    right = likelihoods.right_angles(
        fit.windows, fit.base, ratios, space, settings, bins=FOCAL_BINS
    )
    return Scores(fit.curvature, right)


def _untempered(settings: EvidenceSettings) -> EvidenceSettings:
    angles = dataclasses.replace(settings.angles, independent=float(settings.angles.pairs))
    return dataclasses.replace(settings, angles=angles)
