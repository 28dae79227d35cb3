"""The checkpoints of a run, see `run_config`.  The only module that imports Orbax.

In each checkpoint SHA256SUMS holds the hashes of its files, for `sha256sum --check`: Orbax takes a
damaged file for another kind of checkpoint, or loads its contents as weights.
"""

import contextlib
import functools
import hashlib
import json
import logging as std_logging
import math
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import jax
from absl import logging
from orbax.checkpoint import v1 as ocp

from train3d_jax.errors import UserError, is_lost_process
from train3d_jax.evidence.calibration import Calibration
from train3d_jax.evidence.targets import TARGETS, Target
from train3d_jax.files import write_whole
from train3d_jax.storage.run_config import CHECKPOINTS, CONFIG, load_config
from train3d_jax.training.config import TrainingConfig, abstract_params
from train3d_jax.training.trainer import TrainState

_SUMS = "SHA256SUMS"
_METRICS = "metrics"  # Orbax's folder in a checkpoint, and the file in it


class Checkpoints:
    """The checkpoints of one run; a context manager, because Orbax saves in the background."""

    def __init__(self, run: Path):
        policies = ocp.training.preservation_policies
        best = policies.BestN(
            get_metric_fn=lambda row: row["loss"],
            reverse=True,
            n=1,
            keep_checkpoints_without_metrics=False,
        )
        kept = policies.AnyPreservationPolicy([policies.LatestN(1), best])
        self._folder = run / CHECKPOINTS
        for saved in sorted(self._folder.glob("[0-9]*")):
            # All metrics are read to find the best checkpoint.
            _refuse_damaged(saved, f"{_METRICS}/")
        with _silent_orbax():
            self._orbax = ocp.training.Checkpointer(
                str(self._folder.resolve()),
                preservation_policy=kept,  # pyright: ignore[reportArgumentType]  # its own class
            )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            with _silent_orbax():
                self._orbax.close()
        except Exception:
            # Orbax raises the error of a failed save again on closing.
            if kind is None:
                raise

    @jax.transfer_guard("allow")  # the loop disallows implicit transfers
    def save(self, step: int, state: TrainState, summary: dict[str, float] | None) -> None:
        """Saves the whole state and its summary; returns when both are on disk.

        `params` holds the averaged weights, which inference uses.

        Raises:
          UserError: the checkpoint cannot be written; the previous one remains.
          Exception: another process of the save is lost, see `errors.is_lost_process`.
        """
        memory = state._asdict()
        try:
            with _silent_orbax():
                self._orbax.save_checkpointables(
                    step,
                    {"params": memory.pop("average"), "memory": memory},
                    metrics=cast(Any, summary),
                )
            if jax.process_index() == 0:
                _write_sums(self._folder / str(step))
        except Exception as error:  # Orbax and TensorStore have many, for a full disk too
            if is_lost_process(error):
                raise
            raise UserError(
                f"{self._folder / str(step)}: cannot be written: {_reason(error)}; "
                f"{self.last_saved()}; make room, then start the same command again"
            ) from None

    def last_saved(self) -> str:
        """Names the newest checkpoint, for a message."""
        if self.last_step is None:
            return "no checkpoint was saved yet"
        return f"the last good checkpoint is {self._folder / str(self.last_step)}"

    @property
    def last_step(self) -> int | None:
        """Step of the newest checkpoint; None before the first."""
        return None if self._orbax.latest is None else self._orbax.latest.step

    def resume(self, state: TrainState) -> TrainState:
        """The latest state, or `state` before the first checkpoint.

        Raises:
          UserError: the checkpoint is damaged, or has another tree.
        """
        if self._orbax.latest is None:
            return state
        # With a sharding for each array; without, Orbax warns of another machine.
        memory = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state
        )._asdict()
        saved = self._load(
            self._orbax.latest.step, {"params": memory.pop("average"), "memory": memory}
        )
        return TrainState(average=saved["params"], **saved["memory"])

    def best_params(self, abstract: Any) -> tuple[int, Any, dict[str, float]]:
        """Step, weights and summary of the checkpoint with the lowest loss.

        Raises:
          UserError: there is no checkpoint, or it does not fit `abstract`.
        """
        if self._orbax.latest is None:
            raise UserError(f"{self._folder}: holds no checkpoint; train the run first")
        # Checkpoints between validations have no loss and come last.
        best = min(self._orbax.checkpoints, key=_loss)
        params = self._load(best.step, {"params": abstract})["params"]
        return best.step, params, cast(dict[str, float], best.metrics or {})

    def _load(self, step: int, wanted: dict[str, Any]) -> dict[str, Any]:
        folder = self._folder / str(step)
        checked = _refuse_damaged(folder)
        try:
            with _silent_orbax():
                return self._orbax.load_checkpointables(step, wanted)
        except Exception:  # Orbax and TensorStore have many, with messages about registries
            _silence_aftermath()
            reason = f"is not of the network that {CONFIG} describes"
            raise UserError(
                f"{folder}: cannot be restored: {reason}"
                if checked
                else f"{folder}: cannot be restored: is damaged, or {reason}; {_way_out(folder)}"
            ) from None


