"""Depth maps of COLMAP's dense reconstruction: `*.geometric.bin` and `*.photometric.bin`."""

import re
from pathlib import Path

import numpy as np

from train3d_jax.errors import DataError
from train3d_jax.formats.pixels import check_size

_HEAD = re.compile(rb"(\d{1,9})&(\d{1,9})&(\d{1,9})&")
_LONGEST_HEAD = 64
"""Bytes; three numbers of nine digits have room."""


def read_colmap(path: Path) -> np.ndarray:
    """A depth map, (H, W) float32: `width&height&channels&` in text, then rows of float32.

    Raises:
      DataError: the file is damaged or too large, or holds normals.
      OSError: it cannot be read.
    """
    with path.open("rb") as file:
        head = _HEAD.match(file.read(_LONGEST_HEAD))
        if head is None:
            raise DataError(path, "is not a readable map of COLMAP: its head is damaged")
        width, height, channels = map(int, head.groups())
        check_size(path, width, height)
        if channels != 1:
            raise DataError(path, f"holds {channels} channels: normals are no depth")
        size, follow = 4 * width * height, file.seek(0, 2) - head.end()
        if size != follow:
            raise DataError(
                path,
                f"is not a readable map of COLMAP: its pixels take {size} bytes, and {follow} "
                "follow its head",
            )
        file.seek(head.end())
        return np.frombuffer(file.read(size), "<f4").reshape(height, width)
