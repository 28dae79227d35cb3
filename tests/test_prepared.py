import hashlib
import json
import os
import pickle

import grain
import numpy as np
import pytest

from data.prepared import layout, manifest, writing
from data.prepared.layout import State
from data.prepared.manifest import Origin
from data.prepared.prepared_set import PreparedSet
from data.protocol import DepthMap
from train3d_jax.errors import DataError, UserError
from train3d_jax.files import own_part


def depth_map(seed=0, height=5, width=7):
    depth = np.random.default_rng(seed).uniform(1, 9, (height, width)).astype(np.float32)
    depth[0, 0] = 0
    return DepthMap(depth, np.array([[500.25, 0, 3], [0, 501.75, 2], [0, 0, 1]]))


def make_set(folder, scenes=("scene0000_00", "scene0000_01", "scene0001_00")):
    writing.begin(folder)
    for index, scene in enumerate(scenes):
        origin = Origin("scannet", scene, f"scans/{scene}/{scene}.sens", 3 * index)
        manifest.append_rows(
            folder, [writing.write_sample(folder, index, depth_map(index), origin)]
        )
    writing.finish(folder, {"seed": 0}, software="0")
    return folder


def make_original(folder, names=("0", "1", "2", "10")):
    for kind in ("depths", "intrinsics"):
        (folder / kind).mkdir(parents=True)
    for seed, name in enumerate(names):
        made = depth_map(seed)
        np.savez_compressed(folder / "depths" / f"{name}.npz", made.depth.astype(np.float64))
        matrix = np.eye(4)
        matrix[:3, :3] = made.intrinsics
        np.save(folder / "intrinsics" / f"{name}.npy", matrix)
    return folder


