"""What is known of a camera before its map is looked at: from flags, files and EXIF."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from data.user_maps.camera_files.camera import Cameras, NotACamera, fitted, whole_size
from data.user_maps.camera_files.neighbours import neighbours
from data.user_maps.camera_files.reading import files_of, read_cameras
from data.user_maps.depth_files import DepthFile
from train3d_jax.errors import DataError
from train3d_jax.geometry.camera import centred_intrinsics
from train3d_jax.geometry.intrinsics import size_problem

Report = Callable[[str], None]
"""Takes a line on a source that is there but not used."""


class CameraHint(NamedTuple):
    """What one source says of the camera of a map.

    Attributes:
      source: its kind, in the order of trust.
      origin: where it is from, for people; the same for all maps that share it.
      intrinsics: (3, 3) float64, pixels of the map.
      sigma: standard deviation of log focal length; 0 where the camera is exact.
    """

    source: Literal["flag", "file", "exif"]
    origin: str
    intrinsics: np.ndarray
    sigma: float

    def __str__(self) -> str:
        width = f", within {self.sigma:.0%}" if self.sigma else ""
        return f"focal length from {self.origin}{width}"


def hint_of_file(
    path: Path,
    place: str,
    source: Literal["flag", "file"],
    file: DepthFile,
    size: tuple[int, int],
    frame: int | None = None,
) -> CameraHint:
    """The hint of a file of cameras.

    Args:
      path: of the file.
      place: where it lies, for people.
      source: of the hint.
      file: the map.
      size: its height and width in pixels.
      frame: its number in a clip; None where it is none of a clip.

    Raises:
      DataError: the file is broken, or holds no camera of this map.
    """
    return _hint(path, read_cameras(path), place, source, file, size, frame)


def hint_beside(
    file: DepthFile, size: tuple[int, int], report: Report, frame: int | None = None
) -> CameraHint | None:
    """The hint of the nearest file that holds the camera of a map, see `neighbours`.

    Answers of launch.infer do not count: they are estimates, and of these maps.
    """
    for each in neighbours(file):
        try:
            cameras = read_cameras(each.path)
            if not cameras.is_answer:
                return _hint(each.path, cameras, each.place, "file", file, size, frame)
        except NotACamera as error:
            if not each.may_be_anything:
                report(_unused(each.place, error))
        except DataError as error:
            report(_unused(each.place, error))
    return None


def hint_of_exif(picture: Path, size: tuple[int, int], report: Report) -> CameraHint | None:
    """The hint of a picture; None where its EXIF says nothing."""
    from train3d_jax.formats.exif import exif_focal  # start-up: it imports Pillow

    try:
        found = exif_focal(picture, size)
        if found is None:
            return None
        intrinsics = centred_intrinsics(found.focal_px, *size)
        if problem := size_problem(intrinsics, *size):
            raise DataError(picture, problem)
    except DataError as error:
        report(_unused(picture.name, error))
        return None
    return CameraHint("exif", "EXIF of the pictures", intrinsics, found.sigma)


def files_beside(file: DepthFile) -> Iterator[Path]:
    """The files that `hint_beside` may read."""
    for each in neighbours(file):
        yield from files_of(each.path)


def _hint(
    path: Path,
    cameras: Cameras,
    place: str,
    source: Literal["flag", "file"],
    file: DepthFile,
    size: tuple[int, int],
    frame: int | None,
) -> CameraHint:
    camera = cameras.of(path, file.relative, frame)
    own_size = whole_size(camera)
    kind = cameras.kind
    if own_size is not None and own_size != size:
        kind += f", of pictures of {own_size[1]} x {own_size[0]}"
    return CameraHint(source, f"{place} ({kind})", fitted(path, camera, size), camera.sigma)


def _unused(place: str, error: DataError) -> str:
    return f"{place}: {error.reason}; not used"
