"""The likelihood of focal lengths by lines and planes along three directions at right angles.

Rooms, streets and furniture have a frame: three directions at right angles, which most of their
lines and planes follow.  Under a focal ratio alpha a frame R predicts where lines point and how
planes are tilted:

  lines    L(alpha, R) = sum over segments of log(1 - 3 p + p sum over axes of density)
  windows  W(alpha, R) = the same over windows of the density of the angle between normal and axis

The likelihood of alpha is the mean over all frames (`frame_likelihoods`), which Laplace's method
gives about the best frames: log of the mean over R of exp(t L + u W).
"""

# JAX types many of its functions in part only, hence what is switched off.
# pyright: strict, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from train3d_jax.lines.vanishing import COUNT, Lines, VanishingPoints, density, misses
from train3d_jax.windows.quadrics import solve_positive_definite

AXIS_SHARE = 0.2
"""Share of segments along each axis of the frame.  From experiments on pictures of depth cameras,
as all numbers here."""

PLANE_SHARE = 0.15
"""Share of windows whose normals are along each axis."""

PLANE_SIGMA = np.radians(1.5)
"""Standard deviation of normals beyond the noise of their fits."""

ROLLS = 10
"""Frames about each vanishing point, evenly turned over a right angle."""

ROLLED = 5
"""Vanishing points that frames are turned about."""

PLANE_PAIRS = 48
"""Pairs of windows whose normals are two axes of a frame."""

KEPT = 4
"""Frames that are refined."""

REFINEMENTS = 4
"""Gauss-Newton steps."""

LARGEST_TURN = 0.15
"""Of one step, radians."""


class Planes(NamedTuple):
    """Windows of one map under a shift.

    Attributes:
      gradient: of their inverse depth, shape (M, 2).
      offset: so that the normal under a focal ratio alpha is along (alpha gradient, offset), (M,).
      variance: of both components of the gradient, shape (M, 2).
      centre: in ray units, shape (M, 2).
      weight: 1 for a window, 0 where there is none, shape (M,).
    """

    gradient: jax.Array
    offset: jax.Array
    variance: jax.Array
    centre: jax.Array
    weight: jax.Array


class _Normals(NamedTuple):
    """Normals of windows under one focal ratio, (M, 3), their sigma and weight, (M,)."""

    normal: jax.Array
    sigma: jax.Array
    weight: jax.Array


class Frames(NamedTuple):
    """Of each focal ratio and tempering.

    Attributes:
      log_likelihood: log of the mean over all frames, shape (F, T).
      best: the frame of the highest likelihood, rows are directions, shape (F, T, 3, 3).
      information: of small turns of it, in camera axes, shape (F, T, 3, 3).
    """

    log_likelihood: jax.Array
    best: jax.Array
    information: jax.Array


def frame_likelihoods(
    lines: Lines,
    points: VanishingPoints,
    planes: Planes,
    alphas: np.ndarray,
    tempers: np.ndarray | jax.Array,
) -> Frames:
    """Log-likelihoods of focal ratios for one map.

    Args:
      lines: its segments.
      points: their vanishing points.
      planes: its windows, under the shift that is assumed.
      alphas: focal ratios, shape (F,).
      tempers: weights of L and of W, rows of shape (T, 2).
    """

    def at(alpha: jax.Array) -> Frames:
        normals = _normals(planes, alpha)
        frames = _candidates(points, normals, alpha)
        scores = jnp.stack(_scores(frames, lines, normals, alpha), -1)

        def tempered(temper: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
            _, best = jax.lax.top_k(scores @ temper, KEPT)
            return _refined(frames[best], lines, normals, alpha, temper)

        return Frames(*jax.vmap(tempered)(jnp.asarray(tempers)))

    return jax.vmap(at)(jnp.asarray(alphas))


def line_shares(frame: jax.Array, lines: Lines, alpha: jax.Array) -> jax.Array:
    """Probability that each segment of a map is along each axis of a frame, shape (3, S)."""
    return _line_terms(frame, lines, alpha)[1].share


def _normals(planes: Planes, alpha: jax.Array) -> _Normals:
    raw = jnp.concatenate([alpha * planes.gradient, planes.offset[:, None]], -1)
    length2 = (raw**2).sum(-1) + 1e-12
    variance = ((alpha**2 + planes.centre**2) * planes.variance).sum(-1)
    sigma = jnp.sqrt(jnp.minimum(0.5 * variance / length2, 1.0) + PLANE_SIGMA**2)
    return _Normals(raw / jnp.sqrt(length2)[:, None], sigma, planes.weight)


def _candidates(points: VanishingPoints, normals: _Normals, alpha: jax.Array) -> jax.Array:
    """Frames by pairs of vanishing points, turns about one, pairs of windows, (H, 3, 3)."""
    directions = points.points / jnp.stack([alpha, alpha, jnp.ones_like(alpha)])
    directions = jnp.where(points.mask[:, None], directions, np.array([0.0, 0.0, 1.0]))
    directions = directions / jnp.linalg.norm(directions, axis=-1, keepdims=True)
    first, second = np.triu_indices(COUNT, 1)
    axis = directions[:ROLLED, None]
    across = _unit(jnp.cross(axis, jnp.where(jnp.abs(axis[..., :1]) < 0.7, _X, _Y)))
    turn = np.arange(ROLLS)[:, None] * (math.pi / 2 / ROLLS)
    turned = np.cos(turn) * across + np.sin(turn) * jnp.cross(axis, across)
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, normals.weight.shape[0], (2, PLANE_PAIRS))
    one_axis = [directions[first], jnp.broadcast_to(axis, turned.shape).reshape(-1, 3)]
    other_axis = [directions[second], turned.reshape(-1, 3)]
    return _at_right_angles(
        jnp.concatenate([*one_axis, normals.normal[one]]),
        jnp.concatenate([*other_axis, normals.normal[other]]),
    )


