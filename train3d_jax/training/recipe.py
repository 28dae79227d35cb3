"""How weights move: optimiser, learning rate, and the moving average that inference uses."""

from typing import Any, Literal, Protocol

import jax
import jax.numpy as jnp
import optax

Optimizer = Literal["adamw", "sgd"]
Schedule = Literal["linear", "cosine"]

WEIGHT_DECAY = 1e-4
"""Of AdamW, a step and unit of learning rate."""

SECOND_MOMENT_DECAY = 0.98
"""Of AdamW; optax's 0.999 looks back further than a short training lasts."""

MOMENTUM = 0.9
"""Of SGD."""


class Recipe(Protocol):
    """What this module needs of a `training.TrainingConfig`; its attributes are described there."""

    @property
    def optimizer(self) -> Optimizer: ...  # noqa: D102
    @property
    def learning_rate(self) -> float: ...  # noqa: D102
    @property
    def learning_rate_decay(self) -> float: ...  # noqa: D102
    @property
    def schedule(self) -> Schedule: ...  # noqa: D102
    @property
    def warmup_steps(self) -> int: ...  # noqa: D102
    @property
    def clip_norm(self) -> float: ...  # noqa: D102


def learning_rate(recipe: Recipe, total_steps: int) -> optax.Schedule:
    """From 0 up to the learning rate, then along a line or a half cosine down to its last share.

    In a run shorter than twice the warm-up, the warm-up is the first half of it.
    """
    warmup = min(recipe.warmup_steps, total_steps // 2)
    falling_steps = max(total_steps - warmup, 1)
    if recipe.schedule == "linear":
        last = recipe.learning_rate * recipe.learning_rate_decay
        falling = optax.linear_schedule(recipe.learning_rate, last, falling_steps)
    else:
        falling = optax.cosine_decay_schedule(
            recipe.learning_rate, falling_steps, recipe.learning_rate_decay
        )
    rising = optax.linear_schedule(0.0, recipe.learning_rate, max(warmup, 1))
    return optax.join_schedules([rising, falling], [warmup])


def build_optimizer(recipe: Recipe, total_steps: int) -> optax.GradientTransformation:
    """AdamW, or SGD with momentum as the original, on gradients clipped by their global norm."""
    rate = learning_rate(recipe, total_steps)
    if recipe.optimizer == "adamw":
        steps = optax.adamw(rate, b2=SECOND_MOMENT_DECAY, weight_decay=WEIGHT_DECAY)
    else:
        steps = optax.sgd(rate, MOMENTUM)
    if not recipe.clip_norm:
        return steps
    return optax.chain(optax.clip_by_global_norm(recipe.clip_norm), steps)


def move_average(average: Any, params: Any, step: jax.Array, decay: float) -> Any:
    """The exponential moving average of weights after one more step.

    Args:
      average: so far; a pytree as `params`.
      params: the weights now.
      step: number of this step, from 1, shape ().
      decay: share of the old average that stays; in the first steps less stays, at most
        step / (step + 9), so that the random weights at the beginning are soon forgotten.
    """
    stays = jnp.minimum(decay, step / (step + 9.0)).astype(jnp.float32)
    return jax.tree.map(lambda old, new: new + stays * (old - new), average, params)
