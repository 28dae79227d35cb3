"""A scene of ScanNet whose frames were exported.

    <scene>/depth/<frame>.png                  16-bit, millimetres, 0 is missing
    <scene>/intrinsic/intrinsic_depth.txt      4x4, by SensReader, which comes with ScanNet
    <scene>/intrinsics_depth.txt               4x4, in scannet_frames_25k

Frames are called 0, 1, 2 ... by SensReader, and 000000, 000100 ... in scannet_frames_25k.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data.protocol import DepthMap, Frame, depth_map_of_units, refuse_no_camera
from data.readers.listing import first_file
from train3d_jax.errors import DataError
from train3d_jax.formats.png import read_png

_DEPTHS = "depth"
_CAMERAS = ("intrinsic/intrinsic_depth.txt", "intrinsics_depth.txt", "intrinsic_depth.txt")
_FRAME = re.compile(r"(\d+)\.png")
_UNITS_PER_METRE = 1000.0  # millimetres, as above

PATTERNS = tuple(f"{_DEPTHS}/<frame>.png with {camera}" for camera in _CAMERAS[:2])
"""Of what a scene holds, for messages."""


def is_scene(folder: Path) -> bool:
    """Whether a folder may hold exported frames; looks at names only."""
    return (folder / _DEPTHS).is_dir()


def frames(folder: Path) -> Sequence[str]:
    """The names of a scene's frames, in the order of their numbers.

    Raises DataError when there is no camera for them.
    """
    matches = map(_FRAME.fullmatch, os.listdir(folder / _DEPTHS))
    names = sorted((match[1] for match in matches if match), key=lambda name: (int(name), name))
    if names:
        _camera_file(folder)
    return _Names(names)


def file(folder: Path, frame: Frame) -> Path:
    """The PNG of a frame."""
    return folder / _DEPTHS / f"{frame}.png"


def read(folder: Path, frame: Frame) -> DepthMap:
    """The depth of a frame, with the camera of its scene.  Raises DataError."""
    intrinsics = _read_camera(_camera_file(folder))
    return depth_map_of_units(read_png(file(folder, frame)), _UNITS_PER_METRE, intrinsics)


class _Names(Sequence[str]):
    """Short names, a few bytes each: there are millions of frames in all scenes."""

    def __init__(self, names: list[str]):
        self._names: np.ndarray = np.array(names, np.bytes_)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [name.decode() for name in self._names[index]]
        return bytes(self._names[index]).decode()


def _camera_file(folder: Path) -> Path:
    return first_file((folder / name for name in _CAMERAS), ", and with it the camera")


def _read_camera(path: Path) -> np.ndarray:
    """(3, 3) float64, pixels.  Raises DataError."""
    try:
        matrix = np.array(path.read_text().split(), np.float64)
        intrinsics = matrix.reshape(4, 4)[:3, :3].copy()
    except ValueError as error:  # a UnicodeDecodeError is one
        raise DataError(path, f"is not a 4x4 matrix: {error}") from None
    refuse_no_camera(path, intrinsics)
    return intrinsics
