"""Makes posteriors as sure as they are right, by one factor fitted on maps whose truth is known."""

import numpy as np

from train3d_jax.encoder import RANGES, Target

LEVEL = 0.9
"""Share of maps whose truth a central interval of this probability should hold."""

_MOST_MAPS = 2000
"""Looked at, evenly spread: the share of maps is then known to 0.7 %."""

_FACTORS = np.exp(np.linspace(np.log(0.05), 0.0, 61))


def calibrate(log_probability: np.ndarray, truth: np.ndarray, target: Target) -> float:
    """The factor on log-probabilities with which 90 % intervals hold the truth 90 % of the time.

    Args:
      log_probability: posteriors of maps that were not trained on, shape (N, bins).
      truth: the quantity that they are over (`encoder.RANGES`), shape (N,).
      target: which.

    Returns:
      Below 1, down to 0.05, where the posteriors were too sure; 1 where they were right, not sure
      enough, or where there is no map.  Never above: what the validation part allows, which is
      rendered or clean, would be far too sure on the depth of sensors and networks, and a posterior
      over bins cannot be surer than a bin is wide.
    """
    if len(truth) == 0:
        return 1.0
    step = -(-len(truth) // _MOST_MAPS)
    log_probability, truth = np.asarray(log_probability)[::step], np.asarray(truth)[::step]
    misses = []
    for factor in _FACTORS:
        low, high = central_interval(factor * log_probability, target).T
        misses.append(abs(np.mean((low <= truth) & (truth <= high)) - LEVEL))
    # Of all that are equally right, the one that changes least.
    ties = _FACTORS[np.array(misses) <= min(misses) + 1e-9]
    return float(ties[np.abs(np.log(ties)).argmin()])


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
