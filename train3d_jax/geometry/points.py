"""From depth maps to point sets of a fixed size, with masks: blocks of pixels, voxels, samples.

`average_blocks` runs on the host in numpy, on maps of any size; the rest is pure JAX on arrays of
static shape, `average_blocks_on_device` too.
"""

# JAX types many of its functions in part only, hence what is switched off.
# pyright: strict, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Real
from numpy.typing import DTypeLike

from train3d_jax.geometry.affine import Either

BLOCKS = (64, 64)
"""Rows and columns of blocks: a map is averaged over them before it goes to the device.  Chosen."""


def average_blocks(
    values: Real[np.ndarray, "h w"],
    mask: Bool[np.ndarray, "h w"],
    blocks: tuple[int, int] = BLOCKS,
) -> tuple[Float32[np.ndarray, "p 2"], Float32[np.ndarray, " p"], Bool[np.ndarray, " p"]]:
    """Averages a map of any size over a grid of blocks.

    Averaging reduces noise and commutes with scale and shift, so the canonical form of the average
    is the average of the canonical form (of depth in depth space, of disparity in disparity
    space).  The place of a block is the mean of its valid pixels.

    Args:
      values: depth or disparity, shape (H, W), floats or unsigned integers.
      mask: pixels that hold a value, shape (H, W).
      blocks: rows and columns of the grid; blocks without a pixel of a small map are masked.

    Returns:
      Pixels (u, v), float32 (rows * columns, 2); values, float32 (rows * columns,), and mask, bool
      (rows * columns,).
    """
    height, width = values.shape
    tops, heights = _runs(height, blocks[0])
    lefts, widths = _runs(width, blocks[1])
    if mask.all():
        count = np.multiply.outer(heights, widths)
        below = np.maximum(heights - 1, 0)[:, None] / 2
        right = np.maximum(widths - 1, 0) / 2
    else:
        values = _zero_where_masked(values, mask)
        # Sums of places count from the border of their block: small integers add faster.
        tall, wide = int(heights.max()), int(widths.max())
        small = np.min_scalar_type(tall * (tall + 1) // 2)
        large = np.min_scalar_type(tall * wide * max(tall, wide))
        count, below = _count_runs(mask.view(np.uint8), tops, heights, small)
        below = _sum_runs(below.T.copy(), lefts, widths, large).T
        count, right = (sums.T for sums in _count_runs(count.T.copy(), lefts, widths, large))
        below, right = below / np.maximum(count, 1), right / np.maximum(count, 1)
    kind = _kind_of_sums(values.dtype, int(heights.max()) * int(widths.max()))
    # Rows of one type add twice as fast as rows of two.
    values = values if kind == np.float64 else values.astype(kind)
    total = _sum_runs(values, tops, heights, kind)
    total = _sum_runs(total.T.copy(), lefts, widths, kind).T
    pixels = np.empty((*blocks, 2), np.float32)
    pixels[..., 0], pixels[..., 1] = lefts + right, tops[:, None] + below
    return (
        pixels.reshape(-1, 2),
        (total / np.maximum(count, 1)).astype(np.float32).ravel(),
        (count > 0).ravel(),
    )


def _kind_of_sums(dtype: np.dtype, most: int) -> np.dtype:
    """The type for sums of so many values of a type."""
    # float32 where it holds the integer sums exactly.  Others in float64: of a depth far from 0,
    # float32 would lose the digits of its curvature.
    exact = dtype.kind == "u" and most * np.iinfo(dtype).max < 1 << 24
    return np.dtype(np.float32 if exact else np.float64)


def _zero_where_masked(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The values, 0 where masked, even where they are not finite."""
    if values.dtype.kind == "u":
        return values * mask
    if values.dtype != np.float32:
        return np.where(mask, values, 0)
    # Bit by bit, a third of the time of np.where.
    kept = np.negative(mask.view(np.int8), dtype=np.int32)
    kept &= values.view(np.int32)
    return kept.view(np.float32)


def _runs(length: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Starts and lengths, in pixels, of equal parts of a line of pixels."""
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


def _count_runs(
    image: np.ndarray, starts: np.ndarray, lengths: np.ndarray, dtype: DTypeLike
) -> tuple[np.ndarray, np.ndarray]:
    """Sums of runs of rows, as `_sum_runs`, and of rows times their place in the run.

    From the last row back, adding the sum so far once more for every row before it.
    """
    least = int(lengths.min())
    sums = np.zeros((len(starts), image.shape[1]), dtype)
    longer = np.flatnonzero(lengths > least)
    sums[longer] = image[starts[longer] + least]
    places = sums.copy() if least else np.zeros_like(sums)
    for row in range(least - 1, -1, -1):
        sums += image[starts + row]
        if row:
            places += sums
    return sums, places


def average_blocks_on_device(
    values: Float[Array, "h w"],
    mask: Bool[Array, "h w"],
    blocks: tuple[int, int] = BLOCKS,
) -> tuple[Float[Array, "p 2"], Float[Array, " p"], Bool[Array, " p"]]:
    """`average_blocks` in JAX, for programs that are compiled for one size of maps.

    Sums are float32, of differences to the largest value of their block: the means are within two
    units in the last place of those of `average_blocks`, which sums in float64.

    Args:
      values: depth or disparity, shape (H, W).
      mask: pixels that hold a value, shape (H, W); what lies below False does not count.
      blocks: rows and columns of the grid.

    Returns:
      As `average_blocks`: pixels (rows * columns, 2), values and mask (rows * columns,).
    """
    rows, in_rows = _padded_runs(values.shape[0], blocks[0])
    columns, in_columns = _padded_runs(values.shape[1], blocks[1])
    taken = rows[:, None, :, None], columns[None, :, None, :]
    present = mask[taken] & (in_rows[:, None, :, None] & in_columns[None, :, None, :])
    held = values[taken]
    count = present.sum((2, 3))
    largest = jnp.where(count > 0, jnp.max(jnp.where(present, held, -jnp.inf), (2, 3)), 0.0)
    below_largest = jnp.where(present, held - largest[..., None, None], 0.0).sum((2, 3))
    many = jnp.maximum(count, 1)
    down, across = np.arange(rows.shape[1])[:, None], np.arange(columns.shape[1])
    v = rows[:, :1] + jnp.where(present, down, 0).sum((2, 3)) / many
    u = columns[:, 0] + jnp.where(present, across, 0).sum((2, 3)) / many
    pixels = jnp.stack([u, v], -1).reshape(-1, 2)
    return pixels, (largest + below_largest / many).ravel(), (count > 0).ravel()


def _padded_runs(length: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The pixels of each of `_runs`, shape (count, longest), and which of them belong to it."""
    starts, lengths = _runs(length, count)
    places = np.arange(max(int(lengths.max()), 1))
    return np.minimum(starts[:, None] + places, length - 1), places < lengths[:, None]


def one_point_per_voxel(
    points: Float[Either, "*b n 3"], mask: Bool[Either, "*b n"], voxel_size: float
) -> Bool[Array, "*b n"]:
    """Keeps one point of each occupied voxel, so that near surfaces do not outnumber far ones.

    Args:
      points: shape (..., N, 3).
      mask: points that count, shape (..., N).
      voxel_size: edge of a voxel in the unit of `points`; 0 keeps every point.

    Returns:
      The mask of the points that stay, shape (..., N).
    """
    if voxel_size == 0:
        return jnp.asarray(mask)
    # Coordinates beyond a limit share the border voxels.
    limit = 1 << 24
    voxels = jnp.clip(jnp.floor(points / voxel_size), -limit, limit).astype(jnp.int32)
    count = mask.shape[-1]
    table = 1 << (2 * count - 1).bit_length()

    def one(voxels: jax.Array, mask: jax.Array) -> jax.Array:
        hashed = voxels.astype(jnp.uint32) * jnp.array(_PRIMES, jnp.uint32)
        hashed = hashed[:, 0] ^ hashed[:, 1] ^ hashed[:, 2]
        number = jnp.arange(count, dtype=jnp.int32)

        # The first point in each slot of a hash table stays, which decides all points of its voxel;
        # points of other voxels in the same slot try again under another hash.
        def decide(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            undecided, kept, turn = state
            slot = (hashed * (_TURN * (2 * turn + 1))) >> (32 - table.bit_length() + 1)
            slot = jnp.where(undecided, slot.astype(jnp.int32), table)
            first = jnp.full(table, count, jnp.int32).at[slot].min(number, mode="drop")
            first = first.at[slot].get(mode="fill", fill_value=count)
            in_its_voxel = (voxels[jnp.minimum(first, count - 1)] == voxels).all(-1)
            return undecided & ~in_its_voxel, kept | (undecided & (first == number)), turn + 1

        start = mask, jnp.zeros_like(mask), jnp.uint32(0)
        return jax.lax.while_loop(lambda state: state[0].any(), decide, start)[1]

    return jnp.vectorize(one, signature="(n,k),(n)->(n)")(voxels, mask)


_PRIMES = (73856093, 19349663, 83492791)
"""Factors of the hash of voxels: M. Teschner et al., Optimized spatial hashing for collision
detection of deformable objects, 2003."""
_TURN = np.uint32(0x9E3779B1)
"""2^32 over the golden ratio, odd: D. Knuth's multiplicative hashing.  Odd multiples of it spread
the hashes anew in each turn."""


def sample_points(
    key: jax.Array, points: Float[Either, "*b n c"], mask: Bool[Either, "*b n"], count: int
) -> tuple[Float[Array, "*b m c"], Bool[Array, "*b m"]]:
    """Draws a fixed number of points without replacement, padded where there are not enough.

    They keep their order.

    Args:
      key: random key.
      points: shape (..., N, C).
      mask: points to draw from, shape (..., N).
      count: number of points of the result.

    Returns:
      Points, shape (..., count, C), 0 where padded, and their mask, shape (..., count).
    """
    priority = jax.random.bits(key, mask.shape, jnp.uint32) >> 1
    priority = jnp.where(mask, priority.astype(jnp.int32), -1)

    def one(priority: jax.Array, points: jax.Array) -> tuple[jax.Array, jax.Array]:
        # The highest threshold that enough reach, bit by bit: no sorting.
        def raise_(bit: Array, threshold: Array) -> Array:
            higher = threshold + (jnp.int32(1) << (30 - bit))
            return jnp.where((priority >= higher).sum() >= count, higher, threshold)

        threshold = jax.lax.fori_loop(0, 31, raise_, jnp.int32(0))
        chosen = priority >= threshold
        place = jnp.where(chosen, jnp.cumsum(chosen) - 1, count)
        available = len(priority)
        number = jnp.arange(available, dtype=jnp.int32)
        # Of equal priorities, the first.
        origin = jnp.full(count, available, jnp.int32).at[place].set(number, mode="drop")
        return points.at[origin].get(mode="fill", fill_value=0), origin < available

    return jnp.vectorize(one, signature="(n),(n,c)->(m,c),(m)")(priority, points)
