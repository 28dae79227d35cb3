"""Flags that launch.infer and launch.view share: networks, how files are read, what is saved."""

from pathlib import Path

from absl import flags

from launch.recovery.config import ENDINGS, SaveSettings
from train3d_jax.formats.depth import ReadSettings
from train3d_jax.inference.models import DEFAULT

_MODEL = flags.DEFINE_list(
    "model", [DEFAULT], "Runs of launch.train that together cover shift and focal length; default: "
    "the weights of the package.",
)  # fmt: skip

_KEY = flags.DEFINE_string(
    "key", None, "Array to take from .npz, .h5 and .mat files that hold several."
)
_CHANNEL = flags.DEFINE_string(
    "channel", None, "Channel to take from .exr files without a channel Z or depth."
)
_INVALID = flags.DEFINE_list("invalid", [], "Values that mean missing, such as 65535 or -1,10000.")
_ALLOW_8BIT = flags.DEFINE_bool(
    "allow_8bit", False, "Read 8-bit images too: 256 steps bend every surface."
)
_NEGATE = flags.DEFINE_bool(
    "negate", False,
    "Multiply all values but those of --invalid by -1: near and far are swapped in the files, as "
    "in 1 - depth or OpenGL's z.",
)  # fmt: skip

_SAVE = flags.DEFINE_list(
    "save", ["ply", "npz"], f"What to write beside the JSON: {', '.join(ENDINGS)}, or none."
)
_RGB = flags.DEFINE_string(
    "rgb", None,
    "Folder of images (.png, .jpg) that colour the clouds; or the image of a single map.",
)  # fmt: skip
_EDGE_FILTER = flags.DEFINE_float(
    "edge_filter", 0.0,
    "Leave points out of clouds where depth jumps by more than this share (0.05) within 3 x 3 "
    "pixels; 0 keeps all.", lower_bound=0.0,
)  # fmt: skip


@flags.validator("invalid", "give numbers, separated by commas")
def _are_numbers(values: list[str]) -> bool:
    try:
        return all(_number(value) is not None for value in values)
    except ValueError:
        return False


@flags.validator("save", f"give some of {','.join(ENDINGS)}; or an empty list")
def _known_kinds(kinds: list[str]) -> bool:
    return set(kinds) <= ENDINGS.keys()


def _number(text: str) -> float:
    """A float, or an integer of 64 bits that no float holds; ValueError where it is no number."""
    value = float(text)
    try:
        exact = int(text)
    except ValueError:
        return value
    return value if value == exact else exact


def runs() -> tuple[Path, ...]:
    """The networks of --model."""
    return tuple(Path(run) for run in _MODEL.value)


def model_was_given() -> bool:
    """Whether --model is on the command line."""
    return flags.FLAGS["model"].present > 0


def reading() -> ReadSettings:
    """How files are to be read."""
    invalid = tuple(map(_number, _INVALID.value))
    return ReadSettings(_KEY.value, _CHANNEL.value, _ALLOW_8BIT.value, invalid, _NEGATE.value)


def saving() -> SaveSettings:
    """What is to be saved."""
    return SaveSettings(tuple(_SAVE.value), _EDGE_FILTER.value, path(_RGB.value))


def path(value: str | None) -> Path | None:
    """The path of a flag that may be absent."""
    return None if value is None else Path(value)
