"""Errors of depth networks and lenses: bias, ripple, blurred edges, radial distortion.

Each is a pure function of

  key: random key;
  w: inverse depth in units of the far depth's (`augmentation.far_depth`), shape
    (..., rows, columns): 1 far away and larger near by, on a plane affine in the pixels;
  mask: valid blocks, shape (..., rows, columns), where it needs them;
  strength: factor of its amplitudes, shape (), 0 for no change and 1 for the recipe;

and returns the new w (`distort_rays`: the new pixels).  Each map draws its own amplitude, mostly
log-uniformly, so that nearly clean maps remain among the others.

Shares are of the maps, in [0, 1]; widths are in blocks.  All constants were chosen in the
experiments that `augmentation` names, unless a source is given.
"""

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtr, ndtri
from jax.typing import ArrayLike

from train3d_jax.training.block_images import (
    log_uniform,
    neighbours,
    padded,
    random_field,
    uniform_draws,
)

BIAS_SIZE = (0.0003, 0.04)
"""Standard deviation of the smooth error of depth, relative."""
BIAS_WIDTH = (6.0, 24.0)
"""Standard deviation of the bumps that add up to the error."""
BIAS_KNOTS = 12
"""Bumps down and across."""
FLATTENED_SHARE = 0.5
"""Maps whose far range is flattened too, by `BIAS_SIZE` at the far depth."""

RIPPLE_SHARE = 0.5
RIPPLE_SIZE = (0.0003, 0.008)
"""Standard deviation of the error of depth, relative."""
RIPPLE_WIDTH = (1.5, 6.0)
"""The shortest waves in the maps of a depth network.  There, windows of 4 x 4 blocks on planes are
curved by 0.8 % of their depth, and hardly any of it is noise."""

BLUR_SHARE = 0.6
BLUR_WIDTH = (0.25, 2.5)
"""Standard deviation of the Gaussian."""
BLUR_RADIUS = 6
"""About three standard deviations of the widest blur at strength 1."""

LENS_SHARE = 0.5
LENS_DEVIATION = 0.04
"""Standard deviation of the radial distortion at the half diagonal, relative."""
LENS_LIMIT = 0.2
"""Far from the distortion at which the image folds, about -0.4."""
LENS_NEUTRAL = 0.47
"""Squared radius without displacement, in squared half diagonals: the mean of r^4 over that of r^2
(square 0.467, 4:3 0.477).  The best-fitting focal length then stays the true one."""


def add_bias(key: jax.Array, w: jax.Array, strength: ArrayLike) -> jax.Array:
    """The smooth error of depth networks: a factor that varies slowly, and a flattened far range.

    The logarithm of the factor has mean 0 over the grid.  Flattening makes w into sqrt(w^2 + 2 c):
    depth keeps its order, hardly changes near by, and is smaller by the share c at the far depth.
    """
    size, down, across, flattens, flattening, heights = uniform_draws(
        key, w.shape[:-2], 5, (BIAS_KNOTS, BIAS_KNOTS)
    )
    widths = log_uniform(down, BIAS_WIDTH), log_uniform(across, BIAS_WIDTH)
    size = strength * log_uniform(size, BIAS_SIZE)
    w = w * jnp.exp(size * random_field(heights, w.shape, *widths))
    flattening = strength * log_uniform(flattening, BIAS_SIZE)
    return jnp.where(flattens < FLATTENED_SHARE, jnp.sqrt(w**2 + 2 * flattening), w)


def add_ripple(key: jax.Array, w: jax.Array, strength: ArrayLike) -> jax.Array:
    """The uneven surfaces of depth networks: a factor with waves of a few blocks."""
    knots = w.shape[-1] // 2
    happens, size, down, across, heights = uniform_draws(key, w.shape[:-2], 4, (knots, knots))
    widths = log_uniform(down, RIPPLE_WIDTH), log_uniform(across, RIPPLE_WIDTH)
    size = jnp.where(happens < RIPPLE_SHARE, strength * log_uniform(size, RIPPLE_SIZE), 0.0)
    return w * jnp.exp(size * random_field(heights, w.shape, *widths))


def blur_edges(key: jax.Array, w: jax.Array, mask: jax.Array, strength: ArrayLike) -> jax.Array:
    """The smoothed edges of depth networks: a Gaussian blur of w that leaves planes as they are.

    Neighbours count in pairs, one on each side, both valid.  A plane then stays exact up to holes
    and borders; weights that are only normalised would curve it there.
    """
    happens, width = uniform_draws(key, w.shape[:-2], 2)
    width = jnp.where(happens < BLUR_SHARE, strength * log_uniform(width, BLUR_WIDTH), 0.0)
    # The share of each block in a Gaussian that is cut off at the radius.
    width = jnp.maximum(width, 1e-3)
    reached = ndtr((jnp.arange(BLUR_RADIUS + 1) + 0.5) / width[..., None])
    weights = jnp.diff(reached) / (2 * reached[..., -1:] - 1)
    for axis in (-2, -1):
        # Padded once: the compiler otherwise pads anew for each distance and every block.
        wide = jax.lax.optimization_barrier(padded(w, BLUR_RADIUS, axis))
        valid = jax.lax.optimization_barrier(padded(mask.astype(w.dtype), BLUR_RADIUS, axis))
        change = jnp.zeros_like(w)
        for distance in range(1, BLUR_RADIUS + 1):
            before, after = neighbours(wide, distance, axis, BLUR_RADIUS)
            both = neighbours(valid, distance, axis, BLUR_RADIUS)
            curvature = both[0] * both[1] * (before + after - 2 * w)
            change = change + weights[..., distance - 1] * curvature
        w = w + change
    return w


def distort_rays(
    key: jax.Array, pixels: jax.Array, size: ArrayLike, centre: ArrayLike, strength: ArrayLike
) -> jax.Array:
    """Residual radial distortion of a lens: moves pixels to or from the principal point.

    Args:
      key: random key.
      pixels: (u, v) of blocks, shape (..., P, 2).
      size: height and width in pixels, shape (..., 2).
      centre: the principal point, (cx, cy) in pixels, shape (..., 2).
      strength: factor of the distortion, shape ().

    Returns:
      Pixels, shape (..., P, 2), r (1 + k (r^2 - `LENS_NEUTRAL`)) from the centre where r was their
      distance in half diagonals, k normal.
    """
    happens, size_drawn = uniform_draws(key, pixels.shape[:-2], 2)
    k = jnp.clip(strength * LENS_DEVIATION * ndtri(size_drawn), -LENS_LIMIT, LENS_LIMIT)
    k = jnp.where(happens < LENS_SHARE, k, 0.0)[..., 0]
    centre = jnp.asarray(centre)[..., None, :]
    u, v = pixels[..., 0] - centre[..., 0], pixels[..., 1] - centre[..., 1]
    half_diagonal_squared = (jnp.asarray(size) ** 2).sum(-1)[..., None] / 4
    change = k * ((u**2 + v**2) / half_diagonal_squared - LENS_NEUTRAL)
    return pixels + jnp.stack([u * change, v * change], -1)
