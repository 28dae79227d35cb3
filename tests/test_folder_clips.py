"""Clips in launch.infer: files of several maps, and folders with --clip."""

import json

import numpy as np
import pytest
from folders import SIZE, fill, recovered, rows_of
from folders import solver as solver
from PIL import Image
from raw_files import put

from data.user_maps.known_cameras import KnownCamera
from launch.recovery.shards import Shard
from train3d_jax.errors import UserError
from train3d_jax.evidence.targets import FOCAL_BINS, SHIFT_BINS, focal_bins, ratio_bins
from train3d_jax.geometry import affine
from train3d_jax.geometry.camera import initial_focal
from train3d_jax.inference import recovery

FRAMES = 5
OFFSET = -1.25
"""That is right for every frame: values are depth - OFFSET."""

FOCAL = 33.0


def bump(places, value, sigma):
    return -0.5 * ((places - value) / sigma) ** 2


@pytest.fixture
def evidence(monkeypatch):
    """Stands in for the evidence: all frames say FOCAL and OFFSET, in their canonical units."""
    asked = []

    def of_maps(models, blocks, known, method, space, at_once, segments):
        asked.append(known)
        canonical = affine.canonicalise(blocks.values, blocks.mask)
        scale, offset = np.asarray(canonical.scale), np.asarray(canonical.offset)
        solvable = np.asarray(canonical.solvable)
        ratio = np.asarray(affine.shift_to_ratio(scale * OFFSET - offset))
        first_guess = float(initial_focal(SIZE[0]))
        focal = np.tile(bump(focal_bins(), np.log(FOCAL / first_guess), 0.05), (len(scale), 1))
        shift = bump(ratio_bins(), ratio[:, None], 0.01)
        assert focal.shape[1] == FOCAL_BINS and shift.shape[1] == SHIFT_BINS
        return recovery.Evidence(focal, shift, scale, offset, solvable, np.ones(len(scale)))

    monkeypatch.setattr(recovery, "evidence", of_maps)
    return asked


def save(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, values)


def film(rng=np.random.default_rng(0)):  # noqa: B008
    """Frames whose ranges of depth differ."""
    far = 3.0 + np.arange(FRAMES)[:, None, None]
    return np.float32(1 + far * rng.random((FRAMES, *SIZE)) - OFFSET)


def test_a_file_of_frames_has_one_camera_and_one_shift(tmp_path, solver, evidence, capsys):
    save(tmp_path / "in" / "film.npy", film())
    fill(tmp_path / "in", ["alone.npy"])
    assert recovered(tmp_path, affine="clip") == (FRAMES + 1, 0, 0)
    rows = {row["input"]: row for row in rows_of(tmp_path / "out")}
    assert set(rows) == {"alone.npy", *(f"film.npy[{n}]" for n in range(FRAMES))}
    frames = [json.loads((tmp_path / f"out/film/{n:06d}.json").read_text()) for n in range(FRAMES)]
    for answer in frames:
        np.testing.assert_allclose(answer["focal_px"], FOCAL, rtol=0.02)  # a bin
        assert answer["focal_source"] == "maps"
        assert answer["a"] == frames[0]["a"] and answer["b"] == frames[0]["b"]
        np.testing.assert_allclose(answer["b"] / answer["a"], OFFSET, atol=0.1)
        low, high = answer["shift_interval"]
        true = answer["canonical_scale"] * OFFSET - answer["canonical_offset"]
        assert low < true < high
    assert rows["alone.npy"]["focal_px"] != rows["film.npy[0]"]["focal_px"]
    assert "clip film: focal length" in capsys.readouterr().out
    with Image.open(tmp_path / "out" / "film.clip.gif") as picture:
        assert picture.n_frames == FRAMES


def test_a_known_shift_of_a_clip_leaves_one_scale(tmp_path, solver, evidence):
    save(tmp_path / "in" / "film.npy", film())
    recovered(tmp_path, affine="clip", shift_known=True)
    for number in range(FRAMES):
        answer = json.loads((tmp_path / "out" / "film" / f"{number:06d}.json").read_text())
        assert (answer["a"], answer["b"]) == (1, 0)


