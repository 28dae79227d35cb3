"""The flags of `launch.train`, and the configuration that they make.

They are those of the original Train-3D, its misspellings included as aliases, and more.
"""

import math
from collections.abc import Sequence
from typing import Any, cast

import jax
from absl import flags

from launch import program
from train3d_jax.geometry.clouds import POINT_SETS, CloudSettings
from train3d_jax.training.config import Range, TrainingConfig

LERES_RANGES: tuple[Range, Range] = ((-0.25, 0.8), (0.6, 1.25))
"""Of shift and alpha in training, as published (LeReS, section 3.2)."""

WORKERS_BESIDE_GPU = 16
"""One H100 takes 5,000 samples a second, threads read 750, and so many processes 7,300."""

AUGMENTATIONS = TrainingConfig.augmentation

DATA = flags.DEFINE_list("data", None, "Folder of a prepared set; several as A,B.", required=True)
MIX = flags.DEFINE_list(
    "mix", [], "Shares of several sets in a batch, as 0.7,0.3; by their sizes if not given."
)
MODEL_NAME = flags.DEFINE_string("model_name", None, "Name of the run.", required=True)
WORKDIR = flags.DEFINE_string("workdir", "runs", "Folder of all runs.")
INIT_FROM = flags.DEFINE_string(
    "init_from", None, "Folder of another run, whose weights a new run begins with."
)
_TARGETS = flags.DEFINE_list(
    "targets", ["0", "2"], "What to train: 0 shift, 1 scale, 2 focal length; several as 0,2."
)
_TARGET_WEIGHTS = flags.DEFINE_list(
    "target_weights", [], "Weights of the targets' losses, as 1,0.5; 1 each if not given."
)
_LOSS = flags.DEFINE_enum(
    "loss", "posterior", ["posterior", "l1"],
    "posterior: learns how sure it is, too; l1: absolute error of the conditioned targets.",
)  # fmt: skip
_DISTORT_S = flags.DEFINE_bool(
    "distort_s", False, "Take the true shift away although it is not a target."
)
_DISTORT_F = flags.DEFINE_bool(
    "distort_f",
    False,
    "Unproject with the first guess of the focal length although it is no target.",
)
_RANGES = flags.DEFINE_enum(
    "ranges", "inference", ["inference", "leres"],
    "Which distortions to train on: those from the start that inference uses, or the published "
    "ranges, that is --shift_range=-0.25,0.8 --alpha_range=0.6,1.25.",
)  # fmt: skip
_SHIFT_RANGE = flags.DEFINE_list(
    "shift_range", [],
    "Shifts put on the depth, as -0.25,0.8, in units of its 98 % quantile.  The canonical form "
    "undoes them: every true shift is covered without.",
)  # fmt: skip
_ALPHA_RANGE = flags.DEFINE_list(
    "alpha_range", [],
    "True focal length over the one unprojected with, as 0.6,1.25.  Without, it is over the first "
    "guess of --init_fov, and crops make it cover what cameras have.",
)  # fmt: skip
_SPACE = flags.DEFINE_enum("space", "depth", ["depth", "disparity"], "Space of the distortion.")
_INPUT_CHANNELS = flags.DEFINE_integer("input_channels", 5, "3: x, y, z; 5: and the rays u, v.")
_ENCODER = flags.DEFINE_enum(
    "encoder", None, ["surfaces", "points", "serial"],
    "surfaces: learned trust in windows of the image, the default; points: a point set, taken "
    "where --num_points or --voxel_size is given; serial: patches of points, with attention.",
)  # fmt: skip
_VOXEL_SIZE = flags.DEFINE_float(
    "voxel_size", None, "One point is kept a voxel (0.005 for a point set); 0 keeps all."
)
_NUM_POINTS = flags.DEFINE_integer(
    "num_points", None, "Points of a cloud (3072 for a point set); 0: all.", lower_bound=0
)
_INIT_FOV = flags.DEFINE_float("init_fov", 60.0, "First guess: vertical field of view, degrees.")
_INIT_SCALE = flags.DEFINE_float("init_scale", 1.0, "First guess of the scale, in metres.")
_AUGMENTATION = flags.DEFINE_list(
    "augmentation", list(AUGMENTATIONS), "What is done to depth maps in training, or none."
)
_AUGMENTATION_STRENGTH = flags.DEFINE_float(
    "augmentation_strength", 1.0, "Factor on the strength of all of them but crop and mirror.",
    lower_bound=0.0, upper_bound=2.0,
)  # fmt: skip
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 20, "Samples in a step.", lower_bound=1)
_EPOCHS = flags.DEFINE_integer("epochs", 5, "Passes over the training part.", lower_bound=1)
_OPTIMIZER = flags.DEFINE_enum("optimizer", "adamw", ["adamw", "sgd"], "sgd as the original.")
_LEARNING_RATE = flags.DEFINE_float("learning_rate", 0.003, "After the warm-up.")
_DECAY = flags.DEFINE_float(
    "learning_rate_decay", 0.1, "Share of the learning rate that is left at the end."
)
_SCHEDULE = flags.DEFINE_enum(
    "schedule", "linear", ["linear", "cosine"], "How the learning rate falls."
)
_WARMUP_STEPS = flags.DEFINE_integer(
    "warmup_steps", 50, "Steps in which the learning rate rises from 0.", lower_bound=0
)
_CLIP_NORM = flags.DEFINE_float("clip_norm", 1.0, "Longest gradient; 0 for any.", lower_bound=0.0)
_AVERAGE_DECAY = flags.DEFINE_float(
    "average_decay", 0.99,
    "Of the moving average of the weights that validation and inference use; 0 for none.",
    lower_bound=0.0, upper_bound=0.99999,
)  # fmt: skip
_WIDTH = flags.DEFINE_integer("width", 64, "Channels of the encoder's layers.", lower_bound=8)
_PRECISION = flags.DEFINE_enum(
    "precision", "auto", ["auto", "float32", "bfloat16"],
    "What the encoder computes with in training; auto: bfloat16 on a GPU, float32 elsewhere.",
)  # fmt: skip
TRAIN_SPLIT = flags.DEFINE_float("train_split", 0.9, "Share of the samples to train on.")
PRINT_EVERY = flags.DEFINE_integer(
    "print_losses_every", 150, "Steps between two lines about the loss.", lower_bound=1
)
EVALUATE_EVERY = flags.DEFINE_integer(
    "evaluate_every", 0, "Steps between validations; 0 for one after each epoch.", lower_bound=0
)
SAVE_EVERY = flags.DEFINE_integer(
    "save_every", 500, "Steps between checkpoints, besides those of validations.", lower_bound=1
)
_NUM_WORKERS = flags.DEFINE_integer(
    "num_workers", None, "Processes that read the data, at most the cores; 0 reads in threads."
    f" Unless told 0, on a GPU {WORKERS_BESIDE_GPU}.", lower_bound=0,
)  # fmt: skip
LOGS = flags.DEFINE_bool("logs", True, "Write TensorBoard events too.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of everything random.", lower_bound=0)
program.define_aliases(
    input_chanels="input_channels", print_losses_evry="print_losses_every", num_w="num_workers"
)


