"""Captures in the layout of the TUM RGB-D benchmark, which many tools write.

    <capture>/depth.txt          lines of `timestamp depth/<timestamp>.png`; # begins a comment
    <capture>/depth/*.png        16-bit, 1/5000 m, 0 is missing
    <capture>/calibration.txt    fx fy cx cy, as in ETH3D's SLAM benchmark; may be absent

The benchmark's depth is registered to its colour cameras, which are published by the number in the
name of a sequence, as in rgbd_dataset_freiburg1_xyz.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from data.protocol import (
    DepthMap,
    Frame,
    Scene,
    SingleViews,
    depth_map_of_units,
    refuse,
    refuse_no_camera,
)
from data.readers import captures
from data.readers.listing import is_data
from train3d_jax.errors import DataError
from train3d_jax.formats.png import read_png
from train3d_jax.geometry.camera import intrinsics_matrix

_LIST, _CALIBRATION = "depth.txt", "calibration.txt"
_UNITS_PER_METRE = 5000.0  # see the format above
_SEQUENCE = re.compile(r"freiburg([123])")

_PUBLISHED = {
    "1": (517.3, 516.5, 318.6, 255.3),
    "2": (520.9, 521.0, 325.1, 249.7),
    "3": (535.4, 539.2, 320.1, 247.6),
}
"""fx, fy, cx, cy of the colour cameras (cvg.cit.tum.de/data/datasets/rgbd-dataset/file_formats)."""

_PUBLISHED_SIZE = (480, 640)  # height and width of all images of the benchmark


@dataclass(frozen=True)
class Tum:
    """Reads captures from a folder of them, or from one capture.

    camera: fx, fy, cx, cy of all captures, in pixels; None: each has a calibration.txt, or is one
    of the benchmark's.
    """

    root: Path
    camera: tuple[float, float, float, float] | None = None
    name: ClassVar[str] = "tum"
    patterns: ClassVar[tuple[str, ...]] = ("<capture>/depth.txt with <capture>/depth/*.png",)
    licence: ClassVar[str] = (
        "of the TUM RGB-D benchmark CC BY 4.0 (cvg.cit.tum.de/data/datasets/rgbd-dataset);"
        f" of others {captures.NO_LICENCE}"
    )

    def scenes(self, on_broken: Callable[[DataError], None] = refuse) -> list[Scene]:
        """One scene for each capture; a frame is a path in its depth.txt."""
        return captures.scenes_listed_by(self.root, _LIST, self._scene, on_broken)

    def file(self, scene: Scene, frame: Frame) -> Path:
        """The PNG file."""
        return scene.path / str(frame)

    def read(self, scene: Scene, frame: Frame) -> DepthMap:
        """The depth of one frame, with the camera of its capture."""
        path = self.file(scene, frame)
        numbers, size = self._camera(scene.path)
        units = read_png(path)
        if size not in (None, units.shape):
            raise DataError(
                path,
                f"has {units.shape[1]}x{units.shape[0]} pixels, the published camera"
                f" {size[1]}x{size[0]}; {_WAY_OUT}",
            )
        return depth_map_of_units(units, _UNITS_PER_METRE, intrinsics_matrix(*numbers))

    def _scene(self, name: str, folder: Path) -> Scene:
        frames = _listed(folder / _LIST)
        self._camera(folder)
        return Scene(name, folder, SingleViews(frames))

    def _camera(self, folder: Path) -> tuple[tuple[float, ...], tuple[int, int] | None]:
        """fx, fy, cx, cy of a capture, and the size of its images where the numbers imply it."""
        if self.camera is not None:
            return self.camera, None
        if (folder / _CALIBRATION).is_file():
            return _calibration(folder / _CALIBRATION), None
        if match := _SEQUENCE.search(folder.resolve().name):
            return _PUBLISHED[match[1]], _PUBLISHED_SIZE
        raise DataError(folder / _LIST, f"comes without a camera; {_WAY_OUT}")


_WAY_OUT = (
    f"give --tum_camera fx,fy,cx,cy in pixels of the depth maps, or write these numbers to a"
    f" {_CALIBRATION} beside it"
)


def _listed(path: Path) -> list[str]:
    """The files that a depth.txt names, in its order."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise DataError(path, "is no text") from None
    files = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        parts = line.split(maxsplit=1)
        if len(parts) < 2:
            raise DataError(path, f"line {number} is not a time and a file: {line[:40]!r}")
        if is_data(Path(parts[1]).name):
            files.append(parts[1].strip())
    if not files:
        raise DataError(path, "names no depth map")
    return files


def _calibration(path: Path) -> tuple[float, ...]:
    try:
        fx, fy, cx, cy = (float(word) for word in path.read_text().split())
    except ValueError:  # a UnicodeDecodeError is one
        raise DataError(path, "does not hold four numbers, fx fy cx cy") from None
    refuse_no_camera(path, np.asarray(intrinsics_matrix(fx, fy, cx, cy)))
    return fx, fy, cx, cy
