import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train3d_jax.evidence import targets
from train3d_jax.evidence.targets import BINS, RANGES, TARGETS, Posterior
from train3d_jax.training import losses

LEVELS = (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99)

posterior_loss = jax.jit(losses.posterior_loss, static_argnames=("target", "kind"))


@jax.jit
def quantiles(log_probability):
    """Of the focal posterior, one for each of `LEVELS`, last axis."""
    posterior = Posterior(log_probability)
    return targets.quantiles(posterior.log_probability, "focal", LEVELS)


def random_posteriors(count, sharpness):
    logits = sharpness * np.random.default_rng(0).normal(size=(count, BINS))
    return jax.nn.log_softmax(jnp.asarray(logits, jnp.float32))


def peaked(value, target, deviation_in_bins=1.5):
    """A posterior with one peak at a value."""
    low, high = RANGES[target]
    distance = (targets.bin_centres(target) - value) / (high - low) * BINS / deviation_in_bins
    return Posterior(jax.nn.log_softmax(jnp.asarray(-0.5 * distance**2, jnp.float32)))


@pytest.mark.parametrize("target", TARGETS)
def test_bins_divide_the_range_evenly(target):
    centres = targets.bin_centres(target)
    low, high = RANGES[target]
    assert centres.shape == (BINS,)
    np.testing.assert_allclose(np.diff(centres), (high - low) / BINS)
    np.testing.assert_allclose([centres[0] - low, high - centres[-1]], (high - low) / BINS / 2)


@pytest.mark.parametrize("target", TARGETS)
def test_the_mean_of_soft_bins_is_the_value(target):
    centres = targets.bin_centres(target)
    value = np.random.default_rng(1).uniform(centres[0], centres[-1], 200)
    shares = np.asarray(losses.soft_bins(jnp.asarray(value, jnp.float32), target))
    assert shares.min() >= 0 and ((shares > 0).sum(-1) <= 2).all()
    np.testing.assert_allclose(shares.sum(-1), 1, rtol=1e-5)
    # float32 positions of up to 64 bins: 4e-6 bins, and a bin is at most 0.14.
    np.testing.assert_allclose(shares @ centres, value, atol=2e-5)


def test_values_outside_the_range_go_to_the_outermost_bin():
    shares = losses.soft_bins(jnp.array([-9.0, 9.0]), "focal")
    np.testing.assert_array_equal(shares, np.eye(BINS)[[0, -1]])


@pytest.mark.parametrize("target", TARGETS)
def test_the_loss_of_a_posterior_is_least_at_the_truth_and_grows_away_from_it(target):
    low, high = RANGES[target]
    step = (high - low) / BINS
    truth = low + 0.4 * (high - low)
    away = step * np.arange(-20, 21)
    loss = np.asarray(posterior_loss(peaked(truth, target), jnp.asarray(truth + away), target))
    assert loss.argmin() == 20
    assert (np.diff(loss[:21]) < 0).all() and (np.diff(loss[20:]) > 0).all()


def test_no_posterior_has_less_loss_than_one_at_the_truth():
    value = jnp.float32(targets.bin_centres("focal")[20])
    certain = Posterior(jnp.log(jnp.maximum(losses.soft_bins(value, "focal"), 1e-9)))
    least = posterior_loss(certain, value, "focal")
    others = Posterior(random_posteriors(500, sharpness=5.0))
    assert least < posterior_loss(others, value, "focal").min()
    np.testing.assert_allclose(least, 0, atol=1e-4)


def test_quantiles_rise_with_their_level_and_invert_the_distribution():
    log_probability = random_posteriors(50, sharpness=3.0)
    found = np.asarray(quantiles(log_probability), float)
    assert (np.diff(found, axis=-1) >= 0).all()
    low, high = RANGES["focal"]
    borders = np.linspace(low, high, BINS + 1)
    cumulative = np.cumsum(np.exp(np.asarray(log_probability, float)), -1)
    cumulative = np.concatenate([np.zeros((50, 1)), cumulative], -1)
    levels = [np.interp(row, borders, c) for row, c in zip(found, cumulative, strict=True)]
    # Sums of 64 probabilities in float32.
    np.testing.assert_allclose(levels, np.broadcast_to(LEVELS, found.shape), atol=1e-5)


def test_the_median_is_the_middle_quantile_and_sits_at_a_peak():
    low, high = RANGES["focal"]
    for value in (-0.9, 0.0, 0.31):
        posterior = peaked(value, "focal")
        median = targets.median(posterior, "focal")
        np.testing.assert_allclose(median, value, atol=0.025 * (high - low) / BINS)
        assert median == targets.quantiles(posterior.log_probability, "focal", (0.5,))[0]


@pytest.mark.parametrize("last", [0, BINS - 1])
def test_quantiles_of_a_certain_posterior_stay_in_its_bin(last):
    log_probability = jnp.where(jnp.arange(BINS) == last, 0.0, -jnp.inf)
    found = quantiles(log_probability)
    low, high = RANGES["focal"]
    border = low + last * (high - low) / BINS
    width = (high - low) / BINS
    np.testing.assert_allclose(found, border + width * np.array(LEVELS), rtol=1e-4, atol=1e-5)


def test_the_gradient_of_the_loss_is_finite_where_a_bin_has_no_probability():
    logits = jnp.where(jnp.arange(BINS) < 3, 0.0, -200.0)

    @jax.jit
    @jax.grad
    def gradient(logits):
        return losses.posterior_loss(Posterior(jax.nn.log_softmax(logits)), jnp.array(1.0), "focal")

    assert np.isfinite(gradient(logits)).all()


@pytest.mark.parametrize("target", TARGETS)
def test_l1_of_a_sharp_posterior_is_its_distance_in_bins_over_16(target):
    low, high = RANGES[target]
    width = (high - low) / BINS
    centres = targets.bin_centres(target)
    sharp = Posterior(jnp.log(jax.nn.one_hot(20, BINS) + 1e-20))
    for truth, bins in ((centres[20], 0.0), (centres[20] + 5 * width, 5.0), (high + 9, 43.5)):
        loss = posterior_loss(sharp, jnp.float32(truth), target, "l1")
        np.testing.assert_allclose(loss, bins / 16, atol=1e-4)


def test_l1_is_smallest_where_all_mass_is_at_the_median_of_the_truths():
    centres = targets.bin_centres("focal")
    truths = jnp.asarray(centres[[10, 12, 12, 30, 50]], jnp.float32)

    def mean_loss(logits):
        return posterior_loss(Posterior(jax.nn.log_softmax(logits)), truths, "focal", "l1").mean()

    at = [mean_loss(30 * jax.nn.one_hot(bin_, BINS)) for bin_ in range(BINS)]
    assert np.argmin(at) == 12
    assert mean_loss(jnp.zeros(BINS)) > at[12]
    # And from anywhere the gradient leads there, which that of a median's distance does not.
    gradient = jax.grad(mean_loss)(jnp.zeros(BINS))
    assert np.argmin(gradient) == 12
