"""Makes the weights of the package: rooms, prepared sets, training, packing.

    python -m launch.weights --out made_weights
    python -m launch.weights --out made_weights --space disparity
    python -m launch.weights --out made_weights --space form

It takes 5 GB, and on two cores eighty minutes for depth, forty more for disparity, whose sets are
among those of depth, and half an hour for form, the network that classifies the two
(`train3d_jax.networks.forms`).  Started again it resumes: finished sets are left alone, and the
training goes on from its last checkpoint.  The only training data are rendered: rooms, table tops,
streets, gardens and rocks.
"""

from pathlib import Path
from typing import Any

from absl import flags

from launch import program
from launch.steps import launch, say
from train3d_jax.training.choices import AUGMENTATIONS

_OUT = flags.DEFINE_string("out", "made_weights", "Folder for rooms, runs and weights.")
_EPOCHS = flags.DEFINE_integer("epochs", 2, "Passes over all maps.", lower_bound=1)
_SPACE = flags.DEFINE_enum("space", "depth", ["depth", "disparity", "form"], "What maps hold.")
_INIT_FROM = flags.DEFINE_string(
    "init_from", None,
    'Weights to begin with: "default" for those of the package, or a folder; random ones if not '
    "given.",
)  # fmt: skip
flags.register_multi_flags_validator(
    ["space", "init_from"],
    lambda values: values["space"] != "form" or values["init_from"] is None,
    "--init_from is for depth and disparity; form begins with random weights",
)
_SHARE = flags.DEFINE_float(
    "share", 1.0, "Of the rooms: a small share is a test run, without useful weights.",
    lower_bound=0.001, upper_bound=1.0,
)  # fmt: skip


def main() -> None:
    """Runs every step that is not done."""
    # Imported here for start-up: flags are checked, and --help answered, without JAX.
    from launch.shipped_weights import forms
    from launch.shipped_weights.recipes import FORM_SEEDS, FORM_STEPS, RECIPES, make_set
    from train3d_jax.inference import models
    from train3d_jax.storage import weights

    out, share = Path(_OUT.value), _SHARE.value
    space: Any = _SPACE.value  # the flag's type is str
    if _INIT_FROM.value:  # before half an hour of rendering
        models.load_model(_INIT_FROM.value, space)
    if space == "form":
        sets = [make_set(out / f"rooms{seed}", seed, share) for seed in FORM_SEEDS]
        forms.make(sets, out / space, max(round(share * FORM_STEPS), 1))
        return
    recipe = RECIPES[space]
    sets = [make_set(out / f"rooms{seed}", seed, share) for seed in recipe.mix]
    kinds = [kind for kind in AUGMENTATIONS if kind not in recipe.without]
    mix = ",".join(map(str, recipe.mix.values()))
    say("Trains")
    launch(
        "train", "--data", ",".join(map(str, sets)), "--mix", mix,
        "--model_name", space, "--space", space,
        "--workdir", out / "runs", "--targets", "0,2", "--batch_size", 32,
        "--epochs", _EPOCHS.value, "--train_split", 0.98, "--schedule", "cosine",
        "--learning_rate_decay", 0.03, "--average_decay", 0.998, "--evaluate_every", 1500,
        "--print_losses_every", 100, "--augmentation", ",".join(kinds),
        "--augmentation_strength", recipe.strength,
        *(("--init_from", _INIT_FROM.value) if _INIT_FROM.value else ()),
    )  # fmt: skip
    weights.pack(out / "runs" / space, out / space, recipe.factors)
    print(f"{out / space}: packed; try it with: python -m launch.infer --model {out / space} ...")


if __name__ == "__main__":
    program.run(main)
