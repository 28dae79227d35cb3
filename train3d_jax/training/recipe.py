"""Optimiser, learning rate, and the moving average of the weights, which inference uses.

All of optax; the weights' average is a field of `trainer.TrainState`, not of the optimiser's state,
so that a checkpoint keeps it apart under the name `params`.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from train3d_jax.training.config import TrainingConfig

WEIGHT_DECAY = 1e-4
"""Of AdamW, per step and unit of learning rate; optax's default.  Chosen."""

SECOND_MOMENT_DECAY = 0.98
"""Of AdamW.  Chosen: optax's 0.999 averages over more steps than a short training has."""

MOMENTUM = 0.9
"""Of SGD, as the original."""

AVERAGE_WARM_UP = 9.0
"""Steps, see `move_average`.  As TensorFlow's ExponentialMovingAverage with `num_updates`, whose
decay is at most (1 + n) / (10 + n) after n updates."""


def learning_rate(config: TrainingConfig, total_steps: int) -> optax.Schedule:
    """A linear warm-up from 0, then a linear or cosine decay to the last share of the rate.

    In a run shorter than twice the warm-up, the warm-up is the first half of it.
    """
    warmup = min(config.warmup_steps, total_steps // 2)
    decay_steps = max(total_steps - warmup, 1)
    if config.schedule == "linear":
        last = config.learning_rate * config.learning_rate_decay
        decay = optax.linear_schedule(config.learning_rate, last, decay_steps)
    else:
        decay = optax.cosine_decay_schedule(
            config.learning_rate, decay_steps, config.learning_rate_decay
        )
    warm_up = optax.linear_schedule(0.0, config.learning_rate, max(warmup, 1))
    return optax.join_schedules([warm_up, decay], [warmup])


def build_optimizer(config: TrainingConfig, total_steps: int) -> optax.GradientTransformation:
    """AdamW, or SGD with momentum as the original, on gradients clipped by their global norm."""
    rate = learning_rate(config, total_steps)
    if config.optimizer == "adamw":
        steps = optax.adamw(rate, b2=SECOND_MOMENT_DECAY, weight_decay=WEIGHT_DECAY)
    else:
        steps = optax.sgd(rate, MOMENTUM)
    if not config.clip_norm:
        return steps
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), steps)


class Weights(NamedTuple):
    """The weights of a network after a step, their moving average, and the optimiser's state."""

    params: Any
    average: Any
    memory: Any


def take_step(
    optimizer: optax.GradientTransformation,
    gradient: Any,
    before: Weights,
    step: jax.Array,
    decay: float,
) -> Weights:
    """One step of the optimiser and of the moving average.

    All weights are one vector in it: a fifth of the program, and the same numbers.

    Args:
      optimizer: of `build_optimizer`.
      gradient: a pytree as the weights.
      before: the weights before the step.
      step: see `move_average`.
      decay: see `move_average`.
    """
    params, restore = ravel_pytree(before.params)
    structure = jax.tree.structure(before.params)

    def is_weights(tree: Any) -> bool:
        return jax.tree.structure(tree) == structure

    def joined(tree: Any) -> Any:
        join = lambda part: ravel_pytree(part)[0] if is_weights(part) else part  # noqa: E731
        return jax.tree.map(join, tree, is_leaf=is_weights)

    updates, memory = optimizer.update(joined(gradient), joined(before.memory), params)
    params = jnp.asarray(optax.apply_updates(params, updates))
    average = move_average(joined(before.average), params, step, decay)
    part = lambda old, new: restore(new) if is_weights(old) else new  # noqa: E731
    memory = jax.tree.map(part, before.memory, memory, is_leaf=is_weights)
    return Weights(restore(params), restore(average), memory)


def move_average(average: Any, params: Any, step: jax.Array, decay: float) -> Any:
    """The exponential moving average of the weights after one more step.

    Args:
      average: before the step; a pytree as `params`.
      params: the weights after it.
      step: number of the step, from 1, shape ().
      decay: weight of the old average.  In the first steps it is at most
        step / (step + `AVERAGE_WARM_UP`), so that the average soon forgets the random weights.
        (The debiasing of `optax.ema` assumes a start at 0, and a state tree of its own.)
    """
    decay_now = jnp.minimum(decay, step / (step + AVERAGE_WARM_UP)).astype(jnp.float32)
    return optax.incremental_update(params, average, 1 - decay_now)
