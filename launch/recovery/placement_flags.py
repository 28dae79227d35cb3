"""Flags that say where clouds are to lie: upright, and in metres."""

import math
from collections.abc import Callable
from typing import Any

from absl import flags

from launch.recovery.config import NamedFact, PlacementSettings
from train3d_jax.errors import UserError
from train3d_jax.placement.facts import CameraHeight, Fact, KnownDepth, KnownLength

_UPRIGHT = flags.DEFINE_bool(
    "upright", False,
    "Turn clouds, meshes and cameras upright, with the origin on the floor below the camera; those "
    "whose gravity is uncertain stay as they are, flagged.",
)  # fmt: skip
_UP = flags.DEFINE_enum(
    "up", "z", ["z", "y"], "The axis that points up with --upright; GLB is y up in any case."
)
_KNOWN_LENGTH = flags.DEFINE_multi_string(
    "known_length", [],
    '"u1,v1,u2,v2,1.98": metres between the points that two pixels of the map show; several maps: '
    '"NAME:u1,v1,u2,v2,1.98".  Depth then comes out in metres.',
)  # fmt: skip
_KNOWN_DEPTH = flags.DEFINE_multi_string(
    "known_depth", [],
    '"u,v,2.4": metres along the optical axis to what a pixel shows; several maps: "NAME:u,v,2.4".',
)  # fmt: skip
_CAMERA_HEIGHT = flags.DEFINE_float(
    "camera_height", None,
    "Metres of the camera above the floor, the lowest level surface that each map sees.",
)  # fmt: skip


def placement() -> PlacementSettings:
    """What the flags say.

    Raises:
      UserError: a fact cannot be one.
    """
    facts = [_named(_KNOWN_LENGTH.name, 5, text, _length) for text in _KNOWN_LENGTH.value]
    facts += [_named(_KNOWN_DEPTH.name, 3, text, _depth) for text in _KNOWN_DEPTH.value]
    height = _CAMERA_HEIGHT.value
    if height is not None:
        if not (height > 0 and math.isfinite(height)):
            raise UserError(f"--camera_height={height:g}: give metres over 0, such as 1.6")
        facts.append(NamedFact(CameraHeight(height)))
    if flags.FLAGS["up"].present and not _UPRIGHT.value:
        raise UserError(f"--up={_UP.value} needs --upright")
    up: Any = _UP.value  # the flag's type is str
    return PlacementSettings(_UPRIGHT.value, up, tuple(facts))


_EXAMPLES = {5: "120,80,130,300,1.98", 3: "320,240,2.4"}


def _named(flag: str, count: int, text: str, make: Callable[..., Fact]) -> NamedFact:
    """A fact of `count` numbers, the last of them metres, behind the name of a map or none."""
    name, _, numbers = text.rpartition(":")
    try:
        values = [float(value) for value in numbers.split(",")]
    except ValueError:
        values = []
    if len(values) != count or not all(map(math.isfinite, values)) or values[-1] <= 0:
        raise UserError(
            f'--{flag}="{text}": give {count} numbers, the last one metres over 0, such as '
            f'"{_EXAMPLES[count]}"; before them the name of the map and a colon where there are '
            "several"
        )
    fact = make(*values)
    if isinstance(fact, KnownLength) and fact.first == fact.second:
        raise UserError(
            f'--{flag}="{text}": both ends are one pixel; give the two ends of the length'
        )
    return NamedFact(fact, name or None)


def _length(u1: float, v1: float, u2: float, v2: float, metres: float) -> KnownLength:
    return KnownLength((u1, v1), (u2, v2), metres)


def _depth(u: float, v: float, metres: float) -> KnownDepth:
    return KnownDepth((u, v), metres)
