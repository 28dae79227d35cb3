"""The prior of the focal length, and what the caller knows beforehand."""

# JAX types many of its functions in part only, hence what is switched off.
# pyright: strict, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from train3d_jax.evidence.targets import focal_bins
from train3d_jax.geometry.affine import Either
from train3d_jax.geometry.camera import initial_focal

MEAN, SIGMA = math.log(35.3 / math.hypot(36, 24)), 0.35
"""Of log(focal / diagonal), as a broad normal distribution, chosen: a phone's photo has a standard
deviation of 0.15, a depth camera's map of 0.3, a crop to three quarters adds 0.3.  The median is a
35 mm equivalent of 35.3 mm, which is defined by the diagonal of 36 x 24 mm: a vertical field of
view of 41.2 degrees at 4:3.  With `DOUBT` the central 90 % are 18.7 to 70.8 degrees."""

DOUBT = 0.1
"""Probability that a camera is none of these, with any focal length of the range.  Chosen."""

IMPOSSIBLE = -300.0
"""Logarithm that stands for probability 0, finite so that differences are."""


class Prior(NamedTuple):
    """Log-probabilities before a map is looked at, up to a constant.

    Attributes:
      shift: over `targets.ratio_bins`, shape (..., SHIFT_BINS).
      focal: over `targets.focal_bins`, of the focal length over the one that the rays were made
        with, shape (..., FOCAL_BINS).
    """

    shift: jax.Array
    focal: jax.Array


def focal_prior(
    size: Float[Either, "*b 2"], log_alpha: Float[Either, "*b n"] | None = None
) -> Float[Array, "*b n"]:
    """The prior of focal lengths: a normal distribution, or with `DOUBT` a uniform one.

    It is one of the focal length over the diagonal, so that it does not depend on the aspect ratio.

    Args:
      size: height and width of the maps in pixels, shape (..., 2).
      log_alpha: log(focal / f0) with f0 of 60 degrees, at equal bins, shape (..., n); None for
        `focal_bins`.

    Returns:
      Logarithm of the density, up to a constant, shape (..., n).
    """
    log_alpha = jnp.asarray(focal_bins() if log_alpha is None else log_alpha)
    size = jnp.asarray(size)
    diagonal = jnp.linalg.norm(size, axis=-1)
    of_first_guess = jnp.log(initial_focal(size[..., 0]) / diagonal)
    normal = -0.5 * ((log_alpha + of_first_guess[..., None] - MEAN) / SIGMA) ** 2
    normal -= np.log(SIGMA * np.sqrt(2 * np.pi))
    low, high = focal_bins()[[0, -1]]
    uniform = np.log(DOUBT / (high - low))
    return jnp.logaddexp(normal + np.log(1 - DOUBT), uniform)


def point_mass(value: Float[Either, "*b"], bins: Float[np.ndarray, " n"]) -> Float[Array, "*b n"]:
    """All probability in the bin of a value; value of shape (...), result (..., len(bins))."""
    place = jnp.abs(jnp.asarray(bins) - value[..., None]).argmin(-1)
    return jnp.where(jnp.arange(len(bins)) == place[..., None], 0.0, IMPOSSIBLE)


def or_known(
    log_probability: Float[Either, "*b n"],
    value: Float[Either, "*b"] | None,
    bins: Float[np.ndarray, " n"],
) -> Float[Array, "*b n"]:
    """A distribution, or a `point_mass` where the value is known.

    Args:
      log_probability: where it is not, shape (..., len(bins)).
      value: shape (...); NaN, and None for all, where it is not known.
      bins: of the distribution.
    """
    if value is None:
        return jnp.asarray(log_probability)
    unknown = jnp.isnan(value)
    mass = point_mass(jnp.where(unknown, bins[0], value), bins)
    return jnp.where(unknown[..., None], log_probability, mass)
