"""The format npz: two files a sample, as the original's scripts write them.

In depths/000000.npz, key arr_0: (H, W) metres, 0 = missing.  In intrinsics/000000.npy: (3, 3) or
(4, 4), pixels.
"""

import io
import math
import os
import re
import zipfile
from pathlib import Path
from typing import IO

import numpy as np

from train3d_jax.errors import DataError, UserError
from train3d_jax.formats.numpy_files import read_head

DEPTHS, INTRINSICS = "depths", "intrinsics"

_DEFLATE_LEVEL = 1
"""Of zlib, 1 to 9: three times as fast as numpy's 6 on sensor depth, files half as large again."""


def pack_npz(array: np.ndarray) -> bytes:
    """What `np.savez_compressed(file, array)` writes, by a faster level of the same method."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=_DEFLATE_LEVEL) as npz:
        member = zipfile.ZipInfo("arr_0.npy")  # dated to 1980, as numpy does
        npz.writestr(member, pack_npy(array), zipfile.ZIP_DEFLATED, _DEFLATE_LEVEL)
    return packed.getvalue()


def pack_npy(array: np.ndarray) -> bytes:
    """What `np.save(file, array)` writes."""
    packed = io.BytesIO()
    np.save(packed, array)
    return packed.getvalue()


def load(folder: Path, identity: str) -> tuple[np.ndarray, np.ndarray]:
    """Depth and intrinsics of the sample of this name, as `load_depth` and `load_intrinsics`."""
    return (
        load_depth(folder / DEPTHS / f"{identity}.npz"),
        load_intrinsics(folder / INTRINSICS / f"{identity}.npy"),
    )


def load_depth(path: Path) -> np.ndarray:
    """(H, W) float32, whatever float it was written in; what is not finite or negative is 0.

    Raises DataError.
    """
    try:
        with zipfile.ZipFile(path) as archive, archive.open("arr_0.npy") as file:
            depth = np.asarray(_read_array(file), np.float32)
    except Exception as error:  # numpy and zipfile have many for a damaged file
        raise DataError(path, f"is not a depth map: {error}") from None
    if depth.ndim != 2 or not depth.size:
        raise DataError(path, f"holds an array of shape {depth.shape}, not one depth map")
    return np.where(np.isfinite(depth) & (depth > 0), depth, np.float32(0))


def load_intrinsics(path: Path) -> np.ndarray:
    """(3, 3) float64, from 3x3 or 4x4.  Raises DataError."""
    try:
        with path.open("rb") as file:
            matrix = np.asarray(_read_array(file), np.float64)
    except Exception as error:
        raise DataError(path, f"is not a matrix of intrinsics: {error}") from None
    if matrix.shape not in ((3, 3), (4, 4)) or not np.isfinite(matrix).all():
        raise DataError(path, f"holds shape {matrix.shape}, not 3x3 or 4x4 finite intrinsics")
    if matrix[0, 0] <= 0 or matrix[1, 1] <= 0:
        raise DataError(path, f"has focal lengths {matrix[0, 0]:g}, {matrix[1, 1]:g}: not positive")
    return matrix[:3, :3].copy()


def _read_array(file: IO[bytes]) -> np.ndarray:
    shape, by_columns, dtype = read_head(file)
    values = np.frombuffer(file.read(), dtype, math.prod(shape))
    return values.reshape(shape, order="F" if by_columns else "C")


def unlisted_ids(folder: Path) -> list[str]:
    """The samples of a set without a manifest, numbers in the order of numbers.

    Raises UserError where there are none, DataError on one without its other half.
    """
    names = {}
    for kind, suffix in ((DEPTHS, ".npz"), (INTRINSICS, ".npy")):
        files = os.listdir(folder / kind) if (folder / kind).is_dir() else []
        names[kind] = {file.removesuffix(suffix) for file in files if file.endswith(suffix)}
    if not names[DEPTHS]:
        raise UserError(f"{folder}: there is no prepared set: no {DEPTHS}/*.npz")
    for alone in sorted(names[DEPTHS] ^ names[INTRINSICS])[:1]:
        other = f"{INTRINSICS}/{alone}.npy" if alone in names[DEPTHS] else f"{DEPTHS}/{alone}.npz"
        raise DataError(folder / other, "is missing")
    return sorted(
        names[DEPTHS],
        key=lambda name: [
            (int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)
        ],
    )
