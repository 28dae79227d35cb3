"""Trains the network of `networks.picture_depth` on rendered pictures."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from train3d_jax.networks.picture_depth import PictureNetwork

LEARNING_RATE, WARM_UP, LAST_RATE = 2e-3, 100, 1e-5
"""Of AdamW: the peak rate, the steps of the warm-up, and the last rate of the cosine.  Chosen."""

WEIGHT_DECAY = 1e-3
"""Of AdamW, per step and unit of learning rate.  Chosen."""

LARGEST_GRADIENT = 1.0
"""Global norm that gradients are clipped to.  Chosen."""

AVERAGE_DECAY = 0.998
"""Of the moving average of the weights, the result of the training.  Chosen."""

SLOPE_SCALES, SLOPE_WEIGHT = 3, 2.0
"""Scales at which slopes are compared, each half as fine, and their weight.  Chosen."""

GAIN = 0.3
"""Largest change of a picture's colours, relative, as of exposure and white balance.  Chosen."""


class State(NamedTuple):
    """Weights, their moving average, and the state of the optimiser."""

    params: Any
    average: Any
    optimiser: optax.OptState


def optimiser(steps: int) -> optax.GradientTransformation:
    """AdamW with a cosine schedule over so many steps."""
    warm_up = min(WARM_UP, steps // 2)
    rate = optax.warmup_cosine_decay_schedule(0.0, LEARNING_RATE, warm_up, steps, LAST_RATE)
    return optax.chain(
        optax.clip_by_global_norm(LARGEST_GRADIENT),
        optax.adamw(rate, weight_decay=WEIGHT_DECAY),
    )


def initial_state(key: jax.Array, steps: int, size: tuple[int, int]) -> State:
    """Random weights for pictures of a size, (height, width)."""
    params = PictureNetwork().init(key, jnp.zeros((1, *size, 3)))
    average = jax.tree.map(jnp.copy, params)  # buffers of its own: a step donates all of them
    return State(params, average, optimiser(steps).init(params))


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
    updates, memory = optimiser(steps).update(gradient, state.optimiser, state.params)
    params = optax.apply_updates(state.params, updates)
    average = optax.incremental_update(params, state.average, 1 - AVERAGE_DECAY)
    return State(params, average, memory), value


@jax.jit
def log_depth(params: Any, pictures: jax.Array) -> jax.Array:
    """What the network says of pictures (B, H, W, 3) uint8: log depth up to a constant."""
    estimated: Any = PictureNetwork().apply(params, pictures / 255.0)
    return estimated
