"""manifest.json: depth maps of any format, with their cameras.

It is a list of rows, one a map:

    depth             file, relative to the manifest's folder or else to the folder above it
    rgb               its picture, in the same way; may be absent
    fx, fy, cx, cy    of the camera, in pixels
    metres_per_unit   what the file's values are multiplied with
    invalid           a value that means missing, besides 0, or a list of them; may be absent
    scene             may be absent; maps of one scene are not independent
    source            where the map is from, such as a dataset; may be absent
    space             may be absent; "depth" is all that is read
"""

import json
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, TypeGuard, cast

import numpy as np

from train3d_jax.errors import DataError
from train3d_jax.formats.depth import ReadSettings, read_depth_file
from train3d_jax.geometry.camera import intrinsics_matrix

MANIFEST = "manifest.json"

_NUMBERS = ("fx", "fy", "cx", "cy", "metres_per_unit")
_POSITIVE = ("fx", "fy", "metres_per_unit")

_LARGEST = 1e300
"""Least number in a manifest that is refused; chosen: JSON has integers larger than any float."""


class TrueMap(NamedTuple):
    """A depth map and its camera.

    Attributes:
      name: of the map in its set.
      scene: that it shows; empty where it is not known.
      depth: metres, float32 (H, W), 0 where missing.
      intrinsics: (3, 3) float64 in pixels; the principal point is inside of the image.
      source: where it is from, such as a dataset; empty where that is not known.
    """

    name: str
    scene: str
    depth: np.ndarray
    intrinsics: np.ndarray
    source: str = ""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = self.depth.shape
        return height, width


class ListedMaps:
    """The maps of a manifest.json, read when they are asked for.

    Raises DataError when it is no list of rows.
    """

    def __init__(self, path: Path):
        self._path = path
        try:
            rows = json.loads(path.read_bytes())
        except OSError as error:
            raise DataError(path, f"cannot be read: {error.strerror or error}") from None
        except (ValueError, RecursionError) as error:
            raise DataError(path, f"is no JSON: {error}") from None
        if not isinstance(rows, list):
            raise DataError(path, "holds no list of maps")
        if not rows:
            raise DataError(path, "lists no map")
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> TrueMap:
        row = self._checked(index)
        file = self.file(index)
        values = read_depth_file(file, ReadSettings(invalid=_missing_values(row)))
        with np.errstate(all="ignore"):
            metres = values * np.float32(row["metres_per_unit"])
            metres = np.where(np.isfinite(metres) & (metres > 0), metres, np.float32(0))
        fx, fy, cx, cy = (float(row[key]) for key in _NUMBERS[:4])
        camera = intrinsics_matrix(fx, fy, cx, cy)
        return TrueMap(self.name(index), self.scene(index), metres, camera, self.source(index))

    def name(self, index: int) -> str:
        """The name of a map: its file without the suffix; `row 3` where the row names no file."""
        file = self._named_file(index)
        return PurePosixPath(file).with_suffix("").as_posix() if file else self._which(index)

    def scene(self, index: int) -> str:
        """The scene that a map shows; empty where its row names none."""
        return self._text(index, "scene")

    def source(self, index: int) -> str:
        """Where a map is from; empty where its row does not say."""
        return self._text(index, "source")

    def file(self, index: int) -> Path:
        """The file of a map; the manifest itself where the row names none."""
        named = self._named_file(index)
        return self._path if named is None else self._found(named)

    def picture(self, index: int) -> Path | None:
        """The file of a map's picture, which may be missing; None where its row has no `rgb`.

        Raises:
          DataError: `rgb` names no file.
        """
        row = self._rows[index]
        named = row.get("rgb") if isinstance(row, dict) else None
        if named is None:
            return None
        if not _is_file_name(named):
            raise DataError(self._path, f"{self._which(index)} names no file as its rgb")
        return self._found(named)

    def _text(self, index: int, key: str) -> str:
        row = self._rows[index]
        return str(row.get(key) or "") if isinstance(row, dict) else ""

    def _found(self, named: str) -> Path:
        here = self._path.parent / named
        above = self._path.parent.resolve().parent / named
        return above if not here.is_file() and above.is_file() else here

    def _checked(self, index: int) -> dict[str, Any]:
        row = self._rows[index]
        which = self._which(index)
        if not isinstance(row, dict):
            raise DataError(self._path, f"{which} is no object")
        if self._named_file(index) is None:
            raise DataError(self._path, f"{which} names no file as its depth")
        for key in _NUMBERS:
            if not _is_number(row.get(key)):
                raise DataError(self._path, f"{which}: {key} is {row.get(key)!r}, not a number")
            if key in _POSITIVE and row[key] <= 0:
                raise DataError(self._path, f"{which}: {key} is {row[key]:g}, not positive")
        missing = row.get("invalid")
        for value in missing if isinstance(missing, list) else [missing]:
            if value is not None and not _is_number(value):
                raise DataError(self._path, f"{which}: invalid is {value!r}, not a number")
        if row.get("space", "depth") != "depth":
            raise DataError(self._path, f"{which} is in {row['space']!r}, not in depth")
        return row

    def _named_file(self, index: int) -> str | None:
        row = self._rows[index]
        file = row.get("depth") if isinstance(row, dict) else None
        return file if _is_file_name(file) else None

    def _which(self, index: int) -> str:
        return f"row {range(len(self))[index] + 1}"


def _missing_values(row: dict[str, Any]) -> tuple[float, ...]:
    """The values that mean missing, of a row that was checked."""
    missing = row.get("invalid")
    return tuple(
        float(cast(float, value))
        for value in (missing if isinstance(missing, list) else [missing])
        if value is not None
    )


def _is_file_name(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and bool(PurePosixPath(value).name) and "\0" not in value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST
