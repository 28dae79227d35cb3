"""A folder of maps becomes a folder of answers, whatever lies in it and whatever happens meanwhile.

The solver is a stand-in that costs nothing: what is tested is everything about it.
"""

import csv
import dataclasses
import errno
import io
import json
import os
import re
import threading

import numpy as np
import pycolmap
import pytest
from box_rooms import box_room
from broken_files import picture, spoil, whole_files
from PIL import Image
from raw_files import put
from tiny import CONFIG

from data.protocol import DataError
from data.user_maps.depth_files import ReadSettings
from data.user_maps.known_cameras import KnownCamera
from launch.recovery import folder, saving, shared_camera
from launch.recovery import one_map as recovery
from launch.recovery.config import RecoveryConfig
from launch.recovery.folder import recover_folder
from launch.recovery.saving import SaveSettings
from launch.recovery.shards import Shard
from train3d_jax.errors import UserError
from train3d_jax.evidence.calibration import Calibration
from train3d_jax.export import answers as export
from train3d_jax.export import cameras as camera_exports
from train3d_jax.inference import map_checks
from train3d_jax.inference import recovery as inference
from train3d_jax.inference.models import Model

# pytest sets the filters of data.images aside.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

SIZE = (24, 32)


OUTLIER = box_room(0, SIZE)[0]
OUTLIER[3, 5] = 1e25


class Solved:
    """In the place of `inference.Estimates`."""

    def __init__(self, blocks, known):
        self.blocks, self.known = blocks, known
        present = [v[mask] for v, mask in zip(blocks.values, blocks.mask, strict=True)]
        self.solvable = [len(values) >= 16 and np.ptp(values) > 0 for values in present]
        spread = [
            float(np.ptp(v)) if ok else 1 for v, ok in zip(present, self.solvable, strict=True)
        ]
        self.canonical_scale = 0.5 / np.array(spread)
        least = [float(values.min()) if len(values) else 0.0 for values in present]
        self.canonical_offset = 0.5 - self.canonical_scale * least

    def at(self, index):
        if not self.solvable[index]:
            return None
        if self.canonical_scale[index] < 1e-36:  # as float32 overflows
            nan = float("nan")
            return inference.Estimate(nan, nan, nan, nan, (nan, nan), (nan, nan), ())
        focal = 30.0 if self.known.focal is None else float(self.known.focal[index])
        scale, offset = float(self.canonical_scale[index]), float(self.canonical_offset[index])
        shift = -offset if self.known.shift else -0.2
        return inference.Estimate(
            focal=focal, shift=shift, a=scale, b=offset + shift,
            focal_interval=(0.9 * focal, 1.1 * focal), shift_interval=(shift, shift + 0.1),
            flags=(),
        )  # fmt: skip


@pytest.fixture
def solver(monkeypatch):
    """Lists the blocks and what was known of each batch."""
    batches = []

    def recover_blocks(models, blocks, known, method, space):
        batches.append((blocks, known))
        return Solved(blocks, known)

    monkeypatch.setattr(inference, "recover_blocks", recover_blocks)
    monkeypatch.setattr(
        map_checks, "form_evidence", lambda values, mask: np.zeros((len(values), 4))
    )
    return batches


def fill(place, names, size=SIZE):
    for seed, name in enumerate(names):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(place / name, box_room(seed, size)[0])


def config_of(tmp_path, **changes):
    given = {
        "input": tmp_path / "in",
        "out": tmp_path / "out",
        "runs": (),
        "space": "depth",
        "method": "geometric",
        "batch_size": 4,
        "saving": SaveSettings(("ply",)),
    }
    return RecoveryConfig(**given | changes)


def recovered(tmp_path, **changes):
    return recover_folder(config_of(tmp_path, **changes), []).counts


def rows_of(out):
    with (out / "summary.csv").open() as file:
        return list(csv.DictReader(file))


def written(out):
    return {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}


NAMES = [f"{letter}/map{number}.npy" for letter in "abc" for number in range(3)]
REPORTS = {"summary.csv", "summary.json", "index.html"}


