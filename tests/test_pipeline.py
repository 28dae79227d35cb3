import itertools
import os
import shutil
from collections import Counter

import numpy as np
import pytest
from box_rooms import box_room
from tiny import Rooms

from data.loading import pipeline
from data.loading.pipeline import Subset, split_by_scene, split_sets
from data.prepared import prepared_set as prepared
from data.prepared import records
from data.prepared.prepared_set import Origin, PreparedSet
from data.protocol import DepthMap
from train3d_jax.errors import DataError, UserError

SCENES = [f"scene{i % 7}" for i in range(40)]


def subset(count=7):
    return Subset(Rooms(count), np.arange(count))


def training_batches(count=7, batch_size=3, seed=0, num_workers=0, **options):
    subsets, weights = [subset(count)], None
    return pipeline.training_batches(
        subsets, weights, batch_size, "depth", seed, num_workers, **options
    )


def make_set(folder, samples, format=prepared.NPZ, dataset="scannet", scene="scene{:04d}_00"):
    """Rooms in whole millimetres, which both formats keep, each a scene unless told otherwise."""
    prepared.begin(folder)
    for index in range(samples):
        depth, intrinsics = box_room(index, (24, 32))
        millimetres = np.rint(1000 * depth).astype(np.uint16)
        millimetres[:3, :5] = 0
        depth = np.divide(millimetres, np.float32(1000), dtype=np.float32)
        origin = Origin(dataset, scene.format(index), "source", index)
        row = prepared.write_sample(folder, index, DepthMap(depth, intrinsics), origin, format)
        prepared.append_rows(folder, [row])
    if format == prepared.ARRAY_RECORD:
        records.pack(folder, 0, 0, samples)
    prepared.finish(folder, {"format": format}, software="0")
    return folder


@pytest.fixture(scope="module")
def small_and_large(tmp_path_factory):
    """Sets of 3 and 11 samples, as subsets without the first sample of each."""
    folder = tmp_path_factory.mktemp("sets")
    small = PreparedSet(make_set(folder / "small", 4))
    large = PreparedSet(make_set(folder / "large", 12, prepared.ARRAY_RECORD))
    return [Subset(samples, np.arange(1, len(samples))) for samples in (small, large)]


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


@pytest.mark.parametrize("seed", range(5))
def test_a_scene_that_is_in_two_sets_is_on_one_side_only(tmp_path, seed):
    # The second set shows the scenes 0 to 7 too, and 8 more; the towns are each walked and flown.
    towns = "town{:d}-walking", "town{:d}-flying"
    sets = [
        PreparedSet(make_set(tmp_path / "a", 8)),
        PreparedSet(make_set(tmp_path / "b", 16, prepared.ARRAY_RECORD, scene="scene{:04d}_01")),
        *(
            PreparedSet(make_set(tmp_path / town[:7] / town[-6:], 6, "npz", "kenburns", town))
            for town in towns
        ),
        # Three views of each of two buildings.
        PreparedSet(make_set(tmp_path / "c", 2, "npz", "taskonomy", "building{:d}")),
        PreparedSet(make_set(tmp_path / "d", 2, "npz", "taskonomy", "building{:d}")),
    ]
    training, validation = split_sets(sets, 0.6, seed)
    sides = []
    for parts in (training, validation):
        assert [part.samples for part in parts] == sets
        sides.append({part.samples.scenes[i] for part in parts for i in part.indices})
    assert not sides[0] & sides[1] and len(sides[0] | sides[1]) == 16 + 6 + 2
    for one, other, samples in zip(training, validation, sets, strict=True):
        assert sorted([*one.indices, *other.indices]) == list(range(len(samples)))
    # No scene has more than two samples, so the border is at most one from where it should be.
    assert abs(sum(map(len, training)) - 0.6 * 40) <= 1


