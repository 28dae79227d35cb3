"""Captures of users' cameras become prepared sets, by the rules of the three datasets."""

import json

import numpy as np
import pytest
from own_files import manifest_row, put_maps, put_nerfstudio, put_r3d, put_record3d, put_tum
from programs import run
from raw_files import depth_units, png16, put

from data.prepare.preparation import InProcess, PrepareConfig, prepare
from data.prepare.sources import OWN_READERS, READERS
from data.prepare.verify import repair, verify
from data.prepared.prepared_set import PreparedSet
from data.readers.maps import Maps
from train3d_jax.errors import UserError

NUMBERS = (9.0, 9.5, 3.5, 2.5)
MATRIX = [[9, 0, 3.5], [0, 9.5, 2.5], [0, 0, 1]]


@pytest.fixture
def no_pictures(monkeypatch):
    """They take longer than all else; tests of the program draw them."""
    monkeypatch.setattr("data.prepare.distributions.draw", lambda folder: None)
    monkeypatch.setattr("data.prepare.contact_sheet.draw", lambda folder, format: None)


def lines(folder, name):
    return [json.loads(line) for line in (folder / name).open()]


def config(out, counts, **options):
    """Of own folders by name; all else small."""
    roots = [options.pop(name, None) for name in (*READERS, *OWN_READERS)]
    options = {"num_workers": 0, "max_bad_fraction": 1.0, **options}
    return PrepareConfig(tuple(roots), counts, out, **options)


