"""Pinhole cameras: intrinsics, pixel grids, unprojection, projection, focal length, field of view.

Conventions, everywhere in this package: camera axes as in OpenCV (x right, y down, z forward);
depth is z, not the length of the ray; pixel centres lie at integers, so the centre of a W-wide
image is (W - 1) / 2; pixels are (u, v) = (column, row); angles are in radians unless a name says
degrees.

Every function is pure, takes any leading batch axes, which broadcast, and works on either kind of
array: JAX arrays in, JAX arrays out; otherwise numpy, in float64 unless every array is float32.
Importing this module imports no JAX: what workers of the loader run needs none.
"""

# JAX types many of its functions in part only, hence what is switched off.
# pyright: strict, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

import math
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Float, Float64, Real

INITIAL_FOV_DEGREES = 60.0
"""Vertical field of view of the first guess of a camera, in degrees (as LeReS, section 3.2)."""

AXES = "x right, y down, z forward"
"""Of every camera and cloud (OpenCV's), for the heads of files."""

Array = Any
"""A numpy or JAX array, of the kind that came in."""

Numbers = Real[Array, "..."] | float | np.number[Any]
"""One number, or an array of them of either kind, which broadcasts."""


def array_namespace(*values: Any) -> ModuleType:
    """The module whose functions take these values: jax.numpy where one is a JAX array, or numpy.

    Both kinds name their module as the Python array API standard says (2022.12,
    `__array_namespace__`).
    """
    for value in values:
        if hasattr(value, "__array_namespace__"):
            namespace = value.__array_namespace__()
            if namespace is not np:
                return namespace
    return np


def intrinsics_matrix(
    fx: Numbers, fy: Numbers, cx: Numbers, cy: Numbers
) -> Float[Array, "... 3 3"]:
    """Assembles intrinsics.

    Args:
      fx: horizontal focal length in pixels, shape (...).
      fy: vertical focal length in pixels, shape (...).
      cx: horizontal principal point in pixels, shape (...).
      cy: vertical principal point in pixels, shape (...).

    Returns:
      Upper triangular matrices, shape (..., 3, 3).

    >>> intrinsics_matrix(500, 510, 319.5, 239.5)
    array([[500. ,   0. , 319.5],
           [  0. , 510. , 239.5],
           [  0. ,   0. ,   1. ]])
    """
    xp = array_namespace(fx, fy, cx, cy)
    fx, fy, cx, cy = xp.broadcast_arrays(*map(xp.asarray, (fx, fy, cx, cy)))
    zero, one = xp.zeros_like(fx), xp.ones_like(fx)
    rows = [xp.stack(row, -1) for row in ([fx, zero, cx], [zero, fy, cy], [zero, zero, one])]
    matrix = xp.stack(rows, -2)
    return matrix.astype(xp.result_type(matrix.dtype, 1.0))


def centred_intrinsics(focal: Numbers, height: Numbers, width: Numbers) -> Float[Array, "... 3 3"]:
    """Intrinsics of square pixels with the principal point in the image centre.

    Args:
      focal: focal length in pixels, shape (...).
      height: image height in pixels, shape (...).
      width: image width in pixels, shape (...).

    Returns:
      Shape (..., 3, 3).
    """
    xp = array_namespace(focal, height, width)
    cx, cy = (xp.asarray(width) - 1) / 2, (xp.asarray(height) - 1) / 2
    return intrinsics_matrix(focal, focal, cx, cy)


def recovered_intrinsics(
    focal: Numbers, size: tuple[int, int], known: Real[Array, "... 3 3"] | None
) -> Float[Array, "... 3 3"]:
    """Intrinsics of a recovered vertical focal length.

    Args:
      focal: fy in pixels, shape (...).
      size: height and width of the image in pixels.
      known: what is known of the camera, (..., 3, 3) in pixels: the principal point and the ratio
        of the focal lengths are kept; None for the image centre and square pixels.

    Returns:
      Shape (..., 3, 3).
    """
    if known is None:
        return centred_intrinsics(focal, *size)
    fx, fy = known[..., 0, 0], known[..., 1, 1]
    return intrinsics_matrix(focal * fx / fy, focal, known[..., 0, 2], known[..., 1, 2])


