"""A folder of maps becomes a folder of answers, whatever lies in it and whatever happens meanwhile.

The solver is a stand-in that costs nothing: what is tested is everything about it.
"""

import errno
import json
import os
import threading

import numpy as np
import pytest
from box_rooms import box_room
from broken_files import spoil, whole_files
from folders import (
    NAMES,
    OUTLIER,
    REPORTS,
    SIZE,
    config_of,
    fill,
    recovered,
    rows_of,
    written,
)
from folders import solver as solver
from raw_files import put

from data.user_maps import clips
from data.user_maps.known_cameras import KnownCamera
from launch.recovery import folder, one_map
from launch.recovery.config import SaveSettings
from launch.recovery.folder import recover_folder
from train3d_jax import chunking
from train3d_jax.errors import DataError, UserError
from train3d_jax.export import point_clouds
from train3d_jax.formats.depth import ReadSettings

# pytest sets the filters of data.images aside.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


def test_every_map_has_an_answer_and_a_row_in_the_order_of_their_names(tmp_path, solver):
    fill(tmp_path / "in", reversed(NAMES))
    assert recovered(tmp_path) == (9, 0, 0)
    out = tmp_path / "out"
    stems = [name.removesuffix(".npy") for name in NAMES]
    assert written(out) == REPORTS | {f"{s}{e}" for s in stems for e in (".json", ".ply")}
    assert [row["input"] for row in rows_of(out)] == NAMES
    # Nine maps in batches of four: programs of one size, so that nothing is compiled anew.
    assert [len(blocks.size) for blocks, _ in solver] == [4, 4, 1]
    assert solver.at_once == [chunking.MAPS] * 3


def test_bad_files_between_good_ones_are_reported_and_counted_and_hinder_none(
    tmp_path, solver, capsys
):
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
    message = capsys.readouterr()
    assert "Traceback" not in message.out + message.err
    failed = [name for name, row in rows.items() if row["error"]]
    lines = message.out.splitlines()
    notes = [line for line in lines if "summary.json counts all" in line]
    assert any(line.startswith("odd_negative.npy: all its values are below 0") for line in notes)
    assert len(lines) - len(notes) == len(failed) == counts.failed > 50
    summary = json.loads((out / "summary.json").read_text())
    assert sum(summary["failures"].values()) == summary["failed"] == counts.failed
    assert summary["failures"][one_map.NOT_SOLVABLE] >= 5
    assert summary["failures"][one_map.NOT_FINITE] >= 1


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

    def writing(self, recovered):
        row = write(self, recovered)
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

    monkeypatch.setattr(point_clouds, "write_ply", full)
    with pytest.raises(UserError, match="No space left"):
        recovered(tmp_path)


def test_maps_that_are_listed_already_are_not_listed_again(tmp_path, solver, monkeypatch):
    fill(tmp_path / "in", NAMES)
    config = config_of(tmp_path)
    listing = one_map.find_maps(config)
    monkeypatch.setattr(one_map, "search", None)
    assert recover_folder(config, [], listing).counts == (9, 0, 0)


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
    read = clips.read_depth_file

    def vanished(path, settings):
        if path.name == "map1.npy":
            path.unlink()
        return read(path, settings)

    monkeypatch.setattr(clips, "read_depth_file", vanished)
    assert recovered(tmp_path) == (6, 3, 0)
    assert "No such file" in rows_of(tmp_path / "out")[1]["error"]
    with pytest.raises(DataError):
        read(tmp_path / "in" / NAMES[1], ReadSettings())