def test_every_map_has_an_answer_and_a_row_in_the_order_of_their_names(tmp_path, solver):
    fill(tmp_path / "in", reversed(NAMES))
    assert recovered(tmp_path) == (9, 0, 0)
    out = tmp_path / "out"
    stems = [name.removesuffix(".npy") for name in NAMES]
    assert written(out) == REPORTS | {f"{s}{e}" for s in stems for e in (".json", ".ply")}
    assert [row["input"] for row in rows_of(out)] == NAMES
    # Nine maps in batches of four: the last is filled up, so that nothing is compiled anew.
    assert [len(blocks.size) for blocks, _ in solver] == [4, 4, 4]


def test_bad_files_between_good_ones_are_told_counted_and_hinder_none(tmp_path, solver, capsys):
    rng = np.random.default_rng(0)
    values = rng.integers(1, 2000, (37, 21)).astype(np.uint16)
    fill(tmp_path / "in", NAMES)
    for number in range(10):
        for name, contents in whole_files(values).items():
            put(tmp_path / "in" / "bad" / f"{number}{name}", spoil(contents, rng))
    odd = {
        "one": np.ones((1, 1)), "constant": np.full(SIZE, 3.0), "missing": np.zeros(SIZE),
        "nan": np.full(SIZE, np.nan), "negative": -box_room(0, SIZE)[0], "thin": np.ones((1, 300)),
        "tiny": 1e-38 * box_room(0, SIZE)[0], "vast": 3e37 * box_room(0, SIZE)[0],
        "over": 1e300 * box_room(0, SIZE)[0].astype(float), "outlier": OUTLIER,
        "signalling": np.full(SIZE, 0x7FF0000000000001, np.uint64).view(float),
    }  # fmt: skip
    for name, map_values in odd.items():
        np.save(tmp_path / "in" / f"odd_{name}.npy", map_values)
    counts = recovered(tmp_path, saving=SaveSettings(("ply", "npz", "glb", "picture")))
    out = tmp_path / "out"
    rows = {row["input"]: row for row in rows_of(out)}
    assert len(rows) == sum(counts[:2]) == 9 + 120 + len(odd)
    assert not any(rows[name]["error"] for name in NAMES)
    for name in ("one", "constant", "missing", "nan", "thin", "over", "vast", "signalling"):
        assert rows[f"odd_{name}.npy"]["error"]
        answer = json.loads((out / f"odd_{name}.json").read_text())
        assert answer["error"] and answer["focal_px"] is None and answer["intrinsics"] is None
        assert not (out / f"odd_{name}.ply").exists()
    told = capsys.readouterr()
    assert "Traceback" not in told.out + told.err
    failed = [name for name, row in rows.items() if row["error"]]
    lines = told.out.splitlines()
    notes = [line for line in lines if "summary.json counts all" in line]
    assert any(line.startswith("odd_negative.npy: all its values are below 0") for line in notes)
    assert len(lines) - len(notes) == len(failed) == counts.failed > 50
    summary = json.loads((out / "summary.json").read_text())
    assert sum(summary["failures"].values()) == summary["failed"] == counts.failed
    assert summary["failures"][recovery.NOT_SOLVABLE] >= 5
    assert summary["failures"][recovery.NOT_FINITE] >= 1


def test_names_and_reasons_cannot_break_the_page_or_the_terminal(tmp_path, solver, capsys):
    fill(tmp_path / "in", ["</script><script>alert(1)<.npy", "a\nb\x1b[31m.npy", 'q"&,.npy'])
    put(tmp_path / "in" / "bad\n</script>.npy", b"nothing")
    (tmp_path / "in" / os.fsdecode(b"\xff\xfe.npy")).write_bytes(b"nothing")
    assert recovered(tmp_path, saving=SaveSettings(("ply", "npz", "picture"))) == (3, 2, 0)
    page = (tmp_path / "out" / "index.html").read_text()
    assert page.count("</script>") == page.count("<script>") == 1
    assert "http" not in page and "src=" not in page
    data = json.loads("[" + page.split("const data = [\n")[1].split("\n];")[0].rstrip(",") + "]")
    assert {row[0] for row in data} >= {"</script><script>alert(1)<.npy", "a\nb\x1b[31m.npy"}
    links = next(row[8] for row in data if row[0].startswith("a\n"))
    assert links["ply"] == "a%0Ab%1B%5B31m.ply"
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert len(rows_of(tmp_path / "out")) == 5