def num_workers() -> int:
    """Processes that read."""
    beside_gpu = WORKERS_BESIDE_GPU if jax.default_backend() == "gpu" else 0
    return _or(_NUM_WORKERS.value, beside_gpu)


def configuration() -> TrainingConfig:
    """What the flags say of a run."""
    targets = [int(number) for number in _TARGETS.value]
    weights = dict(zip(targets, numbers(_TARGET_WEIGHTS.value), strict=False))
    published = LERES_RANGES if _RANGES.value == "leres" else (None, None)
    sampled = _VOXEL_SIZE.value or _NUM_POINTS.value
    encoder = _ENCODER.value or ("points" if sampled else "surfaces")
    clouds = CloudSettings(
        space=cast(Any, _SPACE.value),
        input_channels=_INPUT_CHANNELS.value,
        voxel_size=_or(_VOXEL_SIZE.value, 0.0 if encoder == "surfaces" else POINT_SETS.voxel_size),
        num_points=_or(_NUM_POINTS.value, 0 if encoder == "surfaces" else POINT_SETS.num_points),
        init_fov=_INIT_FOV.value,
        shift_known=0 not in targets and not _DISTORT_S.value,
        focal_known=2 not in targets and not _DISTORT_F.value,
    )
    precision = _PRECISION.value
    if precision == "auto":
        precision = "bfloat16" if jax.default_backend() == "gpu" else "float32"
    return TrainingConfig(
        targets=tuple(sorted(targets)),
        clouds=clouds,
        batch_size=_BATCH_SIZE.value,
        optimizer=cast(Any, _OPTIMIZER.value),
        learning_rate=_LEARNING_RATE.value,
        learning_rate_decay=_DECAY.value,
        schedule=cast(Any, _SCHEDULE.value),
        warmup_steps=_WARMUP_STEPS.value,
        clip_norm=_CLIP_NORM.value,
        average_decay=_AVERAGE_DECAY.value,
        loss=cast(Any, _LOSS.value),
        target_weights=tuple(weights[target] for target in sorted(weights)),
        shift_range=cast(Any, numbers(_SHIFT_RANGE.value)) or published[0],
        alpha_range=cast(Any, numbers(_ALPHA_RANGE.value)) or published[1],
        augmentation=tuple(kind for kind in AUGMENTATIONS if kind in _AUGMENTATION.value),
        augmentation_strength=_AUGMENTATION_STRENGTH.value,
        epochs=_EPOCHS.value,
        init_scale=_INIT_SCALE.value,
        seed=_SEED.value,
        encoder=cast(Any, encoder),
        width=_WIDTH.value,
        precision=cast(Any, precision),
    )


