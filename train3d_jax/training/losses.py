"""Losses of posteriors over binned quantities."""

import jax
import jax.numpy as jnp

from train3d_jax.evidence.targets import BINS, RANGES, Posterior, Target, bin_centres, median
from train3d_jax.training.choices import Loss


def soft_bins(value: jax.Array, target: Target, bins: int = BINS) -> jax.Array:
    """Linear weights of a value on the two bins whose centres enclose it.

    The mean of the two is the value; values outside the range go to the outermost bin.

    Args:
      value: shape (...).
      target: the quantity, whose range the bins span.
      bins: their number.

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
    """The loss of a posterior, given the truth.

    "posterior": cross entropy to the true bin plus the absolute error of the median, in bins / 16.
    The first term calibrates the posterior; the second keeps a gradient within the right bin.

    "l1": the expected absolute error, in bins / 16.  Its minimum is a posterior with all mass at
    the median of the true one.  This is LeReS' loss (equation 6) on bounded quantities
    (`targets.RANGES`: the logarithm of alpha, the near/far ratio of the shift); it does not
    calibrate uncertainty.

    Args:
      posterior: shape (..., BINS).
      value: true quantity, shape (...).
      target: the quantity.
      kind: the loss.

    Returns:
      Shape (...).
    """
    low, high = RANGES[target]
    value_inside = jnp.clip(value, low, high)
    # In 64ths of the range over 16, for any number of bins: of the order of the first term.
    in_bins = BINS / (high - low) / 16
    bins = posterior.log_probability.shape[-1]
    if kind == "l1":
        distance = jnp.abs(bin_centres(target, bins) - value_inside[..., None])
        return (jnp.exp(posterior.log_probability) * distance).sum(-1) * in_bins
    cross_entropy = -(soft_bins(value, target, bins) * posterior.log_probability).sum(-1)
    return cross_entropy + jnp.abs(median(posterior, target) - value_inside) * in_bins
