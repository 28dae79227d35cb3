"""Makes posteriors as sure as they are right, by maps whose truth is known."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from train3d_jax.evidence.targets import RANGES, Target

LEVEL = 0.9
"""Share of maps whose truth a central interval of this probability should hold."""

_MOST_MAPS = 2000
"""Looked at, evenly spread: the share of maps is then known to 0.7 %."""

NARROW = 2.0
"""Bins; intervals up to this wide are as wide as they are because of the bins."""

_FEWEST_NARROW = 50
"""Maps with narrow posteriors from which the share that is held can be told, to 4 %."""

_FACTORS = np.exp(np.linspace(np.log(0.05), 0.0, 61))


class Calibration(NamedTuple):
    """How a network's posterior of a target is made as sure as it is right.

    Attributes:
      factor: on its log-probabilities, at most 1: 1 where it was right or not sure enough.
      finest: how far from the median 90 % of the truths lie where a bin or two hold nearly all the
        probability, in bins; None where that is not known.
    """

    factor: float = 1.0
    finest: float | None = None


def calibrate(log_probability: np.ndarray, truth: np.ndarray, target: Target) -> Calibration:
    """That with which 90 % intervals hold the truth 90 % of the time.

    Args:
      log_probability: posteriors of maps that were not trained on, shape (N, bins).
      truth: the quantity that they are over (`targets.RANGES`), shape (N,).
      target: which.

    Returns:
      The factor is below 1, down to 0.05, where the posteriors were too sure, and never above: what
      the validation part allows, which is rendered or clean, would be far too sure on the depth of
      sensors and networks.  Those have no posterior as narrow as a bin, so what is found within a
      bin is theirs no less.  Defaults where there are no maps, or too few narrow posteriors.
    """
    if len(truth) == 0:
        return Calibration()
    step = -(-len(truth) // _MOST_MAPS)
    log_probability, truth = np.asarray(log_probability)[::step], np.asarray(truth)[::step]
    held = []
    for factor in _FACTORS:
        low, high = central_interval(factor * log_probability, target).T
        held.append(np.mean((low <= truth) & (truth <= high)))
    # Only what is too sure is made less so: flat posteriors, too, hold fewer truths than sharp ones
    # that are right, where those lie at an end of the range.
    misses = np.abs(np.array(held) - LEVEL)
    ties = _FACTORS[misses <= misses.min() + 1e-9]
    # Of all that are equally right, the one that changes least.
    factor = 1.0 if held[-1] >= LEVEL else float(ties.max())
    low, high = central_interval(factor * log_probability, target).T
    middle = central_interval(factor * log_probability, target, 0.0)[:, 0]
    width = (RANGES[target][1] - RANGES[target][0]) / log_probability.shape[-1]
    narrow = high - low <= NARROW * width
    if narrow.sum() < _FEWEST_NARROW:
        return Calibration(factor)
    error = np.abs(middle - truth)[narrow] / width
    return Calibration(factor, float(np.quantile(error, LEVEL)))


def without_bins(
    quantiles: jax.Array, target: Target, bins: int, finest: ArrayLike | None
) -> jax.Array:
    """Intervals of a posterior over bins, without what is theirs because of the bins.

    The probability of a bin counts as spread evenly over it, so no interval would be narrower than
    that, however exact the median that the shares of two bins give.  So the square of what bins add
    (all of it up to `NARROW`) is taken off, and that of what is known of the truth within a bin is
    put in its place.

    Args:
      quantiles: low end, median and high end, shape (..., 3).
      target: what they are of.
      bins: of the posterior.
      finest: see `Calibration`; one for all, or of shape (..., 1).

    Returns:
      The same median; ends that are many bins away hardly move.
    """
    if finest is None:
        return quantiles
    width = (RANGES[target][1] - RANGES[target][0]) / bins
    low, middle, high = (quantiles[..., i : i + 1] for i in range(3))
    bins_wide = (high - low) / width
    share = 1 - (NARROW / jnp.maximum(bins_wide, NARROW)) ** 2
    half = jnp.sqrt(share * (quantiles - middle) ** 2 + (finest * width) ** 2)
    return middle + np.array([-1.0, 0.0, 1.0]) * half


def central_interval(
    log_probability: np.ndarray, target: Target, level: float = LEVEL
) -> np.ndarray:
    """The central interval of posteriors over equal bins of a target's range.

    Args:
      log_probability: up to a constant for each posterior, shape (N, bins).
      target: which range the bins span.
      level: probability in the interval.

    Returns:
      Low and high ends, shape (N, 2).
    """
    low, high = RANGES[target]
    log_probability = np.asarray(log_probability, np.float64)
    weight = np.exp(log_probability - log_probability.max(-1, keepdims=True))
    cumulative = np.cumsum(weight, -1) / weight.sum(-1, keepdims=True)
    cumulative = np.pad(cumulative, [(0, 0), (1, 0)])
    edges = np.linspace(low, high, cumulative.shape[-1])
    ends = ((1 - level) / 2, (1 + level) / 2)
    return np.array([np.interp(ends, row, edges) for row in cumulative])
