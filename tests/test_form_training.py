"""The network of `forms` is trained on maps in all four forms, each under its own number."""

import jax
import numpy as np
import pytest
from tiny import rooms_batch

from train3d_jax.evidence import forms
from train3d_jax.training import form_training

# Compiled whole: one by one, hundreds of small operations take three times as long.
initial_state = jax.jit(form_training.initial_state, static_argnames="steps")
BATCHES = {space: rooms_batch(range(4), space) for space in ("depth", "disparity")}


@pytest.fixture
def examples(monkeypatch):
    """Of `form_training` without augmentation, for the share of rotated maps that is asked for."""
    monkeypatch.setattr(form_training, "AUGMENTATION_STRENGTH", 0.0)

    def examples(rotated_share):
        monkeypatch.setattr(form_training, "ROTATED_SHARE", rotated_share)
        return jax.jit(lambda key: form_training.examples(key, BATCHES))

    return examples


def test_maps_come_in_the_form_that_they_are_said_to_have(examples):
    seen, upright = set(), examples(rotated_share=1e-9)
    for seed in range(4):
        values, mask, numbers = upright(jax.random.key(seed))
        given = np.concatenate([BATCHES[space]["values"] for space in BATCHES])
        spaces = np.repeat(["depth", "disparity"], 4)
        for number, space, found, true in zip(numbers, spaces, values, given, strict=True):
            form = forms.FORMS[int(number)]
            seen.add(form)
            assert form in forms.forms_of(space)
            np.testing.assert_array_equal(found, -true if forms.is_inverted(form) else true)
        assert mask.all()
    assert seen == set(forms.FORMS)


def test_some_maps_are_turned_and_keep_their_values(examples):
    values, _, _ = examples(rotated_share=1.0)(jax.random.key(0))
    given = np.concatenate([BATCHES[space]["values"] for space in BATCHES])
    assert all((np.abs(found) != true).any() for found, true in zip(values, given, strict=True))
    np.testing.assert_array_equal(np.sort(np.abs(values)), np.sort(given))


def test_steps_on_the_same_maps_lower_the_loss_and_move_the_mean_of_the_weights():
    state = initial_state(jax.random.key(0), steps=40)
    first = jax.tree.map(np.asarray, state.average)
    losses = []
    for _ in range(12):
        state, loss, right = form_training.train_step(state, jax.random.key(1), BATCHES, steps=40)
        losses.append(float(loss))
        assert 0 <= right <= 1
    assert np.isfinite(losses).all() and losses[-1] < losses[0]
    moved = jax.tree.map(lambda old, new: np.abs(old - new).max(), first, state.average)
    apart = jax.tree.map(lambda mean, new: np.abs(mean - new).max(), state.average, state.params)
    assert max(jax.tree.leaves(moved)) > 0 and max(jax.tree.leaves(apart)) > 0


@pytest.mark.parametrize("factor", [0.5, 1.0])
def test_the_temper_that_maps_were_drawn_with_is_found(factor):
    rng = np.random.default_rng(0)
    log_likelihood = rng.normal(0, 3, (4000, 4))
    drawn = (factor * log_likelihood + rng.gumbel(size=(4000, 4))).argmax(-1)
    assert form_training.fitted_temper(log_likelihood, drawn) == pytest.approx(factor, rel=0.1)
