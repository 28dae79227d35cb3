"""Depth maps as people have them: one .npy, .npz, .png, .tiff, .exr or .pfm each."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from train3d_jax.errors import DataError
from train3d_jax.formats.exr import read_exr
from train3d_jax.formats.numpy_files import read_npy, read_npz
from train3d_jax.formats.pfm import read_pfm
from train3d_jax.formats.pixels import equals
from train3d_jax.formats.png import read_png
from train3d_jax.formats.tiff import read_tiff

SUFFIXES = (".npy", ".npz", ".png", ".tif", ".tiff", ".exr", ".pfm")
READABLE = ", ".join(SUFFIXES)

_MOST_CHANNELS = 4
"""Colour and alpha; an array with a longer last axis holds maps."""


@dataclass(frozen=True)
class ReadSettings:
    """What a file does not tell about itself.

    Attributes:
      key: array to take from an .npz; None where it holds one.
      channel: channel to take from an .exr; None where it is clear which one holds depth.
      allow_8bit: 8-bit grey images are read too.
      invalid: values that stand for missing, besides 0 and what is not finite; a float file is
        compared with the nearest value of its type, integers exactly.
      negate: values are multiplied by -1: near and far are swapped in the file.
    """

    key: str | None = None
    channel: str | None = None
    allow_8bit: bool = False
    invalid: tuple[float, ...] = ()
    negate: bool = False


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
    extra = [axis for axis, length in enumerate(values.shape) if length == 1]
    values = values.squeeze(tuple(extra[: max(values.ndim - 2, 0)]))
    if values.ndim != 2 or not values.size:
        raise DataError(path, _not_one_map(values.shape))
    missing = [equals(values, number) for number in settings.invalid]
    # What float32 cannot hold becomes infinite, that is, missing; some NaN of float64 are invalid.
    with np.errstate(over="ignore", invalid="ignore"):
        values = values.astype(np.float32)
    values = -values if settings.negate else values
    return np.where(np.any(missing, axis=0), np.float32(0), values) if missing else values


def _not_one_map(shape: tuple[int, ...]) -> str:
    reason = f"holds an array of shape {shape}, not one (H, W) map"
    if len(shape) != 3 or 0 in shape:
        return reason
    if shape[2] <= _MOST_CHANNELS < shape[0]:
        return f"{reason}: {shape[2]} channels; save the one that holds depth"
    maps = f"{shape[0]} maps of {shape[1]} x {shape[2]}"
    return f"{reason}: {maps} (a clip?); save each frame as a file of its own"


def _read(path: Path, settings: ReadSettings) -> np.ndarray:
    match path.suffix.lower():
        case ".npy":
            return read_npy(path)
        case ".npz":
            return read_npz(path, settings.key)
        case ".png":
            return read_png(path, settings.allow_8bit)
        case ".tif" | ".tiff":
            return read_tiff(path, settings.allow_8bit)
        case ".exr":
            return read_exr(path, settings.channel)
        case ".pfm":
            return read_pfm(path)
    raise DataError(path, f"is not a depth map; readable are {READABLE}")
