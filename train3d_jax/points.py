"""From depth maps to point sets of a fixed size, with masks: blocks of pixels, voxels, samples.

`average_blocks` runs on the host in numpy, where maps of any size come in; the rest is pure JAX on
arrays of static shape.
"""

import jax
import jax.numpy as jnp
import numpy as np

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
    rows, columns = blocks
    row_starts = np.arange(rows) * height // rows
    column_starts = np.arange(columns) * width // columns

    def across(image: np.ndarray) -> np.ndarray:
        return np.add.reduceat(image, column_starts, 1, dtype=np.float64)

    def down(image: np.ndarray) -> np.ndarray:
        return np.add.reduceat(image, row_starts, 0)

    weight = mask.astype(np.float32)
    in_columns = across(weight)
    count = down(in_columns)
    # reduceat gives a block that starts where the next one does the single element there.
    count[np.diff(row_starts, append=height) == 0, :] = 0
    count[:, np.diff(column_starts, append=width) == 0] = 0
    u = down(across(weight * np.arange(width, dtype=np.float32)))
    v = down(in_columns * np.arange(height)[:, None])
    total = down(across(np.where(mask, values, 0)))
    u, v, mean = (sums.ravel() / np.maximum(count, 1).ravel() for sums in (u, v, total))
    pixels = np.stack([u, v], -1).astype(np.float32)
    return pixels, mean.astype(np.float32), (count > 0).ravel()


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
