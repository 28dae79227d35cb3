import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import CONFIG, TOTAL_STEPS, rooms_batch, with_clouds

from train3d_jax.errors import UserError
from train3d_jax.geometry import affine, clouds
from train3d_jax.training import examples
from train3d_jax.training import trainer as training
from train3d_jax.training.config import TrainingConfig
from train3d_jax.training.validation import Evaluation, make_evaluation, validate


class Cloud(NamedTuple):
    points: jax.Array
    mask: jax.Array
    focal: jax.Array
    canonical: affine.Canonical


@functools.partial(jax.jit, static_argnames=("config", "augmented"))
def make_examples(key, batch, config, augmented):
    """The examples as clouds, which can be compared with the true ones."""
    seen, labels = examples.make_examples(key, batch, config, augmented)
    cloud = clouds.make_clouds(training.sample_key(key), seen, config.clouds)
    return Cloud(*cloud, seen.focal, seen.canonical), labels


straighten = jax.jit(affine.straighten, static_argnames="space")


@pytest.fixture(scope="module")
def initial():
    """A fresh state, on the host: steps donate what they are given."""
    return jax.device_get(training.initial_state(CONFIG, TOTAL_STEPS))


def placed(state):
    """On the device, and told so: of a state that is not, the step is compiled once more."""
    return jax.device_put(state, jax.devices()[0])


@pytest.fixture(scope="module")
def step():
    return training.make_train_step(CONFIG, TOTAL_STEPS)


@pytest.fixture(scope="module")
def trained(initial, step):
    """Steps on one batch over and over: the last state, and what every step measured."""
    state, rows = placed(initial), []
    for _ in range(TOTAL_STEPS):
        state, measured = step(state, rooms_batch())
        rows.append(jax.device_get(measured))
    return state, rows


@pytest.fixture(scope="module")
def evaluate():
    return make_evaluation(CONFIG)


def test_steps_on_the_same_batch_lower_every_loss_and_error(trained):
    _, rows = trained
    for name in ("loss", "loss_shift", "loss_focal", "shift_error", "fov_error_deg"):
        values = [row[name] for row in rows]
        assert np.mean(values[-5:]) < 0.8 * np.mean(values[:5]), name


def test_the_loss_is_the_sum_of_the_heads_losses(trained):
    for row in trained[1]:
        np.testing.assert_allclose(row["loss"], row["loss_shift"] + row["loss_focal"], rtol=1e-6)


def test_the_state_keeps_its_types_and_sums_up_what_steps_measured(trained):
    state, rows = trained
    assert state.step == state.sums["steps"] == TOTAL_STEPS
    assert state.step.dtype == jnp.int32
    assert not any(leaf.weak_type for leaf in jax.tree.leaves(state))
    assert set(rows[0]) == state.sums.keys() - {"steps"}
    for name in rows[0]:
        np.testing.assert_allclose(state.sums[name], sum(row[name] for row in rows), rtol=1e-5)


