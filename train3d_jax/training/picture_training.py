"""Trains the network of `networks.picture_depth` on rendered pictures."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from train3d_jax.networks.picture_depth import PictureNetwork
from train3d_jax.training import averaged_steps
from train3d_jax.training.averaged_steps import State

SLOPE_SCALES, SLOPE_WEIGHT = 3, 2.0
"""Scales at which slopes are compared, each half as fine, and their weight.  Chosen."""

GAIN = 0.3
"""Largest change of a picture's colours, relative, as of exposure and white balance.  Chosen."""


def initial_state(key: jax.Array, steps: int, size: tuple[int, int]) -> State:
    """Random weights for pictures of a size, (height, width)."""
    params = PictureNetwork().init(key, jnp.zeros((1, *size, 3)))
    return averaged_steps.begin(params, steps)


def loss(estimated: jax.Array, depth: jax.Array) -> jax.Array:
    """The error of log depth up to a constant for each map, and of its slopes; a mean.

    The scale-invariant error and the multi-scale gradient matching of Li and Snavely (MegaDepth,
    arXiv 1804.00607, equations 1 and 3), both as absolute errors.

    Args:
      estimated: log depth up to a constant, shape (B, H, W).
      depth: > 0, or 0 where missing, shape (B, H, W).
    """
    mask = depth > 0
    error = jnp.where(mask, estimated - jnp.log(jnp.where(mask, depth, 1.0)), 0.0)
    count = jnp.maximum(mask.sum((1, 2), keepdims=True), 1)
    error = jnp.where(mask, error - error.sum((1, 2), keepdims=True) / count, 0.0)
    total = jnp.abs(error).sum() / jnp.maximum(mask.sum(), 1)
    for scale in range(SLOPE_SCALES):
        step = 2**scale
        for axis in (1, 2):
            slope = _difference(error, step, axis) / step
            both = _difference(mask, step, axis)
            total += SLOPE_WEIGHT / SLOPE_SCALES * jnp.where(both, jnp.abs(slope), 0.0).mean()
    return total


def _difference(image: jax.Array, step: int, axis: int) -> jax.Array:
    """Of values a step apart; of masks, where both are set."""
    length = image.shape[axis]
    one = jax.lax.slice_in_dim(image, step, length, axis=axis)
    other = jax.lax.slice_in_dim(image, 0, length - step, axis=axis)
    return one & other if image.dtype == bool else one - other


@functools.partial(jax.jit, static_argnames="steps", donate_argnums=0)
def train_step(
    state: State, key: jax.Array, pictures: jax.Array, depth: jax.Array, steps: int
) -> tuple[State, jax.Array]:
    """One step, on mirrored and differently exposed pictures; also the loss.

    Args:
      state: before the step.
      key: random key.
      pictures: (B, H, W, 3) uint8.
      depth: (B, H / 2, W / 2), 0 where missing.
      steps: of the whole training.
    """
    mirror_key, gain_key = jax.random.split(key)
    mirrored = jax.random.bernoulli(mirror_key, shape=(len(depth), 1, 1))
    gain = 1 + GAIN * jax.random.uniform(gain_key, (len(depth), 1, 1, 3), minval=-1.0)
    colours = jnp.clip(pictures / 255.0 * gain, 0.0, 1.0)
    colours = jnp.where(mirrored[..., None], colours[:, :, ::-1], colours)
    depth = jnp.where(mirrored, depth[:, :, ::-1], depth)

    def of_params(params) -> jax.Array:
        estimated: Any = PictureNetwork().apply(params, colours)
        return loss(estimated, depth)

    value, gradient = jax.value_and_grad(of_params)(state.params)
    return averaged_steps.update(state, gradient, steps), value


@jax.jit
def log_depth(params: Any, pictures: jax.Array) -> jax.Array:
    """Log depth of pictures (B, H, W, 3) uint8 up to a constant for each, (B, H / 2, W / 2)."""
    estimated: Any = PictureNetwork().apply(params, pictures / 255.0)
    return estimated
