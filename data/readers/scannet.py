"""ScanNet: `scans/<scene>/<scene>.sens`, version 4 of the format, little-endian and packed.

Scenes whose frames were exported, by ScanNet's own reader or as `scannet_frames_25k`, are read by
`data.readers.scannet_frames`.  A `.sens`:

    u32 version=4 | u64 n | char[n] sensor name
    f32[16] intrinsic_color, extrinsic_color, intrinsic_depth, extrinsic_depth   (row-major 4x4)
    i32 color_compression | i32 depth_compression: 0 raw_ushort, 1 zlib_ushort, 2 occi_ushort
    u32 color_width, color_height, depth_width, depth_height | f32 depth_shift
    u64 frames, then for each:
        f32[16] camera_to_world | u64 ts_color, ts_depth | u64 color_bytes, depth_bytes
        colour payload | depth payload
    u64 IMU records ...                                   (never read: they come after all frames)

Metres are the 16-bit value over depth_shift, 0 is missing.  The camera is `intrinsic_depth`.  A
pose that was lost is all -inf; the depth of such a frame is good, and poses are not looked at.

Files run to gigabytes.  A frame is reached by hopping from header to header, so that no more than
one frame's depth is ever in memory.
"""

import functools
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, ClassVar, NamedTuple

import numpy as np

from data.protocol import (
    DepthMap,
    Frame,
    Scene,
    SingleViews,
    UnsuitableError,
    depth_map_of_units,
    refuse,
    refuse_no_camera,
    unique_scenes,
)
from data.readers import scannet_frames
from data.readers.listing import folders
from data.validity import unfit_camera
from train3d_jax.errors import DataError

_SENS = ".sens"
_SCENES = ("scans", "scannet_frames_25k", "tasks/scannet_frames_25k", "")
"""Where scenes are below the root; the first that holds one counts, for they hold the same."""

_VERSION = 4
_RAW_USHORT, _ZLIB_USHORT, _OCCI_USHORT = 0, 1, 2
_MAX_SENSOR_NAME_BYTES = 4096  # chosen; real names have some twenty
_BYTES_PER_PIXEL = 2

_PREFIX = struct.Struct("<IQ")  # version, length of the sensor's name
_MATRICES = struct.Struct("<64f")
_INTRINSIC_DEPTH = slice(32, 48)  # the third of four 4x4 matrices
_IMAGES = struct.Struct("<ii4IfQ")  # both compressions, both sizes, depth_shift, frames
_FRAME = struct.Struct("<64xQQQQ")  # after the pose: two time stamps, the sizes of both payloads


@dataclass(frozen=True)
class ScanNet:
    """Reads ScanNet from a folder of scenes, or from the folder that holds `scans/`."""

    root: Path
    name: ClassVar[str] = "scannet"
    patterns: ClassVar[tuple[str, ...]] = (
        "scans/<scene>/<scene>.sens",
        "<scene>/<scene>.sens",
        *(f"<scene>/{pattern}" for pattern in scannet_frames.PATTERNS),
    )
    licence: ClassVar[str] = (
        "ScanNet Terms of Use: non-commercial research and education (www.scan-net.org)"
    )

    def scenes(self, on_broken: Callable[[DataError], None] = refuse) -> list[Scene]:
        """One scene for each folder with a `.sens` or with exported frames.

        The frames of a `.sens` are numbers from 0, exported ones are called by their names.
        """
        return unique_scenes(self._readable(on_broken))

    def file(self, scene: Scene, frame: Frame) -> Path:
        """The `.sens` file, or the PNG."""
        return scene.path if _is_sens(scene) else scannet_frames.file(scene.path, frame)

    def read(self, scene: Scene, frame: Frame) -> DepthMap:
        """The depth of one frame; DataError where the file ends early or does not decode."""
        if not _is_sens(scene):
            return scannet_frames.read(scene.path, frame)
        with scene.path.open("rb") as sens:
            status = os.fstat(sens.fileno())
            scan = _known_scan(scene.path, status.st_size, status.st_mtime_ns)
            payload = _depth_payload(sens, scene.path, scan, int(frame))
        header = scan.header
        values = _decode(payload, header, scene.path, int(frame))
        return depth_map_of_units(values, header.units_per_metre, header.intrinsics.copy())

    def _readable(self, on_broken: Callable[[DataError], None]) -> Iterator[Scene]:
        for source in self._sources():
            try:
                if source.suffix == _SENS:
                    header = _read_header(source)
                    if reason := unfit_camera(header.intrinsics, header.height, header.width):
                        raise UnsuitableError(source, reason)
                    yield Scene(source.stem, source, SingleViews(range(header.frames)))
                else:
                    yield Scene(source.name, source, SingleViews(scannet_frames.frames(source)))
            except DataError as error:
                on_broken(error)
            except OSError as error:
                on_broken(DataError(source, error.strerror or error))

    def _sources(self) -> list[Path]:
        """Of each scene its `.sens`, or the folder of a scene whose frames were exported."""
        for inner in _SCENES:
            sources = []
            for folder in folders(self.root / inner):
                sens = folder / f"{folder.name}{_SENS}"
                if sens.is_file():
                    sources.append(sens)
                elif scannet_frames.is_scene(folder):
                    sources.append(folder)
            if sources:
                return sources
        return []


