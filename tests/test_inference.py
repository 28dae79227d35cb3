"""Estimates of a batch do not depend on order, scale, shift, type, size or the other maps."""

import jax
import numpy as np
import pytest
from box_rooms import box_room
from recoveries import FOCALS, MAPS, METHODS, every_method
from tiny import CONFIG, TOTAL_STEPS, rooms_batch

from train3d_jax.geometry import affine, clouds, points
from train3d_jax.inference import recovery as inference
from train3d_jax.inference.models import Model
from train3d_jax.training import trainer as training


@pytest.fixture(scope="module")
def model():
    """A network for both targets; its weights are random, its answers therefore far from true."""
    params = training.initial_state(CONFIG, TOTAL_STEPS).params
    return Model("both@0", CONFIG, jax.device_put(params, jax.devices()[0]))


@pytest.fixture(scope="module")
def recoveries(model):
    return {method: recover(model, MAPS, method=method) for method in METHODS}


@pytest.fixture
def recovery(recoveries):
    return recoveries["learned"]


def recover(model, maps, known_focal=None, method="learned"):
    known = inference.Known(known_focal)
    return inference.recover_blocks([model], inference.make_blocks(maps), known, method)


def assert_close(one, other, rtol):
    np.testing.assert_array_equal(one.solvable, other.solvable)
    np.testing.assert_allclose(one.shift, other.shift, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(one.focal, other.focal, rtol=rtol)


def reordered(recovery, order):
    return jax.tree.map(lambda values: values[order], recovery)


@every_method
def test_different_maps_get_different_answers(recoveries, method):
    # Without this the invariances below would prove nothing.
    recovery = recoveries[method]
    assert recovery.solvable.all()
    assert np.ptp(recovery.focal) > 1 and np.ptp(recovery.shift) > 0.01


@every_method
def test_an_answer_does_not_depend_on_the_order_of_the_maps(model, recoveries, method):
    order = [2, 0, 1]
    other = recover(model, [MAPS[i] for i in order], method=method)
    # The same numbers for each map, only vectorised at another place.
    assert_close(other, reordered(recoveries[method], order), 1e-5)


@every_method
def test_an_answer_does_not_depend_on_the_other_maps(model, recoveries, method):
    maps = [MAPS[1], np.zeros((5, 7), np.float32), MAPS[1]]
    alone = recover(model, maps, method=method)
    np.testing.assert_array_equal(alone.solvable, [True, False, True])
    for row in (0, 2):
        assert_close(reordered(alone, [row]), reordered(recoveries[method], [1]), 1e-5)


@every_method
@pytest.mark.parametrize(("a", "b"), [(0.25, 0.0), (1000.0, 0.0), (1.0, 8.0), (3.0, -40.0)])
def test_an_answer_does_not_depend_on_scale_and_shift_of_the_input(model, recoveries, method, a, b):
    recovery = recoveries[method]
    other = recover(model, [np.float32(a * values + b) for values in MAPS], method=method)
    # float32 rounds a * d + b at |b|, up to 2e-6 of the spread, and fitted curvatures multiply
    # that by up to a thousand.  A tenth of a bin of the focal length; 1.2e-3 was seen, of a random
    # network whose answer lies in the tail of the range.
    assert_close(other, recovery, 2e-3)
    # And so the depth that comes out is the same, whatever the input's unit.
    for i, values in enumerate(MAPS):
        one, two = other.at(i), recovery.at(i)
        np.testing.assert_allclose(
            one.a * np.float32(a * values + b) + one.b, two.a * values + two.b, atol=2e-3
        )


@every_method
def test_an_answer_does_not_depend_on_how_numbers_are_stored(model, method):
    stored = [np.round(values * 1000).astype(np.uint16) for values in MAPS]
    recovery = recover(model, stored, method=method)
    for kind in (np.int16, np.int32, np.float32, np.float64):
        other = recover(model, [values.astype(kind) for values in stored], method=method)
        assert_close(other, recovery, 0)


@every_method
def test_a_doubled_resolution_doubles_the_focal_length(model, method):
    """Each pixel is shown four times; of a side that blocks divide, so that they stay the same."""
    maps = [box_room(seed, (128, 128))[0] for seed in range(3)]
    doubled = [values.repeat(2, 0).repeat(2, 1) for values in maps]
    one, other = recover(model, maps, method=method), recover(model, doubled, method=method)
    # The same blocks but for the rounding of float32.
    np.testing.assert_allclose(other.focal, 2 * one.focal, rtol=2e-3)
    np.testing.assert_allclose(other.shift, one.shift, rtol=2e-3, atol=2e-3)


def test_a_mirror_image_gets_the_same_answer(model, recoveries):
    other = recover(model, [values[:, ::-1] for values in MAPS])
    # Blocks hold the same pixels where their number divides the width; sums come in another order.
    assert MAPS[0].shape[1] % points.BLOCKS[1] == 0
    assert_close(other, recoveries["learned"], 1e-3)


def test_mirrored_blocks_are_those_of_the_mirrored_map():
    blocks = inference.make_blocks([values[:, ::-1] for values in MAPS])
    mirrored = clouds.mirrored(inference.make_blocks(MAPS))
    for one, other in zip(blocks, mirrored, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-4)


def test_a_times_input_plus_b_is_canonical_depth_plus_shift(recovery):
    blocks = inference.make_blocks(MAPS)
    canonical = affine.canonicalise(blocks.values, blocks.mask)
    for i in range(3):
        solution = recovery.at(i)
        assert (solution.focal, solution.shift) == (recovery.focal[i], recovery.shift[i])
        found = solution.a * blocks.values[i] + solution.b
        # float32 in the canonical form.
        np.testing.assert_allclose(found, canonical.values[i] + solution.shift, atol=1e-5)


def test_missing_pixels_may_be_zero_or_not_finite(model, recovery):
    holed = [values.copy() for values in MAPS]
    for values, missing in zip(holed, (0, np.nan, np.inf), strict=True):
        values[10:20, 30:50] = missing
    zeroed = [np.where(np.isfinite(values), values, 0) for values in holed]
    one, other = recover(model, holed), recover(model, zeroed)
    assert_close(one, other, 0)
    assert (one.focal != recovery.focal).all()


def test_maps_without_values_or_spread_are_reported_and_the_others_solved(model, recovery):
    bad = recover(model, [np.full((9, 9), np.nan), MAPS[1], np.full((40, 30), 2.5)])
    np.testing.assert_array_equal(bad.solvable, [False, True, False])
    assert bad.at(0) is None and bad.at(1) is not None and bad.at(2) is None
    assert_close(reordered(bad, [1]), reordered(recovery, [1]), 1e-5)


def test_a_known_focal_length_is_kept(model, recovery):
    known = recover(model, MAPS, FOCALS)
    np.testing.assert_allclose(known.focal, FOCALS, rtol=1e-6)  # float32
    # This network does not want to know it: its shift stays.
    np.testing.assert_allclose(known.shift, recovery.shift, rtol=1e-5)


def test_maps_of_any_size_come_together_in_a_batch():
    blocks = inference.make_blocks([np.ones((1, 1)), MAPS[0], MAPS[0][:33, :7]])
    assert blocks.values.shape == (3, 64 * 64)
    np.testing.assert_array_equal(blocks.size, [[1, 1], [96, 128], [33, 7]])
    np.testing.assert_array_equal(blocks.centre, [[0, 0], [63.5, 47.5], [3, 16]])
    np.testing.assert_array_equal(blocks.mask.sum(-1), [1, 64 * 64, 33 * 7])


def test_training_and_inference_make_the_same_blocks_of_a_whole_map():
    blocks, batch = inference.make_blocks([box_room(s)[0] for s in range(3)]), rooms_batch()
    # The share of valid pixels serves a flag of answers; training has none.
    for name in set(clouds.Blocks._fields) - {"valid_share"}:
        np.testing.assert_array_equal(getattr(blocks, name), batch[name])
