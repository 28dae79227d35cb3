"""The flags of launch.evaluate, and the configuration that they make."""

from pathlib import Path
from typing import Any, cast

from absl import flags

from launch.evaluation.config import EvaluationConfig
from launch.recovery.config import LINES_HELP, NO_NETWORK
from launch.recovery.shards import shard_of
from train3d_jax.inference.models import DEFAULT

_DATA = flags.DEFINE_list(
    "data", None, "Prepared sets, and folders with a manifest.json.", required=True
)
_OUT = flags.DEFINE_string("out", None, "Folder for the results.", required=True)
_MODEL = flags.DEFINE_list(
    "model", [DEFAULT], "Runs of launch.train that together cover shift and focal length; default: "
    "the weights of the package; --model= evaluates geometry and constants only.",
)  # fmt: skip
_SPACE = flags.DEFINE_enum(
    "space",
    "depth",
    ["depth", "disparity", "log"],
    "Space of the maps that methods get; no network covers log depth.",
)
_CROP = flags.DEFINE_bool(
    "crop", True, "Crop maps about their principal point to 50 to 100 %; or take them whole."
)
_CROPS = flags.DEFINE_integer("crops", 4, "Cropped views of each map.", lower_bound=1)
_NOISE = flags.DEFINE_float(
    "noise", 0.0, "White noise on the depth of each pixel, relative: 0.01 for 1 %.",
    lower_bound=0.0, upper_bound=1.0,
)  # fmt: skip
_LINES = flags.DEFINE_bool("lines", True, LINES_HELP)
_SEED = flags.DEFINE_integer(
    "seed", 0, "Of crops, distortions, points and resamples.", lower_bound=0
)
_MAX_MAPS = flags.DEFINE_integer(
    "max_maps", 0, "Maps of each set, evenly spread; 0 takes all.", lower_bound=0
)
_BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", 16, "Views made ahead while others are solved; changes no number.", lower_bound=1
)
_WORST = flags.DEFINE_integer("worst", 10, "Pictures of the worst views.", lower_bound=0)
_SHARD = flags.DEFINE_string(
    "shard", None, "2/8: measure the second of eight parts, here or elsewhere; then --merge."
)
_MERGE = flags.DEFINE_bool(
    "merge", False, "Report on all shards that were measured with the same flags."
)


def configuration() -> EvaluationConfig:
    """The configuration that the flags make; prints a note where no network covers the space.

    Raises:
      UserError: flags exclude each other.
    """
    runs = _MODEL.value
    if _SPACE.value == "log" and not flags.FLAGS["model"].present:
        runs = []
        print(NO_NETWORK, flush=True)
    return EvaluationConfig(
        data=tuple(Path(path) for path in _DATA.value),
        out=Path(_OUT.value),
        runs=tuple(Path(run) for run in runs),
        space=cast(Any, _SPACE.value),
        crop=_CROP.value,
        crops=_CROPS.value,
        noise=_NOISE.value,
        lines=_LINES.value,
        seed=_SEED.value,
        max_maps=_MAX_MAPS.value,
        batch_size=_BATCH_SIZE.value,
        worst=_WORST.value,
        shard=shard_of(_SHARD.value, _MERGE.value),
        merge=_MERGE.value,
    )
