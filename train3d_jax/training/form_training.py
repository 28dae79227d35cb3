"""Trains the network of `forms` on rendered maps with augmentation, in all four forms."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from train3d_jax.evidence import forms
from train3d_jax.geometry import points
from train3d_jax.geometry.affine import Space
from train3d_jax.geometry.clouds import Blocks
from train3d_jax.networks.forms import FormNetwork, channels_of
from train3d_jax.training import augmentation, averaged_steps
from train3d_jax.training.averaged_steps import State
from train3d_jax.training.choices import KINDS

AUGMENTATION_STRENGTH = 1.5
"""As for the depth weights (`launch.weights.RECIPES`)."""

ROTATED_SHARE = 0.1
"""Share of the maps rotated by 90, 180 or 270 degrees, as of phones and drones.  Chosen."""


def initial_state(key: jax.Array, steps: int) -> State:
    """Random weights."""
    count = points.BLOCKS[0] * points.BLOCKS[1]
    channels = channels_of(jnp.zeros((1, count)), jnp.zeros((1, count), bool))
    params = FormNetwork().init(key, channels)
    return averaged_steps.begin(params, steps)


def examples(
    key: jax.Array, batches: Mapping[Space, Mapping[str, Any]]
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Augments maps, swaps near and far in half of them, and rotates some.

    Args:
      key: random key.
      batches: the loader's maps averaged over blocks, in depth and in disparity; the two differ at
        edges.

    Returns:
      Values and mask of blocks, shapes (B, P), and the number of each map's form, shape (B,).
    """
    values, masks, numbers = [], [], []
    for number, (space, batch) in enumerate(batches.items()):
        keys = jax.random.split(jax.random.fold_in(key, number), 3)
        fields = (batch[name] for name in ("pixels", "values", "mask", "size", "centre"))
        blocks = augmentation.augment(keys[0], Blocks(*fields), KINDS, AUGMENTATION_STRENGTH, space)
        inverted = jax.random.bernoulli(keys[1], shape=(len(blocks.size), 1))
        images = jnp.where(inverted, -blocks.values, blocks.values), jnp.asarray(blocks.mask)
        images = [image.reshape(-1, *points.BLOCKS) for image in images]
        rotated = jax.random.uniform(keys[2], (len(inverted), 1, 1)) / ROTATED_SHARE
        for quarters in (1, 2, 3):
            chosen = (rotated >= (quarters - 1) / 3) & (rotated < quarters / 3)
            images = [
                jnp.where(chosen, jnp.rot90(image, quarters, (1, 2)), image) for image in images
            ]
        values.append(images[0].reshape(len(inverted), -1))
        masks.append(images[1].reshape(len(inverted), -1))
        upright, swapped = (forms.FORMS.index(form) for form in forms.forms_of(space))
        numbers.append(jnp.where(inverted[:, 0], swapped, upright))
    return jnp.concatenate(values), jnp.concatenate(masks), jnp.concatenate(numbers)


@functools.partial(jax.jit, static_argnames="steps", donate_argnums=0)
def train_step(
    state: State, key: jax.Array, batches: Mapping[Space, Mapping[str, Any]], steps: int
) -> tuple[State, jax.Array, jax.Array]:
    """One step; also the mean cross-entropy in nats, and the accuracy."""
    values, mask, form = examples(key, batches)
    channels = jax.lax.stop_gradient(channels_of(values, mask))

    def loss(params) -> tuple[jax.Array, jax.Array]:
        logits: Any = FormNetwork().apply(params, channels)
        cross_entropy = optax.softmax_cross_entropy_with_integer_labels(logits, form).mean()
        return cross_entropy, (logits.argmax(-1) == form).mean()

    (cross_entropy, accuracy), gradient = jax.value_and_grad(loss, has_aux=True)(state.params)
    return averaged_steps.update(state, gradient, steps), cross_entropy, accuracy


def fitted_temper(log_likelihood: np.ndarray, form: np.ndarray) -> float:
    """The maximum-likelihood factor on log-likelihoods, (N, 4), given the true forms, (N,)."""
    factors = np.linspace(0.2, 1.5, 131)

    def likelihood(factor: float) -> float:
        scaled = factor * log_likelihood
        chosen = np.take_along_axis(scaled, form[:, None], 1)[:, 0]
        return float((chosen - np.logaddexp.reduce(scaled, 1)).mean())

    return float(factors[np.argmax([likelihood(factor) for factor in factors])])
