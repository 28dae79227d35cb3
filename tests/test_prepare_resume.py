"""Interrupted and gone on with, verified and mended: always the same bytes."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from raw_files import put, put_kenburns, put_sens, put_taskonomy

from data.prepare import preparation
from data.prepare.preparation import InProcess, PrepareConfig, prepare
from data.prepare.verify import repair, verify
from data.prepared import manifest, records, writing
from data.prepared.layout import FORMATS
from data.prepared.prepared_set import PreparedSet
from train3d_jax.errors import UserError

REPOSITORY = Path(__file__).parents[1]
COUNTS = (22, 9, 20)


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Three datasets, some of it broken; shards are small in all tests of this module."""
    root = tmp_path_factory.mktemp("raw")
    for scene, frames in (("scene0000_00", 12), ("scene0001_00", 20)):
        put_sens(root / "scannet" / "scans", scene, frames)
    put(root / "scannet/scans/scene0002_00/scene0002_00.sens", b"\4\0\0\0")
    put_kenburns(root / "kenburns", "asdf", ids=("00001", "00002", "00003", "00004"))
    (root / "kenburns/rgb/asdf/00002-meta.json").unlink()
    put_taskonomy(root / "taskonomy", "cabinet", points=range(14))
    put_taskonomy(root / "taskonomy", "hall", points=range(16))
    for point in (1, 4, 5, 9):
        name = f"point_{point}_view_0_domain_depth_zbuffer.png"
        put(root / "taskonomy/depth_zbuffer/taskonomy/hall" / name, b"not a PNG")
    return root


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(records, "SAMPLES_PER_SHARD", 7)


def config(raw, out, **options):
    roots = tuple(raw / name for name in preparation.READERS)
    defaults = {"num_workers": 0, "max_bad_fraction": 1.0}
    return PrepareConfig(roots, COUNTS, out, **{**defaults, **options})


