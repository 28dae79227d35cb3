"""What is known of a focal length or a shift up to a width, as factors of the posterior."""

import numpy as np
import pytest
from recoveries import FOCALS, MAPS, NOTHING_KNOWN

from train3d_jax.evidence.hints import Hints
from train3d_jax.evidence.targets import focal_bins, ratio_bins
from train3d_jax.geometry import affine
from train3d_jax.inference import recovery as inference


def by_geometry(known):
    return inference.recover_blocks([], inference.make_blocks(MAPS), known, "geometric", "depth")


@pytest.fixture(scope="module")
def alone():
    return by_geometry(NOTHING_KNOWN)


def widths(recovery):
    low, high = recovery.focal_interval.T
    return np.log(high / low)


def test_a_hint_is_a_normal_factor_and_nothing_where_there_is_none():
    nothing = np.full(2, np.nan)
    hints = Hints(np.array([100.0, np.nan]), np.array([0.1, np.nan]), nothing, nothing)
    of_focal = np.asarray(hints.of_focal(np.array([80.0, 80.0])))
    np.testing.assert_array_equal(of_focal[1], 0)
    # Two bins apart from each other as a normal distribution has it.
    distance = (focal_bins() - np.log(100 / 80)) / 0.1
    expected = -0.5 * distance**2
    near = np.abs(distance) < 5
    np.testing.assert_allclose(of_focal[0][near], (expected - expected.max())[near], atol=1e-4)
    np.testing.assert_array_equal(np.asarray(hints.of_shift()), 0)


def test_a_hint_of_the_shift_is_one_of_depth():
    nothing = np.full(1, np.nan)
    hints = Hints(nothing, nothing, np.array([0.25]), np.array([0.05]))
    at = affine.ratio_to_shift(ratio_bins()[20:-20])
    found = np.asarray(hints.of_shift())[0, 20:-20]
    # 5 % of the far quantile, which lies at 1.25 with this shift.
    expected = -0.5 * ((np.asarray(at) - 0.25) / (0.05 * 1.25)) ** 2
    near = expected > -10
    np.testing.assert_allclose(found[near], (expected - expected.max())[near], atol=0.01)


def test_a_right_hint_narrows_the_estimate_and_is_not_doubted(alone):
    hinted = by_geometry(inference.Known(FOCALS, 0.03))
    assert not hinted.flags["hint_disagrees"].any() and not hinted.map_wins.any()
    np.testing.assert_allclose(hinted.focal, FOCALS, rtol=0.03)
    assert (widths(hinted) < 1.02 * widths(alone)).all()
    # And what the map says by itself is told beside.
    np.testing.assert_allclose(hinted.focal_by_map[:, ::2], alone.focal_interval, rtol=0.05)


def test_an_unknown_focal_length_and_a_wide_hint_are_the_same(alone):
    hinted = by_geometry(inference.Known(FOCALS, np.array([1.0, 0, 0])))
    np.testing.assert_allclose(hinted.focal[0], alone.focal[0], rtol=0.02)
    # Without a width it is exact.
    np.testing.assert_array_equal(hinted.focal[1:], np.float32(FOCALS[1:]))


def test_of_a_map_and_a_hint_that_exclude_each_other_the_wider_is_taken(alone):
    """A cropped picture that kept its EXIF; a guess that is far off is no better for being wide."""
    far = 1.5 * alone.focal_interval[:, 1]
    narrow = by_geometry(inference.Known(far, 0.002))
    assert narrow.flags["hint_disagrees"].all() and narrow.map_wins.all()
    np.testing.assert_allclose(narrow.focal, alone.focal, rtol=1e-5)
    np.testing.assert_allclose(narrow.shift, alone.shift, atol=1e-5)

    wide = by_geometry(inference.Known(alone.focal * 3, 0.25))
    assert wide.flags["hint_disagrees"].all() and not wide.map_wins.any()
    assert (wide.focal > 1.5 * alone.focal).all()


def test_a_known_focal_length_stays_and_is_doubted(alone):
    known = by_geometry(inference.Known(1.5 * alone.focal_interval[:, 1]))
    assert known.flags["hint_disagrees"].all() and not known.map_wins.any()
    np.testing.assert_allclose(known.focal, 1.5 * alone.focal_interval[:, 1], rtol=1e-6)
    right = by_geometry(inference.Known(FOCALS))
    assert not right.flags["hint_disagrees"].any()


def test_a_shift_that_is_nearly_known_may_be_moved(alone):
    """The input's own shift is right here, and 5 % of depth is more than the map leaves open."""
    own = -alone.canonical_offset
    exact = by_geometry(inference.Known(shift=True))
    soft = by_geometry(inference.Known(shift=True, shift_sigma=0.05))
    np.testing.assert_array_equal(exact.shift_interval[:, 0], exact.shift)
    low, high = soft.shift_interval.T
    assert (high > low).all()
    assert (np.abs(soft.shift - own) <= np.abs(alone.shift - own) + 0.01).all()


def test_an_offset_is_a_shift_in_the_unit_of_the_input():
    scaled = [10 * values + 3 for values in MAPS]
    blocks = inference.make_blocks(scaled)
    found = inference.recover_blocks([], blocks, inference.Known(offset=-3.0), "geometric", "depth")
    for i in range(len(MAPS)):
        each = found.at(i)
        np.testing.assert_allclose(each.b / each.a, -3.0, rtol=1e-4)
