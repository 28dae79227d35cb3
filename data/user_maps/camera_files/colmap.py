"""COLMAP's cameras.txt and cameras.bin; where they hold several, images.txt or images.bin beside.

The formats: https://colmap.github.io/format.html, models and their numbers: its sensor/models.h.
"""

import struct
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from data.user_maps.camera_files.camera import (
    Camera,
    Cameras,
    all_equal,
    bare_name,
    distorted,
    from_corner,
    image_size,
    number,
)
from train3d_jax.errors import DataError
from train3d_jax.formats.pixels import brief

_MOST_CAMERAS = 100_000
"""Of a file; chosen: a camera for each picture of the largest reconstructions."""

_MOST_BYTES = 1 << 31
"""Of a file of images, most of which are their key points; chosen."""

_LONGEST_NAME = 4096
"""Bytes of an image's name in images.bin: the longest path that Linux has."""

_POINT = 24
"""Bytes of a key point in images.bin: x, y, and the number of its point."""


class _Model(NamedTuple):
    """A camera model: how many focal lengths it has, and the names of what follows cx and cy."""

    name: str
    focals: int
    distortion: tuple[str, ...] | None


_FISHEYE = None
_MODELS = {
    0: _Model("SIMPLE_PINHOLE", 1, ()),
    1: _Model("PINHOLE", 2, ()),
    2: _Model("SIMPLE_RADIAL", 1, ("k1",)),
    3: _Model("RADIAL", 1, ("k1", "k2")),
    4: _Model("OPENCV", 2, ("k1", "k2", "p1", "p2")),
    5: _Model("OPENCV_FISHEYE", 2, _FISHEYE),
    6: _Model("FULL_OPENCV", 2, ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")),
    7: _Model("FOV", 2, _FISHEYE),
    8: _Model("SIMPLE_RADIAL_FISHEYE", 1, _FISHEYE),
    9: _Model("RADIAL_FISHEYE", 1, _FISHEYE),
    10: _Model("THIN_PRISM_FISHEYE", 2, _FISHEYE),
}
"""By COLMAP's number.  What is not here (fisheyes of later versions) is refused, too."""

_COUNTS = {
    number: model.focals + 2 + len(model.distortion)
    for number, model in _MODELS.items()
    if model.distortion is not None
}
_NUMBERS = {model.name: number for number, model in _MODELS.items()}


def read_colmap(path: Path) -> Cameras:
    """The cameras of cameras.txt or cameras.bin.

    Raises:
      DataError: a file cannot be read or is damaged, or the lens is a fisheye.
    """
    is_binary = path.suffix.lower() == ".bin"
    try:
        with path.open("rb") as file:
            cameras = dict((_of_binary if is_binary else _of_text)(file))
        if not cameras:
            raise ValueError("it lists none")
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror}") from None
    except (ValueError, struct.error, ArithmeticError) as error:
        raise DataError(path, f"holds no cameras of COLMAP: {brief(error)}") from None
    if all_equal([*cameras.values()]):
        return Cameras("COLMAP", next(iter(cameras.values())))
    images = images_beside(path)
    if images is None:
        raise DataError(
            path, f"holds {len(cameras)} cameras; images{path.suffix}, which says whose, is missing"
        )
    named = defaultdict(list)
    for name, key in _names(images):
        if (camera := cameras.get(key)) is not None:
            named[bare_name(name)].append((name, camera))
    return Cameras("COLMAP", None, named)


def images_beside(path: Path) -> Path | None:
    """The file of images that belongs to one of cameras; None where it is not there."""
    images = path.with_name(f"images{path.suffix}")
    return images if images.is_file() else None


def _of_text(file: IO[bytes]) -> Iterator[tuple[int, Camera]]:
    for line in _lines(file):
        key, name, width, height, *values = line.decode("ascii", "replace").split()
        if name not in _NUMBERS:
            raise ValueError(f"the model {name:.40} is not that of a pinhole")
        yield int(key), _camera(_NUMBERS[name], int(width), int(height), [*map(float, values)])


def _of_binary(file: IO[bytes]) -> Iterator[tuple[int, Camera]]:
    (count,) = _unpack("<Q", file)
    if count > _MOST_CAMERAS:
        raise ValueError(f"it says that it holds {count}")
    for _ in range(count):
        key, model, width, height = _unpack("<IiQQ", file)
        yield key, _camera(model, width, height, list(_unpack(f"<{_count(model)}d", file)))


def _camera(model: int, width: int, height: int, values: list[float]) -> Camera:
    if len(values) != _count(model):
        raise ValueError(f"{_MODELS[model].name} has {_count(model)} numbers, not {len(values)}")
    values = [number(value) for value in values]
    focals = _MODELS[model].focals
    fx, fy = values[0], values[focals - 1]
    cx, cy, *rest = values[focals:]
    if min(fx, fy) <= 0:
        raise ValueError(f"its focal lengths are {fx:g} and {fy:g}")
    bent = dict(zip(_MODELS[model].distortion or (), rest, strict=True))
    radial = [bent.get(f"k{power}", 0.0) for power in range(1, 7)]
    camera = Camera(from_corner(fx, fy, cx, cy), image_size(height, width))
    return distorted(camera, radial, (bent.get("p1", 0.0), bent.get("p2", 0.0)))


def _count(model: int) -> int:
    """How many numbers a model has.  Raises ValueError on those of fisheyes."""
    if model not in _COUNTS:
        name = _MODELS[model].name if model in _MODELS else f"number {model}"
        raise ValueError(f"the model {name} is not that of a pinhole: undistort the pictures first")
    return _COUNTS[model]


def _names(path: Path) -> list[tuple[str, int]]:
    """Name and camera of each image."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"it is larger than the {_MOST_BYTES >> 30} GiB that are read")
        with path.open("rb") as file:
            found = _names_of_binary(file) if path.suffix == ".bin" else _names_of_text(file)
            return list(found)
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror}") from None
    except (ValueError, struct.error, OverflowError) as error:
        raise DataError(path, f"holds no images of COLMAP: {brief(error)}") from None


def _names_of_text(file: IO[bytes]) -> Iterator[tuple[str, int]]:
    # The second line of each image lists its key points, and may be empty.
    for place, line in enumerate(_lines(file, empty=True)):
        if place % 2 == 0 and line.strip():
            _, *_, camera, name = line.decode("utf-8", "replace").strip().split(None, 9)
            yield name, int(camera)


def _names_of_binary(file: IO[bytes]) -> Iterator[tuple[str, int]]:
    (count,) = _unpack("<Q", file)
    for _ in range(count):
        *_, camera = _unpack("<I7dI", file)
        name = bytearray()
        while (letter := file.read(1)) != b"\0":
            if not letter or len(name) == _LONGEST_NAME:
                raise ValueError("it ends in a name")
            name += letter
        yield name.decode("utf-8", "replace"), camera
        (points,) = _unpack("<Q", file)
        if points > _MOST_BYTES // _POINT:
            raise ValueError(f"an image has {points} key points")
        file.seek(points * _POINT, 1)


def _lines(file: IO[bytes], empty: bool = False) -> Iterator[bytes]:
    """The lines that are no comments; without `empty`, those with text."""
    for count, line in enumerate(file):
        if count > 2 * _MOST_CAMERAS:
            raise ValueError("it has too many lines")
        if not line.startswith(b"#") and (empty or line.strip()):
            yield line


def _unpack(form: str, file: IO[bytes]) -> tuple:
    size = struct.calcsize(form)
    return struct.unpack(form, file.read(size))
