"""Several processes train one network: two on this machine, as they would on two."""

import json
import os
import re
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from absl.testing import flagsaver
from box_rooms import box_room
from programs import ROOT, Started

from data.loading import pipeline, splits
from data.prepared import manifest, writing
from data.prepared.prepared_set import PreparedSet
from data.protocol import DepthMap
from launch.training import processes
from train3d_jax.errors import UserError

STEP = re.compile(r"step +(\d+)  train")
PATIENCE = 300  # seconds; on a quiet machine each wait takes a few
# No run comes to its end: each is stopped, so that nothing depends on how fast it is.
# Rounding must not decide anything, see test_devices; nor grow from step to step.
FLAGS = (
    "--data", "prepared", "--model_name", "run", "--batch_size", "8", "--epochs", "100000",
    "--train_split", "0.67", "--num_points", "128", "--width", "16", "--voxel_size", "0",
    "--augmentation", "noise", "--optimizer", "sgd", "--learning_rate", "0.0001",
    "--save_every", "10", "--evaluate_every", "8", "--print_losses_every", "1",
    "--num_workers", "0", "--nologs",
)  # fmt: skip


def write_rooms(folder, count):
    writing.begin(folder)
    for index in range(count):
        depth, matrix = box_room(index)
        noise = np.random.default_rng(index).normal(1, 0.01, depth.shape)
        origin = manifest.Origin("rooms", f"room{index}", "box", index)
        depth_map = DepthMap(np.float32(depth * noise), matrix)
        manifest.append_rows(folder, [writing.write_sample(folder, index, depth_map, origin)])
    writing.finish(folder, {"format": "npz"}, software="test")
    return folder


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    work = tmp_path_factory.mktemp("work")
    write_rooms(work / "prepared", 24)
    return work


def start(work, name, *flags):
    return Started(work, "train", *FLAGS, *flags, output=work / f"{name}.log")


def start_two(work, workdir="two", more=((), ())):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [
        start(
            work, f"process{number}", "--workdir", workdir, "--coordinator", f"127.0.0.1:{port}",
            "--num_processes", "2", "--process_id", str(number), *more[number],
        )
        for number in (0, 1)
    ]  # fmt: skip


def log_of(work, name):
    return (work / f"{name}.log").read_text()


def rows_of(work, workdir):
    path = work / workdir / "run" / "metrics.jsonl"
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def wait_until(true, started, why):
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end and all(each.poll() is None for each in started), why()
        time.sleep(0.02)


def train_to(work, step, started):
    """Until these have printed a step after `step`: rows of those before them may reach further."""
    wait_until(
        lambda: any(int(done) > step for done in STEP.findall(started[0].stdout)),
        started,
        lambda: [path.read_text()[-2000:] for path in work.glob("*.log")],
    )


def saved(work):
    """The step of the newest whole checkpoint of the run of two; 0 without one."""
    folder = work / "two" / "run" / "checkpoints"
    steps = (int(path.name) for path in folder.glob("*") if path.name.isdecimal())
    return max(steps, default=0)


def alone(work, workdir, step):
    """One process trains to a step, or goes on to it, and is stopped."""
    process = start(work, "alone", "--workdir", workdir)
    train_to(work, step, [process])
    process.terminate()
    assert process.wait(PATIENCE) == 0, log_of(work, "alone")


def kill_one_of_two(work, killed, step):
    """Two train to a step and a checkpoint; one is killed, and the other ends with a line on it."""
    two = start_two(work)
    train_to(work, step, two)
    wait_until(lambda: saved(work) > 0, two, lambda: log_of(work, "process0"))
    two[killed].kill()
    left = f"process{1 - killed}"
    assert two[1 - killed].wait(PATIENCE) != 0
    wait_until(lambda: "another process is gone" in log_of(work, left), [], lambda: left)
    output = log_of(work, left)
    assert "Traceback" not in output
    assert output.splitlines()[-1].startswith("launch.train: another process is gone")
    assert output.count("another process is gone") == 1


