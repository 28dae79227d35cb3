"""A camera as a file holds it, and what it means for a depth map of another size.

Pixel centres are at integers here.  COLMAP and nerfstudio count from the corner of the image, where
the centre of the first pixel is at 0.5: `from_corner`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from train3d_jax.errors import DataError
from train3d_jax.geometry.camera import centred_intrinsics, intrinsics_matrix, resized_intrinsics
from train3d_jax.geometry.intrinsics import form_problem, size_problem

ESTIMATED_SIGMA = 0.05
"""Of log focal length, where a network estimated it (MoGe, DUSt3R, Depth Anything 3).  Chosen: two
to three degrees at a field of view of 60 are 4 to 6 % of the focal length."""

_SAME_RATIO = 0.02
"""Relative difference of two aspect ratios.  Networks round sides to multiples of 14 pixels: 7 of
518 are 1.4 %; 4:3 and 3:2 differ by 12 %."""

_SMALL_DISTORTION = 0.01
"""Of the distance to the principal point, in the corner.  Less than that is ignored; chosen."""

_MOST_DISTORTION = 0.2
"""The same; a picture that is bent more is not one of a pinhole camera.  Chosen."""

_PHOTO_SIZES = ((1440, 1920), (968, 1296), (480, 640), (720, 1280), (1080, 1920), (3024, 4032))
"""Height and width of photos whose cameras are stored without a size: Stray Scanner and ARKit,
ScanNet, Kinect, HD, full HD, iPhone."""

_OFF_CENTRE = 0.02
"""Of half an image, by which principal points of these lie off its centre; chosen."""

_LARGEST = 1e6
"""Pixels along a side; chosen.  An image's size beyond is damaged."""

# fmt: off
_IMAGE_SUFFIXES = frozenset((
    ".png", ".jpg", ".jpeg", ".heic", ".webp", ".bmp", ".tif", ".tiff", ".exr", ".pfm", ".npy",
    ".npz", ".gz", ".bin", ".geometric", ".photometric", ".depth", ".conf",
))
# fmt: on
"""Endings of depth maps and photos, which COLMAP chains: photo.jpg.geometric.bin."""


class NotACamera(DataError):
    """A file that holds something else than a camera."""


class Camera(NamedTuple):
    """A camera in pixels of its own image.

    Attributes:
      matrix: (3, 3) float64; a principal point of NaN stands for the image centre.
      size: height and width of the image; None where the file does not say.
      sigma: standard deviation of log focal length; 0 for a camera that was measured.
    """

    matrix: np.ndarray
    size: tuple[float, float] | None = None
    sigma: float = 0.0


@dataclass(frozen=True)
class Cameras:
    """The cameras of a file.

    Attributes:
      kind: of the file, for people: the program or the form.
      shared: the camera of all maps that have none of their own; None where there is none.
      named: cameras by the bare name of their image, each with the path that the file gives; where
        the name is a number, that of a map may have more zeros in front.
      numbered: cameras of the frames of a clip, in their order.
      is_answer: the file is an answer of launch.infer.
    """

    kind: str
    shared: Camera | None = None
    named: Mapping[str, Sequence[tuple[str, Camera]]] = field(default_factory=dict)
    numbered: Sequence[Camera] = ()
    is_answer: bool = False

    def of(self, path: Path, relative: str, frame: int | None = None) -> Camera:
        """The camera of a map.

        Args:
          path: the file of cameras, for messages.
          relative: path of the map.
          frame: its number in a clip; None where it is none of a clip.

        Raises:
          DataError: there is none, or it is not clear which.
        """
        name = bare_name(relative)
        named = self.named.get(name) or self.named.get(name.lstrip("0") or "0", ())
        if chosen := _most_alike(named, relative):
            if not all_equal(chosen):
                raise DataError(path, f"holds several cameras for images named {name}")
            return chosen[0]
        if frame is not None and frame < len(self.numbered):
            return self.numbered[frame]
        if self.shared is not None:
            return self.shared
        if self.numbered and all_equal(self.numbered):
            return self.numbered[0]
        count = len(self.numbered) or sum(map(len, self.named.values()))
        raise DataError(path, f"holds {count} cameras, and none is for an image named {name}")


def bare_name(path: str) -> str:
    """The name of a file without the endings of images: `a/photo.jpg.geometric.bin` is `photo`."""
    name = PurePosixPath(path.replace("\\", "/")).name
    while (suffix := PurePosixPath(name).suffix).lower() in _IMAGE_SUFFIXES and suffix != name:
        name = name[: -len(suffix)]
    return name


