"""What is estimated: shift, scale and focal length, as posteriors over equal bins of a range."""

import math
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Target = Literal["shift", "scale", "focal"]
TARGETS: tuple[Target, ...] = ("shift", "scale", "focal")
"""Numbered as in the original: 0 shift, 1 scale, 2 focal length."""

BINS = 64
RANGES: dict[Target, tuple[float, float]] = {
    # near/far ratio of the true values: 0 for a scene that begins at the camera, 1 for a flat one
    "shift": (0.0, 1.0),
    # log of the far quantile in metres over the initial scale: 5 cm to 400 m for an initial 1
    "scale": (math.log(0.05), math.log(400.0)),
    # log(focal / f0): fields of view of 15 to 120 degrees and crops of them, from f0 of 60 degrees
    "focal": (math.log(0.33), math.log(4.2)),
}
"""Quantity that each target's posterior is over, and its range."""


class Posterior(NamedTuple):
    """A distribution over one target's quantity, piecewise constant over equal bins.

    Attributes:
      log_probability: shape (..., BINS), normalised.
    """

    log_probability: jax.Array


def bin_centres(target: Target, bins: int = BINS) -> np.ndarray:
    """Centres of so many equal bins of a target's range, shape (bins,)."""
    low, high = RANGES[target]
    return low + (np.arange(bins) + 0.5) * (high - low) / bins


def median(posterior: Posterior, target: Target) -> jax.Array:
    """The median of a posterior, which minimises the expected absolute error; shape (...)."""
    return quantile(posterior, target, 0.5)


def quantile(posterior: Posterior, target: Target, level: float) -> jax.Array:
    """The value that a share `level` of the probability lies below, linear within a bin."""
    low, high = RANGES[target]
    probability = jnp.exp(posterior.log_probability)
    cumulative = jnp.cumsum(probability, -1)
    bins = probability.shape[-1]
    index = jnp.minimum((cumulative < level).sum(-1), bins - 1)
    take = lambda x: jnp.take_along_axis(x, index[..., None], -1)[..., 0]  # noqa: E731
    inside = (level - (take(cumulative) - take(probability))) / jnp.maximum(take(probability), 1e-9)
    return low + (index + jnp.clip(inside, 0.0, 1.0)) * (high - low) / bins