def test_what_is_written_is_what_the_contract_says(tmp_path):
    make_set(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [
        *("dataset.json", "depths", "focals.npy"),
        *("intrinsics", "manifest.jsonl", "quarantine.jsonl", "scales.npy"),
    ]
    assert sorted(os.listdir(tmp_path / "depths")) == [f"00000{i}.npz" for i in range(3)]
    assert sorted(os.listdir(tmp_path / "intrinsics")) == [f"00000{i}.npy" for i in range(3)]
    depth = np.load(tmp_path / "depths/000001.npz")["arr_0"]
    assert depth.dtype == np.float32
    np.testing.assert_array_equal(depth, depth_map(1).depth)
    intrinsics = np.load(tmp_path / "intrinsics/000001.npy")
    assert intrinsics.dtype == np.float64
    np.testing.assert_array_equal(intrinsics, depth_map(1).intrinsics)
    np.testing.assert_array_equal(np.load(tmp_path / "focals.npy"), [501.0] * 3)
    expected = [depth_map(index).depth.max() for index in range(3)]
    np.testing.assert_array_equal(np.load(tmp_path / "scales.npy"), expected)
    row = json.loads((tmp_path / "manifest.jsonl").read_text().splitlines()[1])
    assert (
        row["sha256"] == hashlib.sha256((tmp_path / "depths/000001.npz").read_bytes()).hexdigest()
    )
    assert (
        row["intrinsics_sha256"]
        == hashlib.sha256((tmp_path / "intrinsics/000001.npy").read_bytes()).hexdigest()
    )
    assert (row["id"], row["dataset"], row["scene"]) == ("000001", "scannet", "scene0000_01")
    assert (row["source"], row["frame"]) == ("scans/scene0000_01/scene0000_01.sens", 3)
    assert (row["size"], row["focal"]) == ([5, 7], 501.0)
    dataset = json.loads((tmp_path / "dataset.json").read_text())
    assert (dataset["counts"], dataset["settings"]) == ({"scannet": 3}, {"seed": 0})
    assert dataset["version"] == layout.FORMAT_VERSION


def test_a_set_reads_back_exactly(tmp_path):
    samples = PreparedSet(make_set(tmp_path))
    assert len(samples) == 3
    for index in range(3):
        sample = samples[index]
        np.testing.assert_array_equal(sample.depth, depth_map(index).depth)
        np.testing.assert_array_equal(sample.intrinsics, depth_map(index).intrinsics)
        assert sample.depth.dtype == np.float32 and sample.intrinsics.dtype == np.float64
        assert (sample.id, sample.scene) == (f"00000{index}", samples.scenes[index])
    with pytest.raises(IndexError):
        samples[3]


def test_scenes_that_show_the_same_place_share_a_key(tmp_path):
    assert PreparedSet(make_set(tmp_path)).scenes == [
        *("scannet/scene0000", "scannet/scene0000", "scannet/scene0001")
    ]
    assert manifest.place("kenburns", "town-walking") == manifest.place("kenburns", "town-flying")
    assert manifest.place("kenburns", "asdf") == "kenburns/asdf"
    assert manifest.place("taskonomy", "scene0000_00") == "taskonomy/scene0000_00"
    assert manifest.place("scannet", "room_00") == "scannet/room_00"


def test_the_same_samples_give_the_same_bytes(tmp_path):
    first, second = make_set(tmp_path / "a"), make_set(tmp_path / "b")
    files = [path.relative_to(first) for path in first.rglob("*") if path.is_file()]
    assert len(files) == 11
    for file in files:
        assert (first / file).read_bytes() == (second / file).read_bytes(), file


def test_a_set_is_a_source_for_grain_and_can_be_pickled(tmp_path):
    samples = PreparedSet(make_set(tmp_path))
    again = pickle.loads(pickle.dumps(samples))
    assert (again.ids, again.scenes) == (samples.ids, samples.scenes)
    assert repr(samples) == repr(again) == f"PreparedSet('{tmp_path}')"
    dataset = grain.MapDataset.source(samples).shuffle(seed=0).map(lambda sample: sample.id)
    assert sorted(dataset) == ["000000", "000001", "000002"]


def test_a_set_gives_the_facts_that_a_run_keeps(tmp_path):
    folder = make_set(tmp_path / "set")
    manifest = hashlib.sha256((folder / "manifest.jsonl").read_bytes()).hexdigest()
    expected = {
        "path": str(folder),
        "sha256": manifest,
        "samples": 3,
        "datasets": {"scannet": 3},
        "licences": {"scannet": "unknown"},  # dataset.json tells of none
    }
    assert PreparedSet(folder).facts() == expected
    writing.finish(folder, {}, software="0", more={"licences": {"scannet": "its terms"}})
    assert PreparedSet(folder).facts()["licences"] == {"scannet": "its terms"}


def test_of_a_set_of_the_original_scripts_only_its_size_is_known(tmp_path):
    assert PreparedSet(make_original(tmp_path)).facts() == {
        "path": str(tmp_path),
        "sha256": None,
        "samples": 4,
        "datasets": {"unknown": 4},
        "licences": {"unknown": "unknown"},
    }


def test_sets_of_the_original_scripts_are_read_in_the_order_of_numbers(tmp_path):
    samples = PreparedSet(make_original(tmp_path))
    assert (samples.ids, samples.scenes) == (["0", "1", "2", "10"], None)
    sample = samples[3]
    assert sample.depth.dtype == np.float32 and sample.scene == ""
    np.testing.assert_array_equal(sample.depth, depth_map(3).depth)
    np.testing.assert_array_equal(sample.intrinsics, depth_map(3).intrinsics)


def test_odd_names_and_odd_values_of_the_original_are_read(tmp_path):
    make_original(tmp_path, names=("scene_7", "scene_12", "12b", "x"))
    depth = np.array([[np.nan, np.inf], [-1.0, 2.0]])
    np.savez(tmp_path / "depths" / "x.npz", depth)
    samples = PreparedSet(tmp_path)
    assert sorted(samples.ids) == ["12b", "scene_12", "scene_7", "x"]
    assert samples.ids.index("scene_7") < samples.ids.index("scene_12")
    np.testing.assert_array_equal(samples[samples.ids.index("x")].depth, [[0, 0], [0, 2]])


def test_a_sample_of_the_original_without_its_other_half_is_an_error(tmp_path):
    make_original(tmp_path)
    (tmp_path / "intrinsics" / "1.npy").unlink()
    with pytest.raises(DataError, match=r"intrinsics/1\.npy: is missing"):
        PreparedSet(tmp_path)


def test_a_set_that_is_not_finished_is_refused(tmp_path):
    make_set(tmp_path)
    (tmp_path / "dataset.json").unlink()
    with pytest.raises(UserError, match="not finished"):
        PreparedSet(tmp_path)


def test_a_folder_without_a_set_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "note.txt").write_text("nothing")
    for name in ("missing", "empty", "other"):
        with pytest.raises(UserError, match=f"{name}: there is no prepared set"):
            PreparedSet(tmp_path / name)
    with pytest.raises(UserError, match="is a file"):
        PreparedSet(tmp_path / "other" / "note.txt")