def test_of_one_set_the_split_is_that_by_its_scenes():
    for scenes in (SCENES, None):
        samples = Rooms(40, scenes)
        (training,), (validation,) = split_sets([samples], 0.7, 3)
        expected = split_by_scene(scenes, 40, 0.7, 3)
        np.testing.assert_array_equal(training.indices, expected[0])
        np.testing.assert_array_equal(validation.indices, expected[1])


def test_sets_without_scenes_are_split_by_sample_and_the_same_folder_in_the_same_way():
    sets = [Rooms(10, folder="a"), Rooms(6, folder="b"), Rooms(10, folder="a")]
    training, _ = split_sets(sets, 0.5, 0)
    assert 11 <= sum(map(len, training)) <= 15  # a pair has two samples
    np.testing.assert_array_equal(training[0].indices, training[2].indices)
    everything, nothing = split_sets(sets, 1, 0)
    assert [len(part) for part in everything] == [10, 6, 10]
    assert [len(part) for part in nothing] == [0, 0, 0]


def test_a_single_scene_cannot_be_split():
    with pytest.raises(UserError, match=r"--train_split=0.9: all 3 samples show the scene a"):
        split_by_scene(["a"] * 3, 3, 0.9, 0)
    assert len(split_by_scene(["a"] * 3, 3, 1, 0)[0]) == 3


# Batches.


def test_an_epoch_shows_every_sample_once_and_each_epoch_in_another_order():
    drawn = [int(n) for batch in take(training_batches(6), 8) for n in batch["sample"]]
    epochs = [drawn[start : start + 6] for start in range(0, 24, 6)]
    assert all(sorted(epoch) == list(range(6)) for epoch in epochs)
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
        "sample": ((3,), np.int32),
    }
    np.testing.assert_array_equal(batch["weight"], 1)


def test_too_few_samples_for_a_batch_are_an_error():
    with pytest.raises(UserError, match=r"--batch_size=8: there are only 7 samples"):
        training_batches(7, batch_size=8)


@pytest.mark.parametrize("weights", [None, (1, 3)])
def test_the_stream_from_any_place_is_the_tail_of_the_whole(small_and_large, weights):
    # Epochs end at 14 samples, or at 3 and 11 of each set: in the midst of batches.
    def stream(start, count, batch_size=3):
        return take(
            pipeline.training_batches(
                small_and_large, weights, batch_size, "disparity", 5, 0, start
            ),
            count,
        )

    whole = stream(0, 40, batch_size=1)
    for start in (0, 1, 3, 14, 31):
        for number, batch in enumerate(stream(start, 3)):
            rows = whole[start + 3 * number : start + 3 * number + 3]
            for name, values in batch.items():
                expected = np.concatenate([row[name] for row in rows])
                np.testing.assert_array_equal(values, expected, err_msg=name)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_batches_do_not_depend_on_workers_wherever_they_start(
    monkeypatch, small_and_large, num_workers
):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)  # no more workers than that are started
    expected, with_workers = (
        take(pipeline.training_batches(small_and_large, (1, 3), 3, "depth", 0, workers, start=7), 4)
        for workers in (0, num_workers)
    )
    assert_same(expected, with_workers)


def test_no_more_workers_are_started_than_there_are_cores(monkeypatch):
    started = []
    mp_prefetch = pipeline.grain.IterDataset.mp_prefetch

    def remember(self, options, _):
        started.append(options.num_workers)
        return mp_prefetch(self, options)

    monkeypatch.setattr(pipeline.grain.IterDataset, "mp_prefetch", remember)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    for workers in (0, 1, 8):
        training_batches(num_workers=workers)
    assert started == [1, 2]


