import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from box_rooms import box_room
from tiny import CONFIG, TOTAL_STEPS, rooms_batch, with_clouds

from train3d_jax import clouds, depth, export, inference, metrics, training
from train3d_jax.errors import UserError
from train3d_jax.inference import Model


def noisy_room(seed):
    """Half a percent of noise, as sensors have: on planes without any, rounding is all there is to
    see of a fit's residual."""
    true, _ = box_room(seed)
    noise = np.random.default_rng(seed).normal(0, 0.005, true.shape)
    return (true * (1 + noise)).astype(np.float32)


MAPS = [noisy_room(seed) for seed in range(3)]
FOCALS = np.array([box_room(seed)[1][0, 0] for seed in range(3)])


@pytest.fixture(scope="module")
def model():
    """A network for both targets; its weights are random, its answers therefore far from true."""
    params = training.initial_state(CONFIG, TOTAL_STEPS).params
    return Model("both@0", CONFIG, jax.device_put(params, jax.devices()[0]))


@pytest.fixture(scope="module")
def recovery(model):
    return recover(model, MAPS)


def recover(model, maps, known_focal=None):
    return inference.recover([model], inference.make_blocks(maps), known_focal)


def assert_close(one, other, rtol):
    np.testing.assert_array_equal(one.solvable, other.solvable)
    np.testing.assert_allclose(one.shift, other.shift, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(one.focal, other.focal, rtol=rtol)


def reordered(recovery, order):
    return inference.Recovery(*(values[order] for values in recovery))


def test_different_maps_get_different_answers(recovery):
    # Without this the invariances below would prove nothing.
    assert recovery.solvable.all()
    assert np.ptp(recovery.focal) > 1 and np.ptp(recovery.shift) > 0.01


def test_an_answer_does_not_depend_on_the_order_of_the_maps(model, recovery):
    order = [2, 0, 1]
    # The same numbers for each map, only vectorised at another place.
    assert_close(recover(model, [MAPS[i] for i in order]), reordered(recovery, order), 1e-5)


def test_an_answer_does_not_depend_on_the_other_maps(model, recovery):
    alone = recover(model, [MAPS[1], np.zeros((5, 7), np.float32), MAPS[1]])
    np.testing.assert_array_equal(alone.solvable, [True, False, True])
    for row in (0, 2):
        assert_close(reordered(alone, [row]), reordered(recovery, [1]), 1e-5)


@pytest.mark.parametrize(("a", "b"), [(0.25, 0.0), (1000.0, 0.0), (1.0, 8.0), (3.0, -40.0)])
def test_an_answer_does_not_depend_on_scale_and_shift_of_the_input(model, recovery, a, b):
    other = recover(model, [np.float32(a * values + b) for values in MAPS])
    # float32 rounds a * d + b at |b|, up to 2e-6 of the spread, and fitted curvatures multiply
    # that by up to a thousand; 2e-4 was seen.
    assert_close(other, recovery, 1e-3)
    # And so the depth that comes out is the same, whatever the input's unit.
    for i, values in enumerate(MAPS):
        one, two = other.at(i), recovery.at(i)
        np.testing.assert_allclose(
            one.a * np.float32(a * values + b) + one.b, two.a * values + two.b, atol=1e-3
        )


def test_a_times_input_plus_b_is_canonical_depth_plus_shift(recovery):
    blocks = inference.make_blocks(MAPS)
    canonical = depth.canonicalise(blocks.values, blocks.mask)
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
    for name in clouds.Blocks._fields:
        np.testing.assert_array_equal(getattr(blocks, name), batch[name])


# How networks work together, with networks that know the truth but need what their settings say.


class Oracle:
    """Stands in for the compiled networks: answers rightly where it is shown what it needs.

    A network that knows the shift (or focal length) is right where it is given the true one, and
    far off elsewhere.
    """

    def __init__(self, space):
        values = MAPS if space == "depth" else [1 / values for values in MAPS]
        blocks = inference.make_blocks(values)
        near, far = np.quantile(blocks.values.astype(float), [0.02, 0.98], axis=1)
        # Of true values the canonical form is 0.5 (v - near) / (far - near) + 0.5.
        self.shift = 0.5 * near / (far - near) - 0.5
        self.metres = far if space == "depth" else 1 / far
        self.calls = []

    def predictor(self, config, *_):
        def run(params, blocks, shift, focal):
            settings = config.clouds
            self.calls.append(config.heads)
            assumed = jnp.full(3, 96 / 2 / np.tan(np.radians(30)))
            if settings.focal_known and focal is not None:
                assumed = focal
            right = jnp.ones(3, bool)
            if settings.shift_known:
                right &= jnp.isclose(shift, self.shift, rtol=1e-2, atol=1e-2)
            if settings.focal_known:
                right &= jnp.isclose(assumed, FOCALS, rtol=1e-2)
            quantities = {
                "shift": depth.shift_to_ratio(self.shift),
                "focal": jnp.log(FOCALS / assumed),
                "scale": jnp.log(self.metres),
            }
            medians = {
                head: jnp.where(right, quantities[head], 0.5 * quantities[head] + 0.2)
                for head in config.heads
            }
            metres = jnp.asarray(self.metres) if "scale" in config.heads else None
            return inference._Prediction(medians, assumed, metres)

        return run


def network(targets, space="depth", **clouds):
    return Model(
        f"n{targets}", dataclasses.replace(with_clouds(space=space, **clouds), targets=targets), {}
    )


def straightened_error(recovery, space):
    """Point error of the clouds that the answers make of the maps, in the true maps' own unit."""
    errors = []
    for i, true in enumerate(MAPS):
        values = true if space == "depth" else 1 / true
        solution = recovery.at(i)
        recovered = export.recovered_depth(values, solution.a, solution.b, space)
        cloud = export.cloud_of(recovered, solution.focal)
        truth = export.cloud_of(true, FOCALS[i])
        errors.append(metrics.point_error(cloud, truth, np.ones(len(truth), bool)))
    return np.array(errors)


@pytest.mark.parametrize("space", ["depth", "disparity"])
@pytest.mark.parametrize(
    ("networks", "asked"),
    [
        ([((0, 2), {})], [("shift", "focal")]),
        ([((0,), {}), ((2,), {})], [("focal",), ("shift",)]),
        # As LeReS: focal length, shift, and the focal length again, now that the shift is known.
        ([((0,), {}), ((2,), {"shift_known": True})], [("focal",), ("shift",), ("focal",)]),
        ([((0,), {"focal_known": True}), ((2,), {})], [("focal",), ("shift",)]),
    ],
)
def test_networks_for_single_targets_work_together(monkeypatch, networks, asked, space):
    oracle = Oracle(space)
    monkeypatch.setattr(inference, "_predictor", oracle.predictor)
    models = [network(targets, space, **clouds) for targets, clouds in networks]
    maps = MAPS if space == "depth" else [1 / values for values in MAPS]
    recovery = inference.recover(models, inference.make_blocks(maps))
    assert oracle.calls == asked
    np.testing.assert_allclose(recovery.focal, FOCALS, rtol=1e-5)
    np.testing.assert_allclose(recovery.shift, oracle.shift, rtol=1e-4, atol=1e-4)
    assert straightened_error(recovery, space).max() < 1e-4


def test_a_shift_network_that_knows_the_focal_length_uses_the_one_that_is_given(monkeypatch):
    oracle = Oracle("depth")
    monkeypatch.setattr(inference, "_predictor", oracle.predictor)
    models = [network((0,), focal_known=True)]
    recovery = inference.recover(models, inference.make_blocks(MAPS), FOCALS)
    assert oracle.calls == [("shift",)]
    np.testing.assert_allclose(recovery.shift, oracle.shift, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("space", ["depth", "disparity"])
def test_with_a_network_for_the_scale_depth_comes_out_in_metres(monkeypatch, space):
    monkeypatch.setattr(inference, "_predictor", Oracle(space).predictor)
    models = [network((0, 1, 2), space)]
    assert inference.is_metric(models) and not inference.is_metric([network((0, 2))])
    values = [5 * (m if space == "depth" else 1 / m) - 3 for m in MAPS]
    recovery = inference.recover(models, inference.make_blocks(values))
    for i, true in enumerate(MAPS):
        solution = recovery.at(i)
        found = export.recovered_depth(values[i], solution.a, solution.b, space)
        np.testing.assert_allclose(found, true, rtol=1e-3)


@pytest.mark.parametrize(
    ("models", "space", "focal_known", "message"),
    [
        ([network((0, 2))], "disparity", False, "was trained in depth space"),
        ([network((2,))], "depth", True, "cover no shift"),
        ([network((0,))], "depth", False, "cover no focal length"),
    ],
)
def test_networks_that_cannot_answer_are_refused(models, space, focal_known, message):
    with pytest.raises(UserError, match=message):
        inference.check_models(models, space, focal_known)


def test_networks_that_cover_what_is_asked_for_are_accepted():
    inference.check_models([network((0, 2))], "depth", False)
    inference.check_models([network((2,)), network((0,))], "depth", False)
    inference.check_models([network((0,), "disparity")], "disparity", True)
