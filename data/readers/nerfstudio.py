"""Captures in the layout of nerfstudio, as `ns-process-data` and many apps write them.

    <capture>/transforms.json    {"fl_x", "fl_y", "cx", "cy", "w", "h", "camera_model", "frames":
                                  [{"depth_file_path": "depth/frame_00001.png", ...}, ...]}
    <capture>/depth/*.png        16-bit, millimetres, 0 is missing; .npy and others likewise

The camera is that of the photos, w x h, which are larger than depth maps of a LiDAR.  A frame may
have numbers of its own.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from data.protocol import (
    DepthMap,
    Frame,
    Scene,
    SingleViews,
    depth_map_of_units,
    metric_depth,
    refuse,
)
from data.readers import captures
from data.user_maps.camera_files.reading import read_cameras
from train3d_jax.errors import DataError
from train3d_jax.formats.depth import read_depth_file
from train3d_jax.formats.png import read_png

_LIST = "transforms.json"
_DEPTH = "depth_file_path"
_UNITS_PER_METRE = 1000.0  # millimetres, nerfstudio's default of depth_unit_scale_factor


@dataclass(frozen=True)
class Nerfstudio:
    """Reads captures from a folder of them, or from one capture."""

    root: Path
    name: ClassVar[str] = "nerfstudio"
    patterns: ClassVar[tuple[str, ...]] = (f"<capture>/{_LIST} whose frames have a {_DEPTH}",)
    licence: ClassVar[str] = captures.NO_LICENCE

    def scenes(self, on_broken: Callable[[DataError], None] = refuse) -> list[Scene]:
        """One scene for each capture; a frame is the `depth_file_path` of one."""
        return captures.scenes_listed_by(self.root, _LIST, self._scene, on_broken)

    def file(self, scene: Scene, frame: Frame) -> Path:
        """The file of depth."""
        return scene.path / str(frame)

    def read(self, scene: Scene, frame: Frame) -> DepthMap:
        """The depth of one frame, with the camera of its photo in pixels of the map."""
        path = self.file(scene, frame)
        if path.suffix.lower() == ".png":
            units = read_png(path)
            camera = captures.camera_of(scene.path / _LIST, str(frame), units.shape)
            return depth_map_of_units(units, _UNITS_PER_METRE, camera)
        depth = metric_depth(read_depth_file(path), _UNITS_PER_METRE)
        return DepthMap(depth, captures.camera_of(scene.path / _LIST, str(frame), depth.shape))

    def _scene(self, name: str, folder: Path) -> Scene:
        read_cameras(folder / _LIST)
        return Scene(name, folder, SingleViews(_depth_files(folder / _LIST)))


def _depth_files(path: Path) -> list[str]:
    """The files of depth that a transforms.json names, each once, in its order."""
    try:
        frames: list[dict[str, Any]] = json.loads(path.read_bytes())["frames"]
        named = dict.fromkeys(frame[_DEPTH] for frame in frames if frame.get(_DEPTH))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise DataError(path, "holds no list of frames") from None
    files = [file for file in named if isinstance(file, str)]
    if not files:
        raise DataError(path, f"names no depth map: none of its frames has a {_DEPTH}")
    return files
