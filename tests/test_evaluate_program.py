"""launch.evaluate as users start it."""

import json

import numpy as np
import pytest
from box_rooms import box_room
from PIL import Image
from programs import run, stay
from raw_files import png16, put

from data.rooms.evaluation_sets import write_evaluation_set

# Evaluation.


def put_listed(folder, broken=False):
    """Two rooms in a manifest.json, of which one may have no file."""
    rows = []
    for number in range(2):
        depth, intrinsics = box_room(90 + number)
        put(folder / f"{number}.png", png16(np.uint16(5000 * depth)))
        fx, fy, cx, cy = intrinsics[[0, 1, 0, 1], [0, 1, 2, 2]]
        camera = {"fx": fx, "fy": fy, "cx": cx, "cy": cy, "metres_per_unit": 0.0002}
        rows.append({"depth": f"{number}.png", **camera})
    if broken:
        (folder / "0.png").unlink()
    put(folder / "manifest.json", rows)


def test_an_evaluation_of_a_run_is_the_same_however_it_is_run(folder, trained):
    put_listed(folder / "listed")
    flags = [
        "--data", "prepared,listed", "--model", "runs/both", "--out", "evaluated",
        "--max_maps", 5, "--crops", 2,
    ]  # fmt: skip
    first = stay(folder, "evaluate", *flags, "--worst", 3).stdout
    out = folder / "evaluated"
    assert {path.name for path in out.iterdir()} == {
        *("evaluation.json", "views.csv", "table.txt", "errors.png", "worst")
    }
    assert len(list((out / "worst").iterdir())) == 3
    assert first.startswith((out / "table.txt").read_text())
    report = (out / "evaluation.json").read_bytes()
    output = json.loads(report)
    assert output["models"][0].startswith("both@") and output["overall"]["views"] == 14
    # Five maps of 28, evenly spread, are of different scenes.
    assert [part["scenes"] for part in output["data"].values()] == [5, 2]
    rows = output["overall"]["rows"]
    assert [*rows] == [
        *("nothing corrected", "constant guess", "best constants in hindsight"),
        *("geometric", "learned", "learned, focal length +-3 %"),
        *("oracle: true focal length", "oracle: true shift"),
    ]
    zero = pytest.approx(0, abs=1e-6)
    assert rows["oracle: true focal length"]["errors"]["fov_error_deg"]["mean"] == zero
    # The canonical form of what came in is undone in float32.
    assert rows["oracle: true shift"]["errors"]["shift_error"]["mean"] < 1e-5
    constant, found = (rows[row]["errors"] for row in ("constant guess", "geometric"))
    assert found["point_error"]["median"] < constant["point_error"]["median"]
    hinted = rows["learned, focal length +-3 %"]
    assert 0.01 < hinted["errors"]["focal_error"]["mean"] < 0.05
    assert hinted["focal_coverage"] is not None
    lines = (out / "views.csv").read_text().splitlines()
    assert len(lines) == 1 + 14 * 8

    stay(folder, "evaluate", *flags, "--worst", 0, "--batch_size", 3)
    assert (out / "evaluation.json").read_bytes() == report
    assert list((out / "worst").iterdir()) == []


def test_without_a_run_geometry_is_evaluated_and_a_broken_map_is_reported(folder):
    put_listed(folder / "broken", broken=True)
    ended = stay(
        folder, "evaluate", "--data", "broken", "--out", "geometry", "--nocrop", "--model=",
        status=1,
    )  # fmt: skip
    assert "0.png: is missing" in ended.stdout + ended.stderr
    output = json.loads((folder / "geometry" / "evaluation.json").read_text())
    assert (output["data"]["broken"]["maps"], output["data"]["broken"]["failed_maps"]) == (2, 1)
    assert output["overall"]["views"] == 1 and "learned" not in output["overall"]["rows"]


def test_lines_of_pictures_are_compared_and_pictures_that_cannot_be_used_are_reported(folder):
    write_evaluation_set(folder / "seen", 2, 2, (96, 128), first_seed=500)
    rows = json.loads((folder / "seen" / "manifest.json").read_text())
    (folder / "seen" / rows[1]["rgb"]).unlink()
    with Image.open(folder / "seen" / rows[3]["rgb"]) as picture:
        picture.crop((0, 0, 128, 80)).save(folder / "seen" / rows[3]["rgb"])
    flags = ["evaluate", "--data", "seen", "--model=", "--nocrop", "--worst", 0]
    ended = stay(folder, *flags, "--out", "lines", status=1)
    problems = [line for line in ended.stdout.splitlines() if "without its picture" in line]
    assert len(problems) == 2, ended.stdout
    assert f"map 1, without its picture: seen/{rows[1]['rgb']}: is missing" in problems[0]
    assert "map 3" in problems[1] and "another aspect ratio" in problems[1]
    assert "4 views evaluated, 0 maps failed, 1 pictures cannot be read" in ended.stdout
    assert "seen, lines: 2 views of 2 maps whose picture counts" in ended.stdout
    report = json.loads((folder / "lines" / "evaluation.json").read_text())
    part = report["data"]["seen"]
    assert part["lines"]["views_left_out"] == {"rgb_unreadable": 1, "rgb_other_aspect": 1}
    without, with_lines = (
        part["lines"]["rows"][row]["errors"] for row in ("geometric", "geometric, lines")
    )
    assert with_lines["fov_error_deg"] != without["fov_error_deg"]
    assert with_lines["fov_error_deg"]["mean"] < 15
    rows = (folder / "lines" / "views.csv").read_text().splitlines()
    assert sum("geometric, lines" in row for row in rows) == 2

    # Without lines the pictures are not looked at, and all other rows are the same.
    ended = stay(folder, *flags, "--out", "no_lines", "--lines=false")
    assert "lines" not in ended.stdout.replace("no_lines", "")
    other = json.loads((folder / "no_lines" / "evaluation.json").read_text())["data"]["seen"]
    del part["lines"]
    assert other == part


def test_what_cannot_be_evaluated_is_reported_in_one_line(tmp_path):
    put(tmp_path / "text" / "manifest.json", b"no JSON")
    put_listed(tmp_path / "listed")
    (tmp_path / "empty").mkdir()
    for flags, output in (
        (["--data", "text", "--out", "o"], "manifest.json: is no JSON"),
        (["--data", "empty", "--out", "o"], "empty: there is no prepared set"),
        (["--data", "listed", "--out", "text"], "--out=text: holds manifest.json"),
    ):
        ended = run(tmp_path, "evaluate", *flags, status=2)
        assert output in ended.stderr and len(ended.stderr.splitlines()) == 1
        assert not (tmp_path / "o").exists()
