"""Lines of segments in the image plane, and their vanishing points.

A segment with the midpoint p and the unit direction t points to the homogeneous point V where
r = t x (V_xy - p V_z) / |V_xy - p V_z| is 0.  Under a focal length alpha times the one that rays
are made with, lines of the 3D direction d have the vanishing point V = (alpha d_x, alpha d_y, d_z).
"""

# JAX types many of its functions in part only, hence what is switched off.
# pyright: strict, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from train3d_jax.geometry.affine import Either
from train3d_jax.lines.segments import Segments

COUNT = 8
"""Vanishing points of a picture.  Chosen: three directions at right angles, and others."""

PAIRS = 1024
"""Pairs of segments whose crossings are candidates.  Chosen."""

ODDS = 0.1
"""That a segment points to a given vanishing point.  Chosen."""

LEAST_SCORE = 3.0
"""Log-likelihood ratio of all its segments, nats, below which a vanishing point is chance.
Chosen."""

REFINEMENTS = 3
"""Times that a vanishing point is fitted to the segments that point to it.  Chosen."""


class Lines(NamedTuple):
    """Segments in the image plane, any leading axes (...).

    Attributes:
      middle: midpoints in ray units, shape (..., S, 2).
      along: unit directions, shape (..., S, 2).
      sigma: standard deviation of the orientation, radians, shape (..., S).
      weight: 1 for a segment, 0 where there is none, shape (..., S).
    """

    middle: jax.Array
    along: jax.Array
    sigma: jax.Array
    weight: jax.Array


class VanishingPoints(NamedTuple):
    """Points that many lines meet in, the one of most lines first.

    Attributes:
      points: homogeneous, in ray units, of unit length, shape (..., COUNT, 3).
      mask: shape (..., COUNT).
    """

    points: jax.Array
    mask: jax.Array


def lines_of(
    segments: Segments, centre: Float[Either, "*b 2"], focal: Float[Either, "*b"]
) -> Lines:
    """Segments in ray units (u - cx) / focal, (v - cy) / focal.

    Args:
      segments: in pixels, leading axes (...).
      centre: principal point (cx, cy) in pixels, shape (..., 2).
      focal: pixels, shape (...).
    """
    ends = jnp.asarray(segments.ends - centre[..., None, None, :]) / focal[..., None, None, None]
    mask = jnp.asarray(segments.mask)
    along = jnp.where(mask[..., None], ends[..., 1, :] - ends[..., 0, :], np.array([1.0, 0.0]))
    along = along / jnp.linalg.norm(along, axis=-1, keepdims=True)
    return Lines(
        jnp.where(mask[..., None], ends.mean(-2), 0.0),
        along,
        jnp.where(mask, segments.sigma, 1.0),
        jnp.asarray(mask, along.dtype),
    )


def misses(points: Float[Array, "*b 3"], lines: Lines) -> tuple[jax.Array, jax.Array]:
    """How far segments point past homogeneous points.

    Args:
      points: shape (..., 3).
      lines: of one map.

    Returns:
      The sine of the angle between a segment and the direction to the point, and the distance
      between its midpoint and the point times the point's last number, each of shape (..., S).
    """
    x = points[..., None, 0] - lines.middle[:, 0] * points[..., None, 2]
    y = points[..., None, 1] - lines.middle[:, 1] * points[..., None, 2]
    distance = jnp.sqrt(x * x + y * y + 1e-12)
    return (lines.along[:, 0] * y - lines.along[:, 1] * x) / distance, distance


def density(miss: Float[Array, "*b s"], lines: Lines) -> Float[Array, "*b s"]:
    """Density of a miss over that of segments of any orientation."""
    scaled = miss / lines.sigma
    return math.sqrt(math.pi / 2) / lines.sigma * jnp.exp(-0.5 * scaled * scaled)


def pointing(point: Float[Array, "3"], lines: Lines) -> Float[Array, " s"]:
    """Odds that each segment of a map points to a homogeneous point, shape (S,)."""
    return ODDS * density(misses(point, lines)[0], lines)


def vanishing_points(lines: Lines) -> VanishingPoints:
    """The strongest vanishing points of one map, one after the other.

    Each is a crossing of two segments that most other segments point to, those of points before it
    left out, fitted to the segments that point to it.
    """
    segments = lines.weight.shape[0]
    normals = _normals(lines)
    first, second = _pairs(lines.weight.sum(), segments)
    crossings = jnp.cross(normals[first], normals[second])
    length = jnp.linalg.norm(crossings, axis=-1, keepdims=True)
    apart = (first != second) & (length[:, 0] > 1e-6)
    crossings = jnp.where(apart[:, None], crossings / jnp.maximum(length, 1e-6), 0.0)
    scores = jnp.log1p(jax.vmap(pointing, (0, None))(crossings, lines))
    scores = jnp.where(apart[:, None], scores, 0.0)

    def next_point(weight: jax.Array, _: None) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        def refine(point: jax.Array, _: None) -> tuple[jax.Array, None]:
            miss, distance = misses(point, lines)
            odds = ODDS * density(miss, lines)
            precision = weight * odds / (1 + odds) / (lines.sigma * distance) ** 2
            return _least_axis((normals * precision[:, None]).T @ normals), None

        # A sum of products with all digits: a GPU would keep three.
        totals = jnp.matmul(scores, weight, precision="highest")
        best = totals.argmax()
        point, _ = jax.lax.scan(refine, crossings[best], None, REFINEMENTS)
        found = totals[best] > LEAST_SCORE
        # Collinear segments cross nowhere, and the fit is not finite then.
        point = jnp.where(found, point, np.array([0.0, 0.0, 1.0]))
        left = weight * jnp.where(found, 1 / (1 + pointing(point, lines)), 1.0)
        return left, (point, found)

    _, (points, mask) = jax.lax.scan(next_point, lines.weight, None, COUNT)
    return VanishingPoints(points, mask)


def _normals(lines: Lines) -> jax.Array:
    """Homogeneous lines a x + b y + c = 0, shape (S, 3)."""
    (x, y), (tx, ty) = lines.middle.T, lines.along.T
    return jnp.stack([-ty, tx, ty * x - tx * y], -1)


def _pairs(count: jax.Array, segments: int) -> tuple[jax.Array, jax.Array]:
    """A fixed random choice of pairs of the first `count` segments, more of the longest ones."""
    share = np.random.default_rng(0).uniform(size=(2, PAIRS)) ** 1.5
    first, second = jnp.minimum(jnp.floor(share * count).astype(jnp.int32), segments - 1)
    return first, second


def _least_axis(matrix: jax.Array) -> jax.Array:
    """The eigenvector of a symmetric (3, 3) matrix whose eigenvalue is the least.

    Rows of the adjugate are multiples of it as far as that eigenvalue is below the others; squaring
    makes the rest vanish.  A tenth of the program of `jnp.linalg.eigh`.
    """
    a, b, c = matrix
    power = jnp.stack([jnp.cross(b, c), jnp.cross(c, a), jnp.cross(a, b)])
    for _ in range(3):
        # Not by the trace, which rounding turns negative where all lines are nearly one.
        power = power / jnp.maximum(jnp.abs(power).max(), 1e-30)
        power = jnp.matmul(power, power, precision="highest")
    row = power[jnp.diagonal(power).argmax()]
    return row / jnp.maximum(jnp.linalg.norm(row), 1e-30)
