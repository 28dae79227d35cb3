"""Which producer a depth file looks like it is from: by its name, neighbours, keys and head."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from train3d_jax.formats import numpy_files
from train3d_jax.formats.depth import suffix_of

_HEAD = 1 << 14
"""Bytes of a file that are looked at."""

_MARGIN = 50
"""White columns that Depth Anything's run.py puts between the photo and its depth."""


def recognised(path: Path) -> str | None:
    """The value of --from that a file looks like; None where it looks like none or like several.

    A glance at its head: nothing is decoded but a picture of 8 bits.
    """
    look = _LOOKS.get(suffix_of(path.name).lower())
    try:
        return look(path) if look is not None else None
    except Exception:  # whatever is wrong with the file, its reader says it better
        return None


def _npz(path: Path) -> str | None:
    keys = set(numpy_files.npz_names(path))
    if "pts3d" in keys:
        return "dust3r"
    if {"depth", "conf", "extrinsics"} <= keys:
        return "depth-anything-3"
    if keys == {"depths"}:
        return "video-depth-anything"
    if keys == {"depth"}:
        axes = len(numpy_files.stored_npz(path).shape)
        return {2: "depth-pro", 3: "depthcrafter"}.get(axes)
    return None


def _npy(path: Path) -> str | None:
    return "marigold" if path.parent.name == "depth_npy" and path.stem.endswith("_pred") else None


def _png(path: Path) -> str | None:
    if path.parent.name == "depth" and (path.parent.parent / "camera_matrix.csv").is_file():
        return "stray-scanner"
    if path.parent.name in ("image_02", "image_03") and re.fullmatch(r"\d{10}", path.stem):
        return "kitti"
    return "depth-anything-v2" if is_beside_its_photo(path) else None


def is_beside_its_photo(path: Path) -> bool:
    """Whether a picture of 8 bits has a photo to the left of its depth, as run.py writes it."""
    from train3d_jax.formats.pictures import read_colours  # start-up: it imports Pillow

    with path.open("rb") as file:
        if file.read(26)[24:25] != b"\x08":  # bits a channel
            return False
    pixels = read_colours(path)
    photo, odd = divmod(pixels.shape[1] - _MARGIN, 2)
    return photo > 0 and not odd and bool(np.all(pixels[:, photo : photo + _MARGIN] == 255))


def _pfm(path: Path) -> str | None:
    return "midas" if re.search(r"[-_](dpt|midas)_", path.stem.lower()) else None


def _exr(path: Path) -> str | None:
    if path.name == "depth.exr" and (path.parent / "fov.json").is_file():
        return "moge"
    if path.parent.name.endswith("_depths_exr"):
        return "video-depth-anything"
    with path.open("rb") as file:
        head = file.read(_HEAD)
    return "blender" if b"ViewLayer" in head and b"Depth.Z" in head else None


def _hdf5(path: Path) -> str | None:
    return "hypersim" if path.name.lower().endswith(".depth_meters.hdf5") else None


def _mat(path: Path) -> str | None:
    return "nyu" if path.name.lower().startswith("nyu_depth_v2") else None


_LOOKS: dict[str, Callable[[Path], str | None]] = {
    ".npz": _npz,
    ".npy": _npy,
    ".png": _png,
    ".pfm": _pfm,
    ".exr": _exr,
    ".h5": _hdf5,
    ".hdf5": _hdf5,
    ".mat": _mat,
    ".depth": lambda _: "record3d",
    ".r3d": lambda _: "record3d",
    ".geometric.bin": lambda _: "colmap",
    ".photometric.bin": lambda _: "colmap",
}
