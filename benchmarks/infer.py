"""Speed of launch.infer on 640x480 maps: all in, with and without writing, and part by part.

    python -m benchmarks.infer

With the weights that come along.  Reading, solving and writing
overlap in the program, so the parts add up to more than the whole; wall and CPU time are told.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from benchmarks.operations import SIZE, room_like
from data.depth_files import find_depth_files, read_depth_file
from launch import saving
from launch.folder import recover_folder
from launch.recovery_config import RecoveryConfig
from train3d_jax import export, inference

MAPS = 64
BATCH = 16
ROUNDS = 5


def main() -> None:
    """Prints a table."""
    rng = np.random.default_rng(0)
    model = inference.load_model()
    with tempfile.TemporaryDirectory() as scratch:
        folder, out = Path(scratch) / "maps", Path(scratch) / "out"
        folder.mkdir()
        for number in range(MAPS):
            np.save(folder / f"{number:03d}.npy", room_like(rng))
        tasks = _parts(folder, out, model) | _whole(folder, out, model)
        taken = _in_turns(tasks)
    print(f"{'':42}{'wall, ms a map':>16}{'CPU, ms a map':>16}{'maps/s':>10}")
    for name, (wall, cpu) in taken.items():
        print(f"{name:42}{1e3 * wall:16.1f}{1e3 * cpu:16.1f}{1 / wall:10.0f}")


def _whole(folder: Path, out: Path, model: inference.Model) -> dict[str, Callable[[], object]]:
    def program(*kinds: str) -> Callable[[], object]:
        settings = saving.SaveSettings(kinds)
        config = RecoveryConfig(
            folder, out, (Path("random"),), "depth", batch_size=BATCH, saving=settings
        )
        return lambda: recover_folder(config, [model])

    return {
        "all in, JSON only": program(),
        "all in, PLY and npz (the default)": program("ply", "npz"),
        "all in, pictures too": program("ply", "npz", "picture"),
    }


def _parts(folder: Path, out: Path, model: inference.Model) -> dict[str, Callable[[], object]]:
    files = find_depth_files(folder)
    maps = [read_depth_file(file.path) for file in files]
    batches = [inference.make_blocks(maps[at : at + BATCH]) for at in range(0, MAPS, BATCH)]
    solution = inference.Solution(
        focal=500.0, shift=-0.2, a=1.0, b=0.1, focal_interval=(450.0, 550.0),
        shift_interval=(-0.3, -0.1), flags=(),
    )  # fmt: skip
    intrinsics = export.camera_of(500.0, SIZE)

    def write() -> None:
        for file, values in zip(files, maps, strict=True):
            recovered = saving.Recovered(
                file, values, "depth", solution, (1.0, 0.0), intrinsics, False, "arbitrary"
            )
            saving.save(out, recovered, saving.SaveSettings())

    return {
        "reads": lambda: [read_depth_file(file.path) for file in files],
        "averages over blocks": lambda: inference.make_blocks(maps),
        "solves, on the device": lambda: jax.block_until_ready(
            [inference.recover_blocks([model], blocks).focal for blocks in batches]
        ),
        "writes PLY and npz": write,
    }


def _in_turns(tasks: dict[str, Callable[[], object]]) -> dict[str, tuple[float, float]]:
    """Median wall and CPU seconds a map; tasks take turns, so that all see the same machine."""
    for task in tasks.values():
        task()  # compiles
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in tasks}
    for _ in range(ROUNDS):
        for name, task in tasks.items():
            wall, cpu = time.perf_counter(), time.process_time()
            task()
            spent = time.perf_counter() - wall, time.process_time() - cpu
            taken[name].append((spent[0] / MAPS, spent[1] / MAPS))
    return {
        name: (statistics.median(wall for wall, _ in pairs), statistics.median(c for _, c in pairs))
        for name, pairs in taken.items()
    }


if __name__ == "__main__":
    main()