def fitted(path: Path, camera: Camera, size: tuple[int, int]) -> np.ndarray:
    """The matrix of a camera, in pixels of a depth map that shows the same as its image.

    Args:
      path: of the file, for messages.
      camera: of the file.
      size: height and width of the map in pixels.

    Raises:
      DataError: it is not the camera of this map.
    """
    matrix, own_size = camera.matrix, camera.size
    if np.isnan(matrix[:2, 2]).all():
        matrix = centred_intrinsics(matrix[1, 1], *size)
    if problem := form_problem(matrix):
        raise DataError(path, problem)
    problem = None
    if own_size is None and (problem := size_problem(matrix, *size)):
        own_size = _photo_size(matrix, size)
    if own_size is not None:
        own, wanted = own_size[1] / own_size[0], size[1] / size[0]
        # Half a pixel: a side of the map was rounded.
        if abs(math.log(own / wanted)) > _SAME_RATIO + 0.5 / min(size):
            raise DataError(
                path,
                f"is the camera of another picture: of {own:.3g}:1, and the map of {size[1]} x "
                f"{size[0]} pixels is {wanted:.3g}:1",
            )
        matrix = resized_intrinsics(matrix, own_size, size)
        problem = size_problem(matrix, *size)
    if problem:
        unsaid = "" if own_size else "; the file does not say how large its own image is"
        raise DataError(path, problem + unsaid)
    return matrix


def whole_size(camera: Camera) -> tuple[int, int] | None:
    """Height and width of a camera's image where they are known in pixels."""
    if camera.size is None or any(length != round(length) for length in camera.size):
        return None
    return round(camera.size[0]), round(camera.size[1])


def from_corner(fx: float, fy: float, cx: float, cy: float) -> np.ndarray:
    """Intrinsics whose principal point counts from the corner of the image."""
    return intrinsics_matrix(fx, fy, cx - 0.5, cy - 0.5)


def number(value: Any) -> float:
    """A finite number.  Raises ValueError on anything else, True and text included."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r:.40} is no number")
    return float(value)


def image_size(height: Any, width: Any) -> tuple[float, float]:
    """Height and width of an image.  Raises ValueError where they cannot be such."""
    size = number(height), number(width)
    if not all(1 <= length <= _LARGEST for length in size):
        raise ValueError(f"an image of {size[1]:g} x {size[0]:g} pixels")
    return size


def distorted(camera: Camera, radial: Sequence[float], tangential: Sequence[float] = ()) -> Camera:
    """A camera whose lens bends: wider, as a pinhole camera stands for it.

    Args:
      camera: with the size of its image.
      radial: k1, k2, k3, and k4, k5, k6 of the denominator, in OpenCV's model.
      tangential: p1 and p2.

    Raises:
      ValueError: it bends too much.
    """
    if not any(radial) and not any(tangential):
        return camera
    assert camera.size is not None
    height, width = camera.size
    fx, fy, cx, cy = (camera.matrix[place] for place in ((0, 0), (1, 1), (0, 2), (1, 2)))
    corner = math.hypot(max(cx, width - cx) / fx, max(cy, height - cy) / fy)
    powers = [corner**power for power in (2, 4, 6)]
    above, below = (
        1 + sum(k * power for k, power in zip(part, powers, strict=False))
        for part in (radial[:3], radial[3:])
    )
    bent = abs(above / below - 1) if below else math.inf
    bent += 3 * corner * sum(map(abs, tangential))
    if not bent <= _MOST_DISTORTION:
        raise ValueError(
            f"its lens moves the corners by {bent:.0%}: undistort pictures and depth first"
        )
    # Over the image the mean is about half of what it is in the corner.
    return camera if bent <= _SMALL_DISTORTION else camera._replace(sigma=bent / 2)


def _photo_size(matrix: np.ndarray, size: tuple[int, int]) -> tuple[int, int] | None:
    """The one of `_PHOTO_SIZES`, upright or not, that is larger than the map and fits both."""
    for sides in _PHOTO_SIZES:
        for height, width in (sides, sides[::-1]):
            off = matrix[:2, 2] / ((width - 1) / 2, (height - 1) / 2) - 1
            larger = height > size[0] and width > size[1]
            alike = abs(math.log(width / height * size[0] / size[1])) <= _SAME_RATIO
            if larger and alike and (abs(off) <= _OFF_CENTRE).all():
                return height, width
    return None


def _most_alike(named: Sequence[tuple[str, Camera]], relative: str) -> list[Camera]:
    """Of images of one name, those whose folders are most like the map's."""
    folders = PurePosixPath(relative).parts[-2::-1]

    def shared(path: str) -> int:
        theirs = PurePosixPath(path.replace("\\", "/")).parts[-2::-1]
        pairs = zip(folders, theirs, strict=False)
        return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(folders), len(theirs)))

    most = max((shared(path) for path, _ in named), default=0)
    return [camera for path, camera in named if shared(path) == most]


def all_equal(cameras: Sequence[Camera]) -> bool:
    """Whether cameras, of which there is one at least, are the same."""
    first = cameras[0]
    return all(
        camera is first or (camera[1:] == first[1:] and np.array_equal(camera.matrix, first.matrix))
        for camera in cameras
    )
