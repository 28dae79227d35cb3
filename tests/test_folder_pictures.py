"""A folder of maps and a folder of their pictures: what is resumed, and what fails.

The solver is a stand-in that costs nothing.
"""

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
from box_rooms import box_room
from broken_files import picture as encoded
from folders import NAMES, SIZE, fill, recovered, rows_of
from folders import solver as solver
from raw_files import put

from launch.recovery.config import SaveSettings
from train3d_jax.errors import UserError
from train3d_jax.inference import recovery

GREY = np.full((*SIZE, 3), 120, np.uint8)


@pytest.fixture
def pictured(tmp_path, solver):
    """Three maps with their pictures; a function that recovers them and gives how many it kept."""
    fill(tmp_path / "in", NAMES[:3])
    for number in range(3):
        put(tmp_path / "rgb" / f"a/map{number}.png", encoded(GREY, "png"))

    def run(**changes):
        saving = SaveSettings((), rgb=tmp_path / "rgb")
        return recovered(tmp_path, **{"saving": saving, "resume": True, **changes}).resumed

    run()
    return run


def test_answers_with_pictures_are_resumed(pictured):
    assert pictured() == 3


def test_other_lines_or_pictures_are_another_question(pictured, tmp_path):
    assert pictured(lines=False) == 0
    assert pictured(lines=False) == 3
    assert pictured(saving=SaveSettings(())) == 0
    assert pictured() == 0


def test_a_newer_picture_is_looked_at_again(pictured, tmp_path):
    path = tmp_path / "rgb" / "a/map1.png"
    later = (tmp_path / "out" / "a/map1.json").stat().st_mtime + 5
    os.utime(path, (later, later))
    assert pictured() == 2


def test_a_picture_that_came_or_went_is_noticed_whatever_its_time(pictured, tmp_path):
    path = tmp_path / "rgb" / "a/map1.png"
    path.unlink()
    assert pictured() == 2
    assert pictured() == 3
    put(path, encoded(GREY, "png"))
    os.utime(path, (0, 0))
    assert pictured() == 2
    assert pictured() == 3


def test_pictures_are_handed_to_the_solver_unless_lines_are_off(pictured, tmp_path, monkeypatch):
    given, solve = [], recovery.recover_blocks

    def listening(models, blocks, known, method, space, at_once, segments):
        given.append(segments)
        return solve(models, blocks, known, method, space, at_once, segments)

    monkeypatch.setattr(recovery, "recover_blocks", listening)
    pictured(resume=False)
    (segments,) = given
    assert segments is not None and segments.mask.shape[0] == 3 and not segments.mask.any()
    pictured(resume=False, lines=False)
    pictured(resume=False, saving=SaveSettings(()))
    assert given[1:] == [None, None]


def test_a_map_is_not_its_own_picture(tmp_path, solver):
    """A PNG of depth beside its JPEG, in the folder that --rgb names."""
    depth = (1000 * box_room(0, SIZE)[0]).astype(np.uint16)
    for name in ("a", "b"):
        put(tmp_path / f"in/{name}.png", encoded(depth, "png"))
    put(tmp_path / "in/a.jpg", encoded(GREY, "jpeg"))
    recovered(tmp_path, saving=SaveSettings(("ply",), rgb=tmp_path / "in"))
    assert [row["flags"] for row in rows_of(tmp_path / "out")] == ["", "rgb_missing"]


def test_a_folder_of_pictures_that_cannot_be_searched_fails_each_map_in_one_line(
    tmp_path, solver, monkeypatch
):
    fill(tmp_path / "in", NAMES[:2])
    (tmp_path / "rgb").mkdir()
    is_file = Path.is_file

    def refused(path):
        if (tmp_path / "rgb") in path.parents:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return is_file(path)

    monkeypatch.setattr(Path, "is_file", refused)
    summary = recovered(tmp_path, saving=SaveSettings((), rgb=tmp_path / "rgb"))
    assert summary.failed == 2
    for row in rows_of(tmp_path / "out"):
        assert row["error"].startswith("--rgb=") and row["error"].endswith("Permission denied")


def test_each_note_on_pictures_is_printed_once(tmp_path, solver, capsys):
    fill(tmp_path / "in", NAMES)
    for name in NAMES[:6]:
        put((tmp_path / "rgb" / name).with_suffix(".png"), encoded(GREY[:, :-9], "png"))
    recovered(tmp_path, saving=SaveSettings((), rgb=tmp_path / "rgb"))
    text = capsys.readouterr().out
    assert text.count("of another aspect ratio") == text.count("no image of this name") == 1
    counted = json.loads((tmp_path / "out" / "summary.json").read_text())["flags"]
    assert counted.items() >= {"rgb_resized": 6, "rgb_other_aspect": 6, "rgb_missing": 3}.items()
    assert [row["flags"] for row in rows_of(tmp_path / "out")[5:7]] == [
        "rgb_resized rgb_other_aspect", "rgb_missing",
    ]  # fmt: skip


def test_a_frame_whose_picture_is_broken_says_nothing_of_the_camera(tmp_path, solver, monkeypatch):
    """As one that cannot be read; it fails by itself later."""
    counted = []

    def evidence(models, blocks, known, method, space, at_once, segments):
        counted.append((len(blocks.size), len(segments.mask)))
        raise UserError("that is enough")

    monkeypatch.setattr(recovery, "evidence", evidence)
    fill(tmp_path / "in", NAMES[:3])
    put(tmp_path / "rgb" / "a/map0.png", b"no picture")
    put(tmp_path / "rgb" / "a/map1.png", encoded(GREY, "png"))
    with pytest.raises(UserError, match="enough"):
        recovered(tmp_path, shared_camera=True, saving=SaveSettings((), rgb=tmp_path / "rgb"))
    assert counted == [(2, 2)]
