import numpy as np
import pytest

from train3d_jax.evidence.calibration import Calibration, calibrate, central_interval, without_bins
from train3d_jax.evidence.targets import RANGES


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
    factor = calibrate(log_probability, truth, "focal").factor
    # A normal density to the power of f has its deviation divided by the root of f; the factors
    # that are tried lie 5 % apart.
    np.testing.assert_allclose(factor, (claimed / 0.15) ** 2, rtol=0.15)
    low, high = central_interval(factor * log_probability, "focal").T
    assert 0.88 < ((low <= truth) & (truth <= high)).mean() < 0.92


def test_posteriors_that_are_not_sure_enough_are_left_as_they_are():
    """The data that they meet at work is worse than that of validation."""
    assert calibrate(*posteriors(0.15, 0.3), "focal") == Calibration()


def test_posteriors_that_hold_all_truths_at_an_end_of_the_range_are_left_as_they_are():
    """Flattened, they would hold nine of ten: the central interval of none reaches the end."""
    centres = (np.arange(256) + 0.5) / 256
    truth = np.linspace(0.002, 0.25, 200)
    sharp = -0.5 * ((centres - truth[:, None]) / 0.1) ** 2
    low, high = central_interval(0.05 * sharp, "shift").T
    assert 0.85 < np.mean((low <= truth) & (truth <= high)) < 0.95
    assert calibrate(sharp, truth, "shift").factor == 1


def test_posteriors_that_are_right_are_left_as_they_are():
    assert abs(calibrate(*posteriors(0.15, 0.15), "focal").factor - 1) < 0.15


def test_without_maps_nothing_is_changed():
    assert calibrate(np.zeros((0, 64)), np.zeros(0), "shift") == Calibration()


def sharp_posteriors(off, count=4000):
    """Truths, and posteriors that share all probability between the two bins nearest to them.

    So that medians lie off the truth by some share of a bin, drawn from a normal distribution.
    """
    rng = np.random.default_rng(0)
    truth = rng.uniform(0.1, 0.9, count)
    seen = truth + rng.normal(0, off / 64, count)
    centres = (np.arange(64) + 0.5) / 64
    share = np.maximum(1 - 64 * np.abs(centres - seen[:, None]), 0)
    return np.log(share + 1e-9), truth


@pytest.mark.parametrize("off", [0.05, 0.15])
def test_intervals_within_a_bin_hold_nine_of_ten_truths(off):
    log_probability, truth = sharp_posteriors(off)
    low, high = central_interval(log_probability, "shift").T
    assert ((low <= truth) & (truth <= high)).mean() > 0.99  # as wide as the bins
    found = calibrate(log_probability, truth, "shift")
    assert found.factor == 1
    middle = central_interval(log_probability, "shift", 0.0)[:, 0]
    finer = np.asarray(without_bins(np.stack([low, middle, high], -1), "shift", 64, found.finest))
    held = (finer[:, 0] <= truth) & (truth <= finer[:, 2])
    # A quantile of 4,000 errors is known to half a per cent.
    assert 0.88 < held.mean() < 0.92
    np.testing.assert_allclose(finer[:, 1], middle, rtol=1e-6)


def test_intervals_of_many_bins_stay():
    wide = np.array([0.2, 0.5, 0.9])
    # A bin of 1/64 squared, taken from 0.3 squared, is a part in 700.
    np.testing.assert_allclose(without_bins(wide, "shift", 64, 0.1), wide, atol=1e-3)


def test_nothing_is_said_of_what_is_within_a_bin_by_posteriors_that_are_wider():
    assert calibrate(*posteriors(0.15, 0.15), "focal").finest is None


def test_a_central_interval_holds_its_share_of_the_probability():
    low, high = central_interval(np.zeros((1, 64)), "shift", 0.5)[0]
    np.testing.assert_allclose((low, high), (0.25, 0.75))
