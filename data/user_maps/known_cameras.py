"""Known cameras: what flags, files and EXIF say of the camera of a map."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.user_maps.camera_files.neighbours import neighbours_in
from data.user_maps.camera_files.reading import READABLE, files_of, read_cameras
from data.user_maps.depth_files import DepthFile
from data.user_maps.hints import (
    CameraHint,
    Report,
    files_beside,
    hint_beside,
    hint_of_exif,
    hint_of_file,
)
from train3d_jax.errors import DataError, UserError
from train3d_jax.formats.depth import PICTURES
from train3d_jax.geometry.camera import centred_intrinsics, degrees_to_focal
from train3d_jax.geometry.intrinsics import form_problem, size_problem

SUFFIXES = (".npy", ".json", ".txt", ".csv", ".npz")
"""Of the files in a folder of intrinsics, which have the names of the maps."""


def _ignore(_: str) -> None:
    pass


@dataclass(frozen=True)
class KnownCamera:
    """One camera for all maps, or files with cameras; at most one of the first three is set.

    Attributes:
      focal_px: focal length in pixels; the principal point is in the image centre.
      fov_deg: horizontal field of view in degrees; the principal point is in the image centre.
      intrinsics: a file for all maps, or a folder with one for each under the map's relative path,
        or with one for all that is found as beside maps.
      plus_minus: standard deviation of `focal_px` or `fov_deg`, in their unit; 0 for exact.
      automatic: files beside the maps and EXIF are looked for.
    """

    focal_px: float | None = None
    fov_deg: float | None = None
    intrinsics: Path | None = None
    plus_minus: float = 0.0
    automatic: bool = False

    def __post_init__(self):
        """Raises UserError where the intrinsics are not there, or one file for all is broken."""
        if self.intrinsics is None or self.intrinsics.is_dir():
            return
        if not self.intrinsics.is_file():
            raise UserError(
                f"--intrinsics={self.intrinsics}: is not there; it takes a file of a camera "
                f"({READABLE}), or a folder with one for each map"
            )
        cameras = read_cameras(self.intrinsics)
        if cameras.shared is not None and (problem := form_problem(cameras.shared.matrix)):
            raise DataError(self.intrinsics, problem)

    @property
    def is_given(self) -> bool:
        """Whether flags say anything."""
        return (self.focal_px, self.fov_deg, self.intrinsics) != (None, None, None)

    @property
    def is_known(self) -> bool:
        """Whether flags give the camera exactly; files in a folder are taken for exact ones."""
        if self.intrinsics is not None and self.intrinsics.is_file():
            shared = read_cameras(self.intrinsics).shared
            return shared is None or not shared.sigma
        return self.is_given and not self.plus_minus

    def sources(self, file: DepthFile, picture: Path | None = None) -> list[Path]:
        """The files that the camera of a map is read from, in so far as they are there.

        Args:
          file: the map.
          picture: that it belongs to; None where there is none.
        """
        found = []
        if self.intrinsics is not None:
            found += files_of(path) if (path := self._file(file)) is not None else []
        if self._looks:
            found += files_beside(file)
            found += [] if picture is None else [picture]
        return found

    def hints(
        self,
        file: DepthFile,
        size: tuple[int, int],
        picture: Path | None = None,
        frame: int | None = None,
        report: Report = _ignore,
    ) -> tuple[CameraHint, ...]:
        """What is known of the camera of a map, the most trusted first: flag, file, EXIF.

        Where a flag gives the camera exactly, nothing else is looked for.

        Args:
          file: the map.
          size: its height and width in pixels.
          picture: that it belongs to, for EXIF; None where there is none but the map's own file.
          frame: number of the map in a clip; None where it is none of a clip.
          report: takes a line on each source that is there but cannot be used.

        Raises:
          DataError: what a flag gives is not there, is broken, or does not fit the size.
        """
        flag = self._of_flags(file, size, frame)
        found = [] if flag is None else [flag]
        if self._looks:
            if picture is None and file.path.suffix.lower() in PICTURES:
                picture = file.path  # of a phone, with its depth
            beside = hint_beside(file, size, report, frame)
            exif = None if picture is None else hint_of_exif(picture, size, report)
            found += [hint for hint in (beside, exif) if hint is not None]
        return tuple(found)

    def of(self, file: DepthFile, size: tuple[int, int]) -> np.ndarray | None:
        """The intrinsics of a map that flags give, (3, 3) float64; None where they give none.

        Raises:
          DataError: as `hints`.
        """
        flag = self._of_flags(file, size, None)
        return None if flag is None else flag.intrinsics

    @property
    def _looks(self) -> bool:
        """Whether files beside the maps and EXIF matter."""
        return self.automatic and not self.is_known

    def _of_flags(
        self, file: DepthFile, size: tuple[int, int], frame: int | None
    ) -> CameraHint | None:
        height, width = size
        if self.fov_deg is not None:
            camera = centred_intrinsics(degrees_to_focal(self.fov_deg, width), height, width)
            # f = W / 2 / tan(fov / 2): d log f / d fov is 1 / sin(fov).
            sigma = math.radians(self.plus_minus) / math.sin(math.radians(self.fov_deg))
            return CameraHint("flag", f"--fov_deg={self.fov_deg:g}", camera, sigma)
        if self.focal_px is not None:
            camera, name = centred_intrinsics(self.focal_px, height, width), "--focal_px"
            if problem := size_problem(camera, height, width):
                raise DataError(file.path, f"{name}={self.focal_px:g}: {problem}")
            sigma = self.plus_minus / self.focal_px
            return CameraHint("flag", f"{name}={self.focal_px:g}", camera, sigma)
        if self.intrinsics is None:
            return None
        path = self._file(file)
        if path is None:
            wanted = file.bare
            raise DataError(
                self.intrinsics,
                f"holds no intrinsics {wanted}.npy or {wanted}.json for {file.relative}",
            )
        return hint_of_file(path, f"--intrinsics={self.intrinsics}", "flag", file, size, frame)

    def _file(self, file: DepthFile) -> Path | None:
        """The file of `intrinsics` that a map's camera is in; None where it is not there."""
        folder = self.intrinsics
        if folder is None or not folder.is_dir():
            return folder
        for suffix in SUFFIXES:
            path = folder / file.bare
            if (path := path.with_name(path.name + suffix)).is_file():
                return path
        return next(neighbours_in(folder), None)


def read_intrinsics(path: Path) -> np.ndarray:
    """The one camera of a file, whatever the map: (3, 3) float64 in pixels of its own image.

    Raises:
      DataError: the file cannot be read, or does not hold one camera without skew.
    """
    matrix = read_cameras(path).of(path, path.name).matrix
    if problem := form_problem(matrix):
        raise DataError(path, problem)
    return matrix


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