def _is_sens(scene: Scene) -> bool:
    return scene.path.suffix == _SENS


class _Header(NamedTuple):
    """The fields of a `.sens` header on depth frames; `end` is where the first frame starts."""

    intrinsics: np.ndarray
    compression: int
    width: int
    height: int
    units_per_metre: float
    frames: int
    end: int


def _read_header(path: Path) -> _Header:
    with path.open("rb") as sens:
        version, name_bytes = _unpack(_PREFIX, sens, path, "the header")
        if version != _VERSION:
            raise DataError(path, f"is version {version} of .sens, only {_VERSION} is known")
        if name_bytes > _MAX_SENSOR_NAME_BYTES:
            raise DataError(path, f"names its sensor in {name_bytes} bytes: the header is damaged")
        sens.seek(name_bytes, os.SEEK_CUR)
        matrices = _unpack(_MATRICES, sens, path, "the header")
        images = _unpack(_IMAGES, sens, path, "the header")
        end = sens.tell()
        size = os.fstat(sens.fileno()).st_size
    _, compression, _, _, width, height, units_per_metre, frames = images
    if compression == _OCCI_USHORT:
        raise DataError(path, "holds occi_ushort depth, which only its vendor's codec decodes")
    if compression not in (_RAW_USHORT, _ZLIB_USHORT):
        raise DataError(path, f"holds depth of the unknown compression {compression}")
    if not (np.isfinite(units_per_metre) and units_per_metre > 0):
        raise DataError(path, f"has a depth_shift of {units_per_metre}, which is not a scale")
    if not (width and height):
        raise DataError(path, f"has depth images of {width}x{height} pixels")
    if frames * _FRAME.size > size - end:
        raise DataError(path, f"claims {frames} frames, more than fit in it: truncated or damaged")
    intrinsics = np.array(matrices[_INTRINSIC_DEPTH], np.float64).reshape(4, 4)[:3, :3].copy()
    refuse_no_camera(path, intrinsics)
    return _Header(intrinsics, compression, width, height, units_per_metre, frames, end)


class _Scan(NamedTuple):
    """The header of a file, and the places of its frames as far as this process has hopped."""

    header: _Header
    starts: dict[int, int]
    size: int


@functools.lru_cache(maxsize=4)
def _known_scan(path: Path, size: int, modified_ns: int) -> _Scan:
    """The header of a file, parsed once for all of its frames; callers add to `starts`.

    Size and time of change are part of the key, so that a file that was rewritten is parsed anew.
    Four files are enough: a worker reads the frames of one scene after the other.
    """
    header = _read_header(path)
    return _Scan(header, {0: header.end}, size)


def _depth_payload(sens: BinaryIO, path: Path, scan: _Scan, frame: int) -> bytes:
    """The compressed depth of one frame, reached by hopping over the frames before it."""
    header, starts, size = scan
    if not 0 <= frame < header.frames:
        raise DataError(path, f"has no frame {frame}, it holds {header.frames}")
    while True:
        # Each start is checked against the size of the file before it is kept: seeking past the
        # end of a file is no error, and sizes in a damaged header can be anything.
        current = min(frame, len(starts) - 1)
        sens.seek(starts[current])
        *_, color_bytes, depth_bytes = _unpack(_FRAME, sens, path, f"frame {current}")
        depth_start = starts[current] + _FRAME.size + color_bytes
        next_start = depth_start + depth_bytes
        if next_start > size:
            raise DataError(path, f"ends within frame {current}: truncated or damaged")
        if current == frame:
            sens.seek(depth_start)
            return sens.read(depth_bytes)
        starts.setdefault(current + 1, next_start)  # other threads may have added the same


def _decode(payload: bytes, header: _Header, path: Path, frame: int) -> np.ndarray:
    """(H, W) uint16."""
    expected = header.width * header.height * _BYTES_PER_PIXEL
    if header.compression == _ZLIB_USHORT:
        stream = zlib.decompressobj()
        try:
            # One byte more than there may be: a damaged stream cannot fill the memory.
            payload = stream.decompress(payload, expected + 1)
        except zlib.error as error:
            raise DataError(
                path, f"frame {frame}: the depth does not decompress: {error}"
            ) from None
        if len(payload) == expected and not stream.eof:
            raise DataError(path, f"frame {frame}: the compressed depth ends early")
    if len(payload) != expected:
        raise DataError(
            path,
            f"frame {frame}: the depth has {len(payload)} bytes,"
            f" not the {expected} of {header.width}x{header.height} pixels",
        )
    return np.frombuffer(payload, "<u2").reshape(header.height, header.width)


def _unpack(layout: struct.Struct, sens: BinaryIO, path: Path, part: str) -> tuple:
    packed = sens.read(layout.size)
    if len(packed) < layout.size:
        raise DataError(path, f"ends within {part}: truncated")
    return layout.unpack(packed)
