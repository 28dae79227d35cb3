"""Broken and unsuitable input: how it is reported, and what takes its place."""

import json
import os
import random
import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from raw_files import (
    OCCI,
    depth_units,
    exr,
    png16,
    put,
    put_kenburns,
    put_scannet_frames,
    put_sens,
    put_taskonomy,
    scannet_camera,
)
from raw_files import sens as sens_bytes

from data.prepare.preparation import PrepareConfig, prepare
from data.prepare.sampling import Replacements
from data.prepared.prepared_set import PreparedSet
from data.protocol import Scene
from data.validity import limit_depth, unsuitable
from train3d_jax.errors import DataError, UserError

ANY_FRACTION = {"max_bad_fraction": 1.0, "num_workers": 0}
BAD_PNG = "point_1_view_0_domain_depth_zbuffer.png"


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """They take longer than all else; other tests look at them."""
    monkeypatch.setattr("data.prepare.distributions.draw", lambda folder: None)
    monkeypatch.setattr("data.prepare.contact_sheet.draw", lambda folder, format: None)


def lines(folder, name):
    return [json.loads(line) for line in (folder / name).open()]


def files_of(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def image(root, building, name=BAD_PNG):
    return root / "depth_zbuffer/taskonomy" / building / name


def taskonomy(root, count, out, **options):
    roots = (None, None, root)
    return prepare(PrepareConfig(roots, (0, 0, count), out, **{**ANY_FRACTION, **options}))


def flipped(whole):
    middle = len(whole) // 2
    return whole[:middle] + bytes([whole[middle] ^ 0x55]) + whole[middle + 1 :]


def test_a_broken_sample_is_reported_and_another_of_its_scene_takes_its_place(tmp_path):
    root = tmp_path / "raw"
    put_taskonomy(root, "cabinet", points=range(4))
    put_taskonomy(root, "hall", points=range(4))
    put(image(root, "hall"), flipped(image(root, "hall").read_bytes()))
    taken = set()
    for seed in range(6):
        out = tmp_path / f"out{seed}"
        summary = taskonomy(root, 5, out, seed=seed)
        rows = lines(out, "manifest.jsonl")
        assert [row["id"] for row in rows] == [f"00000{i}" for i in range(5)]
        per_scene = [row["scene"] for row in rows].count("hall")
        assert per_scene in (2, 3)  # as without the broken one
        assert len({(row["scene"], row["frame"]) for row in rows}) == 5
        rejected = lines(out, "quarantine.jsonl")
        assert summary.broken == len(rejected)
        for each in rejected:
            assert (each["dataset"], each["scene"]) == ("taskonomy", "hall")
            assert (each["frame"], each["stage"]) == ("point_1_view_0", "read")
            assert each["file"].endswith(BAD_PNG) and "PNG" in each["reason"]
            assert f"{summary.broken} broken" in str(summary)
        taken.add(len(rejected))
        assert len(PreparedSet(out)) == 5
    assert taken == {0, 1}


def damaged_kenburns_json(root):
    (root / "rgb/asdf/00002-meta.json").unlink()
    put(root / "rgb/asdf/00003-meta.json", {"fltFov": 179.5})
    put(root / "rgb/asdf/00004-meta.json", b'{"fltFov": 1e999')
    put(root / "rgb/asdf/00005-meta.json", b'{"fltFov": ' + b"9" * 400 + b"}")


def damaged_kenburns_exr(root):
    for identity, contents in (("00002", b""), ("00003", b"v/1\1" * 9), ("00004", None)):
        for view in ("tl", "tr", "bl", "br"):
            path = root / f"depths/asdf-depth/{identity}-{view}-depth.exr"
            put(path, path.read_bytes()[:-9] if contents is None else contents)
    units = depth_units(6, 8, base=300).astype(np.float16)
    for view in ("tl", "tr", "bl", "br"):  # not square
        put(root / f"depths/asdf-depth/00005-{view}-depth.exr", exr(units))


@pytest.mark.parametrize("damage", [damaged_kenburns_json, damaged_kenburns_exr])
def test_places_that_gave_nothing_give_way_to_those_that_can(tmp_path, damage):
    root = tmp_path / "raw"
    put_kenburns(root, "asdf", ids=[f"0000{n}" for n in range(1, 9)])
    damage(root)
    config = PrepareConfig((None, root, None), (0, 4, 0), tmp_path / "out", **ANY_FRACTION)
    prepare(config)
    ids = [row["frame"][:5] for row in lines(tmp_path / "out", "manifest.jsonl")]
    assert sorted(ids) == ["00001", "00006", "00007", "00008"]
    prepare(PrepareConfig((None, root, None), (0, 16, 0), tmp_path / "all", **ANY_FRACTION))
    assert len(PreparedSet(tmp_path / "all")) == 16
    with pytest.raises(UserError, match=r"asks for 17 of kenburns, but only 16 of the 32"):
        prepare(PrepareConfig((None, root, None), (0, 17, 0), tmp_path / "more", **ANY_FRACTION))


def test_no_second_view_before_every_place_has_given_one():
    places = [tuple(f"{place}-{view}" for view in range(4)) for place in range(6)]
    scene = Scene("s", None, places)
    replacements = Replacements([scene], [6], seed=0)
    number, frame = replacements.replace(0, 0, "3-2")  # if it was not chosen it counts as much
    assert (number, frame[0]) == (0, "3")  # all others have given one, place 3 has not
    replacements = Replacements([scene], [4], seed=0)
    first, second = (replacements.replace(0, 0, frame)[1] for frame in ("9-0", "9-1"))
    assert first[0] != second[0]  # the two places that were not chosen


def test_a_scene_without_any_left_is_helped_out_by_the_others(tmp_path):
    root = tmp_path / "raw"
    put_sens(root, "scene0001_00", frames=20)
    whole = sens_bytes([depth_units(30, 40, seed=index) for index in range(4)])
    put(root / "scene0000_00/scene0000_00.sens", whole[: len(whole) // 2])
    out = tmp_path / "out"
    summary = prepare(PrepareConfig((root, None, None), (8, 0, 0), out, **ANY_FRACTION))
    assert summary.taken == {"scannet": 8}
    scenes = [row["scene"] for row in lines(out, "manifest.jsonl")]
    broken = lines(out, "quarantine.jsonl")
    assert len(scenes) == 8 and scenes.count("scene0000_00") == 4 - len(broken) > 0
    assert all("ends within frame" in each["reason"] for each in broken)


def test_a_scene_that_cannot_be_listed_is_reported_and_left_out(tmp_path):
    root = tmp_path / "raw"
    put_sens(root, "scene0000_00", frames=4)
    put(root / "scene0001_00/scene0001_00.sens", b"\4\0\0\0 and no more")
    put(root / "scene0002_00/scene0002_00.sens", sens_bytes([depth_units()], compression=OCCI))
    nan = ((np.nan, 0, 3), (0, 500, 3), (0, 0, 1))
    put(root / "scene0003_00/scene0003_00.sens", sens_bytes([depth_units()], intrinsics=nan))
    out = tmp_path / "out"
    summary = prepare(PrepareConfig((root, None, None), (4, 0, 0), out, **ANY_FRACTION))
    assert (summary.taken, summary.broken) == ({"scannet": 4}, 3)
    rejected = lines(out, "quarantine.jsonl")
    assert [each["stage"] for each in rejected] == ["list"] * 3
    assert [each["file"][:12] for each in rejected] == [f"scene000{n}_00" for n in (1, 2, 3)]
    for each, reason in zip(rejected, ("truncated|damaged", "occi", "finite"), strict=True):
        assert any(word in each["reason"] for word in reason.split("|"))
    with pytest.raises(UserError, match=r"holds 4 in 1 scenes.*3 cannot be read, such as"):
        prepare(PrepareConfig((root, None, None), (5, 0, 0), tmp_path / "b", **ANY_FRACTION))


def test_too_much_that_is_broken_stops_the_run_and_leaves_what_is_done(tmp_path):
    root, out = tmp_path / "raw", tmp_path / "out"
    put_taskonomy(root, "a", points=range(30))
    put_taskonomy(root, "b", points=range(30))
    for point in range(5, 25):
        put(image(root, "b", f"point_{point}_view_0_domain_depth_zbuffer.png"), b"not a PNG")
    with pytest.raises(
        UserError, match=r"broken for 40 samples.*0\.05 \(taskonomy depth_z.*and \d"
    ):
        taskonomy(root, 40, out, max_bad_fraction=0.05)
    assert len(lines(out, "manifest.jsonl")) >= 20 and not (out / "dataset.json").exists()
    assert len(lines(out, "quarantine.jsonl")) > 2
    with pytest.raises(UserError, match="not finished"):
        PreparedSet(out)
    before = {
        name: os.stat(out / "depths" / name).st_mtime_ns for name in os.listdir(out / "depths")
    }
    taskonomy(root, 40, out)  # may hold more that is broken: goes on
    assert os.stat(out / "depths/000000.npz").st_mtime_ns == before["000000.npz"]
    taskonomy(root, 40, tmp_path / "at once")
    assert files_of(out) == files_of(tmp_path / "at once")


def test_replacements_are_the_same_however_many_workers_there_are(tmp_path):
    root = tmp_path / "raw"
    put_taskonomy(root, "a", points=range(40))
    put_taskonomy(root, "b", points=range(12))
    for point in range(0, 40, 3):
        put(image(root, "a", f"point_{point}_view_0_domain_depth_zbuffer.png"), b"not a PNG")
    taskonomy(root, 36, tmp_path / "one")
    taskonomy(root, 36, tmp_path / "two", num_workers=2)
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")
    assert len(lines(tmp_path / "one", "quarantine.jsonl")) > 5


def test_maps_with_little_depth_or_none_that_varies_are_not_taken(tmp_path):
    root, out = tmp_path / "raw", tmp_path / "out"
    put_taskonomy(root, "a", points=range(12))
    names = [f"point_{point}_view_0_domain_depth_zbuffer.png" for point in range(3)]
    put(image(root, "a", names[0]), png16(np.full((6, 6), 700, np.uint16)))
    put(image(root, "a", names[1]), png16(np.full((6, 6), 65535, np.uint16)))
    sparse = np.where(np.eye(6), depth_units(), 0).astype(np.uint16)
    put(image(root, "a", names[2]), png16(sparse))
    summary = taskonomy(root, 9, out, max_bad_fraction=0.0)
    rejected = lines(out, "quarantine.jsonl")
    assert (summary.broken, summary.unsuitable) == (0, len(rejected))
    assert {each["stage"] for each in rejected} == {"check"}
    assert "not suitable" in str(summary)
    with pytest.raises(UserError, match="asks for 12 of taskonomy, but only 9"):
        taskonomy(root, 12, tmp_path / "b")
    taskonomy(root, 10, tmp_path / "c", min_valid=0.1)  # the sparse one is fine now


@pytest.mark.parametrize("dataset", ["scannet", "frames", "kenburns", "taskonomy"])
def test_a_camera_that_does_not_fit_is_unsuitable_in_every_dataset(tmp_path, dataset):
    """A copy with many of them is no bad copy: none of it counts as broken."""
    root, out = tmp_path / "raw", tmp_path / "out"
    wrong = scannet_camera(4, 6) * [[2.02], [2.02], [1]]  # the colour camera's
    if dataset == "scannet":
        put_sens(root, "scene0000_00", frames=4)
        put_sens(root, "scene0001_00", frames=4, intrinsics=wrong)
    elif dataset == "frames":
        put_scannet_frames(root, "scene0000_00", names="0123")
        put_scannet_frames(root, "scene0001_00", names="0123", intrinsics=wrong)
    elif dataset == "kenburns":
        put_kenburns(root, "asdf", ids=("00001", "00002"))
        put(root / "rgb/asdf/00002-meta.json", {"fltFov": 0.5})
    else:
        put_taskonomy(root, "hall", points=range(4))
        put_taskonomy(root, "cabinet", points=range(4), fov_rads=3.13)
    name = "scannet" if dataset == "frames" else dataset
    roots = tuple(root if each == name else None for each in ("scannet", "kenburns", "taskonomy"))
    counts = tuple(4 if each else 0 for each in roots)
    summary = prepare(PrepareConfig(roots, counts, out, num_workers=0, max_bad_fraction=0.0))
    rejected = lines(out, "quarantine.jsonl")
    assert summary.broken == 0 and summary.unsuitable == len(rejected) > 0
    assert {each["stage"] for each in rejected} == {"check"}
    assert all("its camera does not fit" in each["reason"] for each in rejected)
    scenes = {row["scene"] for row in lines(out, "manifest.jsonl")}
    assert scenes <= {"scene0000_00", "asdf", "hall"}


@pytest.mark.parametrize("units_per_metre", [1.0, 1e-3, 1e6])
def test_depth_in_another_unit_is_unsuitable(tmp_path, units_per_metre):
    root, out = tmp_path / "raw", tmp_path / "out"
    put_sens(root, "scene0000_00", frames=4)
    put_sens(root, "scene0001_00", frames=4, units_per_metre=units_per_metre)
    summary = prepare(PrepareConfig((root, None, None), (4, 0, 0), out, num_workers=0))
    assert (summary.broken, summary.unsuitable) == (0, 4)
    assert {row["scene"] for row in lines(out, "manifest.jsonl")} == {"scene0000_00"}
    assert all("median depth" in each["reason"] for each in lines(out, "quarantine.jsonl"))


def test_depth_beyond_the_limit_is_missing(tmp_path):
    root, out = tmp_path / "raw", tmp_path / "out"
    put_taskonomy(root, "a", points=range(2))
    taskonomy(root, 2, out, max_depth_m=3.2)
    for sample in PreparedSet(out):
        assert 0 < sample.depth.max() <= 3.2 and (sample.depth == 0).any()
    assert unsuitable(limit_depth(np.array([[1.0, 2.0, 9.0]]), 3.0), 0.5) is None
    assert "less than" in unsuitable(limit_depth(np.array([[1.0, 2.0, 9.0]]), 3.0), 0.7)


@pytest.mark.parametrize(
    ("option", "value"),
    [("min_valid", 1.1), ("max_bad_fraction", -0.1), ("max_depth_m", 0.0), ("format", "zip")],
)
def test_values_that_cannot_be_are_refused(tmp_path, option, value):
    with pytest.raises(UserError, match=f"--{option}="):
        PrepareConfig((tmp_path, None, None), (1, 0, 0), tmp_path, **{option: value})


# Hundreds of damaged variants of valid files: each gives a set of whole samples, or a clear error.


@pytest.fixture(scope="module")
def valid(tmp_path_factory):
    root = tmp_path_factory.mktemp("valid")
    put_sens(root / "scannet", "scene0000_00", frames=6)
    put_kenburns(root / "kenburns", "asdf", ids=("00001", "00002"))
    put_taskonomy(root / "taskonomy", "hall", points=range(4))
    return root


DAMAGED = {
    "sens": "scannet/scene0000_00/scene0000_00.sens",
    "exr": "kenburns/depths/asdf-depth/00001-tl-depth.exr",
    "meta": "kenburns/rgb/asdf/00001-meta.json",
    "png": f"taskonomy/depth_zbuffer/taskonomy/hall/{BAD_PNG}",
    "info": "taskonomy/point_info/taskonomy/hall/point_1_view_0_domain_point_info.json",
}


def damaged(whole, random):
    """Bytes flipped, cut, put in or taken out."""
    variant = bytearray(whole)
    match random.randrange(4):
        case 0:
            for _ in range(random.randint(1, 4)):
                variant[random.randrange(len(variant))] ^= random.randint(1, 255)
        case 1:
            del variant[random.randrange(len(variant)) :]
        case 2:
            at = random.randrange(len(variant))
            variant[at:at] = random.randbytes(random.randint(1, 40))
        case 3:
            at = random.randrange(len(variant))
            del variant[at : at + random.randint(1, 40)]
    return bytes(variant)


@pytest.mark.parametrize("kind", DAMAGED)
@given(seed=st.integers(0, 1 << 32))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_damaged_file_never_ends_a_reader_with_anything_but_a_clear_error(valid, kind, seed):
    from data.prepare.plan import READERS

    path = valid / DAMAGED[kind]
    dataset = DAMAGED[kind].split("/")[0]
    whole = path.read_bytes()
    try:
        path.write_bytes(damaged(whole, random.Random(seed)))
        reader = READERS[dataset](valid / dataset)
        broken = []
        for scene in reader.scenes(broken.append):
            for place in list(scene.places)[:6]:
                for frame in place[:1]:
                    try:
                        depth, intrinsics, _ = reader.read(scene, frame)
                    except DataError as error:
                        assert "\n" not in str(error) and str(valid) in error.file
                        continue
                    assert depth.dtype == np.float32 and depth.ndim == 2
                    assert np.isfinite(depth).all() and (depth >= 0).all()
                    assert np.isfinite(intrinsics).all() and intrinsics.shape == (3, 3)
    finally:
        path.write_bytes(whole)


def test_a_copy_in_which_much_is_damaged_is_prepared_from_what_is_whole(tmp_path):
    root, chance = tmp_path / "raw", random.Random(0)
    put_taskonomy(root, "a", points=range(30))
    put_taskonomy(root, "b", points=range(30))
    broken = set()
    for building in "ab":
        for point in chance.sample(range(30), 12):
            path = image(root, building, f"point_{point}_view_0_domain_depth_zbuffer.png")
            put(path, path.read_bytes()[: chance.randrange(40, 90)])
            broken.add((building, f"point_{point}_view_0"))
    taskonomy(root, 36, tmp_path / "out")
    rows = lines(tmp_path / "out", "manifest.jsonl")
    assert not broken & {(row["scene"], row["frame"]) for row in rows} and len(rows) == 36
    shutil.rmtree(root)
