"""Pictures as evidence: what their lines change, in `recover(rgb=)` and in `launch.infer --rgb`.

By the geometric method, a map at a time: one program with lines, one without.
"""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from broken_files import picture as encoded
from PIL import Image
from raw_files import put
from rendered_pictures import SIZE, noisy_maps, pictures, true_focals, true_gravity

from launch.recovery.config import RecoveryConfig, SaveSettings
from launch.recovery.folder import recover_folder
from train3d_jax.api import load_model, recover
from train3d_jax.geometry.camera import roll_and_pitch
from train3d_jax.inference import estimation, recovery
from train3d_jax.lines import segments
from train3d_jax.lines.pictures import NOT_REGISTERED, OTHER_ASPECT

TOGETHER = 3
"""Maps of a call; of more than `chunking.FEW` a larger program is compiled."""

FIELDS = ("focal_px", "shift", "a", "b", "focal_interval_px", "shift_interval")


@functools.cache
def geometry():
    return load_model(None, space="depth")


def in_parts(**arguments):
    """The shapes of all rendered maps, and their flags."""
    parts = []
    for first in range(0, len(noisy_maps()), TOGETHER):
        chosen = slice(first, first + TOGETHER)
        rest = {name: values[chosen] for name, values in arguments.items()}
        parts.append(geometry().recover(noisy_maps()[chosen], **rest))
    names = (*FIELDS, "gravity", "gravity_sigma_deg")
    found = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return found | {"flags": [flags for part in parts for flags in part.flags]}


@functools.cache
def without():
    return in_parts()


@functools.cache
def with_lines():
    return in_parts(rgb=pictures())


def counts(found):
    return np.array([NOT_REGISTERED not in flags for flags in found["flags"]])


# What lines change.


def test_lines_bring_the_focal_length_nearer_to_the_truth():
    before, after = (
        np.abs(np.log(found["focal_px"] / true_focals())) for found in (without(), with_lines())
    )
    counted = counts(with_lines())
    assert counted.sum() >= len(counted) - 1
    # Measured, of 12 rooms: .077 without lines, .049 with them; of these six .110 and .059.
    assert after.mean() < 0.8 * before.mean()
    assert (after - before).max() < 0.02


def test_lines_change_answers_and_intervals_of_views_that_have_some():
    changed = ~np.isclose(with_lines()["focal_px"], without()["focal_px"], rtol=1e-3)
    assert changed.sum() >= 3
    assert not changed[~counts(with_lines())].any()


@pytest.mark.parametrize("shapes", [with_lines, without])
def test_the_direction_down_is_found_in_most_rooms_with_a_picture_and_without(shapes):
    found, sigma = shapes()["gravity"], shapes()["gravity_sigma_deg"]
    known = np.isfinite(found).all(-1)
    assert known.sum() >= 4
    np.testing.assert_allclose(np.linalg.norm(found[known], axis=-1), 1, atol=1e-4)
    cosines = (found * true_gravity()).sum(-1)[known]
    assert np.median(np.degrees(np.arccos(np.clip(cosines, -1, 1)))) < 2
    assert ((sigma[known] > 0) & (sigma[known] < 10)).all()
    assert np.isnan(sigma[~known]).all()


def test_lines_make_the_direction_down_more_certain():
    known = np.isfinite(without()["gravity_sigma_deg"])
    with_picture = with_lines()["gravity_sigma_deg"][known & counts(with_lines())]
    assert np.nanmean(with_picture) < np.mean(without()["gravity_sigma_deg"][known])


# What does not count.


def same(found, numbers, wanted, of):
    for name in FIELDS:
        np.testing.assert_allclose(
            getattr(found, name)[numbers], wanted[name][of], rtol=2e-3, atol=1e-4, err_msg=name
        )


def test_maps_without_a_picture_or_with_a_wrong_one_are_as_without_lines():
    """Beside one that has its own.  A tolerance of bins: two programs round differently."""
    cropped, moved = pictures()[2][:-20], np.roll(pictures()[2], 32, 1)
    found = geometry().recover([noisy_maps()[2]] * 4, rgb=[None, cropped, moved, pictures()[2]])
    same(found, slice(3), without(), [2] * 3)
    assert abs(np.log(found.focal_px[3] / found.focal_px[0])) > 0.05
    assert [set(flags) & {OTHER_ASPECT, NOT_REGISTERED} for flags in found.flags] == [
        set(), {OTHER_ASPECT}, {NOT_REGISTERED}, set(),
    ]  # fmt: skip
    by_lines = found.gravity_by_lines
    assert np.isnan(by_lines[:3]).all() and np.isfinite(by_lines[3]).all()


def test_pictures_of_other_rooms_are_mostly_flagged_and_change_nothing_then():
    others = [pictures()[number] for number in (0, 1, 3, 5)]
    found = geometry().recover([noisy_maps()[2]] * 4, rgb=others)
    flagged = np.array([NOT_REGISTERED in flags for flags in found.flags])
    assert flagged.sum() >= 2  # three of four others are, see test_registration
    same(found, flagged, without(), [2] * int(flagged.sum()))


def test_lines_false_is_as_no_picture():
    found = geometry().recover(noisy_maps()[:1], rgb=pictures()[:1], lines=False)
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(found, name), without()[name][:1])
    assert np.isnan(found.gravity_by_lines).all() and found.flags == tuple(without()["flags"][:1])


# Forms, and what else is known.