_X, _Y = np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0])


def _unit(vectors: jax.Array) -> jax.Array:
    return vectors / jnp.sqrt((vectors**2).sum(-1, keepdims=True) + 1e-12)


def _at_right_angles(one: jax.Array, other: jax.Array) -> jax.Array:
    """Frames with two axes as near to two directions (..., 3) as they can be, (..., 3, 3)."""
    other = other * jnp.where((one * other).sum(-1, keepdims=True) < 0, -1.0, 1.0)
    middle, apart = _unit(one + other), one - other
    # Of two directions that are one, any across will do.
    spare = jnp.cross(middle, jnp.where(jnp.abs(middle[..., :1]) < 0.7, _X, _Y))
    apart = jnp.where((apart**2).sum(-1, keepdims=True) > 1e-8, apart, spare)
    apart = _unit(apart - (apart * middle).sum(-1, keepdims=True) * middle)
    first, second = (middle + apart) / math.sqrt(2), (middle - apart) / math.sqrt(2)
    return jnp.stack([first, second, jnp.cross(first, second)], -2)


def _scores(
    frames: jax.Array, lines: Lines, normals: _Normals, alpha: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """L and W of frames (H, 3, 3), each of shape (H,)."""
    of_lines, _ = _line_terms(frames, lines, alpha)
    of_planes, _ = _plane_terms(frames, normals)
    return of_lines, of_planes


class _LineTerms(NamedTuple):
    """Of axes and segments, (..., 3, S): probability of being along an axis; see `misses`."""

    share: jax.Array
    miss: jax.Array
    distance: jax.Array


class _PlaneTerms(NamedTuple):
    """Of axes and windows, (..., 3, M): probability that a normal is along an axis; cosine."""

    share: jax.Array
    cosine: jax.Array


def _line_terms(frames: jax.Array, lines: Lines, alpha: jax.Array) -> tuple[jax.Array, _LineTerms]:
    """L of frames (..., 3, 3), and its parts."""
    miss, distance = misses(frames * _scale(alpha), lines)
    likelihood = AXIS_SHARE * density(miss, lines)
    total = (1 - 3 * AXIS_SHARE) + likelihood.sum(-2)
    terms = _LineTerms(likelihood / total[..., None, :], miss, distance)
    return (jnp.log(total) * lines.weight).sum(-1), terms


def _scale(alpha: jax.Array) -> jax.Array:
    return jnp.stack([alpha, alpha, jnp.ones_like(alpha)])


def _plane_terms(frames: jax.Array, normals: _Normals) -> tuple[jax.Array, _PlaneTerms]:
    """W of frames (..., 3, 3), and its parts."""
    cosine = jnp.einsum("...kd,md->...km", frames, normals.normal, precision="highest")
    sine2 = jnp.maximum(1 - cosine**2, 0.0)
    variance = normals.sigma**2
    likelihood = PLANE_SHARE * jnp.exp(-0.5 * sine2 / variance) / variance
    total = (1 - 3 * PLANE_SHARE) + likelihood.sum(-2)
    terms = _PlaneTerms(likelihood / total[..., None, :], cosine)
    return (jnp.log(total) * normals.weight).sum(-1), terms


def _turned_by_lines(
    frames: jax.Array, terms: _LineTerms, lines: Lines, alpha: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Slope and information of L for small turns of frames, (..., 3) and (..., 3, 3).

    The sine that a segment misses an axis by changes with a turn as axis x normal / distance, where
    the normal is that of the plane of the segment and the camera.  So sums over segments are those
    of normals and of their squares, one for each axis.
    """
    (x, y), (tx, ty) = lines.middle.T, lines.along.T
    normal = jnp.stack([-ty, tx, ty * x - tx * y], -1)
    square = (normal[:, :, None] * normal[:, None, :]).reshape(-1, 9)
    scale = _scale(alpha)
    weight = terms.share * (lines.weight / lines.sigma**2) / terms.distance
    pull = jnp.matmul(weight * terms.miss, normal, precision="highest") * scale
    moment = jnp.matmul(weight / terms.distance, square, precision="highest")
    moment = moment.reshape(*moment.shape[:-1], 3, 3) * (scale[:, None] * scale)
    axes = _skew(frames)
    information = jnp.einsum("...kij,...kjl,...kml->...im", axes, moment, axes, precision="highest")
    return -jnp.einsum("...kij,...kj->...i", axes, pull, precision="highest"), information


def _turned_by_planes(
    frames: jax.Array, terms: _PlaneTerms, normals: _Normals
) -> tuple[jax.Array, jax.Array]:
    """The same of W: a normal pulls an axis to it, and says nothing of turns about itself."""
    weight = terms.share * (normals.weight / normals.sigma**2)
    pull = jnp.matmul(weight * jnp.sign(terms.cosine), normals.normal, precision="highest")
    slope = jnp.einsum("...kij,...kj->...i", _skew(frames), pull, precision="highest")
    along = weight.sum(-1)
    information = along.sum(-1)[..., None, None] * jnp.eye(3)
    information -= jnp.einsum("...k,...ki,...kj->...ij", along, frames, frames, precision="highest")
    return slope, information


def _refined(
    frames: jax.Array, lines: Lines, normals: _Normals, alpha: jax.Array, temper: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The log of the mean over frames about the best one, it, and its information."""

    def step(state: tuple[jax.Array, ...], _: None) -> tuple[tuple[jax.Array, ...], None]:
        frames, best, best_frames, best_information = state
        of_lines, line = _line_terms(frames, lines, alpha)
        of_planes, plane = _plane_terms(frames, normals)
        score = temper[0] * of_lines + temper[1] * of_planes
        by_lines = _turned_by_lines(frames, line, lines, alpha)
        by_planes = _turned_by_planes(frames, plane, normals)
        slope = temper[0] * by_lines[0] + temper[1] * by_planes[0]
        information = temper[0] * by_lines[1] + temper[1] * by_planes[1]
        better = score > best
        best_frames = jnp.where(better[:, None, None], frames, best_frames)
        best_information = jnp.where(better[:, None, None], information, best_information)
        turn = solve_positive_definite(information + 20.0 * jnp.eye(3), slope)
        size = jnp.sqrt((turn**2).sum(-1, keepdims=True) + 1e-20)
        turn = turn * jnp.minimum(1.0, LARGEST_TURN / size)
        frames = jnp.einsum("...ij,...kj->...ki", _rotations(turn), frames, precision="highest")
        return (frames, jnp.maximum(score, best), best_frames, best_information), None

    start = (frames, jnp.full(len(frames), -jnp.inf), frames, jnp.zeros_like(frames))
    (_, score, frames, information), _ = jax.lax.scan(step, start, None, REFINEMENTS + 1)
    volume = jnp.log(jnp.maximum(_det3(information + 4.0 * jnp.eye(3)), 1e-30))
    evidence = score - 0.5 * volume + _LAPLACE
    best = evidence.argmax()
    return evidence[best], frames[best], information[best]


_LAPLACE = 1.5 * math.log(2 * math.pi) + math.log(24 / (8 * math.pi**2))
"""Of three turns, over the 8 pi^2 of all rotations; 24 rotations are the same frame."""


def _rotations(turns: jax.Array) -> jax.Array:
    """Rotations by vectors (..., 3), to second order and made exact, (..., 3, 3): Cayley's form."""
    half = turns / 2
    square = (half**2).sum(-1)[..., None, None]
    outer = half[..., :, None] * half[..., None, :]
    return ((1 - square) * jnp.eye(3) + 2 * outer + 2 * _skew(half)) / (1 + square)


def _skew(vectors: jax.Array) -> jax.Array:
    """Matrices of the cross products with vectors (..., 3), (..., 3, 3)."""
    x, y, z = jnp.moveaxis(vectors, -1, 0)
    zero = jnp.zeros_like(x)
    return jnp.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*x.shape, 3, 3)


def _det3(matrix: jax.Array) -> jax.Array:
    return (matrix[..., 0, :] * jnp.cross(matrix[..., 1, :], matrix[..., 2, :])).sum(-1)
