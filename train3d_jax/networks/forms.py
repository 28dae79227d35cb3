"""The network of the form of a depth map's values, one of `evidence.forms.FORMS`.

Maps are known up to scale and shift, so neither the sign nor the size of the values shows it.  Two
cues do:

* Curvature.  Along its own gradient the depth of a plane is convex, its disparity is straight, and
  its negated depth is concave: with 1 / z affine in the image (`surfaces`), z'' / z'^2 = 2 / z > 0.
* Scene layout: the side of an edge that is the object, the place of the ground, the distribution
  of values.

A small convolutional network uses both, on the blocks of `points.BLOCKS`.  Training is on rendered
maps in all four forms (`form_training`).  Its input is the canonical form, so its posterior is the
same for every a * map + b with a > 0.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from train3d_jax.evidence.forms import FORMS, Model
from train3d_jax.geometry import affine, points

CURVATURE_STEPS = (1, 2, 4)
"""Distances of the differences, in blocks: larger ones have less noise.  Chosen."""

CLIP = 3.0
"""Clip of the input against outliers, in half widths of the canonical range.  Chosen."""


class FormNetwork(nn.Module):
    """Log-likelihoods of `FORMS`, up to a constant, from the channels of `channels_of`.

    Attributes:
      width: channels of the first layer.
    """

    width: int = 12

    @nn.compact
    def __call__(self, channels: jax.Array) -> jax.Array:
        """From (B, rows, columns, C) to (B, 4)."""
        hidden = channels
        for factor, kernel, stride in (
            (1, 5, 2), (1, 3, 1), (2, 3, 2), (2, 3, 1), (3, 3, 2), (3, 3, 1), (4, 3, 2),
        ):  # fmt: skip
            hidden = nn.Conv(factor * self.width, (kernel, kernel), (stride, stride))(hidden)
            hidden = nn.gelu(nn.GroupNorm(num_groups=4)(hidden))
        pooled = jnp.concatenate([hidden.mean((1, 2)), hidden.max((1, 2))], -1)
        hidden = nn.gelu(nn.Dense(64)(pooled))
        return nn.Dense(len(FORMS))(hidden)


def channels_of(values: jax.Array, mask: jax.Array) -> jax.Array:
    """The input of the network: canonical values, mask, curvatures, and the row of each block.

    Args:
      values: blocks in any affine unit, shape (B, P) with P the number of `points.BLOCKS`.
      mask: blocks that hold a value, shape (B, P).

    Returns:
      Shape (B, rows, columns, channels).
    """
    canonical = affine.canonicalise(values, mask)
    image = (canonical.values.reshape(-1, *points.BLOCKS) - _MIDDLE) / _HALF_WIDTH
    mask = canonical.mask.reshape(image.shape)
    image = _filled(jnp.clip(image, -CLIP, CLIP), mask)
    # Without barriers XLA recomputes each channel at every use.
    image = jax.lax.optimization_barrier(image)
    down = jnp.broadcast_to(jnp.linspace(-1.0, 1.0, points.BLOCKS[0])[:, None], image.shape)
    channels = [image, mask.astype(image.dtype)]
    for step in CURVATURE_STEPS:
        channels += _curvature(image, mask, step)
    return jnp.stack(jax.lax.optimization_barrier([*channels, down]), -1)


_MIDDLE = (affine.NEAR_VALUE + affine.FAR_VALUE) / 2
_HALF_WIDTH = (affine.FAR_VALUE - affine.NEAR_VALUE) / 2


def _filled(image: jax.Array, mask: jax.Array) -> jax.Array:
    """Fills holes with the mean of the smallest square of 2, 4, 8 ... blocks that is not empty."""
    rows, columns = image.shape[-2:]
    known = jnp.where(mask, image, 0.0)
    filled, have = known, mask
    side = 2
    while side <= min(rows, columns):
        squares = (-1, rows // side, side, columns // side, side)
        total = known.reshape(squares).sum((2, 4))
        count = mask.astype(image.dtype).reshape(squares).sum((2, 4))
        spread = lambda x, n=side: jnp.repeat(jnp.repeat(x, n, -1), n, -2)  # noqa: E731
        filled = jnp.where(have, filled, spread(total / jnp.maximum(count, 1.0)))
        have = have | spread(count > 0)
        side *= 2
    return filled


def _curvature(image: jax.Array, mask: jax.Array, step: int) -> list[jax.Array]:
    """The second derivative along the gradient, over the slope and over its square.

    Both bounded to (-1, 1), and 0 where a neighbour is missing; shapes as `image`.
    """
    rows, columns = image.shape[-2:]
    pad = lambda x: jnp.pad(x, ((0, 0), (step, step), (step, step)), mode="edge")  # noqa: E731
    padded, valid = pad(image), pad(mask)

    def moved(x: jax.Array, down: int, right: int) -> jax.Array:
        top, left = step * (1 + down), step * (1 + right)
        return x[:, top : top + rows, left : left + columns]

    at = functools.partial(moved, padded)
    along_u, along_v = (at(0, 1) - at(0, -1)) / 2, (at(1, 0) - at(-1, 0)) / 2
    uu = at(0, 1) + at(0, -1) - 2 * image
    vv = at(1, 0) + at(-1, 0) - 2 * image
    uv = (at(1, 1) + at(-1, -1) - at(1, -1) - at(-1, 1)) / 4
    whole = functools.reduce(
        jnp.logical_and, [moved(valid, i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    )
    slope2 = along_u**2 + along_v**2
    along = along_u**2 * uu + 2 * along_u * along_v * uv + along_v**2 * vv
    along = along / (slope2 + 1e-6)
    over_slope = jnp.tanh(2 * along / (jnp.sqrt(slope2) + _LEAST_SLOPE * step))
    over_square = jnp.tanh(along / (slope2 + _LEAST_SQUARED_SLOPE) / 4)
    return [jnp.where(whole, over_slope, 0.0), jnp.where(whole, over_square, 0.0)]


_LEAST_SLOPE, _LEAST_SQUARED_SLOPE = 0.004, 0.02**2
"""Half widths of the canonical range per block, and its square: on flatter surfaces noise decides
the curvature, which fades to 0 there.  Chosen."""


@jax.jit
def log_likelihood(model: Model, values: jax.Array, mask: jax.Array) -> jax.Array:
    """Log-likelihood of each of `FORMS`, up to a constant for each map.

    Args:
      model: the network.
      values: blocks of maps, shape (B, P).
      mask: blocks that hold a value, shape (B, P).

    Returns:
      Shape (B, 4); all 0 for a map without spread.
    """
    channels = channels_of(values, mask)
    logits: Any = FormNetwork().apply(model.params, channels)
    log_probability = jax.nn.log_softmax(logits)
    has_spread = (channels[..., 1].sum((1, 2)) > 0)[:, None]
    return jnp.where(has_spread, model.temper * log_probability, 0.0)
