import dataclasses
import gc
import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import CONFIG, TOTAL_STEPS, rooms_batch, with_clouds

from launch import program
from train3d_jax.errors import UserError
from train3d_jax.evidence.calibration import Calibration
from train3d_jax.inference.models import begin_with
from train3d_jax.storage import checkpoint, run_config
from train3d_jax.storage.checkpoint import Checkpoints
from train3d_jax.training import trainer as training


@pytest.fixture(scope="module")
def step():
    return training.make_train_step(CONFIG, TOTAL_STEPS)


@pytest.fixture(scope="module")
def initial():
    return jax.device_get(training.initial_state(CONFIG, TOTAL_STEPS))


def placed(state):
    """On the device, and told so, as orbax restores it: the step is then compiled once."""
    return jax.device_put(state, jax.devices()[0])


def train(step, state, count):
    for _ in range(count):
        state, _ = step(state, rooms_batch())
    return state


def assert_same(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def saved_run(folder, initial, losses=(1.0,)):
    """A run with one checkpoint, at steps 1, 2, ..., for each loss; weights are those numbers, and
    their averages half of them."""
    run_config.save_config(folder, CONFIG, {"data": "somewhere"})
    with Checkpoints(folder) as checkpoints:
        for number, loss in enumerate(losses, start=1):
            params = jax.tree.map(lambda x, fill=number: np.full_like(x, fill), initial.params)
            average = jax.tree.map(lambda x: x / 2, params)
            state = initial._replace(params=params, average=average)
            summary = loss and {"loss": loss, "calibration_focal": loss / 10}
            checkpoints.save(number, state, summary)
    return folder


def filled_with(params):
    return {float(x.ravel()[0]) for x in jax.tree.leaves(params)}


def test_saving_moves_data_where_the_loop_forbids_it(tmp_path, initial, monkeypatch):
    """On a GPU every array has to come to the host; here what is forbidden is the way there."""
    moved = []
    with Checkpoints(tmp_path) as checkpoints:
        monkeypatch.setattr(
            checkpoints._orbax,
            "save_checkpointables",
            lambda *_, **__: moved.append(jnp.ones(2) + np.ones(2, np.float32)),
        )
        with jax.transfer_guard("disallow"):
            with pytest.raises(jax.errors.JaxRuntimeError, match="Disallowed"):
                jnp.sin(np.ones(2, np.float32))
            checkpoints.save(1, initial, None)
    assert len(moved) == 1


def test_a_run_that_was_stopped_and_resumed_ends_as_an_undisturbed_one(tmp_path, step, initial):
    undisturbed = train(step, placed(initial), 5)

    with Checkpoints(tmp_path) as checkpoints:
        state = checkpoints.resume(placed(initial))
        assert_same(state, initial)  # nothing was saved yet
        assert "no checkpoint was saved" in checkpoints.last_saved()
        state = train(step, state, 3)
        checkpoints.save(3, state, None)
        assert checkpoints.last_saved().endswith("checkpoints/3")
        train(step, state, 1)  # and on, until it is killed

    with Checkpoints(tmp_path) as checkpoints:
        state = checkpoints.resume(placed(initial))
        assert state.step == 3
        # To the bit: weights, their average, the optimiser, and the sums of metrics.
        assert_same(train(step, state, 2), undisturbed)


def test_the_latest_checkpoint_is_resumed_and_the_best_is_used(tmp_path, initial):
    saved_run(tmp_path, initial, losses=(3.0, 1.0, 2.0, 4.0))
    with Checkpoints(tmp_path) as checkpoints:
        resumed = checkpoints.resume(placed(initial))
    assert (filled_with(resumed.params), filled_with(resumed.average)) == ({4}, {2})
    config, number, params, calibration = checkpoint.load_params(tmp_path)
    assert (config, number, calibration) == (CONFIG, 2, {"focal": Calibration(0.1)})
    assert jax.tree.structure(params) == jax.tree.structure(initial.params)
    assert filled_with(params) == {1}  # the average
    assert kept(tmp_path) == {"2", "4"}


def kept(folder):
    return {path.name for path in (folder / run_config.CHECKPOINTS).iterdir() if path.is_dir()}


def test_what_was_saved_between_validations_is_resumed_but_used_only_if_there_is_no_other(
    tmp_path, initial
):
    saved_run(tmp_path / "one", initial, losses=(None, None, 7.0, 8.0, None, None))
    assert kept(tmp_path / "one") == {"3", "6"}
    assert checkpoint.load_params(tmp_path / "one")[1] == 3
    saved_run(tmp_path / "two", initial, losses=(None, None))
    assert checkpoint.load_params(tmp_path / "two")[1] == 2


def test_a_checkpoint_that_cannot_be_written_is_reported_and_the_last_is_kept(
    tmp_path, initial, monkeypatch
):
    saved_run(tmp_path, initial)
    with Checkpoints(tmp_path) as checkpoints:

        def full(*_, **__):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(checkpoints._orbax, "save_checkpointables", full)
        with pytest.raises(UserError, match=r"No space left.*checkpoints/1; make room") as error:
            checkpoints.save(2, initial, {"loss": 1.0})
        one_line(error)
    assert checkpoint.load_params(tmp_path)[1] == 1


def test_a_configuration_comes_back_as_it_was(tmp_path):
    config = dataclasses.replace(
        with_clouds(space="disparity", shift_known=True), targets=(2,), alpha_range=(0.6, 1.25)
    )
    run_config.save_config(tmp_path, config, {"data": "somewhere", "samples": [9, 1]})
    assert run_config.load_config(tmp_path) == config
    contents = json.loads((tmp_path / run_config.CONFIG).read_text())
    assert contents["data"] == "somewhere" and "version" in contents


def test_other_settings_for_a_run_are_refused_with_every_difference_named(tmp_path):
    run_config.refuse_other_settings(tmp_path, CONFIG)  # no run yet
    run_config.save_config(tmp_path, CONFIG, {})
    run_config.refuse_other_settings(tmp_path, CONFIG)
    other = dataclasses.replace(with_clouds(num_points=99), targets=(2,))
    with pytest.raises(UserError) as refused:
        run_config.refuse_other_settings(tmp_path, other)
    message = program.message(refused.value)
    assert "num_points 1024 -> 99" in message and "targets (0, 2) -> (2,)" in message
    assert "learning_rate" not in message and "--model_name" in message


def test_a_new_run_begins_with_the_weights_of_another_of_the_same_network(tmp_path, initial):
    saved_run(tmp_path, initial, losses=(2.0,))
    config = dataclasses.replace(with_clouds(num_points=99), learning_rate=0.5)
    config, params = begin_with(tmp_path, config)
    state = training.initial_state(config, 10, params)
    assert state.step == 0
    assert (filled_with(state.params), filled_with(state.average)) == ({0.5}, {0.5})
    other = dataclasses.replace(with_clouds(input_channels=3), width=8)
    with pytest.raises(UserError) as refused:
        begin_with(tmp_path, other)
    assert "width 16 -> 8; input_channels 5 -> 3" in one_line(refused)


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
    (tmp_path / run_config.CONFIG).write_text(contents)
    with pytest.raises(UserError, match=r"config\.json: is not a run of this version") as error:
        run_config.load_config(tmp_path)
    one_line(error)


def test_a_run_without_a_checkpoint_is_reported(tmp_path):
    run_config.save_config(tmp_path, CONFIG, {})
    with pytest.raises(UserError, match="holds no checkpoint; train") as error:
        checkpoint.load_params(tmp_path)
    one_line(error)


@pytest.fixture(scope="module")
def saved_twice(tmp_path_factory, initial):
    """Inference uses the first checkpoint, a run goes on from the second."""
    return saved_run(tmp_path_factory.mktemp("saved") / "run", initial, losses=(1.0, 2.0))


DAMAGE = {
    "is damaged": [
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(file.read_bytes()[:10]),
        lambda file: file.write_bytes(bytes(file.stat().st_size)),
        lambda file: file.write_bytes(flipped(file.read_bytes())),
    ],
    "is missing": [Path.unlink],
}


def flipped(whole):
    return whole[:-1] + bytes([whole[-1] ^ 1])


def files_of(folder):
    return sorted(file.relative_to(folder) for file in folder.rglob("*") if file.is_file())


def restore(run, by, initial):
    if by == "inference":
        return checkpoint.load_params(run)[1]
    with Checkpoints(run) as checkpoints:
        return int(checkpoints.resume(placed(initial)).step)


@pytest.mark.parametrize(("by", "step"), [("inference", "1"), ("resuming", "2")])
def test_every_file_of_a_checkpoint_that_is_damaged_or_missing_is_named_with_the_way_out(
    saved_twice, tmp_path, initial, capfd, by, step
):
    run, part = tmp_path / "run", Path(run_config.CHECKPOINTS) / step
    shutil.copytree(saved_twice, run)
    way_out = f"delete {run / part}, and the other checkpoint takes its place"
    # An empty file cannot lose anything.
    names = [name for name in files_of(run / part) if (run / part / name).stat().st_size]
    assert len(names) > 10
    for number, name in enumerate(names):
        file = run / part / name
        whole = file.read_bytes()
        kinds = [(how, damage) for how, each in DAMAGE.items() for damage in each]
        how, damage = kinds[number % len(kinds)]
        if name.name == "SHA256SUMS":
            how, damage = "is damaged", DAMAGE["is damaged"][number % 2]
        damage(file)
        with pytest.raises(UserError) as error:
            restore(run, by, initial)
        assert one_line(error) == f"{file}: {how}; {way_out}"
        file.write_bytes(whole)
    restore(run, by, initial)
    shutil.rmtree(run / part)  # the way out
    restore(run, by, initial)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("by", ["inference", "resuming"])
def test_a_damaged_checkpoint_of_an_earlier_version_is_one_line_too(
    saved_twice, tmp_path, initial, capfd, by
):
    run = tmp_path / "run"
    shutil.copytree(saved_twice, run)
    shutil.rmtree(run / run_config.CHECKPOINTS / "1")
    last = run / run_config.CHECKPOINTS / "2"
    (last / "SHA256SUMS").unlink()
    restore(run, by, initial)
    for file in (last / "params").rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[:10])
    with pytest.raises(UserError) as error:
        restore(run, by, initial)
    told = one_line(error)
    assert told.startswith(f"{last}: cannot be restored: is damaged, or")
    assert told.endswith("there is no other checkpoint: train the run anew")
    gc.collect()  # what orbax has not waited for speaks up now
    assert capfd.readouterr().err == ""
    (last / "metrics" / "metrics").write_bytes(b"{")
    with pytest.raises(UserError, match=r"2/metrics/metrics: cannot be read: .*; there is no"):
        restore(run, by, initial)


def test_a_checkpoint_of_another_network_is_reported(tmp_path, initial):
    saved_run(tmp_path, initial)
    run_config.save_config(tmp_path, dataclasses.replace(CONFIG, width=8), {})
    with pytest.raises(UserError) as error:
        checkpoint.load_params(tmp_path)
    told = one_line(error)
    assert told.endswith("1: cannot be restored: is not of the network that config.json describes")