def test_resume_does_what_is_not_done_or_was_done_otherwise(tmp_path, solver):
    fill(tmp_path / "in", NAMES)
    np.save(tmp_path / "in" / "wall.npy", np.ones(SIZE))
    assert recovered(tmp_path) == (9, 1, 0)
    out = tmp_path / "out"
    first = rows_of(out)
    (out / "a/map0.json").unlink()
    (out / "a/map1.json").write_text('{"input": "a/map1.npy"}')
    os.utime(tmp_path / "in" / "a/map2.npy", (2e9, 2e9))  # changed since
    solver.clear()
    assert recovered(tmp_path, resume=True) == (9, 1, 6)
    ((blocks, _),) = solver
    assert len(blocks.size) == 4  # three maps and the wall that failed
    assert rows_of(out) == first
    solver.clear()
    os.utime(tmp_path / "in" / "a/map2.npy", (1e9, 1e9))
    assert recovered(tmp_path, resume=True, space="disparity") == (9, 1, 0)
    assert recovered(tmp_path, resume=True, space="disparity", batch_size=2).resumed == 9


def other_networks():
    """Networks that share name and step with the first."""
    model = Model("both@9", CONFIG, {"a": {"kernel": np.ones((2, 3), np.float32)}})
    wider = dataclasses.replace(CONFIG, width=2 * CONFIG.width)
    return model, (
        dataclasses.replace(model, params={"a": {"kernel": np.zeros((2, 3), np.float32)}}),
        dataclasses.replace(model, params={"b": {"kernel": np.ones((2, 3), np.float32)}}),
        dataclasses.replace(model, params={"a": {"kernel": np.ones((3, 2), np.float32)}}),
        dataclasses.replace(model, config=wider),
        dataclasses.replace(model, calibration={"shift": Calibration(0.5)}),
    )


def test_answers_of_another_network_of_the_same_name_are_not_kept(tmp_path, solver):
    fill(tmp_path / "in", NAMES[:2])
    config = config_of(tmp_path, runs=(tmp_path / "both",), method="learned")
    resume, merge = (dataclasses.replace(config, **{name: True}) for name in ("resume", "merge"))
    model, others = other_networks()
    recover_folder(config, [model])
    same = dataclasses.replace(model, params={"a": {"kernel": np.ones((2, 3), np.float32)}})
    assert recover_folder(resume, [same]).counts == (2, 0, 2)
    for other in others:
        with pytest.raises(UserError, match=r"map0\.npy has no answer of these settings"):
            recover_folder(merge, [other])
        assert recover_folder(resume, [other]).counts == (2, 0, 0)
        assert recover_folder(merge, [other]).counts.recovered == 2


@pytest.mark.parametrize("one_for_all", [True, False])
def test_answers_are_not_kept_where_the_camera_has_changed_since(tmp_path, solver, one_for_all):
    fill(tmp_path / "in", ["a.npy", "b.npy"])
    for name in "ab":
        put(tmp_path / "cameras" / f"{name}.json", b'{"fx": 30, "fy": 30, "cx": 15, "cy": 11}')
    cameras = tmp_path / "cameras"
    camera = KnownCamera(intrinsics=cameras / "a.json" if one_for_all else cameras)
    recovered(tmp_path, camera=camera)
    assert recovered(tmp_path, camera=camera, resume=True).resumed == 2
    put(tmp_path / "cameras" / "a.json", b'{"fx": 40, "fy": 40, "cx": 15, "cy": 11}')
    os.utime(tmp_path / "cameras" / "a.json", (2e9, 2e9))
    kept = 0 if one_for_all else 1
    assert recovered(tmp_path, camera=camera, resume=True) == (2, 0, kept)
    assert 40 in focal_lengths(tmp_path / "out")


