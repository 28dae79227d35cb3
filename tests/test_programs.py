"""The programs as users start them: new processes, from another folder."""

import csv
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import jax
import numpy as np
import pytest
from box_rooms import box_room
from ply_files import read_ply
from raw_files import exr, png16, put, sens

from launch import program
from train3d_jax import locks

ROOT = Path(__file__).parents[1]
PROGRAMS = [
    path.stem
    for path in sorted((ROOT / "launch").glob("*.py"))
    if "program.run(" in path.read_text()
]
FLAGS = {
    "prepare": ["scannet", "kenburns", "taskonomy", "num_samples", "out", "seed", "num_workers"],
    "train": ["data", "model_name", "targets", "input_channels", "learning_rate_decay", "logs"],
    "infer": [
        *("input", "out", "model", "space", "method", "batch_size", "key", "channel", "invalid"),
        *("allow_8bit", "ray_depth", "focal_px", "fov_deg", "intrinsics", "shift_known"),
        *("shared_camera", "save", "rgb", "edge_filter", "resume"),
    ],
    "evaluate": [
        *("data", "model", "out", "space", "crop", "crops", "seed", "max_maps", "batch_size"),
        *("noise", "worst"),
    ],
    "view": [
        *("input", "data", "space", "model", "rgb", "out", "host", "port", "key", "channel"),
        *("invalid", "allow_8bit"),
    ],
    "weights": ["out", "epochs", "share"],
}


_RUN = ["--model", "m", "--space", "depth"]


