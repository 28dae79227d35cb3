"""Views with a known truth, and the best constant estimates of them.

A view is a crop of a true depth map about its principal point, with depth (or disparity) of an
unknown scale and shift.  It depends on its seeds only, so it can be made again at any time.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float32, Float64, Int, Real, UInt8

from train3d_jax.geometry import affine, camera
from train3d_jax.geometry.points import average_blocks

SMALLEST_SHARE = 0.5
"""Crops keep at least this share of the largest window about the principal point.  Chosen."""

SHIFTS = (-0.25, 0.8)
"""Range of the shift, over the far quantile: that of LeReS, section 3.2."""

SCALES = (0.1, 10.0)
"""Range of the scale, drawn log-uniformly.  Chosen."""

LEAST_FACTOR = 0.1
"""Least factor of a depth by noise: no depth reaches the camera or lies behind it."""


class View(NamedTuple):
    """An input map, and its truth.

    Attributes:
      values: depth or disparity with an unknown scale and shift, float32 (H, W); 0 where missing.
      depth: metres, float32 (H, W); 0 where missing.
      intrinsics: true ones, (3, 3) in pixels.
      share: of the largest window about the principal point that was kept; 1 without a crop.
      scale: what normalised depth or disparity was multiplied with.
      window: rows and columns of the whole map.
    """

    values: Float32[np.ndarray, "h w"]
    depth: Float32[np.ndarray, "h w"]
    intrinsics: Float64[np.ndarray, "3 3"]
    share: float
    scale: float
    window: tuple[slice, slice]


class Truth(NamedTuple):
    """The quantities that a method estimates.

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
        # The small excess: rounding would cut a pixel off a whole image.
        kept = max(1, math.floor(2 * reach * share + 1e-6))
        first = min(max(round(middle + 0.5 - kept / 2), 0), length - kept)
        slices.append(slice(first, first + kept))
    return slices[0], slices[1]


def crop_picture(
    picture: UInt8[np.ndarray, "_ _ *c"], size: tuple[int, int], window: tuple[slice, slice]
) -> UInt8[np.ndarray, "_ _ *c"]:
    """What a picture shows of a window of its map, at its own resolution.

    Args:
      picture: grey or RGB, of any size and of the map's aspect ratio.
      size: height and width of the whole map in pixels.
      window: rows and columns of the map.

    Returns:
      A view of the picture; its borders are those of the window, rounded to whole pixels.
    """
    slices = []
    for length, own_length, kept in zip(size, picture.shape[:2], window, strict=True):
        factor = own_length / length
        # The length is rounded, not both ends: it is what the aspect ratio depends on.
        count = max(1, round((kept.stop - kept.start) * factor))
        first = round(((kept.start + kept.stop) * factor - count) / 2)
        first = min(max(first, 0), own_length - count)
        slices.append(slice(first, first + count))
    return picture[tuple(slices)]


def make_view(
    true_depth: Real[np.ndarray, "h w"],
    intrinsics: Real[np.ndarray, "3 3"],
    space: affine.Space,
    seeds: tuple[int, int, int],
    crop: bool = True,
    noise: float = 0.0,
    share: float | None = None,
) -> View:
    """Crops a true map and applies noise and an unknown scale and shift.

    Args:
      true_depth: metres, shape (H, W), 0 where missing.
      intrinsics: (3, 3) in pixels, the principal point inside of the image.
      space: of the input.
      seeds: of the evaluation, number of the map, number of the view.
      crop: False keeps the whole map.
      noise: standard deviation of white noise on the depth of each pixel, relative; the noisy depth
        then counts as true, as that of a sensor does.
      share: that a crop keeps; None draws it, see `drawn_share`.
    """
    rng = np.random.default_rng(seeds)
    drawn, shift = rng.uniform(SMALLEST_SHARE, 1), rng.uniform(*SHIFTS)
    share = drawn if share is None else share
    scale = math.exp(rng.uniform(*np.log(SCALES)))
    cropped = np.array(intrinsics, np.float64)
    height, width = true_depth.shape
    rows, columns = slice(0, height), slice(0, width)
    if crop:
        centre = (float(cropped[0, 2]), float(cropped[1, 2]))
        rows, columns = crop_window((height, width), centre, share)
        true_depth = true_depth[rows, columns]
        cropped[:2, 2] -= columns.start, rows.start
    if noise:
        factor = 1 + noise * rng.standard_normal(true_depth.shape)
        true_depth = true_depth * np.maximum(factor, LEAST_FACTOR)
    present = true_depth > 0
    values = np.zeros(true_depth.shape)
    if present.any():
        true = in_space(true_depth[present], space)
        far = np.quantile(true, affine.FAR_QUANTILE)
        values[present] = scale * ((true - far if space == "log" else true / far) + shift)
    values = values.astype(np.float32)
    # A value of exactly 0 reads as missing, so it is missing in the truth too.
    true_depth = np.where(values != 0, true_depth, 0).astype(np.float32)
    return View(values, true_depth, cropped, share if crop else 1.0, scale, (rows, columns))


