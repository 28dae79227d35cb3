"""Makes the weights that come with the package: rooms, prepared sets, training, packing.

    python -m launch.weights --out made_weights
    python -m launch.weights --out made_weights --space disparity --epochs 2

An hour on two cores, and 4 GB.  Started again it goes on where it was: finished sets are left
alone, and the training goes on from its last checkpoint.  Nothing but rendered rooms is trained on.
"""

import shutil
from pathlib import Path

from absl import flags

from data import prepared
from data.rooms.raw_writers import write_raw_rooms
from launch import program
from launch.steps import launch, say
from train3d_jax import weights

_OUT = flags.DEFINE_string("out", "made_weights", "Folder for everything.")
_EPOCHS = flags.DEFINE_integer("epochs", 3, "Passes over all maps.", lower_bound=1)
_SPACE = flags.DEFINE_enum("space", "depth", ["depth", "disparity"], "What maps hold.")
_SHARE = flags.DEFINE_float(
    "share", 1.0, "Of the rooms: less shows that it works, not how well.",
    lower_bound=0.001, upper_bound=1.0,
)  # fmt: skip

SETS = {77: (6000, 300, 3000), 78: (7000, 300, 3500)}
"""Rooms as ScanNet, 3D Ken Burns and Taskonomy, by the seed of a set."""
VIEWS = (4, 1, 3)
SAMPLES = (4, 4, 3)
"""Maps of each room: an id of 3D Ken Burns has four."""


def main() -> None:
    """Does every step that is not done."""
    out, space = Path(_OUT.value), _SPACE.value
    sets = [make_set(out / f"rooms{seed}", seed, rooms) for seed, rooms in SETS.items()]
    say("Trains")
    launch(
        "train", "--data", ",".join(map(str, sets)), "--model_name", space, "--space", space,
        "--workdir", out / "runs", "--targets", "0,2", "--batch_size", 32,
        "--epochs", _EPOCHS.value, "--train_split", 0.98, "--schedule", "cosine",
        "--learning_rate_decay", 0.03, "--average_decay", 0.998, "--evaluate_every", 1500,
        "--print_losses_every", 100,
    )  # fmt: skip
    weights.pack(out / "runs" / space, out / space)
    print(f"{out / space}: packed; try it with: python -m launch.infer --model {out / space} ...")


def make_set(out: Path, seed: int, rooms: tuple[int, ...]) -> Path:
    """Renders and prepares a set, unless it is finished; the prepared set."""
    rooms = tuple(max(1, round(_SHARE.value * count)) for count in rooms)
    made, raw = out / "prepared", out / "raw"
    if prepared.state(made) is prepared.State.FINISHED:
        return made
    rendered = out / "rendered"  # lies there once all rooms are
    if not rendered.exists():
        say(f"Renders {sum(rooms)} rooms, seed {seed}")
        shutil.rmtree(raw, ignore_errors=True)
        write_raw_rooms(raw, (rooms[0], rooms[1], rooms[2]), VIEWS, seed=seed)
        rendered.touch()
    counts = ",".join(str(a * b) for a, b in zip(rooms, SAMPLES, strict=True))
    launch(
        "prepare", "-ss", raw / "scannet", "-sk", raw / "kenburns", "-st", raw / "taskonomy",
        "-ns", counts, "--out", made, "--format", "array_record",
    )  # fmt: skip
    shutil.rmtree(raw)
    return made


if __name__ == "__main__":
    program.run(main)