def test_a_single_map_takes_a_picture_of_any_size_and_library():
    picture = pictures()[2]
    large = Image.fromarray(picture).resize((2 * SIZE[1], 2 * SIZE[0]))
    alone = recover(noisy_maps()[2], None, space="depth", rgb=jnp.asarray(picture))
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(alone, name), with_lines()[name][2])
    assert alone.gravity.shape == (3,) and np.ndim(alone.gravity_sigma_deg) == 0
    larger = geometry().recover(noisy_maps()[2], rgb=large)
    assert abs(np.log(larger.focal_px / alone.focal_px)) < 0.05
    assert abs(np.log(larger.focal_px / without()["focal_px"][2])) > 0.05


def test_a_known_camera_stays_and_lines_still_tell_which_way_is_down():
    focal = true_focals()[2]
    matrix = np.array([[focal, 0, 159.5], [0, focal, 119.5], [0, 0, 1]])
    found = geometry().recover(noisy_maps()[2], intrinsics=matrix, rgb=pictures()[2])
    np.testing.assert_allclose(found.intrinsics, matrix, rtol=1e-6)
    cosine = float(found.gravity @ true_gravity()[2])
    assert np.degrees(np.arccos(min(cosine, 1))) < 2


def test_the_frames_of_a_clip_pool_what_their_lines_say():
    frames = [noisy_maps()[2], noisy_maps()[2][:, ::-1]]
    seen = [pictures()[2], pictures()[2][:, ::-1]]
    alone = geometry().recover(frames, clip="frame")
    found = geometry().recover(frames, clip="frame", rgb=seen)
    before, after = (abs(np.log(each.focal_px[0] / true_focals()[2])) for each in (alone, found))
    assert found.focal_px[0] == found.focal_px[1]
    assert after < 0.8 * before


# As launch.infer.


def config_of(folder, **changes):
    given = {
        "input": folder / "maps", "out": folder / "out", "runs": (), "space": "depth",
        "method": "geometric", "saving": SaveSettings((), rgb=folder / "rgb"),
    }  # fmt: skip
    return RecoveryConfig(**given | changes)


@pytest.fixture(scope="module")
def inferred(tmp_path_factory):
    """A folder with one picture of each kind, and what the program printed."""
    folder = tmp_path_factory.mktemp("pictures")
    seen = {
        "own": pictures()[2], "cropped": pictures()[2][:-20], "moved": np.roll(pictures()[2], 32, 1)
    }  # fmt: skip
    for name in ("own", "cropped", "moved", "none"):
        (folder / "maps").mkdir(exist_ok=True)
        np.save(folder / "maps" / f"{name}.npy", noisy_maps()[2])
        if name in seen:
            put(folder / "rgb" / f"{name}.png", encoded(seen[name], "png"))
    recover_folder(config_of(folder), [])
    return folder


def answer_of(folder, name):
    return json.loads((folder / "out" / f"{name}.json").read_text())


def test_recover_answers_as_launch_infer(inferred):
    found, row = answer_of(inferred, "own"), with_lines()
    for name in ("focal_px", "shift", "a", "b", "focal_interval_px", "shift_interval"):
        np.testing.assert_allclose(found[name], row[name][2], rtol=1e-5, err_msg=name)
    np.testing.assert_allclose(found["gravity"], row["gravity"][2], atol=1e-5)
    roll, pitch = roll_and_pitch(row["gravity"][2])
    assert found["roll_deg"] == pytest.approx(float(roll), abs=1e-3)
    assert found["pitch_deg"] == pytest.approx(float(pitch), abs=1e-3)
    assert found["gravity_sigma_deg"] == pytest.approx(row["gravity_sigma_deg"][2], rel=1e-4)


def test_answers_say_how_many_lines_there_were_and_what_they_changed(inferred):
    lines = answer_of(inferred, "own")["lines"]
    assert lines["used"] and lines["segments"] > 20
    assert lines["focal_nats"] > 0.1 and lines["shift_nats"] >= 0
    unused = {"segments": 0, "used": False, "focal_nats": 0, "shift_nats": 0}
    for name, flag in (("cropped", OTHER_ASPECT), ("moved", NOT_REGISTERED)):
        answer = answer_of(inferred, name)
        assert answer["lines"] == unused
        np.testing.assert_allclose(answer["gravity"], without()["gravity"][2], atol=1e-2)
        assert flag in answer["flags"]
        assert answer["focal_px"] == pytest.approx(without()["focal_px"][2], rel=2e-3)
    assert answer_of(inferred, "none")["lines"] is None


def test_nothing_saved_still_has_flags_that_are_counted(inferred):
    counted = json.loads((inferred / "out" / "summary.json").read_text())["flags"]
    assert counted[OTHER_ASPECT] == counted[NOT_REGISTERED] == counted["rgb_missing"] == 1


def test_lines_false_of_launch_infer_is_as_no_picture(inferred, tmp_path):
    config = config_of(inferred, out=tmp_path / "out", lines=False, input=inferred / "maps/own.npy")
    recover_folder(config, [])
    found = answer_of(tmp_path, "own")
    assert found["focal_px"] == pytest.approx(without()["focal_px"][2], rel=1e-6)
    assert found["lines"] is None and found["flags"] == list(without()["flags"][2])


# The program.


def test_the_program_with_lines_calls_no_lapack():
    """A program that does is stored without it, and crashes the process that reads it."""
    networks = load_model("depth").networks
    blocks = recovery.make_blocks(noisy_maps()[:1])
    arguments = (
        [network.params for network in networks],
        blocks,
        recovery.Known().values(1),
        segments.stacked([None], always=True),
    )
    setup = recovery.setup_of(networks, "learned", "depth")
    lowered = jax.jit(functools.partial(estimation.estimate, setup)).lower(*arguments).as_text()
    assert "lapack" not in lowered
    assert "lapack" in jax.jit(jnp.linalg.inv).lower(np.eye(3, dtype=np.float32)).as_text()
