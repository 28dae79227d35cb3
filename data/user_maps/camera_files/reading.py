"""One file of cameras, by its name; each is read once as long as it does not change."""

import functools
from pathlib import Path

from data.user_maps.camera_files import colmap
from data.user_maps.camera_files.camera import Cameras, NotACamera
from data.user_maps.camera_files.json_forms import of_json, read_json
from data.user_maps.camera_files.matrices import (
    read_npy_camera,
    read_npz_camera,
    read_text_camera,
)
from train3d_jax.errors import DataError
from train3d_jax.formats.record3d import read_r3d_metadata

READABLE = ".json, .npy, .npz, .txt, .csv, .r3d, and COLMAP's cameras.txt and cameras.bin"

COLMAP_NAMES = ("cameras.bin", "cameras.txt")

_FILES = 64
"""Files that are kept in memory; chosen: those of a few folders, and of the maps at work."""


def read_cameras(path: Path) -> Cameras:
    """The cameras of a file.

    Raises:
      NotACamera: it holds something else.
      DataError: it cannot be read or is damaged.
    """
    try:
        stamps = [(each.stat().st_mtime_ns, each.stat().st_size) for each in files_of(path)]
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror}") from None
    found = _read(path, tuple(stamps))
    if isinstance(found, DataError):
        raise found
    return found


def files_of(path: Path) -> list[Path]:
    """The files that a file of cameras is read with: COLMAP keeps names in one beside it."""
    images = colmap.images_beside(path) if path.name.lower() in COLMAP_NAMES else None
    return [path] if images is None else [path, images]


@functools.lru_cache(_FILES)
def _read(path: Path, _stamps: tuple[tuple[int, int], ...]) -> Cameras | DataError:
    """The cameras, or what is wrong with the file."""
    try:
        if path.name.lower() in COLMAP_NAMES:
            return colmap.read_colmap(path)
        match path.suffix.lower():
            case ".npy":
                return read_npy_camera(path)
            case ".npz":
                return read_npz_camera(path)
            case ".txt" | ".csv":
                return read_text_camera(path)
            case ".r3d":
                return of_json(path, read_r3d_metadata(path))
            case ".json" | "":  # Record3D's metadata has no suffix
                return read_json(path)
    except DataError as error:
        return error
    except OSError as error:
        return DataError(path, f"cannot be read: {error.strerror or error}")
    return NotACamera(path, f"is not a file of intrinsics; those are {READABLE}")
