"""MATLAB's files (.mat): of version 5 to 7 here, of 7.3 as HDF5.

Arrays of numbers are decoded here, and nothing else is: scipy's reader takes memory for all that a
variable claims, unpacks all that it holds, and holds all frames of a stack at once.
"""

import contextlib
import functools
import io
import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from train3d_jax.errors import DataError
from train3d_jax.formats.arrays import StoredArray, chosen_name
from train3d_jax.formats.hdf5 import is_hdf5, stored_hdf5
from train3d_jax.formats.pixels import damage_reported, exactly

_HEAD = 128
"""Bytes of text, offset of other data, version and byte order."""

_MATRIX, _COMPRESSED = 14, 15
_NUMBERS = range(6, 16)
"""Classes of arrays of numbers: double, single, and integers of 8 to 64 bits."""

_COMPLEX = 0x800
_TYPES = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8",
}  # fmt: skip
"""Types of stored values; an array of doubles that are whole is often stored as integers."""

_MOST_AXES = 8
_PADDING = 8
_PIECE = 1 << 16
"""Packed bytes that are read at once; chosen."""

_LONGEST_NAME = 256
"""Bytes; MATLAB's own limit is 63 letters."""

_MOST_VARIABLES = 4096
"""Variables that are listed; chosen."""


class _Variable(NamedTuple):
    """An array of numbers in a file.

    Attributes:
      name: of the variable.
      place: of its element in the file, bytes.
      shape: MATLAB's.
      dtype: of the stored values.
    """

    name: str
    place: int
    shape: tuple[int, ...]
    dtype: np.dtype


def stored_matlab(path: Path, key: str | None = None, usual: Sequence[str] = ()) -> StoredArray:
    """One array of a .mat, (H, W), or of three axes (H, W, N) as (N, H, W), as MATLAB has frames.

    Args:
      path: the file.
      key: name of the variable; None where the file holds one array of numbers that is no vector.
      usual: see `chosen_name`.

    Raises:
      DataError: the file is damaged, or the variable is not there or not clear.
      OSError: the file cannot be read.
    """
    if is_hdf5(path):
        return stored_hdf5(path, key, usual)
    with damage_reported(path, "MATLAB file", _is_of_system), path.open("rb") as file:
        order = _byte_order(path, file)
        found = {each.name: each for each in _variables(file, order)}
    variable = found[chosen_name(path, list(found), key, usual)]
    shape = variable.shape
    return StoredArray(
        (*shape[:1:-1], *shape[:2]),
        functools.partial(_whole, path, variable),
        functools.partial(_frames, path, variable),
    )


def _whole(path: Path, variable: _Variable) -> np.ndarray:
    shape = variable.shape
    with _values(path, variable) as file:
        body = exactly(file, math.prod(shape) * variable.dtype.itemsize)
    values = np.frombuffer(body, variable.dtype).reshape(shape[::-1])
    return np.swapaxes(values, -1, -2)


def _frames(path: Path, variable: _Variable, shape: tuple[int, int, int]) -> Iterator[np.ndarray]:
    count, height, width = shape
    with _values(path, variable) as file:
        for _ in range(count):
            body = exactly(file, height * width * variable.dtype.itemsize)
            yield np.frombuffer(body, variable.dtype).reshape(width, height).T


@contextlib.contextmanager
def _values(path: Path, variable: _Variable) -> Iterator[IO[bytes]]:
    """The values of a variable as a file that is read from its start on."""
    with damage_reported(path, "MATLAB file", _is_of_system), path.open("rb") as file:
        order = _byte_order(path, file)
        file.seek(variable.place)
        element = _element(file, order)
        if element is None or _head_of(element, order, variable.place) != variable:
            raise ValueError("it was changed while it was read")
        yield element
        element.read(_PADDING)  # what is packed has its checksum behind the values


