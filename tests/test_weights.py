import hashlib
import json

import jax
import numpy as np
import pytest
from box_rooms import box_room
from tiny import CONFIG

from train3d_jax import recover
from train3d_jax.errors import UserError
from train3d_jax.evidence.calibration import Calibration
from train3d_jax.inference.models import load_model
from train3d_jax.storage import checkpoint, run_config, weights
from train3d_jax.training import trainer as training


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    facts = {"data": [], "samples": [1, 1]}
    run_config.save_config(folder, CONFIG, facts)
    state = jax.device_get(training.initial_state(CONFIG, 3))
    with checkpoint.Checkpoints(folder) as checkpoints:
        checkpoints.save(2, state, {"loss": 1.0, "calibration_shift": 0.5, "finest_shift": 0.3})
    return folder


@pytest.fixture
def packed(run, tmp_path):
    weights.pack(run, tmp_path)
    return tmp_path


def test_packed_weights_are_those_of_the_run(run, packed):
    one, other = checkpoint.load_params(run), weights.load(packed)
    told = CONFIG, 2, {"shift": Calibration(0.5, 0.3)}
    assert (one[0], one[1], one[3]) == (other[0], other[1], other[3]) == told
    assert jax.tree.structure(one[2]) == jax.tree.structure(other[2])
    jax.tree.map(np.testing.assert_array_equal, one[2], other[2])
    model = load_model(packed)
    assert model.calibration == told[2]
    other_name = load_model(run)
    assert model.digest == other_name.digest and model.name != other_name.name


def test_factors_multiply_those_of_the_runs_calibration(run, tmp_path):
    weights.pack(run, tmp_path, {"shift": 0.5, "focal": 0.8})
    told = {"shift": Calibration(0.25, 0.3), "focal": Calibration(0.8)}
    assert weights.load(tmp_path)[3] == told


def test_packing_again_gives_the_same_bytes(run, packed, tmp_path_factory):
    again = tmp_path_factory.mktemp("again")
    weights.pack(run, again)
    assert (again / weights.WEIGHTS).read_bytes() == (packed / weights.WEIGHTS).read_bytes()


def test_a_run_that_was_stopped_before_its_end_is_not_packed(tmp_path):
    facts = {"data": [], "samples": [100 * CONFIG.batch_size, 1]}
    run_config.save_config(tmp_path, CONFIG, facts)
    state = jax.device_get(training.initial_state(CONFIG, 3))
    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(99, state, {"loss": 1.0})
    with pytest.raises(UserError, match="stopped at step 99 of"):
        weights.pack(tmp_path, tmp_path / "packed")
    assert not (tmp_path / "packed").exists()


def test_damaged_or_missing_weights_are_refused_in_a_line(packed):
    file = packed / weights.WEIGHTS
    contents = bytearray(file.read_bytes())
    contents[len(contents) // 2] ^= 1
    file.write_bytes(contents)
    with pytest.raises(UserError, match="is damaged"):
        load_model(packed)
    file.unlink()
    with pytest.raises(UserError, match="cannot be read"):
        weights.load(packed)


def test_without_weights_for_a_space_the_way_out_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    with pytest.raises(UserError, match="method='geometric'"):
        load_model()


@pytest.mark.parametrize("space", ["depth", "disparity"])
def test_the_weights_that_come_along_are_whole_small_and_described(space):
    folder = weights.bundled(space)
    told = json.loads((folder / run_config.CONFIG).read_text())
    contents = (folder / weights.WEIGHTS).read_bytes()
    assert hashlib.sha256(contents).hexdigest() == told["sha256"]
    assert sum(file.stat().st_size for file in weights.FOLDER.rglob("*")) < 12e6
    card = (folder / "CARD.md").read_text()
    assert told["training"]["clouds"]["space"] == space
    assert told["sha256"][:12] in card and "rendered" in card and "Apache-2.0" in card


def test_the_weights_that_tell_forms_apart_are_whole_and_described(monkeypatch, tmp_path):
    folder = weights.FOLDER / "form"
    params, about = weights.read(folder)
    card = (folder / "CARD.md").read_text()
    assert about["sha256"] in card and "rendered" in card and "Apache-2.0" in card
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    weights.write(tmp_path / "form", params, {"temper": 0.5})
    assert weights.form_model.__wrapped__().temper == 0.5
    (tmp_path / "form" / run_config.CONFIG).unlink()
    with pytest.raises(UserError, match=r"config\.json: cannot be read"):
        weights.form_model.__wrapped__()


def test_the_weights_that_come_along_straighten_rooms():
    maps, cameras = zip(*(box_room(seed) for seed in range(8)), strict=True)
    found = recover([7 * depth + 3 for depth in maps])
    true_focal = np.array([camera[0, 0] for camera in cameras])
    assert np.median(np.abs(found.focal_px / true_focal - 1)) < 0.03
    for values, a, b in zip(maps, found.a, found.b, strict=True):
        straight = (a * (7 * values + 3) + b) / values
        # Of the far depth; clean rooms of flat walls.
        assert np.ptp(straight) < 0.05 * straight.mean()
