"""Flags that say what is known of the camera; of launch.infer and launch.view."""

import math
import re
from typing import Any, NamedTuple

from absl import flags

from data.user_maps.known_cameras import KnownCamera
from launch.recovery.shared_flags import path

_PLUS_MINUS = re.compile(r"\s*(?:\+/?-|±)\s*")


class Measure(NamedTuple):
    """A number, and how far it may be off.

    Attributes:
      value: as given.
      plus_minus: its standard deviation; 0 for exact.
    """

    value: float
    plus_minus: float = 0.0

    def __str__(self) -> str:
        return f"{self.value:g}" + (f"+-{self.plus_minus:g}" if self.plus_minus else "")


class _MeasureParser(flags.ArgumentParser):
    """`60` is exact, `60+-5` (or with ±) has a standard deviation of 5."""

    syntactic_help = "a number, or 60+-5 for one that is not exact"

    def parse(self, argument: Any) -> Measure:
        if isinstance(argument, Measure):
            return argument
        try:
            measure = Measure(*map(float, _PLUS_MINUS.split(str(argument))))
        except (TypeError, ValueError):
            raise ValueError(f"give {self.syntactic_help}") from None
        if not all(map(math.isfinite, measure)) or measure.plus_minus < 0:
            raise ValueError(f"give {self.syntactic_help}")
        return measure

    def flag_type(self) -> str:
        return "number"


def _define(name: str, text: str) -> flags.FlagHolder[Any]:
    return flags.DEFINE(_MeasureParser(), name, None, text, serializer=flags.ArgumentSerializer())


_CAMERA = flags.DEFINE_enum(
    "camera", "auto", ["auto", "map"],
    "auto: files beside the maps (fov.json, transforms.json, COLMAP's, ...) and EXIF of --rgb give "
    "the focal length where they are there; map: the map alone, and the flags below.",
)  # fmt: skip
_FOCAL_PX = _define(
    "focal_px", "Known focal length in pixels; 500+-20 where it may be off by that (one sigma)."
)
_FOV_DEG = _define(
    "fov_deg",
    "Known horizontal field of view in degrees; 60+-5 where it may be off by that (one sigma).",
)
_INTRINSICS = flags.DEFINE_string(
    "intrinsics", None,
    "Known intrinsics: a file for all maps (a 3x3 .npy, .txt or .csv, a .json, COLMAP's "
    "cameras.txt, Record3D's metadata, ...), or a folder with one for each.",
)  # fmt: skip


@flags.multi_flags_validator(
    ["focal_px", "fov_deg", "intrinsics"],
    "give one of --focal_px (over 0), --fov_deg (1 to 179) and --intrinsics, or none",
)
def _one_known_camera(values: dict[str, Any]) -> bool:
    focal, fov = values["focal_px"], values["fov_deg"]
    return (
        sum(value is not None for value in values.values()) <= 1
        and (focal is None or focal.value > 0)
        and (fov is None or 1 <= fov.value <= 179)
    )


def known_camera() -> KnownCamera:
    """What the flags say.

    Raises:
      UserError: the file of --intrinsics is not there, or is broken.
    """
    focal, fov = _FOCAL_PX.value, _FOV_DEG.value
    return KnownCamera(
        None if focal is None else focal.value,
        None if fov is None else fov.value,
        path(_INTRINSICS.value),
        (focal or fov or Measure(0)).plus_minus,
        _CAMERA.value == "auto",
    )
