"""Depth maps as people have them: .npy, .npz, .png, .tiff, .exr and .pfm, alone or in folders."""

import errno
import glob
import math
import os
import re
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from data.formats.images import brief, check_size, read_exr, read_pfm, read_png, read_tiff
from data.formats.npy_head import read_head
from data.formats.pixels import equals
from data.protocol import DataError
from data.walking import files_below, files_matching
from train3d_jax.errors import UserError

SUFFIXES = (".npy", ".npz", ".png", ".tif", ".tiff", ".exr", ".pfm")
_READABLE = ", ".join(SUFFIXES)

_MOST_CHANNELS = 4
"""Colour and alpha; an array with a longer last axis holds maps."""

_MOST_NAMES = 8
"""Names that a message lists; files can hold thousands."""

# fmt: off
_COMPANIONS = frozenset((
    # pictures and films
    ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".svg", ".mp4", ".mov", ".avi", ".webm",
    # text, tables and notes
    ".json", ".jsonl", ".txt", ".csv", ".tsv", ".yaml", ".yml", ".xml", ".toml", ".ini", ".cfg",
    ".md", ".rst", ".log", ".html", ".pdf", ".py",
    # clouds and meshes
    ".ply", ".pcd", ".xyz", ".obj", ".mtl", ".stl", ".glb", ".gltf", ".las", ".laz",
))
# fmt: on
"""What commonly lies beside depth maps and is none.  Files of other kinds may well hold depth."""

_PACKED = (".gz", ".bz2", ".xz", ".zst")
_SUFFIX = re.compile(r"\.[a-z][a-z0-9_]{0,11}|\.7z|\.3g[p2]")


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


class Found(NamedTuple):
    """What there is below a folder, or what a pattern matches.

    Attributes:
      files: the depth maps, in the order of their paths.
      others: how many files of other kinds may hold depth but are not read, by suffix (`.mat`,
        `.npy.gz`).  Pictures, text, clouds, and hidden files are not counted.
    """

    files: list[DepthFile]
    others: Counter[str]


def find_depth_files(
    source: Path, leave_out: Path | None = None, reserved: tuple[str, ...] = ()
) -> list[DepthFile]:
    """The files that `search` finds."""
    return search(source, leave_out, reserved).files


def search(source: Path, leave_out: Path | None = None, reserved: tuple[str, ...] = ()) -> Found:
    """The depth maps of a file, of a folder and all folders in it, or of a pattern.

    Linked folders and files are followed, each folder once; `._*` files and `__MACOSX` folders,
    which macOS adds, are left out.

    Args:
      source: a file, a folder, or a pattern with *, ?, [] or ** for any folders.
      leave_out: a folder whose files are left out: what an earlier call left in it is no input.
      reserved: names that no map gets without its suffix.

    Returns:
      Depth maps and others.  Names are relative to the folder, or to the part of the pattern that
      holds no wildcard.

    Raises:
      UserError: there is nothing to read.
    """
    if source.is_file():
        if source.suffix.lower() not in SUFFIXES:
            raise UserError(f"{source}: is not a depth map; readable are {_READABLE}")
        name = source.name if source.stem in reserved else source.stem
        return Found([DepthFile(source.parent, source.name, name)], Counter())
    if source.is_dir():
        root, found = source, files_below(source, leave_out)
    elif glob.has_magic(str(source)):
        root, found = files_matching(source, leave_out)
    else:
        raise UserError(
            f"{source}: is not there; --input takes a depth map, a folder of them or a pattern"
        )
    found = [path.replace(os.sep, "/") for path in found]
    outside = [path for path in found if _suffix(path) in SUFFIXES]
    others = Counter(
        suffix
        for path in found
        if (suffix := _suffix(path)) not in SUFFIXES and not f"/{path}".count("/.")
    )
    if not outside:
        raise UserError(
            f"{source}: holds no depth map; readable are {_READABLE}; {_listed(others)}"
        )
    stems = [os.path.splitext(path)[0] for path in outside]
    # A bare name is taken where two files share it, and where another file is called that in full,
    # as a.npy is beside a.npy.png.
    uses = Counter([*stems, *outside, *reserved])
    files = [
        DepthFile(root, path, stem if uses[stem] == 1 else path)
        for path, stem in zip(outside, stems, strict=True)
    ]
    for suffix in ("", *_COMPANIONS):
        others.pop(suffix, None)
    return Found(files, others)


def _suffix(path: str) -> str:
    """The suffix in lower case, `.npy.gz` for packed files, "" where what follows a dot is none."""
    stem, suffix = os.path.splitext(path.lower())
    if suffix in _PACKED:
        return os.path.splitext(stem)[1] + suffix
    return suffix if _SUFFIX.fullmatch(suffix) else ""


def _listed(others: Counter[str]) -> str:
    """`there are 12 .mat, 3 .depth`: the most frequent kinds of files."""
    if not others:
        return "nothing else is there"
    kinds = [f"{count} {suffix or 'without a suffix'}" for suffix, count in others.most_common()]
    more = len(kinds) - _MOST_NAMES
    return f"there are {', '.join(kinds[:_MOST_NAMES])}{f' and {more} more kinds' * (more > 0)}"


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
    except DataError:
        raise
    except Exception as error:  # zipfile and zlib have many for a damaged file
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # a place before its start
            raise
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
