"""Losses of posteriors over binned quantities."""

from typing import Literal

import jax
import jax.numpy as jnp

from train3d_jax.evidence.targets import BINS, RANGES, Posterior, Target, bin_centres, median

Loss = Literal["posterior", "l1"]


def soft_bins(value: jax.Array, target: Target, bins: int = BINS) -> jax.Array:
    """Shares a value between the two bins whose centres lie about it.

    The mean of the two is the value; values outside the range go to the outermost bin.

    Args:
      value: shape (...).
      target: which range the bins span.
      bins: how many.

    Returns:
      Shape (..., bins), summing to 1.
    """
    low, high = RANGES[target]
    position = jnp.clip((value - low) / (high - low) * bins - 0.5, 0, bins - 1)
    distance = jnp.abs(jnp.arange(bins) - position[..., None])
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
    quantities (`targets.RANGES`: the logarithm of alpha, the near/far ratio of the shift); it says
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
    # Of the range, in 64ths over 16, whatever the number of bins: of the order of the first part.
    in_bins = BINS / (high - low) / 16
    bins = posterior.log_probability.shape[-1]
    if kind == "l1":
        distance = jnp.abs(bin_centres(target, bins) - value_inside[..., None])
        return (jnp.exp(posterior.log_probability) * distance).sum(-1) * in_bins
    cross_entropy = -(soft_bins(value, target, bins) * posterior.log_probability).sum(-1)
    return cross_entropy + jnp.abs(median(posterior, target) - value_inside) * in_bins
