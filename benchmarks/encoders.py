"""The encoders under one budget: error, parameters, and time for a map.

    python -m benchmarks.encoders --data demo/prepared --minutes 3

Each is trained for the same time, compiling left out, on the same maps with the same augmentation,
and validated on the same unseen scenes, clean and with 1 % of noise.  The learning rate falls with
the time that is left, so that each has a whole training.  Constants are what knows nothing.
"""

import itertools
import time
from typing import Any

import jax
import numpy as np
from absl import app, flags, logging

from data.loading import pipeline, splits
from data.prepared.prepared_set import PreparedSet
from train3d_jax.geometry import metrics
from train3d_jax.geometry.clouds import CloudSettings
from train3d_jax.training import trainer
from train3d_jax.training.config import TrainingConfig
from train3d_jax.training.validation import make_evaluation, validate

_DATA = flags.DEFINE_string("data", "demo/prepared", "A prepared set.")
_MINUTES = flags.DEFINE_float("minutes", 3.0, "Of training for each encoder.")

ENCODERS = {
    "surfaces": CloudSettings(num_points=0, voxel_size=0.0),
    "points": CloudSettings(),
    "serial": CloudSettings(),
}
BATCH = 16
NOISE = 0.01
ROUNDS = 10
"""Timed passes over one batch; the median is printed."""


def main(_: list[str]) -> None:
    """Prints a table."""
    logging.set_verbosity(logging.WARNING)  # jax logs every kind of device that is not there
    prepared = PreparedSet(_DATA.value)
    train_part, validation_part = splits.split_sets([prepared], 0.9, seed=0)
    clean = list(pipeline.validation_batches(validation_part, BATCH, "depth"))
    rng = np.random.default_rng(0)
    noisy = [
        {**b, "values": b["values"] * (1 + NOISE * rng.normal(size=b["values"].shape))}
        for b in clean
    ]
    noisy = [{**b, "values": np.float32(b["values"])} for b in noisy]
    heads = ("parameters", "steps", "ms a map", "field of view, clean", "1 % noise",
             "shift, clean", "1 % noise")  # fmt: skip
    widths = (12, 8, 10, 22, 20, 20, 20)
    print(" " * 10 + "".join(f"{head:>{width}}" for head, width in zip(heads, widths, strict=True)))
    for name, clouds in ENCODERS.items():
        config = TrainingConfig((0, 2), clouds, BATCH, encoder=name)
        params, steps = train(config, train_part)
        evaluate = make_evaluation(config)
        count = sum(leaf.size for leaf in jax.tree.leaves(params))
        summaries = [validate(evaluate, params, batches).summary for batches in (clean, noisy)]
        cells = [
            f"{one[key]:.{digits}f} / {one['median_' + key]:.{digits}f}"
            for key, digits in (("fov_error_deg", 1), ("shift_error", 4))
            for one in summaries
        ]
        taken = 1e3 * time_of(evaluate, params, clean[0])
        cells = [f"{count:,}", f"{steps}", f"{taken:.1f}", *cells]
        row = "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        print(f"{name:10}{row}", flush=True)
    print(constants(clean))


def train(config: TrainingConfig, part: Any) -> tuple[Any, int]:
    """The averaged weights after the budget, and the steps that fitted into it."""
    budget = 60 * _MINUTES.value
    batches = iter(pipeline.training_batches(part, None, BATCH, "depth", 0, num_workers=0))
    # The rate of the first steps gives the number of steps.
    probe = trainer.make_train_step(config, 1000)
    state, _ = probe(trainer.initial_state(config, 1000), next(batches))
    start = time.perf_counter()
    for batch in itertools.islice(batches, 5):
        state, row = probe(state, batch)
    jax.block_until_ready(row)
    total = max(int(budget / (time.perf_counter() - start) * 5), 10)
    step = trainer.make_train_step(config, total)
    state, _ = step(trainer.initial_state(config, total), next(batches))
    start, steps = time.perf_counter(), 1
    while steps < total and time.perf_counter() - start < budget:
        state, row = step(state, next(batches))
        jax.block_until_ready(row)
        steps += 1
    return state.average, steps


def time_of(evaluate: Any, params: Any, batch: Any) -> float:
    """Seconds a map, clouds and posteriors, in a batch."""
    jax.block_until_ready(evaluate(params, batch).errors)
    taken = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        jax.block_until_ready(evaluate(params, batch).errors)
        taken.append(time.perf_counter() - start)
    return float(np.median(taken)) / BATCH


def constants(batches: list[Any]) -> str:
    """What the best constants in hindsight leave of the field of view."""
    focal, height = (
        np.concatenate([b[key] if key == "focal" else b[key][:, 0] for b in batches])
        for key in ("focal", "size")
    )
    best = np.median(focal / height) * height
    error = np.asarray(metrics.fov_error(best, focal, height))
    return f"{'constant':10}{error.mean():42.1f} / {np.median(error):.1f}"


if __name__ == "__main__":
    app.run(main)
