import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from raw_files import put, put_kenburns, put_sens, put_taskonomy

from data.parallel.work import run_in_order
from data.prepare import preparation
from data.prepare.preparation import InProcess, PrepareConfig, prepare
from data.prepared.prepared_set import PreparedSet
from train3d_jax import locks
from train3d_jax.errors import UserError

REPOSITORY = Path(__file__).parents[1]
COUNTS = (12, 9, 5)


@pytest.fixture(scope="session")
def raw(tmp_path_factory):
    """15 frames of ScanNet, 20 of 3D Ken Burns in 5 places, 6 of Taskonomy."""
    root = tmp_path_factory.mktemp("raw")
    for scene, frames in (("scene0000_00", 2), ("scene0000_01", 9), ("scene0001_00", 4)):
        put_sens(root / "scannet" / "scans", scene, frames)
    put_kenburns(root / "kenburns", "asdf", ids=("00001", "00002", "00003"))
    put_kenburns(root / "kenburns", "town-flying", ids=("00001", "00002"))
    put_taskonomy(root / "taskonomy", "cabinet", points=range(4))
    put_taskonomy(root / "taskonomy", "hall", points=range(2))
    return root


def config(raw, out, counts=COUNTS, **options):
    roots = tuple(raw / name for name in preparation.READERS)
    return PrepareConfig(roots, counts, out, **{"num_workers": 0, **options})


def files_of(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="session")
def undisturbed(raw, tmp_path_factory):
    out = tmp_path_factory.mktemp("prepared") / "out"
    prepare(config(raw, out))
    return out


def test_exactly_as_many_come_out_as_were_asked_for(raw, tmp_path):
    summary = prepare(config(raw, tmp_path / "out"))
    assert summary.taken == {"scannet": 12, "kenburns": 9, "taskonomy": 5}
    assert re.search(r"26 maps \(12 scannet, 9 kenburns, 5 taskonomy\) in \d", str(summary))
    samples = PreparedSet(tmp_path / "out")
    licences = samples.facts()["licences"]
    assert licences == {name: kind.licence for name, kind in preparation.READERS.items()}
    assert len(samples) == 26 and len(set(samples.ids)) == 26
    rows = [json.loads(line) for line in (tmp_path / "out/manifest.jsonl").open()]
    taken = [(row["dataset"], row["scene"]) for row in rows]
    # As even as the sizes allow: 2, 9 and 4 frames give 12 as 2, 6 and 4.
    assert [taken.count(("scannet", f"scene000{s}")) for s in ("0_00", "0_01", "1_00")] == [2, 6, 4]
    # Five places give one view each before any gives a second.
    ids = [(row["scene"], row["frame"][:5]) for row in rows if row["dataset"] == "kenburns"]
    assert len(set(ids)) == 5 and max(map(ids.count, ids)) == 2
    assert len({(row["source"], row["frame"]) for row in rows}) == 26
    assert np.load(tmp_path / "out/focals.npy").shape == (26,)


def test_samples_are_those_that_the_manifest_names(raw, undisturbed):
    rows = [json.loads(line) for line in (undisturbed / "manifest.jsonl").open()]
    samples = PreparedSet(undisturbed)
    for index, row in enumerate(rows):
        reader = preparation.READERS[row["dataset"]](raw / row["dataset"])
        (scene,) = (each for each in reader.scenes() if each.name == row["scene"])
        assert reader.file(scene, row["frame"]) == raw / row["dataset"] / row["source"]
        depth, intrinsics, _ = reader.read(scene, row["frame"])
        np.testing.assert_array_equal(samples[index].depth, depth)
        np.testing.assert_array_equal(samples[index].intrinsics, intrinsics)
        assert row["size"] == list(depth.shape)
        np.testing.assert_allclose(row["scale"], depth.max())


def test_the_result_is_the_same_however_many_workers_there_are(raw, undisturbed, tmp_path):
    prepare(config(raw, tmp_path / "out", num_workers=2))
    assert files_of(tmp_path / "out") == files_of(undisturbed)


def test_another_seed_takes_other_samples(raw, undisturbed, tmp_path):
    prepare(config(raw, tmp_path / "out", seed=1))
    first, second = (
        (out / "manifest.jsonl").read_text() for out in (undisturbed, tmp_path / "out")
    )
    assert first != second


def test_work_in_flight_is_bounded(raw, tmp_path):
    class Lazy(InProcess):
        waiting = most = 0

        def submit(self, fn, /, *args, **kwargs):
            self.waiting += 1
            self.most = max(self.most, self.waiting)
            executor = self

            class OnDemand(Future):
                def result(self, timeout=None):
                    executor.waiting -= 1
                    return []

            return OnDemand()

    executor = Lazy()
    assert len(list(run_in_order(executor, str, iter(range(100)), num_workers=2))) == 100
    assert executor.most == 6


