"""Statistics of errors over views, with intervals by the bootstrap over scenes.

Views of one scene resemble each other, so whole scenes are drawn, not views (the cluster bootstrap:
A. C. Davison and D. V. Hinkley, Bootstrap Methods and their Application, 1997, section 3.8).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Real

RESAMPLES = 1000

CONFIDENCE = (0.025, 0.975)
"""Quantiles of the resamples: the ends of the central 95 %."""

_CHUNK = 50
"""Resamples whose medians are computed at once; bounds memory."""


class Resamples:
    """Resamples of the views: scenes drawn with replacement, each with all of its views.

    Args:
      scenes: of each view.
      seed: of the draws.
      count: how many draws.
    """

    def __init__(self, scenes: Sequence[str], seed: int, count: int = RESAMPLES):
        names, self._scene = np.unique(np.asarray(scenes), return_inverse=True)
        self.num_scenes = len(names)
        rng = np.random.default_rng(seed)
        shares = np.full(self.num_scenes, 1 / self.num_scenes)
        self._taken = rng.multinomial(self.num_scenes, shares, count)

    def means(self, values: Real[np.ndarray, " views"]) -> Float64[np.ndarray, " draws"]:
        """The mean over the views of each draw."""
        totals = np.bincount(self._scene, values, self.num_scenes)
        views = np.bincount(self._scene, minlength=self.num_scenes)
        return (self._taken @ totals) / (self._taken @ views)

    def medians(self, values: Real[np.ndarray, " views"]) -> Float64[np.ndarray, " draws"]:
        """The median over the views of each draw."""
        order = np.argsort(values, kind="stable")
        ordered, scene = values[order], self._scene[order]
        chunks = []
        for start in range(0, len(self._taken), _CHUNK):
            # Counts of each value in a draw, accumulated: the median is where they pass half.
            passed = self._taken[start : start + _CHUNK, scene].cumsum(1)
            total = passed[:, -1:]
            below, above = (
                ordered[(passed <= middle).sum(1)] for middle in ((total - 1) // 2, total // 2)
            )
            chunks.append((below + above) / 2)
        return np.concatenate(chunks)


class Spread(NamedTuple):
    """Statistics of one error over many views.

    Attributes:
      mean: over the views.
      median: over the views.
      p90: the 90 % quantile.
      mean_interval: 95 % bootstrap interval over scenes; None where there is one scene.
      median_interval: the same for the median.
    """

    mean: float
    median: float
    p90: float
    mean_interval: tuple[float, float] | None
    median_interval: tuple[float, float] | None


def spread(values: Real[np.ndarray, " views"], resamples: Resamples) -> Spread:
    """Statistics of one error.

    Args:
      values: of every view, at least one, shape (N,).
      resamples: of the same views.
    """
    values = np.asarray(values, np.float64)

    def interval(drawn: Float64[np.ndarray, " draws"]) -> tuple[float, float] | None:
        if resamples.num_scenes < 2:
            return None
        low, high = np.quantile(drawn, CONFIDENCE)
        return float(low), float(high)

    return Spread(
        float(values.mean()),
        float(np.median(values)),
        float(np.quantile(values, 0.9)),
        interval(resamples.means(values)),
        interval(resamples.medians(values)),
    )


def share_of(holds: Float[np.ndarray, " views"]) -> float | None:
    """Mean of 0, 1 and NaN without the NaN; None where nothing else is left."""
    known = holds[~np.isnan(holds)]
    return float(known.mean()) if len(known) else None
