"""Speed of launch.infer on 640x480 maps: all in, with and without writing, and part by part.

    python -m benchmarks.infer

With the weights of the package.  Reading, solving and writing overlap in the program, so the parts
add up to more than the whole; wall and CPU time are printed.

The floor is the network and the geometry on the device; what is beyond it reads, averages over
blocks, unprojects every pixel, and writes 3.7 MB of PLY and npz.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from benchmarks.measuring import Row, in_turns, row
from benchmarks.operations import room_like
from data.user_maps.depth_files import find_depth_files
from launch.recovery import saving
from launch.recovery.config import RecoveryConfig, SaveSettings
from launch.recovery.folder import recover_folder
from launch.recovery.recovered import Map, Recovered
from train3d_jax.formats.depth import read_depth_file
from train3d_jax.inference import estimates, recovery
from train3d_jax.inference.models import Model, load_model

MAPS = 64
BATCH = 16
DEFAULT = "all in, PLY and npz (the default)"
SOLVES = "solves, on the device"


def rows() -> list[Row]:
    """Maps a second of one core: more cores solve and write more at once."""
    busy = measure(time.process_time)
    at_best = f"{1 / np.median(busy[SOLVES]):.0f} maps/s: network and geometry alone"
    return [
        row("launch.infer all in, a core", 1 / busy[DEFAULT], "maps/s", 25, floor=at_best),
    ]  # fmt: skip


def measure(clock: Callable[[], float]) -> dict[str, np.ndarray]:
    """Seconds a map of the parts and the whole, in each round, by a clock."""
    rng = np.random.default_rng(0)
    model = load_model()
    with tempfile.TemporaryDirectory() as scratch:
        folder, out = Path(scratch) / "maps", Path(scratch) / "out"
        folder.mkdir()
        for number in range(MAPS):
            np.save(folder / f"{number:03d}.npy", room_like(rng))
        tasks = _parts(folder, out, model) | _whole(folder, out, model)
        taken = in_turns(tasks, clock=clock)
    return {name: seconds / MAPS for name, seconds in taken.items()}


def main() -> None:
    """Prints a table."""
    wall, busy = measure(time.perf_counter), measure(time.process_time)
    print(f"{'':42}{'wall, ms a map':>16}{'CPU, ms a map':>16}{'maps/s':>10}")
    for name in wall:
        taken, spent = float(np.median(wall[name])), float(np.median(busy[name]))
        print(f"{name:42}{1e3 * taken:16.1f}{1e3 * spent:16.1f}{1 / taken:10.0f}")


def _whole(folder: Path, out: Path, model: Model) -> dict[str, Callable[[], object]]:
    def program(*kinds: str) -> Callable[[], object]:
        settings = SaveSettings(kinds)
        config = RecoveryConfig(
            folder, out, (Path("random"),), "depth", batch_size=BATCH, saving=settings
        )
        return lambda: recover_folder(config, [model])

    return {
        "all in, JSON only": program(),
        DEFAULT: program("ply", "npz"),
        "all in, pictures too": program("ply", "npz", "picture"),
    }


def _parts(folder: Path, out: Path, model: Model) -> dict[str, Callable[[], object]]:
    files = find_depth_files(folder)
    maps = [read_depth_file(file.path) for file in files]
    batches = [recovery.make_blocks(maps[at : at + BATCH]) for at in range(0, MAPS, BATCH)]
    estimate = estimates.Estimate(
        focal=500.0, shift=-0.2, a=1.0, b=0.1, focal_interval=(450.0, 550.0),
        shift_interval=(-0.3, -0.1), focal_by_map=(450.0, 500.0, 550.0), flags=(),
    )  # fmt: skip
    config = RecoveryConfig(folder, out, (), "depth", "geometric")

    def write() -> None:
        for file, values in zip(files, maps, strict=True):
            recovered = Recovered(file, Map(file, values, None), estimate, (1.0, 0.0))
            saving.save(recovered, config, "arbitrary")

    return {
        "reads": lambda: [read_depth_file(file.path) for file in files],
        "averages over blocks": lambda: recovery.make_blocks(maps),
        SOLVES: lambda: jax.block_until_ready(
            [recovery.recover_blocks([model], blocks).focal for blocks in batches]
        ),
        "writes PLY and npz": write,
    }


if __name__ == "__main__":
    main()
