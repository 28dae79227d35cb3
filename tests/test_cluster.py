"""Preparing on a Dask cluster: a real scheduler, and workers that die and come late."""

import contextlib
import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from distributed import Client
from programs import run
from raw_files import put, put_kenburns, put_sens, put_taskonomy

from data.parallel import cluster, work
from data.prepare import preparation
from data.prepare.plan import Slot, Task
from data.prepare.preparation import PrepareConfig, prepare, prepare_samples
from data.prepared import layout, manifest, records
from data.protocol import Scene
from data.readers.taskonomy import Taskonomy
from train3d_jax.errors import UserError

ROOT = Path(__file__).parents[1]
PATIENCE = 200  # seconds; on a quiet machine each wait takes a few
COUNTS = (20, 20, 10)
SMALL_SHARD = 7


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    root = tmp_path_factory.mktemp("raw")
    put_sens(root / "scannet" / "scans", "scene0000_00", 24)
    put_kenburns(root / "kenburns", "asdf", ids=[f"{index:05d}" for index in range(24)])
    put_taskonomy(root / "taskonomy", "hall", points=range(12))
    broken = "depth_zbuffer/taskonomy/hall/point_4_view_0_domain_depth_zbuffer.png"
    put(root / "taskonomy" / broken, b"not a PNG")
    return root


@pytest.fixture(scope="module", params=layout.FORMATS)
def undisturbed(request, raw, tmp_path_factory):
    """The set as one process makes it, and its format."""
    out = tmp_path_factory.mktemp("prepared") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "SAMPLES_PER_SHARD", SMALL_SHARD)
        prepare(config(raw, out, request.param))
    return out, request.param


def config(raw, out, format, **options):
    roots = tuple(raw / name for name in preparation.READERS)
    return PrepareConfig(
        roots, COUNTS, out, num_workers=0, format=format, max_bad_fraction=1.0, **options
    )


