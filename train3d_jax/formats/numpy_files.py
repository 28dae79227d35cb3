"""Arrays of numbers in numpy's formats: .npy, .npy.gz and .npz."""

import contextlib
import errno
import functools
import gzip
import math
import threading
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from train3d_jax.errors import DataError
from train3d_jax.formats.arrays import StoredArray, chosen_name
from train3d_jax.formats.pixels import check_size, damage_reported, exactly

_LOCK = threading.Lock()
"""Heads are read by one thread at a time, see `read_head`."""

Opened = Callable[[], AbstractContextManager[tuple[IO[bytes], int | None]]]
"""Opens a file in numpy's format and gives its length in bytes; None where only its end tells."""


class _Head(NamedTuple):
    shape: tuple[int, ...]
    by_columns: bool
    dtype: np.dtype


def stored_npy(path: Path) -> StoredArray:
    """The array of a .npy.

    Raises:
      DataError: the file is damaged, or holds no numbers.
      OSError: it cannot be read.
    """

    @contextlib.contextmanager
    def opened() -> Iterator[tuple[IO[bytes], int | None]]:
        with path.open("rb") as file:
            yield file, path.stat().st_size

    return _stored(path, opened)


def stored_npy_gz(path: Path) -> StoredArray:
    """The array of a .npy.gz; as of `stored_npy`."""

    @contextlib.contextmanager
    def opened() -> Iterator[tuple[IO[bytes], int | None]]:
        with path.open("rb") as packed, gzip.GzipFile(fileobj=packed) as file:
            yield file, None  # type: ignore[misc]

    return _stored(path, opened)


def stored_npz(path: Path, key: str | None = None, usual: Sequence[str] = ()) -> StoredArray:
    """One array of a .npz.

    Args:
      path: the file.
      key: name of the array; None where the file holds one.
      usual: see `chosen_name`.

    Raises:
      DataError: the file is damaged, or the array is not there, not clear, or holds no numbers.
      OSError: the file cannot be read.
    """
    with damage_reported(path, "numpy file", _is_of_system):
        key = chosen_name(path, npz_names(path), key, usual)

    @contextlib.contextmanager
    def opened() -> Iterator[tuple[IO[bytes], int | None]]:
        with zipfile.ZipFile(path) as held:
            entry = next(e for e in held.infolist() if e.filename.removesuffix(".npy") == key)
            with held.open(entry) as file:
                yield file, entry.file_size

    return _stored(path, opened)


def read_npy(path: Path) -> np.ndarray:
    """The array of a .npy, of any shape and up to `MOST_PIXELS` values; raises as `stored_npy`."""
    return _bounded(path, stored_npy(path))


def read_npz(path: Path, key: str | None = None) -> np.ndarray:
    """One array of a .npz, of any shape; as `read_npy`, raises as `stored_npz`."""
    return _bounded(path, stored_npz(path, key))


def _bounded(path: Path, stored: StoredArray) -> np.ndarray:
    if count := math.prod(stored.shape):
        check_size(path, count, 1)
    return stored.whole()


def npz_names(path: Path) -> list[str]:
    """The names of the arrays of a .npz; raises what zipfile raises."""
    with zipfile.ZipFile(path) as held:
        return list(dict.fromkeys(each.filename.removesuffix(".npy") for each in held.infolist()))


def _stored(path: Path, opened: Opened) -> StoredArray:
    with damage_reported(path, "numpy file", _is_of_system), opened() as (file, length):
        head = _head_of(path, file, length)
    return StoredArray(
        head.shape,
        functools.partial(_whole, path, opened),
        functools.partial(_frames, path, opened),
    )


def _head_of(path: Path, file: IO[bytes], length: int | None) -> _Head:
    """The head at the start of a file; no memory is taken for what it claims."""
    head = _Head(*read_head(file))
    if head.dtype.kind not in "fiu":
        raise DataError(path, f"holds {head.dtype}, not numbers")
    if any(extent < 0 for extent in head.shape):
        raise ValueError(f"its shape is {head.shape}")
    size = math.prod(head.shape) * head.dtype.itemsize
    if length is not None and length - file.tell() < size:
        raise ValueError("it ends too early")
    return head


def _whole(path: Path, opened: Opened) -> np.ndarray:
    with damage_reported(path, "numpy file", _is_of_system), opened() as (file, length):
        head = _head_of(path, file, length)
        body = exactly(file, math.prod(head.shape) * head.dtype.itemsize)
        file.read(1)  # a zip and a gzip check their checksum at the end
    values = np.frombuffer(body, head.dtype)
    return values.reshape(head.shape, order="F" if head.by_columns else "C")


def _frames(path: Path, opened: Opened, shape: tuple[int, int, int]) -> Iterator[np.ndarray]:
    count, height, width = shape
    with damage_reported(path, "numpy file", _is_of_system), opened() as (file, length):
        head = _head_of(path, file, length)
        if math.prod(head.shape) != math.prod(shape):
            raise ValueError("it was changed while it was read")
        if head.by_columns and count > 1:
            raise DataError(
                path,
                "holds its frames in Fortran order, each spread over the whole file; save "
                "np.ascontiguousarray(...) of it",
            )
        for _ in range(count):
            body = exactly(file, height * width * head.dtype.itemsize)
            order = "F" if head.by_columns else "C"
            yield np.frombuffer(body, head.dtype).reshape(height, width, order=order)
        file.read(1)


def _is_of_system(error: Exception) -> bool:
    # But for a place before the start of a zip, and what gzip raises.
    return isinstance(error, OSError) and error.errno not in (errno.EINVAL, None)


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
