"""What callers know of cameras and shifts, checked against their maps."""

from collections.abc import Sequence
from typing import Any, Literal, cast

import numpy as np
from jaxtyping import Float64, Shaped

from train3d_jax.errors import Argument, ArgumentError
from train3d_jax.geometry.camera import centred_intrinsics
from train3d_jax.geometry.intrinsics import form_problem, size_problem
from train3d_jax.inference.arrays import numbers


def checked_shift(shift_known: Any) -> tuple[bool, float]:
    """The argument `shift_known`.

    Args:
      shift_known: True or False; or a number above 0 and up to 1, the standard deviation of the
        shift over the far quantile of the map.

    Returns:
      Whether the input's own shift is known, and how well; 0 is exactly.

    Raises:
      ArgumentError: it is none of these.
    """
    value = np.asarray(shift_known)
    if not value.shape and value.dtype.kind == "b":
        return bool(value), 0.0
    if not value.shape and value.dtype.kind == "f" and 0 < value <= 1:
        return True, float(value)
    raise ArgumentError(
        Argument("shift_known", shift_known),
        ": give True or False, or how far off it may be as a share of the depth, as 0.05",
    )


def checked_sigma(focal_sigma: Any, focal_is_given: bool) -> float:
    """The argument `focal_sigma`, the standard deviation of the logarithm of the focal length.

    Raises:
      ArgumentError: it is no number from 0 to 1, or there is no focal length that it is of.
    """
    value = np.asarray(focal_sigma)
    name = Argument("focal_sigma", focal_sigma)
    if value.shape or value.dtype.kind not in "fiu" or not 0 <= value <= 1:
        raise ArgumentError(name, ": give a relative error from 0 (exact) to 1, as 0.03")
    if value and not focal_is_given:
        raise ArgumentError(name, ": needs ", Argument("focal_px"), " or ", Argument("intrinsics"))
    return float(value)


def checked_intrinsics(
    intrinsics: Any, maps: Sequence[Shaped[np.ndarray, "_ _"]]
) -> list[Float64[np.ndarray, "3 3"] | None]:
    """The argument `intrinsics`, (3, 3) or (B, 3, 3) in pixels: a matrix for each map, or None.

    Raises:
      ArgumentError: it is no camera, or not one of the maps.
    """
    count = len(maps)
    if intrinsics is None:
        return [None] * count
    name = Argument("intrinsics")
    matrices = numbers(intrinsics, name.name).astype(np.float64)
    if matrices.shape not in ((3, 3), (count, 3, 3)):
        raise ArgumentError(
            name, f": has the shape {matrices.shape}; give (3, 3) or ({count}, 3, 3)"
        )
    if not np.isfinite(matrices).all() or (matrices[..., (0, 1), (0, 1)] <= 0).any():
        raise ArgumentError(name, ": focal lengths have to be above 0 and all numbers finite")
    matrices = list(np.broadcast_to(matrices, (count, 3, 3)))
    for number, (matrix, values) in enumerate(zip(matrices, maps, strict=True)):
        if problem := form_problem(matrix) or size_problem(matrix, *values.shape):
            raise ArgumentError(name, f": that of map {number} {problem}")
    return matrices


def checked_focals(
    focal_px: Any,
    matrices: Sequence[Float64[np.ndarray, "3 3"] | None],
    maps: Sequence[Shaped[np.ndarray, "_ _"]],
) -> Float64[np.ndarray, " maps"] | None:
    """The vertical focal length of each map in pixels, where it is known.

    Args:
      focal_px: the argument of this name: one for all maps, one for each, or None.
      matrices: what `checked_intrinsics` gives.
      maps: that they are for.

    Raises:
      ArgumentError: both are given, or a focal length does not fit its map.
    """
    count = len(maps)
    if focal_px is None:
        known = [matrix[1, 1] for matrix in matrices if matrix is not None]
        return np.array(known) if known else None
    name = Argument("focal_px", focal_px)
    if matrices[0] is not None:
        raise ArgumentError(name, ": is part of ", Argument("intrinsics"), "; give one of them")
    focals = numbers(focal_px, name.name).astype(np.float64)
    if focals.shape not in ((), (count,)) or not (np.isfinite(focals) & (focals > 0)).all():
        raise ArgumentError(name, f": give pixels above 0, one for all or {count}")
    focals = np.broadcast_to(focals, (count,))
    for number, (focal, values) in enumerate(zip(focals, maps, strict=True)):
        height, width = values.shape
        if problem := size_problem(centred_intrinsics(focal, height, width), height, width):
            raise ArgumentError(name, f": that of map {number} {problem}")
    return focals


Clip = Literal["frame", "clip"]
"""What has one scale and one shift: each frame of a clip, or all of them."""


def checked_clip(
    clip: Any,
    focals: Float64[np.ndarray, " maps"] | None,
    matrices: Sequence[Float64[np.ndarray, "3 3"] | None],
    maps: Sequence[Shaped[np.ndarray, "_ _"]],
) -> Clip | None:
    """The argument `clip`, given what the other checks give.

    Raises:
      ArgumentError: it is no such word, or maps have no common size or camera.
    """
    if clip is None:
        return None
    if clip not in ("frame", "clip"):
        raise ArgumentError(
            Argument("clip", clip),
            ": give 'clip' where all maps have one scale and one shift, 'frame' where each has its "
            "own, or None for independent maps",
        )
    for number, values in enumerate(maps):
        if values.shape != maps[0].shape:
            (height, width), (first_height, first_width) = values.shape, maps[0].shape
            raise ArgumentError(
                Argument("clip", clip),
                f": map 0 is {first_width} x {first_height} pixels and map {number} "
                f"{width} x {height}; one camera has one size",
            )
    cameras = [matrix for matrix in matrices if matrix is not None]
    if (focals is not None and np.ptp(focals)) or (cameras and np.ptp(cameras, axis=0).any()):
        raise ArgumentError(
            Argument("clip", clip),
            ": maps have one camera; give one ",
            Argument("focal_px"),
            " or one matrix of ",
            Argument("intrinsics"),
        )
    return cast(Clip, clip)