@pytest.mark.parametrize("weights", [(0.7, 0.3), (1, 99), (3, 1)])
def test_sets_are_mixed_by_their_weights(small_and_large, weights):
    draws = pipeline.Draws.of(small_and_large, weights, seed=0)
    drawn = np.array([draws[place] for place in range(2000)])
    share = weights[0] / sum(weights)
    # Turns are spread evenly: after any number of draws, within one of the share.
    from_small = np.cumsum(drawn < 4)
    assert np.abs(from_small - share * np.arange(1, 2001)).max() <= 1
    # Each set has epochs of its own: all of it, then all of it again in another order.
    for numbers in (range(1, 4), range(5, 16)):
        own = drawn[np.isin(drawn, numbers)]
        whole = len(own) // len(numbers)
        epochs = own[: whole * len(numbers)].reshape(whole, -1)
        np.testing.assert_array_equal(np.sort(epochs, 1), [list(numbers)] * whole)
        assert whole < 2 or len(np.unique(epochs, axis=0)) > 1


def test_three_sets_are_mixed_by_their_weights():
    subsets = [subset(5), subset(50), subset(500)]
    draws = pipeline.Draws.of(subsets, (2, 3, 5), seed=0)
    drawn = np.array([draws[place] for place in range(1000)])
    counts = np.histogram(drawn, [0, 5, 55, 555])[0]
    # The first is within one of its share, each after it within one more.
    assert (np.abs(counts - [200, 300, 500]) <= [1, 2, 3]).all()


def test_without_weights_sets_are_drawn_from_as_one(small_and_large):
    draws = pipeline.Draws.of(small_and_large, None, seed=0)
    epoch = [draws[place] for place in range(14)]
    assert sorted(epoch) == [1, 2, 3, *range(5, 16)]


def test_a_place_far_out_is_found_at_once(small_and_large):
    draws = pipeline.Draws.of(small_and_large, (1, 3), seed=0)
    far = 10**12
    window = Counter(draws[far + place] < 4 for place in range(400))
    assert window[True] == 100 and draws[1 << 52] in range(16)


@pytest.mark.parametrize(
    "weights, message",
    [
        ((1,), r"--mix=1: 1 weights for 2 sets"),
        ((1, 0), r"--mix=1,0: each weight must be a positive number"),
        ((1, -2), r"--mix=1,-2: each weight"),
        ((1, float("nan")), r"--mix=1,nan: each weight"),
    ],
)
def test_weights_that_do_not_fit_are_an_error(small_and_large, weights, message):
    with pytest.raises(UserError, match=message):
        pipeline.training_batches(small_and_large, weights, 3, "depth", 0, 0)


def test_a_set_of_which_nothing_is_left_cannot_be_given_a_weight(small_and_large):
    small, large = small_and_large
    empty = Subset(small.samples, np.arange(0))
    with pytest.raises(UserError, match=r"small: none of its samples is left to train on"):
        pipeline.training_batches([empty, large], (1, 1), 3, "depth", 0, 0)
    (batch,) = take(pipeline.training_batches([empty, large], None, 3, "depth", 0, 0), 1)
    assert (batch["sample"] > 4).all()
    with pytest.raises(UserError, match=r"--batch_size=3: there are only 0 samples"):
        pipeline.training_batches([empty], None, 3, "depth", 0, 0)


@pytest.mark.parametrize("make_batches", ["training", "validation"])
def test_numbers_of_samples_name_their_files(small_and_large, make_batches):
    if make_batches == "training":
        batches = take(
            pipeline.training_batches(
                small_and_large, (1, 1), 4, "depth", 0, 0, crop=False, mirror=False
            ),
            6,
        )
    else:
        batches = list(pipeline.validation_batches(small_and_large, 4, "depth"))
    folders = {str(each.samples.path): each.samples for each in small_and_large}
    seen = set()
    for batch in batches:
        names = pipeline.sample_names(small_and_large, batch["sample"])
        for row, name in enumerate(names):
            seen.add(name)
            folder, _, identity = name.rpartition("/")
            sample = folders[folder][int(identity)]
            assert sample.id == identity
            expected = pipeline.to_blocks(*sample[:2], "depth")
            np.testing.assert_array_equal(batch["values"][row], expected["values"])
            np.testing.assert_array_equal(batch["focal"][row], expected["focal"])
    assert len(seen) == 14 and not any(name.endswith("000000") for name in seen)


