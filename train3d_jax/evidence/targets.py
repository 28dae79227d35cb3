"""What is estimated: shift, scale and focal length, as posteriors over equal bins of a range."""

# JAX types many of its functions in part only, hence what is switched off.
# pyright: strict, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64

from train3d_jax.geometry.affine import Either

Target = Literal["shift", "scale", "focal"]
TARGETS: tuple[Target, ...] = ("shift", "scale", "focal")
"""Numbered as in the original: 0 shift, 1 scale, 2 focal length."""

FOCAL_RANGE = (0.33, 16.8)
"""Of focal / f0 with f0 of 60 degrees: vertical fields of view of 4 to 120 degrees, so lenses of 8
degrees along the diagonal, and strips and crops of others.  Chosen."""

RANGES: dict[Target, tuple[float, float]] = {
    # near/far ratio of the true values: 0 for a scene that begins at the camera, 1 for a flat one
    "shift": (0.0, 1.0),
    # log of the far quantile in metres over the initial scale: 5 cm to 400 m for an initial 1
    "scale": (math.log(0.05), math.log(400.0)),
    # log(focal / f0)
    "focal": (math.log(FOCAL_RANGE[0]), math.log(FOCAL_RANGE[1])),
}
"""The quantity that each target's posterior is over, and its range."""

BINS = 64
"""Of the posteriors of point sets and of the scale."""

SHIFT_BINS = 256
FOCAL_BINS = 192
"""Of joint posteriors: 0.004 of the near/far ratio, 2 % of the focal length."""

SAFE_RATIO = (0.005, 0.995)
"""Near/far ratios that are converted to shifts: at 1 the shift is infinite."""


class Posterior(NamedTuple):
    """A distribution over one target's quantity, piecewise constant over equal bins.

    Attributes:
      log_probability: shape (..., bins), normalised.
    """

    log_probability: jax.Array


def bin_centres(target: Target, bins: int = BINS) -> Float64[np.ndarray, " {bins}"]:
    """Centres of so many equal bins of a target's range, shape (bins,)."""
    low, high = RANGES[target]
    return low + (np.arange(bins) + 0.5) * (high - low) / bins


def ratio_bins() -> Float64[np.ndarray, "256"]:
    """Centres of the bins of the near/far ratio, shape (SHIFT_BINS,)."""
    return bin_centres("shift", SHIFT_BINS)


def focal_bins() -> Float64[np.ndarray, "192"]:
    """Centres of the bins of log(focal / f0), shape (FOCAL_BINS,)."""
    return bin_centres("focal", FOCAL_BINS)


def at_ratio_bins(curve: Float[Array, "*b n"]) -> Float[Array, "*b 256"]:
    """A curve over equal bins of the near/far ratio, shape (..., bins), at `ratio_bins`."""
    return jax.image.resize(curve, (*curve.shape[:-1], SHIFT_BINS), "linear")


def at_focal_bins(curve: Float[Array, "*b n"]) -> Float[Array, "*b 192"]:
    """A curve over equal bins of log(focal / f0), shape (..., bins), at `focal_bins`."""
    return jax.image.resize(curve, (*curve.shape[:-1], FOCAL_BINS), "linear")


def quantiles(
    log_probability: Float[Either, "*b n"], target: Target, levels: Sequence[float] | np.ndarray
) -> Float[Array, "*b k"]:
    """Quantiles of a distribution over equal bins of a target's range, linear within a bin.

    Args:
      log_probability: up to a constant, shape (..., bins).
      target: whose range the bins span.
      levels: probabilities below the quantiles, shape (K,).

    Returns:
      Shape (..., K).
    """
    low, high = RANGES[target]
    probability = jax.nn.softmax(jnp.asarray(log_probability))
    bins = probability.shape[-1]
    cumulative = jnp.cumsum(probability, -1)
    wanted = jnp.asarray(levels)
    index = jnp.minimum((cumulative[..., None, :] < wanted[:, None]).sum(-1), bins - 1)
    inside = jnp.take_along_axis(probability, index, -1)
    below = jnp.take_along_axis(cumulative, index, -1) - inside
    part = jnp.clip((wanted - below) / jnp.maximum(inside, 1e-9), 0.0, 1.0)
    return low + (index + part) * (high - low) / bins


def median(posterior: Posterior, target: Target) -> Float[Array, "*b"]:
    """The median of a posterior, which minimises the expected absolute error; shape (...)."""
    return quantiles(posterior.log_probability, target, (0.5,))[..., 0]
