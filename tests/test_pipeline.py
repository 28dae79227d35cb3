import os
import shutil

import numpy as np
import pytest
from box_rooms import box_room
from prepared_sets import assert_same, make_set, subset, take, training_batches

from data.loading import pipeline, read_ahead, samples, splits
from data.loading.splits import Subset
from data.prepared import layout
from data.prepared.prepared_set import PreparedSet
from train3d_jax.errors import DataError, UserError

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
    mp_prefetch = read_ahead.grain.IterDataset.mp_prefetch

    def remember(self, options, _):
        started.append(options.num_workers)
        return mp_prefetch(self, options)

    monkeypatch.setattr(read_ahead.grain.IterDataset, "mp_prefetch", remember)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    for workers in (0, 1, 8):
        training_batches(num_workers=workers)
    assert started == [1, 2]


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
        names = splits.sample_names(small_and_large, batch["sample"])
        for row, name in enumerate(names):
            seen.add(name)
            folder, _, identity = name.rpartition("/")
            sample = folders[folder][int(identity)]
            assert sample.id == identity
            expected = samples.to_blocks(*sample[:2], "depth")
            np.testing.assert_array_equal(batch["values"][row], expected["values"])
            np.testing.assert_array_equal(batch["focal"][row], expected["focal"])
    assert len(seen) == 14 and not any(name.endswith("000000") for name in seen)


def test_both_formats_give_the_same_batches(tmp_path):
    streams = []
    for format in layout.FORMATS:
        samples = PreparedSet(make_set(tmp_path / format, 5, format))
        subsets = [Subset(samples, np.arange(5))]
        streams.append(take(pipeline.training_batches(subsets, None, 2, "depth", 0, 0), 4))
    assert_same(*streams)


@pytest.mark.parametrize(
    "format, num_workers", [(layout.NPZ, 0), (layout.ARRAY_RECORD, 0), (layout.NPZ, 2)]
)
def test_a_damaged_file_is_named_on_one_line_also_by_workers(
    tmp_path, monkeypatch, small_and_large, format, num_workers
):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    source = small_and_large[format == layout.ARRAY_RECORD].samples
    shutil.copytree(source.path, tmp_path / "set")
    file = "depths/000002.npz" if format == layout.NPZ else "shards/00000.array_record"
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
    blocks = samples.to_blocks(depth, intrinsics, "depth")
    mask = blocks["mask"].reshape(64, 64)
    np.testing.assert_array_equal(mask, depth > 0)
    np.testing.assert_array_equal(blocks["values"].reshape(64, 64)[mask], depth[mask])
    inverse = samples.to_blocks(depth, intrinsics, "disparity")["values"].reshape(64, 64)
    np.testing.assert_allclose(inverse[mask], 1 / depth[mask], rtol=1e-6)
    np.testing.assert_array_equal(blocks["centre"], [31.5, 31.5])
    np.testing.assert_allclose(blocks["focal"], intrinsics[[0, 1], [0, 1]].mean(), rtol=1e-6)
