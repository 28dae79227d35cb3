"""How evaluations are made: views with a truth, what constants can do, and statistics over views.

Pure numpy; it knows no files and no networks.  A view is a crop of a true depth map about its
principal point, with depth (or disparity) of an unknown scale and shift.  It is a function of its
seeds alone, so it can be made again at any time.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from train3d_jax.geometry import affine
from train3d_jax.geometry.points import average_blocks

SMALLEST_SHARE = 0.5
"""Crops keep at least this share of the largest window about the principal point."""

SHIFTS = (-0.25, 0.8)
"""Over the far quantile of what is shifted: LeReS' range."""

SCALES = (0.1, 10.0)

LEAST_FACTOR = 0.1
"""Of a depth by noise: however much there is, no depth gets to the camera or behind it."""

RESAMPLES = 1000
"""Of the bootstrap."""

CONFIDENCE = (0.025, 0.975)
"""Quantiles of the bootstrap that are told: the ends of the central 95 %."""

_CHUNK = 50
"""Resamples whose medians are found at once; bounds memory."""


class View(NamedTuple):
    """A map as it comes in, and the truth about it.

    Attributes:
      values: depth or disparity with an unknown scale and shift, float32 (H, W); 0 where missing.
      depth: metres, float32 (H, W); 0 where missing.
      intrinsics: true ones, (3, 3) in pixels.
      share: of the largest window about the principal point that was kept; 1 without a crop.
      scale: what normalised depth or disparity was multiplied with.
    """

    values: np.ndarray
    depth: np.ndarray
    intrinsics: np.ndarray
    share: float
    scale: float


class Truth(NamedTuple):
    """What a method is to find.

    Attributes:
      focal: pixels, mean of both axes.
      fov: horizontal field of view of `focal` in degrees.
      shift: canonical units.
      ratio: of the near to the far quantile of depth (or disparity).
    """

    focal: float
    fov: float
    shift: float
    ratio: float


def crop_window(
    size: tuple[int, int], centre: tuple[float, float], share: float
) -> tuple[slice, slice]:
    """A window about the principal point, which stays within half a pixel of its centre.

    Args:
      size: height and width of the image.
      centre: (cx, cy) in pixels, inside of the image.
      share: of the largest window inside of the image that is symmetric about `centre`.

    Returns:
      Rows and columns.
    """
    slices = []
    for length, middle in zip(size, centre[::-1], strict=True):
        reach = min(middle + 0.5, length - 0.5 - middle)
        # A hair more, or the whole of an image would come out a pixel short by rounding.
        kept = max(1, math.floor(2 * reach * share + 1e-6))
        first = min(max(round(middle + 0.5 - kept / 2), 0), length - kept)
        slices.append(slice(first, first + kept))
    return slices[0], slices[1]


def make_view(
    true_depth: np.ndarray,
    intrinsics: np.ndarray,
    space: affine.Space,
    seeds: tuple[int, int, int],
    crop: bool = True,
    noise: float = 0.0,
) -> View:
    """Crops a true map and gives it noise and an unknown scale and shift.

    Args:
      true_depth: metres, shape (H, W), 0 where missing.
      intrinsics: (3, 3) in pixels, the principal point inside of the image.
      space: what comes in, "depth" or "disparity".
      seeds: of the evaluation, number of the map, number of the view.
      crop: False keeps the whole map.
      noise: standard deviation of white noise on the depth of each pixel, relative; the noisy depth
        then counts as true, as that of a sensor does.
    """
    rng = np.random.default_rng(seeds)
    share, shift = rng.uniform(SMALLEST_SHARE, 1), rng.uniform(*SHIFTS)
    scale = math.exp(rng.uniform(*np.log(SCALES)))
    camera = np.array(intrinsics, np.float64)
    if crop:
        centre = (float(camera[0, 2]), float(camera[1, 2]))
        height, width = true_depth.shape
        rows, columns = crop_window((height, width), centre, share)
        true_depth = true_depth[rows, columns]
        camera[:2, 2] -= columns.start, rows.start
    if noise:
        factor = 1 + noise * rng.standard_normal(true_depth.shape)
        true_depth = true_depth * np.maximum(factor, LEAST_FACTOR)
    present = true_depth > 0
    values = np.zeros(true_depth.shape)
    if present.any():
        true = _in_space(true_depth[present], space)
        values[present] = scale * (true / np.quantile(true, affine.FAR_QUANTILE) + shift)
    values = values.astype(np.float32)
    # What comes out as exactly 0 reads as missing, so it is missing in the truth too.
    true_depth = np.where(values != 0, true_depth, 0).astype(np.float32)
    return View(values, true_depth, camera, share if crop else 1.0, scale)


def true_values(view: View, space: affine.Space) -> np.ndarray:
    """What the view would be with its shift right, and its scale still not, (H, W) float32."""
    present = view.depth > 0
    values = np.zeros(view.depth.shape, np.float32)
    values[present] = view.scale * _in_space(view.depth[present], space)
    return values


