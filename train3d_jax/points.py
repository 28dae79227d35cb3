"""From depth maps to point sets of a fixed size, with masks: blocks of pixels, voxels, samples.

`average_blocks` runs on the host in numpy, where maps of any size come in; the rest is pure JAX on
arrays of static shape.
"""

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import DTypeLike

BLOCKS = (64, 64)
"""Rows and columns of blocks that a depth map is averaged over: what goes to the device."""


def average_blocks(
    values: np.ndarray, mask: np.ndarray, blocks: tuple[int, int] = BLOCKS
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Averages a map over a grid of blocks, whatever its size.

    Averaging takes noise away and commutes with scale and shift, so the canonical form of the
    average is the average of the canonical form (of depth in depth space, of disparity in
    disparity space).  A block is placed where its valid pixels are on average.

    Args:
      values: depth or disparity, shape (H, W).
      mask: pixels that hold a value, shape (H, W).
      blocks: rows and columns of the grid; blocks without a pixel of a small map are masked.

    Returns:
      Pixels (u, v), float32 (rows * columns, 2); values, float32 (rows * columns,), and mask, bool
      (rows * columns,).
    """
    height, width = values.shape
    tops, heights = _runs(height, blocks[0])
    lefts, widths = _runs(width, blocks[1])
    values = values if mask.all() else _zero_where_masked(values, mask)
    counted = mask.view(np.uint8)
    # Places are summed up as distances from the border of their block: integers, the smaller the
    # faster to add.
    below = np.arange(height) - np.repeat(tops, heights)
    right = np.arange(width) - np.repeat(lefts, widths)
    tall, wide = int(below.max()) + 1, int(right.max()) + 1
    small = np.min_scalar_type(tall * (tall + 1) // 2)
    large = np.min_scalar_type(tall * wide * max(tall, wide))
    count = _sum_runs(counted, tops, heights, small)
    v = _sum_runs(counted * below.astype(small)[:, None], tops, heights, small)
    places = np.concatenate([count, v, count * right.astype(large)], dtype=large)
    # In float64: a depth far from 0 would lose in sums the digits that tell of curvature.
    total = _sum_runs(values, tops, heights, np.float64)
    places = _sum_runs(places.T.copy(), lefts, widths, large).T.reshape(3, *blocks)
    count, v, u = places.astype(np.float32)
    total = _sum_runs(total.T.copy(), lefts, widths, np.float64).T
    at_least_one = np.maximum(count, 1)
    pixels = np.stack([lefts + u / at_least_one, tops[:, None] + v / at_least_one], -1)
    mean = total / at_least_one
    return (
        pixels.astype(np.float32).reshape(-1, 2),
        mean.astype(np.float32).ravel(),
        (count > 0).ravel(),
    )


def _zero_where_masked(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The values, 0 where they do not count, whatever they are there."""
    if values.dtype != np.float32:
        return np.where(mask, values, 0)
    # Bit by bit, a third of the time of np.where.
    kept = np.negative(mask.view(np.int8), dtype=np.int32)
    kept &= values.view(np.int32)
    return kept.view(np.float32)


def _runs(length: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Where each of so many equal parts of a line of pixels starts, and how many pixels it has."""
    starts = np.arange(count) * length // count
    return starts, np.diff(starts, append=length)


def _sum_runs(
    image: np.ndarray, starts: np.ndarray, lengths: np.ndarray, dtype: DTypeLike
) -> np.ndarray:
    """Sums of runs of rows, of lengths that differ by one; whole rows are what numpy adds fastest.

    `dtype` is what to sum in, wide enough for the sums.
    """
    least = int(lengths.min())
    sums = np.zeros((len(starts), image.shape[1]), dtype)
    for row in range(least):
        sums += image[starts + row]
    longer = np.flatnonzero(lengths > least)
    sums[longer] += image[starts[longer] + least]
    return sums


def one_point_per_voxel(points: jax.Array, mask: jax.Array, voxel_size: float) -> jax.Array:
    """Keeps one point of each occupied voxel, so that near surfaces do not outnumber far ones.

    Args:
      points: shape (..., N, 3).
      mask: points that count, shape (..., N).
      voxel_size: edge of a voxel in the unit of `points`; 0 keeps every point.

    Returns:
      The mask of the points that stay, shape (..., N).
    """
    if voxel_size == 0:
        return mask
    # Integers far enough out stand for "no voxel"; coordinates beyond them share the border voxels.
    limit = 1 << 24
    voxels = jnp.clip(jnp.floor(points / voxel_size), -limit, limit).astype(jnp.int32)
    voxels = jnp.where(mask[..., None], voxels, limit + 1)
    index = jnp.broadcast_to(jnp.arange(points.shape[-2]), mask.shape)
    *ordered, origin = jax.lax.sort(
        (voxels[..., 0], voxels[..., 1], voxels[..., 2], index), num_keys=3, is_stable=True
    )
    ordered = jnp.stack(ordered, -1)
    is_first = jnp.any(ordered[..., 1:, :] != ordered[..., :-1, :], -1)
    is_first = jnp.concatenate([jnp.ones_like(is_first[..., :1]), is_first], -1)
    kept = jnp.put_along_axis(jnp.zeros_like(mask), origin, is_first, -1, inplace=False)
    return kept & mask


def sample_points(
    key: jax.Array, points: jax.Array, mask: jax.Array, count: int
) -> tuple[jax.Array, jax.Array]:
    """Draws a fixed number of points without replacement, padded where there are not enough.

    Args:
      key: random key.
      points: shape (..., N, C).
      mask: points to draw from, shape (..., N).
      count: how many points come out.

    Returns:
      Points, shape (..., count, C), 0 where padded, and their mask, shape (..., count).
    """
    priority = jnp.where(mask, jax.random.uniform(key, mask.shape), -1.0)
    if count > mask.shape[-1]:
        padding = [(0, 0)] * (mask.ndim - 1) + [(0, count - mask.shape[-1])]
        priority = jnp.pad(priority, padding, constant_values=-1.0)
        points = jnp.pad(points, [*padding, (0, 0)])
    best, chosen = jax.lax.top_k(priority, count)
    kept = best >= 0
    drawn = jnp.take_along_axis(points, chosen[..., None], -2)
    return jnp.where(kept[..., None], drawn, 0.0), kept