def test_a_finished_set_is_left_alone(raw, undisturbed):
    before = files_of(undisturbed)
    assert prepare(config(raw, undisturbed)).already
    with pytest.raises(
        UserError, match=r"other settings \(num_samples \[12, 9, 5\], not \[1, 1, 1"
    ):
        prepare(config(raw, undisturbed, (1, 1, 1)))
    with pytest.raises(UserError, match=r"other settings \(seed 0, not 7\)"):
        prepare(config(raw, undisturbed, seed=7))
    assert files_of(undisturbed) == before


def test_a_folder_in_which_another_process_prepares_is_left_alone(raw, undisturbed, tmp_path):
    out = tmp_path / "out"
    with locks.hold(out, "prepares"):
        with pytest.raises(UserError, match=f"out: process {os.getpid()} on .* prepares it"):
            prepare(config(raw, out))
        assert [path.name for path in out.iterdir()] == [locks.LOCK]
    (out / locks.LOCK).touch()  # as after a kill
    prepare(config(raw, out))
    assert files_of(out) == files_of(undisturbed)


def test_a_set_that_another_process_finished_meanwhile_is_not_prepared_anew(
    raw, undisturbed, tmp_path, monkeypatch
):
    out, select = tmp_path / "out", preparation.select

    def slowly(wanted):
        shutil.copytree(undisturbed, out)
        return select(wanted)

    monkeypatch.setattr(preparation, "select", slowly)
    assert prepare(config(raw, out)).already
    assert files_of(out) == files_of(undisturbed)


def test_a_folder_with_other_files_is_left_alone(raw, tmp_path):
    (tmp_path / "depths").mkdir()
    (tmp_path / "depths" / "000000.npz").write_bytes(b"of someone else")
    with pytest.raises(UserError, match=r"--out=.*: holds files"):
        prepare(config(raw, tmp_path))
    assert files_of(tmp_path) == {"depths/000000.npz": b"of someone else"}


@pytest.mark.parametrize("counts", [(1, 2), (1, 2, 3, 4), (1, -2, 3)])
def test_counts_must_be_three_and_not_negative(raw, tmp_path, counts):
    with pytest.raises(UserError, match=r"--num_samples=.*three counts"):
        config(raw, tmp_path, counts)


def test_datasets_and_counts_must_go_together(raw, tmp_path):
    scannet = raw / "scannet"
    with pytest.raises(UserError, match="asks for 2 of kenburns, but --kenburns is not given"):
        PrepareConfig((scannet, None, None), (1, 2, 0), tmp_path)
    with pytest.raises(UserError, match="at least one of --scannet, --kenburns, --taskonomy"):
        PrepareConfig((None, None, None), (0, 0, 0), tmp_path)
    with pytest.raises(UserError, match="nothing to prepare"):
        PrepareConfig((scannet, None, None), (0, 0, 0), tmp_path)
    with pytest.raises(UserError, match=r"--taskonomy=.*gone: there is no such folder"):
        PrepareConfig((scannet, None, tmp_path / "gone"), (1, 0, 1), tmp_path)
    with pytest.raises(UserError, match="--num_workers=-1"):
        PrepareConfig((scannet, None, None), (1, 0, 0), tmp_path, num_workers=-1)


def test_a_dataset_that_is_given_but_counted_0_is_not_looked_at(raw, tmp_path):
    (tmp_path / "empty").mkdir()
    roots = (raw / "scannet", tmp_path / "empty", None)
    summary = prepare(PrepareConfig(roots, (3, 0, 0), tmp_path / "out", num_workers=0))
    assert summary.taken == {"scannet": 3}


@pytest.mark.parametrize("name", preparation.READERS)
def test_a_folder_without_a_scene_is_an_error_before_any_work(raw, tmp_path, name):
    (tmp_path / "empty").mkdir()
    roots = tuple(tmp_path / "empty" if each == name else None for each in preparation.READERS)
    counts = tuple(int(each == name) for each in preparation.READERS)
    with pytest.raises(UserError, match=f"--{name}=.*empty: holds no scene of {name}"):
        prepare(PrepareConfig(roots, counts, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "files", "output"),
    [
        (
            "kenburns",
            ["a.zip", "a-depth.zip"],
            r"<scene>-<mode>-depth/.* 2 archives, such as a-dep",
        ),
        ("kenburns", ["a/x/1.png", "b/2.png"], r"found 2 folders, such as a/x/1\.png$"),
        ("scannet", ["s/color/0.jpg"], r"<scene>/depth/<frame>\.png.* 1 folder, such as s/color"),
        ("scannet", ["s.sens", "s.txt"], r"found 1 file of \.sens; 1 file of \.txt$"),
        ("taskonomy", ["a_rgb.tar"], r"depth_zbuffer/taskonomy/.* 1 archive, .*: unpack it$"),
        ("taskonomy", ["._a.tar", "__MACOSX/b"], "found nothing$"),
    ],
)
def test_a_folder_without_a_scene_is_described(tmp_path, name, files, output):
    for file in files:
        put(tmp_path / "raw" / file, b"")
    roots = tuple(tmp_path / "raw" if each == name else None for each in preparation.READERS)
    counts = tuple(int(each == name) for each in preparation.READERS)
    with pytest.raises(UserError, match=output) as error:
        prepare(PrepareConfig(roots, counts, tmp_path / "out"))
    assert "\n" not in str(error.value)


