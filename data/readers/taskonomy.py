"""Taskonomy: scanned buildings, seen from points, each in one or several views.

    depth_zbuffer/taskonomy/<building>/point_P_view_V_domain_depth_zbuffer.png
    point_info/taskonomy/<building>/point_P_view_V_domain_point_info.json

This is how Omnidata's tool (`omnitools.download`) unpacks it too.  Also met: without `taskonomy/`,
or with it outermost (`taskonomy/depth_zbuffer/<building>/`), with the building outermost
(`<building>/depth_zbuffer/`), archives unpacked into folders of their names
(`<building>_depth_zbuffer/depth_zbuffer/`), and `..._domain_fixatedpose.json`.

The PNG is 16-bit, 1/512 m, 65535 (or 0) where depth is missing.  The JSON's `field_of_view_rads` is
the full angle of a square image of `resolution` pixels.
"""

import json
import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
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
    square_camera,
    unique_scenes,
)
from data.readers.listing import first_file, folders
from train3d_jax.errors import DataError
from train3d_jax.formats.png import read_png

_UNITS_PER_METRE = 512.0  # see the format above
_MISSING = 65535  # and 0
_IMAGES, _INFOS, _COMPONENT = "depth_zbuffer", "point_info", "taskonomy"
_DEPTH_FILE = re.compile(r"point_(\d+)_view_(\d+)_domain_depth_zbuffer\.png")
# What an archive of a building is called: by Taskonomy, by Omnidata, by Omnidata's tool.
_ARCHIVE_OF = re.compile(
    rf"(.+)_{_IMAGES}|{_IMAGES}-{_COMPONENT}-(.+)|{_IMAGES}__{_COMPONENT}__(.+)"
)
_INFO_SUFFIXES = ("_domain_point_info.json", "_domain_fixatedpose.json")


@dataclass(frozen=True)
class Taskonomy:
    """Reads Taskonomy from the folder that holds `depth_zbuffer/` or the buildings' folders."""

    root: Path
    name: ClassVar[str] = "taskonomy"
    patterns: ClassVar[tuple[str, ...]] = tuple(
        f"{folder}/point_0_view_0_domain_depth_zbuffer.png"
        for folder in (
            "depth_zbuffer/taskonomy/<building>",
            "depth_zbuffer/<building>",
            "taskonomy/depth_zbuffer/<building>",
            "<building>/depth_zbuffer",
            "<building>_depth_zbuffer/depth_zbuffer",
        )
    )
    licence: ClassVar[str] = (
        "Taskonomy Dataset End User License Agreement: non-commercial research and education,"
        " no redistribution (github.com/StanfordVL/taskonomy)"
    )

    def scenes(self, on_broken: Callable[[DataError], None] = refuse) -> list[Scene]:
        """One scene for each building; a frame is a point and a view, `point_0_view_1`."""
        return unique_scenes(
            Scene(building, images, SingleViews(_Frames(images)))
            for building, images in self._buildings()
        )

    def file(self, scene: Scene, frame: Frame) -> Path:
        """The PNG file."""
        return scene.path / f"{frame}_domain_depth_zbuffer.png"

    def read(self, scene: Scene, frame: Frame) -> DepthMap:
        """The depth of one view, with the camera of its JSON."""
        path = self.file(scene, frame)
        folders_of_images = scene.path.relative_to(self.root).as_posix()
        infos = self.root / folders_of_images.replace(_IMAGES, _INFOS)
        info = first_file(
            (infos / f"{frame}{suffix}" for suffix in _INFO_SUFFIXES), ", and with it the camera"
        )
        field_of_view_deg, resolution = _read_info(info)
        units = read_png(path)
        height, width = units.shape
        if resolution not in (None, width):
            raise DataError(path, f"is {width} wide, but {info.name} has resolution {resolution}")
        try:
            intrinsics = square_camera(field_of_view_deg, height, width)
        except ValueError as error:
            raise DataError(path, f"with {info.name}: {error}") from None
        return depth_map_of_units(units, _UNITS_PER_METRE, intrinsics, _MISSING)

    def _buildings(self) -> Iterator[tuple[str, Path]]:
        """Name and image folder of every folder that may be a building, in any layout."""
        for base in (self.root, self.root / _COMPONENT):
            for layout in (base / _IMAGES / _COMPONENT, base / _IMAGES):
                yield from ((folder.name, folder) for folder in folders(layout))
            for folder in folders(base):
                match = _ARCHIVE_OF.fullmatch(folder.name)
                building = folder.name if match is None else match[match.lastindex or 0]
                inner = (_IMAGES, f"{_IMAGES}/{building}", f"{_IMAGES}/{_COMPONENT}/{building}")
                for images in (*inner, *([] if match is None else [""])):
                    if (folder / images).is_dir():
                        yield building, folder / images


class _Frames(Sequence[str]):
    """The frames of a folder by point and view: 8 bytes each, named when asked for."""

    def __init__(self, images: Path):
        matches = map(_DEPTH_FILE.fullmatch, os.listdir(images))
        numbers = sorted((int(match[1]), int(match[2])) for match in matches if match)
        self._numbers = np.array(numbers, np.int32).reshape(-1, 2)

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        point, view = self._numbers[index]
        return f"point_{point}_view_{view}"


def _read_info(info: Path) -> tuple[float, int | None]:
    """The full field of view in degrees, and the resolution in pixels where it is given."""
    try:
        fields = json.loads(info.read_bytes())
        return math.degrees(float(fields["field_of_view_rads"])), fields.get("resolution")
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise DataError(info, f"has no field of view `field_of_view_rads`: {error!r}") from None
