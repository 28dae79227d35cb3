"""Known cameras: one number for all maps, or intrinsics in files."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data.user_maps.depth_files import DepthFile
from train3d_jax.errors import DataError, UserError
from train3d_jax.formats.depth import ReadSettings, read_depth_file
from train3d_jax.geometry.camera import centred_intrinsics, degrees_to_focal, intrinsics_matrix
from train3d_jax.geometry.intrinsics import form_problem, size_problem

SUFFIXES = (".npy", ".json")

_MOST_BYTES = 1 << 20
"""Bytes of a file of intrinsics that are read; chosen, as such files have a few hundred."""


@dataclass(frozen=True)
class KnownCamera:
    """One camera for all maps, or a folder with a camera for each; at most one of the three is set.

    Attributes:
      focal_px: focal length in pixels; the principal point is in the image centre.
      fov_deg: horizontal field of view in degrees; the principal point is in the image centre.
      intrinsics: a file for all maps, or a folder with one for each under the map's relative path.
    """

    focal_px: float | None = None
    fov_deg: float | None = None
    intrinsics: Path | None = None

    def __post_init__(self):
        """Raises UserError where the intrinsics are not there, or one file for all is broken."""
        if self.intrinsics is None or self.intrinsics.is_dir():
            return
        if not self.intrinsics.is_file():
            raise UserError(
                f"--intrinsics={self.intrinsics}: is not there; it takes a 3x3 .npy or a .json, or "
                "a folder with one for each map"
            )
        read_intrinsics(self.intrinsics)

    @property
    def is_known(self) -> bool:
        """Whether anything is known."""
        return (self.focal_px, self.fov_deg, self.intrinsics) != (None, None, None)

    def sources(self, file: DepthFile) -> list[Path]:
        """The files that the intrinsics of a map are read from, in so far as they are there."""
        if self.intrinsics is None:
            return []
        if not self.intrinsics.is_dir():
            return [self.intrinsics]
        return [path for path in _candidates(self.intrinsics, file) if path.is_file()][:1]

    def of(self, file: DepthFile, size: tuple[int, int]) -> np.ndarray | None:
        """The intrinsics of a map.

        Args:
          file: the map.
          size: its height and width in pixels.

        Returns:
          (3, 3) float64 in pixels; None where nothing is known.

        Raises:
          DataError: its file is not there, is broken, or does not fit the size.
        """
        height, width = size
        focal = self.focal_px
        if self.fov_deg is not None:
            focal = degrees_to_focal(self.fov_deg, width)
        if focal is not None:
            camera = centred_intrinsics(focal, height, width)
            if self.fov_deg is None and (problem := size_problem(camera, height, width)):
                raise DataError(file.path, f"--focal_px={focal:g}: {problem}")
            return camera
        if self.intrinsics is None:
            return None
        path = self.intrinsics
        if path.is_dir():
            path = _file_for(self.intrinsics, file)
        intrinsics = read_intrinsics(path)
        if problem := size_problem(intrinsics, height, width):
            raise DataError(path, problem)
        return intrinsics


def read_intrinsics(path: Path) -> np.ndarray:
    """Intrinsics from a 3x3 .npy, or from a JSON.

    The JSON is a 3x3 list, or an object with such a list under "intrinsics" (as the answers of
    launch.infer), or one with fx, fy, cx and cy.

    Returns:
      (3, 3) float64, pixels; pixel centres are at integers.

    Raises:
      DataError: the file cannot be read, or does not hold a camera without skew.
    """
    match path.suffix.lower():
        case ".npy":
            matrix = read_depth_file(path, ReadSettings()).astype(np.float64)
        case ".json":
            matrix = _from_json(path)
        case _:
            raise DataError(path, "is not a file of intrinsics; those are 3x3 .npy and .json")
    if matrix.shape != (3, 3):
        raise DataError(path, f"holds an array of shape {matrix.shape}, not 3x3 intrinsics")
    if problem := form_problem(matrix):
        raise DataError(path, problem)
    return matrix


def _file_for(folder: Path, file: DepthFile) -> Path:
    """The intrinsics of a map: the same path below `folder`, but for the suffix."""
    for path in _candidates(folder, file):
        if path.is_file():
            return path
    wanted = Path(file.relative).with_suffix("")
    raise DataError(
        folder, f"holds no intrinsics {wanted}.npy or {wanted}.json for {file.relative}"
    )


def _candidates(folder: Path, file: DepthFile) -> list[Path]:
    return [folder / Path(file.relative).with_suffix(suffix) for suffix in SUFFIXES]


def _from_json(path: Path) -> np.ndarray:
    try:
        with path.open("rb") as file:
            contents: Any = json.loads(file.read(_MOST_BYTES))
        if isinstance(contents, dict) and {"fx", "fy", "cx", "cy"} <= contents.keys():
            fx, fy, cx, cy = (float(contents[name]) for name in ("fx", "fy", "cx", "cy"))
            return intrinsics_matrix(fx, fy, cx, cy)
        if isinstance(contents, dict):
            contents = contents["intrinsics"]
        return np.array(contents, np.float64)
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror}") from None
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
        raise DataError(
            path,
            "holds no intrinsics: those are a 3x3 list, the same under the name intrinsics, or fx, "
            "fy, cx and cy",
        ) from None


def ray_length_to_depth(values: np.ndarray, intrinsics: np.ndarray, space: str) -> np.ndarray:
    """Depth along the optical axis from distances to the camera's centre, or the inverses of both.

    Args:
      values: ray length, or its inverse in disparity space, shape (H, W); any unit.
      intrinsics: (3, 3) in pixels.
      space: "depth" or "disparity".

    Returns:
      Shape (H, W), float32: ray length / |K^-1 (u, v, 1)|; the inverse times it in disparity space.
    """
    height, width = values.shape
    x = (np.arange(width) - intrinsics[0, 2]) / intrinsics[0, 0]
    y = (np.arange(height) - intrinsics[1, 2]) / intrinsics[1, 1]
    length = np.sqrt(1 + x**2 + y[:, None] ** 2).astype(np.float32)
    with np.errstate(over="ignore"):  # infinite is missing
        return values / length if space == "depth" else values * length
