"""The loop over training steps: evaluate, save, then take the next batch."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from train3d_jax.errors import Argument, ArgumentError
from train3d_jax.training import trainer as training
from train3d_jax.training.config import TrainingConfig
from train3d_jax.training.examples import Batch
from train3d_jax.training.trainer import TrainState
from train3d_jax.training.validation import Validation, make_evaluation, validate


class Plan(NamedTuple):
    """When what happens, in steps.

    Attributes:
      total: steps of the whole run.
      evaluate_every: between validations; there is one at the end too.
      save_every: between checkpoints, besides one after each validation.
      record_every: between rows of metrics, besides one before each validation.
    """

    total: int
    evaluate_every: int
    save_every: int
    record_every: int


class Store(Protocol):
    """Where the loop saves to; `checkpoint.Checkpoints` is one."""

    def save(self, step: int, state: TrainState, summary: dict[str, float] | None) -> None:
        """Keeps everything that going on from `step` needs.

        `summary` is what was measured, where it was: its loss says which checkpoint is best.
        """
        ...

    def last_saved(self) -> str:
        """Names the newest checkpoint, for a message."""
        ...


class Log(Protocol):
    """Who is told how it goes; `run_log.RunLog` is one."""

    def progress(self, step: int, measured: dict[str, Any]) -> None:
        """One more step is done."""
        ...

    def record(self, row: dict[str, Any]) -> None:
        """A row of metrics, with `step` and `split`: means since the last, or of a validation."""
        ...

    def validated(self, step: int, validation: Validation) -> None:
        """What a validation saw, besides its row."""
        ...


def run_training(
    config: TrainingConfig,
    state: TrainState,
    batches: Iterator[Batch],
    validation: Callable[[], Iterable[Batch]] | None,
    plan: Plan,
    store: Store,
    log: Log,
    names: Callable[[np.ndarray], list[str]],
    stop: Callable[[], bool] = lambda: False,
) -> TrainState:
    """Trains to the end, or until it is told to stop.

    What is recorded and saved depends on the arguments alone: a run that is stopped at any step
    and goes on from its last checkpoint ends with the same rows and weights, on the CPU to the bit.

    Args:
      config: what to train.
      state: where to begin; its step says how far an earlier run came.
      batches: endless, from sample `state.step * batch_size` on, of each the part of this process;
        with `sample`, the numbers of its samples, which stay on the host.
      validation: gives the validation batches anew at each call; None for no validation.
      plan: when what happens.
      store: where checkpoints go.
      log: who is told.
      names: what to call samples of these numbers in a message.
      stop: whether to save and end; asked before each step.

    Returns:
      The last state.

    Raises:
      UserError: the loss stopped being finite; nothing after the last good step was saved.
    """
    mesh = training.device_mesh(config.batch_size)
    train_step = training.make_train_step(config, plan.total, mesh)
    evaluate = make_evaluation(config, mesh)
    no_sums = jax.device_get(training.no_sums(config))
    done = begun = int(state.step)
    state = training.place_state(state, mesh)
    unseen: _Unseen | None = None

    with jax.transfer_guard("disallow"):
        while True:
            stopping = stop()
            evaluating = done % plan.evaluate_every == 0 or done == plan.total
            recording = done % plan.record_every == 0 or evaluating
            saving = done % plan.save_every == 0 or evaluating or stopping
            if done > begun and (recording or saving):
                _refuse_if_not_finite(unseen, names, store)
                unseen = None
                summary = None
                if recording:
                    means = _means(jax.device_get(state.sums))
                    log.record({"step": done, "split": "train", **means})
                    state = state._replace(sums=jax.device_put(no_sums, state.step.sharding))
                    summary = means
                if evaluating and validation is not None:
                    placed = (training.place_batch(batch, mesh) for batch in validation())
                    seen = validate(evaluate, state.average, placed)
                    log.record({"step": done, "split": "validation", **seen.summary})
                    log.validated(done, seen)
                    summary = seen.summary
                if saving:
                    store.save(done, state, summary if evaluating else None)
            if stopping or done >= plan.total:
                return state

            batch = next(batches)
            state, measured = train_step(state, training.place_batch(batch, mesh))
            done += 1
            # Looking back one step keeps the device busy meanwhile.
            _refuse_if_not_finite(unseen, names, store)
            unseen = _Unseen(done, measured, batch["sample"])
            log.progress(done, measured)


class _Unseen(NamedTuple):
    """A step whose loss nobody has looked at yet."""

    step: int
    measured: dict[str, jax.Array]
    samples: np.ndarray


def _refuse_if_not_finite(
    unseen: _Unseen | None, names: Callable[[np.ndarray], list[str]], store: Store
) -> None:
    if unseen is None or np.isfinite(jax.device_get(unseen.measured["loss"])):
        return
    raise ArgumentError(
        f"the loss was not finite at step {unseen.step}; the batch was "
        f"{', '.join(names(unseen.samples))}; {store.last_saved()}; try a smaller ",
        Argument("learning_rate"),
        ", and look at these samples",
    )


def _means(sums: dict[str, np.ndarray]) -> dict[str, float]:
    # The loss first, for whoever reads the file: jax has sorted the names.
    names = sorted(sums.keys() - {"steps"}, key=lambda name: (not name.startswith("loss"), name))
    return {name: float(sums[name]) / max(float(sums["steps"]), 1.0) for name in names}
