"""Estimates finer than a bin: reweighted least squares over the votes near an estimate.

Clean depth determines shift and focal length more finely than the bins of the posteriors.
"""

# JAX types many of its functions in part only, hence what is switched off.
# pyright: strict, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from train3d_jax.evidence.settings import solver_settings
from train3d_jax.evidence.solver import ALL_PAIRS, GeometricPosterior
from train3d_jax.evidence.targets import FOCAL_BINS, RANGES, SHIFT_BINS
from train3d_jax.geometry.affine import Either, Space, ratio_to_shift
from train3d_jax.windows import planes
from train3d_jax.windows.spaces import INVERSE_DEPTH

REACH = 1.5
"""Bins by which an estimate may move.  Chosen: further away is another peak of the posterior."""

LEAST_RATIO_SIGMA, LEAST_FOCAL_SIGMA = 0.002, 0.005
"""Least standard deviation of a vote, in units of the ratio and of log(focal / f0): half and a
quarter of a bin.  Chosen: votes nearer than this count alike."""


class Refined(NamedTuple):
    """A value where votes concentrate, and its standard deviation by theirs; shapes (...)."""

    value: jax.Array
    sigma: jax.Array


def refine_ratio(posterior: GeometricPosterior, ratio: Float[Either, "*b"]) -> Refined:
    """Moves a near/far ratio to where the windows' votes are, by at most 1.5 bins; shape (...)."""
    return _refine(posterior.fit.votes, ratio, REACH / SHIFT_BINS, LEAST_RATIO_SIGMA)


def refine_log_alpha(
    posterior: GeometricPosterior,
    ratio: Float[Either, "*b"],
    log_alpha: Float[Either, "*b"],
    space: Space,
) -> Refined:
    """The same for log(focal / f0), by the votes of pairs of windows under a shift."""
    pairs = planes.window_pairs(solver_settings(space).windows.count, ALL_PAIRS)
    move = INVERSE_DEPTH[space].move(ratio_to_shift(ratio), posterior.fit.base)
    votes = planes.focal_votes(posterior.fit.windows, move, pairs, space)
    low, high = RANGES["focal"]
    return _refine(votes, log_alpha, REACH * (high - low) / FOCAL_BINS, LEAST_FOCAL_SIGMA)


def _refine(votes: planes.Votes, start: Either, reach: float, least: float) -> Refined:
    """The mean of the votes near the value, weighted by their precision, as a fixed point."""

    def near(votes: planes.Votes, value: jax.Array) -> jax.Array:
        distance = (votes.value - value[..., None]) / jnp.hypot(votes.sigma, least)
        return jnp.where(votes.mask, jnp.exp(-0.5 * distance**2), 0.0)

    def step(votes: planes.Votes, value: jax.Array) -> jax.Array:
        weight = near(votes, value) / jnp.hypot(votes.sigma, least) ** 3
        total = weight.sum(-1)
        # A very small weight for the value itself decides where no vote is near.
        return (((weight * votes.value).sum(-1)) + 1e-3 * value) / (total + 1e-3)

    fixed = jax.lax.stop_gradient(votes)
    value = jax.lax.fori_loop(0, 40, lambda _, x: step(fixed, x), jax.lax.stop_gradient(start))
    precision = (near(fixed, value) / jnp.hypot(fixed.sigma, least) ** 2).sum(-1)
    # Derivatives of the fixed point that the steps approach: of one step at it, over one minus the
    # step's own slope.
    _, slope = jax.jvp(lambda x: step(fixed, x), (value,), (jnp.ones_like(value),))
    value = value + (step(votes, value) - step(fixed, value)) / jnp.maximum(1 - slope, 0.1)
    return Refined(
        jnp.clip(value, start - reach, start + reach), 1 / jnp.sqrt(jnp.maximum(precision, 1e-6))
    )
