"""Pinhole cameras: pixel grids, unprojection, projection, focal length and field of view.

Conventions, everywhere in this package: camera axes as in OpenCV (x right, y down, z forward);
depth is z, not the length of the ray; pixel centres lie at integers, so the centre of a W-wide
image is (W - 1) / 2; pixels are (u, v) = (column, row); angles are in radians unless a name says
degrees.

Every function is pure and takes any leading batch axes, which broadcast.
"""

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

INITIAL_FOV_DEGREES = 60.0
"""Vertical field of view of the first guess of a camera, in degrees (as LeReS, section 3.2)."""


def intrinsics_matrix(fx: ArrayLike, fy: ArrayLike, cx: ArrayLike, cy: ArrayLike) -> jax.Array:
    """Assembles intrinsics.

    Args:
      fx: horizontal focal length in pixels, shape (...).
      fy: vertical focal length in pixels, shape (...).
      cx: horizontal principal point in pixels, shape (...).
      cy: vertical principal point in pixels, shape (...).

    Returns:
      Upper triangular matrices, shape (..., 3, 3).
    """
    fx, fy, cx, cy = jnp.broadcast_arrays(*map(jnp.asarray, (fx, fy, cx, cy)))
    zero, one = jnp.zeros_like(fx), jnp.ones_like(fx)
    rows = [jnp.stack(row, -1) for row in ([fx, zero, cx], [zero, fy, cy], [zero, zero, one])]
    return jnp.stack(rows, -2)


def centred_intrinsics(focal: ArrayLike, height: ArrayLike, width: ArrayLike) -> jax.Array:
    """Intrinsics of square pixels with the principal point in the image centre.

    Args:
      focal: focal length in pixels, shape (...).
      height: image height in pixels, shape (...).
      width: image width in pixels, shape (...).

    Returns:
      Shape (..., 3, 3).
    """
    cx, cy = (jnp.asarray(width) - 1) / 2, (jnp.asarray(height) - 1) / 2
    return intrinsics_matrix(focal, focal, cx, cy)


def pixel_grid(height: int, width: int) -> jax.Array:
    """The centres (u, v) of all pixels of an image, shape (height, width, 2)."""
    u, v = jnp.meshgrid(jnp.arange(width, dtype=float), jnp.arange(height, dtype=float))
    return jnp.stack([u, v], -1)


def rays(pixels: ArrayLike, intrinsics: ArrayLike) -> jax.Array:
    """Viewing directions with unit z: ((u - cx) / fx, (v - cy) / fy).

    Args:
      pixels: (u, v), shape (..., N, 2).
      intrinsics: shape (..., 3, 3).

    Returns:
      Shape (..., N, 2).
    """
    pixels, intrinsics = jnp.asarray(pixels), jnp.asarray(intrinsics)
    focal = jnp.stack([intrinsics[..., 0, 0], intrinsics[..., 1, 1]], -1)
    centre = intrinsics[..., :2, 2]
    return (pixels - centre[..., None, :]) / focal[..., None, :]


def unproject_pixels(pixels: ArrayLike, depth: ArrayLike, intrinsics: ArrayLike) -> jax.Array:
    """The points that pixels of known depth show: x = (u - cx) z / fx, y = (v - cy) z / fy.

    Args:
      pixels: (u, v), shape (..., N, 2).
      depth: z in any unit, shape (..., N).
      intrinsics: shape (..., 3, 3).

    Returns:
      Points in the unit of `depth`, shape (..., N, 3).
    """
    depth = jnp.asarray(depth)
    xy = rays(pixels, intrinsics) * depth[..., None]
    return jnp.concatenate([xy, jnp.broadcast_to(depth[..., None], (*xy.shape[:-1], 1))], -1)


def unproject(depth: ArrayLike, intrinsics: ArrayLike) -> jax.Array:
    """The point cloud of whole depth maps.

    Args:
      depth: z in any unit, shape (..., H, W).
      intrinsics: shape (..., 3, 3).

    Returns:
      Points in the unit of `depth`, shape (..., H, W, 3); pixels of depth 0 become the origin.
    """
    depth = jnp.asarray(depth)
    height, width = depth.shape[-2:]
    flat = depth.reshape(*depth.shape[:-2], height * width)
    points = unproject_pixels(pixel_grid(height, width).reshape(-1, 2), flat, intrinsics)
    return points.reshape(*points.shape[:-2], height, width, 3)


def project(points: ArrayLike, intrinsics: ArrayLike) -> tuple[jax.Array, jax.Array]:
    """Where a camera sees points: the inverse of `unproject_pixels` for depth != 0.

    Args:
      points: shape (..., N, 3).
      intrinsics: shape (..., 3, 3).

    Returns:
      Pixels (u, v), shape (..., N, 2), and depth, shape (..., N).
    """
    points, intrinsics = jnp.asarray(points), jnp.asarray(intrinsics)
    focal = jnp.stack([intrinsics[..., 0, 0], intrinsics[..., 1, 1]], -1)
    pixels = points[..., :2] / points[..., 2:] * focal[..., None, :] + intrinsics[..., None, :2, 2]
    return pixels, points[..., 2]


def fov_to_focal(fov: ArrayLike, size: ArrayLike) -> jax.Array:
    """Focal length in pixels of a full field of view in radians across `size` pixels."""
    return jnp.asarray(size) / 2 / jnp.tan(jnp.asarray(fov) / 2)


def focal_to_fov(focal: ArrayLike, size: ArrayLike) -> jax.Array:
    """Full field of view in radians of a focal length in pixels across `size` pixels."""
    return 2 * jnp.arctan(jnp.asarray(size) / 2 / jnp.asarray(focal))


def initial_focal(height: ArrayLike, fov_degrees: float = INITIAL_FOV_DEGREES) -> jax.Array:
    """The first guess f0 = (H / 2) / tan(fov / 2) in pixels; the field of view is vertical."""
    return fov_to_focal(math.radians(fov_degrees), height)
