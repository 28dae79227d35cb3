"""Errors of recovered cameras and shapes, relative or in degrees: comparable between scenes."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from train3d_jax.geometry import affine, camera


def focal_error(focal: ArrayLike, true_focal: ArrayLike) -> jax.Array:
    """Relative error of the focal length, |f - f*| / f*."""
    true_focal = jnp.asarray(true_focal)
    return jnp.abs(jnp.asarray(focal) - true_focal) / true_focal


def fov_error(focal: ArrayLike, true_focal: ArrayLike, size: ArrayLike) -> jax.Array:
    """Absolute error of the field of view across `size` pixels, in degrees."""
    difference = camera.focal_to_fov(focal, size) - camera.focal_to_fov(true_focal, size)
    return jnp.rad2deg(jnp.abs(difference))


def shift_error(shift: ArrayLike, true_shift: ArrayLike) -> jax.Array:
    """Absolute error of the canonical shift over the far quantile of the true depth.

    The far quantile of the true depth is 1 + shift in canonical units; errors are then in the unit
    in which LeReS draws its shifts, and a flat scene, whose canonical depth is stretched, has no
    larger weight than a deep one.
    """
    true_shift = jnp.asarray(true_shift)
    return jnp.abs(jnp.asarray(shift) - true_shift) / (affine.FAR_VALUE + true_shift)


def point_error(points: ArrayLike, true_points: ArrayLike, mask: ArrayLike) -> jax.Array:
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

    mean: jax.Array
    within: jax.Array


WITHIN = 0.25
"""The relative error below which MoGe counts a point as right."""


def point_errors(points: ArrayLike, true_points: ArrayLike, mask: ArrayLike) -> PointErrors:
    """`point_error`, and the share of points within `WITHIN`; both 0 where no point counts."""
    points, true_points = jnp.asarray(points), jnp.asarray(true_points)
    mask = jnp.asarray(mask)
    p, q = (jnp.where(mask[..., None], x, 1.0) for x in (points, true_points))
    distance = jnp.linalg.norm(q, axis=-1)

    def relative(scale):
        return jnp.linalg.norm(scale[..., None, None] * p - q, axis=-1) / distance

    def best_scale(weight):
        weight = jnp.where(mask, weight, 0.0)
        return (weight * (p * q).sum(-1)).sum(-1) / jnp.maximum(
            (weight * (p * p).sum(-1)).sum(-1), 1e-12
        )

    def step(_, scale):
        # Least squares with weight 1 / (|residual| |p*|) has the same minimum as the mean of |.|.
        return best_scale(1 / jnp.maximum(relative(scale), 1e-6) / distance**2)

    scale = jax.lax.fori_loop(0, 20, step, best_scale(1 / distance**2))
    errors, count = relative(scale), jnp.maximum(mask.sum(-1), 1)
    return PointErrors(
        jnp.where(mask, errors, 0.0).sum(-1) / count, (mask & (errors < WITHIN)).sum(-1) / count
    )
