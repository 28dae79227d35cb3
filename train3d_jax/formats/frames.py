"""Stacks of depth maps in one file: the frames of a clip, one after another."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from train3d_jax.errors import DataError
from train3d_jax.formats.arrays import StoredArray, checked_stack
from train3d_jax.formats.depth import (
    ReadSettings,
    as_map,
    read_depth_file,
    stored_array,
    suffix_of,
)
from train3d_jax.formats.tiff import tiff_frames, tiff_stack


@dataclass(frozen=True)
class Frames:
    """The maps of a file; iterating gives each in turn, float32 (H, W), as often as is wanted.

    Memory does not grow with the number of frames.  Iterating raises DataError where the file is
    damaged.

    Attributes:
      path: the file.
      count: of the frames, at least 1.
      size: height and width, which all frames share.
    """

    path: Path
    count: int
    size: tuple[int, int]
    _read: Callable[[], Iterator[np.ndarray]]

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[np.ndarray]:
        found = 0
        try:
            for values in self._read():
                found += 1
                if values.shape != self.size or found > self.count:
                    raise DataError(self.path, "was changed while it was read")
                yield values
        except OSError as error:
            raise DataError(self.path, f"cannot be read: {error.strerror or error}") from None
        if found < self.count:
            raise DataError(self.path, "was changed while it was read")


def read_frames(path: Path, settings: ReadSettings = ReadSettings()) -> Frames:  # noqa: B008
    """The frames of a file; a file of a single map has one.

    Arrays of (T, H, W), (T, H, W, 1) or (T, 1, H, W) in .npy, .npy.gz, .npz and .h5, of (H, W, T)
    in .mat, pages of a TIFF, and the maps of a .r3d.

    Raises:
      DataError: the file is damaged, holds no frames, or frames that differ in size.
    """
    try:
        stored = stored_array(path, settings)
        if stored is not None:
            shape = checked_stack(path, stored.shape)
            return Frames(path, shape[0], shape[1:], _of_array(stored, shape, settings))
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror or error}") from None
    if suffix_of(path.name).lower() in (".tif", ".tiff"):
        count, *size = tiff_stack(path)
        return Frames(path, count, (size[0], size[1]), _of_pages(path, settings))
    height, width = read_depth_file(path, settings).shape
    return Frames(path, 1, (height, width), lambda: iter([read_depth_file(path, settings)]))


def frame_count(path: Path, settings: ReadSettings = ReadSettings()) -> int:  # noqa: B008
    """How many frames a file holds, from its head; 1 for kinds that hold one map, unread.

    Raises:
      DataError: as `read_frames`.
    """
    kind = suffix_of(path.name).lower()
    if kind in (".tif", ".tiff"):
        return tiff_stack(path)[0]
    try:
        stored = stored_array(path, settings)
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror or error}") from None
    return 1 if stored is None else checked_stack(path, stored.shape)[0]


def _of_array(
    stored: StoredArray, shape: tuple[int, int, int], settings: ReadSettings
) -> Callable[[], Iterator[np.ndarray]]:
    def read() -> Iterator[np.ndarray]:
        frames = [stored.whole().reshape(shape[1:])] if shape[0] == 1 else stored.frames(shape)
        for values in frames:
            yield as_map(values, settings)

    return read


def _of_pages(path: Path, settings: ReadSettings) -> Callable[[], Iterator[np.ndarray]]:
    def read() -> Iterator[np.ndarray]:
        for values in tiff_frames(path, settings.allow_8bit):
            yield as_map(values, settings)

    return read
