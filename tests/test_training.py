import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny import CONFIG, TOTAL_STEPS, rooms_batch, with_clouds

from train3d_jax import depth, training
from train3d_jax.errors import UserError
from train3d_jax.training import TrainingConfig

make_examples = jax.jit(training.make_examples, static_argnames=("config", "noise"))
straighten = jax.jit(depth.straighten, static_argnames="space")


@pytest.fixture(scope="module")
def initial():
    """A fresh state, on the host: steps donate what they are given."""
    return jax.device_get(training.initial_state(CONFIG, TOTAL_STEPS))


def placed(state):
    """On the device, and told so: of a state that is not, the step is compiled once more."""
    return jax.device_put(state, jax.devices()[0])


@pytest.fixture(scope="module")
def trained(initial):
    """Steps on one batch over and over: the losses, the states' steps, and how often the step was
    traced."""
    traces = 0
    original = training.make_examples

    def counting(*args):
        nonlocal traces
        traces += 1
        return original(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "make_examples", counting)
        step = training.make_train_step(CONFIG, TOTAL_STEPS)
        state, rows = placed(initial), []
        for _ in range(TOTAL_STEPS):
            state, losses = step(state, rooms_batch())
            rows.append(jax.device_get(losses))
    return step, state, rows, traces


@pytest.fixture(scope="module")
def evaluate():
    return training.make_evaluation(CONFIG)


def test_steps_on_the_same_batch_lower_every_loss(trained):
    _, _, rows, _ = trained
    for name in ("loss", "loss_shift", "loss_focal"):
        losses = [row[name] for row in rows]
        assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5]), name


def test_the_loss_is_the_sum_of_the_heads_losses(trained):
    for row in trained[2]:
        assert set(row) == {"loss", "loss_shift", "loss_focal"}
        np.testing.assert_allclose(row["loss"], row["loss_shift"] + row["loss_focal"], rtol=1e-6)


def test_the_step_is_compiled_once(trained):
    _, state, _, traces = trained
    assert traces == 1
    assert state.step == TOTAL_STEPS
    assert state.step.dtype == jnp.int32
    assert not any(leaf.weak_type for leaf in jax.tree.leaves(state))


def test_a_map_without_values_changes_nothing(trained, initial):
    step = trained[0]

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
    params, batch = trained[1].params, rooms_batch()
    batch["mask"][1] = False
    batch["weight"][2] = 0
    once, again = evaluate(params, batch), evaluate(params, batch)
    assert set(once) == {
        *("loss", "loss_shift", "loss_focal", "weight"),
        *("shift_error", "focal_error", "fov_error_deg"),
    }
    for name, values in once.items():
        assert values.shape == (3,)
        np.testing.assert_array_equal(values, again[name])
    # One without values, one that fills up the batch: neither counts.
    np.testing.assert_array_equal(once["weight"], [1, 0, 0])


def test_errors_of_a_trained_network_are_small_on_what_it_learnt_by_heart(
    trained, initial, evaluate
):
    batch = rooms_batch()
    first = training.validate(evaluate, placed(initial).params, [batch])
    last = training.validate(evaluate, trained[1].params, [batch])
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
        clouds, labels = make_examples(jax.random.key(0), batch, config, 0.0)
        assert clouds.mask.all()
        shift = np.zeros(3) if "shift_known" in known else labels.shift
        straight = by_rays(np.asarray(straighten(clouds.points, shift, labels.alpha, space)))
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
        clouds, labels = make_examples(jax.random.key(0), batch, config, 0.0)
        np.testing.assert_array_equal(labels.alpha, 1)
        np.testing.assert_array_equal(clouds.focal, batch["focal"])
        far = np.quantile(batch["values"], 0.98, axis=1)
        true = true_cloud(batch, "depth") / far[:, None, None]
        np.testing.assert_allclose(by_rays(np.asarray(clouds.points)), by_rays(true), atol=1e-9)