def files_of(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def wait_until(true, why="it did not happen"):
    end = time.monotonic() + PATIENCE
    while not (found := true()):
        assert time.monotonic() < end, why
        time.sleep(0.02)
    return found


class Cluster:
    """A scheduler and workers on this machine, started in a folder of their own."""

    def __init__(self, folder, **environment):
        self.folder, self.started = folder, {}
        self._environment = os.environ | {"PYTHONPATH": str(ROOT)} | environment
        self._start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        message = folder / "scheduler.log"
        wait_until(lambda: "Scheduler at:" in message.read_text(), message)
        line = next(line for line in message.read_text().splitlines() if "Scheduler at:" in line)
        self.address = line.split()[-1]

    def add_worker(self, name):
        flags = ("--no-nanny", "--nthreads", "1", "--no-dashboard", "--name", name)
        self._start("worker", self.address, *flags, name=name)

    def busy_worker(self):
        """The name of the only worker that has something to do, once there is only one."""
        with Client(self.address, set_as_default=False) as client:

            def only_one():
                busy = {at: keys for at, keys in client.processing().items() if keys}
                return list(busy) if [len(keys) for keys in busy.values()] == [1] else None

            (address,) = wait_until(only_one)
            workers = client.scheduler_info(n_workers=-1)["workers"]
            return workers[address]["name"]

    def kill(self, name):
        process = self.started.pop(name)
        process.kill()
        process.wait()

    def close(self):
        for name in list(self.started):
            self.kill(name)

    def _start(self, kind, *flags, name=None):
        name = name or kind
        with (self.folder / f"{name}.log").open("wb") as log:
            self.started[name] = subprocess.Popen(
                [sys.executable, "-m", "dask", kind, *flags],
                cwd=self.folder, env=self._environment, stdout=log, stderr=log,
            )  # fmt: skip


@pytest.fixture
def start_cluster(tmp_path_factory):
    with contextlib.ExitStack() as stack:

        def start(*workers, **environment):
            started = Cluster(tmp_path_factory.mktemp("cluster"), **environment)
            stack.callback(started.close)
            for name in workers:
                started.add_worker(name)
            return started

        yield start


def command(raw, out, format, address):
    """The launcher, with small shards; paths are relative to where it is started."""
    code = (
        f"import sys; from data.prepared import records; records.SAMPLES_PER_SHARD = {SMALL_SHARD};"
        "sys.argv[0] = 'prepare.py'; from launch import prepare, program; program.run(prepare.main)"
    )
    flags = ("-ns", ",".join(map(str, COUNTS)), "--max_bad_fraction", "1", "--format", format)
    folders = [os.path.relpath(raw / name, out.parent) for name in preparation.READERS]
    roots = [each for flag in zip(("-ss", "-sk", "-st"), folders, strict=True) for each in flag]
    asked = ("--out", out.name, "--executor", "dask", "--scheduler", address)
    return [sys.executable, "-c", code, *roots, *flags, *asked]


@contextlib.contextmanager
def preparing(raw, out, format, address):
    process = subprocess.Popen(
        command(raw, out, format, address), cwd=out.parent, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()


class Obstacle:
    """A pipe in the place of a raw file that is read half-way: its reader gets stuck there."""

    def __init__(self, raw, undisturbed):
        row = list(manifest.rows(undisturbed))[COUNTS[0] + 2]  # of the first task of its dataset
        name = f"{str(row['frame']).partition('-')[0]}-meta.json"
        self._file = raw / row["dataset"] / "rgb" / row["scene"] / name
        self._whole = self._file.with_suffix(".whole")
        self._file.rename(self._whole)
        os.mkfifo(self._file)

    def wait_for_reader(self):
        """Returns what is to be closed to let it go on."""

        def opened():
            try:
                return [os.open(self._file, os.O_WRONLY | os.O_NONBLOCK)]
            except OSError as error:
                assert error.errno == errno.ENXIO  # nobody reads
                return None

        return wait_until(opened)[0]

    def remove(self):
        if self._whole.exists():
            os.replace(self._whole, self._file)


@pytest.fixture
def obstacle(raw, undisturbed):
    found = Obstacle(raw, undisturbed[0])
    yield found
    found.remove()


def ended(process):
    output, error = process.communicate(timeout=PATIENCE)
    return process.returncode, output, error.replace("\r", "\n").splitlines()[-1]


def test_a_worker_that_is_killed_and_one_that_comes_late_leave_the_same_bytes(
    raw, undisturbed, obstacle, start_cluster, tmp_path
):
    whole, format = undisturbed
    cluster = start_cluster("first", "second", "third")
    out = tmp_path / "out"
    with preparing(raw, out, format, cluster.address) as process:
        pipe = obstacle.wait_for_reader()
        stuck = cluster.busy_worker()
        obstacle.remove()
        cluster.kill(stuck)
        os.close(pipe)
        cluster.add_worker("late")
        status, output, last = ended(process)
    assert status == 0, last
    assert "50 maps (20 scannet, 20 kenburns, 10 taskonomy)" in output and "1 broken" in output
    assert files_of(out) == files_of(whole)


def test_a_deadly_task_and_a_scheduler_that_is_gone_end_in_a_line_and_it_goes_on(
    raw, undisturbed, obstacle, start_cluster, tmp_path, monkeypatch
):
    whole, format = undisturbed
    cluster = start_cluster("first", DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="0")
    out = tmp_path / "out"
    for killed, message in (("first", "1 workers died at the same task"), ("scheduler", "is gone")):
        with preparing(raw, out, format, cluster.address) as process:
            pipe = obstacle.wait_for_reader()
            cluster.kill(killed)
            status, output, last = ended(process)
        os.close(pipe)
        assert status == 2 and message in last and output == ""
        assert last.startswith(f"launch.prepare: --scheduler={cluster.address}: ")
        assert last.endswith("what is done stays, and the same command goes on")
        assert len(list(manifest.rows(out))) == COUNTS[0]  # all before the pipe, and no more
        if killed != "scheduler":
            cluster.add_worker("second")
    cluster.close()
    obstacle.remove()
    monkeypatch.setattr(records, "SAMPLES_PER_SHARD", SMALL_SHARD)
    assert prepare(config(raw, out, format)).made < sum(COUNTS)
    assert files_of(out) == files_of(whole)


def test_a_cluster_is_reported_in_one_line_when_it_cannot_work(
    start_cluster, tmp_path, monkeypatch
):
    started = start_cluster()
    address = started.address

    def call(function, *args):
        with work.workers(0, address) as (executor, number):
            assert work.at_least_one(number) == 1
            return executor.submit(function, *args).result(PATIENCE)

    with monkeypatch.context() as patch:
        patch.setattr(cluster, "WITHOUT_WORKERS_SECONDS", 0)
        patch.setattr(cluster, "_LOOK_EVERY_SECONDS", 0.01)
        with pytest.raises(UserError, match=f"{address}: has had no worker for 0 seconds; start"):
            call(abs, -1)

    started.add_worker("only")
    assert call(abs, -1) == 1
    with pytest.raises(FileNotFoundError, match="nowhere"):  # what a task raises stays what it is
        call(os.stat, "nowhere")
    with monkeypatch.context() as patch:
        patch.setattr(cluster, "software", lambda: {**software, "zlib": "0.1"})
        software = {"zlib": "1.2"}
        with pytest.raises(UserError, match=r"worker on .* has other software \(zlib .*, not 0.1"):
            call(abs, -1)
    (tmp_path / "elsewhere.py").write_text("def twice(x): return 2 * x\n")
    monkeypatch.syspath_prepend(tmp_path)
    import elsewhere  # pyright: ignore[reportMissingImports]

    with pytest.raises(UserError, match=f"{address}: lacks this program .*elsewhere"):
        call(elsewhere.twice, 1)

    started.kill("scheduler")
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 0.5)
    with pytest.raises(UserError, match=f"--scheduler={address}: there is no Dask scheduler"):
        call(abs, -1)


@pytest.mark.parametrize("address", ["host", "host:", "ftp://host:1", "tcp://"])
def test_what_is_no_address_is_refused(address):
    with pytest.raises(UserError, match="give an address such as"), work.workers(0, address):
        pass


def test_without_dask_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UserError, match=r"train3d-jax\[cluster\]"), work.workers(0, "tcp://host:1"):
        pass


@pytest.mark.parametrize("flag", ["--executor=dask", "--scheduler=tcp://host:8786"])
def test_flags_that_do_not_fit_are_refused(tmp_path, flag):
    refused = run(tmp_path, "prepare", "--out", "out", "-ns", "1,0,0", flag, status=2)
    assert "go together" in refused.stderr


def test_a_worker_that_does_not_see_the_folders_refuses(raw, tmp_path):
    scene = Scene("hall", raw / "taskonomy", ())
    asked = config(raw, tmp_path, "npz")
    task = Task(Taskonomy(raw / "taskonomy"), [Slot(0, 0, 0, scene, 0)], asked)
    with pytest.raises(UserError, match=r"manifest\.jsonl: is not there for the worker on"):
        prepare_samples(task)
    with pytest.raises(UserError, match=r"gone: is not there for the worker"):
        prepare_samples(task._replace(reader=Taskonomy(tmp_path / "gone")))
    assert not list(tmp_path.iterdir())
