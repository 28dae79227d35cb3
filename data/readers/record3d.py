"""Recordings of Record3D: .r3d as its app shares them, or exported as EXR.

    <capture>.r3d                a zip of `metadata`, as below, and of rgbd/<n>.depth: float32,
                                  metres, packed with LZFSE
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
from data.readers.listing import folders, is_data
from data.user_maps.camera_files.reading import read_cameras
from train3d_jax.errors import DataError
from train3d_jax.files import kept_until_rewritten
from train3d_jax.formats.depth import read_depth_file
from train3d_jax.formats.record3d import Recording, read_recording

_METADATA = ("metadata.json", "metadata")
_DEPTHS = "depth"
_PACKED = ".r3d"
_FRAME = re.compile(r"(\d+)\.exr", re.IGNORECASE)


@dataclass(frozen=True)
class Record3D:
    """Reads recordings from a folder of them, or from one exported recording."""

    root: Path
    name: ClassVar[str] = "record3d"
    patterns: ClassVar[tuple[str, ...]] = (
        f"<capture>{_PACKED}",
        f"<capture>/{_DEPTHS}/<n>.exr with {_METADATA[0]}",
    )
    licence: ClassVar[str] = captures.NO_LICENCE

    def scenes(self, on_broken: Callable[[DataError], None] = refuse) -> list[Scene]:
        """One scene for each recording; a frame is its file below the recording."""
        found = captures.find(self.root, _is_exported)
        for folder in (self.root, *folders(self.root)):
            for file in sorted(folder.glob(f"*{_PACKED}")):
                if is_data(file.name):
                    name = file.relative_to(self.root).as_posix()
                    found.append((name.removesuffix(_PACKED), file))
        return unique_scenes(captures.readable(found, _scene, on_broken))

    def file(self, scene: Scene, frame: Frame) -> Path:
        """The EXR, or the .r3d of all frames."""
        return scene.path if _is_packed(scene.path) else scene.path / str(frame)

    def read(self, scene: Scene, frame: Frame) -> DepthMap:
        """The depth of one frame, with the camera of its photo in pixels of the map."""
        file = self.file(scene, frame)
        raw = _recording(file).read_frame(str(frame)) if _is_packed(file) else read_depth_file(file)
        depth = metric_depth(raw, 1.0)
        return DepthMap(depth, captures.camera_of(_metadata(scene.path), str(frame), depth.shape))


def _is_packed(path: Path) -> bool:
    return path.suffix == _PACKED


def _is_exported(folder: Path) -> bool:
    return (folder / _DEPTHS).is_dir() and _metadata(folder) != folder


def _metadata(path: Path) -> Path:
    """The file of metadata of an exported recording; what is given where there is none."""
    return next((path / name for name in _METADATA if (path / name).is_file()), path)


def _scene(name: str, path: Path) -> Scene:
    read_cameras(_metadata(path))
    if _is_packed(path):
        files = list(_recording(path).names)
    else:
        matches = map(_FRAME.fullmatch, os.listdir(path / _DEPTHS))
        numbered = sorted((int(match[1]), match[0]) for match in matches if match)
        files = [f"{_DEPTHS}/{file}" for _, file in numbered]
    if not files:
        raise DataError(path, "holds no depth map")
    return Scene(name, path, SingleViews(files))


@kept_until_rewritten(files=4)
def _recording(path: Path) -> Recording:
    """What a .r3d holds, listed once for all of its frames."""
    return read_recording(path)
