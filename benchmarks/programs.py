"""Whole programs, started as a user starts them: time to the first answer, and memory.

    python -m benchmarks.programs

Start-up is `launch.infer` on one small map, compiled by an earlier run; what it takes is importing
JAX and the rest, tracing, reading compiled programs from the cache, and the answer itself.  The
floor is importing JAX alone.  Memory is the most that `launch.train` holds at batch 32, by the
kernel's account of it.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.maps import write_set
from benchmarks.measuring import Row, in_turns, row
from benchmarks.operations import room_like
from data.prepared import layout
from data.protocol import DepthMap

MAPS = 160
"""Five steps: memory no longer grows after the second."""

_MEASURED = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
"""Runs a program and prints the most memory that it held, in KiB.  From a process of its own, for
the kernel counts to a program what the one that started it held: gigabytes, after other parts."""


def rows() -> list[Row]:
    """Start-up and memory."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        return [_start_up(folder), _memory(folder)]


def _start_up(folder: Path) -> Row:
    (folder / "maps").mkdir()
    np.save(folder / "maps" / "room.npy", room_like(np.random.default_rng(0)))
    infer = ("-m", "launch.infer", "--space", "depth", "--input", folder / "maps")
    taken = in_turns(
        {
            "infer": lambda: _start(folder, *infer, "--out", folder / "out"),
            "jax": lambda: _start(folder, "-c", "import jax; jax.numpy.zeros(1)"),
        },
        rounds=3,
    )
    floor = f"{np.median(taken['jax']):.1f} s: JAX alone"
    return row(
        "start of launch.infer to the first answer", taken["infer"], "s", 5, better="less",
        floor=floor,
    )  # fmt: skip


def _memory(folder: Path) -> Row:
    rng = np.random.default_rng(0)
    camera = np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]])
    maps = [DepthMap(room_like(rng), camera) for _ in range(MAPS)]
    data = write_set(folder / "set", maps, layout.ARRAY_RECORD)
    said = _start(
        folder, "-c", _MEASURED, sys.executable, "-m", "launch.train", "--data", data,
        "--model_name", "run", "--workdir", folder, "--epochs", "1", "--batch_size", "32",
        "--train_split", "1",
    )  # fmt: skip
    most = int(said.split()[-1])
    return row(
        "most memory of launch.train, batch 32", np.array([most / 2**20]), "GiB", 2, better="less",
        floor="0.1 GiB: weights, a batch and its gradients",
    )  # fmt: skip


def _start(caches: Path, *arguments: object) -> bytes:
    """Runs Python; what it printed."""
    environment = os.environ | {"XDG_CACHE_HOME": str(caches)}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, check=True, env=environment, capture_output=True).stdout


def main() -> None:
    """Prints the rows."""
    for each in rows():
        print(f"{each.name:50}{each.value:8.2f} {each.unit} (aim {each.aim})  {each.floor}")


if __name__ == "__main__":
    main()
