"""The flags of `launch.train`, and the configurations that they make.

They include those of the original Train-3D; its misspellings are aliases.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from absl import flags

from launch import program
from launch.training.config import RunSettings
from train3d_jax.training.choices import AUGMENTATIONS, Range

if TYPE_CHECKING:
    from train3d_jax.training.config import TrainingConfig

LERES_RANGES: tuple[Range, Range] = ((-0.25, 0.8), (0.6, 1.25))
"""Of shift and alpha in training, as published (LeReS, section 3.2)."""

WORKERS_BESIDE_GPU = 16
"""Worker processes.  An H100 trains on 5,000 samples a second; threads read 750, and so many
processes 7,300 (`benchmarks.gpu`)."""

_DATA = flags.DEFINE_list("data", None, "Folder of a prepared set; several as A,B.", required=True)
_MIX = flags.DEFINE_list(
    "mix", [], "Shares of several sets in a batch, as 0.7,0.3; by their sizes if not given."
)
_MODEL_NAME = flags.DEFINE_string("model_name", None, "Name of the run.", required=True)
_WORKDIR = flags.DEFINE_string("workdir", "runs", "Folder of all runs.")
_INIT_FROM = flags.DEFINE_string(
    "init_from",
    None,
    "Folder of another run, whose weights a new run begins with; default: the "
    "weights of the package for --space.",
)
_TARGETS = flags.DEFINE_list(
    "targets", ["0", "2"], "What to train: 0 shift, 1 scale, 2 focal length; several as 0,2."
)
_TARGET_WEIGHTS = flags.DEFINE_list(
    "target_weights", [], "Weights of the targets' losses, as 1,0.5; 1 each if not given."
)
_LOSS = flags.DEFINE_enum(
    "loss", "posterior", ["posterior", "l1"],
    "posterior: learns its uncertainty too; l1: absolute error of the conditioned targets.",
)  # fmt: skip
_DISTORT_S = flags.DEFINE_bool(
    "distort_s", False, "Remove the true shift although it is not a target."
)
_DISTORT_F = flags.DEFINE_bool(
    "distort_f",
    False,
    "Unproject with the first guess of the focal length although it is not a target.",
)
_RANGES = flags.DEFINE_enum(
    "ranges", "inference", ["inference", "leres"],
    "Distortions to train on: those that inference starts from, or the published ranges, that is "
    "--shift_range=-0.25,0.8 --alpha_range=0.6,1.25.",
)  # fmt: skip
_SHIFT_RANGE = flags.DEFINE_list(
    "shift_range", [],
    "Shifts of the depth, as -0.25,0.8, in units of its 98 % quantile.  They have no effect on "
    "the input: the canonical form removes them.",
)  # fmt: skip
_ALPHA_RANGE = flags.DEFINE_list(
    "alpha_range", [],
    "True focal length over that of the unprojection, as 0.6,1.25.  By default it is over the "
    "first guess of --init_fov, and crops make it cover those of cameras.",
)  # fmt: skip
_SPACE = flags.DEFINE_enum("space", "depth", ["depth", "disparity"], "Space of the distortion.")
_INPUT_CHANNELS = flags.DEFINE_integer("input_channels", 5, "3: x, y, z; 5: and the rays u, v.")
_ENCODER = flags.DEFINE_enum(
    "encoder", None, ["surfaces", "points", "serial"],
    "surfaces: learned weights of windows of the image, the default; points: a point set, the "
    "default with --num_points or --voxel_size; serial: patches of points, with attention.",
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
    "augmentation", list(AUGMENTATIONS), "Kinds of augmentation of depth maps, or none."
)
_AUGMENTATION_STRENGTH = flags.DEFINE_float(
    "augmentation_strength", 1.0, "Factor on the strength of all of them but crop and mirror.",
    lower_bound=0.0, upper_bound=2.0,
)  # fmt: skip
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 20, "Samples in a step.", lower_bound=1)
_EPOCHS = flags.DEFINE_integer("epochs", 5, "Passes over the training part.", lower_bound=1)
_OPTIMIZER = flags.DEFINE_enum("optimizer", "adamw", ["adamw", "sgd"], "sgd as the original.")
_LEARNING_RATE = flags.DEFINE_float("learning_rate", 0.003, "After the warm-up.")
_DECAY = flags.DEFINE_float("learning_rate_decay", 0.1, "Final learning rate over --learning_rate.")
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
    "Of the encoder in training; auto: bfloat16 on a GPU, float32 elsewhere.",
)  # fmt: skip
_TRAIN_SPLIT = flags.DEFINE_float("train_split", 0.9, "Share of the samples to train on.")
_PRINT_EVERY = flags.DEFINE_integer(
    "print_losses_every", 150, "Steps between two rows about the loss.", lower_bound=1
)
_EVALUATE_EVERY = flags.DEFINE_integer(
    "evaluate_every", 0, "Steps between validations; 0 for one after each epoch.", lower_bound=0
)
_SAVE_EVERY = flags.DEFINE_integer(
    "save_every", 500, "Steps between checkpoints, besides those of validations.", lower_bound=1
)
_NUM_WORKERS = flags.DEFINE_integer(
    "num_workers", None, "Processes that read the data, at most the cores; 0 reads in threads."
    f" Default: {WORKERS_BESIDE_GPU} on a GPU, else 0.", lower_bound=0,
)  # fmt: skip
_LOGS = flags.DEFINE_bool("logs", True, "Write TensorBoard events too.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of everything random.", lower_bound=0)
program.define_aliases(
    input_chanels="input_channels", print_losses_evry="print_losses_every", num_w="num_workers"
)


def num_workers() -> int:
    """Processes that read; known once JAX has its devices."""
    import jax  # start-up: not before flags are checked

    beside_gpu = WORKERS_BESIDE_GPU if jax.default_backend() == "gpu" else 0
    return _or(_NUM_WORKERS.value, beside_gpu)


def run_settings() -> RunSettings:
    """What surrounds the training, as the flags say."""
    return RunSettings(
        folder=Path(_WORKDIR.value) / _MODEL_NAME.value,
        data=tuple(Path(path) for path in _DATA.value),
        mix=_numbers(_MIX.value),
        train_split=_TRAIN_SPLIT.value,
        init_from=Path(_INIT_FROM.value) if _INIT_FROM.value else None,
        num_workers=num_workers(),
        evaluate_every=_EVALUATE_EVERY.value,
        save_every=_SAVE_EVERY.value,
        record_every=_PRINT_EVERY.value,
        events=_LOGS.value,
    )


def configuration() -> "TrainingConfig":
    """How the network is trained, as the flags say."""
    import jax  # start-up: not before flags are checked

    from train3d_jax.geometry.clouds import POINT_SETS, CloudSettings
    from train3d_jax.training.config import TrainingConfig

    targets = [int(number) for number in _TARGETS.value]
    weights = dict(zip(targets, _numbers(_TARGET_WEIGHTS.value), strict=False))
    published = LERES_RANGES if _RANGES.value == "leres" else (None, None)
    sampled = _VOXEL_SIZE.value or _NUM_POINTS.value
    encoder = _ENCODER.value or ("points" if sampled else "surfaces")
    clouds = CloudSettings(
        space=cast(Any, _SPACE.value),
        input_channels=_INPUT_CHANNELS.value,
        voxel_size=_or(
            _VOXEL_SIZE.value, 0.0 if encoder == "surfaces" else CloudSettings.voxel_size
        ),
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
        shift_range=cast(Any, _numbers(_SHIFT_RANGE.value)) or published[0],
        alpha_range=cast(Any, _numbers(_ALPHA_RANGE.value)) or published[1],
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


def _numbers(texts: Sequence[str]) -> tuple[float, ...]:
    """The numbers of a list flag.  Raises ValueError."""
    return tuple(float(text) for text in texts)


def _check_numbers(texts: Sequence[str], sound: Any) -> bool:
    try:
        return not texts or sound(_numbers(texts))
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
