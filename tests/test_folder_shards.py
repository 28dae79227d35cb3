"""Shards of a folder, merged, report what one run reports."""

import json

import pytest
from folders import fill, recovered
from folders import solver as solver
from raw_files import put

from launch.recovery import shared_camera
from launch.recovery.shards import Shard
from train3d_jax.errors import UserError
from train3d_jax.inference import clips

# Parts of a folder.


def summaries(out):
    """The reports on a folder, without the time it took."""
    output = json.loads((out / "summary.json").read_text())
    del output["seconds"], output["settings"]["out"]
    return output, (out / "summary.csv").read_text(), (out / "index.html").read_text()


def test_shards_merged_report_what_one_run_reports(tmp_path, solver):
    fill(tmp_path / "in", [f"{number}.npy" for number in range(7)])
    put(tmp_path / "in" / "broken.npy", b"no array")
    recovered(tmp_path, out=tmp_path / "whole")
    counts = [recovered(tmp_path, shard=Shard(number, 3)) for number in (2, 3, 1)]
    assert sum(part.recovered for part in counts) == 7
    assert sum(part.failed for part in counts) == 1
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".json", ".ply"}
    assert not (tmp_path / "out" / "summary.json").exists()
    solver.clear()
    merged = recovered(tmp_path, merge=True)
    assert (merged.recovered, merged.failed) == (7, 1) and not solver
    assert summaries(tmp_path / "out") == summaries(tmp_path / "whole")


def test_what_no_shard_has_done_cannot_be_merged(tmp_path, solver):
    fill(tmp_path / "in", ["a.npy", "b.npy"])
    recovered(tmp_path, shard=Shard(1, 2))
    with pytest.raises(UserError, match=r"b\.npy has no answer of these settings"):
        recovered(tmp_path, merge=True)
    recovered(tmp_path, shard=Shard(2, 2), shift_known=True)
    with pytest.raises(UserError, match=r"b\.npy has no answer of these settings"):
        recovered(tmp_path, merge=True)
    assert not list((tmp_path / "out").glob("summary*")) + list((tmp_path / "out").glob("*.part"))


def test_a_shard_without_maps_is_done_at_once(tmp_path, solver):
    fill(tmp_path / "in", ["a.npy"])
    assert recovered(tmp_path, shard=Shard(2, 2)) == (0, 0, 0)


def test_every_shard_finds_the_one_camera_from_all_maps(tmp_path, solver, monkeypatch):
    fill(tmp_path / "in", [f"{number}.npy" for number in range(5)])
    seen = []
    shared = shared_camera.SharedCamera(clips.Camera(30.0, (29.0, 31.0), 5), 5)
    monkeypatch.setattr(
        shared_camera.Pooling, "camera", lambda self, _: seen.append(len(self._files)) or shared
    )
    for number in (1, 2):
        recovered(tmp_path, shard=Shard(number, 2), shared_camera=True)
    assert seen == [5, 5]
