"""Depth maps with the camera that took them, to evaluate on: prepared sets and manifest.json.

manifest.json is a list of rows, one a map:

    depth             file, relative to the manifest's folder or else to the folder above it
    fx, fy, cx, cy    of the camera, in pixels
    metres_per_unit   what the file's values are multiplied with
    invalid           a value that means missing, besides 0, or a list of them; may be absent
    scene             may be absent; maps of one scene are not independent
    space             may be absent; "depth" is all that is read
"""

import json
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, cast

import numpy as np

from data.prepared.layout import DATASET
from data.prepared.prepared_set import PreparedSet
from data.protocol import MAX_FIELD_OF_VIEW_DEG, MIN_FIELD_OF_VIEW_DEG
from train3d_jax.errors import DataError, UserError
from train3d_jax.formats.depth import ReadSettings, read_depth_file
from train3d_jax.geometry.camera import focal_to_degrees, intrinsics_matrix

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
    """

    name: str
    scene: str
    depth: np.ndarray
    intrinsics: np.ndarray


class TrueMaps:
    """The maps of a folder, read when they are asked for.

    Raises UserError when the folder holds neither a prepared set nor a manifest.json that is whole.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if not self.path.is_dir():
            raise UserError(
                f"{path}: is no folder; give a prepared set or a folder with a {MANIFEST}"
            )
        listed = (self.path / MANIFEST).is_file() and not (self.path / DATASET).exists()
        self._source = _Listed(self.path / MANIFEST) if listed else PreparedSet(self.path)

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> TrueMap:
        """Raises DataError on a map that cannot be read."""
        if isinstance(self._source, _Listed):
            true_map = self._source[index]
        else:
            sample = self._source[index]
            true_map = TrueMap(sample.id, sample.scene, sample.depth, sample.intrinsics)
        self._check_camera(true_map)
        return true_map

    def _check_camera(self, true_map: TrueMap) -> None:
        (cx, cy), (height, width) = true_map.intrinsics[:2, 2], true_map.depth.shape
        for focal, length in (
            (true_map.intrinsics[0, 0], width),
            (true_map.intrinsics[1, 1], height),
        ):
            degrees = focal_to_degrees(focal, length)
            if not MIN_FIELD_OF_VIEW_DEG <= degrees <= MAX_FIELD_OF_VIEW_DEG:
                raise DataError(
                    self.path / true_map.name,
                    f"its field of view of {degrees:.1f} degrees is not in 1 to 179",
                )
        if not (0 <= cx <= width - 1 and 0 <= cy <= height - 1):
            raise DataError(
                self.path / true_map.name,
                f"its principal point ({cx:g}, {cy:g}) is outside of its {width}x{height} pixels",
            )


class _Listed:
    """The rows of a manifest.json."""

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
        file = self._file(row["depth"])
        values = read_depth_file(file, ReadSettings(invalid=_missing_values(row)))
        with np.errstate(all="ignore"):
            metres = values * np.float32(row["metres_per_unit"])
            metres = np.where(np.isfinite(metres) & (metres > 0), metres, np.float32(0))
        fx, fy, cx, cy = (float(row[key]) for key in _NUMBERS[:4])
        name = PurePosixPath(row["depth"]).with_suffix("").as_posix()
        return TrueMap(name, str(row.get("scene") or ""), metres, intrinsics_matrix(fx, fy, cx, cy))

    def _checked(self, index: int) -> dict[str, Any]:
        row = self._rows[index]
        which = f"row {range(len(self))[index] + 1}"
        if not isinstance(row, dict):
            raise DataError(self._path, f"{which} is no object")
        file = row.get("depth")
        if not isinstance(file, str) or not PurePosixPath(file).name or "\0" in file:
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

    def _file(self, relative: str) -> Path:
        here = self._path.parent / relative
        above = self._path.parent.resolve().parent / relative
        return above if not here.is_file() and above.is_file() else here


def _missing_values(row: dict[str, Any]) -> tuple[float, ...]:
    """The values that mean missing, of a row that was checked."""
    missing = row.get("invalid")
    return tuple(
        float(cast(float, value))
        for value in (missing if isinstance(missing, list) else [missing])
        if value is not None
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST
