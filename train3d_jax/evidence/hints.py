"""Hints: what is known of a camera or a shift up to a width, as factors of the posterior."""

# JAX types many of its functions in part only, hence what is switched off.
# pyright: strict, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from train3d_jax.evidence.prior import IMPOSSIBLE
from train3d_jax.evidence.targets import SAFE_RATIO, focal_bins, ratio_bins
from train3d_jax.geometry.affine import FAR_VALUE, Either, ratio_to_shift


class Hints(NamedTuple):
    """What is known of maps up to a width; NaN where nothing is.  Each of shape (B,).

    Attributes:
      focal: pixels.
      focal_sigma: standard deviation of the logarithm of the focal length.
      shift: canonical units.
      shift_sigma: its standard deviation over the far quantile of the values with that shift.
    """

    focal: jax.Array
    focal_sigma: jax.Array
    shift: jax.Array
    shift_sigma: jax.Array

    def of_focal(self, first_guess: Float[Either, " b"]) -> Float[Array, "b n"]:
        """Log-likelihood at `focal_bins` over `first_guess` in pixels; 0 where there is no hint."""
        return _normal(focal_bins(), jnp.log(self.focal / first_guess), self.focal_sigma)

    def of_shift(self) -> Float[Array, "b n"]:
        """Log-likelihood at `ratio_bins`; 0 where there is no hint."""
        shifts = ratio_to_shift(jnp.clip(jnp.asarray(ratio_bins()), *SAFE_RATIO))
        return _normal(shifts, self.shift, self.shift_sigma * (FAR_VALUE + self.shift))


def _normal(
    places: Float[Either, " n"], value: Float[Either, " b"], sigma: Float[Either, " b"]
) -> Float[Array, "b n"]:
    unknown = jnp.isnan(value)
    value, sigma = jnp.where(unknown, 0.0, value), jnp.where(unknown, 1.0, sigma)
    log_likelihood = -0.5 * ((jnp.asarray(places) - value[:, None]) / sigma[:, None]) ** 2
    # From its maximum on: a hint beyond the range still says which end is the nearest.
    log_likelihood -= log_likelihood.max(-1, keepdims=True)
    return jnp.where(unknown[:, None], 0.0, jnp.maximum(log_likelihood, IMPOSSIBLE))
