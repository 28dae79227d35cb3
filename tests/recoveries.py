"""Maps and helpers that tests of recovery share."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from box_rooms import box_room
from tiny import with_clouds

from train3d_jax.evidence import solver, targets
from train3d_jax.geometry import affine
from train3d_jax.inference import estimation, predictor
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
    place = ((values - low) / (high - low) * targets.BINS)[:, None]
    number = jnp.floor(place)
    part, away = place - number, jnp.arange(targets.BINS) - number
    below, above = 0.5 * (1 - part) * (away == -1), 0.5 * part * (away == 1)
    return jnp.log(1e-12 + 0.5 * (away == 0) + below + above)


def maps_in(space):
    return MAPS if space == "depth" else [1 / values for values in MAPS]


@functools.partial(jax.jit, static_argnames="space")
def solve(blocks, focal, space):
    canonical = affine.canonicalise(blocks.values, blocks.mask)
    return solver.solve(blocks, canonical, space, jnp.full_like(focal, jnp.nan), focal)


def solved(maps, space, focal=(np.nan, np.nan, np.nan)):
    """What geometry makes of three maps: computed once, and not in every program of networks."""
    return solve(inference.make_blocks(maps), np.float32(focal), space)


class Oracle:
    """Stands in for the compiled networks: answers rightly where it is shown what it needs.

    A network that knows the shift (or focal length) is right where it is given the true one, and
    far off elsewhere.

    Args:
      space: of the maps.
      geometry: what geometry is to make of them, of `solved`.
    """

    def __init__(self, space, geometry):
        self.geometry = geometry
        blocks = inference.make_blocks(maps_in(space))
        near, far = np.quantile(blocks.values.astype(float), [0.02, 0.98], axis=1)
        # Of true values the canonical form is 0.5 (v - near) / (far - near) + 0.5.
        self.shift = 0.5 * near / (far - near) - 0.5
        self.metres = far if space == "depth" else 1 / far
        self.canonical = affine.canonicalise(blocks.values, blocks.mask).values
        self.calls = []

    def stand_in(self, monkeypatch):
        """Has programs use it; they are traced each time, as what it answers may have changed."""
        monkeypatch.setattr(predictor, "_predictor", self.predictor)
        monkeypatch.setattr(estimation.solver, "solve", self.solve)
        monkeypatch.setattr(
            estimation,
            "program",
            lambda setup, _: jax.jit(functools.partial(estimation.estimate, setup)),
        )

    def numbers(self, canonical):
        """Which of the maps each of a batch is."""
        off = canonical.values[:, None] - self.canonical
        return (off**2).sum(-1).argmin(-1)

    def solve(self, blocks, canonical, *_, **__):
        return jax.tree.map(lambda of_maps: of_maps[self.numbers(canonical)], self.geometry)

    def predictor(self, config, *_):
        def run(params, batch, fit, shift, focal):
            settings = config.clouds
            self.calls.append(config.heads)
            maps = self.numbers(batch.canonical)
            true_shift, true_focal, true_metres = (
                jnp.asarray(of_maps)[maps] for of_maps in (self.shift, FOCALS, self.metres)
            )
            assumed = jnp.full(len(maps), 96 / 2 / np.tan(np.radians(30)))
            if settings.focal_known and focal is not None:
                assumed = focal
            right = jnp.ones(len(maps), bool)
            if settings.shift_known:
                right &= jnp.isclose(shift, true_shift, rtol=1e-2, atol=1e-2)
            if settings.focal_known:
                right &= jnp.isclose(assumed, true_focal, rtol=1e-2)
            quantities = {
                "shift": affine.shift_to_ratio(true_shift),
                "focal": jnp.log(true_focal / assumed),
                "scale": jnp.log(true_metres),
            }
            medians = {
                head: jnp.where(right, quantities[head], 0.5 * quantities[head] + 0.2)
                for head in config.heads
            }
            metres = true_metres if "scale" in config.heads else None
            logs = {head: posterior_about(value, head) for head, value in medians.items()}
            return predictor._Prediction(medians, logs, assumed, metres)

        return run


def network(targets, space="depth", **clouds):
    return Model(
        f"n{targets}", dataclasses.replace(with_clouds(space=space, **clouds), targets=targets), {}
    )
