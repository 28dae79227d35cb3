"""Recordings of Record3D, as its app exports them.

    <capture>/metadata.json      (or `metadata`) {"w", "h", "K": by columns,
                                  "perFrameIntrinsicCoeffs": [[fx, fy, cx, cy], ...], ...}
    <capture>/depth/<n>.exr      float32, metres; 0 or not finite is missing

The camera is that of the photos, w x h, which are larger than the depth maps.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from data.protocol import (
    DepthMap,
    Frame,
    Scene,
    SingleViews,
    metric_depth,
    refuse,
    unique_scenes,
)
from data.readers import captures
from data.user_maps.camera_files.reading import read_cameras
from train3d_jax.errors import DataError
from train3d_jax.formats.depth import read_depth_file

_METADATA = ("metadata.json", "metadata")
_DEPTHS = "depth"
_FRAME = re.compile(r"(\d+)\.exr", re.IGNORECASE)


@dataclass(frozen=True)
class Record3D:
    """Reads recordings from a folder of them, or from one exported recording."""

    root: Path
    name: ClassVar[str] = "record3d"
    patterns: ClassVar[tuple[str, ...]] = (f"<capture>/{_DEPTHS}/<n>.exr with {_METADATA[0]}",)
    licence: ClassVar[str] = captures.NO_LICENCE

    def scenes(self, on_broken: Callable[[DataError], None] = refuse) -> list[Scene]:
        """One scene for each recording; a frame is its file below the recording."""
        found = captures.find(self.root, _is_exported)
        return unique_scenes(captures.readable(found, _scene, on_broken))

    def file(self, scene: Scene, frame: Frame) -> Path:
        """The EXR."""
        return scene.path / str(frame)

    def read(self, scene: Scene, frame: Frame) -> DepthMap:
        """The depth of one frame, with the camera of its photo in pixels of the map."""
        depth = metric_depth(read_depth_file(self.file(scene, frame)), 1.0)
        return DepthMap(depth, captures.camera_of(_metadata(scene.path), str(frame), depth.shape))


def _is_exported(folder: Path) -> bool:
    return (folder / _DEPTHS).is_dir() and _metadata(folder).is_file()


def _metadata(folder: Path) -> Path:
    return next((folder / name for name in _METADATA if (folder / name).is_file()), folder)


def _scene(name: str, folder: Path) -> Scene:
    read_cameras(_metadata(folder))
    matches = map(_FRAME.fullmatch, os.listdir(folder / _DEPTHS))
    files = sorted((int(match[1]), match[0]) for match in matches if match)
    if not files:
        raise DataError(folder / _DEPTHS, "holds no <n>.exr")
    return Scene(name, folder, SingleViews([f"{_DEPTHS}/{file}" for _, file in files]))