def test_the_average_of_the_weights_follows_them(initial, step):
    state = placed(initial)
    averages, weights = [initial.params], [initial.params]
    for _ in range(4):
        state, _ = step(state, rooms_batch())
        averages.append(jax.device_get(state.average))
        weights.append(jax.device_get(state.params))
    for number in range(1, 5):
        stays = min(CONFIG.average_decay, number / (number + 9))
        expected = jax.tree.map(
            lambda old, new, stays=stays: stays * old + (1 - stays) * new,
            averages[number - 1],
            weights[number],
        )
        for one, other in zip(*map(jax.tree.leaves, (averages[number], expected)), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


def test_a_map_without_values_changes_nothing(step, initial):
    def after(batch):
        state, losses = step(placed(initial), batch)
        state, losses = step(state, batch)  # the first has a learning rate of 0
        return jax.device_get((state.params, losses))

    batch = rooms_batch()
    batch["mask"][1] = False
    spoilt = {**batch, "values": batch["values"].copy(), "focal": batch["focal"].copy()}
    spoilt["values"][1] = np.nan
    spoilt["focal"][1] = 7
    for one, other in zip(*map(jax.tree.leaves, (after(batch), after(spoilt))), strict=True):
        assert np.isfinite(one).all()
        np.testing.assert_array_equal(one, other)


def test_errors_are_measured_of_each_sample_and_the_same_each_time(trained, evaluate):
    params, batch = trained[0].params, rooms_batch()
    batch["mask"][1] = False
    batch["weight"][2] = 0
    once, again = evaluate(params, batch), evaluate(params, batch)
    for one, other in zip(*map(jax.tree.leaves, (once, again)), strict=True):
        np.testing.assert_array_equal(one, other)
    assert set(once.errors) == set(trained[1][0])
    assert all(values.shape == (3,) for values in once.errors.values())
    # One without values, one that fills up the batch: neither counts.
    np.testing.assert_array_equal(once.weight, [1, 0, 0])
    # What is told of predictions and truth is what the errors are of.
    ratio = {"predicted": once.predicted["shift"], "true": once.true["shift"]}
    shift = {name: affine.ratio_to_shift(value)[0] for name, value in ratio.items()}
    error = abs(shift["predicted"] - shift["true"]) / (1 + shift["true"])
    np.testing.assert_allclose(error, once.errors["shift_error"][0], atol=1e-6)  # of order 1
    ratio = np.exp(once.predicted["focal"] - once.true["focal"])[0]
    np.testing.assert_allclose(abs(ratio - 1), once.errors["focal_error"][0], rtol=1e-3)


def test_errors_of_a_trained_network_are_small_on_what_it_learnt_by_heart(
    trained, initial, evaluate
):
    batch = rooms_batch()
    first = validate(evaluate, placed(initial).params, [batch]).summary
    last = validate(evaluate, trained[0].params, [batch]).summary
    for name in ("loss", "shift_error", "focal_error", "fov_error_deg"):
        assert last[name] < first[name], name


def test_weights_are_a_function_of_the_seed(initial):
    same = training.initial_state(CONFIG, TOTAL_STEPS).params
    other = training.initial_state(dataclasses.replace(CONFIG, seed=6), TOTAL_STEPS).params
    leaves = list(zip(*map(jax.tree.leaves, (initial.params, same, other)), strict=True))
    assert all((a == b).all() for a, b, _ in leaves)
    assert any((a != c).any() for a, _, c in leaves)


# Labels.


def small_config(**changes):
    """Every block is a point, so that clouds can be compared; compiles fast."""
    return with_clouds(voxel_size=0.0, num_points=4096, input_channels=3, **changes)


def in_float64(batch):
    return {name: x.astype(float) if x.dtype == np.float32 else x for name, x in batch.items()}


def by_rays(cloud):
    """Rows in an order that the sample and a focal length do not decide; the batch's first axis
    stays."""
    rays = np.asarray(cloud[..., :2] / cloud[..., 2:3]).round(7)
    return np.stack([row[np.lexsort(ray.T)] for row, ray in zip(cloud, rays, strict=True)])


def true_cloud(batch, space):
    """The formula of the conventions, with the true focal length and the assumed centre."""
    z = batch["values"] if space == "depth" else 1 / batch["values"]
    rays = (batch["pixels"] - batch["centre"][:, None]) / batch["focal"][:, None, None]
    return np.concatenate([rays * z[..., None], z[..., None]], -1)


@pytest.mark.parametrize("space", ["depth", "disparity"])
@pytest.mark.parametrize("known", [(), ("shift_known",), ("focal_known",)])
def test_applying_the_labels_to_the_examples_gives_the_true_clouds_up_to_scale(space, known):
    with jax.enable_x64(True):
        batch = in_float64(rooms_batch(space=space))
        config = small_config(space=space, **dict.fromkeys(known, True))
        cloud, labels = make_examples(jax.random.key(0), batch, config, False)
        assert cloud.mask.all()
        shift = np.zeros(3) if "shift_known" in known else labels.shift
        straight = by_rays(np.asarray(straighten(cloud.points, shift, labels.alpha, space)))
        true = by_rays(true_cloud(batch, space))
        scale = true[:, :1, 2:] / straight[:, :1, 2:]
        np.testing.assert_allclose(scale * straight, true, rtol=1e-9, atol=1e-9)
        # The distortion is not nothing, so the labels were needed.
        if "focal_known" not in known:
            assert (np.abs(labels.alpha - 1) > 0.01).all()
        if "shift_known" not in known:
            assert (np.abs(labels.shift) > 0.01).all()


def test_known_shift_and_focal_length_leave_nothing_to_correct():
    with jax.enable_x64(True):
        batch = in_float64(rooms_batch())
        config = small_config(shift_known=True, focal_known=True)
        cloud, labels = make_examples(jax.random.key(0), batch, config, False)
        np.testing.assert_array_equal(labels.alpha, 1)
        np.testing.assert_array_equal(cloud.focal, batch["focal"])
        far = np.quantile(batch["values"], 0.98, axis=1)
        true = true_cloud(batch, "depth") / far[:, None, None]
        np.testing.assert_allclose(by_rays(np.asarray(cloud.points)), by_rays(true), atol=1e-9)


@pytest.mark.parametrize("space", ["depth", "disparity"])
def test_the_cloud_shows_nothing_of_scale_and_shift_of_the_true_map(space):
    with jax.enable_x64(True):
        batch = in_float64(rooms_batch(space=space))
        config = small_config(space=space)
        cloud, labels = make_examples(jax.random.key(0), batch, config, False)
        other = {**batch, "values": 2.5 * batch["values"] + 4}
        clouds_too, labels_too = make_examples(jax.random.key(0), other, config, False)
        # Only the last roundings of float64 differ; the labels, by far more.
        np.testing.assert_allclose(cloud.points, clouds_too.points, atol=1e-12)
        np.testing.assert_array_equal(cloud.mask, clouds_too.mask)
        np.testing.assert_array_equal(labels.alpha, labels_too.alpha)
        assert (labels_too.shift > labels.shift + 0.1).all()
        assert (np.abs(labels_too.scale / labels.scale - 1) > 0.1).all()
        scaled = {**batch, "values": 2.5 * batch["values"]}
        _, labels_scaled = make_examples(jax.random.key(0), scaled, config, False)
        np.testing.assert_allclose(labels_scaled.shift, labels.shift, rtol=1e-9)


@pytest.mark.parametrize("space", ["depth", "disparity"])
def test_what_heads_learn_is_near_far_ratio_log_alpha_and_log_of_metres(space):
    with jax.enable_x64(True):
        batch = in_float64(rooms_batch(space=space))
        config = dataclasses.replace(small_config(space=space), init_scale=2.0)
        _, labels = make_examples(jax.random.key(0), batch, config, False)
        near, far = np.quantile(batch["values"], [0.02, 0.98], axis=1)
        np.testing.assert_allclose(labels.quantity("shift"), near / far, rtol=1e-9)
        first_guess = 48 * np.sqrt(3)
        expected = np.log(batch["focal"] / first_guess)
        np.testing.assert_allclose(labels.quantity("focal"), expected, rtol=1e-9)
        metres = far if space == "depth" else 1 / far
        np.testing.assert_allclose(labels.quantity("scale"), np.log(metres / 2), atol=1e-9)


def test_the_label_belongs_to_the_depth_as_augmented():
    with jax.enable_x64(True):
        batch = in_float64(rooms_batch())
        config = dataclasses.replace(small_config(), augmentation=("noise",))
        clean, _ = make_examples(jax.random.key(0), batch, config, False)
        noisy, labels = make_examples(jax.random.key(0), batch, config, True)
        difference = by_rays(np.asarray(noisy.points)) - by_rays(np.asarray(clean.points))
        assert 1e-5 < difference.std() < 0.1
        np.testing.assert_allclose(labels.shift, -noisy.canonical.offset, rtol=1e-12)


@pytest.mark.parametrize("space", ["depth", "disparity"])
def test_no_label_leaks_through_the_canonical_form(space):
    """What the network sees is the same whatever shift and alpha were drawn, but for what alpha is
    meant to change: x and y."""
    with jax.enable_x64(True):
        batch = in_float64(rooms_batch(space=space))
        plain = dataclasses.replace(small_config(space=space), augmentation=())
        seen = {}
        for name, drawn in {
            "nothing": {},
            "shift": {"shift_range": (-0.25, 0.8)},
            "both": {"shift_range": (-0.25, 0.8), "alpha_range": (0.6, 1.25)},
        }.items():
            config = dataclasses.replace(plain, **drawn)
            seen[name] = [make_examples(jax.random.key(s), batch, config, True) for s in (0, 1)]
        cloud, labels = seen["nothing"][0]
        for others in seen.values():
            for other_clouds, other_labels in others:
                # Not only do the two quantiles come out the same: every canonical value does.
                np.testing.assert_allclose(
                    other_clouds.canonical.values, cloud.canonical.values, atol=1e-12
                )
                np.testing.assert_allclose(other_labels.shift, labels.shift, rtol=1e-9)
        # They were drawn: the input was another, and so is what its canonical form took off.
        offsets = [examples[0].canonical.offset for examples in seen["shift"]]
        assert (np.abs(offsets[0] - offsets[1]) > 1e-3).all()
        alphas = np.array([examples[1].alpha for examples in seen["both"]])
        assert ((alphas >= 0.6) & (alphas <= 1.25)).all() and alphas.std(0).min() > 1e-3
        for cloud, labels in seen["both"]:
            np.testing.assert_allclose(labels.alpha * cloud.focal, batch["focal"], rtol=1e-9)


@pytest.mark.parametrize("space", ["depth", "disparity"])
def test_the_labels_undo_a_distortion_that_was_drawn(space):
    with jax.enable_x64(True):
        batch = in_float64(rooms_batch(space=space))
        config = dataclasses.replace(
            small_config(space=space), augmentation=(), shift_range=(0.2, 0.8),
            alpha_range=(0.6, 0.9),
        )  # fmt: skip
        cloud, labels = make_examples(jax.random.key(0), batch, config, True)
        straight = straighten(cloud.points, labels.shift, labels.alpha, space)
        straight, true = by_rays(np.asarray(straight)), by_rays(true_cloud(batch, space))
        scale = true[:, :1, 2:] / straight[:, :1, 2:]
        np.testing.assert_allclose(scale * straight, true, rtol=1e-9, atol=1e-9)


def test_targets_are_numbered_shift_scale_focal():
    assert TrainingConfig((0, 1, 2)).heads == ("shift", "scale", "focal")


def test_the_weights_of_targets_weigh_their_losses(initial):
    config = dataclasses.replace(CONFIG, targets=(0, 2), target_weights=(2.0, 0.5))
    assert [config.weight_of(target) for target in ("shift", "focal")] == [2.0, 0.5]
    # The shift is learned where it is needed, whether it is a target or not.
    assert dataclasses.replace(config, targets=(2,), target_weights=(0.5,)).weight_of("shift") == 1
    batch = rooms_batch()
    errors = make_evaluation(config)(placed(initial).params, batch).errors
    expected = 2 * errors["loss_shift"] + 0.5 * errors["loss_focal"]
    np.testing.assert_allclose(errors["loss"], expected, rtol=1e-6)


def test_bfloat16_is_for_the_layers_and_not_for_the_parameters(initial):
    config = dataclasses.replace(CONFIG, precision="bfloat16", augmentation=())
    state, measured = training.make_train_step(config, TOTAL_STEPS)(placed(initial), rooms_batch())
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {np.dtype("float32")}
    _, exact = training.make_train_step(dataclasses.replace(CONFIG, augmentation=()), TOTAL_STEPS)(
        placed(initial), rooms_batch()
    )
    assert measured["loss"] != exact["loss"]
    # Eight bits of mantissa, some layers: about a per cent.
    np.testing.assert_allclose(measured["loss"], exact["loss"], rtol=0.03)


# Validation.


def evaluation(losses, weights, errors=None):
    """What `make_evaluation` would return; a cloud of two points, the second masked."""
    count = len(losses)
    errors = {"loss": np.array(losses), "fov_error": np.array(errors or losses)}
    value = {"focal": np.arange(count, dtype=float)}
    logs = {"focal": np.zeros((count, 64))}
    points, mask = np.ones((2, 3)), np.array([True, False])
    return Evaluation(errors, np.array(weights), value, value, logs, points, mask)


def test_validation_counts_each_sample_by_its_weight():
    parts = [evaluation([1.0, 5.0], [1, 1], [2.0, 9.0]), evaluation([3.0, 70.0], [1, 0], [1.0, 99])]
    seen = validate(lambda params, batch: parts[batch], None, [0, 1])
    calibrated = seen.summary.pop("calibration_focal")
    assert seen.summary == {"loss": 3.0, "fov_error": 4.0, "median_fov_error": 2.0}
    # Posteriors that are even over the range hold truths within it already, and 2 lies outside.
    assert 0.05 <= calibrated <= 20
    np.testing.assert_array_equal(seen.predicted["focal"], [0, 1, 0])
    assert seen.points.shape == (1, 3)


def test_a_cloud_of_a_sample_that_does_not_count_is_not_shown():
    part = evaluation([1.0, 5.0], [0, 1])
    assert len(validate(lambda *_: part, None, [0]).points) == 0


def test_a_validation_part_in_which_nothing_counts_is_reported():
    part = evaluation([1.0], [0])
    with pytest.raises(UserError, match="no sample has enough valid depth"):
        validate(lambda *_: part, None, [0])
