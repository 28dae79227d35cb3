"""The whole way on rendered rooms: raw datasets, preparation, training, recovery, drawings.

    python -m launch.demo --out demo

No download and no GPU.  The rooms that are recovered at the end were never trained on.
"""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from absl import flags

from launch import program
from launch.steps import launch, say
from train3d_jax.errors import UserError

_OUT = flags.DEFINE_string(
    "out", "demo", "Folder for everything; what an earlier demo left there is replaced."
)
_QUICK = flags.DEFINE_bool("quick", False, "A small run of everything, to test that it works.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of rooms, distortions and training.", lower_bound=0)

MARKER = ".made_by_launch_demo"
"""A file in the demo's folder; a folder without it is never replaced."""


@dataclass(frozen=True)
class Size:
    """The size of a demo; triples are for ScanNet, 3D Ken Burns and Taskonomy."""

    rooms: tuple[int, int, int]
    views: tuple[int, int, int]
    samples: tuple[int, int, int]
    test_rooms: int
    epochs: int
    pictures: int


FULL = Size((200, 50, 110), (6, 2, 5), (1200, 200, 550), test_rooms=60, epochs=7, pictures=8)
QUICK = Size((16, 4, 8), (4, 1, 4), (64, 8, 32), test_rooms=8, epochs=2, pictures=2)
"""Chosen; FULL takes eight minutes on two cores."""


def main() -> None:
    """Runs the steps one after the other, each under a title."""
    program.require("prepare", "open3d|embreex", "OpenEXR")
    # Imported here for start-up: flags are checked, and --help answered, without JAX.
    from data.rooms.raw_writers import write_raw_rooms
    from launch.demo import rooms

    began = time.perf_counter()
    size, seed, out = QUICK if _QUICK.value else FULL, _SEED.value, Path(_OUT.value)
    start_afresh(out)

    say(f"1. Renders {sum(size.rooms)} rooms and stores them as three raw datasets")
    raw = write_raw_rooms(out / "raw", size.rooms, size.views, seed=seed)

    say("2. Prepares them for training")
    counts = ",".join(str(count) for count in size.samples)
    launch(
        "prepare", "-ss", raw.scannet, "-sk", raw.kenburns, "-st", raw.taskonomy,
        "-ns", counts, "--out", out / "prepared", "--seed", seed,
    )  # fmt: skip

    say("3. Trains one network for shift and focal length")
    launch(
        "train", "--data", out / "prepared", "--model_name", "both", "--targets", "0,2",
        "--epochs", size.epochs, "--print_losses_every", 50, "--workdir", out / "runs",
        "--seed", seed,
    )  # fmt: skip

    say(f"4. Recovers {size.test_rooms} rooms never trained on, their depth scaled and shifted")
    test_maps = rooms.write_test_maps(out / "test_maps", out / "test_rgb", size.test_rooms, seed)
    recover = (
        "infer", "--input", out / "test_maps", "--rgb", out / "test_rgb",
        "--model", out / "runs" / "both", "--space", "depth",
    )  # fmt: skip
    launch(*recover, "--out", out / "recovered")
    say("   The same without the lines of the pictures, to see what they add")
    launch(*recover, "--out", out / "recovered_without_lines", "--lines=false", "--save=")

    say("5. Compares with the truth")
    comparisons = [
        rooms.compare(test, out / "recovered", out / "recovered_without_lines")
        for test in test_maps
    ]
    table = rooms.table(comparisons)
    print(table)
    (out / "table.txt").write_text(table + "\n")
    rooms.draw_pictures(out / "pictures", test_maps, comparisons, size.pictures)
    print(f"\nPictures of clouds before and after: {out / 'pictures'}")
    print(f"Took {time.perf_counter() - began:.0f} s.")


def start_afresh(out: Path) -> None:
    """An empty folder for the demo.  Raises UserError where something else lies there."""
    if out.exists() and any(out.iterdir()) and not (out / MARKER).exists():
        raise UserError(f"--out={out}: holds something that no demo made; give another folder")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    (out / MARKER).touch()


if __name__ == "__main__":
    program.run(main)
