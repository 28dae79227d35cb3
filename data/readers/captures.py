"""Captures of the user's own cameras: where they are below a folder, and what all of them share."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from data.protocol import Scene, UnsuitableError, unique_scenes
from data.readers.listing import folders
from data.user_maps.camera_files.camera import fitted
from data.user_maps.camera_files.reading import read_cameras
from train3d_jax.errors import DataError

NO_LICENCE = "not stated; the first line of a LICENCE.txt beside the data states it"

_MOST_SIGMA = 0.02
"""Of log focal length of a camera that is taken for the truth.  Chosen: a tenth of the error of the
weights of the package on depth cameras; a phone's lens has less than 0.01."""


def find(root: Path, is_capture: Callable[[Path], bool]) -> list[tuple[str, Path]]:
    """Name and folder of each capture: the folder itself, or those one or two levels below it.

    Captures are not entered.  A name is the path below `root`, or the name of `root` itself.
    """
    if is_capture(root):
        return [(root.resolve().name, root)]
    found = []
    for folder in folders(root):
        inner = [folder] if is_capture(folder) else folders(folder)
        found += [(each.relative_to(root).as_posix(), each) for each in inner if is_capture(each)]
    return found


def scenes_listed_by(
    root: Path,
    name: str,
    scene_of: Callable[[str, Path], Scene],
    on_broken: Callable[[DataError], None],
) -> list[Scene]:
    """A scene for each capture, which is a folder with a file of this name."""
    found = find(root, lambda folder: (folder / name).is_file())
    return unique_scenes(readable(found, scene_of, on_broken))


def readable(
    found: Iterable[tuple[str, Path]],
    scene_of: Callable[[str, Path], Scene],
    on_broken: Callable[[DataError], None],
) -> Iterator[Scene]:
    """The scenes of captures, by name and path; what cannot be read goes to `on_broken`."""
    for name, path in found:
        try:
            yield scene_of(name, path)
        except DataError as error:
            on_broken(error)
        except OSError as error:
            on_broken(DataError(error.filename or path, error.strerror or error))


def camera_of(path: Path, relative: str, size: tuple[int, ...]) -> np.ndarray:
    """The camera of a depth map in a file of cameras, (3, 3) float64 in pixels of the map.

    Args:
      path: of the file of cameras.
      relative: path of the depth map in the capture.
      size: height and width of the map; that of the photo may be another.

    Raises:
      DataError: it holds no camera of this map.
      UnsuitableError: the lens bends too much to train on.
    """
    height, width = size
    camera = read_cameras(path).of(path, relative)
    if camera.sigma > _MOST_SIGMA:
        raise UnsuitableError(
            path, f"its lens bends too much for a pinhole camera: undistort {relative} first"
        )
    return fitted(path, camera, (height, width))
