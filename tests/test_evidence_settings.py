"""Settings of the evidence belong to the weights that were trained with them."""

import dataclasses
import json

import numpy as np
import pytest
from recoveries import MAPS
from tiny import CONFIG

from train3d_jax.errors import UserError
from train3d_jax.evidence import settings
from train3d_jax.geometry.clouds import CloudSettings
from train3d_jax.inference import recovery
from train3d_jax.inference.models import load_model
from train3d_jax.storage import run_config
from train3d_jax.training.config import TrainingConfig, build_encoder

SPACES = pytest.mark.parametrize("space", ["depth", "disparity"])


@SPACES
def test_settings_come_back_from_json_as_they_were(space):
    record = dataclasses.replace(settings.network_settings(space), inference_pairs=None)
    contents = json.loads(json.dumps(dataclasses.asdict(record)))
    assert settings.from_json(contents) == record


@SPACES
def test_a_run_stores_the_settings_that_it_is_trained_with(space, tmp_path, monkeypatch):
    config = TrainingConfig(clouds=CloudSettings(space=space))
    run_config.save_config(tmp_path, config, {})
    trained = config.resolved().evidence
    other = dataclasses.replace(trained, inference_pairs=7)
    monkeypatch.setattr("train3d_jax.training.config.network_settings", lambda space: other)
    assert build_encoder(config, inference=True).settings.angles.pairs == 7
    assert run_config.load_config(tmp_path).evidence == trained


@pytest.mark.parametrize("before", [None, (0.5, 4.0)])
def test_a_run_with_another_range_of_focal_lengths_is_refused(before, tmp_path):
    run_config.save_config(tmp_path, TrainingConfig(), {})
    contents = json.loads((tmp_path / run_config.CONFIG).read_text())
    del contents["focal_range"]
    if before:
        contents["focal_range"] = before
    (tmp_path / run_config.CONFIG).write_text(json.dumps(contents))
    low, high = before or (0.33, 4.2)  # what the first runs do not tell
    with pytest.raises(UserError, match=f"{low:g} to {high:g} times the first guess.*train it aga"):
        run_config.load_config(tmp_path)


def test_other_encoders_have_no_such_settings(tmp_path):
    run_config.save_config(tmp_path, CONFIG, {})
    assert run_config.load_config(tmp_path).evidence is None


@SPACES
def test_the_weights_of_the_package_have_the_settings_of_their_training(space):
    assert load_model(space=space).config.evidence == settings.network_settings(space)


def test_defaults_of_new_networks_do_not_change_what_trained_weights_estimate(monkeypatch):
    blocks = recovery.make_blocks(MAPS)
    model = load_model()
    before = recovery.recover_blocks([model], blocks)
    other = dataclasses.replace(model.config.evidence, inference_pairs=16)
    monkeypatch.setattr("train3d_jax.training.config.network_settings", lambda space: other)
    again = recovery.recover_blocks([load_model()], blocks)
    np.testing.assert_array_equal(again.focal, before.focal)
    changed = dataclasses.replace(model, config=dataclasses.replace(model.config, evidence=other))
    # The record of the weights is what decides.
    assert (recovery.recover_blocks([changed], blocks).focal != before.focal).all()
    assert changed.digest != model.digest
