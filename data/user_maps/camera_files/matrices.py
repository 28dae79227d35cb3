"""Cameras as arrays: .npy, .npz, and text with spaces or commas."""

import math
import zipfile
from pathlib import Path

import numpy as np

from data.user_maps.camera_files.camera import ESTIMATED_SIGMA, Camera, Cameras, NotACamera
from train3d_jax.errors import DataError
from train3d_jax.formats.arrays import MOST_FRAMES, StoredArray
from train3d_jax.formats.numpy_files import stored_npy, stored_npz
from train3d_jax.geometry.camera import intrinsics_matrix

_MOST_BYTES = 1 << 20
"""Of a file of text; chosen, as a matrix takes some hundred."""

_MATRICES = ("intrinsics", "intrinsic", "camera_matrix", "K")
_FOCALS = ("focal", "focal_px", "focallength_px", "focal_length")
"""Names of arrays in .npz; the latter are of a camera with its principal point in the centre."""

_OF_NETWORKS = frozenset(("conf", "pts3d", "points", "world_points"))
"""Names of arrays that stand beside a camera which a network estimated: Depth Anything 3, DUSt3R
and their kin."""

_OURS = frozenset(("depth", "intrinsics", "unit", "axes"))
"""Names in what `--save npz` writes."""

_FORM = "a camera matrix is 3x3, or 4x4 with a last row and column of 0, 0, 0, 1"


def read_npy_camera(path: Path) -> Cameras:
    """The matrix of a .npy, or those of all frames, (N, 3, 3).

    Raises:
      NotACamera: it holds something else.
      DataError: it cannot be read.
    """
    try:
        values = _values(path, stored_npy(path))
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror or error}") from None
    return _cameras(path, values, 0.0)


def read_npz_camera(path: Path) -> Cameras:
    """The camera of a .npz with `intrinsics` or `focal` among its arrays; others are not read.

    Raises:
      NotACamera: it holds something else.
      DataError: it cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as held:
            names = {name.removesuffix(".npy") for name in held.namelist()}
        found = [name for name in (*_MATRICES, *_FOCALS) if name in names]
        if not found:
            raise NotACamera(path, f"holds none of {', '.join((*_MATRICES, *_FOCALS))}")
        values = _values(path, stored_npz(path, found[0]))
    except DataError:
        raise
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror or error}") from None
    except Exception:  # zipfile has many for a damaged file
        raise NotACamera(path, "is not a readable .npz") from None
    sigma = ESTIMATED_SIGMA if names & _OF_NETWORKS else 0.0
    if found[0] in _MATRICES:
        return _cameras(path, values, sigma, is_answer=names == _OURS)
    focals = [
        Camera(intrinsics_matrix(focal, focal, np.nan, np.nan), None, sigma)
        for focal in np.asarray(values, np.float64).ravel()
    ]
    return Cameras("focal length", focals[0] if len(focals) == 1 else None, numbered=focals)


def _values(path: Path, stored: StoredArray) -> np.ndarray:
    """The numbers of an array; NotACamera where there are more than matrices of any clip hold."""
    if math.prod(stored.shape) > 9 * MOST_FRAMES:
        raise NotACamera(path, f"holds an array of shape {stored.shape}, no intrinsics")
    return stored.whole()


def read_text_camera(path: Path) -> Cameras:
    """The matrix of a .txt or .csv.

    Raises:
      NotACamera: it holds something else.
      DataError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror}") from None
    try:
        if len(text) > _MOST_BYTES:
            raise ValueError
        lines = text.decode("utf-8-sig").replace(",", " ").replace(";", " ").splitlines()
        rows = [
            line.split() for line in lines if line.strip() and not line.lstrip().startswith("#")
        ]
        values = np.array([[float(value) for value in row] for row in rows], np.float64)
    except ValueError:
        raise NotACamera(path, f"holds no intrinsics; {_FORM}") from None
    if values.size in (9, 16) and 1 in values.shape:
        side = round(values.size**0.5)
        values = values.reshape(side, side)
    return _cameras(path, values, 0.0)


def _cameras(path: Path, values: np.ndarray, sigma: float, is_answer: bool = False) -> Cameras:
    """Cameras of an array that ends in 3x3 or 4x4."""
    values = values.astype(np.float64)
    if values.ndim in (2, 3) and values.shape[-2:] == (4, 4):
        rest = np.concatenate([values[..., 3, :], values[..., :3, 3]], -1)
        if not (rest == [0, 0, 0, 1, 0, 0, 0]).all():
            raise NotACamera(path, f"holds no intrinsics; {_FORM}")
        values = values[..., :3, :3]
    if values.shape[-2:] != (3, 3) or values.ndim not in (2, 3) or not values.size:
        raise NotACamera(path, f"holds an array of shape {values.shape}, not 3x3 intrinsics")
    frames = [Camera(matrix, None, sigma) for matrix in values.reshape(-1, 3, 3)]
    shared = frames[0] if len(frames) == 1 else None
    return Cameras("3x3 matrix", shared, numbered=frames, is_answer=is_answer)
