"""Depth maps with a camera, and their points with colours, for pictures."""

import math
from typing import NamedTuple

import numpy as np

from train3d_jax.geometry.depth_maps import point_cloud
from train3d_jax.geometry.plane_fits import plane_normals

MOST_POINTS = 80_000
"""Points drawn of each cloud; more make no visible difference."""

MIDDLE = 0.99
"""Share of the points within every view; the outermost would make the rest small."""

_MIDDLE_GREY = 145
_TINT = 90
"""How far the colour of a direction is from grey."""

_MISSING = (235, 235, 235)


class Shape(NamedTuple):
    """A depth map with its camera.

    Attributes:
      depth: shape (H, W), 0 where missing.
      intrinsics: (3, 3) in pixels.
    """

    depth: np.ndarray
    intrinsics: np.ndarray


class ColouredCloud(NamedTuple):
    """Points with what they are drawn with.

    Attributes:
      points: scaled to a median distance of 1, shape (N, 3).
      colours: uint8, shape (N, 3).
      areas: of the surface that a pixel shows, up to a factor, shape (N,).
    """

    points: np.ndarray
    colours: np.ndarray
    areas: np.ndarray


def step_of(values: np.ndarray, most: int = MOST_POINTS) -> int:
    """Draw every so many rows and columns of a map, so that `most` pixels remain."""
    return max(1, math.ceil(math.sqrt(values.size / most)))


def coloured_cloud(
    shape: Shape, after: Shape, colours: np.ndarray | None, step: int
) -> ColouredCloud:
    """The cloud of a shape, in the same colours before and after a correction.

    Args:
      shape: what to draw.
      after: with the correction; the directions of its surfaces are the colours without `colours`.
      colours: of the pixels, uint8 (H, W, 3), or None.
      step: see `step_of`.
    """
    depth = shape.depth[::step, ::step]
    by_direction = colours is None
    paint = direction_colours(thinned(after, step)) if by_direction else colours[::step, ::step]
    points = point_cloud(depth, thinned(shape, step).intrinsics).astype(np.float64)
    if not len(points):
        return ColouredCloud(np.zeros((1, 3), np.float32), np.zeros((1, 3), np.uint8), np.ones(1))
    points = points / (np.median(np.linalg.norm(points, axis=-1)) or 1)
    return ColouredCloud(points, paint[depth > 0], points[:, 2] ** 2)


def centre_and_radius(points: np.ndarray) -> tuple[np.ndarray, float]:
    """The centre of a cloud, and the radius about it that holds nearly all of it."""
    edge = (1 - MIDDLE) / 2
    low, high = np.quantile(points, (edge, 1 - edge), axis=0)
    return (low + high) / 2, float(np.linalg.norm(high - low)) / 2 or 1.0


def thinned(shape: Shape, step: int) -> Shape:
    """Every so many rows and columns of a shape."""
    intrinsics = shape.intrinsics.copy()
    intrinsics[:2] /= step
    return Shape(shape.depth[::step, ::step], intrinsics)


def averaged(shape: Shape, step: int) -> Shape:
    """A shape of blocks of step x step pixels, with the mean of their inverse depth.

    Planes stay planes, and noise is less.  What fills no block at the right and below is left out;
    a block has a depth where half of its pixels have one.
    """
    height, width = (max(1, size // step) for size in shape.depth.shape)
    depth = shape.depth[: height * step, : width * step]
    if step == 1 or depth.shape != (height * step, width * step):
        return shape
    blocks = depth.reshape(height, step, width, step)
    inverse = np.divide(1.0, blocks, out=np.zeros(blocks.shape), where=blocks > 0).sum((1, 3))
    count = (blocks > 0).sum((1, 3))
    there = (2 * count >= step**2) & (inverse > 0)
    intrinsics = shape.intrinsics.copy()
    intrinsics[:2, 2] -= (step - 1) / 2
    intrinsics[:2] /= step
    return Shape(np.where(there, count / np.where(there, inverse, 1), 0.0), intrinsics)


def direction_colours(shape: Shape) -> np.ndarray:
    """Colours by the direction that the surface faces, uint8 (H, W, 3).

    Red grows to the right, green upwards, blue towards the camera; grey is no plane.
    """
    normals = plane_normals(shape.depth, shape.intrinsics)
    return paint_of_normals(np.nan_to_num(normals, nan=0.0))


def paint_of_normals(normals: np.ndarray) -> np.ndarray:
    """Colours of normals of any shape (..., 3), uint8, as `direction_colours` has them."""
    return np.round(_MIDDLE_GREY + _TINT * normals * [1, -1, -1]).astype(np.uint8)


def value_colours(values: np.ndarray) -> np.ndarray:
    """The colours of a map, by its values from the near to the far ones; grey where missing.

    Args:
      values: finite, 0 where missing, shape (H, W).

    Returns:
      uint8, shape (H, W, 3).
    """
    import matplotlib  # start-up: most of what is here needs none

    present = values != 0
    painted = np.full((*values.shape, 3), _MISSING, np.uint8)
    if present.any():
        near, far = np.quantile(values[present][::17], (0.01, 0.99))
        shade = np.clip((values.astype(np.float64) - near) / ((far - near) or 1), 0, 1)
        table = matplotlib.colormaps["viridis"](np.arange(256), bytes=True)[:, :3]
        painted[present] = table[np.round(255 * shade[present]).astype(int)]
    return painted
