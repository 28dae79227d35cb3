"""Optimiser, learning rate, and the moving average of the weights, which inference uses.

All of optax; the weights' average is a field of `trainer.TrainState`, not of the optimiser's state,
so that a checkpoint keeps it apart under the name `params`.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

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
