"""Record3D's depth maps: single .depth, and all of a recording in its .r3d.

Both are float32 in metres, packed with LZFSE.  A .r3d is a zip of `metadata` (JSON) and of
`rgbd/0.depth`, `rgbd/1.depth` and so on.
"""

import contextlib
import functools
import json
import re
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from train3d_jax.errors import DataError
from train3d_jax.formats.arrays import StoredArray
from train3d_jax.formats.pixels import check_size, damage_reported, mute

_SIZES = ((256, 192), (640, 480))
"""Height and width of upright maps of the LiDAR and of the camera at the front."""

_MOST_BYTES = 16 << 20
"""Of a file of metadata that are read; chosen: an hour of frames has some 8 MB."""

_METADATA = ("metadata", "metadata.json")
_FRAME = re.compile(r"(?:.*/)?(\d{1,9})\.depth")


def read_record3d(path: Path) -> np.ndarray:
    """A .depth, (H, W) float32.

    Its size is the one that the recording's metadata state, in its folder or the one above; without
    them the one that has as many pixels, upright.

    Raises:
      DataError: it is damaged, or has as many pixels as no map of Record3D.
      OSError: it cannot be read.
    """
    places = [folder / name for folder in path.parents[:2] for name in _METADATA]
    metadata = b""
    if stated := next((place for place in places if place.is_file()), None):
        with stated.open("rb") as file:
            metadata = file.read(_MOST_BYTES)
    sizes = _sizes(metadata)
    with path.open("rb") as file:
        return _unpacked(path, file.read(_most_packed(path, sizes)), sizes)


def stored_r3d(path: Path) -> StoredArray:
    """The maps of a .r3d, in the order of their numbers.

    Raises:
      DataError: it is damaged, or holds no map.
      OSError: it cannot be read.
    """
    with _opened(path) as held:
        names, sizes = _names(held), _sizes(_metadata(held))
        size = sizes[0]
        if names and len(sizes) > 1:
            size = _frame(path, held, names[0], sizes).shape
    shape = (len(names), size[0], size[1])
    return StoredArray(
        shape, functools.partial(_whole, path, shape), functools.partial(_frames, path)
    )


class Recording(NamedTuple):
    """The frames of a .r3d, any of which `read_frame` reads.

    Attributes:
      path: of the file.
      names: of the frames' maps in it, in the order of their numbers.
      sizes: heights and widths that they may have.
    """

    path: Path
    names: tuple[str, ...]
    sizes: Sequence[tuple[int, int]]

    def read_frame(self, name: str) -> np.ndarray:
        """One map, (H, W) float32, in metres.

        Raises:
          DataError: it is damaged or not there.
          OSError: it cannot be read.
        """
        with _opened(self.path) as held:
            return _frame(self.path, held, name, self.sizes)


def read_recording(path: Path) -> Recording:
    """What a .r3d holds.

    Raises:
      DataError: it is damaged.
      OSError: it cannot be read.
    """
    with _opened(path) as held:
        return Recording(path, tuple(_names(held)), _sizes(_metadata(held)))


def read_r3d_metadata(path: Path) -> bytes:
    """The JSON that a .r3d has on its recording; empty where there is none.

    Raises:
      DataError: it is damaged.
      OSError: it cannot be read.
    """
    with _opened(path) as held:
        return _metadata(held)


def _whole(path: Path, shape: tuple[int, int, int]) -> np.ndarray:
    return np.stack([*_frames(path, shape)])


def _frames(path: Path, shape: tuple[int, int, int]) -> Iterator[np.ndarray]:
    with _opened(path) as held:
        for name in _names(held)[: shape[0]]:
            yield _frame(path, held, name, [shape[1:]])


def _names(held: zipfile.ZipFile) -> list[str]:
    found = [match for entry in held.namelist() if (match := _FRAME.fullmatch(entry))]
    return [match[0] for match in sorted(found, key=lambda match: int(match[1]))]


def _metadata(held: zipfile.ZipFile) -> bytes:
    for name in _METADATA:
        if name in held.namelist():
            with held.open(name) as file:
                return file.read(_MOST_BYTES)
    return b""


def _frame(
    path: Path, held: zipfile.ZipFile, name: str, sizes: Sequence[tuple[int, int]]
) -> np.ndarray:
    with held.open(name) as file:
        return _unpacked(path, file.read(_most_packed(path, sizes)), sizes)


def _most_packed(path: Path, sizes: Sequence[tuple[int, int]]) -> int:
    """Bytes that a packed map may take: noise takes a little more than its own size."""
    for height, width in sizes:
        check_size(path, width, height)
    return 2 * max(4 * height * width for height, width in sizes) + (1 << 12)


def _sizes(metadata: bytes) -> Sequence[tuple[int, int]]:
    """Heights and widths that maps may have by the JSON of a recording."""
    try:
        contents: Any = json.loads(metadata)
        if "dw" in contents and "dh" in contents:
            return [(int(contents["dh"]), int(contents["dw"]))]
        lies = float(contents["w"]) > float(contents["h"])
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
        lies = False
    return [(width, height) for height, width in _SIZES] if lies else _SIZES


def _unpacked(path: Path, packed: bytes, sizes: Sequence[tuple[int, int]]) -> np.ndarray:
    """A map of one of some sizes."""
    import imagecodecs  # heavy, and needed for this kind of file only

    mute("imagecodecs")
    most = max(4 * height * width for height, width in sizes)
    with damage_reported(path, "depth map of Record3D"):
        body = imagecodecs.lzfse_decode(packed, out=most + 1)
    for height, width in sizes:
        if len(body) == 4 * height * width:
            return np.frombuffer(body, "<f4").reshape(height, width)
    wanted = " or ".join(f"{height} x {width}" for height, width in sizes)
    raise DataError(
        path,
        f"is not a readable depth map of Record3D: it unpacks to "
        f"{'more than ' * (len(body) > most)}{min(len(body), most) // 4} values, not to {wanted}",
    )


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """An open zip; what zipfile and zlib raise for a damaged one comes out as DataError."""
    with (
        path.open("rb") as file,  # raises OSError where the system refuses
        damage_reported(path, ".r3d"),
        zipfile.ZipFile(file) as held,
    ):
        yield held