def test_an_answer_is_written_after_all_that_it_vouches_for(tmp_path, solver, monkeypatch):
    fill(tmp_path / "in", NAMES[:1])
    recovered(tmp_path)
    out = tmp_path / "out"

    def stop(*_):
        assert not (out / "a/map0.json").exists()  # the old one vouched for the old cloud
        raise KeyboardInterrupt

    monkeypatch.setattr(export, "write_ply", stop)
    with pytest.raises(KeyboardInterrupt):
        recovered(tmp_path)
    assert not (out / "a/map0.json").exists()


def test_ctrl_c_leaves_whole_files_only(tmp_path, solver, monkeypatch):
    fill(tmp_path / "in", NAMES)
    add = folder.Summary.add
    rows = []

    def stop(self, *args, **kwargs):
        rows.append(args)
        if len(rows) == 3:
            raise KeyboardInterrupt
        add(self, *args, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(folder.Summary, "add", stop)
        recovered(tmp_path)
    out = tmp_path / "out"
    assert not {name for name in written(out) if name.endswith(".part")} and not (
        REPORTS & written(out)
    )
    answers = list(out.rglob("*.json"))
    assert answers
    for path in answers:
        assert export.read_answer(path) and path.with_suffix(".ply").exists()
    assert recovered(tmp_path, resume=True)[:2] == (9, 0)


def test_no_more_maps_are_held_than_a_few_batches(tmp_path, solver, monkeypatch):
    fill(tmp_path / "in", [f"{number:03}.npy" for number in range(120)], (8, 8))
    lock, held, most = threading.Lock(), 0, 0
    read, write = folder._Recovery._read, folder._Recovery._write

    def count(change):
        nonlocal held, most
        with lock:
            held += change
            most = max(most, held)

    def reading(self, file):
        count(1)
        return read(self, file)

    def writing(self, found, solution):
        row = write(self, found, solution)
        count(-1)
        return row

    monkeypatch.setattr(folder._Recovery, "_read", reading)
    monkeypatch.setattr(folder._Recovery, "_write", writing)
    assert recovered(tmp_path).recovered == 120
    assert held == 0 and most <= 24  # read ahead, a batch, and two batches to write: 6 + 4 + 8


def test_a_full_disk_ends_the_run_in_one_line(tmp_path, solver, monkeypatch):
    fill(tmp_path / "in", NAMES)

    def full(path, *_, **__):
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise UserError(f"{path}: cannot be written: {error.strerror}") from None

    monkeypatch.setattr(export, "write_ply", full)
    with pytest.raises(UserError, match="No space left"):
        recovered(tmp_path)


def test_a_name_too_long_to_write_fails_alone(tmp_path, solver):
    long = "x" * 248 + ".npy"  # with .json.part behind it no file system takes it
    fill(tmp_path / "in", [long, "a.npy"])
    assert recovered(tmp_path) == (1, 1, 0)
    assert "cannot be written" in rows_of(tmp_path / "out")[1]["error"]


def test_answers_never_go_where_the_input_is(tmp_path, solver):
    fill(tmp_path / "in", NAMES)
    for source in (tmp_path / "in", tmp_path / "in" / "**" / "*.npy"):
        with pytest.raises(UserError, match="where the input is"):
            recovered(tmp_path, input=source, out=tmp_path / "in")
    inside = tmp_path / "in" / "out"
    settings = SaveSettings(("npz",))
    assert recovered(tmp_path, out=inside, saving=settings).recovered == 9
    assert recovered(tmp_path, out=inside, saving=settings).recovered == 9  # not 18


def test_a_map_called_summary_keeps_its_answer(tmp_path, solver):
    fill(tmp_path / "in", ["summary.npy"])
    recovered(tmp_path)
    assert written(tmp_path / "out") == REPORTS | {"summary.npy.json", "summary.npy.ply"}


# What is known.


def test_known_intrinsics_reach_the_solver_the_answer_and_the_cloud(tmp_path, solver):
    fill(tmp_path / "in", NAMES[:2])
    for place, name in enumerate(NAMES[:2]):
        (tmp_path / "cameras" / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(tmp_path / "cameras" / name, [[40 + place, 0, 14], [0, 50 + place, 13], [0, 0, 1]])
    recovered(tmp_path, camera=KnownCamera(intrinsics=tmp_path / "cameras"))
    ((blocks, known),) = solver
    np.testing.assert_array_equal(known.focal, [50, 51, 50, 50])
    np.testing.assert_array_equal(blocks.centre[:2], [[14, 13], [14, 13]])
    answer = json.loads((tmp_path / "out" / "a/map1.json").read_text())
    assert answer["intrinsics"] == [[41, 0, 14], [0, 51, 13], [0, 0, 1]]
    depth = answer["a"] * np.load(tmp_path / "in" / NAMES[1]).astype(float) + answer["b"]
    cloud = export.cloud_of(depth, np.array(answer["intrinsics"]))
    np.testing.assert_allclose(export.read_ply(tmp_path / "out" / "a/map1.ply"), cloud, rtol=1e-6)


def test_a_map_without_intrinsics_fails_alone(tmp_path, solver):
    fill(tmp_path / "in", NAMES[:2])
    put(tmp_path / "cameras" / "a" / "map0.json", b'{"fx": 30, "fy": 30, "cx": 15, "cy": 11}')
    assert recovered(tmp_path, camera=KnownCamera(intrinsics=tmp_path / "cameras")) == (1, 1, 0)


def test_the_answer_of_one_run_is_a_camera_for_the_next(tmp_path, solver):
    fill(tmp_path / "in", NAMES[:2])
    recovered(tmp_path)
    recovered(tmp_path, out=tmp_path / "again", camera=KnownCamera(intrinsics=tmp_path / "out"))
    first, again = (
        json.loads((tmp_path / place / "a/map0.json").read_text()) for place in ("out", "again")
    )
    assert first["intrinsics"] == again["intrinsics"] and not again["error"]


def test_ray_lengths_are_converted_before_they_are_solved(tmp_path, solver):
    depth, intrinsics = box_room(0, SIZE)
    points = export.cloud_of(depth, intrinsics).reshape(*SIZE, 3)
    put(tmp_path / "in" / "map.npy", b"")
    np.save(tmp_path / "in" / "map.npy", np.linalg.norm(points, axis=-1))
    recovered(
        tmp_path, camera=KnownCamera(focal_px=float(intrinsics[0, 0])), ray_depth=True,
        saving=SaveSettings(("npz",)),
    )  # fmt: skip
    answer = json.loads((tmp_path / "out" / "map.json").read_text())
    with np.load(tmp_path / "out" / "map.npz") as held:
        # float32 in three steps.
        np.testing.assert_allclose(held["depth"], answer["a"] * depth + answer["b"], rtol=1e-5)


def test_values_that_mean_missing_are_left_out_of_the_cloud(tmp_path, solver):
    values = box_room(0, SIZE)[0]
    values[:5] = 65535
    put(tmp_path / "in" / "map.npy", b"")
    np.save(tmp_path / "in" / "map.npy", values)
    recovered(tmp_path, reading=ReadSettings(invalid=(65535.0,)))
    assert len(export.read_ply(tmp_path / "out" / "map.ply")) <= (SIZE[0] - 5) * SIZE[1]


@pytest.mark.parametrize(
    "changes",
    [
        {"ray_depth": True},
        {"shift_known": True, "camera": KnownCamera(focal_px=3.0)},
        {"shared_camera": True, "camera": KnownCamera(fov_deg=60.0)},
        {"method": "learned"},
        {"method": "hybrid"},
    ],
)
def test_settings_that_exclude_each_other_are_refused_in_one_line(tmp_path, changes):
    with pytest.raises(UserError, match="--") as error:
        config_of(tmp_path, **changes)
    assert "\n" not in str(error.value)


# One camera for all.


@pytest.fixture
def evidence(monkeypatch):
    """Each map votes for a focal length of its own number of valid blocks; the sum is told."""

    def focal_evidence(models, blocks, method, known, space):
        votes = np.stack([np.asarray(blocks.mask).sum(-1), np.ones(len(blocks.size))], -1)
        return np.where(np.ptp(blocks.values, axis=-1, keepdims=True) > 0, votes, 0)

    def shared_focal(total, count, height):
        assert total[1] == count  # what fills up a batch does not vote
        return total[0] / count, (10.0, 90.0)

    monkeypatch.setattr(inference, "focal_evidence", focal_evidence)
    monkeypatch.setattr(inference, "shared_focal", shared_focal)


def test_all_maps_get_the_camera_that_they_agree_on(tmp_path, solver, evidence, capsys):
    fill(tmp_path / "in", NAMES)
    put(tmp_path / "in" / "broken.npy", b"nothing")
    np.save(tmp_path / "in" / "nothing.npy", np.zeros(SIZE))
    assert recovered(tmp_path, shared_camera=True) == (9, 2, 0)
    rows = [row for row in rows_of(tmp_path / "out") if not row["error"]]
    assert {float(row["focal_px"]) for row in rows} == {SIZE[0] * SIZE[1]}
    assert {(row["focal_low_px"], row["focal_high_px"]) for row in rows} == {("10.0", "90.0")}
    assert "from 9 of 11 maps" in capsys.readouterr().out


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


def focal_lengths(out):
    return {float(row["focal_px"]) for row in rows_of(out)}


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


def test_without_any_map_for_the_camera_the_first_reason_is_told(tmp_path, solver, evidence):
    put(tmp_path / "in" / "b.npy", b"nothing")
    np.save(tmp_path / "in" / "a.npy", np.ones((2, *SIZE)))
    with pytest.raises(UserError, match=r"none of 2 maps .* first: .*a\.npy: .*\(2, 24, 32\)"):
        recovered(tmp_path, shared_camera=True)
    np.save(tmp_path / "in" / "a.npy", np.zeros(SIZE))
    (tmp_path / "in" / "b.npy").unlink()
    with pytest.raises(UserError, match=r"none of 1 maps .*a\.npy: too few valid pixels"):
        recovered(tmp_path, shared_camera=True)


# Colours, pictures and other formats.


def test_clouds_are_coloured_by_images_of_the_same_name(tmp_path, solver, capsys):
    fill(tmp_path / "in", NAMES[:3])
    colours = np.random.default_rng(0).integers(0, 256, (*SIZE, 3)).astype(np.uint8)
    put(tmp_path / "rgb" / "a/map0.png", picture(colours, "png"))
    put(tmp_path / "rgb" / "a/map1.jpg", picture(np.repeat(colours, 2, 0), "jpeg"))
    recovered(tmp_path, saving=SaveSettings(("ply",), rgb=tmp_path / "rgb"))
    out = tmp_path / "out"
    body = (out / "a/map0.ply").read_bytes().split(b"end_header\n")[1]
    rows = np.frombuffer(body, np.uint8).reshape(-1, 15)
    answer = json.loads((out / "a/map0.json").read_text())
    depth = answer["a"] * np.load(tmp_path / "in" / NAMES[0]) + answer["b"]
    np.testing.assert_array_equal(rows[:, 12:], colours[depth > 0])
    flags = [json.loads((out / f"a/map{n}.json").read_text())["flags"] for n in range(3)]
    assert flags == [[], [saving.RESIZED_COLOURS], [saving.NO_COLOURS]]
    told = capsys.readouterr().out
    assert "another size" in told and "no colours" in told
    counted = json.loads((out / "summary.json").read_text())["flags"]
    assert counted == {saving.RESIZED_COLOURS: 1, saving.NO_COLOURS: 1}


@pytest.mark.parametrize("photo", ["map.jpg", "one photo.png"])
def test_one_map_gets_the_one_image_that_is_given(tmp_path, solver, photo):
    fill(tmp_path / "in", ["map.npy"])
    colours = np.random.default_rng(0).integers(0, 256, (*SIZE, 3)).astype(np.uint8)
    put(tmp_path / photo, picture(colours, photo.rsplit(".")[-1].replace("jpg", "jpeg")))
    for source in (tmp_path / "in" / "map.npy", tmp_path / "in"):
        settings = SaveSettings(("ply",), rgb=tmp_path / photo)
        assert recovered(tmp_path, input=source, saving=settings).recovered == 1
        head = (tmp_path / "out" / "map.ply").read_bytes().split(b"end_header")[0]
        assert b"red" in head
        assert json.loads((tmp_path / "out" / "map.json").read_text())["flags"] == []


@pytest.mark.parametrize(
    ("rgb", "told"),
    [
        ("nowhere", r"--rgb=.*nowhere: is not there"),
        ("photo.png", r"--rgb=.*photo\.png: is one image, and there are 9 depth maps"),
    ],
)
def test_a_flag_rgb_that_fits_no_map_stops_the_run_before_any_work(tmp_path, solver, rgb, told):
    fill(tmp_path / "in", NAMES)
    put(tmp_path / "photo.png", picture(np.zeros((*SIZE, 3), np.uint8), "png"))
    with pytest.raises(UserError, match=told) as error:
        recovered(tmp_path, saving=SaveSettings(rgb=tmp_path / rgb))
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()


def test_one_image_that_cannot_be_read_stops_the_run_before_any_work(tmp_path, solver):
    fill(tmp_path / "in", NAMES[:1])
    put(tmp_path / "notes.txt", b"no picture")
    with pytest.raises(UserError, match=r"--rgb=.*notes\.txt: is not a readable picture"):
        recovered(tmp_path, saving=SaveSettings(rgb=tmp_path / "notes.txt"))
    assert not (tmp_path / "out").exists()


def test_exports_describe_the_image_that_they_name(tmp_path, solver):
    fill(tmp_path / "in", ["living room.npy", "map.npy", "plain.npy"])
    photos = {"living room.jpg": (4 * SIZE[0], 4 * SIZE[1]), "map.png": (3 * SIZE[0], SIZE[1])}
    for name, size in photos.items():
        kind = {"jpg": "jpeg", "png": "png"}[name[-3:]]
        put(tmp_path / "rgb" / name, picture(np.zeros((*size, 3), np.uint8), kind))
    recovered(
        tmp_path, saving=SaveSettings(("colmap", "nerfstudio"), rgb=tmp_path / "rgb"),
    )  # fmt: skip
    out = tmp_path / "out"
    named = {}
    for stem in ("living room", "map", "plain"):
        model = pycolmap.Reconstruction(out / f"{stem}.colmap")
        (image,) = model.images.values()
        place = out / f"{stem}.nerfstudio"
        told = json.loads((place / "transforms.json").read_text())
        path = (place / told["frames"][0]["file_path"]).resolve()
        assert path.is_file() and path.name == image.name
        size = photos.get(image.name, SIZE)
        assert (image.camera.height, image.camera.width) == (told["h"], told["w"]) == size
        np.testing.assert_allclose(
            image.camera.params, [told["fl_x"], told["fl_y"], told["cx"], told["cy"]]
        )
        # The solver answers 30 pixels of the map, and the image's centre.
        ratio = np.array([size[1] / SIZE[1], size[0] / SIZE[0]])
        np.testing.assert_allclose(image.camera.params[:2], 30 * ratio)
        np.testing.assert_allclose(image.camera.params[2:], [size[1] / 2, size[0] / 2])
        named[stem] = image.name
    assert named == {
        "living room": "living room.jpg", "map": "map.png", "plain": "plain.npy",
    }  # fmt: skip


def test_a_broken_image_fails_its_map_which_leaves_nothing_half_done(tmp_path, solver):
    fill(tmp_path / "in", NAMES[:1])
    put(tmp_path / "rgb" / "a/map0.png", b"no picture")
    assert recovered(tmp_path, saving=SaveSettings(rgb=tmp_path / "rgb")).failed == 1
    assert re.search(r"rgb.*map0\.png", rows_of(tmp_path / "out")[0]["error"])
    assert written(tmp_path / "out") == REPORTS | {"a/map0.json"}


def test_the_edge_filter_thins_clouds_and_leaves_depth_whole(tmp_path, solver):
    values = np.full(SIZE, 1.0)
    values[:, 16:] = 3.0
    put(tmp_path / "in" / "map.npy", b"")
    np.save(tmp_path / "in" / "map.npy", values)
    recovered(tmp_path, saving=SaveSettings(("ply", "npz"), edge_filter=0.1))
    assert len(export.read_ply(tmp_path / "out" / "map.ply")) == SIZE[0] * (SIZE[1] - 2)
    with np.load(tmp_path / "out" / "map.npz") as held:
        assert (held["depth"] > 0).all()


def test_everything_that_can_be_saved_is_and_the_page_links_it(tmp_path, solver):
    fill(tmp_path / "in", NAMES[:1])
    recovered(tmp_path, saving=SaveSettings(tuple(saving.ENDINGS)))
    out = tmp_path / "out"
    assert written(out) == REPORTS | {
        "a/map0.json", "a/map0.ply", "a/map0.npz", "a/map0.glb", "a/map0.png", "a/map0.gif",
        *(f"a/map0.colmap/{name}" for name in camera_exports.COLMAP_FILES),
        "a/map0.nerfstudio/transforms.json",
    }  # fmt: skip
    transforms = json.loads((out / "a/map0.nerfstudio/transforms.json").read_text())
    place = out / "a/map0.nerfstudio"
    assert (place / transforms["ply_file_path"]).resolve() == (out / "a/map0.ply").resolve()
    assert (place / transforms["frames"][0]["file_path"]).resolve() == tmp_path / "in" / NAMES[0]
    page = (out / "index.html").read_text()
    assert all(f'"a/map0{ending}"' in page for ending in saving.ENDINGS.values())
    with Image.open(io.BytesIO((out / "a/map0.png").read_bytes())) as image:
        assert image.format == "PNG"
    # A map that has no answer any more leaves nothing of the old one.
    np.save(tmp_path / "in" / NAMES[0], np.ones(SIZE))
    recovered(tmp_path)
    assert written(out) == REPORTS | {"a/map0.json"}


def test_medians_are_of_what_was_recovered(tmp_path, solver):
    fill(tmp_path / "in", NAMES)
    np.save(tmp_path / "in" / "wall.npy", np.ones(SIZE))
    recovered(tmp_path, camera=KnownCamera(focal_px=33.0))
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["medians"]["focal_px"] == 33.0
    assert (summary["recovered"], summary["failed"]) == (9, 1)
    assert summary["settings"]["camera"]["focal_px"] == 33.0 and summary["version"]


def test_an_input_that_vanishes_fails_alone(tmp_path, solver, monkeypatch):
    fill(tmp_path / "in", NAMES)
    read = recovery.read_depth_file

    def vanished(path, settings):
        if path.name == "map1.npy":
            path.unlink()
        return read(path, settings)

    monkeypatch.setattr(recovery, "read_depth_file", vanished)
    assert recovered(tmp_path) == (6, 3, 0)
    assert "No such file" in rows_of(tmp_path / "out")[1]["error"]
    with pytest.raises(DataError):
        read(tmp_path / "in" / NAMES[1], ReadSettings())


# Parts of a folder.


def summaries(out):
    """What is told of a folder, but for the time it took."""
    told = json.loads((out / "summary.json").read_text())
    del told["seconds"], told["settings"]["out"]
    return told, (out / "summary.csv").read_text(), (out / "index.html").read_text()


def test_shards_merged_tell_what_one_run_tells(tmp_path, solver):
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
    shared = shared_camera.Shared(30.0, (29.0, 31.0), 5, 5)
    monkeypatch.setattr(shared_camera, "find", lambda files, *_: seen.append(len(files)) or shared)
    for number in (1, 2):
        recovered(tmp_path, shard=Shard(number, 2), shared_camera=True)
    assert seen == [5, 5]
