"""Operations on images of blocks, shape (..., rows, columns): neighbours, means, random numbers."""

import jax
import jax.numpy as jnp
import numpy as np


def random_field(
    heights: jax.Array, shape: tuple[int, ...], down: jax.Array, across: jax.Array
) -> jax.Array:
    """A smooth random field: Gaussian bumps of random height, mean 0 and standard deviation 1.

    Args:
      heights: uniform numbers in (0, 1), shape (..., knots, knots): bumps down and across, which
        show where their distance is more than twice their width.
      shape: of the result, (..., rows, columns).
      down: standard deviation of the bumps along columns in blocks, shape (..., 1, 1).
      across: along rows, likewise.

    Returns:
      Shape `shape`.
    """
    # Uniform numbers cost less than normal ones, and sums of many are nearly normal.
    heights, knots = 2 * heights - 1, heights.shape[-1]
    down, across = _bumps(shape[-2], knots, down), _bumps(shape[-1], knots, across)
    field = jnp.einsum("...ik,...kl,...jl->...ij", down, heights, across, precision="highest")
    field = field - field.mean((-2, -1), keepdims=True)
    return field / jnp.sqrt((field**2).mean((-2, -1), keepdims=True) + 1e-12)


def _bumps(blocks: int, knots: int, width: jax.Array) -> jax.Array:
    """The weight of each knot of a line in each of its blocks, shape (..., blocks, knots)."""
    place = (jnp.arange(knots) + 0.5) * (blocks / knots)
    distance = jnp.arange(blocks)[:, None] + 0.5 - place
    bumps = jnp.exp(-0.5 * (distance / width) ** 2)
    # Fewer bumps reach the border; the field must not be smaller there.
    return bumps / jnp.sqrt((bumps**2).sum(-1, keepdims=True))


def uniform_draws(
    key: jax.Array, lead: tuple[int, ...], count: int, *images: tuple[int, int]
) -> list[jax.Array]:
    """Uniform numbers in (0, 1) for each map.

    Drawn all at once: XLA compiles each call of the generator anew, most of the time of compiling.

    Args:
      key: random key.
      lead: leading axes, one entry a map.
      count: how many numbers.
      images: sizes of images of such numbers, rows and columns.

    Returns:
      `count` arrays of shape (*lead, 1, 1), and one of (*lead, rows, columns) for each image.
    """
    sizes = [(1, 1)] * count + list(images)
    ends = np.cumsum([rows * columns for rows, columns in sizes])
    drawn = jax.random.uniform(key, (*lead, int(ends[-1])), minval=jnp.finfo(jnp.float32).tiny)
    return [
        drawn[..., end - rows * columns : end].reshape(*lead, rows, columns)
        for end, (rows, columns) in zip(ends, sizes, strict=True)
    ]


def log_uniform(drawn: jax.Array, limits: tuple[float, float]) -> jax.Array:
    """Maps uniform numbers in (0, 1) to log-uniform ones between the limits."""
    low, high = limits
    return low * (high / low) ** drawn


def mean_of_valid(w: jax.Array, mask: jax.Array) -> jax.Array:
    """The mean of the valid blocks of each map, shape (..., 1, 1)."""
    total = jnp.where(mask, w, 0.0).sum((-2, -1), keepdims=True)
    return total / jnp.maximum(mask.sum((-2, -1), keepdims=True), 1)


def padded(image: jax.Array, radius: int, axis: int) -> jax.Array:
    """The image with `radius` zeros on both sides of a negative axis."""
    padding = [(0, 0)] * image.ndim
    padding[axis] = (radius, radius)
    return jnp.pad(image, padding)


def neighbours(
    wide: jax.Array, distance: int, axis: int, radius: int
) -> tuple[jax.Array, jax.Array]:
    """Neighbours at a distance before and after each block, of an image that `padded` widened."""
    length = wide.shape[axis] - 2 * radius

    def shifted(start: int) -> jax.Array:
        return jax.lax.slice_in_dim(wide, start, start + length, axis=axis)

    return shifted(radius - distance), shifted(radius + distance)