def run(folder, program, *arguments, status=0, **environment):
    """Starts a program in `folder`; fails unless it ends with `status`."""
    ended = subprocess.run(
        [sys.executable, "-m", f"launch.{program}", *map(str, arguments)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == status, ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr
    return ended


def test_processes_read_for_a_gpu_and_threads_for_a_cpu_unless_told_otherwise():
    # A process of its own: prepare has a flag of the same name.
    code = """
import jax, sys
from launch import train_flags
train_flags.flags.FLAGS([*"train --data=a --model_name=b".split(), *sys.argv[2:]])
jax.default_backend = lambda: sys.argv[1]
print(train_flags.num_workers())
"""
    for backend, given, expected in (
        ("cpu", [], "0"),
        ("cpu", ["--num_workers=3"], "3"),
        ("gpu", [], "16"),
        ("gpu", ["--num_workers=0"], "0"),
    ):
        told = subprocess.run(
            [sys.executable, "-c", code, backend, *given],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        assert told.stdout.strip() == expected


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_shows_what_the_program_is_for_and_its_flags(tmp_path, program):
    shown = run(tmp_path, program, "--help").stdout
    assert f"python -m launch.{program}" in shown
    for flag in FLAGS.get(program, []):
        assert f"--{flag}" in shown or f"--[no]{flag}" in shown


@pytest.mark.parametrize(
    ("program", "arguments", "told"),
    [
        ("prepare", ["--out", "new", "-ns", "1,0,0", "-ss", "nowhere"], "nowhere"),
        ("train", ["--data", "d", "--model_name", "m", "--targets", "0,5"], "--targets"),
        ("train", ["--data", "nowhere", "--model_name", "m"], "nowhere"),
        ("infer", ["--input", "d", "--out", "o", "--space", "depth", "--model="], "--model"),
        ("infer", ["--input", "d", "--out", "o", "--space", "disparity"], "d: is not there"),
        ("view", ["--input", "d", "--space", "depth"], "d: is not there"),
        ("view", ["--space", "depth"], "--input"),
        ("view", ["--data", "d", "--rgb", "r", "--space", "depth"], "--rgb"),
        ("infer", ["--input", "d", "--out", "o", "--model", "m"], "--space"),
        ("infer", ["--input", "d", "--out", "o", *_RUN, "--save", "ply,obj"], "--save"),
        (
            "infer",
            ["--input", "d", "--out", "o", *_RUN, "--focal_px", "5", "--fov_deg", "60"],
            "--focal_px",
        ),
        ("infer", ["--input", "d", "--out", "o", *_RUN, "--ray_depth"], "--ray_depth"),
        ("infer", ["--input", "nowhere", "--out", "o", *_RUN], "nowhere"),
        ("infer", ["--input", str(ROOT / "docs"), "--out", "o", *_RUN, "--rgb", "r"], "--rgb=r: "),
        ("view", ["--input", str(ROOT / "docs"), "--space", "depth", "--rgb", "r"], "--rgb=r: "),
        ("infer", ["--input", "d", "--out", "o", "--space", "depth", "--model", "m", "x"], "x"),
        ("evaluate", ["--data", "nowhere", "--out", "o"], "nowhere"),
    ],
)
def test_a_mistake_is_told_in_one_line_and_nothing_is_written(tmp_path, program, arguments, told):
    ended = run(tmp_path, program, *arguments, status=2)
    assert len(ended.stderr.splitlines()) == 1
    assert ended.stderr.startswith(f"launch.{program}: ") and told in ended.stderr
    assert ended.stdout == "" and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("module", ["data.py", "data/__init__.py"])
def test_a_module_of_the_user_s_that_hides_ours_is_told_in_one_line(tmp_path, module):
    (tmp_path / module).parent.mkdir(exist_ok=True)
    (tmp_path / module).write_text("raise RuntimeError('run by mistake')")
    told = run(tmp_path, "infer", "--help", status=2).stderr
    assert len(told.splitlines()) == 1 and "-P" in told
    assert f"{module.split('/')[0]} in {tmp_path} hides" in told
    run(tmp_path, "infer", "--help", PYTHONSAFEPATH="1")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    told = run(elsewhere, "infer", "--help", status=2, PYTHONPATH=f"{tmp_path}:{ROOT}").stderr
    assert len(told.splitlines()) == 1 and "PYTHONPATH" in told


def test_a_folder_of_data_hides_nothing(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "notes.py").touch()
    run(tmp_path, "infer", "--help")


@pytest.mark.parametrize("program", ["infer", "evaluate", "view"])
@pytest.mark.parametrize("platform", ["nonsense", "tpu"])
def test_a_platform_that_jax_cannot_use_is_told_before_any_work(tmp_path, program, platform):
    np.save(tmp_path / "map.npy", box_room(0)[0])
    flags = {
        "infer": ["--input", "map.npy", "--out", "o", "--space", "depth", "--method", "geometric"],
        "evaluate": ["--data", "d", "--out", "o", "--model="],
        "view": ["--input", "map.npy", "--space", "depth", "--model="],
    }
    ended = run(tmp_path, program, *flags[program], status=2, JAX_PLATFORMS=platform)
    assert len(ended.stderr.splitlines()) == 1 and ended.stdout == ""
    assert f"JAX_PLATFORMS={platform}: " in ended.stderr and "JAX_PLATFORMS=cpu" in ended.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["map.npy"]


def test_a_platform_without_its_plugin_is_told_too(monkeypatch, capsys):
    def devices():
        raise AssertionError  # as JAX does for cuda

    monkeypatch.setattr(jax, "devices", devices)
    for platform, told in (("cuda", "JAX_PLATFORMS=cuda: "), ("", "JAX finds no device")):
        monkeypatch.setenv("JAX_PLATFORMS", platform)
        with pytest.raises(SystemExit) as ended, program.one_line_for_mistakes():
            raise AssertionError
        assert ended.value.code == 2 and told in capsys.readouterr().err


def test_a_defect_of_ours_keeps_its_traceback():
    with pytest.raises(AssertionError, match="ours"), program.one_line_for_mistakes():
        raise AssertionError("ours")


def test_without_a_device_no_run_is_begun(folder):
    flags = ["--data", "prepared", "--model_name", "nowhere", "--targets", "2"]
    ended = run(folder, "train", *flags, status=2, JAX_PLATFORMS="nonsense")
    assert len(ended.stderr.splitlines()) == 1 and "JAX_PLATFORMS=nonsense: " in ended.stderr
    assert not (folder / "runs" / "nowhere").exists()


# From raw datasets to point clouds.


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where everything is: raw datasets of 15, 4 and 9 maps, a prepared set of them all."""
    folder = tmp_path_factory.mktemp("programs")
    for scene in range(5):
        maps = [box_room(10 * scene + frame, fov_degrees=50 + scene) for frame in range(3)]
        units = [np.uint16(1000 * depth) for depth, _ in maps]
        name = f"scene000{scene}_00"
        path = folder / "scannet" / "scans" / name / f"{name}.sens"
        put(path, sens(units, intrinsics=maps[0][1]))
    for view in ("tl", "tr", "bl", "br"):
        depth, _ = box_room(60, (96, 96), fov_degrees=70)
        path = folder / "kenburns" / "depths" / "town-depth" / f"00001-{view}-depth.exr"
        put(path, exr(np.float16(100 * depth)))
    meta = {"intSample": 1, "fltFov": 70.0}
    put(folder / "kenburns" / "rgb" / "town" / "00001-meta.json", meta)
    for building in ("allensville", "beechwood", "benevolence"):
        for point in range(3):
            depth, _ = box_room(70 + point, (96, 96), fov_degrees=60)
            stem = f"point_{point}_view_0_domain_"
            image = f"depth_zbuffer/taskonomy/{building}/{stem}depth_zbuffer.png"
            info = f"point_info/taskonomy/{building}/{stem}point_info.json"
            put(folder / "taskonomy" / image, png16(np.uint16(512 * depth)))
            camera = {"field_of_view_rads": float(np.radians(60)), "resolution": 96}
            put(folder / "taskonomy" / info, camera)
    run(
        folder, "prepare", "-ss", "scannet", "-sk", "kenburns", "-st", "taskonomy",
        "-ns", "15,4,9", "--out", "prepared", "--num_workers", 0,
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def trained(folder):
    """A run with both heads, and what the program told."""
    ended = run(
        folder, "train", "--data", "prepared", "--model_name", "both", "--targets", "0,2",
        "--batch_size", 8, "--epochs", 3, "--num_points", 256, "--print_losses_every", 1,
    )  # fmt: skip
    return folder / "runs" / "both", ended.stdout


def metrics_of(run_folder):
    return [json.loads(line) for line in (run_folder / "metrics.jsonl").read_text().splitlines()]


def test_what_prepare_makes_is_what_the_contract_says(folder):
    prepared = folder / "prepared"
    counts = json.loads((prepared / "dataset.json").read_text())["counts"]
    assert counts == {"scannet": 15, "kenburns": 4, "taskonomy": 9}
    assert len(list((prepared / "depths").iterdir())) == 28
    assert len(np.load(prepared / "focals.npy")) == len(np.load(prepared / "scales.npy")) == 28
    rows = [json.loads(line) for line in (prepared / "manifest.jsonl").read_text().splitlines()]
    first = rows[0]
    seed = 10 * int(first["scene"][8]) + first["frame"]
    depth = np.load(prepared / "depths" / f"{first['id']}.npz")["arr_0"]
    np.testing.assert_allclose(depth, box_room(seed, fov_degrees=50 + seed // 10)[0], atol=1e-3)


def test_a_run_holds_all_that_the_contract_says(folder, trained):
    run_folder, told = trained
    # 0.9 of 28 is 25.2, but scenes stay whole: 3 or 4 samples each.
    assert "25 samples to train on, 3 to validate, 9 steps" in told
    names = {path.name for path in run_folder.iterdir()}
    assert {name.split(".tfevents")[0] for name in names} == {
        *("run.flags", "config.json", "metrics.jsonl", "checkpoints", "curves.png", "events.out")
    }
    config = json.loads((run_folder / "config.json").read_text())
    manifest = (folder / "prepared" / "manifest.jsonl").read_bytes()
    assert config["data"][0]["sha256"] == hashlib.sha256(manifest).hexdigest()
    assert {"scannet", "kenburns", "taskonomy"} == config["data"][0]["licences"].keys()
    assert config["libraries"]["jax"] == version("jax")
    rows = metrics_of(run_folder)
    assert [row["step"] for row in rows if row["split"] == "train"] == [*range(1, 10)]
    assert [row["step"] for row in rows if row["split"] == "validation"] == [3, 6, 9]
    assert all(np.isfinite(row["loss"]) for row in rows)
    assert {"shift_error", "median_focal_error", "fov_error_deg"} <= rows[-1].keys()


def test_the_command_line_of_the_original_trains(folder):
    line = (
        "--data prepared --model_name scale_model_uv --input_chanels 5 --targets 1 --batch_size 20 "
        "--learning_rate 0.01 --voxel_size 0.005 --train_split 0.9 --learning_rate_decay 0.5 "
        "--epochs 5 --print_losses_evry 150 --num_w 8 --logs"
    )
    # Smaller clouds, or it would take long.
    run(folder, "train", *line.split(), "--num_points", 128)
    run_folder = folder / "runs" / "scale_model_uv"
    settings = json.loads((run_folder / "config.json").read_text())["training"]
    assert (settings["targets"], settings["batch_size"]) == ([1], 20)
    assert (settings["learning_rate"], settings["learning_rate_decay"]) == (0.01, 0.5)
    assert (settings["clouds"]["input_channels"], settings["clouds"]["voxel_size"]) == (5, 0.005)
    flags = (run_folder / "run.flags").read_text().splitlines()
    assert {"--input_channels=5", "--print_losses_every=150", "--num_workers=8"} <= set(flags)
    assert [row["step"] for row in metrics_of(run_folder)] == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert list(run_folder.glob("events.out.tfevents*"))


def test_a_run_that_is_finished_is_not_trained_on_when_started_again_from_its_flags(
    folder, trained
):
    run_folder, _ = trained
    before = (run_folder / "metrics.jsonl").read_text()
    told = run(folder, "train", "--flagfile", run_folder / "run.flags").stdout
    assert "going on from step 9" in told
    assert (run_folder / "metrics.jsonl").read_text() == before


def test_a_run_that_is_stopped_again_and_again_ends_as_one_left_alone(folder, trained):
    """SIGTERM, then kill -9, then SIGTERM while worker processes read; the flags of the fixture."""
    alone, _ = trained
    flags = (alone / "run.flags").read_text().replace("=both", "=stopped")
    flags += "--save_every=2\n"
    (folder / "stopped.flags").write_text(flags)
    command = [sys.executable, "-m", "launch.train", "--flagfile", "stopped.flags"]
    stopped = folder / "runs" / "stopped"

    for number, after, workers in (
        (signal.SIGTERM, 1, 0),
        (signal.SIGKILL, 3, 0),
        (signal.SIGTERM, 5, 1),
    ):
        program = subprocess.Popen(
            [*command, "--num_workers", str(workers)], cwd=folder, text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        told = ""
        # Each step's row is told: `--print_losses_every=1`.
        while f"step {after:>6}  train" not in told:
            line = program.stdout.readline()
            assert line, told
            told += line
        program.send_signal(number)
        told += program.communicate()[0]
        assert program.returncode == (0 if number == signal.SIGTERM else -signal.SIGKILL), told
        assert "Traceback" not in told
        if number == signal.SIGTERM:
            assert "saving, then stopping" in told and "stopped at step" in told
    run(folder, "train", "--flagfile", "stopped.flags")
    assert (stopped / "metrics.jsonl").read_bytes() == (alone / "metrics.jsonl").read_bytes()


def test_other_settings_and_other_data_for_a_run_are_refused(folder, trained):
    run_folder, _ = trained
    flags = ["--flagfile", run_folder / "run.flags", "--learning_rate", 0.5]
    told = run(folder, "train", *flags, status=2).stderr
    assert "learning_rate 0.003 -> 0.5" in told and len(told.splitlines()) == 1
    shutil.copytree(folder / "prepared", folder / "moved")
    run(folder, "train", "--flagfile", run_folder / "run.flags", "--data", "moved")
    manifest = (folder / "moved" / "manifest.jsonl").read_text()
    (folder / "moved" / "manifest.jsonl").write_text(manifest.replace("scene0001", "scene0009"))
    flags = ["--flagfile", run_folder / "run.flags", "--data", "moved"]
    told = run(folder, "train", *flags, status=2).stderr
    assert "was trained on --data=moved before it changed: moved (28 samples" in told
    assert len(told.splitlines()) == 1
    # Of 28 samples some 21 to train on, not 25.
    flags = ["--flagfile", run_folder / "run.flags", "--data", "prepared", "--train_split", 0.75]
    told = run(folder, "train", *flags, status=2).stderr
    assert "was trained with --train_split=0.9 of prepared, not --train_split=0.75;" in told
    assert len(told.splitlines()) == 1


def test_a_run_that_another_process_trains_is_left_alone(folder, trained):
    run_folder, _ = trained
    before = (run_folder / "metrics.jsonl").read_bytes()
    flags = ["--flagfile", run_folder / "run.flags", "--learning_rate", 0.5]  # whatever is asked
    with locks.hold(run_folder, "trains"):
        told = run(folder, "train", *flags, status=2).stderr
    assert told.startswith(f"launch.train: runs/both: process {os.getpid()} on ")
    assert "trains it" in told and len(told.splitlines()) == 1
    assert (run_folder / "metrics.jsonl").read_bytes() == before
    assert not (run_folder / locks.LOCK).exists()


def test_a_run_begins_with_the_weights_of_another(folder, trained):
    first = ["--data", "prepared", "--targets", "0,2", "--batch_size", 8, "--num_points", 256]
    flags = [*first, "--epochs", 1, "--learning_rate", 1e-9, "--augmentation", "none"]
    run(folder, "train", *flags, "--model_name", "next", "--init_from", "runs/both")
    before, after = (
        [row["loss"] for row in metrics_of(folder / "runs" / name) if row["split"] == "validation"]
        for name in ("both", "next")
    )
    # With those of the best checkpoint; three steps at this learning rate change nothing.
    assert after == [pytest.approx(min(before), rel=1e-3)]
    told = run(
        folder, "train", *flags, "--model_name", "wide", "--init_from", "runs/both",
        "--width", 8, status=2,
    ).stderr  # fmt: skip
    assert "width 64 -> 8" in told and not (folder / "runs" / "wide").exists()


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--shift_range", "0.8,-0.25"], "--shift_range"),
        (["--alpha_range", "1"], "--alpha_range"),
        (["--augmentation", "crop,rain"], "--augmentation"),
        (["--target_weights", "1"], "--target_weights"),
        (["--mix", "1,2"], "--mix"),
        (["--batch_size", 1000], "--batch_size=1000"),
        (["--init_from", "nowhere"], "nowhere"),
    ],
)
def test_settings_that_make_no_sense_are_told_in_one_line_and_nothing_is_written(
    folder, flags, told
):
    ended = run(folder, "train", "--data", "prepared", "--model_name", "x", *flags, status=2)
    assert told in ended.stderr and len(ended.stderr.splitlines()) == 1
    assert not (folder / "runs" / "x").exists()


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
    return run(
        folder, "infer", "--input", "maps", "--out", "out", "--model", "runs/both",
        "--space", "depth", "--batch_size", 3, status=1,
    )  # fmt: skip


def test_each_map_gets_a_cloud_and_an_answer_under_its_own_name(folder, recovered):
    out = folder / "out"
    found = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    solved = ["a/map.npy", "a/map.png", "b/map", "holed", "metres"]
    assert found == sorted(
        ["summary.csv", "summary.json", "index.html", "wall.json", "broken.json"]
        + [f"{name}.{kind}" for name in solved for kind in ("json", "npz", "ply")]
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


def test_maps_that_fail_are_told_and_the_others_are_done(folder, recovered):
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
    run(
        folder, "infer", "--input", "prepared/depths/000000.npz", "--out", "one", "--model",
        "runs/both", "--space", "depth", "--fov_deg", 90, "--batch_size", 3,
    )  # fmt: skip
    answer = json.loads((folder / "one" / "000000.json").read_text())
    assert answer["focal_px"] == pytest.approx(answer["width"] / 2)
    assert answer["fov_x_deg"] == pytest.approx(90)


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
    first = run(folder, "evaluate", *flags, "--worst", 3).stdout
    out = folder / "evaluated"
    assert {path.name for path in out.iterdir()} == {
        *("evaluation.json", "views.csv", "table.txt", "errors.png", "worst")
    }
    assert len(list((out / "worst").iterdir())) == 3
    assert first.startswith((out / "table.txt").read_text())
    report = (out / "evaluation.json").read_bytes()
    told = json.loads(report)
    assert told["models"][0].startswith("both@") and told["overall"]["views"] == 14
    # Five maps of 28, evenly spread, are of different scenes.
    assert [part["scenes"] for part in told["data"].values()] == [5, 2]
    rows = told["overall"]["rows"]
    assert [*rows] == [
        *("nothing corrected", "constant guess", "best constants in hindsight"),
        *("geometric", "learned", "hybrid", "oracle: true focal length", "oracle: true shift"),
    ]
    zero = pytest.approx(0, abs=1e-6)
    assert rows["oracle: true focal length"]["errors"]["fov_error_deg"]["mean"] == zero
    # The canonical form of what came in is undone in float32.
    assert rows["oracle: true shift"]["errors"]["shift_error"]["mean"] < 1e-5
    constant, found = (rows[row]["errors"] for row in ("constant guess", "geometric"))
    assert found["point_error"]["median"] < constant["point_error"]["median"]
    lines = (out / "views.csv").read_text().splitlines()
    assert len(lines) == 1 + 14 * 8

    run(folder, "evaluate", *flags, "--worst", 0, "--batch_size", 3)
    assert (out / "evaluation.json").read_bytes() == report
    assert list((out / "worst").iterdir()) == []


def test_without_a_run_geometry_is_evaluated_and_a_broken_map_is_told(folder):
    put_listed(folder / "broken", broken=True)
    ended = run(
        folder, "evaluate", "--data", "broken", "--out", "geometry", "--nocrop", "--model=",
        status=1,
    )  # fmt: skip
    assert "0.png: is missing" in ended.stdout + ended.stderr
    told = json.loads((folder / "geometry" / "evaluation.json").read_text())
    assert (told["data"]["broken"]["maps"], told["data"]["broken"]["failed_maps"]) == (2, 1)
    assert told["overall"]["views"] == 1 and "learned" not in told["overall"]["rows"]


def test_what_cannot_be_evaluated_is_told_in_one_line(tmp_path):
    put(tmp_path / "text" / "manifest.json", b"no JSON")
    put_listed(tmp_path / "listed")
    (tmp_path / "empty").mkdir()
    for flags, told in (
        (["--data", "text", "--out", "o"], "manifest.json: is no JSON"),
        (["--data", "empty", "--out", "o"], "empty: there is no prepared set"),
        (["--data", "listed", "--out", "text"], "--out=text: holds manifest.json"),
    ):
        ended = run(tmp_path, "evaluate", *flags, status=2)
        assert told in ended.stderr and len(ended.stderr.splitlines()) == 1
        assert not (tmp_path / "o").exists()


def test_the_recipe_of_the_weights_makes_weights_and_begun_again_nothing_anew(tmp_path):
    """A thousandth of the rooms: that it works, not how well."""
    arguments = ["--out", "made", "--space", "disparity", "--share", "0.001", "--epochs", "1"]
    told = run(tmp_path, "weights", *arguments)
    packed = tmp_path / "made" / "disparity"
    assert "packed" in told.stdout
    before = (packed / "weights.npz").read_bytes()
    finished = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("dataset.json")}
    assert len(finished) == 2
    run(tmp_path, "weights", *arguments)
    assert (packed / "weights.npz").read_bytes() == before
    assert all(path.stat().st_mtime_ns == when for path, when in finished.items())
    np.save(tmp_path / "map.npy", 1 / box_room(0)[0])
    run(
        tmp_path, "infer", "--input", "map.npy", "--out", "found", "--space", "disparity",
        "--model", packed, "--save=",
    )  # fmt: skip
    assert json.loads((tmp_path / "found" / "map.json").read_text())["error"] is None