def test_a_map_beside_a_clip_keeps_its_known_shift(tmp_path, solver, evidence):
    save(tmp_path / "in" / "film.npy", film()[:2])
    fill(tmp_path / "in", ["alone.npy"])
    recovered(tmp_path, affine="clip", shift_known=True, shift_sigma=0.05)
    ((_, known),) = solver  # one batch
    alone, *frames = np.stack([known.offset, known.shift_sigma], -1)
    np.testing.assert_array_equal(alone, [0, 0.05])
    for offset, sigma in frames:
        assert offset != 0 and sigma == 0


def test_a_clip_without_evidence_leaves_the_other_maps(tmp_path, solver, evidence, capsys):
    save(tmp_path / "in" / "film.npy", film())
    save(tmp_path / "in" / "flat.npy", np.ones((2, *SIZE)))
    fill(tmp_path / "in", ["alone.npy"])
    assert recovered(tmp_path) == (FRAMES + 1, 2, 0)
    assert "clip flat: none of 2 maps can be read and solved" in capsys.readouterr().out
    assert {row["input"] for row in rows_of(tmp_path / "out") if row["error"]} == {
        "flat.npy[0]", "flat.npy[1]",
    }  # fmt: skip


def test_frames_of_a_folder_have_shifts_that_follow_each_other(tmp_path, solver, evidence):
    for number, values in enumerate(film()):
        save(tmp_path / "in" / f"{2 * number + 1}.npy", values)
    assert recovered(tmp_path, clip=True) == (FRAMES, 0, 0)
    _, known = solver[-1]
    # In the order of their numbers: 1, 3, 5, 7, 9; the far end of the frames grows.
    ratios = affine.shift_to_ratio(np.asarray(known.shift))
    assert (np.diff(ratios) < 0).all()
    assert np.isnan(np.asarray(known.offset)).all()
    assert (tmp_path / "out" / "clip.clip.gif").exists()


def test_what_is_known_of_the_camera_is_that_of_the_clip(tmp_path, solver, evidence):
    save(tmp_path / "in" / "film.npy", film())
    put(tmp_path / "in" / "camera_matrix.csv", b"40,0,15.5\n0,40,11.5\n0,0,1\n")
    recovered(tmp_path, affine="clip", camera=KnownCamera(automatic=True))
    answer = json.loads((tmp_path / "out" / "film" / "000000.json").read_text())
    assert answer["focal_px"] == 40 and answer["focal_source"] == "file"


def test_a_clip_is_resumed_and_split_into_shards(tmp_path, solver, evidence):
    save(tmp_path / "in" / "film.npy", film())
    assert recovered(tmp_path, affine="clip") == (FRAMES, 0, 0)
    whole = rows_of(tmp_path / "out")
    assert recovered(tmp_path, affine="clip", resume=True) == (FRAMES, 0, FRAMES)
    for number in (1, 2):
        recovered(tmp_path, out=tmp_path / "parts", affine="clip", shard=Shard(number, 2))
    recovered(tmp_path, out=tmp_path / "parts", affine="clip", merge=True)
    assert rows_of(tmp_path / "parts") == whole


def test_frames_whose_shift_others_have_changed_are_recovered_again(tmp_path, solver, evidence):
    for number, values in enumerate(film()):
        save(tmp_path / "in" / f"{number}.npy", values)
    assert recovered(tmp_path, clip=True) == (FRAMES, 0, 0)
    assert recovered(tmp_path, clip=True, resume=True) == (FRAMES, 0, FRAMES)
    save(tmp_path / "in" / "5.npy", 1 + 0.1 * film()[0])
    counts = recovered(tmp_path, clip=True, resume=True)
    assert counts.recovered == FRAMES + 1 and counts.resumed < FRAMES


def test_frames_of_two_sizes_are_refused_before_anything_is_written(tmp_path, solver, evidence):
    save(tmp_path / "in" / "1.npy", np.ones(SIZE))
    save(tmp_path / "in" / "2.npy", np.ones((SIZE[0], SIZE[1] + 1)))
    with pytest.raises(UserError, match=r"--clip: 1\.npy is .* pixels and 2\.npy .*; one camera"):
        recovered(tmp_path, clip=True)


def test_an_empty_clip_is_reported_and_the_rest_recovered(tmp_path, solver, evidence, capsys):
    save(tmp_path / "in" / "empty.npy", np.zeros((0, *SIZE)))
    fill(tmp_path / "in", ["alone.npy"])
    assert recovered(tmp_path) == (1, 1, 0)
    assert "an empty clip" in capsys.readouterr().out
