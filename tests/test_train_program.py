"""launch.train as users start it: what a run holds, is refused, and resumes."""

import hashlib
import json
import os
import shutil
import signal
import time
from importlib.metadata import version

import numpy as np
import pytest
from programs import ROOT, Started, metrics_of, run

from train3d_jax import locks


def test_processes_read_for_a_gpu_and_threads_for_a_cpu_by_default():
    # A process of its own: prepare has a flag of the same name.
    code = """
import jax, sys
from launch.training import flags as train_flags
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
        assert run(ROOT, code, backend, *given).stdout.strip() == expected


def test_a_configuration_of_the_library_has_the_defaults_of_the_command_line():
    # A process of its own: prepare has flags of the same names.
    code = """
from launch.training import flags as train_flags
from train3d_jax.training.config import TrainingConfig
train_flags.flags.FLAGS("train --data=a --model_name=b --precision=float32".split())
assert train_flags.configuration() == TrainingConfig(), train_flags.configuration()
"""
    run(ROOT, code)


def test_without_a_device_no_run_is_begun(folder):
    flags = ["--data", "prepared", "--model_name", "nowhere", "--targets", "2"]
    ended = run(folder, "train", *flags, status=2, JAX_PLATFORMS="nonsense")
    assert len(ended.stderr.splitlines()) == 1 and "JAX_PLATFORMS=nonsense: " in ended.stderr
    assert not (folder / "runs" / "nowhere").exists()


def test_a_run_holds_all_that_the_contract_says(folder, trained):
    run_folder, output = trained
    # 0.9 of 28 is 25.2, but scenes stay whole: 3 or 4 samples each.
    assert "25 samples to train on, 3 to validate, 9 steps" in output
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
        "--epochs 5 --print_losses_evry 150 --num_w 2 --logs"
    )
    # Smaller clouds, and two processes that read in place of eight, or it would take long.
    run(folder, "train", *line.split(), "--num_points", 128)
    run_folder = folder / "runs" / "scale_model_uv"
    settings = json.loads((run_folder / "config.json").read_text())["training"]
    assert (settings["targets"], settings["batch_size"]) == ([1], 20)
    assert (settings["learning_rate"], settings["learning_rate_decay"]) == (0.01, 0.5)
    assert (settings["clouds"]["input_channels"], settings["clouds"]["voxel_size"]) == (5, 0.005)
    flags = (run_folder / "run.flags").read_text().splitlines()
    assert {"--input_channels=5", "--print_losses_every=150", "--num_workers=2"} <= set(flags)
    assert [row["step"] for row in metrics_of(run_folder)] == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert list(run_folder.glob("events.out.tfevents*"))


def test_a_run_that_is_finished_is_not_trained_on_when_started_again_from_its_flags(
    folder, trained
):
    run_folder, _ = trained
    before = (run_folder / "metrics.jsonl").read_text()
    output = run(folder, "train", "--flagfile", run_folder / "run.flags").stdout
    assert "going on from step 9" in output
    assert (run_folder / "metrics.jsonl").read_text() == before


def test_a_run_that_is_stopped_again_and_again_ends_as_one_left_alone(folder, trained):
    """SIGTERM, then kill -9, then SIGTERM while worker processes read; the flags of the fixture."""
    alone, _ = trained
    settings = (alone / "run.flags").read_text().replace("=both", "=stopped")
    (folder / "stopped.flags").write_text(settings + "--save_every=2\n")
    stopped = folder / "runs" / "stopped"

    for number, after, workers in (
        (signal.SIGTERM, 1, 0),
        (signal.SIGKILL, 3, 0),
        (signal.SIGTERM, 5, 1),
    ):
        flags = ("--flagfile", "stopped.flags", "--num_workers", workers)
        program = Started(folder, "train", *flags, output=folder / "stopped.log")
        # Each step's row is printed: `--print_losses_every=1`.
        while f"step {after:>6}  train" not in program.stdout:
            assert program.poll() is None, program.stdout
            time.sleep(0.005)
        program.send_signal(number)
        output, _ = program.communicate()
        assert program.returncode == (0 if number == signal.SIGTERM else -signal.SIGKILL), output
        assert "Traceback" not in output
        if number == signal.SIGTERM:
            assert "saving, then stopping" in output and "stopped at step" in output
    run(folder, "train", "--flagfile", "stopped.flags")
    assert (stopped / "metrics.jsonl").read_bytes() == (alone / "metrics.jsonl").read_bytes()


def test_other_settings_and_other_data_for_a_run_are_refused(folder, trained):
    run_folder, _ = trained
    flags = ["--flagfile", run_folder / "run.flags", "--learning_rate", 0.5]
    output = run(folder, "train", *flags, status=2).stderr
    assert "learning_rate 0.003 -> 0.5" in output and len(output.splitlines()) == 1
    shutil.copytree(folder / "prepared", folder / "moved")
    run(folder, "train", "--flagfile", run_folder / "run.flags", "--data", "moved")
    manifest = (folder / "moved" / "manifest.jsonl").read_text()
    (folder / "moved" / "manifest.jsonl").write_text(manifest.replace("scene0001", "scene0009"))
    flags = ["--flagfile", run_folder / "run.flags", "--data", "moved"]
    output = run(folder, "train", *flags, status=2).stderr
    assert "was trained on --data=moved before it changed: moved (28 samples" in output
    assert len(output.splitlines()) == 1
    # Of 28 samples some 21 to train on, not 25.
    flags = ["--flagfile", run_folder / "run.flags", "--data", "prepared", "--train_split", 0.75]
    output = run(folder, "train", *flags, status=2).stderr
    assert "was trained with --train_split=0.9 of prepared, not --train_split=0.75;" in output
    assert len(output.splitlines()) == 1


def test_a_run_that_another_process_trains_is_left_alone(folder, trained):
    run_folder, _ = trained
    before = (run_folder / "metrics.jsonl").read_bytes()
    flags = ["--flagfile", run_folder / "run.flags", "--learning_rate", 0.5]  # whatever is asked
    with locks.hold(run_folder, "trains"):
        output = run(folder, "train", *flags, status=2).stderr
    assert output.startswith(f"launch.train: runs/both: process {os.getpid()} on ")
    assert "trains it" in output and len(output.splitlines()) == 1
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
    output = run(
        folder, "train", *flags, "--model_name", "wide", "--init_from", "runs/both",
        "--width", 8, status=2,
    ).stderr  # fmt: skip
    assert "width 64 -> 8" in output and not (folder / "runs" / "wide").exists()


@pytest.mark.parametrize(
    ("flags", "output"),
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
def test_settings_that_make_no_sense_are_reported_in_one_line_and_nothing_is_written(
    folder, flags, output
):
    ended = run(folder, "train", "--data", "prepared", "--model_name", "x", *flags, status=2)
    assert output in ended.stderr and len(ended.stderr.splitlines()) == 1
    assert not (folder / "runs" / "x").exists()
