import dataclasses
import json

import jax
import numpy as np
import pytest
from tiny import CONFIG, TOTAL_STEPS, training_batches, with_clouds

from train3d_jax import checkpoint, training
from train3d_jax.checkpoint import Checkpoints
from train3d_jax.errors import UserError


@pytest.fixture(scope="module")
def step():
    return training.make_train_step(CONFIG, TOTAL_STEPS)


@pytest.fixture(scope="module")
def initial():
    return jax.device_get(training.initial_state(CONFIG, TOTAL_STEPS))


def placed(state):
    """On the device, and told so, as orbax restores it: the step is then compiled once."""
    return jax.device_put(state, jax.devices()[0])


def train(step, state, batches, count):
    for _ in range(count):
        state, _ = step(state, next(batches))
    return state


def assert_same(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def saved_run(folder, initial, losses=(1.0,)):
    """A run with one checkpoint, at steps 1, 2, ..., for each loss; weights are those numbers."""
    checkpoint.save_config(folder, CONFIG, {"data": "somewhere"})
    batches = iter(training_batches())
    with Checkpoints(folder) as checkpoints:
        for number, loss in enumerate(losses, start=1):
            params = jax.tree.map(lambda x, fill=number: np.full_like(x, fill), initial.params)
            checkpoints.save(number, initial._replace(params=params), batches, loss)
    return folder


def test_a_run_that_was_stopped_and_resumed_ends_as_an_undisturbed_one(tmp_path, step, initial):
    undisturbed = train(step, placed(initial), iter(training_batches()), 5)

    batches = iter(training_batches())
    with Checkpoints(tmp_path) as checkpoints:
        state = checkpoints.resume(placed(initial), batches)
        assert_same(state, initial)  # nothing was saved yet
        state = train(step, state, batches, 3)
        checkpoints.save(3, state, batches, 1.0)
        train(step, state, batches, 1)  # and on, until it is killed

    batches = iter(training_batches())
    with Checkpoints(tmp_path) as checkpoints:
        state = checkpoints.resume(placed(initial), batches)
        assert state.step == 3
        # To the bit, order and crops of the data included.
        assert_same(train(step, state, batches, 2), undisturbed)


def test_the_latest_checkpoint_is_resumed_and_the_best_is_used(tmp_path, initial):
    saved_run(tmp_path, initial, losses=(3.0, 1.0, 2.0, 4.0))
    with Checkpoints(tmp_path) as checkpoints:
        resumed = checkpoints.resume(placed(initial), iter(training_batches()))
    assert {float(x.ravel()[0]) for x in jax.tree.leaves(resumed.params)} == {4}
    config, number, params = checkpoint.load_params(tmp_path)
    assert (config, number) == (CONFIG, 2)
    assert jax.tree.structure(params) == jax.tree.structure(initial.params)
    assert {float(x.ravel()[0]) for x in jax.tree.leaves(params)} == {2}
    # The others are not kept.
    kept = {path.name for path in (tmp_path / checkpoint.CHECKPOINTS).iterdir() if path.is_dir()}
    assert kept == {"2", "4"}


def test_a_configuration_comes_back_as_it_was(tmp_path):
    config = dataclasses.replace(with_clouds(space="disparity", shift_known=True), targets=(2,))
    checkpoint.save_config(tmp_path, config, {"data": "somewhere", "samples": [9, 1]})
    assert checkpoint.load_config(tmp_path) == config
    contents = json.loads((tmp_path / checkpoint.CONFIG).read_text())
    assert contents["data"] == "somewhere" and "version" in contents


def test_other_settings_for_a_run_are_refused_with_every_difference_named(tmp_path):
    checkpoint.refuse_other_settings(tmp_path, CONFIG)  # no run yet
    checkpoint.save_config(tmp_path, CONFIG, {})
    checkpoint.refuse_other_settings(tmp_path, CONFIG)
    other = dataclasses.replace(with_clouds(num_points=99), targets=(2,))
    with pytest.raises(UserError) as refused:
        checkpoint.refuse_other_settings(tmp_path, other)
    message = str(refused.value)
    assert "num_points 1024 -> 99" in message and "targets (0, 2) -> (2,)" in message
    assert "learning_rate" not in message and "--model_name" in message


def one_line(error):
    message = str(error.value)
    assert "\n" not in message and len(message) < 1000
    return message


def test_a_folder_that_is_no_run_is_reported(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UserError, match="is not a run") as error:
            checkpoint.load_params(folder)
        assert str(folder) in one_line(error)


@pytest.mark.parametrize(
    "contents",
    ["", "[", "[]", "{}", '{"training": 3}', '{"training": {"targets": [0], "clouds": {"x": 1}}}'],
)
def test_a_config_that_is_damaged_or_of_another_version_is_reported(tmp_path, contents):
    (tmp_path / checkpoint.CONFIG).write_text(contents)
    with pytest.raises(UserError, match=r"config\.json: is not a run of this version") as error:
        checkpoint.load_config(tmp_path)
    one_line(error)


def test_a_run_without_a_checkpoint_is_reported(tmp_path):
    checkpoint.save_config(tmp_path, CONFIG, {})
    with pytest.raises(UserError, match="holds no checkpoint; train") as error:
        checkpoint.load_params(tmp_path)
    one_line(error)


def test_a_damaged_checkpoint_is_reported_by_inference_and_when_resuming(tmp_path, initial):
    saved_run(tmp_path, initial)
    damaged = 0
    for file in (tmp_path / checkpoint.CHECKPOINTS / "1" / "params").rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[:10])
            damaged += 1
    assert damaged
    with pytest.raises(UserError, match=r"checkpoints/1: cannot be restored") as error:
        checkpoint.load_params(tmp_path)
    one_line(error)
    with (
        Checkpoints(tmp_path) as checkpoints,
        pytest.raises(UserError, match=r"checkpoints/1: cannot be restored") as error,
    ):
        checkpoints.resume(placed(initial), iter(training_batches()))
    one_line(error)


def test_a_checkpoint_of_another_network_is_reported(tmp_path, initial):
    saved_run(tmp_path, initial)
    checkpoint.save_config(tmp_path, dataclasses.replace(CONFIG, width=8), {})
    with pytest.raises(UserError, match="cannot be restored") as error:
        checkpoint.load_params(tmp_path)
    one_line(error)
