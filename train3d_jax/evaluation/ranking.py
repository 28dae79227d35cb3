"""Statistics of errors in order of size: recall, and how well a flag finds the largest."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Real

AUC_THRESHOLDS_DEG = (1.0, 5.0, 10.0)
"""Errors of the field of view up to which GeoCalib (arXiv 2409.06704) reports `recall_auc`."""

AUC_FLOOR_DEG = 1.0
"""Error up to which GeoCalib's evaluation counts a view as right: `AUCMetric(min_error=1)`."""


def recall_auc(
    errors: Real[np.ndarray, " views"], thresholds: Sequence[float], floor: float = 0.0
) -> list[float]:
    """Area under the recall curve of errors up to each threshold, over the threshold, per cent.

    The curve joins (e_i, i / n) of the n sorted errors e_i by lines, from (0, 0) on, and stays
    level from the last error up to the threshold.  So the literature on camera poses has it
    (SuperGlue, arXiv 1911.11763).  GeoCalib (arXiv 2409.06704) has another beginning: the curve is
    level up to `floor`, at the share of the errors that are not larger.

    Args:
      errors: of every view, at least one, in the unit of the thresholds; shape (N,).
      thresholds: not below `floor`.
      floor: 0 for the first definition, `AUC_FLOOR_DEG` for GeoCalib's.

    >>> recall_auc(np.array([2.0, 0.25]), [1.0, 4.0])
    [43.75, 84.375]
    >>> recall_auc(np.array([2.0, 0.25]), [1.0, 4.0], floor=1.0)
    [50.0, 81.25]
    """
    ordered = np.sort(np.asarray(errors, np.float64))
    recall = np.arange(1, len(ordered) + 1) / len(ordered)
    first = np.searchsorted(ordered, floor, side="right") if floor else 0
    start = first / len(ordered)
    x = np.concatenate([[0.0, floor], ordered[first:]])
    y = np.concatenate([[start, start], recall[first:]])
    areas = []
    for threshold in thresholds:
        last = np.searchsorted(x, threshold, side="right")
        ends = np.append(x[:last], threshold), np.append(y[:last], y[last - 1])
        areas.append(float(100 * np.trapezoid(ends[1], ends[0]) / threshold))
    return areas


class Flagged(NamedTuple):
    """Shares of views that have a flag; None where there are no such views.

    Attributes:
      all: of all views.
      worst_tenth: of the tenth with the largest errors, rounded up.
      better_half: of the half with the smallest errors, rounded down.
    """

    all: float | None
    worst_tenth: float | None
    better_half: float | None


def flagged(errors: Real[np.ndarray, " views"], raised: Bool[np.ndarray, " views"]) -> Flagged:
    """How well a flag tells large errors from small ones; equal errors count in their order.

    Args:
      errors: of every view, shape (N,).
      raised: whether it has the flag, shape (N,).
    """
    ordered = raised[np.argsort(errors, kind="stable")]
    count = len(ordered)

    def share(rows: np.ndarray) -> float | None:
        return float(rows.mean()) if len(rows) else None

    worst = ordered[count - math.ceil(count / 10) :]
    return Flagged(share(ordered), share(worst), share(ordered[: count // 2]))
