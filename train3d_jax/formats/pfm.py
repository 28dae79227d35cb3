"""PFM (portable float map) files."""

import re
from pathlib import Path

import numpy as np

from train3d_jax.errors import DataError
from train3d_jax.formats.pixels import check_size, one_map

_LONGEST_HEAD = 4096
"""Bytes; a head has 20 to 40, and comments can follow each part."""

# Between the parts of a head: white space, and comments to the end of their line.
_GAP = rb"(?:\s|#[^\r\n]*[\r\n])+"
_HEAD = re.compile(
    rb"(P[fF])" + _GAP + rb"(\d{1,9})" + _GAP + rb"(\d{1,9})" + _GAP + rb"([-+.\deE]{1,32})"
)
# What may lie between the scale and the values: one character, or the end of a line and comments.
_END = re.compile(rb"\s|[ \t]*(?:#[^\r\n]*)?(?:\r\n|\r|\n)(?:#[^\r\n]*(?:\r\n|\r|\n))*")


def read_pfm(path: Path) -> np.ndarray:
    """A grey PFM, or one in colour whose channels agree, (H, W) float32.

    "Pf" (grey) or "PF" (red, green, blue), width, height and a scale in text, then float32, the
    lowest row first; a negative scale means little-endian.  The size of the scale is left alone, as
    most programs do.  The values are the last bytes of the file, as many as width and height say;
    before them may be one character of white space, CR LF, or comments.

    Raises:
      DataError: the file is missing, damaged or too large, its length does not fit its head, or
        its channels differ.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_LONGEST_HEAD)
            found = _HEAD.match(head)
            if found is None:
                raise DataError(path, "is not a readable PFM: its head is truncated or damaged")
            channels = 3 if found[1] == b"PF" else 1
            width, height = int(found[2]), int(found[3])
            check_size(path, width, height)
            size = 4 * channels * width * height
            follow = file.seek(0, 2) - found.end()
            _check_end(path, head, found.end(), follow, size)
            file.seek(-size, 2)
            body = file.read(size)
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror}") from None
    order = "<" if _scale(path, found[4]) < 0 else ">"
    values = np.frombuffer(body, f"{order}f4").reshape(height, width, channels)[::-1]
    return one_map(path, [values[..., channel] for channel in range(channels)])


def _check_end(path: Path, head: bytes, end: int, follow: int, size: int) -> None:
    """Checks that what follows the scale, at `end`, is the end of the head and `size` bytes."""
    between = head[end : end + follow - size] if follow > size else b""
    # A lone CR where the other lines end in CR LF: its LF is taken for a value, and a byte is lost.
    if not between or (between == b"\r" and b"\r\n" in head[:end]):
        raise DataError(path, "is not a readable PFM: it ends too early")
    if len(between) < follow - size or not _END.fullmatch(between):
        raise DataError(
            path,
            f"is not a readable PFM: its pixels take {size} bytes, and {follow} follow its scale",
        )


def _scale(path: Path, text: bytes) -> float:
    try:
        scale = float(text)
    except ValueError:
        raise DataError(path, "is not a readable PFM: its scale is not a number") from None
    if scale == 0:
        raise DataError(path, "is not a readable PFM: its scale is 0, which has no byte order")
    return scale