def files_of(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


# manifest.json


def test_the_maps_of_a_manifest_are_spread_over_its_scenes(tmp_path, no_pictures):
    put_maps(tmp_path / "mine", frames=4)
    summary = prepare(config(tmp_path / "out", (6,), maps=tmp_path / "mine"))
    assert summary.taken == {"maps": 6}
    rows = lines(tmp_path / "out", "manifest.jsonl")
    assert [row["scene"] for row in rows] == ["hall"] * 3 + ["kitchen"] * 3
    samples = PreparedSet(tmp_path / "out")
    assert set(samples.scenes) == {"maps/hall", "maps/kitchen"}
    for sample, row in zip(samples, rows, strict=True):
        number = int(row["source"][-5])
        assert row["source"] == f"depth/{row['scene']}_{number}.png"
        millimetres = depth_units(6, 8, seed=number)
        np.testing.assert_allclose(sample.depth, millimetres / 1000, rtol=1e-6)
        np.testing.assert_array_equal(sample.intrinsics, MATRIX)
    licence = samples.facts()["licences"]["maps"]
    assert "not stated" in licence and "LICENCE.txt" in licence


def test_maps_without_a_scene_are_scenes_of_their_own_as_in_an_evaluation(tmp_path):
    put_maps(tmp_path, scenes=("a", "b"), frames=1)
    rows = [
        manifest_row("depth/b_0.png"),
        manifest_row("depth/a_0.png"),
        manifest_row("x", scene=3),
    ]
    put(tmp_path / "manifest.json", rows)
    assert [(scene.name, list(scene.places)) for scene in Maps(tmp_path).scenes()] == [
        ("3", [(3,)]), ("depth/a_0", [(2,)]), ("depth/b_0", [(1,)]),
    ]  # fmt: skip


def test_maps_above_the_manifest_s_folder_are_read_as_in_an_evaluation(tmp_path, no_pictures):
    put(tmp_path / "depth" / "a.png", png16(depth_units(6, 8)))
    put(tmp_path / "lists" / "manifest.json", [manifest_row("depth/a.png")])
    prepare(config(tmp_path / "out", (1,), maps=tmp_path / "lists"))
    (row,) = lines(tmp_path / "out", "manifest.jsonl")
    assert row["source"] == "../depth/a.png"


def test_broken_rows_and_maps_are_quarantined_and_replaced(tmp_path, no_pictures):
    rows = put_maps(tmp_path / "mine", frames=8)
    put(tmp_path / "mine" / rows[0]["depth"], b"no PNG")
    del rows[1]["fx"]
    rows[2]["fx"] = rows[2]["fy"] = 0.1  # nearly 180 degrees
    rows[3]["depth"] = None
    rows[4]["metres_per_unit"] = 1  # millimetres taken for metres
    rows[5] = "depth/hall_0.png"
    put(tmp_path / "mine" / rows[6]["depth"], png16(np.zeros((6, 8), np.uint16)))
    put(tmp_path / "mine" / "manifest.json", rows)
    summary = prepare(config(tmp_path / "out", (9,), maps=tmp_path / "mine"))
    assert (summary.broken, summary.unsuitable) == (4, 3)
    reasons = {each["reason"] for each in lines(tmp_path / "out", "quarantine.jsonl")}
    for part in (
        "PNG", "row 2: fx is None, not a number", "the field of view is", "row 4 names no file",
        "median depth", "row 6 is no object", "0.0% of the pixels are valid",
    ):  # fmt: skip
        assert any(part in reason for reason in reasons), part
    taken = [row["frame"] for row in lines(tmp_path / "out", "manifest.jsonl")]
    assert len(set(taken)) == 9 and min(taken) == 8


def test_a_manifest_that_is_none_or_not_there_is_one_line_and_nothing_is_written(tmp_path):
    mine, out = tmp_path / "mine", tmp_path / "out"
    put(mine / "a.png", b"")
    with pytest.raises(UserError, match=r"--maps=.*: holds no scene of maps; looked for manifest"):
        prepare(config(out, (1,), maps=mine))
    put(mine / "manifest.json", b"[{")
    with pytest.raises(UserError, match=r"manifest\.json: is no JSON"):
        prepare(config(out, (1,), maps=mine))
    assert not out.exists()


# All of them


@pytest.fixture
def own(tmp_path):
    """Captures of every kind; some of each is broken."""
    rows = put_maps(tmp_path / "maps", frames=6)
    put(tmp_path / "maps" / rows[1]["depth"], b"no PNG")
    broken = put_tum(tmp_path / "tum", "a", frames=6)
    put_tum(tmp_path / "tum", "b", frames=6)
    put(next((broken / "depth").iterdir()), b"no PNG")
    put(put_nerfstudio(tmp_path / "nerfstudio", "a", frames=4) / "depth/frame_00002.png", b"no PNG")
    put(put_record3d(tmp_path / "record3d", "a", frames=4) / "depth/2.exr", b"no EXR")
    put_r3d(tmp_path / "record3d", "b", frames=4)
    folders = {name: tmp_path / name for name in ("maps", "nerfstudio", "tum", "record3d")}
    return {**folders, "tum_camera": NUMBERS}


@pytest.mark.parametrize("format", ["npz", "array_record"])
def test_interrupted_verified_and_mended_the_set_is_the_same(
    own, tmp_path, format, no_pictures, monkeypatch
):
    counts = (9, 3, 10, 6)
    prepare(config(tmp_path / "one", counts, format=format, **own))
    assert verified(tmp_path / "one") == []
    expected = files_of(tmp_path / "one")
    written = 0

    class Killed(BaseException):
        pass

    from data.prepared import writing

    write = writing.write_sample

    def killed(*arguments):
        nonlocal written
        written += 1
        if written == 17:
            raise Killed
        return write(*arguments)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(writing, "write_sample", killed)
        prepare(config(tmp_path / "two", counts, format=format, **own))
    prepare(config(tmp_path / "two", counts, format=format, **own))
    assert files_of(tmp_path / "two") == expected
    damaged = [name for name in expected if "/" in name][:3]
    for name in damaged:
        (tmp_path / "two" / name).write_bytes(b"changed")
    assert {fault.split(":")[0] for fault in verified(tmp_path / "two")} == set(damaged)
    # Without --tum_camera: the set keeps the numbers that it was made with.
    assert all(done for _, done in repair(tmp_path / "two", {}, InProcess(), 0))
    assert files_of(tmp_path / "two") == expected
    with pytest.raises(UserError, match=r"with other settings .*tum_camera"):
        prepare(config(tmp_path / "two", counts, format=format, **{**own, "tum_camera": None}))


def verified(folder):
    return [str(fault) for fault in verify(folder, InProcess(), 0)]


def test_counts_are_those_of_the_datasets_and_then_of_the_own_folders(tmp_path):
    own = {"maps": tmp_path, "tum": tmp_path}
    with pytest.raises(UserError, match=r"=5: .*one for --maps, --tum; or the latter alone"):
        config(tmp_path / "out", (5,), **own)
    for counts in ((5, 3), (0, 0, 0, 5, 3)):
        given = config(tmp_path / "out", counts, **own).given()
        taken = [(each.name, each.count) for each in given if each.count]
        assert taken == [("maps", 5), ("tum", 3)]
    datasets = {"taskonomy": tmp_path, **own}
    given = config(tmp_path / "out", (0, 0, 7, 5, 3), **datasets).given()
    assert [each.count for each in given] == [0, 0, 7, 5, 3]
    for counts in ((5, 3), (1, 2, 3), (1, 0, 0, 5, -3)):
        with pytest.raises(UserError, match="--num_samples"):
            config(tmp_path / "out", counts, **datasets)
    with pytest.raises(UserError, match="asks for 1 of scannet, but --scannet is not given"):
        config(tmp_path / "out", (1, 0, 0, 5, 3), **own)


def test_the_program_prepares_them_and_says_what_is_wrong(own, tmp_path):
    camera = ["--tum", "tum", "--tum_camera", "9,9.5,3.5,2.5"]
    captures = ["--nerfstudio", "nerfstudio", *camera, "--record3d", "record3d"]
    ended = run(
        tmp_path, "prepare", "--maps", "maps/manifest.json", *captures, "-ns", "4,2,5,3",
        "--out", "out", "--num_workers", 0, "--max_bad_fraction", 1,
    )  # fmt: skip
    assert "14 maps (4 maps, 2 nerfstudio, 5 tum, 3 record3d)" in ended.stdout
    settings = json.loads((tmp_path / "out/dataset.json").read_text())["settings"]
    assert settings["maps"] == str((tmp_path / "maps").resolve())
    before = sorted(tmp_path.iterdir())
    for flags, message in (
        (["--maps", "maps"], "--num_samples is missing"),
        (["--maps", "nowhere", "-ns", "1"], "--maps=nowhere: there is no such folder"),
        (["--maps", "maps", "-ns", "99"], "asks for 99 of maps, but maps holds 12 in 2 scenes"),
        (["--tum", "tum", "-ns", "1"], "comes without a camera; give --tum_camera fx,fy,cx,cy"),
        (["--tum", "tum", "--tum_camera", "9,9", "-ns", "1"], "--tum_camera=9,9: give fx,fy,cx,cy"),
        (["--maps", "maps", *camera[2:], "-ns", "1"], "--tum, which is not given"),
    ):
        error = run(tmp_path, "prepare", *flags, "--out", "new", status=2).stderr
        assert message in error and len(error.splitlines()) == 1, error
    assert sorted(tmp_path.iterdir()) == before
