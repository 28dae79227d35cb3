"""From raw datasets to a prepared set: check, plan, read and write in parallel, sum up.

The plan is a pure function of the settings and of the scenes.  Every task is independent, names its
own files, and is expressed against `concurrent.futures.Executor`; rows are collected in the order
of the plan.  So the result is the same, byte for byte, however many workers there are.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from tqdm import tqdm

from data import distributions, prepared
from data.kenburns import KenBurns
from data.protocol import DataError, Frame, Reader, Scene
from data.sampling import allocate_scenes, choose
from data.scannet import ScanNet
from data.taskonomy import Taskonomy
from train3d_jax import __version__
from train3d_jax.errors import UserError

_Result = TypeVar("_Result")

# In the order of the counts in --num_samples; a dataset is added here and in launch/prepare.py.
READERS: dict[str, Callable[[Path], Reader]] = {
    ScanNet.name: ScanNet,
    KenBurns.name: KenBurns,
    Taskonomy.name: Taskonomy,
}

_SAMPLES_PER_TASK = 8  # enough to hide the cost of a task, few enough for a smooth progress bar
_TASKS_PER_WORKER = 3  # in flight: one running, and two so that no worker waits


@dataclass(frozen=True)
class PrepareConfig:
    """What to prepare.  Raises UserError when its values cannot go together.

    roots: the datasets' folders, None where one is not given, in the order of `READERS`.
    num_samples: how many of each.  out: where the set comes to be.
    num_workers: processes; with 0 all is done in this one.
    """

    roots: tuple[Path | None, ...]
    num_samples: tuple[int, ...]
    out: Path
    seed: int = 0
    num_workers: int = 2

    def __post_init__(self):
        if len(self.num_samples) != len(READERS) or min(self.num_samples) < 0:
            raise UserError(
                f"--num_samples={','.join(map(str, self.num_samples))}: give three counts of 0 or"
                f" more, for {', '.join(READERS)} in this order, such as 100,50,50"
            )
        if not any(self.roots):
            raise UserError(f"no dataset is given: give at least one of {_flag_list()}")
        if not any(self.num_samples):
            raise UserError("--num_samples: all counts are 0, there is nothing to prepare")
        if self.num_workers < 0:
            raise UserError(f"--num_workers={self.num_workers}: give 0 or more processes")
        for name, root, count in zip(READERS, self.roots, self.num_samples, strict=True):
            if count and root is None:
                raise UserError(
                    f"--num_samples asks for {count} of {name}, but --{name} is not given:"
                    " give it, or a count of 0"
                )
            if root is not None and not root.is_dir():
                raise UserError(f"--{name}={root}: there is no such folder")

    def settings(self) -> dict[str, Any]:
        """All that the result depends on, as it is kept in dataset.json."""
        roots = [None if root is None else str(root.resolve()) for root in self.roots]
        return {
            **dict(zip(READERS, roots, strict=True)),
            "num_samples": list(self.num_samples),
            "seed": self.seed,
        }


class Selection(NamedTuple):
    """What is taken of one dataset: its scenes, and how many frames of each."""

    reader: Reader
    scenes: list[Scene]
    counts: list[int]


class Task(NamedTuple):
    """Some frames of one scene, and the index of the first of them in the prepared set."""

    reader: Reader
    scene: Scene
    first: int
    frames: list[Frame]
    out: Path


@dataclass
class Summary:
    """What came of a run: samples taken by dataset, and how long it took.

    already: the set was there before, finished, and nothing was done.
    """

    taken: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    already: bool = False

    def __str__(self) -> str:
        total = sum(self.taken.values())
        parts = ", ".join(f"{count} {name}" for name, count in self.taken.items())
        rate = total / max(self.seconds, 1e-9)
        return f"{total} maps ({parts}) in {self.seconds:.1f} s, {rate:.1f} maps/s"


def prepare(config: PrepareConfig) -> Summary:
    """Prepares the set that `config` describes; all that can be checked is checked first.

    Raises UserError; a DataError of it stops at the first file that cannot be used.  What is done
    by then stays, without dataset.json, and is not mistaken for a finished set.
    """
    start = time.monotonic()
    if _is_finished(config):
        return Summary(already=True)
    selections = select(config)
    _named(config.out, prepared.begin, config.out)
    summary = Summary()
    first = 0
    executor = _executor(config.num_workers)
    try:
        for selection in selections:
            name, total = selection.reader.name, sum(selection.counts)
            planned = tasks(selection, first, config)
            with tqdm(total=total, desc=name, unit="map") as progress:
                for rows in run_in_order(executor, planned, config.num_workers):
                    prepared.append_rows(config.out, rows)
                    progress.update(len(rows))
            summary.taken[name] = total
            first += total
    except BrokenProcessPool:
        raise UserError(
            f"--num_workers={config.num_workers}: a worker process died, perhaps of too little"
            " memory; run again with fewer"
        ) from None
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
    distributions.draw(config.out)
    prepared.finish(config.out, config.settings(), software=__version__)
    summary.seconds = time.monotonic() - start
    return summary


def select(config: PrepareConfig) -> list[Selection]:
    """How many frames of which scene; looks at names and headers, reads no depth.

    Raises UserError when a dataset holds no scene or less than is asked for.
    """
    selections = []
    for name, root, count in zip(READERS, config.roots, config.num_samples, strict=True):
        if root is None or not count:
            continue
        reader = READERS[name](root)
        scenes = _named(root, reader.scenes)
        available = sum(sum(scene.rounds()) for scene in scenes)
        if not available:
            raise UserError(f"--{name}={root}: holds no scene of {name}")
        if count > available:
            raise UserError(
                f"--num_samples asks for {count} of {name}, but {root} holds {available}"
                f" in {len(scenes)} scenes: ask for {available} at most"
            )
        selections.append(Selection(reader, scenes, allocate_scenes(scenes, count, config.seed)))
    return selections


def tasks(selection: Selection, first: int, config: PrepareConfig) -> Iterator[Task]:
    """The work on one dataset, in the order of its samples; made as it is needed."""
    for scene, count in zip(selection.scenes, selection.counts, strict=True):
        frames = choose(scene, count, config.seed)
        for start in range(0, count, _SAMPLES_PER_TASK):
            some = frames[start : start + _SAMPLES_PER_TASK]
            yield Task(selection.reader, scene.without_places(), first + start, some, config.out)
        first += count


def prepare_samples(task: Task) -> list[prepared.Row]:
    """Reads and writes the samples of one task; runs in a worker.  Raises DataError."""
    rows = []
    for index, frame in enumerate(task.frames, start=task.first):
        file = task.reader.file(task.scene, frame)
        depth_map = _named(file, task.reader.read, task.scene, frame)
        source = file.relative_to(task.reader.root).as_posix()
        origin = prepared.Origin(task.reader.name, task.scene.name, source, frame)
        rows.append(prepared.write_sample(task.out, index, depth_map, origin))
    return rows


def run_in_order(
    executor: Executor, planned: Iterator[Task], num_workers: int
) -> Iterator[list[prepared.Row]]:
    """What `prepare_samples` gives for each task; takes only as many as keep the workers busy."""
    in_flight: deque[Future[list[prepared.Row]]] = deque()
    for task in planned:
        in_flight.append(executor.submit(prepare_samples, task))
        if len(in_flight) >= max(num_workers, 1) * _TASKS_PER_WORKER:
            yield in_flight.popleft().result()
    while in_flight:
        yield in_flight.popleft().result()


class InProcess(Executor):
    """Runs each call when it is submitted, here: for no workers, and for tests."""

    def submit(self, fn, /, *args, **kwargs) -> Future:
        """A future that is already done."""
        future = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def _executor(num_workers: int) -> Executor:
    if num_workers == 0:
        return InProcess()
    # Spawned, never forked: a fork of a process with threads (JAX has many) can hang.
    return ProcessPoolExecutor(
        num_workers, multiprocessing.get_context("spawn"), initializer=_start_worker
    )


def _start_worker() -> None:
    # Ctrl-C reaches the whole process group; the parent stops the workers in good order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A parent that is killed cannot: without this its workers would wait for it for ever.
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
    os._exit(1)


def _is_finished(config: PrepareConfig) -> bool:
    """Whether the very same set is there.  Raises UserError when --out holds anything else."""
    match prepared.state(config.out):
        case prepared.State.EMPTY | prepared.State.UNFINISHED:
            return False
        case prepared.State.OTHER:
            raise UserError(
                f"--out={config.out}: holds files that no prepared set has; give an empty folder"
            )
        case prepared.State.FINISHED:
            old, new = prepared.settings(config.out), config.settings()
            changed = [key for key in new if old.get(key) != new[key]]
            if changed:
                raise UserError(
                    f"--out={config.out}: holds a finished set with other settings ("
                    + ", ".join(f"{key} {old.get(key)}, not {new[key]}" for key in changed)
                    + "); give another folder"
                )
            return True


def _named(file: Path, function: Callable[..., _Result], *args: Any) -> _Result:
    """Calls `function`; what the system refuses it becomes a DataError that names the file."""
    try:
        return function(*args)
    except OSError as error:
        raise DataError(error.filename or file, error.strerror or error) from None


def _flag_list() -> str:
    return ", ".join(f"--{name}" for name in READERS)
