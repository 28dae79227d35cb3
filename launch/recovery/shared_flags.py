"""Flags that launch.infer and launch.view share: networks, files, what is known, what is saved."""

from pathlib import Path
from typing import Any, cast

from absl import flags

from data.user_maps.producers import PRODUCERS, Producer
from launch import program, soft_flags
from launch.recovery.config import DEFAULT_KINDS, ENDINGS, LINES_HELP, SaveSettings
from train3d_jax.errors import UserError
from train3d_jax.formats.depth import ReadSettings
from train3d_jax.inference.models import DEFAULT

_MODEL = flags.DEFINE_list(
    "model", [DEFAULT], "Runs of launch.train that together cover shift and focal length; default: "
    "the weights of the package.",
)  # fmt: skip

_FROM = flags.DEFINE_enum(
    "from", None, list(PRODUCERS),
    "Who wrote the maps: sets key, space, unit, missing values and whether the shift is known; "
    "flags that are given win.",
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

_RAY_DEPTH = flags.DEFINE_bool(
    "ray_depth", False, "Maps hold distances to the camera's centre; needs a known camera."
)
_SHIFT_KNOWN = soft_flags.define(
    "shift_known", False,
    "The maps' shift is right (b = 0); estimate the focal length only.  With a number, as 0.05, it "
    "may be off by that share of the depth (one sigma), and the maps refine it.",
)  # fmt: skip
_CLIP = flags.DEFINE_bool(
    "clip", False,
    "All maps are the frames of one clip: one camera.  Files that hold several maps are clips.",
)  # fmt: skip
_AFFINE = flags.DEFINE_enum(
    "affine", "frame", ["frame", "clip"],
    "Clips: each frame has a scale and a shift of its own, or the whole clip has one of each "
    "(Video-Depth-Anything, DepthCrafter).",
)  # fmt: skip

_SAVE = flags.DEFINE_list(
    "save", list(DEFAULT_KINDS), f"What to write beside the JSON: {', '.join(ENDINGS)}, or none."
)
_RGB = flags.DEFINE_string(
    "rgb", None,
    "Folder of images (.png, .jpg) of the maps, or the image of a single map: they colour the "
    "clouds, and their straight lines are evidence of focal length and shift.",
)  # fmt: skip
_LINES = flags.DEFINE_bool("lines", True, LINES_HELP)
_EDGE_FILTER = flags.DEFINE_float(
    "edge_filter", 0.0,
    "Leave points out of clouds and meshes where depth jumps by more than this share (0.05) within "
    "3 x 3 pixels; 0 keeps all, and cuts meshes between surfaces.", lower_bound=0.0,
)  # fmt: skip
_NORMALS = flags.DEFINE_bool("normals", False, "Add normals (nx, ny, nz) to PLY.")
_SIMPLIFY = flags.DEFINE_integer(
    "simplify", None, "Triangles that each mesh is simplified to (200000); default: all.",
    lower_bound=1,
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


def producer() -> Producer | None:
    """What the table says of --from; None where it is not given."""
    return None if _FROM.value is None else PRODUCERS[_FROM.value]


def has_space(values: dict[str, str | None]) -> bool:
    """Whether --space is given, or --from has one; for a validator of both."""
    name = values["from"]
    return values["space"] is not None or (name is not None and PRODUCERS[name].space is not None)


NO_SPACE = "give --space, or --from of a producer that has one"


def space() -> str:
    """The value of --space, or the space of --from.

    Raises:
      UserError: the space of --from is not read.
    """
    flag, table = flags.FLAGS["space"], producer()
    if flag.value is not None or table is None or table.space is None:
        return str(flag.value)
    if table.space not in cast(Any, flag.parser).enum_values:
        raise UserError(
            f"--from={_FROM.value}: its maps are affine in {table.space} depth, which is not read; "
            "convert them to depth first"
        )
    return table.space


def of_table(flag: str, field: str) -> Any:
    """The value of a flag; where it is not given, the field of --from in the table.

    The table knows nothing of maps that are in another space than its own.
    """
    table = producer()
    if flags.FLAGS[flag].present or table is None or table.space not in (None, space()):
        return flags.FLAGS[flag].value
    return getattr(table, field)


def known() -> dict[str, Any]:
    """What is known of the maps beside their camera, and what counts: fields of the config."""
    shift = of_table(_SHIFT_KNOWN.name, "shift_known")
    return {
        "shift_known": bool(shift),
        "shift_sigma": 0.0 if isinstance(shift, bool) else shift,
        "ray_depth": of_table(_RAY_DEPTH.name, "ray_depth"),
        "clip": _CLIP.value,
        "affine": of_table(_AFFINE.name, "affine"),
        "lines": _LINES.value,
        "producer": _FROM.value,
    }


def reading() -> ReadSettings:
    """How files are to be read."""
    invalid = tuple(map(_number, _INVALID.value))
    table = producer()
    if table is not None and not flags.FLAGS["invalid"].present:
        invalid = table.invalid
    return ReadSettings(
        _KEY.value,
        _CHANNEL.value,
        of_table("allow_8bit", "allow_8bit"),
        invalid,
        _NEGATE.value,
        () if table is None else table.keys,
    )


def saving() -> SaveSettings:
    """What is to be saved.

    Raises:
      UserError: a flag has nothing to act on, or needs a library that is not installed.
    """
    settings = SaveSettings(
        tuple(_SAVE.value), _EDGE_FILTER.value, path(_RGB.value), _NORMALS.value, _SIMPLIFY.value
    )
    if "rrd" in settings.kinds:
        program.require("rerun", "rerun", wanted_by="--save=rrd")
    if settings.simplify is not None:
        program.require("mesh", "fast_simplification", wanted_by="--simplify")
    return settings


def path(value: str | None) -> Path | None:
    """The path of a flag that may be absent."""
    return None if value is None else Path(value)