def truth_of(view: View, space: affine.Space) -> Truth | None:
    """What is to be found; None where too little is left of the map to have a canonical form."""
    canonical = canonical_of(true_values(view, space))
    if canonical is None:
        return None
    _, offset = canonical
    focal = float(view.intrinsics[0, 0] + view.intrinsics[1, 1]) / 2
    width = view.depth.shape[1]
    return Truth(focal, focal_to_fov(focal, width), -offset, shift_to_ratio(-offset))


def canonical_of(values: np.ndarray) -> tuple[float, float] | None:
    """Scale and offset of the canonical form of a map, as `affine.canonicalise` of its blocks.

    Args:
      values: depth or disparity, shape (H, W), 0 where missing.

    Returns:
      None where there are too few values or no spread between them.
    """
    _, means, filled = average_blocks(values, values != 0)
    means = means[filled].astype(np.float64)
    if len(means) < affine.MINIMUM_PIXELS:
        return None
    near, far = np.quantile(means, (affine.NEAR_QUANTILE, affine.FAR_QUANTILE))
    if far - near <= 8 * np.finfo(np.float32).eps * max(abs(near), abs(far)):
        return None
    scale = (affine.FAR_VALUE - affine.NEAR_VALUE) / (far - near)
    return float(scale), float(affine.NEAR_VALUE - near * scale)


def draw_pixels(
    view: View, seeds: tuple[int, int, int], count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draws pixels with a depth, without replacement.

    Returns:
      (row, column) of each, (count, 2), 0 where there are not enough; and which there are.
    """
    rows, columns = np.nonzero(view.depth > 0)
    rng = np.random.default_rng((*seeds, 1))
    chosen = rng.choice(len(rows), min(count, len(rows)), replace=False)
    pixels = np.zeros((count, 2), int)
    pixels[: len(chosen)] = np.stack([rows[chosen], columns[chosen]], -1)
    return pixels, np.arange(count) < len(chosen)


def _in_space(true_depth: np.ndarray, space: affine.Space) -> np.ndarray:
    wide = true_depth.astype(np.float64)
    return wide if space == "depth" else 1 / wide


# Between the quantities of an answer; `camera` and `depth` do the same in JAX.


def focal_to_fov(focal: float, width: int) -> float:
    """Horizontal field of view in degrees of a focal length in pixels."""
    return math.degrees(2 * math.atan(width / 2 / focal))


def fov_to_focal(fov: float, width: int) -> float:
    """Focal length in pixels of a horizontal field of view in degrees."""
    return width / 2 / math.tan(math.radians(fov) / 2)


def shift_to_ratio(shift: float) -> float:
    """The near/far ratio that a canonical shift means."""
    return (affine.NEAR_VALUE + shift) / (affine.FAR_VALUE + shift)


def ratio_to_shift(ratio: float) -> float:
    """The inverse of `shift_to_ratio`."""
    return (ratio * affine.FAR_VALUE - affine.NEAR_VALUE) / (1 - ratio)


class Constants(NamedTuple):
    """One answer for all views: horizontal field of view in degrees, and near/far ratio."""

    fov: float
    ratio: float


def best_constants(truths: Sequence[Truth]) -> Constants:
    """The constants with the least mean errors of field of view and ratio: the medians."""
    return Constants(
        float(np.median([truth.fov for truth in truths])),
        float(np.median([truth.ratio for truth in truths])),
    )


# Statistics.


class Resamples:
    """Draws of scenes with replacement, each with all of its views.

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

    def means(self, values: np.ndarray) -> np.ndarray:
        """The mean over the views of each draw."""
        totals = np.bincount(self._scene, values, self.num_scenes)
        views = np.bincount(self._scene, minlength=self.num_scenes)
        return (self._taken @ totals) / (self._taken @ views)

    def medians(self, values: np.ndarray) -> np.ndarray:
        """The median over the views of each draw."""
        order = np.argsort(values, kind="stable")
        ordered, scene = values[order], self._scene[order]
        chunks = []
        for start in range(0, len(self._taken), _CHUNK):
            # How often each value is in a draw, summed up: where that passes half is the median.
            passed = self._taken[start : start + _CHUNK, scene].cumsum(1)
            total = passed[:, -1:]
            below, above = (
                ordered[(passed <= middle).sum(1)] for middle in ((total - 1) // 2, total // 2)
            )
            chunks.append((below + above) / 2)
        return np.concatenate(chunks)


class Spread(NamedTuple):
    """What is told of one error over many views.

    Attributes:
      mean: over the views.
      median: over the views.
      p90: 90 % of the views have no larger one.
      mean_interval: 95 %, by the bootstrap over scenes; None where there is but one scene.
      median_interval: the same for the median.
    """

    mean: float
    median: float
    p90: float
    mean_interval: tuple[float, float] | None
    median_interval: tuple[float, float] | None


def spread(values: np.ndarray, resamples: Resamples) -> Spread:
    """Sums up one error of all views, at least one."""
    values = np.asarray(values, np.float64)

    def interval(drawn: np.ndarray) -> tuple[float, float] | None:
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


def share_of(holds: np.ndarray) -> float | None:
    """Share of the views of which something holds; NaN is left out, None where nothing is left."""
    told = holds[~np.isnan(holds)]
    return float(told.mean()) if len(told) else None
