"""Several processes train one network: two on this machine, as they would on two."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from absl.testing import flagsaver
from box_rooms import box_room

from data import pipeline, prepared
from data.prepared import PreparedSet
from data.protocol import DepthMap
from launch import processes
from train3d_jax.errors import UserError

ROOT = Path(__file__).parents[1]
STEPS = 40
# Rounding must not decide anything, see test_devices; nor grow from step to step.
FLAGS = (
    "--data", "prepared", "--model_name", "run", "--batch_size", "8", "--epochs", "20",
    "--train_split", "0.67", "--num_points", "256", "--voxel_size", "0", "--augmentation", "noise",
    "--optimizer", "sgd", "--learning_rate", "0.0001", "--save_every", "2", "--evaluate_every", "20",
    "--print_losses_every", "5", "--num_workers", "0",
)  # fmt: skip


def write_rooms(folder, count):
    prepared.begin(folder)
    for index in range(count):
        depth, matrix = box_room(index)
        noise = np.random.default_rng(index).normal(1, 0.01, depth.shape)
        origin = prepared.Origin("rooms", f"room{index}", "box", index)
        depth_map = DepthMap(np.float32(depth * noise), matrix)
        prepared.append_rows(folder, [prepared.write_sample(folder, index, depth_map, origin)])
    prepared.finish(folder, {"format": "npz"}, software="test")
    return folder


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    work = tmp_path_factory.mktemp("work")
    write_rooms(work / "prepared", 24)
    return work


def start(work, name, *flags):
    with (work / f"{name}.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "launch.train", *FLAGS, *flags],
            cwd=work, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=log, stderr=log,
        )  # fmt: skip


def start_two(work):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [
        start(
            work, f"process{number}", "--workdir", "two", "--coordinator", f"127.0.0.1:{port}",
            "--num_processes", "2", "--process_id", str(number),
        )
        for number in (0, 1)
    ]  # fmt: skip


def saved(work):
    """Steps of the checkpoints of the run of two that are whole."""
    folder = work / "two" / "run" / "checkpoints"
    return [int(path.name) for path in folder.glob("*") if path.name.isdecimal()]


def wait_for_a_step_after(work, step, started):
    end = time.monotonic() + 240
    while max(saved(work), default=0) <= step:
        assert time.monotonic() < end and all(each.poll() is None for each in started)
        time.sleep(0.02)


def metrics(work, workdir):
    lines = (work / workdir / "run" / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_two_processes_that_stop_and_die_end_as_one_that_was_left_alone(work):
    assert start(work, "one", "--workdir", "one").wait(300) == 0

    two = start_two(work)
    wait_for_a_step_after(work, 0, two)
    two[1].terminate()  # both save and stop, though only one was asked
    assert [each.wait(120) for each in two] == [0, 0], (work / "process0.log").read_text()
    assert "stopped at step" in (work / "process0.log").read_text()
    step = max(saved(work))
    assert step < STEPS

    two = start_two(work)
    wait_for_a_step_after(work, step, two)
    two[1].kill()
    assert two[0].wait(120) == 2
    told = (work / "process0.log").read_text()
    assert "Traceback" not in told and "another process is gone" in told.splitlines()[-1]
    assert step < max(saved(work)) < STEPS

    ended = start(work, "alone", "--workdir", "two")  # goes on without the other
    assert ended.wait(300) == 0, (work / "alone.log").read_text()
    expected, found = metrics(work, "one"), metrics(work, "two")
    assert [row.keys() for row in found] == [row.keys() for row in expected]
    assert [row["step"] for row in found] == [row["step"] for row in expected]
    for row, other in zip(expected, found, strict=True):
        numbers = [name for name, value in row.items() if isinstance(value, float)]
        # Sums come in another order, and rows are rounded to six digits.
        np.testing.assert_allclose(
            [other[name] for name in numbers], [row[name] for name in numbers], rtol=1e-3
        )


@pytest.fixture
def subsets(work):
    samples = PreparedSet(work / "prepared")
    return [pipeline.Subset(samples, np.arange(19))]


def test_processes_read_together_what_one_reads(subsets):
    def batches(part):
        training = pipeline.training_batches(subsets, None, 6, "depth", 3, 0, part=part)
        first = [batch for batch, _ in zip(training, range(5), strict=False)]
        return first, list(pipeline.validation_batches(subsets, 6, "depth", part))

    whole, parts = batches(pipeline.WHOLE), [batches(pipeline.Part(n, 3)) for n in range(3)]
    for kind in (0, 1):
        for number, batch in enumerate(whole[kind]):
            for name in batch.keys() - {"weight"}:
                together = np.concatenate([part[kind][number][name] for part in parts])
                counts = batch["weight"] > 0
                np.testing.assert_array_equal(together[counts], batch[name][counts])
            together = np.concatenate([part[kind][number]["weight"] for part in parts])
            np.testing.assert_array_equal(together, batch["weight"])
    assert len(whole[1]) == 4 and whole[1][-1]["weight"].sum() == 1


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"num_processes": 2}, "need --coordinator"),
        ({"process_id": 0}, "need --coordinator"),
        ({"coordinator": "host"}, "--coordinator=host: give host:port"),
        ({"coordinator": "host:70000"}, "give host:port"),
        ({"coordinator": "host:80", "num_processes": 2}, "needs --num_processes and --process_id"),
        ({"coordinator": "host:80", "num_processes": 2, "process_id": 2}, "--process_id=2: 2"),
        ({"coordinator": "auto", "process_id": 2}, "--coordinator=auto: leave"),
    ],
)
def test_flags_that_do_not_fit_are_refused_at_once(flags, told):
    with flagsaver.flagsaver(**flags), pytest.raises(UserError, match=told), processes.together():
        pass


def test_a_batch_that_cannot_be_divided_is_refused(monkeypatch):
    monkeypatch.setattr("jax.process_count", lambda: 3)
    with pytest.raises(UserError, match="--batch_size=32: 3 processes do not divide it"):
        processes.part_of(32)


def test_alone_a_stop_is_heard_at_once():
    assert processes.agreed(lambda: True)()


def test_signals_are_not_lost_between_two_times_of_asking(monkeypatch):
    monkeypatch.setattr("jax.process_count", lambda: 2)
    monkeypatch.setattr(
        processes.multihost_utils, "process_allgather", lambda mine: np.array([mine, False])
    )
    stop = processes.agreed(lambda: True)
    assert [stop() for _ in range(2 * processes.AGREE_EVERY)].count(True) == 2
