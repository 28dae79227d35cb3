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
    """Periods of the loop, in steps.

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
    """Storage of states; `checkpoint.Checkpoints` implements it."""

    def save(self, step: int, state: TrainState, summary: dict[str, float] | None) -> None:
        """Stores the whole state, from which training resumes at `step`.

        `summary` holds the means of a validation, or of training where there is no validation part;
        None between evaluations.  Its loss ranks the checkpoints.
        """
        ...

    def last_saved(self) -> str:
        """Names the newest checkpoint, for a message."""
        ...


class Log(Protocol):
    """Receiver of measurements; `run_log.RunLog` implements it."""

    def progress(self, step: int, measured: dict[str, Any]) -> None:
        """One more step is done."""
        ...

    def record(self, row: dict[str, Any]) -> None:
        """A row of metrics, with `step` and `split`: means since the last, or of a validation."""
        ...

    def validated(self, step: int, validation: Validation) -> None:
        """The predictions of a validation, besides its row."""
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
    """Trains to the end, or until `stop` holds.

    Records and checkpoints depend on the arguments only: a run that is stopped at any step and
    resumes from its last checkpoint ends with the same rows and weights, on the CPU to the bit.

    Args:
      config: what to train.
      state: the first state; its step is that of the last checkpoint.
      batches: endless, from sample `state.step * batch_size` on, the part of this process of each;
        with `sample`, the numbers of its samples, which stay on the host.
      validation: makes a new iterator of the validation batches; None for no validation.
      plan: when to evaluate, save and record.
      store: receives the checkpoints.
      log: receives the measurements.
      names: the names of samples of these numbers, for a message.
      stop: whether to save and end; called before each step.

    Returns:
      The last state.

    Raises:
      UserError: the loss stopped being finite; nothing after the last good step was saved.
    """
    mesh = training.device_mesh(config.batch_size)
    train_step = training.make_train_step(config, plan.total, mesh)
    evaluate = make_evaluation(config, mesh)
    no_sums = jax.device_get(training.no_sums(config))
    done = first = int(state.step)
    state = training.place_state(state, mesh)
    pending: _Pending | None = None

    with jax.transfer_guard("disallow"):
        while True:
            stopping = stop()
            evaluating = done % plan.evaluate_every == 0 or done == plan.total
            recording = done % plan.record_every == 0 or evaluating
            saving = done % plan.save_every == 0 or evaluating or stopping
            if done > first and (recording or saving):
                _refuse_if_not_finite(pending, names, store)
                pending = None
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
            # The loss of the previous step: the device is busy meanwhile.
            _refuse_if_not_finite(pending, names, store)
            pending = _Pending(done, measured, batch["sample"])
            log.progress(done, measured)


class _Pending(NamedTuple):
    """A step whose loss is not checked yet."""

    step: int
    measured: dict[str, jax.Array]
    samples: np.ndarray


def _refuse_if_not_finite(
    pending: _Pending | None, names: Callable[[np.ndarray], list[str]], store: Store
) -> None:
    if pending is None or np.isfinite(jax.device_get(pending.measured["loss"])):
        return
    raise ArgumentError(
        f"the loss was not finite at step {pending.step}; the batch was "
        f"{', '.join(names(pending.samples))}; {store.last_saved()}; try a smaller ",
        Argument("learning_rate"),
        ", and look at these samples",
    )


def _means(sums: dict[str, np.ndarray]) -> dict[str, float]:
    # The loss first, for readers of the file; JAX has sorted the names.
    names = sorted(sums.keys() - {"steps"}, key=lambda name: (not name.startswith("loss"), name))
    return {name: float(sums[name]) / max(float(sums["steps"]), 1.0) for name in names}
