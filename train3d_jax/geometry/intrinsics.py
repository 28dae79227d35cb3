"""Whether given intrinsics can be those of a depth map.  Imports no JAX.

Intrinsics are [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] in pixels; pixel centres are at integers, so
the image centre is ((W - 1) / 2, (H - 1) / 2).  The checks find intrinsics that are normalised by
the image size or belong to an image of another size, which would give a wrong focal length.
"""

# JAX types many of its functions in part only, hence what is switched off.
# pyright: strict, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

import math

import numpy as np
from jaxtyping import Real

from train3d_jax.geometry.camera import focal_to_degrees

MIN_FIELD_OF_VIEW_DEG = 1.0
"""A telescope sees less; chosen."""

MAX_FIELD_OF_VIEW_DEG = 165.0
"""Lenses without distortion reach 130 degrees; chosen above what the viewer's slider can mean.
Normalised focal lengths (fx / W of 0.3 to 3) exceed it for every map wider than 46 pixels."""

_OTHER_SIZE = 1.5
"""Factor between image sizes from which on it shows in the principal point; chosen.  Lenses are
off the centre by a few per cent, and crops rarely move both coordinates alike."""

_ALIKE = 0.1
"""Relative difference of the two factors; chosen, for the offsets of real lenses."""

_WAY_OUT = "intrinsics are in pixels of this map"


def form_problem(intrinsics: Real[np.ndarray, "3 3"]) -> str | None:
    """Why a matrix is not one of intrinsics, to follow its name; None where it is.

    Args:
      intrinsics: shape (3, 3).
    """
    zeros = intrinsics[[0, 1, 2, 2], [1, 0, 0, 1]]
    if not np.isfinite(intrinsics).all() or zeros.any() or intrinsics[2, 2] != 1:
        return "is not [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] in pixels"
    if min(intrinsics[0, 0], intrinsics[1, 1]) <= 0:
        return "holds a focal length that is not over 0"
    return None


def size_problem(intrinsics: Real[np.ndarray, "3 3"], height: int, width: int) -> str | None:
    """Why intrinsics cannot be those of an image of this size, to follow their name, or None.

    Args:
      intrinsics: shape (3, 3), without a `form_problem`.
      height: of the image in pixels.
      width: of the image in pixels.
    """
    for name, focal, pixels in (
        ("horizontal", intrinsics[0, 0], width),
        ("vertical", intrinsics[1, 1], height),
    ):
        fov = focal_to_degrees(focal, pixels)
        if not MIN_FIELD_OF_VIEW_DEG <= fov <= MAX_FIELD_OF_VIEW_DEG:
            return (
                f"means a {name} field of view of {fov:.3g} degrees for {width} x {height} pixels; "
                f"{_WAY_OUT}"
            )
    ratio = (intrinsics[:2, 2] + 0.5) / (width / 2, height / 2)
    if (ratio < 0).any() or (ratio > 2).any():
        return f"has its principal point outside a map of {width} x {height} pixels; {_WAY_OUT}"
    scale = math.sqrt(ratio.prod())
    alike = ratio.max() <= (1 + _ALIKE) * ratio.min()
    if alike and not 1 / _OTHER_SIZE < scale < _OTHER_SIZE:
        return (
            f"has the principal point of an image {scale:.2g} times as large as {width} x {height} "
            f"pixels; {_WAY_OUT}"
        )
    return None
