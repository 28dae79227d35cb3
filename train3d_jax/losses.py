"""Losses of posteriors over binned quantities."""

from typing import Literal

import jax
import jax.numpy as jnp

from train3d_jax.encoder import BINS, RANGES, Posterior, Target, bin_centres, median

Loss = Literal["posterior", "l1"]


def soft_bins(value: jax.Array, target: Target) -> jax.Array:
    """Shares a value between the two bins whose centres lie about it.

    The mean of the two is the value; values outside the range go to the outermost bin.

    Args:
      value: shape (...).
      target: which range the bins span.

    Returns:
      Shape (..., BINS), summing to 1.
    """
    low, high = RANGES[target]
    position = jnp.clip((value - low) / (high - low) * BINS - 0.5, 0, BINS - 1)
    distance = jnp.abs(jnp.arange(BINS) - position[..., None])
    return jnp.maximum(1 - distance, 0.0)


def posterior_loss(
    posterior: Posterior, value: jax.Array, target: Target, kind: Loss = "posterior"
) -> jax.Array:
    """How far a posterior is from the truth.

    "posterior": cross entropy to the true bin plus the absolute error of the median, in bins / 16.
    The first makes the posterior honest, the second keeps mattering where the right bin is already
    found.

    "l1": the expected absolute error, in bins / 16, which a posterior with all its mass at the
    median of what is possible makes smallest.  This is LeReS' loss (equation 6) on bounded
    quantities (`encoder.RANGES`: the logarithm of alpha, the near/far ratio of the shift); it says
    nothing of uncertainty.

    Args:
      posterior: shape (..., BINS).
      value: true quantity, shape (...).
      target: which.
      kind: which loss.

    Returns:
      Shape (...).
    """
    low, high = RANGES[target]
    value_inside = jnp.clip(value, low, high)
    in_bins = BINS / (high - low) / 16
    if kind == "l1":
        distance = jnp.abs(bin_centres(target) - value_inside[..., None])
        return (jnp.exp(posterior.log_probability) * distance).sum(-1) * in_bins
    cross_entropy = -(soft_bins(value, target) * posterior.log_probability).sum(-1)
    return cross_entropy + jnp.abs(median(posterior, target) - value_inside) * in_bins
