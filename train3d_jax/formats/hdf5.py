"""HDF5 files (.h5, .hdf5) and MATLAB's of version 7.3 (.mat).

h5py finds the arrays and where their values are in the file.  They are read and unpacked here: HDF5
itself unpacks as much as a chunk holds, which a small file can make gigabytes, and ends the process
on some damaged files.
"""

import contextlib
import functools
import itertools
import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from train3d_jax.errors import DataError
from train3d_jax.formats.arrays import StoredArray, chosen_name
from train3d_jax.formats.pixels import MOST_PIXELS, damage_reported, exactly

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_PLACES = (0, 512)
"""Bytes before the signature: none, or MATLAB's text."""

_MOST_ARRAYS = 4096
"""Arrays and groups that are listed; chosen.  More are ignored."""

_MOST_CHUNKS = 1 << 16
"""Chunks of a map; chosen: a map of one chunk a value would take minutes."""

_VIRTUAL = 3
"""HDF5's number of the layout of a dataset that is made of others."""


def stored_hdf5(path: Path, key: str | None = None, usual: Sequence[str] = ()) -> StoredArray:
    """One array of an HDF5 file; of a MATLAB file with MATLAB's axes, the last of three first.

    MATLAB's (H, W, N) is stored as (N, W, H): it comes out as (N, H, W).

    Args:
      path: the file.
      key: name of the array with its groups, `a/b`; None where the file holds one of numbers that
        is no vector.
      usual: see `chosen_name`.

    Raises:
      DataError: the file is damaged, the array is not there, not clear, holds no numbers, or is
        stored in a way that is not read.
      OSError: the file cannot be read.
    """
    with _opened(path) as file:
        names = dataset_names(file)
        key = key.strip("/") if key is not None and key.strip("/") in names else key
        name = chosen_name(path, names, key, usual)
        shape = _checked(path, file[name]).shape
    by_columns = path.suffix.lower() == ".mat"
    return StoredArray(
        (*shape[:-2], *shape[:-3:-1]) if by_columns else shape,
        functools.partial(_whole, path, name, by_columns),
        functools.partial(_frames, path, name, by_columns),
    )


def is_hdf5(path: Path) -> bool:
    """Whether a file starts as HDF5, or as MATLAB's files of version 7.3.  Raises OSError."""
    with path.open("rb") as file:
        for place in _PLACES:
            file.seek(place)
            if file.read(len(_SIGNATURE)) == _SIGNATURE:
                return True
    return False


def dataset_names(file: Any) -> list[str]:
    """The arrays of numbers, vectors left out, that lie in an open file itself, not in others.

    MATLAB's own (`#refs#`) are left out.
    """
    import h5py

    found: list[str] = []
    seen = itertools.count(1)

    def visit(name: str, held: Any) -> bool | None:
        of_numbers = isinstance(held, h5py.Dataset) and held.dtype.kind in "fiu"
        # A null dataset has no shape, a vector only one axis that is longer than 1.
        is_map = of_numbers and sum(length != 1 for length in held.shape or ()) > 1
        if is_map and not name.startswith("#"):
            found.append(name)
        return True if next(seen) >= _MOST_ARRAYS else None

    file.visititems(visit)  # links to other places and files are not followed
    return found


def _whole(path: Path, name: str, by_columns: bool) -> np.ndarray:
    with _opened(path) as file:
        dataset = _checked(path, file[name])
        (values,) = _blocks(path, dataset, None)
    return np.swapaxes(values, -1, -2) if by_columns else values


def _frames(
    path: Path, name: str, by_columns: bool, shape: tuple[int, int, int]
) -> Iterator[np.ndarray]:
    count, height, width = shape
    with _opened(path) as file:
        dataset = _checked(path, file[name])
        if math.prod(dataset.shape) != math.prod(shape):
            raise ValueError("it was changed while it was read")
        # The axis of the frames is the first longer than 1, if there are several frames.
        axis = next((i for i, n in enumerate(dataset.shape) if n > 1), 0) if count > 1 else None
        for block in _blocks(path, dataset, axis):
            size = (width, height) if by_columns else (height, width)
            for values in block.reshape(-1, *size):
                yield values.T if by_columns else values


def _blocks(path: Path, dataset: Any, axis: int | None) -> Iterator[np.ndarray]:
    """The values in pieces along an axis, each as long as a chunk; None for all in one piece."""
    selection = [slice(0, length) for length in dataset.shape]
    if axis is None:
        yield _selected(path, dataset, selection)
        return
    step = dataset.chunks[axis] if dataset.chunks else 1
    for start in range(0, dataset.shape[axis], step):
        selection[axis] = slice(start, min(start + step, dataset.shape[axis]))
        yield _selected(path, dataset, selection)


def _selected(path: Path, dataset: Any, selection: list[slice]) -> np.ndarray:
    """A part of a dataset whose ends are ends of chunks."""
    extent = tuple(part.stop - part.start for part in selection)
    if math.prod(extent) > MOST_PIXELS:
        raise DataError(
            path, f"is stored in pieces of {extent}; more than {MOST_PIXELS} values are not read"
        )
    if dataset.chunks is None:
        return _contiguous(path, dataset, selection)
    unpack = _unpacking(path, dataset)
    values = np.zeros(extent, dataset.dtype)  # what was never written is missing
    corners = [range(p.start, p.stop, n) for p, n in zip(selection, dataset.chunks, strict=True)]
    if (count := math.prod(map(len, corners))) > _MOST_CHUNKS:
        raise DataError(path, f"is stored in {count} chunks; store larger ones")
    for corner in itertools.product(*corners):
        packed = _packed(dataset, corner)
        if packed is None:
            continue
        chunk = unpack(*packed)
        place = tuple(
            slice(at - part.start, min(at - part.start + n, length))
            for at, part, n, length in zip(corner, selection, dataset.chunks, extent, strict=True)
        )
        values[place] = chunk[tuple(slice(part.stop - part.start) for part in place)]
    return values