def test_a_dataset_in_which_no_scene_can_be_used_says_why(tmp_path):
    put_sens(tmp_path / "raw", "scene0000_00", intrinsics=((5, 0, 6), (0, 5, 4), (0, 0, 1)))
    config = PrepareConfig((tmp_path / "raw", None, None), (1, 0, 0), tmp_path / "out")
    with pytest.raises(
        UserError, match=r"; 1 not suitable, such as .*\.sens: its camera does not fit"
    ):
        prepare(config)


@pytest.mark.parametrize("counts", [(16, 0, 0), (1, 21, 0), (1, 1, 7)])
def test_more_than_there_are_is_an_error_before_any_work(raw, tmp_path, counts):
    with pytest.raises(UserError, match=r"asks for \d+ of \w+, but .* holds (15|20|6) in"):
        prepare(config(raw, tmp_path / "out", counts))
    assert not (tmp_path / "out").exists()
    prepare(config(raw, tmp_path / "out", (15, 20, 6)))


def launch(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "launch.prepare", *map(str, arguments)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_launcher_prepares_and_prints_what_it_did(raw, undisturbed, tmp_path):
    given = ("-ss", raw / "scannet", "-sk", raw / "kenburns", "-st", raw / "taskonomy")
    arguments = (*given, "-ns", "12,9,5", "--out", tmp_path / "out", "--num_workers", 0)
    done = launch(*arguments)
    assert done.returncode == 0, done.stderr
    assert "26 maps (12 scannet, 9 kenburns, 5 taskonomy)" in done.stdout
    assert files_of(tmp_path / "out") == files_of(undisturbed)
    assert (tmp_path / "out/distributions.png").read_bytes().startswith(b"\x89PNG")
    again = launch(*arguments)
    assert again.returncode == 0 and "finished already" in again.stdout


def test_a_dry_run_prints_what_would_be_taken_and_writes_nothing(raw, tmp_path):
    before = files_of(raw)
    done = launch("-ss", raw / "scannet", "-sk", raw / "kenburns", "-ns", "12,9,0", "--dry_run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "scannet: 3 scenes, 15 samples available, 12 asked for: 2 of the 2 of the smallest scene"
        " (scene0000_00), 6 of the 9 of the largest scene (scene0000_01)",
        "kenburns: 2 scenes, 20 samples available, 9 asked for: 4 of the 8 of the smallest scene"
        " (town-flying), 5 of the 12 of the largest scene (asdf)",
    ]
    assert files_of(raw) == before


def test_pictures_show_what_was_prepared(undisturbed):
    for name, least in (("distributions.png", 1000), ("contact_sheet.png", 500)):
        with Image.open(undisturbed / name) as picture:
            assert picture.format == "PNG" and min(picture.size[0], least) == least
            assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 20


def test_mistakes_are_one_line_and_status_2(raw, tmp_path):
    out = ("--out", tmp_path / "out")
    for arguments, message in (
        (("-ss", raw / "scannet", "-ns", "1,x,3", *out), "--num_samples=1,x,3"),
        (("-ss", raw / "scannet", *out), "--num_samples is missing"),
        (("-ss", raw / "scannet", "-ns", "1,0,0"), "--out is missing"),
        (("-ss", raw / "scannet", "-ns", "99,0,0", *out), "asks for 99"),
    ):
        done = launch(*arguments)
        assert done.returncode == 2
        assert done.stdout == "" and done.stderr.count("\n") == 1
        assert done.stderr.startswith("launch.prepare: ") and message in done.stderr
    assert not (tmp_path / "out").exists()


def test_workers_start_without_jax_and_other_heavy_imports():
    heavy = "{'jax', 'matplotlib', 'OpenEXR', 'open3d', 'grain', 'flax'}"
    code = f"import sys, launch.prepare; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.stdout == "[]\n", done.stderr


def test_workers_end_when_their_parent_is_killed():
    code = (
        "import os, signal, time; from data.parallel import work; executor = work.make_executor(1);"
        "executor.submit(os.getpid).result(); executor.submit(time.sleep, 60);"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    # Returns when the last process that holds the pipe has ended.
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, timeout=30
    )
    assert done.returncode == -9
