"""Losses of posteriors over binned quantities."""

import jax
import jax.numpy as jnp

from train3d_jax.encoder import BINS, RANGES, Posterior, Target, median


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


def posterior_loss(posterior: Posterior, value: jax.Array, target: Target) -> jax.Array:
    """Cross entropy to the true bin plus the absolute error of the median, in bins / 16.

    The first makes the posterior honest, the second (LeReS, equation 6, trains with L1) keeps
    mattering where the right bin is already found.

    Args:
      posterior: shape (..., BINS).
      value: true quantity, shape (...).
      target: which.

    Returns:
      Shape (...).
    """
    low, high = RANGES[target]
    cross_entropy = -(soft_bins(value, target) * posterior.log_probability).sum(-1)
    absolute = jnp.abs(median(posterior, target) - jnp.clip(value, low, high)) / (high - low) * BINS
    return cross_entropy + absolute / 16
