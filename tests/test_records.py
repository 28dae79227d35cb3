import hashlib
import pickle
import random

import grain
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.prepared import manifest, records, writing
from data.prepared.layout import ARRAY_RECORD
from data.prepared.manifest import Origin
from data.prepared.prepared_set import PreparedSet
from data.protocol import DepthMap, depth_map_of_units
from train3d_jax.errors import DataError

CAMERA = np.array([[500.25, 0, 3.1], [0, 501.75, 2.7], [0, 0, 1]])


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(records, "SAMPLES_PER_SHARD", 4)


def depth(seed, height=5, width=7):
    made = np.random.default_rng(seed).uniform(1, 9, (height, width)).astype(np.float32)
    made[0, 0] = 0
    return made


def make_set(folder, samples=10):
    writing.begin(folder)
    for index in range(samples):
        origin = Origin("scannet", f"scene000{index % 3}_00", "source", index)
        depth_map = DepthMap(depth(index), CAMERA)
        row = writing.write_sample(folder, index, depth_map, origin, ARRAY_RECORD)
        manifest.append_rows(folder, [row])
    for number, size in enumerate(records.shard_sizes(samples)):
        records.pack(folder, number, 4 * number, size)
        records.drop(folder, 4 * number, size)
    writing.finish(folder, {"format": ARRAY_RECORD}, software="0")
    return folder


@given(st.integers(0, 1 << 32), st.floats(0.01, 1000), st.integers(1, 9), st.integers(1, 9))
def test_depth_in_16_bits_is_off_by_half_a_step_at_most(seed, largest, height, width):
    rng = np.random.default_rng(seed)
    metres = (rng.uniform(0, largest, (height, width)) + 1e-6).astype(np.float32)
    metres[rng.random((height, width)) < 0.2] = 0
    again, camera = records.decode(records.encode(DepthMap(metres, CAMERA), {"id": "0"}))
    assert again.dtype == np.float32
    np.testing.assert_array_equal(again == 0, metres == 0)  # what is valid stays so
    step = metres.max() / 65535
    assert np.abs(again - metres).max() <= step * 1.001 and np.array_equal(camera, CAMERA)
    far = metres > step
    rounding = 1e-7 * metres.max()  # of float32
    assert (np.abs(again - metres)[far] <= 0.5 * step + rounding).all()


@pytest.mark.parametrize("units_per_metre", [1000, 512])
def test_depth_of_sensors_is_kept_exactly(units_per_metre):
    units = np.arange(65535, dtype=np.uint16).reshape(-1, 257)
    metres = np.divide(units, np.float32(units_per_metre), dtype=np.float32)
    again, _ = records.decode(records.encode(DepthMap(metres, CAMERA), {}))
    np.testing.assert_array_equal(again, metres)


@pytest.mark.parametrize("max_depth_m", [None, 5.0])
def test_depth_that_a_file_holds_in_16_bits_is_stored_as_it_is(max_depth_m):
    units = np.random.default_rng(0).integers(0, 1 << 16, (20, 30)).astype(np.uint16)
    depth_map = depth_map_of_units(units, 5000.0, CAMERA).limited(max_depth_m)
    codes, units_per_metre, _ = records.decode_units(records.encode(depth_map, {}))
    kept = units if max_depth_m is None else np.where(units <= 5000 * max_depth_m, units, 0)
    np.testing.assert_array_equal(codes, kept)
    assert units_per_metre == 5000 and (max_depth_m is None or (kept != units).any())


@given(st.integers(0, 1 << 32))
@settings(max_examples=200)
def test_a_damaged_record_is_an_error_or_a_whole_depth_map(seed):
    chance = random.Random(seed)
    record = bytearray(records.encode(DepthMap(depth(0), CAMERA), {"id": "000000"}))
    if chance.random() < 0.5:
        record[chance.randrange(len(record))] ^= chance.randint(1, 255)
    else:
        del record[chance.randrange(len(record)) :]
    try:
        again, camera = records.decode(bytes(record))
    except ValueError as error:
        assert "not a record of a depth map" in str(error)
    else:
        assert again.ndim == 2 and camera.shape == (3, 3)


def test_a_sharded_set_reads_back_at_random_from_several_files(tmp_path):
    samples = PreparedSet(make_set(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("dataset.json", "focals.npy", "manifest.jsonl", "quarantine.jsonl"),
        *("scales.npy", "shards"),
    ]
    assert len(samples) == 10 and len(list((tmp_path / "shards").iterdir())) == 3
    for index in (9, 0, 5, 3, 4, -1):
        sample = samples[index]
        np.testing.assert_allclose(sample.depth, depth(index % 10), atol=9 / 65535)
        np.testing.assert_array_equal(sample.intrinsics, CAMERA)
        assert (sample.id, sample.scene) == (f"00000{index % 10}", samples.scenes[index])
    with pytest.raises(IndexError):
        samples[10]


def test_a_sharded_set_is_a_source_for_grain_and_can_be_pickled(tmp_path):
    samples = PreparedSet(make_set(tmp_path))
    samples[0]  # a reader is open
    again = pickle.loads(pickle.dumps(samples))
    np.testing.assert_array_equal(again[7].depth, samples[7].depth)
    dataset = grain.MapDataset.source(again).shuffle(seed=0).map(lambda sample: sample.id)
    threads = grain.ReadOptions(num_threads=4, prefetch_buffer_size=4)
    assert sorted(dataset.to_iter_dataset(threads)) == [f"00000{index}" for index in range(10)]


def test_the_same_samples_give_the_same_shards(tmp_path):
    hashes = [
        [
            hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted((make_set(tmp_path / name) / "shards").iterdir())
        ]
        for name in "ab"
    ]
    assert hashes[0] == hashes[1]


def test_a_damaged_shard_is_an_error_that_names_it_or_gives_whole_samples(tmp_path):
    make_set(tmp_path)
    path, chance = tmp_path / "shards/00001.array_record", random.Random(0)
    whole = path.read_bytes()
    noticed = 0
    for variant in range(120):
        damaged = bytearray(whole)
        if variant % 2:
            del damaged[chance.randrange(len(damaged)) :]
        else:
            damaged[chance.randrange(len(damaged))] ^= chance.randint(1, 255)
        path.write_bytes(damaged)
        records._open.cache_clear()
        samples = PreparedSet(tmp_path)
        for index in range(4, 8):
            try:
                np.testing.assert_allclose(samples[index].depth, depth(index), atol=9 / 65535)
            except DataError as error:
                assert "00001.array_record" in str(error) and "\n" not in str(error)
                noticed += 1
        np.testing.assert_array_equal(samples[0].intrinsics, CAMERA)
    assert noticed > 60
    path.unlink()
    with pytest.raises(DataError, match=r"00001\.array_record: is missing"):
        PreparedSet(tmp_path)[5]
