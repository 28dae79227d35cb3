"""Arrays in files: what their heads say, before their values are read; and the frames of stacks."""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from train3d_jax.errors import Argument, DataError
from train3d_jax.formats.pixels import check_size

MOST_FRAMES = 1 << 20
"""A file with more frames (ten hours of a film) is refused: its head is damaged or meant to do
harm."""

_MOST_CHANNELS = 4
"""Colour and alpha; an array with a longer last axis holds maps."""

_MOST_NAMES = 8
"""Names that a message lists; files can hold thousands."""


class StoredArray(NamedTuple):
    """An array of numbers in a file, not read yet.

    Attributes:
      shape: frames first.
      whole: reads it, in the type that it is stored in; memory as `shape` says.
      frames: given (T, H, W), which is `shape` without some axes of length 1, reads one frame
        (H, W) after the other; memory does not grow with T.

    Both raise DataError on what is damaged, and OSError.
    """

    shape: tuple[int, ...]
    whole: Callable[[], np.ndarray]
    frames: Callable[[tuple[int, int, int]], Iterator[np.ndarray]]


def checked_map(path: Path, shape: tuple[int, ...]) -> None:
    """Raises DataError where an array of this shape is not one map that may be read."""
    if math.prod(shape) == 0 or len(without_ones(shape, 2)) != 2:
        raise DataError(path, _not_one_map(shape))
    check_size(path, *without_ones(shape, 2)[::-1])


def checked_stack(path: Path, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Frames, height and width of an array of (T, H, W), (T, H, W, 1), (T, 1, H, W) or (H, W).

    (H, W, 1) is one map, as it is where one map is read.

    Raises:
      DataError: it has another shape, no frames, or more or larger ones than are read.
    """
    if len(shape) in (3, 4) and 0 in shape:
        raise DataError(path, f"holds an array of shape {shape}: an empty clip")
    single = without_ones(shape, 2)
    shortened = (1, *single) if len(single) == 2 else without_ones(shape, 3)
    if len(shortened) != 3 or 0 in shortened or _is_colour(shortened):
        raise DataError(path, _not_one_map(shape))
    count, height, width = shortened
    check_size(path, width, height)
    if count > MOST_FRAMES:
        raise DataError(path, f"says that it holds {count} frames; {MOST_FRAMES} are read at most")
    return count, height, width


def without_ones(shape: Sequence[int], axes: int) -> tuple[int, ...]:
    """A shape without its first axes of length 1, as many as leave `axes` of them."""
    kept, extra = [], len(shape) - axes
    for length in shape:
        if length == 1 and extra > 0:
            extra -= 1
        else:
            kept.append(length)
    return tuple(kept)


def chosen_name(path: Path, names: Sequence[str], key: str | None, usual: Sequence[str]) -> str:
    """The array to take from a file that may hold several.

    Args:
      path: the file, for messages.
      names: of its arrays.
      key: the one that the user names.
      usual: without a key, the first of these that is there.

    Raises:
      DataError: the key is not there, or it is not clear which array holds depth.
    """
    listed = ", ".join(name[:40] for name in names[:_MOST_NAMES]) or "nothing"
    if key is None:
        key = next((name for name in usual if name in names), None)
    if key is None and len(names) != 1:
        kind = path.suffix.lower()
        raise DataError(
            path,
            f"holds {listed}; a depth map's {kind} holds one array: name it (",
            Argument("key"),
            ")",
        )
    key = names[0] if key is None else key
    if key not in names:
        raise DataError(path, f"holds no {key}, only {listed}")
    return key


def _is_colour(shape: tuple[int, ...]) -> bool:
    return shape[2] <= _MOST_CHANNELS < shape[0]


def _not_one_map(shape: tuple[int, ...]) -> str:
    reason = f"holds an array of shape {shape}, not one (H, W) map"
    shape = without_ones(shape, 3)
    if len(shape) == 3 and shape[0] == 0:
        return f"{reason}: an empty clip"
    if len(shape) != 3 or 0 in shape:
        return reason
    if _is_colour(shape):
        return f"{reason}: {shape[2]} channels; save the one that holds depth"
    maps = f"{shape[0]} maps of {shape[1]} x {shape[2]}"
    return (
        f"{reason}: {maps} (a clip?), which launch.infer takes as they are; elsewhere save each "
        "frame as a file of its own"
    )
