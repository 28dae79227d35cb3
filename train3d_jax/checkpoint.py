"""Runs on disk: `config.json` and orbax checkpoints.  The only module that imports orbax.

<run>/config.json    what was trained, and what inference must do the same way
<run>/checkpoints/   the latest checkpoint and the one with the lowest validation loss
"""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
from orbax.checkpoint import v1 as ocp

from train3d_jax import __version__
from train3d_jax.clouds import CloudSettings
from train3d_jax.errors import UserError
from train3d_jax.files import write_whole
from train3d_jax.training import Batch, TrainingConfig, TrainState, build_encoder

CONFIG = "config.json"
CHECKPOINTS = "checkpoints"


class Checkpoints:
    """The checkpoints of one run; a context manager, because orbax saves in the background."""

    def __init__(self, run: Path):
        policies = ocp.training.preservation_policies
        best = policies.BestN(get_metric_fn=lambda row: row["loss"], reverse=True, n=1)
        kept = policies.AnyPreservationPolicy([policies.LatestN(1), best])
        self._orbax = ocp.training.Checkpointer(
            str((run / CHECKPOINTS).resolve()),
            preservation_policy=kept,  # pyright: ignore[reportArgumentType]  # its own class
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *error: object) -> None:
        self._orbax.close()

    def save(self, step: int, state: TrainState, batches: Iterator[Batch], loss: float) -> None:
        """Saves weights, optimiser and the place in the data; returns when it is on disk."""
        memory = {"step": state.step, "optimizer": state.optimizer}
        self._orbax.save_checkpointables(
            step,
            {"params": state.params, "memory": memory, "data": batches},
            metrics={"loss": loss},
        )

    def resume(self, state: TrainState, batches: Iterator[Batch]) -> TrainState:
        """The latest state, or `state` where nothing was saved; `batches` is put to its place.

        Raises:
          UserError: the checkpoint is damaged, or its data was read another way.
        """
        if self._orbax.latest is None:
            return state
        # Where each array lies is told, or orbax warns that the machine might be another.
        abstract = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state
        )
        memory = {"step": abstract.step, "optimizer": abstract.optimizer}
        saved = self._load(
            self._orbax.latest.step, {"params": abstract.params, "memory": memory, "data": batches}
        )
        return TrainState(saved["memory"]["step"], saved["params"], saved["memory"]["optimizer"])

    def best_params(self, abstract: Any) -> tuple[int, Any]:
        """Step and weights of the checkpoint with the lowest loss.

        Raises:
          UserError: nothing was saved yet, or what was does not fit `abstract`.
        """
        if self._orbax.latest is None:
            raise UserError(f"{self._orbax.directory}: holds no checkpoint; train the run first")
        step = min(self._orbax.checkpoints, key=_loss).step
        return step, self._load(step, {"params": abstract})["params"]

    def _load(self, step: int, wanted: dict[str, Any]) -> dict[str, Any]:
        try:
            return self._orbax.load_checkpointables(step, wanted)
        except Exception as error:  # orbax and tensorstore have many for a damaged checkpoint
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            raise UserError(
                f"{self._orbax.directory / str(step)}: cannot be restored: {reason}"
            ) from None


def save_config(run: Path, config: TrainingConfig, facts: dict[str, Any]) -> None:
    """Writes config.json: the configuration, and facts about the run for its reader."""
    contents = {"version": __version__, "training": dataclasses.asdict(config), **facts}
    write_whole(run / CONFIG, (json.dumps(contents, indent=2) + "\n").encode())


def load_config(run: Path) -> TrainingConfig:
    """Reads config.json.

    Raises:
      UserError: the folder holds no run, or one of another version of this program.
    """
    path = run / CONFIG
    if not path.is_file():
        raise UserError(f"{run}: is not a run, it has no {CONFIG}; train one with launch.train")
    try:
        fields = json.loads(path.read_text())["training"]
        clouds = CloudSettings(**fields.pop("clouds"))
        return TrainingConfig(**{**fields, "targets": tuple(fields["targets"]), "clouds": clouds})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: is not a run of this version ({__version__}): {error}") from None


def refuse_other_settings(run: Path, config: TrainingConfig) -> None:
    """Makes sure that a run that is there already was begun with the same configuration.

    Raises:
      UserError: it was not; the message shows every difference.
    """
    if not (run / CONFIG).exists():
        return
    before, now = _flat(load_config(run)), _flat(config)
    changed = [f"{name} {before[name]} -> {now[name]}" for name in now if before[name] != now[name]]
    if changed:
        raise UserError(
            f"{run}: was trained with other settings ({'; '.join(changed)}); "
            "use another --model_name, or the same settings to go on with it"
        )


def load_params(run: Path) -> tuple[TrainingConfig, int, Any]:
    """The configuration of a run, and step and weights of its best checkpoint."""
    config = load_config(run)
    points = jax.ShapeDtypeStruct(
        (1, config.clouds.num_points, config.clouds.input_channels), "float32"
    )
    mask = jax.ShapeDtypeStruct(points.shape[:2], "bool")
    abstract = jax.eval_shape(build_encoder(config).init, jax.random.key(0), points, mask)
    placed = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    abstract = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=placed), abstract
    )
    if not (run / CHECKPOINTS).is_dir():
        raise UserError(f"{run}: holds no checkpoint; train the run to the end of an epoch first")
    with Checkpoints(run) as checkpoints:
        step, params = checkpoints.best_params(abstract)
    return config, step, params


def _loss(saved: Any) -> float:
    return saved.metrics["loss"]


def _flat(config: TrainingConfig) -> dict[str, Any]:
    fields = dataclasses.asdict(config)
    return {**fields.pop("clouds"), **fields}