def resized_intrinsics(
    intrinsics: Real[Array, "*b 3 3"],
    size: tuple[int | float, int | float],
    to_size: tuple[int, int],
) -> Float[Array, "*b 3 3"]:
    """Intrinsics of the same view in an image of another size.

    The corners of both images coincide.  Pixel centres are at integers, so that the corner is at
    -0.5: u' = (u + 0.5) * scale - 0.5.

    Args:
      intrinsics: (..., 3, 3) in pixels of the first image.
      size: its height and width in pixels, or in another unit if that of `intrinsics` is the same.
      to_size: height and width of the other image in pixels; the two ratios may differ.

    Returns:
      Shape (..., 3, 3), in pixels of the other image.
    """
    y_scale, x_scale = (new / old for new, old in zip(to_size, size, strict=True))
    return intrinsics_matrix(
        intrinsics[..., 0, 0] * x_scale,
        intrinsics[..., 1, 1] * y_scale,
        (intrinsics[..., 0, 2] + 0.5) * x_scale - 0.5,
        (intrinsics[..., 1, 2] + 0.5) * y_scale - 0.5,
    )


def pixel_grid(height: int, width: int) -> Float64[np.ndarray, "{height} {width} 2"]:
    """The centres (u, v) of all pixels of an image, shape (height, width, 2)."""
    u, v = np.meshgrid(np.arange(width, dtype=float), np.arange(height, dtype=float))
    return np.stack([u, v], -1)


def rays(
    pixels: Real[Array, "... n 2"], intrinsics: Real[Array, "... 3 3"]
) -> Float[Array, "... n 2"]:
    """Viewing directions with unit z: ((u - cx) / fx, (v - cy) / fy).

    Args:
      pixels: (u, v), shape (..., N, 2).
      intrinsics: shape (..., 3, 3).

    Returns:
      Shape (..., N, 2).
    """
    xp = array_namespace(pixels, intrinsics)
    pixels, intrinsics = xp.asarray(pixels), xp.asarray(intrinsics)
    focal = xp.stack([intrinsics[..., 0, 0], intrinsics[..., 1, 1]], -1)
    centre = intrinsics[..., :2, 2]
    return (pixels - centre[..., None, :]) / focal[..., None, :]


def unproject_pixels(
    pixels: Real[Array, "... n 2"],
    depth: Real[Array, "... n"],
    intrinsics: Real[Array, "... 3 3"],
) -> Float[Array, "... n 3"]:
    """The points that pixels of known depth show: x = (u - cx) z / fx, y = (v - cy) z / fy.

    Args:
      pixels: (u, v), shape (..., N, 2).
      depth: z in any unit, shape (..., N).
      intrinsics: shape (..., 3, 3).

    Returns:
      Points in the unit of `depth`, shape (..., N, 3).
    """
    xp = array_namespace(pixels, depth, intrinsics)
    depth = xp.asarray(depth)
    xy = rays(pixels, intrinsics) * depth[..., None]
    return xp.concatenate([xy, xp.broadcast_to(depth[..., None], (*xy.shape[:-1], 1))], -1)


def unproject(
    depth: Real[Array, "... h w"], intrinsics: Real[Array, "... 3 3"]
) -> Float[Array, "... h w 3"]:
    """The point cloud of whole depth maps.

    Args:
      depth: z in any unit, shape (..., H, W).
      intrinsics: shape (..., 3, 3).

    Returns:
      Points in the unit of `depth`, shape (..., H, W, 3); pixels of depth 0 become the origin.
    """
    xp = array_namespace(depth, intrinsics)
    depth, intrinsics = xp.asarray(depth), xp.asarray(intrinsics)
    height, width = depth.shape[-2:]
    pixels = xp.asarray(pixel_grid(height, width).reshape(-1, 2), dtype=intrinsics.dtype)
    flat = depth.reshape(*depth.shape[:-2], height * width)
    points = unproject_pixels(pixels, flat, intrinsics)
    return points.reshape(*points.shape[:-2], height, width, 3)


