"""Whole programs, started as a user starts them: time to the first answer, and memory.

    python -m benchmarks.programs

A cold start finds an empty cache and compiles; a warm one finds what an earlier start compiled.
Starts are measured in CPU seconds of the process, which vary less with the load of the machine than
the wall clock.  `launch.infer` and `recover()` get one map, `launch.train` one batch, for a single
step, and `launch.evaluate` four maps, of which it crops sixteen views.

The wall clock of a warm `launch.infer` is importing JAX and the rest, reading compiled programs,
and the answer itself; the floor is importing JAX alone.  Memory is the most that `launch.train`
holds at batch 32, by the kernel's account of it.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.maps import write_set
from benchmarks.measuring import Row, row
from benchmarks.operations import room_like
from data.prepared import layout
from data.protocol import DepthMap

WARM = 3
"""Warm starts of each program, after one cold start."""

BATCH = 20
"""Of `launch.train` if none is given."""

MAPS = 160
"""Five steps at batch 32: memory no longer grows after the second."""

_INFER = "launch.infer, one map"

_RECOVER = "import sys, numpy, train3d_jax; train3d_jax.recover(numpy.load(sys.argv[1]))"

_MEASURED = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
"""Runs a program and prints the most memory that it held, in KiB.  From a process of its own, for
the kernel counts to a program what the one that started it held: gigabytes, after other parts."""


class Start(NamedTuple):
    """A program and what is wanted of its start.

    Attributes:
      name: for the table.
      arguments: of Python.
      out: where it writes; a new folder each time.
      cold: aim in CPU seconds with an empty cache; None for no aim.
      warm: the same with what an earlier start compiled.
    """

    name: str
    arguments: Sequence[object]
    out: str | None
    cold: float | None
    warm: float | None


class Taken(NamedTuple):
    """What a program took.

    Attributes:
      wall: seconds.
      busy: CPU seconds, of it and its children.
      said: what it printed.
    """

    wall: float
    busy: float
    said: str


def rows() -> list[Row]:
    """Starts and memory."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        return [*_start_rows(folder), _memory(folder)]


def _start_rows(folder: Path) -> list[Row]:
    found: list[Row] = []
    for start in _starts(folder):
        cold, warm = _measure(folder, start)
        for kind, taken, aim in (("cold", [cold], start.cold), ("warm", warm, start.warm)):
            busy = np.array([each.busy for each in taken])
            found.append(row(f"{kind} start, {start.name}", busy, "CPU s", aim, better="less"))
        if start.name == _INFER:
            jax = ("-c", "import jax; jax.numpy.zeros(1)")
            alone = np.median([_run(folder, *jax).wall for _ in range(WARM)])
            wall = np.array([each.wall for each in warm])
            found.append(
                row("start of launch.infer to the first answer", wall, "s", 5, better="less",
                    floor=f"{alone:.1f} s: JAX alone")
            )  # fmt: skip
    return found


def _starts(folder: Path) -> list[Start]:
    (folder / "maps").mkdir()
    room = folder / "maps" / "room.npy"
    np.save(room, room_like(np.random.default_rng(0)))
    batch, four = _rooms(folder / "batch", BATCH), _rooms(folder / "four", 4)
    infer = ("-m", "launch.infer", "--space", "depth", "--input", folder / "maps")
    train = ("-m", "launch.train", "--data", batch, "--model_name", "run", "--epochs", 1)
    return [
        Start(_INFER, infer, "--out", 12, 3.5),
        Start("recover() of one map", ("-c", _RECOVER, room), None, None, 3),
        Start("launch.train, one step", (*train, "--train_split", 1), "--workdir", 25, 8),
        Start("launch.evaluate, four maps", ("-m", "launch.evaluate", "--data", four), "--out", 25,
              None),
    ]  # fmt: skip


def _measure(folder: Path, start: Start) -> tuple[Taken, list[Taken]]:
    """A cold start, and warm ones with what it compiled."""
    caches, taken = folder / f"{start.name}, caches", []
    for number in range(1 + WARM):
        out = () if start.out is None else (start.out, folder / f"{start.name}, {number}")
        taken.append(_run(caches, *start.arguments, *out))
    return taken[0], taken[1:]


def _memory(folder: Path) -> Row:
    data = _rooms(folder / "set", MAPS)
    said = _run(
        folder, "-c", _MEASURED, sys.executable, "-m", "launch.train", "--data", data,
        "--model_name", "run", "--workdir", folder, "--epochs", 1, "--batch_size", 32,
        "--train_split", 1,
    ).said  # fmt: skip
    most = int(said.split()[-1])
    return row(
        "most memory of launch.train, batch 32", np.array([most / 2**20]), "GiB", 2, better="less",
        floor="0.1 GiB: weights, a batch and its gradients",
    )  # fmt: skip


def _rooms(folder: Path, count: int) -> Path:
    """A prepared set of so many maps."""
    rng = np.random.default_rng(0)
    camera = np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]])
    maps = [DepthMap(room_like(rng), camera) for _ in range(count)]
    return write_set(folder, maps, layout.ARRAY_RECORD)


def _run(caches: Path, *arguments: object) -> Taken:
    """Runs Python with a folder of caches, which need not exist.

    Raises:
      RuntimeError: it failed; with what it printed.
    """
    environment = os.environ | {"XDG_CACHE_HOME": str(caches)}
    # Compiled programs are kept below it unless these say otherwise.
    for name in ("JAX_COMPILATION_CACHE_DIR", "TRAIN3D_JAX_CACHE"):
        environment.pop(name, None)
    with tempfile.TemporaryFile("w+") as output:
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *map(str, arguments)], env=environment, stdout=output,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        said = output.read()
    if process.returncode:
        raise RuntimeError(f"{arguments}: exit status {process.returncode}\n{said}")
    return Taken(wall, usage.ru_utime + usage.ru_stime, said)


def main() -> None:
    """Prints the rows."""
    for each in rows():
        print(f"{each.name:50}{each.value:8.2f} {each.unit} (aim {each.aim})  {each.floor}")


if __name__ == "__main__":
    main()
