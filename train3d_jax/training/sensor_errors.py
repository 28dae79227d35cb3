"""Errors of depth sensors: noise, quantisation, outliers, holes, a limited range.

Each is a pure function of

  key: random key;
  w: inverse depth in units of the far depth's (`augmentation.far_depth`), shape
    (..., rows, columns): 1 far away and larger near by, on a plane affine in the pixels;
  mask: valid blocks, shape (..., rows, columns), where it needs them;
  strength: factor of its amplitudes, shape (), 0 for no change and 1 for the recipe;

and returns the new w (`cut_holes` and `limit_reach`: the mask of what remains).  Each map draws its
own amplitude, mostly log-uniformly, so that nearly clean maps remain among the others.

Shares are of the maps, in [0, 1]; widths are in blocks.  All constants were chosen in the
experiments that `augmentation` names.
"""

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtri
from jax.typing import ArrayLike

from train3d_jax.training.block_images import (
    log_uniform,
    mean_of_valid,
    neighbours,
    padded,
    random_field,
    uniform_draws,
)

NOISE_SIZE = (0.00025, 0.0126)
"""Standard deviation of white noise of w, and of correlated noise; noise of depth grows as z^2."""
NOISE_WIDTH = (0.5, 4.0)
"""Standard deviation of the smoothing that correlates it, independent down and across: stereo
compares along rows, and its noise forms vertical streaks."""
PROPORTIONAL_SIZE = (0.0001, 0.0063)
"""Standard deviation of white noise of depth, relative."""
LARGEST_CHANGE = 0.5
"""Largest change of w by noise, relative: w stays positive."""

DISPARITY_STEPS_SHARE = 0.35
DISPARITY_STEP = (0.001, 0.02)
"""Step of disparity over the map's mean, as of stereo matching."""
DEPTH_STEPS_SHARE = 0.15
DEPTH_STEP = (0.0003, 1 / 256)
"""Step of depth over the far depth: from files in millimetres to files of 8 bits."""

OUTLIERS_SHARE = 0.3
MOST_OUTLIERS = 0.02
"""Share of a map's blocks."""

HOLES_SHARE = 0.4
MOST_HOLES = 0.45
"""Share of a map's blocks."""
HOLES_WIDTH = (2.0, 6.0)
"""Standard deviation of the bumps whose valleys are the holes."""
EATEN_SHARE = 0.4
"""Maps that lose blocks at edges of depth (some or all of them) and at the border."""
EDGE_STEP = 0.1
"""Second difference of w over w at an edge; that of planes is 0."""
WIDEST_BORDER = 4.0
"""Blocks lost on each side, at most."""
REACH_SHARE = 0.3
"""Maps of a sensor with a limited reach, and as many of one with a least distance."""
MOST_DROPPED = 0.5
"""Share of a map's valid blocks; a map that would lose more loses none."""


def add_sensor_noise(key: jax.Array, w: jax.Array, strength: ArrayLike) -> jax.Array:
    """Noise of stereo and structured light: of disparity, so that of depth grows as z^2.

    White noise of w, noise of w with neighbours alike, and white noise in proportion to the depth;
    together no more than half of w.
    """
    rows, columns = w.shape[-2:]
    white, correlated, proportional, down, across, each, heights = uniform_draws(
        key, w.shape[:-2], 5, (rows, columns), (columns, columns)
    )
    white = strength * log_uniform(white, NOISE_SIZE)
    correlated = strength * log_uniform(correlated, NOISE_SIZE)
    proportional = strength * log_uniform(proportional, PROPORTIONAL_SIZE)
    # Two independent normal numbers add up to one: half of the random numbers.
    white = jnp.sqrt(white**2 + (proportional * w) ** 2)
    noise = white * ndtri(each)
    widths = log_uniform(down, NOISE_WIDTH), log_uniform(across, NOISE_WIDTH)
    noise += correlated * random_field(heights, w.shape, *widths)
    return w + jnp.clip(noise, -LARGEST_CHANGE * w, LARGEST_CHANGE * w)


def quantise(key: jax.Array, w: jax.Array, mask: jax.Array, strength: ArrayLike) -> jax.Array:
    """Steps of disparity, as stereo sensors have them, or of depth, as files have."""
    happens, size = uniform_draws(key, w.shape[:-2], 2)
    mean = mean_of_valid(w, mask)
    of_disparity = happens < DISPARITY_STEPS_SHARE
    of_depth = ~of_disparity & (happens < DISPARITY_STEPS_SHARE + DEPTH_STEPS_SHARE)
    step = jnp.where(
        of_disparity, mean * log_uniform(size, DISPARITY_STEP), log_uniform(size, DEPTH_STEP)
    )
    step = strength * step
    quantised = jnp.where(of_depth, 1 / w, w)
    # Not 0 steps: the depth would be infinite or none.
    quantised = jnp.maximum(jnp.round(quantised / jnp.maximum(step, 1e-9)), 1.0) * step
    quantised = jnp.where(of_depth, 1 / quantised, quantised)
    return jnp.where((of_disparity | of_depth) & (step > 0), quantised, w)


