"""Depth maps as people have them: what is in a file, by its suffix."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from train3d_jax.errors import DataError
from train3d_jax.formats.arrays import StoredArray, checked_map, without_ones
from train3d_jax.formats.colmap import read_colmap
from train3d_jax.formats.exr import read_exr
from train3d_jax.formats.hdf5 import stored_hdf5
from train3d_jax.formats.heic import read_heic
from train3d_jax.formats.matlab import stored_matlab
from train3d_jax.formats.numpy_files import stored_npy, stored_npy_gz, stored_npz
from train3d_jax.formats.pfm import read_pfm
from train3d_jax.formats.pixels import equals
from train3d_jax.formats.png import read_png
from train3d_jax.formats.record3d import read_record3d, stored_r3d
from train3d_jax.formats.tiff import read_tiff

SUFFIXES = (
    ".npy", ".npy.gz", ".npz", ".png", ".tif", ".tiff", ".exr", ".pfm", ".h5", ".hdf5", ".mat",
    ".depth", ".r3d", ".geometric.bin", ".photometric.bin",
)  # fmt: skip
PICTURES = (".heic", ".heif")
"""Pictures that may hold depth beside colours: read where they are named, or where there is nothing
else to read."""

READABLE = ", ".join((*(each for each in SUFFIXES if each != ".photometric.bin"), *PICTURES))


@dataclass(frozen=True)
class ReadSettings:
    """What a file does not tell about itself.

    Attributes:
      key: array to take from an .npz, .h5 or .mat; None where it holds one.
      channel: channel to take from an .exr; None where it is clear which one holds depth.
      allow_8bit: 8-bit grey images are read too.
      invalid: values that stand for missing, besides 0 and what is not finite; a float file is
        compared with the nearest value of its type, integers exactly.
      negate: values are multiplied by -1: near and far are swapped in the file.
      usual_keys: without a key, the first of these that a file holds is taken.
    """

    key: str | None = None
    channel: str | None = None
    allow_8bit: bool = False
    invalid: tuple[float, ...] = ()
    negate: bool = False
    usual_keys: tuple[str, ...] = ()


def read_depth_file(path: Path, settings: ReadSettings = ReadSettings()) -> np.ndarray:
    """The values of a depth map as they are stored, in float32, shape (H, W).

    What 0 or a value that is not finite means is left to the caller; what `settings.invalid` lists
    comes out as 0.  `settings.negate` changes the sign of all.

    Raises:
      DataError: the file cannot be read, or does not hold one two-dimensional map of numbers.
    """
    try:
        values = _read(path, settings)
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror or error}") from None
    if values.dtype.kind not in "fiu":
        raise DataError(path, f"holds {values.dtype}, not numbers")
    # (1, H, W) and (H, W, 1) are one map too; a map that is 1 pixel wide stays one.
    checked_map(path, values.shape)
    return as_map(values.reshape(without_ones(values.shape, 2)), settings)


def as_map(values: np.ndarray, settings: ReadSettings) -> np.ndarray:
    """A map as it is stored, (H, W), in float32, as `read_depth_file` gives it."""
    missing = [equals(values, number) for number in settings.invalid]
    # What float32 cannot hold becomes infinite, that is, missing; some NaN of float64 are invalid.
    with np.errstate(over="ignore", invalid="ignore"):
        values = values.astype(np.float32)
    values = -values if settings.negate else values
    return np.where(np.any(missing, axis=0), np.float32(0), values) if missing else values


def suffix_of(name: str) -> str:
    """The suffix of a file's name that says what it holds, as it is written: ".npy.gz", ".PNG".

    Empty where no such file is read.
    """
    last = name.rpartition("/")[2].lower()
    fitting = [
        each for each in (*SUFFIXES, *PICTURES) if last.endswith(each) and len(last) > len(each)
    ]
    return name[-len(max(fitting, key=len)) :] if fitting else ""


def stored_array(path: Path, settings: ReadSettings) -> StoredArray | None:
    """The array of a file whose kind may hold frames; None for other kinds.

    Raises:
      DataError: the file is damaged, or it is not clear which array holds depth.
      OSError: it cannot be read.
    """
    match suffix_of(path.name).lower():
        case ".npy":
            return stored_npy(path)
        case ".npy.gz":
            return stored_npy_gz(path)
        case ".npz":
            return stored_npz(path, settings.key, settings.usual_keys)
        case ".h5" | ".hdf5":
            return stored_hdf5(path, settings.key, settings.usual_keys)
        case ".mat":
            return stored_matlab(path, settings.key, settings.usual_keys)
        case ".r3d":
            return stored_r3d(path)
    return None


def _read(path: Path, settings: ReadSettings) -> np.ndarray:
    if (stored := stored_array(path, settings)) is not None:
        checked_map(path, stored.shape)
        return stored.whole()
    match suffix_of(path.name).lower():
        case ".png":
            return read_png(path, settings.allow_8bit)
        case ".tif" | ".tiff":
            return read_tiff(path, settings.allow_8bit)
        case ".exr":
            return read_exr(path, settings.channel)
        case ".pfm":
            return read_pfm(path)
        case ".depth":
            return read_record3d(path)
        case ".geometric.bin" | ".photometric.bin":
            return read_colmap(path)
        case ".heic" | ".heif":
            return read_heic(path, settings.allow_8bit)
    raise DataError(path, f"is not a depth map; readable are {READABLE}")