def _contiguous(path: Path, dataset: Any, selection: list[slice]) -> np.ndarray:
    """A part of a dataset without chunks: all of it, or some of its first axis longer than 1."""
    extent = [part.stop - part.start for part in selection]
    first = np.ravel_multi_index([part.start for part in selection], dataset.shape)
    size = math.prod(extent) * dataset.dtype.itemsize
    with path.open("rb") as file:
        file.seek(dataset.id.get_offset() + int(first) * dataset.dtype.itemsize)
        body = exactly(file, size)
    return np.frombuffer(body, dataset.dtype).reshape(extent)


def _packed(dataset: Any, corner: tuple[int, ...]) -> tuple[int, bytes] | None:
    """The filters that a chunk leaves out, as bits, and its bytes; None where it has none."""
    info = dataset.id.get_chunk_info_by_coord(corner)
    if not info.size or info.byte_offset is None:
        return None
    if info.byte_offset + info.size > dataset.file.id.get_filesize():
        raise ValueError("it ends too early")
    return dataset.id.read_direct_chunk(corner)


def _unpacking(path: Path, dataset: Any) -> Callable[[int, bytes], np.ndarray]:
    """What makes the values of a chunk out of its bytes."""
    import h5py

    plist = dataset.id.get_create_plist()
    filters = [plist.get_filter(number) for number in range(plist.get_nfilters())]
    size = math.prod(dataset.chunks) * dataset.dtype.itemsize
    known = {
        h5py.h5z.FILTER_DEFLATE: lambda data: _inflated(data, size + 4),
        h5py.h5z.FILTER_SHUFFLE: lambda data: _unshuffled(data, dataset.dtype.itemsize),
        h5py.h5z.FILTER_FLETCHER32: _checked_sum,
        h5py.h5z.FILTER_LZF: lambda data: _lzf(data, size),
    }
    for code, _, _, name in filters:
        if code not in known:
            kind = name.decode(errors="replace") or f"filter {code}"
            raise DataError(path, f"is compressed with {kind[:40]}; save it with gzip, lzf or none")

    def unpack(left_out: int, data: bytes) -> np.ndarray:
        for number in reversed(range(len(filters))):
            if not left_out >> number & 1:
                data = known[filters[number][0]](data)
        if len(data) != size:
            raise ValueError(f"a chunk of {size} bytes has {len(data)}")
        return np.frombuffer(data, dataset.dtype).reshape(dataset.chunks)

    return unpack


def _inflated(data: bytes, most: int) -> bytes:
    return zlib.decompressobj().decompress(data, most)


def _unshuffled(data: bytes, width: int) -> bytes:
    """Undoes HDF5's order of first bytes, second bytes, ... of all values."""
    count = len(data) // width
    whole = np.frombuffer(data, np.uint8, count * width).reshape(width, count).T
    return whole.tobytes() + data[count * width :]


def _checked_sum(data: bytes) -> bytes:
    import imagecodecs

    body, stated = data[:-4], int.from_bytes(data[-4:], "little")
    if imagecodecs.h5checksum_fletcher32(body) != stated:
        raise ValueError("a checksum is wrong")
    return body


def _lzf(data: bytes, size: int) -> bytes:
    import imagecodecs

    return bytes(imagecodecs.lzf_decode(data, out=size))


def _checked(path: Path, dataset: Any) -> Any:
    """A dataset that can be read; no memory is taken for what it claims."""
    plist = dataset.id.get_create_plist()
    if plist.get_layout() == _VIRTUAL or plist.get_external_count():
        raise DataError(path, "holds an array whose values are in other files; copy them into it")
    if dataset.id.get_type().get_size() != dataset.dtype.itemsize:
        raise DataError(path, "holds numbers of an unusual type; save them as float32")
    size = math.prod(dataset.shape) * dataset.dtype.itemsize
    if dataset.chunks is not None:
        if math.prod(dataset.chunks) > MOST_PIXELS:
            raise DataError(path, f"is stored in chunks of {dataset.chunks}; store smaller ones")
        if size and not dataset.id.get_storage_size():
            raise DataError(path, "holds an array without values")
    elif size and dataset.id.get_offset() is None:
        raise DataError(path, "holds an array without values, or in its head; store it contiguous")
    elif size and dataset.id.get_offset() + size > dataset.file.id.get_filesize():
        raise ValueError("it ends too early")
    return dataset


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """An open file; what h5py and zlib raise for a damaged one comes out as DataError."""
    if not is_hdf5(path):  # raises OSError where the system refuses
        raise DataError(path, "is not a readable HDF5 file: its head is truncated or damaged")
    import h5py  # heavy, and needed for this kind of file only

    with damage_reported(path, "HDF5 file"), h5py.File(path, "r") as file:
        yield file
