"""Errors in order of size: area under recall, and what a flag finds among the largest."""

import numpy as np
import pytest

from train3d_jax.evaluation.ranking import AUC_FLOOR_DEG, flagged, recall_auc


def by_sums(errors, threshold, floor):
    """The area by a fine sum over the curve, which `np.interp` draws."""
    errors = np.sort(errors)
    recall = np.arange(1, len(errors) + 1) / len(errors)
    right = errors <= floor if floor else np.zeros(len(errors), bool)
    x, y = [0, floor, *errors[~right]], [right.mean(), right.mean(), *recall[~right]]
    kept = np.array(x) <= threshold
    places = (np.arange(100_000) + 0.5) * threshold / 100_000
    return 100 * np.interp(places, np.array(x)[kept], np.array(y)[kept]).mean()


@pytest.mark.parametrize("floor", [0.0, AUC_FLOOR_DEG])
@pytest.mark.parametrize("seed", range(4))
def test_the_area_is_that_under_the_curve_whatever_the_order_of_the_errors(seed, floor):
    errors = np.random.default_rng(seed).exponential(5, 40)
    thresholds = [1.0, 5.0, 10.0]
    areas = recall_auc(errors, thresholds, floor)
    expected = [by_sums(errors, threshold, floor) for threshold in thresholds]
    np.testing.assert_allclose(areas, expected, atol=0.01)
    assert areas == sorted(areas) and areas == recall_auc(errors[::-1], thresholds, floor)


def test_no_error_is_all_of_the_area_and_large_errors_are_none_of_it():
    for floor in (0.0, AUC_FLOOR_DEG):
        assert recall_auc(np.full(3, 20.0), [1, 10], floor) == [0, 0]
    assert recall_auc(np.zeros(3), [1, 10], AUC_FLOOR_DEG) == [100, 100]
    # Errors of a degree are right for GeoCalib alone; at 1 degree its area is the recall.
    errors = np.array([0.9, 1.0, 1.1, 30.0])
    assert recall_auc(errors, [1.0], AUC_FLOOR_DEG) == [50]
    assert recall_auc(errors, [1.0])[0] < 25


def test_a_flag_is_counted_among_the_worst_tenth_and_the_better_half():
    errors = np.array([9.0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11])
    found = flagged(errors, errors > 9.5)
    # A tenth of eleven is two, half of them five.
    assert (found.all, found.worst_tenth, found.better_half) == (2 / 11, 1.0, 0.0)
    assert flagged(errors, errors > 10.5).worst_tenth == 0.5
    assert flagged(errors, errors < 4.5).better_half == 4 / 5
    assert flagged(np.ones(1), np.ones(1, bool)) == (1.0, 1.0, None)
    assert flagged(np.ones(0), np.ones(0, bool)) == (None, None, None)