@pytest.mark.parametrize("lost", ["no manifest", "a row", "half a row", "not JSON", "version"])
def test_a_finished_set_whose_listing_is_damaged_is_refused(tmp_path, lost):
    make_set(tmp_path)
    manifest, dataset = tmp_path / "manifest.jsonl", tmp_path / "dataset.json"
    if lost == "no manifest":
        manifest.unlink()
    elif lost == "a row":
        manifest.write_text("".join(manifest.read_text().splitlines(keepends=True)[:-1]))
    elif lost == "half a row":
        manifest.write_text(manifest.read_text()[:-20])
    elif lost == "not JSON":
        dataset.write_text("[")
    else:
        dataset.write_text(dataset.read_text().replace('"version": 1', '"version": 99'))
    with pytest.raises(UserError, match=r"manifest\.jsonl|dataset\.json"):
        PreparedSet(tmp_path)


@pytest.mark.parametrize("kind", ["depths/000001.npz", "intrinsics/000001.npy"])
def test_a_damaged_file_is_an_error_that_names_it(tmp_path, kind):
    samples = PreparedSet(make_set(tmp_path))
    whole = (tmp_path / kind).read_bytes()
    for length in range(0, len(whole), 10):
        (tmp_path / kind).write_bytes(whole[:length])
        with pytest.raises(DataError, match=kind):
            samples[1]
    (tmp_path / kind).unlink()
    with pytest.raises(DataError, match=kind):
        samples[1]


@pytest.mark.parametrize(
    "matrix", [np.eye(2), np.full((3, 3), np.nan), -np.eye(3), np.array("text"), np.zeros(9)]
)
def test_intrinsics_that_are_no_camera_are_an_error(tmp_path, matrix):
    samples = PreparedSet(make_set(tmp_path))
    np.save(tmp_path / "intrinsics/000001.npy", matrix)
    with pytest.raises(DataError, match=r"000001\.npy"):
        samples[1]


def test_beginning_anew_deletes_what_an_unfinished_set_left_and_nothing_else(tmp_path):
    make_set(tmp_path)
    (tmp_path / "dataset.json").unlink()
    (tmp_path / "depths" / "000007.npz.part").write_bytes(b"half")
    own_part(tmp_path / "depths" / "000008.npz").write_bytes(b"half")
    (tmp_path / "depths" / "mine.npz").write_bytes(b"not of a set")
    assert layout.state(tmp_path) is State.UNFINISHED
    writing.begin(tmp_path)
    assert os.listdir(tmp_path / "depths") == ["mine.npz"]
    assert not (tmp_path / "intrinsics").exists()
    assert list(manifest.rows(tmp_path)) == []
    assert layout.state(tmp_path) is State.UNFINISHED
