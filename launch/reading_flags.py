"""Flags of what depth files do not tell about themselves, for launch.infer and launch.view."""

import math

from absl import flags

from data.depth_files import ReadSettings

_KEY = flags.DEFINE_string("key", None, "Array to take from .npz files that hold several.")
_CHANNEL = flags.DEFINE_string("channel", None, "Channel to take from .exr files of several.")
_INVALID = flags.DEFINE_list("invalid", [], "Values that mean missing, such as 65535 or -1,10000.")
_ALLOW_8BIT = flags.DEFINE_bool(
    "allow_8bit", False, "Read 8-bit images too: 256 steps bend every surface."
)


@flags.validator("invalid", "give numbers, separated by commas")
def _numbers(values: list[str]) -> bool:
    try:
        return all(math.isfinite(float(value)) for value in values)
    except ValueError:
        return False


def settings() -> ReadSettings:
    """What the flags say."""
    return ReadSettings(
        _KEY.value, _CHANNEL.value, _ALLOW_8BIT.value, tuple(map(float, _INVALID.value))
    )
