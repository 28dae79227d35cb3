"""Makes the weights that come with the package: rooms, prepared sets, training, packing.

    python -m launch.weights --out made_weights
    python -m launch.weights --out made_weights --space disparity
    python -m launch.weights --out made_weights --space form

Seventy minutes on two cores for depth, an hour for disparity, half an hour for the network that
tells the two apart (`train3d_jax.networks.forms`), and 5 GB.  Started again it goes on
where it was: finished sets are left alone, and the training goes on from its last checkpoint.
Nothing but rendered rooms, streets and rocks is trained on.
"""

import os
import shutil
from pathlib import Path
from typing import NamedTuple

from absl import flags

from data.prepared import prepared_set as prepared
from data.rooms.building import Surroundings
from data.rooms.raw_writers import write_raw_rooms
from launch import form_weights, program
from launch.steps import launch, say
from train3d_jax.storage import weights
from train3d_jax.training.config import TrainingConfig

_OUT = flags.DEFINE_string("out", "made_weights", "Folder for everything.")
_EPOCHS = flags.DEFINE_integer("epochs", 2, "Passes over all maps.", lower_bound=1)
_SPACE = flags.DEFINE_enum("space", "depth", ["depth", "disparity", "form"], "What maps hold.")
_SHARE = flags.DEFINE_float(
    "share", 1.0, "Of the rooms: less shows that it works, not how well.",
    lower_bound=0.001, upper_bound=1.0,
)  # fmt: skip

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
"""By the seed of a set what is in it: rooms as ScanNet, 3D Ken Burns and Taskonomy."""


class Recipe(NamedTuple):
    """What the weights for a space are made of.

    Attributes:
        seeds: of the sets, in `SETS`.
        strength: of the augmentation.
        without: kinds of augmentation that are left out.
    """

    seeds: tuple[int, ...]
    strength: float
    without: tuple[str, ...] = ()


RECIPES = {
    "depth": Recipe((78, 80, 81, 82), 1.5),
    "disparity": Recipe((77, 78), 1.0, ("reach",)),
}
"""What came out best on real maps.  In disparity, where only angles and parallels tell, halls,
streets, rocks and more damage made nearly everything a little worse."""

FORM_SEEDS, FORM_STEPS = (83, 84, 85, 86), 4000
"""Sets and steps of the network of `train3d_jax.networks.forms`."""

VIEWS = (4, 1, 3)
SAMPLES = (4, 4, 3)
"""Maps of each room: an id of 3D Ken Burns has four."""


def main() -> None:
    """Does every step that is not done."""
    out, space = Path(_OUT.value), _SPACE.value
    if space == "form":
        sets = [make_set(out / f"rooms{seed}", seed, *SETS[seed]) for seed in FORM_SEEDS]
        form_weights.make(sets, out / space, max(round(_SHARE.value * FORM_STEPS), 1))
        return
    recipe = RECIPES[space]
    sets = [make_set(out / f"rooms{seed}", seed, *SETS[seed]) for seed in recipe.seeds]
    kinds = [kind for kind in TrainingConfig.augmentation if kind not in recipe.without]
    say("Trains")
    launch(
        "train", "--data", ",".join(map(str, sets)), "--model_name", space, "--space", space,
        "--workdir", out / "runs", "--targets", "0,2", "--batch_size", 32,
        "--epochs", _EPOCHS.value, "--train_split", 0.98, "--schedule", "cosine",
        "--learning_rate_decay", 0.03, "--average_decay", 0.998, "--evaluate_every", 1500,
        "--print_losses_every", 100, "--augmentation", ",".join(kinds),
        "--augmentation_strength", recipe.strength,
    )  # fmt: skip
    weights.pack(out / "runs" / space, out / space)
    print(f"{out / space}: packed; try it with: python -m launch.infer --model {out / space} ...")


def make_set(
    out: Path, seed: int, surroundings: Surroundings, all_rooms: tuple[int, int, int]
) -> Path:
    """Renders and prepares a set, unless it is finished; the prepared set."""
    share = lambda count: max(1, round(_SHARE.value * count))  # noqa: E731
    rooms = share(all_rooms[0]), share(all_rooms[1]), share(all_rooms[2])
    cores = os.cpu_count() or 1
    made, raw = out / "prepared", out / "raw"
    if prepared.state(made) is prepared.State.FINISHED:
        return made
    rendered = out / "rendered"  # lies there once all rooms are
    if not rendered.exists():
        say(f"Renders {sum(rooms)} rooms, seed {seed}")
        shutil.rmtree(raw, ignore_errors=True)
        write_raw_rooms(raw, rooms, VIEWS, seed=seed, num_workers=cores, surroundings=surroundings)
        rendered.touch()
    counts = ",".join(str(a * b) for a, b in zip(rooms, SAMPLES, strict=True))
    launch(
        "prepare", "-ss", raw / "scannet", "-sk", raw / "kenburns", "-st", raw / "taskonomy",
        "-ns", counts, "--out", made, "--format", "array_record", "--num_workers", cores,
    )  # fmt: skip
    shutil.rmtree(raw)
    return made


if __name__ == "__main__":
    program.run(main)
