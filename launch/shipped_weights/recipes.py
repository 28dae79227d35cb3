"""Which rooms the weights of the package are trained on, and with which settings."""

import os
import shutil
from pathlib import Path
from typing import NamedTuple

from data.prepared import layout
from data.rooms.building import Surroundings
from data.rooms.raw_writers import write_raw_rooms
from launch.steps import launch, say

SETS: dict[int, tuple[Surroundings, tuple[int, int, int]]] = {
    77: ("homes", (6000, 300, 3000)),
    78: ("homes", (7000, 300, 3500)),
    80: ("rocks", (1000, 50, 500)),
    81: ("halls", (7000, 300, 3500)),
    82: ("streets", (3000, 150, 1500)),
    83: ("homes", (1500, 60, 750)),
    84: ("halls", (600, 30, 300)),
    85: ("streets", (500, 20, 250)),
    86: ("rocks", (600, 30, 300)),
}
"""By the seed of a set: its surroundings, and its numbers of rooms as ScanNet, 3D Ken Burns and
Taskonomy.  Chosen: as many as two cores render and train on in an hour or so."""


class Recipe(NamedTuple):
    """How the weights for a space are made.

    Attributes:
        seeds: of the sets, in `SETS`.
        strength: of the augmentation.
        without: kinds of augmentation that are not used.
    """

    seeds: tuple[int, ...]
    strength: float
    without: tuple[str, ...] = ()


RECIPES = {
    "depth": Recipe((78, 80, 81, 82), 1.5),
    "disparity": Recipe((77, 78), 1.0, ("reach",)),
}
"""Chosen by errors on real maps.  Disparity depends on angles and parallels only; there halls,
streets, rocks and stronger augmentation increased nearly all errors."""

FORM_SEEDS, FORM_STEPS = (83, 84, 85, 86), 4000
"""Sets and training steps of the network of `train3d_jax.networks.forms`; chosen."""

VIEWS = (4, 1, 3)
SAMPLES = (4, 4, 3)
"""Views rendered of each room, and maps prepared of each, as ScanNet, 3D Ken Burns and Taskonomy;
an id of 3D Ken Burns has four maps.  Chosen."""


def make_set(out: Path, seed: int, share: float) -> Path:
    """Renders and prepares a set, unless it is finished.

    Args:
      out: folder for the set.
      seed: of the set, in `SETS`.
      share: of its rooms, in (0, 1].

    Returns:
      The folder of the prepared set.
    """
    surroundings, counts = SETS[seed]
    scannet, kenburns, taskonomy = (max(1, round(share * count)) for count in counts)
    rooms = scannet, kenburns, taskonomy
    cores = os.cpu_count() or 1
    made, raw = out / "prepared", out / "raw"
    if layout.state(made) is layout.State.FINISHED:
        return made
    rendered = out / "rendered"  # exists once all rooms are rendered
    if not rendered.exists():
        say(f"Renders {sum(rooms)} rooms, seed {seed}")
        shutil.rmtree(raw, ignore_errors=True)
        write_raw_rooms(raw, rooms, VIEWS, seed=seed, num_workers=cores, surroundings=surroundings)
        rendered.touch()
    samples = ",".join(str(a * b) for a, b in zip(rooms, SAMPLES, strict=True))
    launch(
        "prepare", "-ss", raw / "scannet", "-sk", raw / "kenburns", "-st", raw / "taskonomy",
        "-ns", samples, "--out", made, "--format", "array_record", "--num_workers", cores,
    )  # fmt: skip
    shutil.rmtree(raw)
    return made