def test_both_formats_give_the_same_batches(tmp_path):
    streams = []
    for format in prepared.FORMATS:
        samples = PreparedSet(make_set(tmp_path / format, 5, format))
        subsets = [Subset(samples, np.arange(5))]
        streams.append(take(pipeline.training_batches(subsets, None, 2, "depth", 0, 0), 4))
    assert_same(*streams)


@pytest.mark.parametrize(
    "format, num_workers", [(prepared.NPZ, 0), (prepared.ARRAY_RECORD, 0), (prepared.NPZ, 2)]
)
def test_a_damaged_file_is_named_on_one_line_also_by_workers(
    tmp_path, monkeypatch, small_and_large, format, num_workers
):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    source = small_and_large[format == prepared.ARRAY_RECORD].samples
    shutil.copytree(source.path, tmp_path / "set")
    file = "depths/000002.npz" if format == prepared.NPZ else "shards/00000.array_record"
    contents = (tmp_path / "set" / file).read_bytes()
    (tmp_path / "set" / file).write_bytes(contents[: len(contents) // 2])
    samples = PreparedSet(tmp_path / "set")
    subsets = [Subset(samples, np.arange(len(samples)))]
    with pytest.raises(DataError) as error:
        take(pipeline.training_batches(subsets, None, 4, "depth", 0, num_workers), 20)
    assert str(tmp_path / "set" / file) in str(error.value) and "\n" not in str(error.value)
    if not num_workers:
        with pytest.raises(DataError, match=str(tmp_path / "set" / file)):
            list(pipeline.validation_batches(subsets, 4, "depth"))


def test_validation_shows_every_sample_once_in_order_and_uncropped():
    batches = list(pipeline.validation_batches([subset(5), subset(2)], 3, "depth"))
    assert [len(batch["focal"]) for batch in batches] == [3, 3, 3]
    weight = np.concatenate([batch["weight"] for batch in batches])
    np.testing.assert_array_equal(weight, [1] * 7 + [0] * 2)
    focal = np.concatenate([batch["focal"] for batch in batches])[weight > 0]
    np.testing.assert_array_equal(
        focal, [np.float32(box_room(i)[1][0, 0]) for i in (*range(5), 0, 1)]
    )
    number = np.concatenate([batch["sample"] for batch in batches])[weight > 0]
    np.testing.assert_array_equal(number, range(7))
    for batch in batches:
        np.testing.assert_array_equal(batch["size"], [[96, 128]] * 3)
    assert list(pipeline.validation_batches([subset(0)], 3, "depth")) == []


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


@pytest.mark.parametrize("seed", range(20))
def test_without_crops_or_mirror_the_other_comes_out_the_same(seed):
    depth, intrinsics, _ = plane_map(np.random.default_rng(seed))

    def drawn(**options):
        return pipeline.random_crop(depth, intrinsics, np.random.default_rng(seed), **options)

    both, mirror_only, crop_only = drawn(), drawn(crop=False), drawn(mirror=False)
    whole, camera = drawn(crop=False, mirror=False)
    assert whole is depth and camera is intrinsics
    is_mirrored = mirror_only[0].strides[1] < 0
    if is_mirrored:
        crop_only = pipeline.mirrored(*crop_only)
        mirror_only = pipeline.mirrored(*mirror_only)
    np.testing.assert_array_equal(mirror_only[0], depth)
    np.testing.assert_allclose(mirror_only[1], intrinsics, rtol=1e-12)  # mirrored twice
    for one, other in zip(both, crop_only, strict=True):
        np.testing.assert_array_equal(one, other)


def test_mirroring_twice_changes_nothing():
    depth, intrinsics, _ = plane_map(np.random.default_rng(0))
    twice, camera = pipeline.mirrored(*pipeline.mirrored(depth, intrinsics))
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
