import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import CONFIG

from train3d_jax.training import recipe

RATE, SHARE, WARMUP, TOTAL = 0.01, 0.25, 50, 200


def configured(**changes):
    fixed = {"learning_rate": RATE, "learning_rate_decay": SHARE, "warmup_steps": WARMUP}
    return dataclasses.replace(CONFIG, **(fixed | changes))


def moves(config, gradients, total=TOTAL):
    """How far a weight of 0 would move with each of these gradients, one after the other."""
    optimizer = recipe.build_optimizer(config, total)

    @jax.jit
    def run(gradients):
        def step(state, gradient):
            updates, state = optimizer.update(gradient, state, jnp.zeros(()))
            return state, -updates

        return jax.lax.scan(step, optimizer.init(jnp.zeros(())), gradients)[1]

    return np.asarray(run(jnp.asarray(gradients, jnp.float32)))


def falling(schedule):
    """The learning rate at steps WARMUP to TOTAL."""
    if schedule == "linear":
        return np.linspace(RATE, SHARE * RATE, TOTAL - WARMUP + 1)
    phase = np.linspace(0, np.pi, TOTAL - WARMUP + 1)
    return RATE * (SHARE + (1 - SHARE) * (1 + np.cos(phase)) / 2)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_the_learning_rate_warms_up_and_falls_to_its_share(schedule):
    config = configured(schedule=schedule)
    expected = np.concatenate([np.linspace(0, RATE, WARMUP, endpoint=False), falling(schedule)])
    rates = jax.vmap(recipe.learning_rate(config, TOTAL))(jnp.arange(TOTAL + 1))
    np.testing.assert_allclose(rates, expected, atol=1e-8)
    # With a constant gradient AdamW moves by the learning rate; decay has nothing to decay.
    np.testing.assert_allclose(moves(config, np.ones(TOTAL + 1)), expected, atol=1e-6)


def test_a_short_run_warms_up_in_its_first_half():
    rates = [float(recipe.learning_rate(configured(), 10)(step)) for step in range(11)]
    assert rates[0] == 0 and np.argmax(rates) == 5 and rates[-1] == pytest.approx(SHARE * RATE)
    # Without a warm-up, and in a run of one step, the first step counts.
    assert float(recipe.learning_rate(configured(warmup_steps=0), 10)(0)) == pytest.approx(RATE)
    assert float(recipe.learning_rate(configured(), 1)(0)) == pytest.approx(RATE)


def test_gradients_are_clipped_by_their_norm_or_not_at_all():
    config = configured(optimizer="sgd", warmup_steps=0, learning_rate_decay=1.0, clip_norm=2.0)
    assert moves(config, [5.0])[0] == pytest.approx(2 * RATE)
    assert moves(config, [1.5])[0] == pytest.approx(1.5 * RATE)
    unclipped = dataclasses.replace(config, clip_norm=0.0)
    assert moves(unclipped, [5.0])[0] == pytest.approx(5 * RATE)


def test_sgd_gathers_momentum():
    config = configured(optimizer="sgd", warmup_steps=0, learning_rate_decay=1.0)
    gathered = 1 + recipe.MOMENTUM * (1 + recipe.MOMENTUM)
    assert moves(config, [1.0, 1.0, 1.0])[2] == pytest.approx(gathered * RATE)


def test_a_decay_of_zero_averages_nothing():
    params = {"w": jnp.float32(3)}
    average = recipe.move_average({"w": jnp.float32(1)}, params, jnp.int32(7), 0.0)
    assert average["w"] == 3