@pytest.mark.parametrize("space", ["depth", "disparity"])
def test_the_cloud_shows_nothing_of_scale_and_shift_of_the_true_map(space):
    with jax.enable_x64(True):
        batch = in_float64(rooms_batch(space=space))
        config = small_config(space=space)
        clouds, labels = make_examples(jax.random.key(0), batch, config, 0.0)
        other = {**batch, "values": 2.5 * batch["values"] + 4}
        clouds_too, labels_too = make_examples(jax.random.key(0), other, config, 0.0)
        # Only the last roundings of float64 differ; the labels, by far more.
        np.testing.assert_allclose(clouds.points, clouds_too.points, atol=1e-12)
        np.testing.assert_array_equal(clouds.mask, clouds_too.mask)
        np.testing.assert_array_equal(labels.alpha, labels_too.alpha)
        assert (labels_too.shift > labels.shift + 0.1).all()
        assert (np.abs(labels_too.scale / labels.scale - 1) > 0.1).all()
        scaled = {**batch, "values": 2.5 * batch["values"]}
        _, labels_scaled = make_examples(jax.random.key(0), scaled, config, 0.0)
        np.testing.assert_allclose(labels_scaled.shift, labels.shift, rtol=1e-9)


@pytest.mark.parametrize("space", ["depth", "disparity"])
def test_what_heads_learn_is_near_far_ratio_log_alpha_and_log_of_metres(space):
    with jax.enable_x64(True):
        batch = in_float64(rooms_batch(space=space))
        config = dataclasses.replace(small_config(space=space), init_scale=2.0)
        _, labels = make_examples(jax.random.key(0), batch, config, 0.0)
        near, far = np.quantile(batch["values"], [0.02, 0.98], axis=1)
        np.testing.assert_allclose(labels.quantity("shift"), near / far, rtol=1e-9)
        first_guess = 48 * np.sqrt(3)
        expected = np.log(batch["focal"] / first_guess)
        np.testing.assert_allclose(labels.quantity("focal"), expected, rtol=1e-9)
        metres = far if space == "depth" else 1 / far
        np.testing.assert_allclose(labels.quantity("scale"), np.log(metres / 2), atol=1e-9)


def test_noise_is_put_on_the_depth_before_its_canonical_form_is_taken():
    with jax.enable_x64(True):
        batch = in_float64(rooms_batch())
        config = small_config()
        clean, _ = make_examples(jax.random.key(0), batch, config, 0.0)
        noisy, labels = make_examples(jax.random.key(0), batch, config, 0.05)
        difference = by_rays(np.asarray(noisy.points)) - by_rays(np.asarray(clean.points))
        assert 1e-4 < difference.std() < 0.1
        # Of what is shown: the label belongs to the noisy map.
        np.testing.assert_allclose(labels.shift, -noisy.canonical.offset, rtol=1e-12)


def test_targets_are_numbered_shift_scale_focal():
    assert TrainingConfig((0, 1, 2)).heads == ("shift", "scale", "focal")


def test_the_learning_rate_warms_up_and_falls_linearly_to_its_share():
    config = dataclasses.replace(CONFIG, learning_rate=0.01, learning_rate_decay=0.25)
    total = 4 * training.WARMUP_STEPS
    optimizer = training.build_optimizer(config, total)

    @jax.jit
    def rates():
        def step(state, _):
            # A constant gradient: AdamW moves by the learning rate, weight decay has no weight.
            updates, state = optimizer.update(jnp.ones(()), state, jnp.zeros(()))
            return state, -updates

        return jax.lax.scan(step, optimizer.init(jnp.zeros(())), length=total + 1)[1]

    warmup = training.WARMUP_STEPS
    expected = np.concatenate(
        [
            np.linspace(0, 0.01, warmup, endpoint=False),
            np.linspace(0.01, 0.0025, total - warmup + 1),
        ]
    )
    np.testing.assert_allclose(rates(), expected, atol=1e-6)


# Validation and the loop, with steps that cost nothing.


def test_validation_counts_each_sample_by_its_weight():
    parts = [
        {"loss": np.array([1.0, 5.0]), "fov_error": np.array([2.0, 9.0]), "weight": np.ones(2)},
        {"loss": np.array([3.0, 70.0]), "fov_error": np.array([1.0, 99.0]), "weight": [1.0, 0.0]},
    ]
    parts = [{name: np.asarray(x) for name, x in part.items()} for part in parts]
    row = training.validate(lambda params, batch: parts[batch], None, [0, 1])
    assert row == {"loss": 3.0, "fov_error": 4.0, "median_fov_error": 2.0}


