"""Trains a point-set encoder on a prepared set, and writes a run that `launch.infer` restores.

    python -m launch.train --data prepared --model_name both --targets 0,2

The flags are those of the original Train-3D, its misspellings included as aliases.
"""

import contextlib
import math
from pathlib import Path
from typing import cast

import jax
from absl import flags
from tqdm import tqdm

from data import pipeline
from data.prepared import PreparedSet
from launch import program
from train3d_jax import checkpoint, training
from train3d_jax.clouds import CloudSettings
from train3d_jax.depth import Space
from train3d_jax.files import write_whole
from train3d_jax.run_log import RunLog

_DATA = flags.DEFINE_string("data", None, "Folder of a prepared set.", required=True)
_MODEL_NAME = flags.DEFINE_string("model_name", None, "Name of the run.", required=True)
_WORKDIR = flags.DEFINE_string("workdir", "runs", "Folder of all runs.")
_TARGETS = flags.DEFINE_list(
    "targets", ["0", "2"], "What to train: 0 shift, 1 scale, 2 focal length; several as 0,2."
)
_DISTORT_S = flags.DEFINE_bool(
    "distort_s", False, "Take the true shift away although it is not a target."
)
_DISTORT_F = flags.DEFINE_bool(
    "distort_f",
    False,
    "Unproject with the first guess of the focal length although it is no target.",
)
_SPACE = flags.DEFINE_enum("space", "depth", ["depth", "disparity"], "Space of the distortion.")
_INPUT_CHANNELS = flags.DEFINE_integer("input_channels", 5, "3: x, y, z; 5: and the rays u, v.")
_VOXEL_SIZE = flags.DEFINE_float("voxel_size", 0.005, "One point is kept a voxel; 0 keeps all.")
_NUM_POINTS = flags.DEFINE_integer("num_points", 3072, "Points of a cloud.", lower_bound=64)
_INIT_FOV = flags.DEFINE_float("init_fov", 60.0, "First guess: vertical field of view, degrees.")
_INIT_SCALE = flags.DEFINE_float("init_scale", 1.0, "First guess of the scale, in metres.")
_NOISE = flags.DEFINE_float(
    "noise", 0.006, "Largest relative noise put on the depth in training.", lower_bound=0.0
)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 20, "Samples in a step.", lower_bound=1)
_EPOCHS = flags.DEFINE_integer("epochs", 5, "Passes over the training part.", lower_bound=1)
_LEARNING_RATE = flags.DEFINE_float("learning_rate", 0.003, "Of AdamW.")
_DECAY = flags.DEFINE_float(
    "learning_rate_decay", 0.1, "Factor that the learning rate has linearly fallen to at the end."
)
_TRAIN_SPLIT = flags.DEFINE_float("train_split", 0.9, "Share of the samples to train on.")
_PRINT_EVERY = flags.DEFINE_integer(
    "print_losses_every", 150, "Steps between two lines about the loss.", lower_bound=1
)
_NUM_WORKERS = flags.DEFINE_integer(
    "num_workers", 0, "Processes that read the data; 0 reads in threads.", lower_bound=0
)
_LOGS = flags.DEFINE_bool("logs", False, "Write TensorBoard events too.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of everything random.", lower_bound=0)
program.define_aliases(
    input_chanels="input_channels", print_losses_evry="print_losses_every", num_w="num_workers"
)


def _positive(value: float) -> bool:
    return math.isfinite(value) and value > 0


flags.register_validator(
    "targets",
    lambda names: bool(names) and set(names) <= set("012") and len(set(names)) == len(names),
    "must be 0, 1 or 2, or several of them as in 0,2",
)
flags.register_validator("input_channels", lambda n: n in (3, 5), "must be 3 or 5")
flags.register_validator("init_fov", lambda x: 1 <= x <= 179, "must be 1 to 179 degrees")
flags.register_validator("train_split", lambda x: 0 < x <= 1, "must be over 0 and at most 1")
flags.register_validator("voxel_size", lambda x: math.isfinite(x) and x >= 0, "must be 0 or more")
for _flag in ("learning_rate", "learning_rate_decay", "init_scale"):
    flags.register_validator(_flag, _positive, "must be a positive number")


def main() -> None:
    """From flags to a run."""
    targets = tuple(sorted(int(number) for number in _TARGETS.value))
    clouds = CloudSettings(
        space=cast(Space, _SPACE.value),
        input_channels=_INPUT_CHANNELS.value,
        voxel_size=_VOXEL_SIZE.value,
        num_points=_NUM_POINTS.value,
        init_fov=_INIT_FOV.value,
        shift_known=0 not in targets and not _DISTORT_S.value,
        focal_known=2 not in targets and not _DISTORT_F.value,
    )
    config = training.TrainingConfig(
        targets, clouds, _BATCH_SIZE.value, _LEARNING_RATE.value, _DECAY.value, _EPOCHS.value,
        _NOISE.value, _INIT_SCALE.value, _SEED.value,
    )  # fmt: skip
    run = Path(_WORKDIR.value) / _MODEL_NAME.value
    checkpoint.refuse_other_settings(run, config)
    samples = PreparedSet(_DATA.value)
    training_parts, validation_parts = pipeline.split_sets(
        [samples], _TRAIN_SPLIT.value, config.seed
    )
    train_part, validation_part = training_parts[0].indices, validation_parts[0].indices
    space, batch_size = clouds.space, config.batch_size
    dataset = pipeline.training_batches(
        training_parts, None, batch_size, space, config.seed, _NUM_WORKERS.value
    )
    steps_per_epoch = len(train_part) // batch_size
    total_steps = config.epochs * steps_per_epoch
    facts = {"data": str(samples.path), "samples": [len(train_part), len(validation_part)]}
    checkpoint.save_config(run, config, facts | {"jax": jax.__version__})
    write_whole(run / "run.flags", program.flags_of_this_program().encode())
    with (
        checkpoint.Checkpoints(run) as checkpoints,
        contextlib.closing(iter(dataset)) as batches,
    ):
        state = checkpoints.resume(training.initial_state(config, total_steps), batches)
        step = int(state.step)
        print(
            f"{run}: {len(train_part)} samples to train on, {len(validation_part)} to validate, "
            f"{total_steps} steps" + (f", going on from step {step}" if step else "")
        )
        with RunLog(run, step, _LOGS.value) as log:
            training.run_training(
                config,
                state,
                batches,
                (lambda: pipeline.validation_batches(validation_parts, batch_size, space))
                if len(validation_part)
                else None,
                steps_per_epoch,
                checkpoints,
                log.record,
                _PRINT_EVERY.value,
                lambda steps: tqdm(steps, "training", total_steps, initial=step, unit="step"),
            )
    print(f"{run}: done; use it with: python -m launch.infer --model {run} --input ... --out ...")


if __name__ == "__main__":
    program.run(main)