def project(
    points: Real[Array, "... n 3"], intrinsics: Real[Array, "... 3 3"]
) -> tuple[Float[Array, "... n 2"], Real[Array, "... n"]]:
    """Where a camera sees points: the inverse of `unproject_pixels` for depth != 0.

    Args:
      points: shape (..., N, 3).
      intrinsics: shape (..., 3, 3).

    Returns:
      Pixels (u, v), shape (..., N, 2), and depth, shape (..., N).
    """
    xp = array_namespace(points, intrinsics)
    points, intrinsics = xp.asarray(points), xp.asarray(intrinsics)
    focal = xp.stack([intrinsics[..., 0, 0], intrinsics[..., 1, 1]], -1)
    pixels = points[..., :2] / points[..., 2:] * focal[..., None, :] + intrinsics[..., None, :2, 2]
    return pixels, points[..., 2]


def fov_to_focal(fov: Numbers, size: Numbers) -> Float[Array, "..."]:
    """Focal length in pixels of a full field of view in radians across `size` pixels."""
    xp = array_namespace(fov, size)
    return xp.asarray(size) / 2 / xp.tan(xp.asarray(fov) / 2)


def focal_to_fov(focal: Numbers, size: Numbers) -> Float[Array, "..."]:
    """Full field of view in radians of a focal length in pixels across `size` pixels."""
    xp = array_namespace(focal, size)
    return 2 * xp.arctan(xp.asarray(size) / 2 / xp.asarray(focal))


def degrees_to_focal(fov: Numbers, size: Numbers) -> Float[Array, "..."]:
    """`fov_to_focal` of a field of view in degrees."""
    return fov_to_focal(array_namespace(fov).deg2rad(fov), size)


def focal_to_degrees(focal: Numbers, size: Numbers) -> Float[Array, "..."]:
    """`focal_to_fov` in degrees.

    >>> float(focal_to_degrees(320, 640))
    90.0
    """
    fov = focal_to_fov(focal, size)
    return array_namespace(fov).rad2deg(fov)


def roll_and_pitch(
    gravity: Real[Array, "... 3"],
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """How a camera is held, in degrees, from the direction down.

    Args:
      gravity: down in camera axes, of unit length, shape (..., 3).

    Returns:
      roll: above 0 where the camera is turned clockwise, seen from behind it: the right side of its
        picture is lower than the left; -180 to 180, shape (...).
      pitch: above 0 where it looks up; -90 to 90, shape (...).

    Both are 0 for an upright, level camera, whose y axis points down.

    >>> roll, pitch = roll_and_pitch(np.array([0.0, math.cos(0.5), -math.sin(0.5)]))
    >>> print(f"{roll:.1f} {pitch:.1f}")  # looks up by half a radian
    0.0 28.6
    """
    xp = array_namespace(gravity)
    gravity = xp.asarray(gravity)
    roll = xp.arctan2(gravity[..., 0], gravity[..., 1])
    # Rounding makes unit vectors longer than 1.
    pitch = xp.arcsin(xp.clip(-gravity[..., 2], -1.0, 1.0))
    return xp.rad2deg(roll), xp.rad2deg(pitch)


def initial_focal(height: Numbers, fov_degrees: float = INITIAL_FOV_DEGREES) -> Float[Array, "..."]:
    """The first guess f0 = (H / 2) / tan(fov / 2) in pixels; the field of view is vertical."""
    return fov_to_focal(math.radians(fov_degrees), height)
