"""One camera, and shifts that belong together, from the evidence of many maps.

The log-likelihoods of maps are added up.  Maps of one camera often show one room, and come from one
network, so their errors are correlated: the sum counts as that of fewer maps, and what all of them
share widens the posterior however many there are.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from train3d_jax.evidence.fusion import INTERVAL, INTERVAL_SIGMAS, WIDTH_99
from train3d_jax.evidence.prior import focal_prior
from train3d_jax.evidence.targets import (
    FOCAL_BINS,
    RANGES,
    SAFE_RATIO,
    SHIFT_BINS,
    bin_centres,
    focal_bins,
    ratio_bins,
)
from train3d_jax.geometry import affine, camera
from train3d_jax.inference.recovery import Evidence, Known

CORRELATION = 0.4
"""Of the errors of maps of one camera: n maps count as n / (1 + (n - 1) * this), at most 2.5.

Chosen with `COMMON_FOCAL` on 24 clips of 5 to 22 maps of `real/depth`, `real/more` and
`real/predicted`, three crops of each camera: 90 % intervals hold 17 of 18 cameras of sensors and
all 6 of networks.  With .1 and no common error 11 and 5 are held."""

COMMON_FOCAL = 0.05
"""Standard deviation of log focal length that all maps of a camera share."""

COMMON_RATIO = 0.02
"""Of the near/far ratio of all maps of a clip; chosen, 5 bins."""

DRIFT = 0.03
"""Of the near/far ratio from one frame of a clip to the next.  Chosen: rooms filmed at 30 frames a
second differ by less."""

CUT = 0.2
"""Probability that a frame shows something else than the last.  Chosen."""

LAG = 16
"""Frames that are looked ahead before a frame is answered; chosen, as evidence fades over
several."""

MOST_FRAMES = 100
"""Of a clip that its camera and its offset are estimated from; of more, an even share.  Chosen:
frames are alike, so that more change the estimates little."""

Interval = tuple[float, float, float]
"""Low end, median and high end of a posterior, central 90 %."""


class Camera(NamedTuple):
    """The camera that took many maps.

    Attributes:
      focal: vertical focal length in pixels.
      interval: contains it with 90 % probability; of width 0 where it is exact.
      used: maps that it was estimated from.
      hint_disagrees: the maps together and a hint exclude each other.
      hint_dropped: the maps are the wider evidence of both, and were taken.
    """

    focal: float
    interval: tuple[float, float]
    used: int = 0
    hint_disagrees: bool = False
    hint_dropped: bool = False

    def known(self) -> Known:
        """With its width, for the evidence on the shifts of its maps."""
        low, high = self.interval
        return Known(self.focal, math.log(high / low) / (2 * INTERVAL_SIGMAS))


class Offset(NamedTuple):
    """What all frames of a clip have in common that have one scale and one shift.

    Attributes:
      interval: what is to be added to the values of frames, in their unit.
      scale: what they are multiplied with then, > 0; metres where networks gave the scale.
    """

    interval: Interval
    scale: float


def spread(count: int, most: int) -> list[int]:
    """Up to `most` of the numbers from 0 to `count` - 1, evenly spread."""
    chosen = np.unique(np.linspace(0, count - 1, min(count, most)).round())
    return [int(number) for number in chosen]


def shared_camera(
    evidence: Iterable[Evidence], size: tuple[int, int], hint: tuple[float, float] | None = None
) -> Camera | None:
    """The camera of maps by the evidence of batches of them; arguments as of `shared_focal`.

    Of maps and a hint that exclude each other the wider is taken, as for single maps.

    Returns:
      None where no map could be solved.
    """
    total, used = np.zeros(()), 0
    for each in evidence:
        total = total + each.focal.sum(0)
        used += int(each.solvable.sum())
    if not used:
        return None
    by_maps = Camera(*shared_focal(total, used, size), used)
    if hint is None:
        return by_maps
    focal, sigma = hint
    low, high = by_maps.interval
    width = math.log(high / low) / (2 * INTERVAL_SIGMAS)
    if abs(math.log(focal / by_maps.focal)) <= WIDTH_99 * max(sigma, width):
        return Camera(*shared_focal(total, used, size, hint), used)
    if width > sigma:
        return by_maps._replace(hint_disagrees=True, hint_dropped=True)
    return Camera(*shared_focal(np.zeros(()), 1, size, hint), used, hint_disagrees=True)


def shared_focal(
    total: np.ndarray, count: int, size: tuple[int, int], hint: tuple[float, float] | None = None
) -> tuple[float, tuple[float, float]]:
    """The focal length of a camera that took many maps.

    Args:
      total: sum of `Evidence.focal` over the maps that could be solved, shape (FOCAL_BINS,).
      count: how many maps those are, at least 1.
      size: height and width of the maps in pixels.
      hint: a focal length in pixels, and the standard deviation of its logarithm.

    Returns:
      The vertical focal length and the interval that contains it with 90 % probability, in pixels.
    """
    first_guess = float(camera.initial_focal(size[0]))
    posterior = np.asarray(focal_prior(np.array(size, np.float32))) + _weight(count) * total
    width = (RANGES["focal"][1] - RANGES["focal"][0]) / FOCAL_BINS
    posterior = _blurred(posterior, COMMON_FOCAL / width)
    if hint is not None:
        focal, sigma = hint
        posterior = posterior - 0.5 * ((focal_bins() - math.log(focal / first_guess)) / sigma) ** 2
    low, middle, high = first_guess * np.exp(_quantiles(posterior, *RANGES["focal"]))
    return float(middle), (float(low), float(high))


def shared_offset(evidence: Iterable[Evidence], sigma: float = 0.0) -> Offset | None:
    """What is to be added to all frames of a clip that have one scale and one shift.

    Args:
      evidence: of batches of its frames, given the camera.
      sigma: where the values need no offset but for an error, its standard deviation over the far
        quantile; 0 where nothing is known.

    Returns:
      None where no frame could be solved.
    """
    batches = list(evidence)
    if not any(each.solvable.any() for each in batches):
        return None
    solvable = np.concatenate([each.solvable for each in batches])
    shift, scale, offset, unit = (
        np.concatenate([getattr(each, name) for each in batches])[solvable]
        for name in ("shift", "scale", "offset", "unit")
    )
    near, far = (affine.NEAR_VALUE - offset) / scale, (affine.FAR_VALUE - offset) / scale
    # Over the ratio of the nearest to the farthest value of the clip: no frame's is below 0.
    places = bin_centres("shift", 2 * SHIFT_BINS)
    offsets = _offset_of(np.clip(places, *SAFE_RATIO), near.min(), far.max())
    total = np.zeros(len(places))
    for curve, one_near, one_far in zip(shift, near, far, strict=True):
        ratio = (one_near + offsets) / (one_far + offsets)
        total += np.interp(ratio, ratio_bins(), curve)
    total = _blurred(_weight(len(shift)) * total, COMMON_RATIO * len(places))
    if sigma:
        total -= 0.5 * (offsets / (sigma * (far.max() + offsets))) ** 2
    ends = np.clip(_quantiles(total, 0.0, 1.0), *SAFE_RATIO)
    low, middle, high = _offset_of(ends, near.min(), far.max())
    return Offset((float(low), float(middle), float(high)), float(np.median(scale * unit)))


def _offset_of(ratio: np.ndarray, near: float, far: float) -> np.ndarray:
    """The offset with which near and far values have this ratio."""
    return (ratio * far - near) / (1 - ratio)


class Smoother:
    """The shifts of frames that follow each other, each with a scale and a shift of its own.

    The near/far ratio drifts slowly, but for cuts: the posterior of a frame is that of a hidden
    Markov chain given all frames before it and `LAG` after it.  Memory is that of these.
    """

    def __init__(self) -> None:
        self._ahead: deque[np.ndarray] = deque()
        self._before = np.full(SHIFT_BINS, 1 / SHIFT_BINS)
        distance = ratio_bins()[:, None] - ratio_bins()
        step = np.exp(-0.5 * (distance / DRIFT) ** 2)
        self._step = (1 - CUT) * step / step.sum(0) + CUT / SHIFT_BINS

    def add(self, log_likelihood: Float64[np.ndarray, " n"]) -> Iterator[Interval]:
        """Takes the row of `Evidence.shift` of the next frame; gives what is known by now.

        Returns:
          Shifts in canonical units of the frames that are `LAG` back, one or none.
        """
        self._ahead.append(np.exp(log_likelihood - log_likelihood.max()))
        if len(self._ahead) > LAG:
            yield self._first()

    def rest(self) -> Iterator[Interval]:
        """The frames that are left once there are no more."""
        while self._ahead:
            yield self._first()

    def _first(self) -> Interval:
        after = np.ones(SHIFT_BINS)
        for likelihood in reversed(list(self._ahead)[1:]):
            after = self._step.T @ (after * likelihood)
            after /= after.max()
        forward = self._before * self._ahead.popleft()
        forward /= forward.sum()
        self._before = self._step @ forward
        with np.errstate(divide="ignore"):
            posterior = np.log(forward * after)
        ends = np.clip(_quantiles(posterior, 0.0, 1.0), *SAFE_RATIO)
        low, middle, high = np.asarray(affine.ratio_to_shift(ends), np.float64)
        return float(low), float(middle), float(high)


def smoothed_shifts(evidence: Iterable[Evidence]) -> Iterator[Interval]:
    """The shift of each frame of batches of them, given the camera; see `Smoother`.

    A frame that could not be solved says nothing: its shift is that of the frames about it.
    """
    smoother = Smoother()
    for each in evidence:
        for row in each.shift:
            yield from smoother.add(row)
    yield from smoother.rest()


def _weight(count: int) -> float:
    return 1 / (1 + (count - 1) * CORRELATION)


def _blurred(log_probability: np.ndarray, sigma: float) -> np.ndarray:
    """A distribution over equal bins, convolved with a normal one of `sigma` bins."""
    place = np.arange(len(log_probability))
    kernel = np.exp(-0.5 * ((place[:, None] - place) / sigma) ** 2)
    probability = np.exp(log_probability - log_probability.max())
    return np.log(np.maximum(kernel / kernel.sum(0) @ probability, 1e-300))


def _quantiles(log_probability: np.ndarray, low: float, high: float) -> np.ndarray:
    """`INTERVAL` of a distribution over equal bins from `low` to `high`, even within each."""
    probability = np.exp(log_probability - log_probability.max())
    cumulative = np.concatenate([[0.0], np.cumsum(probability)]) / probability.sum()
    return np.interp(INTERVAL, cumulative, np.linspace(low, high, len(cumulative)))