def _byte_order(path: Path, file: IO[bytes]) -> str:
    head = file.read(_HEAD)
    for order, mark in (("<", b"\x00\x01IM"), (">", b"\x01\x00MI")):
        if len(head) == _HEAD and head[-4:] == mark:
            return order
    raise DataError(
        path,
        "is not a readable MATLAB file: its head is damaged, or of version 4; save it with -v7",
    )


def _variables(file: IO[bytes], order: str) -> Iterator[_Variable]:
    """The arrays of numbers of a file, vectors left out."""
    place, length = _HEAD, file.seek(0, io.SEEK_END)
    for _ in range(_MOST_VARIABLES):
        file.seek(place)
        tag = file.read(8)
        if len(tag) < 8:
            return
        size = struct.unpack(f"{order}II", tag)[1]
        if place + 8 + size > length:
            raise ValueError("it ends too early")
        file.seek(place)
        element = _element(file, order)
        if element is not None and (found := _head_of(element, order, place)):
            yield found
        place += 8 + size


def _element(file: IO[bytes], order: str) -> IO[bytes] | None:
    """The content of the element that starts here; None where it is no variable."""
    kind, size = struct.unpack(f"{order}II", exactly(file, 8))
    if kind == _COMPRESSED:
        file = io.BufferedReader(_Unpacked(file, size))
        kind, size = struct.unpack(f"{order}II", exactly(file, 8))
    return file if kind == _MATRIX else None


def _head_of(file: IO[bytes], order: str, place: int) -> _Variable | None:
    """Reads up to the values of a variable; None where it is no array of numbers for a map."""
    (word,) = struct.unpack_from(f"{order}I", _part(file, order, 16))
    dims = _part(file, order, 4 * _MOST_AXES)
    shape = struct.unpack(f"{order}{len(dims) // 4}i", dims[: len(dims) // 4 * 4])
    name = _part(file, order, _LONGEST_NAME).decode("latin-1")
    if word & 0xFF not in _NUMBERS or word & _COMPLEX:
        return None
    if len(shape) < 2 or min(shape) < 0:
        raise ValueError(f"its shape is {shape}")
    if sum(length != 1 for length in shape) < 2:
        return None
    kind, size = struct.unpack(f"{order}II", exactly(file, 8))
    if kind >> 16:
        return None  # up to four bytes of values, in place of their number
    if kind not in _TYPES:
        raise ValueError(f"its values are of an unknown type, {kind}")
    dtype = np.dtype(order + _TYPES[kind])
    if size != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{math.prod(shape)} values take {size} bytes")
    return _Variable(name, place, shape, dtype)


def _part(file: IO[bytes], order: str, most: int) -> bytes:
    """A short part of a variable's head, which is filled up to a multiple of 8 bytes."""
    kind, size = struct.unpack(f"{order}II", tag := exactly(file, 8))
    if kind >> 16:  # type and size in one number, the bytes in the other
        size = kind >> 16
        if size > 4:
            raise ValueError(f"its head has {size} bytes where 4 have room")
        return tag[4 : 4 + size]
    if size > most:
        raise ValueError(f"its head has {size} bytes where {most} are usual")
    return exactly(file, -(-size // 8) * 8)[:size]


class _Unpacked(io.RawIOBase):
    """The bytes that a part of a file unpacks to, as many as are asked for."""

    def __init__(self, file: IO[bytes], packed: int):
        self._file, self._left = file, packed
        self._unpacking, self._waiting = zlib.decompressobj(), b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._unpacking.eof:
            if not self._waiting:
                self._waiting = self._file.read(min(self._left, _PIECE))
                self._left -= len(self._waiting)
                if not self._waiting:
                    break
            values = self._unpacking.decompress(self._waiting, len(buffer))
            self._waiting = self._unpacking.unconsumed_tail
            if values:
                buffer[: len(values)] = values
                return len(values)
        return 0


def _is_of_system(error: Exception) -> bool:
    return isinstance(error, OSError)
