"""Trains the network of `networks.forms` on prepared sets and packs its weights."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from data.loading.pipeline import training_batches
from data.loading.splits import split_sets
from data.prepared.prepared_set import PreparedSet
from launch import compiled
from train3d_jax import __version__
from train3d_jax.evidence.forms import Model
from train3d_jax.geometry.affine import NETWORK_SPACES, Space
from train3d_jax.networks.forms import log_likelihood
from train3d_jax.storage import weights
from train3d_jax.training import form_training

TRAIN_SPLIT = 0.95
"""Share of the samples to train on; chosen, as all numbers here."""

BATCH = 32
"""Maps as depth, and as many as disparity, in a step."""

VALIDATION_BATCHES = 30
SHOWN_EVERY = 100
"""Steps between two updates of the progress bar."""

SEED = 0


def make(sets: Sequence[Path], out: Path, steps: int) -> None:
    """Trains on prepared sets and packs the weights; it does not resume.

    Args:
      sets: folders of prepared sets.
      out: folder for the weights.
      steps: of training.
    """
    compiled.start()
    training, validation = split_sets([PreparedSet(path) for path in sets], TRAIN_SPLIT, SEED)
    key = jax.random.key(SEED)
    state = form_training.initial_state(jax.random.fold_in(key, steps), steps)
    losses, shares = [], []
    with tqdm(total=steps, desc="training", unit="step") as bar:
        for step, batches in enumerate(itertools.islice(_batches(training), steps)):
            state, loss, right = form_training.train_step(
                state, jax.random.fold_in(key, step), batches, steps
            )
            losses.append(loss)
            shares.append(right)
            bar.update()
            if len(losses) == SHOWN_EVERY:
                bar.set_postfix(loss=f"{np.mean(losses):.3f}", right=f"{np.mean(shares):.3f}")
                losses, shares = [], []
    seen, true = _validated(Model(state.average, 1.0), validation, jax.random.key(SEED + 1))
    temper = form_training.fitted_temper(seen, true)
    contents = {
        "version": __version__,
        "steps": steps,
        "batch": 2 * BATCH,
        "samples": [sum(map(len, part)) for part in (training, validation)],
        "validation_right": float((seen.argmax(-1) == true).mean()),
        "temper": temper,
    }
    weights.write(out, state.average, contents)
    right = contents["validation_right"]
    print(f"{out}: packed; {right:.1%} of validation maps are classified correctly")


def _batches(subsets: Sequence[Any]) -> Iterator[dict[Space, dict[str, np.ndarray]]]:
    """Batches of maps averaged as depth, and of others averaged as disparity."""
    streams: dict[Space, Any] = {
        space: training_batches(subsets, None, BATCH, space, SEED + number, num_workers=0)
        for number, space in enumerate(NETWORK_SPACES)
    }
    for batches in zip(*streams.values(), strict=True):
        yield dict(zip(streams, batches, strict=True))


def _validated(
    model: Model, subsets: Sequence[Any], key: jax.Array
) -> tuple[np.ndarray, np.ndarray]:
    """Log-likelihoods of damaged validation maps, (N, 4), and the numbers of their forms, (N,)."""
    seen, true = [], []
    examples = jax.jit(form_training.examples)
    for number, batches in enumerate(itertools.islice(_batches(subsets), VALIDATION_BATCHES)):
        values, mask, form = examples(jax.random.fold_in(key, number), batches)
        seen.append(log_likelihood(model, values, mask))
        true.append(form)
    return np.concatenate(seen), np.concatenate(true)