def _or(value: Any, otherwise: Any) -> Any:
    return otherwise if value is None else value


def numbers(texts: Sequence[str]) -> tuple[float, ...]:
    """The numbers of a list flag.  Raises ValueError."""
    return tuple(float(text) for text in texts)


def _check_numbers(texts: Sequence[str], sound: Any) -> bool:
    try:
        return not texts or sound(numbers(texts))
    except ValueError:
        return False


def _all_positive(values: Sequence[float]) -> bool:
    return all(math.isfinite(value) and value > 0 for value in values)


def _rising_pair(values: Sequence[float], above: float) -> bool:
    return len(values) == 2 and above < values[0] < values[1] < math.inf


def _check(flag: str, sound: Any, message: str) -> None:
    flags.register_validator(flag, sound, message)


_check(
    "targets",
    lambda names: bool(names) and set(names) <= set("012") and len(set(names)) == len(names),
    "must be 0, 1 or 2, or several of them as in 0,2",
)
_check("input_channels", lambda n: n in (3, 5), "must be 3 or 5")
_check("init_fov", lambda x: 1 <= x <= 179, "must be 1 to 179 degrees")
_check("train_split", lambda x: 0 < x <= 1, "must be over 0 and at most 1")
_check("voxel_size", lambda x: x is None or (math.isfinite(x) and x >= 0), "must be 0 or more")
_check(
    "shift_range",
    lambda texts: _check_numbers(texts, lambda pair: _rising_pair(pair, -1.0)),
    "must be two rising numbers over -1, as in -0.25,0.8",
)
_check(
    "alpha_range",
    lambda texts: _check_numbers(texts, lambda pair: _rising_pair(pair, 0.0)),
    "must be two rising numbers over 0, as in 0.6,1.25",
)
_check(
    "augmentation",
    lambda kinds: kinds == ["none"] or set(kinds) <= set(AUGMENTATIONS),
    f"must be none, or some of {','.join(AUGMENTATIONS)}",
)
for _flag in ("learning_rate", "learning_rate_decay", "init_scale"):
    _check(_flag, lambda x: _all_positive([x]), "must be a positive number")
for _flag in ("mix", "target_weights"):
    _check(
        _flag,
        lambda texts: _check_numbers(texts, _all_positive),
        "must be positive numbers, as in 0.7,0.3",
    )


@flags.multi_flags_validator(["data", "mix"], "give --mix one number for each set of --data")
def _one_share_a_set(values: dict[str, list[str]]) -> bool:
    return not values["mix"] or len(values["mix"]) == len(values["data"] or [])


@flags.multi_flags_validator(
    ["targets", "target_weights"], "give --target_weights one number for each of --targets"
)
def _one_weight_a_target(values: dict[str, list[str]]) -> bool:
    return not values["target_weights"] or len(values["target_weights"]) == len(values["targets"])
