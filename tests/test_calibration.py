import numpy as np
import pytest

from train3d_jax.calibration import calibrate, central_interval
from train3d_jax.encoder import RANGES


def posteriors(spread, claimed, target="focal", count=4000):
    """Normal posteriors that claim one deviation, about truths that lie off by another."""
    rng = np.random.default_rng(0)
    low, high = RANGES[target]
    truth = rng.uniform(low + 0.8, high - 0.8, count)
    middle = truth + rng.normal(0, spread, count)
    bins = low + (np.arange(64) + 0.5) * (high - low) / 64
    return -0.5 * ((bins - middle[:, None]) / claimed) ** 2, truth


@pytest.mark.parametrize("claimed", [0.05, 0.08, 0.15])
def test_after_calibration_nine_of_ten_intervals_hold_the_truth(claimed):
    log_probability, truth = posteriors(0.15, claimed)
    factor = calibrate(log_probability, truth, "focal")
    # A normal density to the power of f has its deviation divided by the root of f; the factors
    # that are tried lie 5 % apart.
    np.testing.assert_allclose(factor, (claimed / 0.15) ** 2, rtol=0.15)
    low, high = central_interval(factor * log_probability, "focal").T
    assert 0.88 < ((low <= truth) & (truth <= high)).mean() < 0.92


def test_posteriors_that_are_not_sure_enough_are_left_as_they_are():
    """The data that they meet at work is worse than that of validation."""
    assert calibrate(*posteriors(0.15, 0.3), "focal") == 1


def test_posteriors_that_are_right_are_left_as_they_are():
    assert abs(calibrate(*posteriors(0.15, 0.15), "focal") - 1) < 0.15


def test_without_maps_nothing_is_changed():
    assert calibrate(np.zeros((0, 64)), np.zeros(0), "shift") == 1


def test_a_central_interval_holds_its_share_of_the_probability():
    low, high = central_interval(np.zeros((1, 64)), "shift", 0.5)[0]
    np.testing.assert_allclose((low, high), (0.25, 0.75))
