import itertools
import os

import numpy as np
import pytest
from box_rooms import box_room
from tiny import Rooms

from data import pipeline
from data.pipeline import Subset, split_by_scene
from train3d_jax.errors import UserError

SCENES = [f"scene{i % 7}" for i in range(40)]


def subset(count=7):
    return Subset(Rooms(count), np.arange(count))


def training_batches(count=7, batch_size=3, seed=0, num_workers=0):
    return pipeline.training_batches(subset(count), batch_size, "depth", seed, num_workers)


def take(dataset, count):
    iterator = iter(dataset)
    try:
        return list(itertools.islice(iterator, count))
    finally:
        iterator.close()


def assert_same(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)


# The split.


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("train_split", [0.01, 0.5, 0.9, 0.999])
def test_no_scene_is_on_both_sides_of_the_split(train_split, seed):
    training, validation = split_by_scene(SCENES, len(SCENES), train_split, seed)
    assert len(training) and len(validation)
    assert sorted([*training, *validation]) == list(range(len(SCENES)))
    assert not {SCENES[i] for i in training} & {SCENES[i] for i in validation}
    assert (np.diff(training) > 0).all() and (np.diff(validation) > 0).all()


def test_the_split_is_met_as_nearly_as_scenes_allow():
    # Scenes have 5 or 6 samples: the border between two is at most 3 from where it should be.
    for seed in range(10):
        training, _ = split_by_scene(SCENES, len(SCENES), 0.5, seed)
        assert abs(len(training) - 20) <= 3


