"""The size of each large program that JAX compiles, and the check that none grows unnoticed.

    python -m benchmarks.sizes [--record]

The time to compile grows with the size of a program; size, unlike time, is the same on every
machine.  It is the number of operations of the StableHLO that a program is lowered to.  Programs
are lowered for a CPU and not compiled: 30 s of CPU for all.

Recovery and forms are lowered for one map.  Programs for 16 maps have 0.1 to 1.2 % more operations:
the number of maps is a size of arrays.
"""

import collections
import functools
import json
import multiprocessing
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import app, flags

from benchmarks.measuring import Row, row
from benchmarks.operations import room_like
from train3d_jax.evidence import solver
from train3d_jax.evidence.fusion import Method
from train3d_jax.files import write_whole
from train3d_jax.geometry.affine import Space
from train3d_jax.geometry.clouds import CloudSettings
from train3d_jax.inference import estimation, recovery
from train3d_jax.inference.models import load_model
from train3d_jax.lines.segments import Segments, none, stacked
from train3d_jax.networks import forms
from train3d_jax.storage import weights
from train3d_jax.training import trainer, validation
from train3d_jax.training.config import TrainingConfig

RECORD = Path(__file__).with_name("sizes.json")
GROWTH = 1.2
"""Size over the recorded one up to which a program may grow."""

SPACES: tuple[Space, ...] = ("depth", "disparity")
STEPS = 1000  # of the training; the size does not depend on it

_NOT_COUNTED = {"func.call", "func.return", "stablehlo.return", "stablehlo.constant"}
_RECORD = flags.DEFINE_bool("record", False, "Record the sizes in place of checking them.")


def rows() -> list[Row]:
    """The size of each program."""
    return [
        row(f"size: {name}", np.array([size]), "operations", None, better="less")
        for name, size in measure().items()
    ]


def measure() -> dict[str, int]:
    """The size of each program by name, measured in processes that have only a CPU."""
    with ProcessPoolExecutor(len(SPACES), multiprocessing.get_context("spawn")) as pool:
        depth, disparity = pool.map(_measure, SPACES)
    return depth | disparity


def grown(now: Mapping[str, int], record: Mapping[str, Any]) -> list[str]:
    """A line for each program that has grown beyond `GROWTH`, or has no recorded size.

    Args:
      now: sizes by name.
      record: `jax`, the version that sizes were recorded with, and `operations`, sizes by name.
    """
    lines = []
    versions = f"recorded with jax {record['jax']}; this is jax {jax.__version__}"
    way_out = "python -m benchmarks.sizes --record"
    for name, size in now.items():
        before = record["operations"].get(name)
        if before is None:
            lines.append(f"{name}: {size:,} operations, no size is recorded; use {way_out}")
        elif size > GROWTH * before:
            lines.append(
                f"{name}: {size:,} operations, {size / before - 1:.0%} more than the {before:,} "
                f"{versions}; use jax.lax.scan or jax.vmap where Python loops, or accept with "
                f"{way_out}"
            )
    return lines


def operations(lowered: jax.stages.Lowered) -> int:
    """The number of operations of a program without constants.

    The body of a loop counts once.  A function counts at each of its calls, for XLA inlines them.
    """
    module: Any = lowered.compiler_ir("stablehlo")
    functions = {
        function.operation.attributes["sym_name"].value: _names(function.operation)
        for function in module.body.operations
    }

    @functools.cache
    def size(function: str) -> int:
        own, called = functions[function]
        return own + sum(count * size(name) for name, count in called.items())

    return size("main")


def _names(operation: Any) -> tuple[int, collections.Counter[str]]:
    """The number of operations within one, and how often it calls each function."""
    count, called = 0, collections.Counter()
    blocks = [block for region in operation.regions for block in region.blocks]
    for inner in (each.operation for block in blocks for each in block.operations):
        if inner.name == "func.call":
            called[inner.attributes["callee"].value] += 1
        deeper, calls = _names(inner)
        count += deeper + (inner.name not in _NOT_COUNTED)
        called += calls
    return count, called


def _measure(space: Space) -> dict[str, int]:
    jax.config.update("jax_platforms", "cpu")
    return {name: operations(lower()) for name, lower in _programs(space).items()}


def _programs(space: Space) -> dict[str, Callable[[], jax.stages.Lowered]]:
    """How each program of a space is lowered, by name; forms know no space."""
    recovery = functools.partial(_recovery, estimation.estimate, space)
    each = {
        "recovery, learned": functools.partial(recovery, "learned"),
        "recovery with lines, learned": functools.partial(recovery, "learned", stacked([none()])),
        "recovery, geometric": functools.partial(recovery, "geometric"),
        "training step": functools.partial(_training_step, space),
        "validation": functools.partial(_validation, space),
        "scores of the viewer": functools.partial(_scores, space),
    }
    programs = {f"{name}, {space}": lower for name, lower in each.items()}
    return {"forms": _forms, **programs} if space == "depth" else programs


def _recovery(
    function: Callable[..., dict[Any, Any]],
    space: Space,
    method: Method,
    segments: Segments | None = None,
) -> jax.stages.Lowered:
    models = [load_model(space=space)] if method == "learned" else []
    run = functools.partial(function, recovery.setup_of(models, method, space))
    params = [model.params for model in models]
    return jax.jit(run).lower(params, _blocks(1), recovery.Known().values(1), segments)


def _forms() -> jax.stages.Lowered:
    blocks, model = _blocks(1), weights.form_model()
    return jax.jit(forms.log_likelihood).lower(model, blocks.values, blocks.mask)


def _scores(space: Space) -> jax.stages.Lowered:
    return jax.jit(functools.partial(solver.scores, space=space)).lower(_blocks(1))


def _training_step(space: Space) -> jax.stages.Lowered:
    config, params, batch = _training(space)
    state = trainer.initial_state(config, STEPS, params)
    return jax.jit(trainer.train_step(config, STEPS)).lower(state, batch)


def _validation(space: Space) -> jax.stages.Lowered:
    config, params, batch = _training(space)
    weight = np.ones(config.batch_size, np.float32)
    evaluate: Any = validation.make_evaluation(config)
    return evaluate.lower(params, {**batch, "weight": weight})


def _training(space: Space) -> tuple[TrainingConfig, Any, dict[str, Any]]:
    """The default configuration, weights of its network, and a batch."""
    config = TrainingConfig(clouds=CloudSettings(space=space))
    _, _, params, _ = weights.load(weights.bundled(space))
    count = config.batch_size
    batch = {**_blocks(count)._asdict(), "focal": np.full(count, 500, np.float32)}
    return config, params, batch


@functools.cache
def _blocks(count: int) -> Any:
    return recovery.make_blocks([room_like(np.random.default_rng(0))] * count)


def main(_: list[str]) -> None:
    """Records the sizes, or prints them and fails where one has grown too much."""
    now = measure()
    if _RECORD.value:
        record = {"jax": jax.__version__, "operations": now}
        write_whole(RECORD, (json.dumps(record, indent=2) + "\n").encode())
    record = json.loads(RECORD.read_text())
    for name, size in now.items():
        print(f"{name:36}{size:8,} operations, {record['operations'].get(name, 0):,} recorded")
    if lines := grown(now, record):
        raise SystemExit("\n".join(lines))


if __name__ == "__main__":
    app.run(main)
