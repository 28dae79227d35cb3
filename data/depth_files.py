"""Depth maps as people have them: .npy, .npz, .png, .tiff, .exr and .pfm, alone or in folders."""

import glob
import math
import os
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from data.images import brief, check_size, read_exr, read_pfm, read_png, read_tiff
from data.npy_head import read_head
from data.protocol import DataError
from train3d_jax.errors import UserError

SUFFIXES = (".npy", ".npz", ".png", ".tif", ".tiff", ".exr", ".pfm")
_READABLE = ", ".join(SUFFIXES)

_MOST_NAMES = 8
"""Names that a message lists; files can hold thousands."""


class DepthFile(NamedTuple):
    """A file that may hold a depth map.

    Attributes:
      root: the folder that names are relative to.
      relative: path below `root`, with slashes: how reports tell the file.
      name: of what is written about it, a path without the suffix where that is a name of its own.
    """

    root: Path
    relative: str
    name: str

    @property
    def path(self) -> Path:
        """Where the file is."""
        return self.root / self.relative


@dataclass(frozen=True)
class ReadSettings:
    """What a file does not tell about itself.

    Attributes:
      key: array to take from an .npz; None where it holds one.
      channel: channel to take from an .exr; None where it holds one.
      allow_8bit: 8-bit grey images are read too.
      invalid: values that stand for missing, besides 0 and what is not finite.
    """

    key: str | None = None
    channel: str | None = None
    allow_8bit: bool = False
    invalid: tuple[float, ...] = ()


def find_depth_files(
    source: Path, leave_out: Path | None = None, reserved: tuple[str, ...] = ()
) -> list[DepthFile]:
    """The depth maps of a file, of a folder and all folders in it, or of a pattern.

    Args:
      source: a file, a folder, or a pattern with *, ?, [] or ** for any folders.
      leave_out: a folder whose files are left out: what an earlier call left in it is no input.
      reserved: names that no map gets without its suffix.

    Returns:
      In the order of their paths.  Names are relative to the folder, or to the part of the pattern
      that holds no wildcard.

    Raises:
      UserError: there is nothing to read.
    """
    if source.is_file():
        if source.suffix.lower() not in SUFFIXES:
            raise UserError(f"{source}: is not a depth map; readable are {_READABLE}")
        name = source.name if source.stem in reserved else source.stem
        return [DepthFile(source.parent, source.name, name)]
    if source.is_dir():
        root, found = source, _files_below(source)
    elif glob.has_magic(str(source)):
        root = _fixed_part(source)
        pattern = str(source.relative_to(root))
        found = glob.glob(pattern, root_dir=root, recursive=True)
        found = [path for path in found if (root / path).is_file()]
    else:
        raise UserError(
            f"{source}: is not there; --input takes a depth map, a folder of them or a pattern"
        )
    outside = [path.replace(os.sep, "/") for path in found if Path(path).suffix.lower() in SUFFIXES]
    if leave_out is not None and leave_out.resolve().is_relative_to(root.resolve()):
        below = leave_out.resolve().relative_to(root.resolve()).as_posix()
        if below != ".":
            outside = [path for path in outside if not path.startswith(below + "/")]
    if not outside:
        raise UserError(f"{source}: holds no depth map; readable are {_READABLE}")
    outside.sort(key=lambda path: path.split("/"))
    stems = [os.path.splitext(path)[0] for path in outside]
    # A bare name is taken where two files share it, and where another file is called that in full,
    # as a.npy is beside a.npy.png.
    uses = Counter([*stems, *outside, *reserved])
    return [
        DepthFile(root, path, stem if uses[stem] == 1 else path)
        for path, stem in zip(outside, stems, strict=True)
    ]


def _files_below(folder: Path) -> list[str]:
    return [
        os.path.relpath(os.path.join(place, name), folder)
        for place, _, names in os.walk(folder)
        for name in names
        if os.path.isfile(os.path.join(place, name))
    ]


def _fixed_part(pattern: Path) -> Path:
    """The folders of a pattern before its first wildcard."""
    parts = pattern.parts
    first = next(place for place, part in enumerate(parts) if glob.has_magic(part))
    return Path(*parts[:first])


def read_depth_file(path: Path, settings: ReadSettings = ReadSettings()) -> np.ndarray:
    """The values of a depth map as they are stored, in float32, shape (H, W).

    What 0 or a value that is not finite means is left to the caller; what `settings.invalid` lists
    comes out as 0.

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
        raise DataError(path, f"holds an array of shape {values.shape}, not one (H, W) map")
    missing = np.isin(values, settings.invalid) if settings.invalid else None
    # What float32 cannot hold becomes infinite, that is, missing; some NaN of float64 are invalid.
    with np.errstate(over="ignore", invalid="ignore"):
        values = values.astype(np.float32)
    return values if missing is None else np.where(missing, np.float32(0), values)


def _read(path: Path, settings: ReadSettings) -> np.ndarray:
    match path.suffix.lower():
        case ".npy":
            return _read_npy(path)
        case ".npz":
            return _read_npz(path, settings.key)
        case ".png":
            return read_png(path, settings.allow_8bit)
        case ".tif" | ".tiff":
            return read_tiff(path, settings.allow_8bit)
        case ".exr":
            return read_exr(path, settings.channel)
        case ".pfm":
            return read_pfm(path)
    raise DataError(path, f"is not a depth map; readable are {_READABLE}")


def _read_npy(path: Path) -> np.ndarray:
    with path.open("rb") as file:
        return _read_array(path, file, path.stat().st_size)


def _read_npz(path: Path, key: str | None) -> np.ndarray:
    try:
        with zipfile.ZipFile(path) as held:
            sizes = {
                entry.filename.removesuffix(".npy"): entry.file_size for entry in held.infolist()
            }
            names = ", ".join(name[:40] for name in list(sizes)[:_MOST_NAMES]) or "nothing"
            if key is None and len(sizes) != 1:
                raise DataError(
                    path, f"holds {names}; a depth map's .npz holds one array: name it (--key)"
                )
            key = next(iter(sizes)) if key is None else key
            if key not in sizes:
                raise DataError(path, f"holds no {key}, only {names}")
            entry = next(e for e in held.infolist() if e.filename.removesuffix(".npy") == key)
            with held.open(entry) as file:
                return _read_array(path, file, entry.file_size)
    except (DataError, OSError):
        raise
    except Exception as error:  # zipfile and zlib have many for a damaged file
        raise _unreadable(path, error) from None


def _read_array(path: Path, file: IO[bytes], length: int) -> np.ndarray:
    """An array of numbers in numpy's format; its claims are checked before memory is taken."""
    try:
        shape, by_columns, dtype = read_head(file)
        if dtype.kind not in "fiu":
            raise DataError(path, f"holds {dtype}, not numbers")
        if any(extent < 0 for extent in shape):
            raise ValueError(f"its shape is {shape}")
        count = math.prod(shape)
        if count:
            check_size(path, count, 1)
        size = count * dtype.itemsize
        if length - file.tell() < size:
            raise ValueError("it ends too early")
        body = file.read(size)
        if len(body) < size:
            raise ValueError("it ends too early")
        file.read(1)  # a zip checks its checksum at the end
    except (DataError, OSError):
        raise
    except Exception as error:  # numpy has many for a damaged head
        raise _unreadable(path, error) from None
    values = np.frombuffer(body, dtype, count)
    return values.reshape(shape, order="F" if by_columns else "C")


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(path, f"is not a readable numpy file: {brief(error)}")
