"""Clips: the frames of a file that holds several, or the maps of a folder as one film."""

import re
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data.user_maps.depth_files import DepthFile
from train3d_jax.errors import DataError
from train3d_jax.formats.depth import ReadSettings, read_depth_file
from train3d_jax.formats.frames import frame_count, read_frames

FOLDER = "clip"
"""Name of the clip that the maps of a folder make."""

_MOST_OPEN = 4
"""Files whose frames are read at the same time; chosen."""

_MOST_KEPT = 64
"""Frames of a file that were read before they were asked for; threads ask for few ahead."""


def with_frames(
    files: Sequence[DepthFile], settings: ReadSettings
) -> tuple[list[DepthFile], dict[str, str]]:
    """Each file that holds a clip as its frames.

    Args:
      files: depth maps.
      settings: how files are to be read.

    Returns:
      All maps in their order, the frames of `film.npz` with the names `film/000000` and so on; and
      the clip of each frame, by the frame's name.  A file that cannot be read is left as it is,
      for its error to be reported in its place.
    """
    maps: list[DepthFile] = []
    clips: dict[str, str] = {}
    for file in files:
        try:
            count = frame_count(file.path, settings)
        except DataError:
            count = 1
        if count == 1:
            maps.append(file)
            continue
        frames = [
            file._replace(name=f"{file.name}/{number:06d}", frame=number) for number in range(count)
        ]
        maps += frames
        clips.update((frame.name, file.name) for frame in frames)
    return maps, clips


def frames_by_clip(
    files: Sequence[DepthFile], clips: Mapping[str, str]
) -> dict[str, list[DepthFile]]:
    """The frames of each clip, in their order.

    Args:
      files: maps.
      clips: the clip of each that is a frame, by its name.
    """
    frames: dict[str, list[DepthFile]] = {}
    for file in files:
        if file.name in clips:
            frames.setdefault(clips[file.name], []).append(file)
    return frames


def in_order_of_numbers(files: Sequence[DepthFile]) -> list[DepthFile]:
    """Maps in the order of the numbers in their paths: `9.png` before `10.png`."""

    def parts(file: DepthFile) -> list[tuple[int, str]]:
        found = re.split(r"(\d+)", file.relative)
        return [(int(part), "") if part.isdigit() else (-1, part) for part in found]

    return sorted(files, key=lambda file: (parts(file), file.frame or 0))


def read_map(file: DepthFile, settings: ReadSettings) -> np.ndarray:
    """The values of a map or of a frame, float32 (H, W), as `formats.depth.read_depth_file`.

    Frames are read one after another; asking for them in about their order is quick.

    Raises:
      DataError: the file cannot be read.
    """
    if file.frame is None:
        return read_depth_file(file.path, settings)
    with _LOCK:
        key = (file.path, settings)
        film = _OPEN.pop(key, None) or _Film(file.path, settings)
        _OPEN[key] = film
        while len(_OPEN) > _MOST_OPEN:
            _OPEN.popitem(last=False)
    return film.frame(file.frame)


@dataclass
class _Film:
    """A file that is being read frame by frame, by any number of threads."""

    path: Path
    settings: ReadSettings
    lock: threading.Lock = field(default_factory=threading.Lock)
    kept: OrderedDict[int, np.ndarray] = field(default_factory=OrderedDict)
    frames: Iterator[np.ndarray] = field(default_factory=lambda: iter(()))
    next: int = -1
    broken: DataError | None = None

    def frame(self, number: int) -> np.ndarray:
        with self.lock:
            if number in self.kept:
                return self.kept.pop(number)
            if not 0 <= self.next <= number:  # not begun, or past it
                self.frames, self.next = iter(read_frames(self.path, self.settings)), 0
                self.broken = None
                self.kept.clear()
            try:
                for values in self.frames:
                    self.next += 1
                    if self.next == number + 1:
                        return values
                    self.kept[self.next - 1] = values
                    if len(self.kept) > _MOST_KEPT:
                        self.kept.popitem(last=False)
            except DataError as error:
                self.broken = error  # of all frames from here on
        if self.broken is not None:
            raise DataError(self.path, *self.broken.args[1:])
        raise DataError(self.path, f"has no frame {number} any more")


_LOCK = threading.Lock()
_OPEN: OrderedDict[tuple[Path, ReadSettings], _Film] = OrderedDict()
