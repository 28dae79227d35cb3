"""Trains the network of `forms` on rendered maps, damaged as elsewhere, in all four forms."""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from train3d_jax.geometry import points
from train3d_jax.geometry.affine import Space
from train3d_jax.geometry.clouds import Blocks
from train3d_jax.networks import forms
from train3d_jax.training import augmentation

LEARNING_RATE, WARM_UP, LAST_RATE = 2e-3, 100, 1e-5
"""Of AdamW: the highest rate, steps until it is reached (half of a shorter training), and the rate
after the cosine.  Chosen."""

WEIGHT_DECAY = 1e-3
LARGEST_GRADIENT = 1.0

AVERAGE_DECAY = 0.998
"""Of the running mean of the weights, which is what the training gives."""

AUGMENTATION_STRENGTH = 1.5
"""As for the depth weights (`launch.weights.RECIPES`)."""

TURNED_SHARE = 0.1
"""Maps that are turned by a quarter or upside down: phones are held so, and drones."""


class State(NamedTuple):
    """Weights, their running mean, and the optimiser's state."""

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


def initial_state(key: jax.Array, steps: int) -> State:
    """Random weights."""
    count = points.BLOCKS[0] * points.BLOCKS[1]
    channels = forms.channels_of(jnp.zeros((1, count)), jnp.zeros((1, count), bool))
    params = forms.FormNetwork().init(key, channels)
    average = jax.tree.map(jnp.copy, params)  # buffers of its own: a step donates all of them
    return State(params, average, optimiser(steps).init(params))


def examples(
    key: jax.Array, batches: Mapping[Space, Mapping[str, Any]]
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Damages maps, swaps near and far in half of them, and turns some.

    Args:
      key: random key.
      batches: maps averaged over blocks as depth and as disparity, as the loader does: the two
        differ at edges.

    Returns:
      Values and mask of blocks, shapes (B, P), and the number of each map's form, shape (B,).
    """
    values, masks, numbers = [], [], []
    for number, (space, batch) in enumerate(batches.items()):
        keys = jax.random.split(jax.random.fold_in(key, number), 3)
        fields = (batch[name] for name in ("pixels", "values", "mask", "size", "centre"))
        blocks = augmentation.augment(
            keys[0], Blocks(*fields), augmentation.KINDS, AUGMENTATION_STRENGTH, space
        )
        inverted = jax.random.bernoulli(keys[1], shape=(len(blocks.size), 1))
        images = jnp.where(inverted, -blocks.values, blocks.values), jnp.asarray(blocks.mask)
        images = [image.reshape(-1, *points.BLOCKS) for image in images]
        turned = jax.random.uniform(keys[2], (len(inverted), 1, 1)) / TURNED_SHARE
        for turn in (1, 2, 3):
            chosen = (turned >= (turn - 1) / 3) & (turned < turn / 3)
            images = [jnp.where(chosen, jnp.rot90(image, turn, (1, 2)), image) for image in images]
        values.append(images[0].reshape(len(inverted), -1))
        masks.append(images[1].reshape(len(inverted), -1))
        upright, swapped = (forms.FORMS.index(form) for form in forms.forms_of(space))
        numbers.append(jnp.where(inverted[:, 0], swapped, upright))
    return jnp.concatenate(values), jnp.concatenate(masks), jnp.concatenate(numbers)


@functools.partial(jax.jit, static_argnames="steps", donate_argnums=0)
def train_step(
    state: State, key: jax.Array, batches: Mapping[Space, Mapping[str, Any]], steps: int
) -> tuple[State, jax.Array, jax.Array]:
    """One step; also the mean cross-entropy in nats, and the share of maps that come out right."""
    values, mask, form = examples(key, batches)
    channels = jax.lax.stop_gradient(forms.channels_of(values, mask))

    def loss(params) -> tuple[jax.Array, jax.Array]:
        logits: Any = forms.FormNetwork().apply(params, channels)
        lost = optax.softmax_cross_entropy_with_integer_labels(logits, form).mean()
        return lost, (logits.argmax(-1) == form).mean()

    (lost, right), gradient = jax.value_and_grad(loss, has_aux=True)(state.params)
    updates, rest = optimiser(steps).update(gradient, state.optimiser, state.params)
    params = optax.apply_updates(state.params, updates)
    average = optax.incremental_update(params, state.average, 1 - AVERAGE_DECAY)
    return State(params, average, rest), lost, right


def fitted_temper(log_likelihood: np.ndarray, form: np.ndarray) -> float:
    """The factor on log-likelihoods, (N, 4), under which the true forms, (N,), are likeliest."""
    factors = np.linspace(0.2, 1.5, 131)

    def likelihood(factor: float) -> float:
        scaled = factor * log_likelihood
        chosen = np.take_along_axis(scaled, form[:, None], 1)[:, 0]
        return float((chosen - np.logaddexp.reduce(scaled, 1)).mean())

    return float(factors[np.argmax([likelihood(factor) for factor in factors])])
