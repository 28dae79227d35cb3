"""Arrays of numbers in numpy's formats .npy and .npz."""

import errno
import math
import threading
import zipfile
from pathlib import Path
from typing import IO

import numpy as np

from train3d_jax.errors import Argument, DataError
from train3d_jax.formats.pixels import brief, check_size

_LOCK = threading.Lock()
"""Heads are read by one thread at a time, see `read_head`."""

_MOST_NAMES = 8
"""Names that a message lists; files can hold thousands."""


def read_npy(path: Path) -> np.ndarray:
    """The array of a .npy.

    Raises:
      DataError: the file is damaged, too large, or holds no numbers.
      OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return _read_array(path, file, path.stat().st_size)


def read_npz(path: Path, key: str | None = None) -> np.ndarray:
    """One array of a .npz.

    Args:
      path: the file.
      key: name of the array; None where the file holds one.

    Raises:
      DataError: the file is damaged or too large, or the array is not there, not clear, or holds no
        numbers.
      OSError: the file cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as held:
            sizes = {
                entry.filename.removesuffix(".npy"): entry.file_size for entry in held.infolist()
            }
            names = ", ".join(name[:40] for name in list(sizes)[:_MOST_NAMES]) or "nothing"
            if key is None and len(sizes) != 1:
                raise DataError(
                    path,
                    f"holds {names}; a depth map's .npz holds one array: name it (",
                    Argument("key"),
                    ")",
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


def read_head(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether columns come first, and type of the array that follows.

    A head is a Python literal, and CPython 3.11 loses count of its depth when two threads parse
    literals at once ("AST constructor recursion depth mismatch"): a sound file would be refused.

    Raises ValueError on a head that is damaged or not known, and others that numpy raises.
    """
    with _LOCK:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            return np.lib.format.read_array_header_1_0(file)
        if version == (2, 0):
            return np.lib.format.read_array_header_2_0(file)
    raise ValueError(f"format version {version} is not known")
