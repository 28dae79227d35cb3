"""The segments of a picture that counts as evidence on a map, or why it does not count."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Real, UInt8

from train3d_jax.geometry.affine import Space
from train3d_jax.lines import registration, segments
from train3d_jax.lines.segments import Segments

OTHER_ASPECT, NOT_REGISTERED = "rgb_other_aspect", "rgb_not_registered"
"""Flags of maps whose picture is no evidence: it is of another aspect ratio than the map; its edges
meet the map's better at another offset, or nowhere."""

FLAGS = (OTHER_ASPECT, NOT_REGISTERED)

MOST_ASPECT = 0.03
"""Relative difference of the aspect ratios of a map and its picture, above which one of them was
cropped.  Chosen: networks round the sides of their maps to multiples of 14 or 32 pixels, which is
3 % of 518; 4:3, 3:2, 16:10 and 16:9 are at least 6 % apart."""


class PictureEvidence(NamedTuple):
    """What of a picture counts.

    Attributes:
      segments: in square pixels of the map; None where the picture does not count.
      flags: of `FLAGS`, why it does not.
    """

    segments: Segments | None
    flags: tuple[str, ...] = ()


def other_aspect(picture: tuple[int, ...], size: tuple[int, ...]) -> bool:
    """Whether sizes (height, width) differ in their aspect ratio, by more than rounding does."""
    ratio = picture[1] * size[0] / (picture[0] * size[1])
    # Half a pixel of rounding, of small maps.
    tolerance = max(MOST_ASPECT, 0.5 / min(size[0], size[1]), 0.5 / min(picture[0], picture[1]))
    return max(ratio, 1 / ratio) > 1 + tolerance


def evidence_of(
    picture: UInt8[np.ndarray, "_ _ *c"],
    values: Real[np.ndarray, "h w"],
    space: Space,
    intrinsics: Float[np.ndarray, "3 3"] | None = None,
) -> PictureEvidence:
    """The segments of a picture, at its own resolution, for a map.

    Args:
      picture: grey or RGB, of any size.
      values: of the map, shape (H, W); 0 and what is not finite is missing.
      space: of the values.
      intrinsics: that the blocks of the map are made with, see `recovery.make_blocks`.
    """
    height, width = values.shape
    if other_aspect(picture.shape, values.shape):
        return PictureEvidence(None, (OTHER_ASPECT,))
    grey = segments.grey_of(picture)  # once for both
    if not registration.measure(values, grey, space).is_registered:
        return PictureEvidence(None, (NOT_REGISTERED,))
    found = segments.detect(grey, (height, width))
    if intrinsics is not None:
        found = segments.with_square_pixels(found, intrinsics)
    return PictureEvidence(found)