def files_of(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module", params=FORMATS)
def undisturbed(request, raw, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "SAMPLES_PER_SHARD", 7)
        out = tmp_path_factory.mktemp("prepared") / "out"
        prepare(config(raw, out, format=request.param))
    return out, request.param


class Killed(BaseException):
    """Stands for the end of the process: nothing of ours handles it."""


def kill_at(monkeypatch, moment, torn):
    """Ends the run at the given call of the system that changes the folder; `torn` half-way."""
    calls = 0
    whole_replace, whole_append = os.replace, manifest.append_lines

    def replace(source, target):
        nonlocal calls
        calls += 1
        if calls == moment:
            if torn:
                Path(source).write_bytes(Path(source).read_bytes()[:-3])
            raise Killed
        whole_replace(source, target)

    def append(path, new):
        nonlocal calls
        calls += 1
        if calls == moment:
            rows = "".join(json.dumps(row) + "\n" for row in new)
            if torn:
                with path.open("a") as file:
                    file.write(rows[: 2 * len(rows) // 3])
            raise Killed
        whole_append(path, new)

    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(manifest, "append_lines", append)
    return lambda: calls


def test_killed_at_any_moment_a_run_goes_on_to_the_same_bytes(raw, undisturbed, tmp_path):
    whole, format = undisturbed
    expected = files_of(whole)
    chance = random.Random(0)
    out = tmp_path / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("data.prepare.distributions.draw", lambda folder: None)
        patch.setattr("data.prepare.contact_sheet.draw", lambda folder, format: None)
        counted = kill_at(patch, -1, torn=False)
        prepare(config(raw, out, format=format))
        moments = counted()
    assert moments > 40
    chosen = {1, 2, 3, 4, 5, moments - 1, moments, *chance.sample(range(1, moments), 22)}
    for moment in sorted(chosen):
        shutil.rmtree(out)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("data.prepare.distributions.draw", lambda folder: None)
            patch.setattr("data.prepare.contact_sheet.draw", lambda folder, format: None)
            for again in (moment, chance.randrange(1, 12)):  # and a second time
                with pytest.MonkeyPatch.context() as inner, pytest.raises(Killed):
                    kill_at(inner, again, torn=chance.random() < 0.5)
                    prepare(config(raw, out, format=format))
                    raise Killed  # so little was left that it was finished
            assert not prepare(config(raw, out, format=format)).already or again
        left = files_of(out)
        pictures = {"distributions.png", "contact_sheet.png"}
        assert left.keys() | pictures == expected.keys(), moment
        for name in left:
            assert left[name] == expected[name], (moment, name)


def test_what_is_done_is_not_done_again(raw, undisturbed, tmp_path, monkeypatch):
    whole, format = undisturbed
    out = tmp_path / "out"
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, 75 if format == "npz" else 40, torn=True)
        prepare(config(raw, out, format=format))
    rows = (out / "manifest.jsonl").read_text().count("\n")
    assert rows > 15
    made = []
    write = writing.write_sample
    monkeypatch.setattr(writing, "write_sample", lambda *a: (made.append(a[1]), write(*a))[1])
    summary = prepare(config(raw, out, format=format))
    assert min(made) >= rows - rows % 8 - 8 and summary.made == len(set(made)) < sum(COUNTS)
    assert f"{sum(COUNTS) - summary.made} of them before" in str(summary)
    assert files_of(out) == files_of(whole)


def command(*flags):
    """The launcher, with shards as small as here."""
    program = (
        "import sys; from data.prepared import records; records.SAMPLES_PER_SHARD = 7;"
        "sys.argv[0] = 'prepare.py'; from launch import prepare, program; program.run(prepare.main)"
    )
    return [sys.executable, "-c", program, *map(str, flags)]


def preparing(raw, out, format, workers):
    given = ("-ss", raw / "scannet", "-sk", raw / "kenburns", "-st", raw / "taskonomy")
    flags = ("--max_bad_fraction", 1, "--num_workers", workers, "--format", format)
    return command(*given, "-ns", ",".join(map(str, COUNTS)), "--out", out, *flags)


def rows_of(out):
    manifest = out / "manifest.jsonl"
    return manifest.read_bytes().count(b"\n") if manifest.exists() else 0


def test_kill_minus_9_of_the_process_at_random_moments(raw, undisturbed, tmp_path):
    whole, format = undisturbed
    out, chance = tmp_path / "out", random.Random(1)
    for workers in (0, 2):
        process = subprocess.Popen(
            preparing(raw, out, format, workers), cwd=REPOSITORY, stderr=subprocess.DEVNULL
        )
        wanted = rows_of(out) + chance.randrange(1, 20)
        while process.poll() is None and rows_of(out) < wanted:
            time.sleep(0.001)
        process.kill()
        process.wait()
    assert rows_of(out) > 0
    done = subprocess.run(
        preparing(raw, out, format, workers=2), cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert files_of(out) == files_of(whole)


def test_ctrl_c_ends_in_one_line_and_the_same_command_goes_on(raw, undisturbed, tmp_path):
    whole, format = undisturbed
    out = tmp_path / "out"
    process = subprocess.Popen(
        preparing(raw, out, format, 2), cwd=REPOSITORY, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
        # A shell starts what it puts into the background with Ctrl-C ignored, tests too.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    while process.poll() is None and not (out / "manifest.jsonl").exists():
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers too
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in error
    assert "what is done stays" in error and error.endswith("launch.prepare: interrupted\n")
    prepare(config(raw, out, format=format))
    assert files_of(out) == files_of(whole)


def test_other_settings_or_other_raw_data_do_not_go_on(raw, tmp_path):
    out, other = tmp_path / "out", tmp_path / "raw"
    shutil.copytree(raw, other)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, 60, torn=False)
        prepare(config(other, out))
    before = files_of(out)
    with pytest.raises(
        UserError, match=r"beginning of a set with other settings \(seed 0, not 3\)"
    ):
        prepare(config(other, out, seed=3))
    with pytest.raises(
        UserError, match=r"\(format npz, not array_record, min_valid 0.3, not 0.5\)"
    ):
        prepare(config(other, out, format="array_record", min_valid=0.5))
    put_sens(other / "scannet" / "scans", "scene0009_00", 3)
    with pytest.raises(UserError, match=r"held other samples \(now 35 in 3 scenes, then 32 in 2\)"):
        prepare(config(other, out))
    assert files_of(out) == before


def check(out, **options):
    return [str(fault) for fault in verify(out, InProcess(), 0)]


def test_verify_names_every_file_that_is_missing_or_changed_and_repair_mends_them(
    raw, undisturbed, tmp_path
):
    whole, format = undisturbed
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    assert check(out) == []
    data = sorted(name for name in files_of(out) if "/" in name)
    expected = set()
    for index, name in enumerate(["focals.npy", *data[::3], data[-1]]):
        contents = (out / name).read_bytes()
        if index % 3 == 2:
            (out / name).unlink()
            expected.add(f"{name}: is missing")
        else:
            at = len(contents) // 2
            flip = bytes([contents[at] ^ 1])
            damaged = contents[:at] + flip + contents[at + 1 :] if index % 3 else contents[:-1]
            (out / name).write_bytes(damaged)
            expected.add(f"{name}: is changed")
    assert set(check(out)) == expected
    untouched = {name: (out / name).stat().st_mtime_ns for name in data[1::3][:-1]}
    mended = list(repair(out, {}, InProcess(), 0))
    assert {str(fault) for fault, _ in mended} == expected and all(done for _, done in mended)
    assert check(out) == [] and files_of(out) == files_of(whole)
    if format == "array_record":
        assert untouched == {name: (out / name).stat().st_mtime_ns for name in untouched}


def test_what_cannot_be_mended_is_said(raw, undisturbed, tmp_path):
    whole, _ = undisturbed
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    name = sorted(name for name in files_of(out) if "/" in name)[0]
    (out / name).unlink()
    put_sens(tmp_path / "raw", "scene0005_00", 3)
    ((fault, done),) = repair(out, {"scannet": tmp_path / "raw"}, InProcess(), 0)
    assert not done and "no scene scene0000_00 any more" in str(fault)
    assert check(out) == [f"{name}: is missing"]
    assert not (out / "staged").exists()
    with pytest.raises(UserError, match=r"--scannet=.*gone: there is no such folder"):
        list(repair(out, {"scannet": tmp_path / "gone"}, InProcess(), 0))
    (out / "manifest.jsonl").write_text("")
    with pytest.raises(UserError, match=r"manifest\.jsonl: is missing or changed"):
        check(out)
    with pytest.raises(UserError, match="no finished set to verify"):
        check(tmp_path / "nothing")


def test_the_launcher_verifies_and_repairs(raw, undisturbed, tmp_path):
    whole, _ = undisturbed
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    (out / "scales.npy").unlink()

    def launch(flag):
        arguments = command(flag, "--out", out, "--num_workers=2")
        return subprocess.run(arguments, cwd=REPOSITORY, capture_output=True, text=True)

    found, mended, again = launch("--verify"), launch("--repair"), launch("--verify")
    assert (found.returncode, mended.returncode, again.returncode) == (1, 0, 0), mended.stderr
    assert "scales.npy: is missing" in found.stdout and "1 files are not" in found.stdout
    assert "scales.npy: is missing, made again" in mended.stdout


def test_both_formats_hold_the_same_samples(raw, tmp_path, monkeypatch):
    monkeypatch.setattr("data.prepare.contact_sheet.draw", lambda folder, format: None)
    first, second = (
        PreparedSet(prepare_into(raw, tmp_path / format, format)) for format in FORMATS
    )
    assert (first.ids, first.scenes) == (second.ids, second.scenes)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.intrinsics, other.intrinsics)
        if one.scene.startswith("kenburns"):
            np.testing.assert_allclose(one.depth, other.depth, atol=one.depth.max() / 65535)
            assert ((one.depth == 0) == (other.depth == 0)).all()
        else:  # whole millimetres and 1/512 m are kept
            np.testing.assert_array_equal(one.depth, other.depth)


def prepare_into(raw, out, format):
    prepare(config(raw, out, format=format))
    return out
