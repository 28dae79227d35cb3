"""The format array_record: depth in 16 bits, everything that a sample needs in one record.

    shards/00000.array_record   `SAMPLES_PER_SHARD` records, in the order of the manifest

A record is a u32, the length of a JSON object, that object, and the depth, all little-endian:

    {"id", "dataset", "scene", "source", "frame",          as in the manifest
     "size": [H, W], "intrinsics": 3x3 pixels, "units_per_metre": ...}
    u16[H * W]   metres times units_per_metre; 0 = missing

Depth that a raw file holds in 16 bits is stored as it is, and so are whole millimetres and 1/512 m.
Other maps get the scale that puts their largest depth at 65535: steps of 1.5e-5 of it.

Workers stage a record in a file of its own; once all records of a shard are there, it is packed and
they are deleted.  Records are compressed one by one (zstd), for random access.  The same records
give the same bytes.
"""

import functools
import json
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np

from data.protocol import DepthMap, Stored
from train3d_jax.errors import DataError, UserError
from train3d_jax.files import own_part

SHARDS, STAGED = "shards", "staged"
SUFFIX = "array_record"
SAMPLES_PER_SHARD = 256
"""About 25 MB of 640x480 sensor depth.  Chosen: large enough for shared storage, small enough to
repair."""

_EXACT_UNITS_PER_METRE = (1000.0, 512.0)  # ScanNet's and Taskonomy's
_LARGEST = 65535  # of 16 bits
_LENGTH = struct.Struct("<I")
# A group is what is decompressed to read one record.  The first level of zstd packs noisy maps in
# half the time of the third, as small; a stereo camera's come out 4 % larger, rendered ones 17 %.
_WRITER_OPTIONS = "group_size:1,zstd:1"
_READER_OPTIONS = "readahead_buffer_size:0,max_parallelism:0"  # the fastest for random access
_MAX_OPEN_SHARDS = 128  # of a process; chosen: systems allow some 1000 open files


def encode(depth_map: DepthMap, facts: dict[str, Any]) -> bytes:
    """One record.

    Args:
      depth_map: positive and finite where it is not missing.
      facts: further fields of the record's JSON.
    """
    codes, units_per_metre = depth_map.stored or _quantise(depth_map.depth)
    header = json.dumps(
        {
            **facts,
            "size": list(codes.shape),
            "intrinsics": depth_map.intrinsics.tolist(),
            "units_per_metre": units_per_metre,
        }
    ).encode()
    return _LENGTH.pack(len(header)) + header + codes.astype("<u2", copy=False).tobytes()


def decode(record: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Depth, (H, W) float32 metres, and intrinsics, (3, 3) float64, of a record.

    Raises ValueError when the record is not one.
    """
    codes, units_per_metre, intrinsics = decode_units(record)
    return _metres(codes, units_per_metre), intrinsics


def decode_units(record: bytes) -> tuple[np.ndarray, float, np.ndarray]:
    """The same as it is stored: (H, W) u16, its units in a metre, and intrinsics."""
    try:
        (length,) = _LENGTH.unpack_from(record)
        header = json.loads(record[_LENGTH.size : _LENGTH.size + length])
        intrinsics = np.array(header["intrinsics"], np.float64).reshape(3, 3)
        codes = np.frombuffer(record, "<u2", offset=_LENGTH.size + length).reshape(header["size"])
        return codes, float(header["units_per_metre"]), intrinsics
    except (ValueError, KeyError, TypeError, struct.error) as error:
        raise ValueError(f"not a record of a depth map: {error!r}") from None


def _quantise(depth: np.ndarray) -> Stored:
    """Depth in float32 metres to 16 bits, without loss where it is in whole units."""
    largest = float(depth.max())
    for units_per_metre in _EXACT_UNITS_PER_METRE:
        if largest * units_per_metre <= _LARGEST:
            codes = np.rint(depth * np.float32(units_per_metre)).astype("<u2")
            if np.array_equal(_metres(codes, units_per_metre), depth):
                return Stored(codes, units_per_metre)
    units_per_metre = _LARGEST / largest if largest else 1.0
    codes = np.rint(depth.astype(np.float64) * units_per_metre)
    # What is valid stays valid, however near it is.
    codes = np.where(depth > 0, np.clip(codes, 1, _LARGEST), 0).astype("<u2")
    return Stored(codes, units_per_metre)


def _metres(codes: np.ndarray, units_per_metre: float) -> np.ndarray:
    return np.divide(codes, np.float32(units_per_metre), dtype=np.float32)


def staged(folder: Path, index: int) -> Path:
    """Where the record of a sample waits for its shard."""
    return folder / STAGED / f"{index:06d}.record"


def shard(folder: Path, number: int) -> Path:
    """The file of a shard."""
    return folder / SHARDS / f"{number:05d}.{SUFFIX}"


def shard_sizes(samples: int) -> list[int]:
    """How many samples are in each shard of a set."""
    return [
        min(SAMPLES_PER_SHARD, samples - first) for first in range(0, samples, SAMPLES_PER_SHARD)
    ]


def pack(folder: Path, number: int, first: int, size: int) -> None:
    """Makes a shard of its staged records; runs in a worker, and may run twice, even at once.

    Args:
      folder: the set.
      number: of the shard.
      first: index of its first sample.
      size: how many samples it gets.

    Raises UserError when it cannot be written.
    """
    from array_record.python.array_record_module import ArrayRecordWriter

    files = [staged(folder, index) for index in range(first, first + size)]
    path = shard(folder, number)
    beside = own_part(path)
    try:
        path.parent.mkdir(exist_ok=True)
        writer = ArrayRecordWriter(str(beside), _WRITER_OPTIONS)
        for file in files:
            writer.write(file.read_bytes())
        writer.close()
        os.replace(beside, path)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"{path}: cannot be written: {error}") from None


def drop(folder: Path, first: int, size: int) -> None:
    """Deletes the staged records of a shard that is packed, the first one first."""
    for index in range(first, first + size):
        staged(folder, index).unlink(missing_ok=True)


class Shards:
    """Reads the records of a set by index; can be pickled, and used by many threads."""

    def __init__(self, folder: Path):
        self._folder = folder

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Depth and intrinsics of a sample, as `decode` gives them.  Raises DataError."""
        codes, units_per_metre, intrinsics = self.read_units(index)
        return _metres(codes, units_per_metre), intrinsics

    def read_units(self, index: int) -> tuple[np.ndarray, float, np.ndarray]:
        """The same as `decode_units` gives it."""
        number, position = divmod(index, SAMPLES_PER_SHARD)
        path = shard(self._folder, number)
        try:
            (record,) = _open(path, path.stat().st_mtime_ns).read([position])
            return decode_units(record)
        except FileNotFoundError:
            raise DataError(path, "is missing") from None
        except (OSError, ValueError, RuntimeError, IndexError) as error:
            reason = f"record {position} cannot be read: {error}"
            raise DataError(path, reason) from None


@functools.lru_cache(maxsize=_MAX_OPEN_SHARDS)
def _open(path: Path, modified_ns: int):
    """A reader; the time of change is part of the key, so that a mended file is opened anew."""
    from array_record.python.array_record_module import ArrayRecordReader

    return ArrayRecordReader(str(path), _READER_OPTIONS)
