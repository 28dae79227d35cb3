"""Errors of recovered cameras and shapes, relative or in degrees: comparable between scenes."""

# JAX types many of its functions in part only, hence what is switched off.
# pyright: strict, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from train3d_jax.geometry import affine, camera
from train3d_jax.geometry.affine import Either
from train3d_jax.geometry.camera import Numbers


def focal_error(focal: Numbers, true_focal: Numbers) -> Float[Array, "..."]:
    """Relative error of the focal length, |f - f*| / f*."""
    true_focal = jnp.asarray(true_focal)
    return jnp.abs(jnp.asarray(focal) - true_focal) / true_focal


def fov_error(focal: Numbers, true_focal: Numbers, size: Numbers) -> Float[Array, "..."]:
    """Absolute error of the field of view across `size` pixels, in degrees."""
    difference = camera.focal_to_fov(focal, size) - camera.focal_to_fov(true_focal, size)
    return jnp.rad2deg(jnp.abs(difference))


RAY_GRID = 64
"""Places along each side of an image at which `ray_error` compares viewing rays.  Chosen: for
fields of view of 20 to 110 degrees the mean is that over all pixels up to a ten-thousandth."""


def ray_error(
    intrinsics: Float[Either, "... 3 3"],
    true_intrinsics: Float[Either, "... 3 3"],
    size: tuple[Numbers, Numbers],
) -> Float[Array, "..."]:
    """Mean angle in degrees between estimated and true viewing rays, over the pixels of an image.

    The angular error of ray directions of MapAnything (arXiv 2509.13414), which averages the angle
    over all pixels of a picture, and then over pictures.  Here the mean is over an even grid of
    `RAY_GRID` places a side, so that images of all sizes have one program.

    Args:
      intrinsics: in pixels, shape (..., 3, 3).
      true_intrinsics: the same.
      size: height and width in pixels.

    Returns:
      Shape (...).
    """
    along = (np.arange(RAY_GRID) + 0.5) / RAY_GRID
    places = jnp.stack(jnp.meshgrid(along, along), -1).reshape(-1, 2)
    height, width = size
    pixels = places * jnp.stack([jnp.asarray(width), jnp.asarray(height)]) - 0.5
    one, other = (
        camera.unproject_pixels(pixels, jnp.ones(RAY_GRID**2), jnp.asarray(matrix))
        for matrix in (intrinsics, true_intrinsics)
    )
    # The arc cosine of float32 has no small angles.
    sine, cosine = jnp.linalg.norm(jnp.cross(one, other), axis=-1), (one * other).sum(-1)
    return jnp.rad2deg(jnp.arctan2(sine, cosine)).mean(-1)


def shift_error(shift: Numbers, true_shift: Numbers) -> Float[Array, "..."]:
    """Absolute error of the canonical shift over the far quantile of the true depth.

    The far quantile of the true depth is 1 + shift in canonical units; errors are then in the unit
    in which LeReS draws its shifts, and a flat scene, whose canonical depth is stretched, has no
    larger weight than a deep one.
    """
    true_shift = jnp.asarray(true_shift)
    return jnp.abs(jnp.asarray(shift) - true_shift) / (affine.FAR_VALUE + true_shift)


def point_error(
    points: Float[Either, "... n 3"],
    true_points: Float[Either, "... n 3"],
    mask: Bool[Either, "... n"],
) -> Float[Array, "..."]:
    """Mean |s p - p*| / |p*| with the best scale s: the point error of MoGe (arXiv 2410.19115).

    The best s minimises the mean itself, by iteratively reweighted least squares.

    Args:
      points: shape (..., N, 3).
      true_points: shape (..., N, 3), not at the origin where `mask` holds.
      mask: points that count, shape (..., N).

    Returns:
      Shape (...); 0 where no point counts.
    """
    return point_errors(points, true_points, mask).mean


class PointErrors(NamedTuple):
    """Statistics of the errors of points, relative to their true distances; shape (...) each.

    Attributes:
      mean: `point_error`.
      within: share of the points with an error below `WITHIN`, at the same scale.
    """

    mean: Float[Array, "..."]
    within: Float[Array, "..."]


WITHIN = 0.25
"""The relative error below which MoGe counts a point as right."""


def point_errors(
    points: Float[Either, "... n 3"],
    true_points: Float[Either, "... n 3"],
    mask: Bool[Either, "... n"],
) -> PointErrors:
    """`point_error`, and the share of points within `WITHIN`; both 0 where no point counts."""
    points, true_points = jnp.asarray(points), jnp.asarray(true_points)
    mask = jnp.asarray(mask)
    p, q = (jnp.where(mask[..., None], x, 1.0) for x in (points, true_points))
    distance = jnp.linalg.norm(q, axis=-1)

    def relative(scale: Float[Array, "..."]) -> Float[Array, "... n"]:
        return jnp.linalg.norm(scale[..., None, None] * p - q, axis=-1) / distance

    def best_scale(weight: Float[Array, "... n"]) -> Float[Array, "..."]:
        weight = jnp.where(mask, weight, 0.0)
        return (weight * (p * q).sum(-1)).sum(-1) / jnp.maximum(
            (weight * (p * p).sum(-1)).sum(-1), 1e-12
        )

    def step(_: Any, scale: Float[Array, "..."]) -> Float[Array, "..."]:
        # Least squares with weight 1 / (|residual| |p*|) has the same minimum as the mean of |.|.
        return best_scale(1 / jnp.maximum(relative(scale), 1e-6) / distance**2)

    scale = jax.lax.fori_loop(0, 20, step, best_scale(1 / distance**2))
    errors, count = relative(scale), jnp.maximum(mask.sum(-1), 1)
    return PointErrors(
        jnp.where(mask, errors, 0.0).sum(-1) / count, (mask & (errors < WITHIN)).sum(-1) / count
    )
