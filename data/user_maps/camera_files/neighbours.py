"""Which files beside a depth map may hold its camera.

From near to far: the map's own file, files of its name, files of its folder, and of the folders
above.  A file of the map's name may hold anything else, and is then passed over without a word.
"""

import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from data.user_maps.camera_files.camera import bare_name
from data.user_maps.camera_files.reading import COLMAP_NAMES
from data.user_maps.depth_files import DepthFile

_WITH_CAMERAS = (".npz", ".r3d")
"""Endings of depth files that may hold a camera too."""

OF_THE_NAME = (".json", ".npy", ".txt", ".csv")
"""Endings of files that have a map's name."""

_MOST_BYTES = 1 << 20
"""Of a file of the map's name; chosen: a larger one holds pixels or annotations."""

_OF_ONE_PICTURE = ("fov.json",)
_OF_A_SCENE = (
    "transforms.json",
    *(f"{folder}{name}" for folder in ("", "sparse/0/", "sparse/") for name in COLMAP_NAMES),
)
_OF_A_CAPTURE = (
    "camera_matrix.csv", "metadata", "metadata.json", "intrinsic/intrinsic_depth.txt",
    "intrinsic_depth.txt",
    *(f"{stem}{end}" for stem in ("intrinsics", "intrinsic", "camera") for end in OF_THE_NAME),
    "camera_intrinsic.json", "cam_K.txt",
)  # fmt: skip

_LEVELS = (
    (*_OF_ONE_PICTURE, *_OF_A_SCENE, *_OF_A_CAPTURE),
    (*_OF_A_SCENE, *_OF_A_CAPTURE),
    _OF_A_SCENE,  # COLMAP's stereo/depth_maps
)
"""Names in the map's folder, in the one above, and in the one above that."""

_MAY_BE_ANYTHING = ("metadata", "metadata.json", "camera.txt", "camera.csv", "camera.json")

_FOLDERS = 1024
"""Folders whose names are kept in memory; chosen."""


class Neighbour(NamedTuple):
    """A file that may hold the camera of a map.

    Attributes:
      path: of the file.
      place: where it lies, for people; the same for all maps of a run.
      may_be_anything: it is none of a camera by its name.
    """

    path: Path
    place: str
    may_be_anything: bool


def neighbours(file: DepthFile) -> Iterator[Neighbour]:
    """The files that are there, from near to far."""
    path = file.path
    if path.suffix.lower() in _WITH_CAMERAS:
        yield Neighbour(path, "the depth files", True)
    bare = path.with_name(bare_name(path.name))
    for stem in dict.fromkeys((path.with_suffix(""), bare)):
        for suffix in OF_THE_NAME:
            beside = stem.with_name(stem.name + suffix)
            if beside != path and _is_small(beside):
                yield Neighbour(beside, f"the {suffix} of the maps' names", True)
    folder = path.parent.resolve()
    for level, names in enumerate(_LEVELS):
        for name in _there(folder, _changed(folder), names):
            place = f"{name} {('beside', 'above', 'above')[level]} the maps"
            yield Neighbour(folder / name, place, name in _MAY_BE_ANYTHING)
        if folder == folder.parent:
            return
        folder = folder.parent


def neighbours_in(folder: Path) -> Iterator[Path]:
    """The files of a folder that hold cameras of all maps by their names."""
    yield from (folder / name for name in _there(folder, _changed(folder), _LEVELS[0]))


def _is_small(path: Path) -> bool:
    try:
        return path.stat().st_size <= _MOST_BYTES and path.is_file()
    except OSError:
        return False


def _changed(folder: Path) -> tuple[int, ...]:
    """When names were added to a folder or removed; its folders of COLMAP's included."""
    places = (folder, folder / "sparse", folder / "sparse" / "0", folder / "intrinsic")
    return tuple(os.stat(place).st_mtime_ns for place in places if place.is_dir())


@functools.lru_cache(_FOLDERS)
def _there(folder: Path, _changed: tuple[int, ...], names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of `names` that are files of the folder."""
    return tuple(name for name in names if (folder / name).is_file())
