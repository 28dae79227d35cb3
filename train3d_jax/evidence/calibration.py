"""Calibration: 90 % intervals that contain the truth of 90 % of maps whose truth is known."""

# JAX types many of its functions in part only, hence what is switched off.
# pyright: strict, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from train3d_jax.evidence.targets import RANGES, Target, quantiles
from train3d_jax.geometry.affine import Either

LEVEL = 0.9
"""Probability of the central interval, and share of maps whose truth it should contain."""

_MOST_MAPS = 2000
"""Maps that are used, evenly spread: they determine the share to 0.7 %."""

NARROW = 2.0
"""Bins; the width of intervals up to this is due to the bins."""

_FEWEST_NARROW = 50
"""Maps with narrow posteriors that determine their share to 4 %."""

_FACTORS = np.exp(np.linspace(np.log(0.05), 0.0, 61))
"""Factors on log-probabilities that are tried: 0.05 to 1 in steps of 5 %."""


class Calibration(NamedTuple):
    """Calibration of a network's posterior of a target.

    Attributes:
      factor: on its log-probabilities, at most 1: 1 where its intervals were wide enough.
      finest: distance from the median, in bins, that contains 90 % of the truths where a bin or two
        hold nearly all the probability; None where it is unknown.
    """

    factor: float = 1.0
    finest: float | None = None


def calibrate(
    log_probability: Float[Either, "n k"], truth: Float[Either, " n"], target: Target
) -> Calibration:
    """The calibration with which 90 % intervals contain the truth 90 % of the time.

    Args:
      log_probability: posteriors of maps that were not trained on, shape (N, bins).
      truth: the quantity that they are over (`targets.RANGES`), shape (N,).
      target: which.

    Returns:
      The factor is below 1, down to 0.05, where the posteriors were too narrow, and never above 1:
      a factor for the validation part, which is rendered or clean, would make posteriors far too
      narrow on the depth of sensors and networks.  Defaults where there are no maps, or too few
      narrow posteriors.
    """
    if len(truth) == 0:
        return Calibration()
    step = -(-len(truth) // _MOST_MAPS)
    log_probability, truth = np.asarray(log_probability)[::step], np.asarray(truth)[::step]
    contained = []
    for factor in _FACTORS:
        low, high = central_interval(factor * log_probability, target).T
        contained.append(np.mean((low <= truth) & (truth <= high)))
    # Posteriors are only widened: flat ones, too, contain fewer truths than sharp ones that are
    # right, where those lie at an end of the range.
    misses = np.abs(np.array(contained) - LEVEL)
    ties = _FACTORS[misses <= misses.min() + 1e-9]
    # Of all factors that are equally right, the one that changes least.
    factor = 1.0 if contained[-1] >= LEVEL else float(ties.max())
    low, high = central_interval(factor * log_probability, target).T
    middle = central_interval(factor * log_probability, target, 0.0)[:, 0]
    width = (RANGES[target][1] - RANGES[target][0]) / log_probability.shape[-1]
    narrow = high - low <= NARROW * width
    if narrow.sum() < _FEWEST_NARROW:
        return Calibration(factor)
    error = np.abs(middle - truth)[narrow] / width
    return Calibration(factor, float(np.quantile(error, LEVEL)))


def without_bins(
    interval: Float[Either, "*b 3"], target: Target, bins: int, finest: ArrayLike | None
) -> Float[Array, "*b 3"]:
    """Intervals of a posterior over bins, without the width that is due to the bins.

    The probability of a bin counts as spread evenly over it, so no interval would be narrower than
    that, however exact the median by the shares of two bins is.  So the square of the width that
    bins add (all of it up to `NARROW`) is subtracted, and the square of the known error within a
    bin is added.

    Args:
      interval: low end, median and high end, shape (..., 3).
      target: of the posterior.
      bins: of the posterior.
      finest: see `Calibration`; one for all, or of shape (..., 1).

    Returns:
      The same median; ends that are many bins apart hardly move.
    """
    interval = jnp.asarray(interval)
    if finest is None:
        return interval
    width = (RANGES[target][1] - RANGES[target][0]) / bins
    low, middle, high = (interval[..., i : i + 1] for i in range(3))
    bins_wide = (high - low) / width
    share = 1 - (NARROW / jnp.maximum(bins_wide, NARROW)) ** 2
    half = jnp.sqrt(share * (interval - middle) ** 2 + (finest * width) ** 2)
    return middle + np.array([-1.0, 0.0, 1.0]) * half


def central_interval(
    log_probability: Float[Either, "n k"], target: Target, level: float = LEVEL
) -> Float[np.ndarray, "n 2"]:
    """The central interval of posteriors over equal bins of a target's range.

    Args:
      log_probability: up to a constant for each posterior, shape (N, bins).
      target: which range the bins span.
      level: probability in the interval.

    Returns:
      Low and high ends, shape (N, 2).
    """
    levels = ((1 - level) / 2, (1 + level) / 2)
    # Explicit transfers: the loop of training, which calibrates, allows no others.
    return jax.device_get(_quantiles(jax.device_put(log_probability), target, levels))


_quantiles = jax.jit(quantiles, static_argnames=("target", "levels"))
