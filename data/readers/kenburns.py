"""3D Ken Burns: rendered stereo quadruples of Unreal scenes.

    <scene>-<mode>/<id>-meta.json                         {"intSample": 1, "fltFov": 90.0}
    <scene>-<mode>-depth/<id>-{tl,tr,bl,br}-depth.exr

as its archives unpack side by side, or as the original Train-3D sorts them:

    rgb/<scene>/<id>-meta.json
    depths/<scene>[-depth]/<id>-{tl,tr,bl,br}-depth.exr

fltFov is the full field of view in degrees of a square image.  The EXR has one half-float channel
`Y` in Unreal units, nominally centimetres.  The sky is 65024 or 65280.  The four views of an id are
near-duplicates: they are one place.
"""

import functools
import json
import os
import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from data.protocol import DepthMap, Frame, Scene, metric_depth, refuse, square_camera, unique_scenes
from data.readers.listing import first_file, folders, is_data
from train3d_jax.errors import DataError
from train3d_jax.formats.exr import read_exr

_UNITS_PER_METRE = 100.0  # Unreal units are centimetres (nominally)
_SKY_UNITS = 60000.0  # and beyond; the nearest halves in use are 65024 and 65280
_VIEWS = ("tl", "tr", "bl", "br")
_DEPTH_FILE = re.compile(r"(.+)-(tl|tr|bl|br)-depth\.exr")
_DEPTH_FOLDER_SUFFIX = "-depth"


@dataclass(frozen=True)
class KenBurns:
    """Reads 3D Ken Burns from the folder of its unpacked archives, or of `rgb/` and `depths/`."""

    root: Path
    name: ClassVar[str] = "kenburns"
    patterns: ClassVar[tuple[str, ...]] = (
        "<scene>-<mode>-depth/<id>-tl-depth.exr",
        "depths/<scene>-depth/<id>-tl-depth.exr",
    )
    licence: ClassVar[str] = "CC BY-NC-SA 4.0 (github.com/sniklaus/3d-ken-burns)"

    def scenes(self, on_broken: Callable[[DataError], None] = refuse) -> list[Scene]:
        """One scene for each folder that holds depth; a frame is an id and a view, `00001-tl`."""
        return unique_scenes(
            Scene(folder.name.removesuffix(_DEPTH_FOLDER_SUFFIX), folder, _places(folder))
            for folder in (*folders(self.root / "depths"), *folders(self.root))
        )

    def file(self, scene: Scene, frame: Frame) -> Path:
        """The EXR file."""
        return scene.path / f"{frame}-depth.exr"

    def read(self, scene: Scene, frame: Frame) -> DepthMap:
        """The depth of one view, with the camera of its id's meta.json."""
        path = self.file(scene, frame)
        identity = str(frame).rpartition("-")[0]
        beside = self.root / ("rgb" if scene.path.parent != self.root else "") / scene.name
        meta = first_file(
            (folder / f"{identity}-meta.json" for folder in (beside, scene.path)),
            ", and with it the camera",
        )
        field_of_view_deg = _field_of_view_deg(meta)
        units = read_exr(path, "Y")
        try:
            intrinsics = square_camera(field_of_view_deg, *units.shape)
        except ValueError as error:
            raise DataError(path, f"with {meta.name}: {error}") from None
        return DepthMap(_metres(units), intrinsics)


def _metres(units: np.ndarray) -> np.ndarray:
    if units.dtype == np.float16:
        # There are 65536 halves: a look-up is three times as fast as numpy's conversion.
        return _metres_of_halves().take(units.view(np.uint16), mode="clip")
    return metric_depth(units.astype(np.float32), _UNITS_PER_METRE, _SKY_UNITS)


@functools.cache
def _metres_of_halves() -> np.ndarray:
    """The depth that each bit pattern of a half stands for, (65536,) float32."""
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    with np.errstate(invalid="ignore"):
        return _metres(halves.astype(np.float32))


def _places(folder: Path) -> tuple[tuple[str, ...], ...]:
    """The ids of a folder in order, each with the views of it that are there."""
    views = defaultdict(set)
    for name in os.listdir(folder):
        if is_data(name) and (match := _DEPTH_FILE.fullmatch(name)):
            views[match[1]].add(match[2])
    return tuple(
        tuple(f"{identity}-{view}" for view in _VIEWS if view in views[identity])
        for identity in sorted(views)
    )


def _field_of_view_deg(meta: Path) -> float:
    try:
        return float(json.loads(meta.read_bytes())["fltFov"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise DataError(meta, f"has no field of view `fltFov`: {error!r}") from None
