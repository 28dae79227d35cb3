"""Maps and helpers that tests of recovery share."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from box_rooms import box_room
from tiny import with_clouds

from train3d_jax.evidence import targets
from train3d_jax.geometry import affine
from train3d_jax.inference import predictor
from train3d_jax.inference import recovery as inference
from train3d_jax.inference.models import Model


def noisy_room(seed):
    """Half a percent of noise, as sensors have: on planes without any, rounding is all there is to
    see of a fit's residual."""
    true, _ = box_room(seed)
    noise = np.random.default_rng(seed).normal(0, 0.005, true.shape)
    return (true * (1 + noise)).astype(np.float32)


NOTHING_KNOWN = inference.Known()


METHODS = ("learned", "geometric")


every_method = pytest.mark.parametrize("method", METHODS)


MAPS = [noisy_room(seed) for seed in range(3)]


FOCALS = np.array([box_room(seed)[1][0, 0] for seed in range(3)])


def estimated(maps):
    """By geometry, of any number of maps, three at a time: other sizes would be compiled too."""
    count, parts = len(maps), []
    maps = [*maps, *[maps[0]] * (-count % len(MAPS))]
    for first in range(0, len(maps), len(MAPS)):
        blocks = inference.make_blocks(maps[first : first + len(MAPS)])
        parts.append(inference.recover_blocks([], blocks, NOTHING_KNOWN, "geometric", "depth"))
    return jax.tree.map(lambda *part: np.concatenate(part)[:count], *parts)


# How networks work together, with networks that know the truth but need what their settings say.


def posterior_about(values, target):
    """Log-probabilities whose medians are these values: half in the value's own bin, the rest so
    divided between the bins beside it that half of all lies below the value."""
    low, high = targets.RANGES[target]
    place = (np.asarray(values, float) - low) / (high - low) * targets.BINS
    probability = np.full((len(place), targets.BINS), 1e-12)
    for row, number in zip(probability, place.astype(int), strict=True):
        row[number] = 0.5
    part = place - place.astype(int)
    rows = np.arange(len(place))
    probability[rows, place.astype(int) - 1] = 0.5 - 0.5 * part
    probability[rows, place.astype(int) + 1] = 0.5 * part
    return jnp.log(jnp.asarray(probability, jnp.float32))


class Oracle:
    """Stands in for the compiled networks: answers rightly where it is shown what it needs.

    A network that knows the shift (or focal length) is right where it is given the true one, and
    far off elsewhere.
    """

    def __init__(self, space):
        values = MAPS if space == "depth" else [1 / values for values in MAPS]
        blocks = inference.make_blocks(values)
        near, far = np.quantile(blocks.values.astype(float), [0.02, 0.98], axis=1)
        # Of true values the canonical form is 0.5 (v - near) / (far - near) + 0.5.
        self.shift = 0.5 * near / (far - near) - 0.5
        self.metres = far if space == "depth" else 1 / far
        self.calls = []

    def predictor(self, config, *_):
        def run(params, batch, fit, shift, focal):
            settings = config.clouds
            self.calls.append(config.heads)
            assumed = jnp.full(3, 96 / 2 / np.tan(np.radians(30)))
            if settings.focal_known and focal is not None:
                assumed = focal
            right = jnp.ones(3, bool)
            if settings.shift_known:
                right &= jnp.isclose(shift, self.shift, rtol=1e-2, atol=1e-2)
            if settings.focal_known:
                right &= jnp.isclose(assumed, FOCALS, rtol=1e-2)
            quantities = {
                "shift": affine.shift_to_ratio(self.shift),
                "focal": jnp.log(FOCALS / assumed),
                "scale": jnp.log(self.metres),
            }
            medians = {
                head: jnp.where(right, quantities[head], 0.5 * quantities[head] + 0.2)
                for head in config.heads
            }
            metres = jnp.asarray(self.metres) if "scale" in config.heads else None
            logs = {head: posterior_about(value, head) for head, value in medians.items()}
            return predictor._Prediction(medians, logs, assumed, metres)

        return run


def network(targets, space="depth", **clouds):
    return Model(
        f"n{targets}", dataclasses.replace(with_clouds(space=space, **clouds), targets=targets), {}
    )