def test_a_validation_part_in_which_nothing_counts_is_reported():
    part = {"loss": np.array([1.0]), "weight": np.array([0.0])}
    with pytest.raises(UserError, match="no sample has enough valid depth"):
        training.validate(lambda params, batch: part, None, [0])


class Store(list):
    """Takes down what is saved: the step, the state's step, the batches taken, the loss."""

    def save(self, step, state, batches, loss):
        self.append((step, int(state.step), batches.taken, loss))


class Batches:
    """Counts how many were taken."""

    def __init__(self, taken):
        self.taken = taken

    def __next__(self):
        self.taken += 1


def run(monkeypatch, store, *, begin=0, validation=True, losses=None):
    """Runs 3 epochs of 4 steps whose training loss is the number of the step, or of `losses`."""
    config = dataclasses.replace(CONFIG, epochs=3)

    def fake_step(state, batch):
        done = int(state.step) + 1
        loss = float(done) if losses is None else losses[done - 1]
        return training.TrainState(jnp.int32(done), {}, optax.EmptyState()), {"loss": loss}

    monkeypatch.setattr(training, "make_train_step", lambda *_: fake_step)
    fake_evaluation = {"loss": np.array([0.25]), "weight": np.ones(1)}
    monkeypatch.setattr(training, "make_evaluation", lambda *_: lambda *_: fake_evaluation)
    rows, shown = [], []

    def progress(steps):
        shown.extend([steps.start, steps.stop])
        return steps

    state = training.run_training(
        config,
        training.TrainState(jnp.int32(begin), {}, optax.EmptyState()),
        Batches(begin),
        (lambda: [None]) if validation else None,
        steps_per_epoch=4,
        store=store,
        record=rows.append,
        record_every=3,
        progress=progress,
    )
    return state, rows, shown


def test_the_loop_records_validates_and_saves_at_the_right_steps(monkeypatch):
    saved = Store()
    state, rows, shown = run(monkeypatch, saved)
    assert state.step == 12
    assert shown == [1, 13]
    train = [row for row in rows if row["split"] == "train"]
    # Every third step and at the end of an epoch, each the mean since the row before.
    assert [row["step"] for row in train] == [3, 4, 6, 8, 9, 12]
    assert [row["loss"] for row in train] == [2, 4, 5.5, 7.5, 9, 11]
    assert all(row["samples_per_second"] > 0 for row in train)
    validation = [row for row in rows if row["split"] == "validation"]
    assert validation == [
        {"step": step, "split": "validation", "loss": 0.25} for step in (4, 8, 12)
    ]
    # With the validation loss, and before the next batch is taken.
    assert saved == [(4, 4, 4, 0.25), (8, 8, 8, 0.25), (12, 12, 12, 0.25)]


def test_a_state_that_was_saved_goes_on_where_it_was(monkeypatch):
    saved = Store()
    state, rows, shown = run(monkeypatch, saved, begin=8)
    assert (state.step, shown) == (12, [9, 13])
    assert [row["step"] for row in rows] == [9, 12, 12]
    assert saved == [(12, 12, 12, 0.25)]
    saved = Store()
    _, rows, _ = run(monkeypatch, saved, begin=12)
    assert rows == [] and not saved


def test_without_validation_the_training_loss_decides_which_checkpoint_is_best(monkeypatch):
    saved = Store()
    _, rows, _ = run(monkeypatch, saved, validation=False)
    assert {row["split"] for row in rows} == {"train"}
    assert [(step, loss) for step, _, _, loss in saved] == [(4, 4), (8, 7.5), (12, 11)]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_stops_the_run_and_is_not_saved(monkeypatch, bad):
    saved = Store()
    with pytest.raises(UserError, match=r"not finite at step 8 or up to 1 .*--learning_rate"):
        run(monkeypatch, saved, losses=[1.0] * 6 + [bad] + [1.0] * 5)
    assert [step for step, *_ in saved] == [4]
