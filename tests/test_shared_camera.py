"""One focal length for a folder: estimated from all maps, and the same for every map."""

import json

import numpy as np
import pytest
from box_rooms import box_room
from folders import NAMES, SIZE, fill, focal_lengths, recovered, rows_of
from folders import solver as solver
from raw_files import put

from launch.recovery import shared_camera
from launch.recovery.shards import Shard
from train3d_jax.errors import UserError
from train3d_jax.inference import clips, recovery

# One camera for all.


@pytest.fixture
def evidence(monkeypatch):
    """Stands in for the evidence: the sum of the numbers of valid blocks, and of maps."""

    def evidence(models, blocks, known, method, space, at_once, segments):
        votes = np.stack([np.asarray(blocks.mask).sum(-1), np.ones(len(blocks.size))], -1)
        solvable = np.ptp(blocks.values, axis=-1) > 0
        votes = np.where(solvable[:, None], votes, 0)
        ones = np.ones(len(votes))
        return recovery.Evidence(votes, votes, ones, ones, solvable, ones)

    def shared_focal(total, count, size, hint=None):
        assert hint is None
        assert total[1] == count  # what fills up a batch does not vote
        return total[0] / count, (10.0, 90.0)

    monkeypatch.setattr(recovery, "evidence", evidence)
    monkeypatch.setattr(clips, "shared_focal", shared_focal)


def test_all_maps_get_the_camera_that_they_agree_on(tmp_path, solver, evidence, capsys):
    fill(tmp_path / "in", NAMES)
    put(tmp_path / "in" / "broken.npy", b"nothing")
    np.save(tmp_path / "in" / "nothing.npy", np.zeros(SIZE))
    assert recovered(tmp_path, shared_camera=True) == (9, 2, 0)
    rows = [row for row in rows_of(tmp_path / "out") if not row["error"]]
    assert {float(row["focal_px"]) for row in rows} == {SIZE[0] * SIZE[1]}
    assert {(row["focal_low_px"], row["focal_high_px"]) for row in rows} == {("10.0", "90.0")}
    output = capsys.readouterr().out
    assert "from 9 of 11 maps" in output
    # The interval is that of all maps, and so is its flag; each remedy is printed once.
    assert all("focal_uncertain" in row["flags"].split() for row in rows)
    counted = json.loads((tmp_path / "out" / "summary.json").read_text())["flags"]
    assert counted["focal_uncertain"] == 9 and output.count("factor of 2; give") == 1


def test_of_a_huge_folder_an_even_share_is_asked_for_the_camera(
    tmp_path, solver, evidence, monkeypatch, capsys
):
    fill(tmp_path / "in", NAMES)
    monkeypatch.setattr(shared_camera, "MOST_MAPS", 5)
    assert recovered(tmp_path, shared_camera=True).recovered == 9
    assert "from 5 of 9 maps" in capsys.readouterr().out


def test_maps_of_two_sizes_share_no_camera(tmp_path, solver, evidence):
    fill(tmp_path / "in", ["a.npy"])
    fill(tmp_path / "in", ["b.npy"], (30, 30))
    with pytest.raises(UserError, match=r"a\.npy is 32 x 24 pixels and .*b\.npy 30 x 30"):
        recovered(tmp_path, shared_camera=True)


def half_missing(path):
    """A map with half as many votes as the others."""
    values = box_room(7, SIZE)[0]
    values[: SIZE[0] // 2] = 0
    np.save(path, values)


def test_a_folder_that_grew_gets_one_camera_for_all_maps_again(tmp_path, solver, evidence):
    fill(tmp_path / "in", NAMES[:3])
    assert recovered(tmp_path, shared_camera=True).recovered == 3
    assert recovered(tmp_path, shared_camera=True, resume=True).resumed == 3
    half_missing(tmp_path / "in" / "new.npy")
    assert recovered(tmp_path, shared_camera=True, resume=True) == (4, 0, 0)
    assert focal_lengths(tmp_path / "out") == {3.5 / 4 * SIZE[0] * SIZE[1]}
    assert recovered(tmp_path, shared_camera=True, resume=True) == (4, 0, 4)


def test_shards_of_a_folder_that_grew_are_not_merged_with_two_cameras(tmp_path, solver, evidence):
    fill(tmp_path / "in", ["a.npy", "b.npy"])
    recovered(tmp_path, shared_camera=True, shard=Shard(2, 2))
    half_missing(tmp_path / "in" / "c.npy")
    recovered(tmp_path, shared_camera=True, shard=Shard(1, 2))
    with pytest.raises(UserError, match=r"b\.npy has another shared camera \(768 px\) than a\.npy"):
        recovered(tmp_path, shared_camera=True, merge=True)
    assert not (tmp_path / "out" / "summary.json").exists()
    recovered(tmp_path, shared_camera=True, shard=Shard(2, 2), resume=True)
    assert recovered(tmp_path, shared_camera=True, merge=True).recovered == 3
    assert len(focal_lengths(tmp_path / "out")) == 1


def test_without_any_map_for_the_camera_the_first_reason_is_reported(tmp_path, solver, evidence):
    put(tmp_path / "in" / "b.npy", b"nothing")
    np.save(tmp_path / "in" / "a.npy", np.ones((2, 3, *SIZE)))
    with pytest.raises(UserError, match=r"none of 2 maps .* first: .*a\.npy: .*\(2, 3, 24, 32\)"):
        recovered(tmp_path, shared_camera=True)
    np.save(tmp_path / "in" / "a.npy", np.zeros(SIZE))
    (tmp_path / "in" / "b.npy").unlink()
    with pytest.raises(UserError, match=r"none of 1 maps .*a\.npy: too few valid pixels"):
        recovered(tmp_path, shared_camera=True)
