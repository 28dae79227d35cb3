"""Steps of AdamW whose result is the moving average of the weights, for the small networks.

Those of `form_training` and `picture_training`; the networks for shift and focal length have the
settings of `recipe`.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

LEARNING_RATE, WARM_UP, LAST_RATE = 2e-3, 100, 1e-5
"""Of AdamW: the peak rate, the steps of the warm-up (half of a shorter training), and the last rate
of the cosine.  Chosen."""

WEIGHT_DECAY = 1e-3
"""Of AdamW, per step and unit of learning rate.  Chosen."""

LARGEST_GRADIENT = 1.0
"""Global norm that gradients are clipped to.  Chosen."""

AVERAGE_DECAY = 0.998
"""Of the moving average of the weights, the result of the training.  Chosen."""


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


def begin(params: Any, steps: int) -> State:
    """The state before the first of so many steps, which begin with these weights."""
    average = jax.tree.map(jnp.copy, params)  # buffers of its own: a step donates all of them
    return State(params, average, optimiser(steps).init(params))


def update(state: State, gradient: Any, steps: int) -> State:
    """The state after a step along a gradient, of so many in all."""
    updates, memory = optimiser(steps).update(gradient, state.optimiser, state.params)
    params = optax.apply_updates(state.params, updates)
    average = optax.incremental_update(params, state.average, 1 - AVERAGE_DECAY)
    return State(params, average, memory)
