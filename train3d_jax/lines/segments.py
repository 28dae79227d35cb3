"""Straight segments of a picture, by OpenCV's detector, as arrays of a fixed size.

The detector is LSD (von Gioi et al., PAMI 2010).  It runs on the host at the picture's own
resolution, up to `LONGEST` pixels; segments are in pixels of the depth map that the picture belongs
to.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8

from train3d_jax.geometry.affine import Either
from train3d_jax.geometry.clouds import in_square_pixels

MOST = 256
"""Segments of a picture, the longest first.  Chosen: pictures of rooms have 100 to 600, and those
after the 200th are shorter than a twentieth of the diagonal."""

LONGEST = 1600
"""Longer side in pixels that larger pictures are made small to: the detector compares neighbouring
pixels, so that blur and noise of a large picture hide its edges.  Chosen: the other numbers here
were chosen on pictures of 1280 pixels at most."""

LEAST_LENGTH = 0.03
"""Length over the diagonal of the picture, below which the orientation says little.  Chosen."""

LEAST_PIXELS = 10.0
"""The same in pixels of the picture.  Chosen."""

BORDER = 2.5
"""Distance from a border of the picture in pixels within which a segment along it is an artefact of
the border.  Chosen."""

WORLD_SIGMA = np.radians(0.5)
"""Standard deviation of a segment's orientation by lens and world.  From experiments on pictures of
depth cameras."""

END_SIGMA = 1.0
"""Standard deviation of the offset of one end from the line, beside the other, in pixels of the
picture.  Chosen."""


class Segments(NamedTuple):
    """Straight segments of pictures, any leading axes; what `mask` leaves out is 0.

    Attributes:
      ends: (u, v) of both ends in pixels of the depth map, square ones, shape (..., S, 2, 2).
      sigma: standard deviation of the orientation in radians, shape (..., S).
      mask: shape (..., S).
    """

    ends: Float[Either, "*b s 2 2"]
    sigma: Float[Either, "*b s"]
    mask: Bool[Either, "*b s"]


def none() -> Segments:
    """Of a map without a picture."""
    return Segments(
        np.zeros((MOST, 2, 2), np.float32), np.ones(MOST, np.float32), np.zeros(MOST, bool)
    )


def stacked(of_maps: Sequence[Segments | None], always: bool = False) -> Segments | None:
    """Segments of a batch of maps along a leading axis.

    Args:
      of_maps: None for a map without a picture.
      always: segments even where no map has a picture, for the program of maps that have one.

    Returns:
      None where no map has a picture.
    """
    if not always and all(each is None for each in of_maps):
        return None
    rows = [none() if each is None else each for each in of_maps]
    return Segments(*(np.stack(column) for column in zip(*rows, strict=True)))


def grey_of(picture: UInt8[np.ndarray, "h w *c"]) -> UInt8[np.ndarray, "h w"]:
    """A picture in grey; the same array where it is grey."""
    import cv2  # start-up: few runs have pictures

    return cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) if picture.ndim == 3 else picture


def detect(picture: UInt8[np.ndarray, "h w *c"], size: tuple[int, int]) -> Segments:
    """The longest segments of a picture.

    Args:
      picture: grey or RGB, shape (H, W) or (H, W, 3).
      size: height and width of its depth map in pixels, of the same aspect ratio.
    """
    import cv2  # start-up: few runs have pictures

    grey = grey_of(picture)
    shrink = LONGEST / max(grey.shape)
    if shrink < 1:
        small = [max(1, round(shrink * side)) for side in reversed(grey.shape)]
        grey = cv2.resize(grey, small, interpolation=cv2.INTER_AREA)
    height, width = grey.shape
    found = cv2.createLineSegmentDetector(cv2.LSD_REFINE_STD).detect(grey)[0]
    if found is None:
        return none()
    ends = np.asarray(found, np.float32).reshape(-1, 2, 2)
    length = np.linalg.norm(ends[:, 1] - ends[:, 0], axis=-1)
    kept = length > max(LEAST_LENGTH * np.hypot(height, width), LEAST_PIXELS)
    last = np.array([width - 1, height - 1])
    kept &= ~(((ends < BORDER).all(1)) | ((ends > last - BORDER).all(1))).any(-1)
    ends, length = ends[kept], length[kept]
    longest = np.argsort(-length, kind="stable")[:MOST]
    ends, length = ends[longest], length[longest]
    scale = np.array([size[1] / width, size[0] / height])
    segments, count = none(), len(ends)
    segments.ends[:count] = (ends + 0.5) * scale - 0.5
    segments.sigma[:count] = np.hypot(WORLD_SIGMA, END_SIGMA / length)
    segments.mask[:count] = True
    return segments


def with_square_pixels(segments: Segments, intrinsics: Float[np.ndarray, "3 3"]) -> Segments:
    """Segments of a map with a known camera, see `clouds.in_square_pixels`."""
    return segments._replace(ends=in_square_pixels(segments.ends, intrinsics))
