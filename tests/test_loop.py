"""The loop, with steps that cost nothing; and, once, with real ones, counted and guarded."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import CONFIG, rooms_batch

from train3d_jax.errors import UserError
from train3d_jax.training import loop, validation
from train3d_jax.training import trainer as training
from train3d_jax.training.examples import make_examples
from train3d_jax.training.validation import Validation

PLAN = loop.Plan(total=12, evaluate_every=4, save_every=5, record_every=3)


class Store(list):
    """Takes down what is saved: the step, the steps summed up since the last row, the loss."""

    def __init__(self):
        self.states = {}

    def save(self, step, state, summary):
        assert int(state.step) == step
        self.states[step] = state
        loss = summary and summary["loss"]
        self.append((step, int(state.sums["steps"]), loss))

    def last_saved(self):
        return f"the last good checkpoint is {self[-1][0]}" if self else "none was saved yet"


class Log:
    def __init__(self):
        self.rows, self.steps, self.validations = [], [], []

    def progress(self, step, measured):
        self.steps.append(step)

    def record(self, row):
        self.rows.append(row)

    def validated(self, step, validation):
        self.validations.append(step)


@pytest.fixture
def run(monkeypatch):
    """Runs 12 steps whose training loss is the number of the step, or of `losses`."""
    monkeypatch.setattr(
        training, "no_sums", lambda _: {"steps": jnp.zeros(()), "loss": jnp.zeros(())}
    )
    monkeypatch.setattr(loop, "make_evaluation", lambda *_: None)
    validated = Validation({"loss": 0.25}, {}, {}, np.zeros((0, 3)))
    monkeypatch.setattr(loop, "validate", lambda *_: validated)

    def run(store, begin=None, losses=None, validation=True, stop_at=None):
        def fake_step(state, batch):
            done = int(state.step) + 1
            loss = jnp.float32(done if losses is None else losses[done - 1])
            sums = {"steps": state.sums["steps"] + 1, "loss": state.sums["loss"] + loss}
            return state._replace(step=jnp.int32(done), sums=sums), {"loss": loss}

        monkeypatch.setattr(
            training, "make_train_step", lambda *_: jax.transfer_guard("allow")(fake_step)
        )
        state = begin or training.TrainState(jnp.int32(0), {}, {}, (), training.no_sums(None))
        taken = [int(state.step)]

        def batches():
            while True:
                taken[0] += 1
                yield {"sample": np.array([10 * taken[0], 10 * taken[0] + 1])}

        log = Log()
        state = loop.run_training(
            CONFIG,
            state,
            batches(),
            (lambda: [None]) if validation else None,
            PLAN,
            store,
            log,
            lambda numbers: [f"set/{number}" for number in numbers],
            lambda: taken[0] == stop_at,
        )
        assert taken[0] == int(state.step)  # none was taken in vain
        return state, log

    return run


def test_the_loop_records_validates_and_saves_at_the_right_steps(run):
    store = Store()
    state, log = run(store)
    assert state.step == 12 and log.steps == list(range(1, 13))
    train = [row for row in log.rows if row["split"] == "train"]
    # Every third step and before each validation, each the mean since the row before.
    assert [(row["step"], row["loss"]) for row in train] == [
        (3, 2), (4, 4), (6, 5.5), (8, 7.5), (9, 9), (12, 11),
    ]  # fmt: skip
    assert [row for row in log.rows if row["split"] == "validation"] == [
        {"step": step, "split": "validation", "loss": 0.25} for step in (4, 8, 12)
    ]
    assert log.validations == [4, 8, 12]
    # With the validation loss where there is one; step 5 has one step on its row to come.
    assert store == [(4, 0, 0.25), (5, 1, None), (8, 0, 0.25), (10, 1, None), (12, 0, 0.25)]


@pytest.mark.parametrize("stop_at", range(1, 13))
def test_a_run_that_is_stopped_at_any_step_saves_and_goes_on_to_the_same_rows(run, stop_at):
    _, undisturbed = run(Store())
    store = Store()
    state, first = run(store, stop_at=stop_at)
    assert state.step == stop_at == store[-1][0]
    state, second = run(store, begin=store.states[stop_at])
    assert state.step == 12
    assert first.rows + second.rows == undisturbed.rows


@pytest.mark.parametrize("killed_after", [4, 5, 8, 10])
def test_a_run_that_is_killed_goes_on_from_what_was_saved(run, killed_after):
    store = Store()
    _, undisturbed = run(store)
    _, again = run(Store(), begin=store.states[killed_after])
    assert again.rows == [row for row in undisturbed.rows if row["step"] > killed_after]


def test_a_finished_run_and_one_stopped_before_it_began_do_nothing(run):
    store = Store()
    run(store)
    _, log = run(again := Store(), begin=store.states[12])
    assert log.rows == [] and log.steps == [] and not again
    state, log = run(again, stop_at=0)
    assert state.step == 0 and log.rows == [] and not again


def test_without_validation_the_training_loss_decides_which_checkpoint_is_best(run):
    store = Store()
    _, log = run(store, validation=False)
    assert {row["split"] for row in log.rows} == {"train"}
    assert [loss for _, _, loss in store] == [4, None, 7.5, None, 11]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize(
    ("step", "last"), [(1, "none"), (4, "none"), (6, "5"), (7, "5"), (12, "10")]
)
def test_a_loss_that_is_not_finite_stops_the_run_and_is_named(run, bad, step, last):
    losses = np.ones(12)
    losses[step - 1] = bad
    store = Store()
    with pytest.raises(UserError) as error:
        run(store, losses=losses)
    message = str(error.value)
    assert f"not finite at step {step};" in message
    assert f"set/{10 * step}, set/{10 * step + 1};" in message
    assert ("none was saved yet" if last == "none" else f"checkpoint is {last};") in message
    assert all(saved < step for saved, *_ in store)


def test_real_steps_are_compiled_once_and_move_nothing_by_the_way(monkeypatch):
    """The guard of the loop refuses what is not moved on purpose; the state is donated."""
    traces = []
    for module in (training, validation):
        monkeypatch.setattr(
            module,
            "make_examples",
            lambda *args, **named: traces.append(1) or make_examples(*args, **named),
        )
    config = dataclasses.replace(CONFIG, augmentation=())
    state = training.initial_state(CONFIG, 6)  # the same weights, compiled for other tests too
    batch = {**rooms_batch(), "sample": np.arange(3)}
    store, log = Store(), Log()
    plan = loop.Plan(total=6, evaluate_every=3, save_every=2, record_every=1)
    every = {name: value for name, value in batch.items() if name != "sample"}
    first = jax.tree.leaves(state.params)[0]
    state = loop.run_training(
        config, state, iter([batch] * 6), lambda: [every], plan, store, log, list
    )
    assert state.step == 6 and len(log.rows) == 8
    assert len(traces) == 2  # one for the step, one for the evaluation
    assert first.is_deleted()
    assert [step for step, *_ in store] == [2, 3, 4, 6]