def drawn_share(seeds: tuple[int, int, int]) -> float:
    """The share of the largest window about the principal point that a view with these seeds keeps.

    It is from `SMALLEST_SHARE` to 1.
    """
    return float(np.random.default_rng(seeds).uniform(SMALLEST_SHARE, 1))


def true_values(view: View, space: affine.Space) -> Float32[np.ndarray, "h w"]:
    """The view without its shift, but with its scale, shape (H, W), float32."""
    return (view.scale * in_space(view.depth, space)).astype(np.float32)


def truth_of(view: View, space: affine.Space) -> Truth | None:
    """The truth of a view; None where too few pixels are left for a canonical form."""
    canonical = canonical_form(true_values(view, space))
    if canonical is None:
        return None
    shift = true_shift(canonical, space, view.scale)
    focal = float(view.intrinsics[0, 0] + view.intrinsics[1, 1]) / 2
    width = view.depth.shape[1]
    fov, ratio = camera.focal_to_degrees(focal, width), affine.shift_to_ratio(shift)
    return Truth(focal, float(fov), shift, float(ratio))


def true_shift(canonical: tuple[float, float], space: affine.Space, scale: float = 1.0) -> float:
    """The canonical shift of a map of true values.

    Args:
      canonical: its `canonical_form`.
      space: of the map.
      scale: factor on its values, which matters in log space alone.
    """
    units, offset = canonical
    if space != "log":
        return -offset
    ratio = math.exp((affine.NEAR_VALUE - affine.FAR_VALUE) / (units * scale))
    return float(affine.ratio_to_shift(ratio))


def canonical_form(values: Real[np.ndarray, "h w"]) -> tuple[float, float] | None:
    """Scale and offset of the canonical form of a map's blocks, see `affine.canonicalise`.

    Args:
      values: depth or disparity, shape (H, W), 0 where missing.

    Returns:
      None where there are too few values or no spread between them.
    """
    _, means, mask = average_blocks(values, values != 0)
    canonical = _canonicalise(means, mask)
    return (float(canonical.scale), float(canonical.offset)) if canonical.solvable else None


_canonicalise = jax.jit(affine.canonicalise)


def draw_pixels(
    view: View, seeds: tuple[int, int, int], count: int
) -> tuple[Int[np.ndarray, "{count} 2"], Bool[np.ndarray, " {count}"]]:
    """Draws pixels with a depth, without replacement.

    Returns:
      (row, column) of each, shape (count, 2), 0 beyond the pixels that there are; and the mask of
      those that there are, shape (count,).
    """
    rows, columns = np.nonzero(view.depth > 0)
    rng = np.random.default_rng((*seeds, 1))
    chosen = rng.choice(len(rows), min(count, len(rows)), replace=False)
    pixels = np.zeros((count, 2), int)
    pixels[: len(chosen)] = np.stack([rows[chosen], columns[chosen]], -1)
    return pixels, np.arange(count) < len(chosen)


NEARLY_ZERO = 1e-12
"""In place of a log depth of exactly 0, which would read as missing."""


def in_space(true_depth: Real[np.ndarray, "*s"], space: affine.Space) -> Float64[np.ndarray, "*s"]:
    """True depth, its inverse or its logarithm; 0 where it is missing, any shape."""
    present = true_depth > 0
    wide = np.where(present, true_depth, 1).astype(np.float64)
    if space == "log":
        wide = np.log(wide)
        wide[wide == 0] = NEARLY_ZERO
    elif space == "disparity":
        wide = 1 / wide
    return np.where(present, wide, 0.0)


class Constants(NamedTuple):
    """One estimate for all views: horizontal field of view in degrees, and near/far ratio."""

    fov: float
    ratio: float


def best_constants(truths: Sequence[Truth]) -> Constants:
    """The constants with the least mean errors of field of view and ratio: the medians."""
    return Constants(
        float(np.median([truth.fov for truth in truths])),
        float(np.median([truth.ratio for truth in truths])),
    )