def test_the_split_is_a_function_of_the_seed():
    first, again, other = (split_by_scene(SCENES, len(SCENES), 0.5, seed)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert list(first) != list(other)


def test_without_scenes_samples_are_split():
    training, validation = split_by_scene(None, 10, 0.9, 0)
    assert (len(training), len(validation)) == (9, 1)


def test_a_split_of_one_trains_on_everything():
    training, validation = split_by_scene(SCENES, len(SCENES), 1, 0)
    assert list(training) == list(range(len(SCENES))) and len(validation) == 0


def test_a_single_scene_cannot_be_split():
    with pytest.raises(UserError, match=r"--train_split=0.9: all 3 samples show the scene a"):
        split_by_scene(["a"] * 3, 3, 0.9, 0)
    assert len(split_by_scene(["a"] * 3, 3, 1, 0)[0]) == 3


# Batches.


def test_an_epoch_shows_every_sample_once_and_each_epoch_in_another_order(monkeypatch):
    # Whole maps, so that the focal length tells which room it is.
    monkeypatch.setattr(pipeline, "UNCROPPED_SHARE", 1)
    focals = [float(f) for batch in take(training_batches(6), 8) for f in batch["focal"]]
    epochs = [focals[start : start + 6] for start in range(0, 24, 6)]
    rooms = sorted(float(np.float32(box_room(i)[1][0, 0])) for i in range(6))
    assert all(sorted(epoch) == rooms for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_batches_are_a_function_of_the_seed():
    first = take(training_batches(), 4)
    assert_same(first, take(training_batches(), 4))
    other = take(training_batches(seed=1), 4)
    assert any((a["values"] != b["values"]).any() for a, b in zip(first, other, strict=True))


def test_crops_differ_each_time_a_sample_is_seen():
    # The only sample, four times.
    batch = take(training_batches(count=1, batch_size=1), 4)
    assert len({tuple(b["size"].ravel()) for b in batch}) > 1


@pytest.mark.parametrize("cores", [1, 5])
def test_batches_do_not_depend_on_the_number_of_threads(monkeypatch, cores):
    expected = take(training_batches(), 5)
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert_same(take(training_batches(), 5), expected)


def test_a_batch_has_what_a_step_needs():
    (batch,) = take(training_batches(), 1)
    shapes = {name: (x.shape, x.dtype) for name, x in batch.items()}
    assert shapes == {
        "pixels": ((3, 4096, 2), np.float32),
        "values": ((3, 4096), np.float32),
        "mask": ((3, 4096), np.bool_),
        "size": ((3, 2), np.float32),
        "centre": ((3, 2), np.float32),
        "focal": ((3,), np.float32),
        "weight": ((3,), np.float32),
    }
    np.testing.assert_array_equal(batch["weight"], 1)


def test_too_few_samples_for_a_batch_are_an_error():
    with pytest.raises(UserError, match=r"--batch_size=8: there are only 7 samples"):
        training_batches(7, batch_size=8)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_do_not_depend_on_workers_and_a_saved_loader_goes_on_where_it_was(
    monkeypatch, num_workers
):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)  # no more workers than that are started
    undisturbed = take(training_batches(), 6)
    first = iter(training_batches(num_workers=num_workers))
    assert_same([next(first) for _ in range(4)], undisturbed[:4])
    place = first.get_state()
    next(first)
    first.close()
    second = iter(training_batches(num_workers=num_workers))
    second.set_state(place)
    assert_same([next(second), next(second)], undisturbed[4:])
    second.close()


def test_validation_shows_every_sample_once_in_order_and_uncropped():
    batches = list(pipeline.validation_batches(subset(7), 3, "depth"))
    assert [len(batch["focal"]) for batch in batches] == [3, 3, 3]
    weight = np.concatenate([batch["weight"] for batch in batches])
    np.testing.assert_array_equal(weight, [1] * 7 + [0] * 2)
    focal = np.concatenate([batch["focal"] for batch in batches])[weight > 0]
    np.testing.assert_array_equal(focal, [np.float32(box_room(i)[1][0, 0]) for i in range(7)])
    for batch in batches:
        np.testing.assert_array_equal(batch["size"], [[96, 128]] * 3)
    assert list(pipeline.validation_batches(subset(0), 3, "depth")) == []


# Samples.


def test_blocks_hold_depth_or_its_inverse_where_there_is_depth():
    depth, intrinsics = box_room(0, (64, 64))
    depth = depth.copy()
    depth[:20, 30:] = 0
    intrinsics = intrinsics + np.diag([10, -4, 0])
    blocks = pipeline.to_blocks(depth, intrinsics, "depth")
    mask = blocks["mask"].reshape(64, 64)
    np.testing.assert_array_equal(mask, depth > 0)
    np.testing.assert_array_equal(blocks["values"].reshape(64, 64)[mask], depth[mask])
    inverse = pipeline.to_blocks(depth, intrinsics, "disparity")["values"].reshape(64, 64)
    np.testing.assert_allclose(inverse[mask], 1 / depth[mask], rtol=1e-6)
    np.testing.assert_array_equal(blocks["centre"], [31.5, 31.5])
    np.testing.assert_allclose(blocks["focal"], intrinsics[[0, 1], [0, 1]].mean(), rtol=1e-6)


def plane_map(rng):
    """A plane seen by a camera whose principal point is off the centre; n . p = 1 on it."""
    height, width = rng.integers(20, 90, 2)
    intrinsics = np.array(
        [[rng.uniform(40, 90), 0, width * 0.4], [0, rng.uniform(40, 90), height * 0.55], [0, 0, 1]]
    )
    normal = rng.uniform([-0.3, -0.3, 0.5], [0.3, 0.3, 1])
    v, u = np.mgrid[:height, :width]
    rays = np.stack(
        [
            (u - intrinsics[0, 2]) / intrinsics[0, 0],
            (v - intrinsics[1, 2]) / intrinsics[1, 1],
            np.ones(u.shape),
        ],
        -1,
    )
    return 1 / (rays @ normal), intrinsics, normal


def unproject(depth, intrinsics):
    v, u = np.mgrid[: depth.shape[0], : depth.shape[1]]
    x = (u - intrinsics[0, 2]) * depth / intrinsics[0, 0]
    y = (v - intrinsics[1, 2]) * depth / intrinsics[1, 1]
    return np.stack([x, y, depth], -1)


@pytest.mark.parametrize("seed", range(40))
def test_a_plane_stays_where_it_is_when_the_map_is_cropped_and_mirrored(seed):
    rng = np.random.default_rng(seed)
    depth, intrinsics, normal = plane_map(rng)
    cropped, moved = pipeline.random_crop(depth, intrinsics, rng)
    points = unproject(cropped, moved)
    here = np.allclose(points @ normal, 1, atol=1e-9)
    mirrored = np.allclose(points @ (normal * [-1, 1, 1]), 1, atol=1e-9)
    assert here != mirrored
    np.testing.assert_array_equal(moved[[0, 1], [0, 1]], intrinsics[[0, 1], [0, 1]])
    # The principal point stays at its place in the window, to the pixel.
    place = (moved[:2, 2] + 0.5) / cropped.shape[::-1]
    before = (intrinsics[:2, 2] + 0.5) / depth.shape[::-1]
    before[0] = 1 - before[0] if mirrored else before[0]
    assert (np.abs(place - before) * cropped.shape[::-1] <= 1).all()


def test_mirroring_twice_changes_nothing():
    depth, intrinsics, _ = plane_map(np.random.default_rng(0))
    twice, camera = pipeline.mirror(*pipeline.mirror(depth, intrinsics))
    np.testing.assert_array_equal(twice, depth)
    np.testing.assert_allclose(camera, intrinsics, rtol=1e-12)


def test_crops_have_the_sizes_and_shares_that_the_constants_say():
    rng = np.random.default_rng(0)
    depth, intrinsics = np.ones((1000, 1000)), np.array([[900.0, 0, 499], [0, 900, 499], [0, 0, 1]])
    sizes = np.array([pipeline.random_crop(depth, intrinsics, rng)[0].shape for _ in range(2000)])
    share = sizes / 1000
    whole = (sizes == 1000).all(1)
    square = sizes[:, 0] == sizes[:, 1]
    # 2000 draws: a standard deviation of 0.011; four of them.
    assert abs(whole.mean() - pipeline.UNCROPPED_SHARE) < 0.045
    narrowed = (1 - pipeline.UNCROPPED_SHARE) * pipeline.NARROWED_SHARE
    assert abs((~square).mean() - narrowed) < 0.045
    assert share.max(1).min() >= pipeline.SMALLEST_CROP - 1e-3
    ratio = share.min(1) / share.max(1)
    assert pipeline.NARROWEST - 5e-3 < ratio.min() < pipeline.NARROWEST + 0.05


def test_the_smallest_maps_can_be_cropped():
    rng = np.random.default_rng(0)
    for _ in range(20):
        depth, _ = pipeline.random_crop(np.ones((1, 2)), np.diag([5.0, 5, 1]), rng)
        assert depth.shape in ((1, 1), (1, 2))
