"""Captures of users' cameras become prepared sets, by the rules of the three datasets."""

import json

import numpy as np
import pytest
from own_files import manifest_row, put_maps, put_tum
from programs import run
from raw_files import depth_units, png16, put

from data.prepare.preparation import InProcess, PrepareConfig, prepare
from data.prepare.sources import OWN_READERS, READERS
from data.prepare.verify import repair, verify
from data.prepared.prepared_set import PreparedSet
from data.readers.maps import Maps
from data.readers.tum import Tum
from train3d_jax.errors import DataError, UserError

CAMERA = "9 9.5 3.5 2.5"
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


# TUM RGB-D


@pytest.mark.parametrize("below", ["", "some", "some/more"])
def test_captures_of_tum_are_found_with_their_cameras(tmp_path, below):
    units = depth_units(6, 8, base=5000, seed=1)
    put_tum(tmp_path / "tum" / below, "mine", calibration=CAMERA)
    roots = [tmp_path / "tum"] if below != "some/more" else [tmp_path / "tum" / "some"]
    for root in (*roots, tmp_path / "tum" / below / "mine"):
        (scene,) = Tum(root).scenes()
        assert scene.name.endswith("mine") and len(scene.places) == 3
        ((frame,),) = list(scene.places)[1:2]
        depth, intrinsics, _ = Tum(root).read(scene, frame)
        np.testing.assert_array_equal(depth, units / np.float32(5000))
        np.testing.assert_array_equal(intrinsics, MATRIX)


@pytest.mark.parametrize(
    ("name", "fx"),
    [
        ("rgbd_dataset_freiburg1_xyz", 517.3),
        ("rgbd_dataset_freiburg2_desk", 520.9),
        ("rgbd_dataset_freiburg3_cabinet", 535.4),
    ],
)
def test_sequences_of_the_benchmark_have_the_published_cameras(tmp_path, name, fx):
    put_tum(tmp_path, name, frames=1, size=(480, 640))
    (scene,) = Tum(tmp_path).scenes()
    ((frame,),) = scene.places
    _, intrinsics, _ = Tum(tmp_path).read(scene, frame)
    assert intrinsics[0, 0] == fx
    assert Tum(tmp_path, NUMBERS).read(scene, frame).intrinsics[0, 0] == 9  # the flag wins
    put(tmp_path / name / "calibration.txt", CAMERA.encode())
    assert Tum(tmp_path).read(scene, frame).intrinsics[0, 0] == 9


def test_a_published_camera_is_not_taken_for_images_of_another_size(tmp_path):
    put_tum(tmp_path, "rgbd_dataset_freiburg1_xyz", frames=1)
    (scene,) = Tum(tmp_path).scenes()
    ((frame,),) = scene.places
    with pytest.raises(DataError, match=r"8x6 pixels, .* 640x480; give --tum_camera"):
        Tum(tmp_path).read(scene, frame)
    assert Tum(tmp_path, NUMBERS).read(scene, frame).depth.shape == (6, 8)


@pytest.mark.parametrize(
    ("file", "contents", "message"),
    [
        ("calibration.txt", b"1 2 3", "does not hold four numbers"),
        ("calibration.txt", b"nan 9 3 3", "not finite with positive"),
        ("calibration.txt", b"\xff\xfe", "does not hold four numbers"),
        ("calibration.txt", None, r"depth\.txt: comes without a camera; give --tum_camera"),
        ("depth.txt", b"# nothing\n", "names no depth map"),
        ("depth.txt", b"1305031102.1\n", "line 1 is not a time and a file"),
        ("depth.txt", b"\xff\xfe", "is no text"),
    ],
)
def test_a_capture_that_cannot_be_used_is_named_and_the_others_are_taken(
    tmp_path, no_pictures, file, contents, message
):
    root = tmp_path / "tum"
    put_tum(root, "good", calibration=CAMERA)
    put_tum(root, "bad", calibration=CAMERA)
    if contents is None:
        (root / "bad" / file).unlink()
    else:
        put(root / "bad" / file, contents)
    summary = prepare(config(tmp_path / "out", (3,), tum=root))
    assert (summary.taken, summary.broken) == ({"tum": 3}, 1)
    (rejected,) = lines(tmp_path / "out", "quarantine.jsonl")
    assert rejected["stage"] == "list" and rejected["file"].startswith("bad/")
    with pytest.raises(UserError, match=message) as error:
        prepare(config(tmp_path / "b", (1,), tum=root / "bad"))
    assert "\n" not in str(error.value) and not (tmp_path / "b").exists()


# All of them


@pytest.fixture
def own(tmp_path):
    """Captures of every kind; some of each is broken."""
    rows = put_maps(tmp_path / "maps", frames=6)
    put(tmp_path / "maps" / rows[1]["depth"], b"no PNG")
    broken = put_tum(tmp_path / "tum", "a", frames=6)
    put_tum(tmp_path / "tum", "b", frames=6)
    put(next((broken / "depth").iterdir()), b"no PNG")
    return {"maps": tmp_path / "maps", "tum": tmp_path / "tum", "tum_camera": NUMBERS}


@pytest.mark.parametrize("format", ["npz", "array_record"])
def test_interrupted_verified_and_mended_the_set_is_the_same(
    own, tmp_path, format, no_pictures, monkeypatch
):
    counts = (9, 10)
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
        if written == 13:
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


def test_counts_are_those_of_the_datasets_and_then_of_the_own_folders(own, tmp_path):
    with pytest.raises(UserError, match=r"=5: .*one for --maps, --tum; or the latter alone"):
        config(tmp_path / "out", (5,), **own)
    given = config(tmp_path / "out", (5, 3), **own).given()
    assert [(each.name, each.count) for each in given if each.count] == [("maps", 5), ("tum", 3)]
    given = config(tmp_path / "out", (0, 0, 0, 5, 3), **own).given()
    assert [(each.name, each.count) for each in given if each.count] == [("maps", 5), ("tum", 3)]
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
    ended = run(
        tmp_path, "prepare", "--maps", "maps/manifest.json", *camera, "-ns", "4,5",
        "--out", "out", "--num_workers", 0, "--max_bad_fraction", 1,
    )  # fmt: skip
    assert "9 maps (4 maps, 5 tum)" in ended.stdout
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
