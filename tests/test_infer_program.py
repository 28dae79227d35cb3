"""launch.infer as users start it, on a folder where some maps fail."""

import csv
import json
import re

import numpy as np
import pytest
from box_rooms import box_room
from ply_files import read_ply
from programs import stay
from raw_files import exr, png16, put


@pytest.fixture(scope="module")
def recovered(folder, trained):
    """A folder of maps, one of which cannot be read and one of which has no shape, recovered."""
    maps = folder / "maps"
    for name in ("a/map.npy", "b/map.npy"):
        (maps / name).parent.mkdir(parents=True, exist_ok=True)
    np.save(maps / "a" / "map.npy", box_room(0)[0])
    np.save(maps / "b" / "map.npy", box_room(1, (50, 31))[0].astype(float))
    put(maps / "a" / "map.png", png16(np.uint16(1000 * box_room(2)[0])))
    holed = box_room(3)[0].copy()
    holed[:30] = 0
    np.savez(maps / "holed.npz", holed)
    put(maps / "metres.exr", exr(np.float16(box_room(4)[0])))
    put(maps / "broken.npy", b"not a map")
    np.save(maps / "wall.npy", np.full((20, 30), 2.5))
    return stay(
        folder, "infer", "--input", "maps", "--out", "out", "--model", "runs/both",
        "--space", "depth", "--batch_size", 3, status=1,
    )  # fmt: skip


def test_each_map_gets_a_cloud_and_an_answer_under_its_own_name(folder, recovered):
    out = folder / "out"
    found = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    solved = ["a/map.npy", "a/map.png", "b/map", "holed", "metres"]
    assert found == sorted(
        ["summary.csv", "summary.json", "index.html", "wall.json", "broken.json"]
        + [f"{name}.{kind}" for name in solved for kind in ("json", "npz", "ply", "view.js")]
    )
    answer = json.loads((out / "b" / "map.json").read_text())
    assert (answer["input"], answer["space"], answer["error"]) == ("b/map.npy", "depth", None)
    assert (answer["width"], answer["height"], answer["cx"], answer["cy"]) == (31, 50, 15, 24.5)
    assert answer["model"].startswith("both@")
    assert 1 < answer["fov_x_deg"] < 179 and answer["a"] > 0


def test_the_cloud_is_the_map_with_the_answer_applied(folder, recovered):
    answer = json.loads((folder / "out" / "holed.json").read_text())
    values = np.load(folder / "maps" / "holed.npz")["arr_0"]
    z = answer["a"] * values.astype(float) + answer["b"]
    v, u = np.nonzero((values > 0) & (z > 0))
    assert 0 < len(v) <= 66 * 128
    z = z[v, u]
    x, y = ((p - answer[c]) * z / answer["focal_px"] for p, c in ((u, "cx"), (v, "cy")))
    points = read_ply(folder / "out" / "holed.ply")
    np.testing.assert_allclose(points, np.stack([x, y, z], -1), rtol=1e-5, atol=1e-6)


def test_maps_that_fail_are_reported_and_the_others_are_done(folder, recovered):
    assert "broken.npy: " in recovered.stdout + recovered.stderr
    assert re.search(r"5 recovered( \(\d flagged: .*\))?, 2 failed", recovered.stdout)
    with (folder / "out" / "summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["input"] for row in rows] == [
        *("a/map.npy", "a/map.png", "b/map.npy", "broken.npy"),
        *("holed.npz", "metres.exr", "wall.npy"),
    ]
    assert [bool(row["error"]) for row in rows] == [0, 0, 0, 1, 0, 0, 1]
    assert [bool(row["focal_px"]) for row in rows] == [1, 1, 1, 0, 1, 1, 0]
    wall = json.loads((folder / "out" / "wall.json").read_text())
    assert wall["focal_px"] is wall["shift"] is wall["a"] is None and wall["error"]


def test_a_single_file_with_a_known_field_of_view_is_recovered(folder, trained):
    stay(
        folder, "infer", "--input", "prepared/depths/000000.npz", "--out", "one", "--model",
        "runs/both", "--space", "depth", "--fov_deg", 90, "--batch_size", 3,
    )  # fmt: skip
    answer = json.loads((folder / "one" / "000000.json").read_text())
    assert answer["focal_px"] == pytest.approx(answer["width"] / 2)
    assert answer["fov_x_deg"] == pytest.approx(90)