def test_one_that_waits_in_vain_for_the_others_says_so(work):
    code = (
        "import sys; sys.argv[0] = 'train.py';"
        "from launch import program, train; from launch.training import processes;"
        "processes.MEETING_SECONDS = 1; program.run(train.main)"
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    given = ("--coordinator", f"127.0.0.1:{port}", "--num_processes", "2", "--process_id", "0")
    ended = subprocess.run(
        [sys.executable, "-c", code, *FLAGS, *given],
        cwd=work, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip  # returns when the shell has ended too
    assert ended.returncode != 0 and "Traceback" not in ended.stderr
    last = ended.stderr.splitlines()[-1]
    assert last.startswith(f"launch.train: --coordinator=127.0.0.1:{port}: not to be reached, or")


def test_two_processes_that_die_and_stop_train_as_one_that_was_left_alone(work):
    """Two go on after the death of each, one alone goes on for them, and they for the one."""
    kill_one_of_two(work, 0, 1)
    kill_one_of_two(work, 1, saved(work) + 1)
    assert "going on from step" in log_of(work, "process0")
    alone(work, "two", saved(work) + 1)

    two = start_two(work)
    train_to(work, saved(work) + 1, two)
    two[1].terminate()  # both save and stop, though only one was asked
    assert [each.wait(PATIENCE) for each in two] == [0, 0], log_of(work, "process0")
    last = saved(work)
    assert f"stopped at step {last};" in log_of(work, "process0")
    assert "stopped" not in log_of(work, "process1")
    assert "coordinator" not in (work / "two" / "run" / "run.flags").read_text()

    alone(work, "one", last)
    expected, found = rows_of(work, "one"), rows_of(work, "two")
    assert {row["split"] for row in expected} == {"train", "validation"}
    count = min(len(expected), len(found))
    assert count > last
    for row, other in zip(expected[:count], found[:count], strict=True):
        assert (row["step"], row["split"], row.keys()) == (
            other["step"], other["split"], other.keys(),
        )  # fmt: skip
        numbers = [name for name, value in row.items() if isinstance(value, float)]
        # Sums come in another order, and rows are rounded to six digits.
        np.testing.assert_allclose(
            [other[name] for name in numbers], [row[name] for name in numbers], rtol=1e-3
        )


def test_processes_that_were_asked_for_different_things_do_not_wait_for_each_other(work):
    two = start_two(work, "different", ((), ("--save_every", "3")))
    assert [each.wait(PATIENCE) for each in two] == [2, 2]
    for number in (0, 1):
        assert "process 1 has other flags" in log_of(work, f"process{number}").splitlines()[-1]


def test_what_is_not_on_shared_storage_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr("jax.process_count", lambda: 2)
    monkeypatch.setattr(processes, "SHOW_SECONDS", 0)
    monkeypatch.setattr(processes.multihost_utils, "sync_global_devices", lambda _: None)
    output = []

    def gather(digest):  # of the process before, and of this one
        output.append(digest)
        return np.stack([output[0], digest])

    monkeypatch.setattr(processes.multihost_utils, "process_allgather", gather)
    written = tmp_path / "run.flags"
    written.touch()
    processes.refuse_different(("config", 3), written)
    processes.refuse_different(("config", 3), written)
    with pytest.raises(UserError, match=r"process 1 has .* --data and --workdir that all share"):
        processes.refuse_different(("config", 3), tmp_path / "unseen")
    with pytest.raises(UserError, match="process 1 has other flags"):
        processes.refuse_different(("config", 4), written)


@pytest.fixture
def subsets(work):
    samples = PreparedSet(work / "prepared")
    return [splits.Subset(samples, np.arange(19))]


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
    ("flags", "output"),
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
def test_flags_that_do_not_fit_are_refused_at_once(flags, output):
    with flagsaver.flagsaver(**flags), pytest.raises(UserError, match=output), processes.together():
        pass


def test_a_batch_that_cannot_be_divided_is_refused(monkeypatch):
    monkeypatch.setattr("jax.process_count", lambda: 3)
    with pytest.raises(UserError, match="--batch_size=32: 3 processes do not divide it"):
        processes.part_of(32)


def test_alone_a_stop_is_heard_at_once():
    assert processes.agreed(lambda: True)()


def test_a_bug_is_reported_with_its_traceback_and_does_not_wait_for_the_others(monkeypatch, capfd):
    monkeypatch.setattr(processes, "_join", lambda *_: None)
    monkeypatch.setattr(processes.faulthandler, "disable", lambda: None)
    ended = []

    def end(status):
        ended.append(status)
        raise SystemExit

    monkeypatch.setattr(processes.os, "_exit", end)
    given = {"coordinator": "host:80", "num_processes": 2, "process_id": 0}
    for error, output, status in (
        (UserError("a mistake"), "a mistake\n", 2),
        (KeyboardInterrupt(), "interrupted\n", 130),
        (ValueError("a bug"), "ValueError: a bug\n\n", 1),
        (ValueError("UNKNOWN: reset\n"), "last checkpoint\n", 1),
    ):
        with flagsaver.flagsaver(**given), pytest.raises(SystemExit), processes.together():
            raise error
        assert capfd.readouterr().err.endswith(output) and ended[-1] == status


def test_signals_are_not_lost_between_two_times_of_asking(monkeypatch):
    monkeypatch.setattr("jax.process_count", lambda: 2)
    monkeypatch.setattr(
        processes.multihost_utils, "process_allgather", lambda mine: np.array([mine, False])
    )
    stop = processes.agreed(lambda: True)
    assert [stop() for _ in range(2 * processes.AGREE_EVERY)].count(True) == 2