def _write_sums(folder: Path) -> None:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    lines = [f"{_sha256(file)}  {file.relative_to(folder).as_posix()}\n" for file in files]
    if lines:
        write_whole(folder / _SUMS, "".join(lines).encode())


def _refuse_damaged(folder: Path, prefix: str = "") -> bool:
    """Checks the hashes of the files of a checkpoint whose names start with `prefix`.

    False for a checkpoint of an earlier version, which has no hashes: then only its metrics are
    parsed.  Raises UserError.
    """
    names = {f"{_METRICS}/{_METRICS}": ""}
    if checked := (folder / _SUMS).is_file():
        lines = (folder / _SUMS).read_bytes().decode(errors="replace").splitlines()
        names = {name: sha256 for sha256, _, name in (line.partition("  ") for line in lines)}
        if not names or not all(names):
            raise _damaged(folder / _SUMS, "is damaged")
    for name, sha256 in names.items():
        file = folder / name
        try:
            if checked and name.startswith(prefix) and _sha256(file) != sha256:
                raise _damaged(file, "is damaged")
            if not checked and file.exists():
                json.loads(file.read_bytes())
        except FileNotFoundError:
            raise _damaged(file, "is missing") from None
        except (OSError, ValueError) as error:
            raise _damaged(file, f"cannot be read: {error}") from None
    return checked


def _damaged(file: Path, how: str) -> UserError:
    return UserError(f"{file}: {how}; {_way_out(file)}")


def _way_out(file: Path) -> str:
    """The way out for a damaged checkpoint, or file of one."""
    folder = next(each for each in (file, *file.parents) if each.parent.name == CHECKPOINTS)
    if any(each != folder for each in folder.parent.glob("[0-9]*")):
        return f"delete {folder}, and the other checkpoint takes its place"
    return "there is no other checkpoint: train the run anew"


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def load_params(run: Path) -> tuple[TrainingConfig, int, Any, dict[Target, Calibration]]:
    """The configuration of a run; step, weights and calibration of its best checkpoint.

    The calibration is `calibration.calibrate` of each target's posterior on the validation part;
    empty where the run has none.
    """
    config = load_config(run)
    abstract = abstract_params(config)
    placed = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    abstract = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=placed), abstract
    )
    if not (run / CHECKPOINTS).is_dir():
        raise UserError(f"{run}: holds no checkpoint; train the run to the end of an epoch first")
    with Checkpoints(run) as checkpoints:
        step, params, summary = checkpoints.best_params(abstract)
    calibration: dict[Target, Calibration] = {
        target: Calibration(summary[f"calibration_{target}"], summary.get(f"finest_{target}"))
        for target in TARGETS
        if f"calibration_{target}" in summary
    }
    return config, step, params, calibration


@contextlib.contextmanager
def _silent_orbax() -> Iterator[None]:
    """Silences the logs of Orbax; errors of its threads reach the caller as one exception."""
    before = logging.get_verbosity()
    logging.set_verbosity(logging.FATAL)
    try:
        yield
    finally:
        logging.set_verbosity(before)


@functools.cache
def _silence_aftermath() -> None:
    """Drops messages of the other reads of a checkpoint after one read has failed.

    Those reads end after the error was raised, in other threads or when they are collected.
    """
    std_logging.getLogger("asyncio").addFilter(
        lambda record: "async_deserialize" not in record.getMessage()
    )
    warnings.filterwarnings("ignore", "coroutine '.*_load' was never awaited", RuntimeWarning)
    before = sys.unraisablehook

    def hook(raised: Any) -> None:
        if str(raised.exc_value) != "Event loop is closed":
            before(raised)

    sys.unraisablehook = hook


def _loss(saved: Any) -> float:
    return math.inf if saved.metrics is None else saved.metrics["loss"]


def _reason(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