def add_outliers(key: jax.Array, w: jax.Array, mask: jax.Array, strength: ArrayLike) -> jax.Array:
    """Flying pixels: a few blocks get another depth within the map's range, any ratio as likely."""
    happens, share, drawn = uniform_draws(key, w.shape[:-2], 2, (w.shape[-2], w.shape[-1]))
    share = jnp.where(happens < OUTLIERS_SHARE, strength * MOST_OUTLIERS * share, 0.0)
    smallest = jnp.where(mask, w, jnp.inf).min((-2, -1), keepdims=True)
    largest = jnp.where(mask, w, 0.0).max((-2, -1), keepdims=True)
    # Numbers below the share are uniform there, so the same number draws the depth.
    other = smallest * (largest / smallest) ** (drawn / jnp.maximum(share, 1e-9))
    return jnp.where(mask & (drawn < share), other, w)


def cut_holes(key: jax.Array, w: jax.Array, mask: jax.Array, strength: ArrayLike) -> jax.Array:
    """The mask without what sensors miss: blobs, blocks at edges of depth, the image border.

    At least half of a map's valid blocks are left.
    """
    knots = w.shape[-1] // 2
    happens, share, down, across, is_eaten, edges, *border, heights = uniform_draws(
        key, w.shape[:-2], 10, (knots, knots)
    )
    widths = log_uniform(down, HOLES_WIDTH), log_uniform(across, HOLES_WIDTH)
    field = random_field(heights, w.shape, *widths)
    share = jnp.where(happens < HOLES_SHARE, jnp.minimum(strength * MOST_HOLES * share, 1.0), 0.0)
    # The field is nearly normal: its quantile function gives the level, without a sort.
    kept = without(mask, mask, field < ndtri(share))

    eaten = jnp.where(is_eaten < EATEN_SHARE, strength, 0.0)
    # The other tail of the same field: edges are lost in stretches, not block by block.
    at_edges = _at_edges(w, mask) & (field > ndtri(1 - jnp.minimum(eaten * edges, 1.0)))
    kept = without(mask, kept, at_edges)
    top, bottom, left, right = (jnp.floor(eaten * WIDEST_BORDER * side) for side in border)
    rows, columns = jnp.arange(w.shape[-2])[:, None], jnp.arange(w.shape[-1])
    at_border = (rows < top) | (rows >= w.shape[-2] - bottom)
    at_border |= (columns < left) | (columns >= w.shape[-1] - right)
    return without(mask, kept, at_border)


def limit_reach(key: jax.Array, w: jax.Array, mask: jax.Array, strength: ArrayLike) -> jax.Array:
    """The mask without what is beyond the reach of a sensor, or too near for it.

    The reach lies between the mean of w and its far end, or its near one, any ratio as likely.  At
    least half of a map's valid blocks are left.
    """
    is_far, far, is_near, near = uniform_draws(key, w.shape[:-2], 4)
    mean = mean_of_valid(w, mask)
    farthest = jnp.where(mask, w, jnp.inf).min((-2, -1), keepdims=True)
    nearest = jnp.where(mask, w, 0.0).max((-2, -1), keepdims=True)
    share = jnp.minimum(strength, 1.0) * REACH_SHARE
    beyond = (is_far < share) & (w < mean * (farthest / mean) ** far)
    kept = without(mask, mask, beyond)
    return without(mask, kept, (is_near < share) & (w > mean * (nearest / mean) ** near))


def _at_edges(w: jax.Array, mask: jax.Array) -> jax.Array:
    edges = jnp.zeros_like(mask)
    for axis in (-2, -1):
        before, after = neighbours(padded(w, 1, axis), 1, axis, 1)
        both = neighbours(padded(mask, 1, axis), 1, axis, 1)
        edges |= (jnp.abs(before + after - 2 * w) > EDGE_STEP * w) & both[0] & both[1]
    return edges


def without(mask: jax.Array, kept: jax.Array, dropped: jax.Array) -> jax.Array:
    """`kept` without `dropped`, except in maps that would keep too little of `mask`."""
    left = kept & ~dropped
    enough = left.sum((-2, -1)) >= (1 - MOST_DROPPED) * mask.sum((-2, -1))
    return jnp.where(enough[..., None, None], left, kept)
