"""Flags of what depth files do not tell about themselves, for launch.infer and launch.view."""

from absl import flags

from train3d_jax.formats.depth import ReadSettings

_KEY = flags.DEFINE_string("key", None, "Array to take from .npz files that hold several.")
_CHANNEL = flags.DEFINE_string(
    "channel", None, "Channel to take from .exr files, where no one is Z or depth."
)
_INVALID = flags.DEFINE_list("invalid", [], "Values that mean missing, such as 65535 or -1,10000.")
_ALLOW_8BIT = flags.DEFINE_bool(
    "allow_8bit", False, "Read 8-bit images too: 256 steps bend every surface."
)
_NEGATE = flags.DEFINE_bool(
    "negate", False,
    "Multiply all values by -1, but those of --invalid: near and far are swapped in the files, as "
    "in 1 - depth or OpenGL's z.",
)  # fmt: skip


@flags.validator("invalid", "give numbers, separated by commas")
def _are_numbers(values: list[str]) -> bool:
    try:
        return all(_number(value) is not None for value in values)
    except ValueError:
        return False


def _number(text: str) -> float:
    """A float, or an integer of 64 bits that no float holds; ValueError where it is no number."""
    value = float(text)
    try:
        exact = int(text)
    except ValueError:
        return value
    return value if value == exact else exact


def settings() -> ReadSettings:
    """What the flags say."""
    invalid = tuple(map(_number, _INVALID.value))
    return ReadSettings(_KEY.value, _CHANNEL.value, _ALLOW_8BIT.value, invalid, _NEGATE.value)
