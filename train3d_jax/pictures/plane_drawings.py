"""The surfaces of a map, painted by the direction that they face.

Where three directions at right angles explain most surfaces, as in rooms, a surface gets the colour
of the direction at right angles to it, in the colours of `line_drawings`: those of the lines that
run in this direction.  Elsewhere surfaces are painted by their normals.
"""

from typing import NamedTuple

import numpy as np

from train3d_jax.geometry.plane_fits import plane_normals
from train3d_jax.pictures.line_drawings import COLOURS, NAMES, OTHER, names_of
from train3d_jax.pictures.shapes import Shape, averaged, paint_of_normals, step_of

_FINEST = 60_000
"""Pixels that are fitted; more make noise visible, not surfaces."""

_WINDOW = 7
"""Edge of a window of a fit, pixels."""

_WITHIN_DEGREES = 15.0
"""Of a direction: a surface has its colour.  Chosen: normals of cameras scatter by 5 to 10."""

_LEAST_EXPLAINED, _LEAST_SECOND = 0.5, 0.03
"""Shares of the surfaces that three directions, and the second of them, must have.  Chosen."""

_COMPARED = 800
"""Normals among which directions are searched; chosen, some milliseconds."""

_NO_PLANE, _MISSING = (205, 205, 205), (235, 235, 235)


class PaintedPlanes(NamedTuple):
    """The surfaces of a map.

    Attributes:
      pixels: uint8, shape (H', W', 3), of the map or of blocks of it.
      legend: names, colours and shares of the surfaces in per cent; empty where they are painted by
        their normals.
    """

    pixels: np.ndarray
    legend: tuple[tuple[str, tuple[int, int, int], float], ...]


def paint_planes(shape: Shape, directions: np.ndarray | None = None) -> PaintedPlanes:
    """Paints the surfaces of a recovered map.

    Args:
      shape: the map.
      directions: three directions at right angles in camera axes, as the lines of its picture have
        them, rows of unit length, shape (3, 3); None or NaN: the surfaces' own, if they have any.
    """
    thin = averaged(shape, step_of(shape.depth, _FINEST))
    normals = plane_normals(thin.depth, thin.intrinsics, _WINDOW)
    flat = np.isfinite(normals).all(-1)
    pixels = np.full((*flat.shape, 3), _MISSING, np.uint8)
    pixels[thin.depth > 0] = _NO_PLANE
    if directions is None or not np.isfinite(directions).all():
        directions = orthogonal_directions(normals[flat])
    if directions is None:
        pixels[flat] = paint_of_normals(normals[flat])
        return PaintedPlanes(pixels, ())
    facing = np.abs(normals[flat] @ directions.T)
    row = np.where(facing.max(-1) > np.cos(np.radians(_WITHIN_DEGREES)), facing.argmax(-1), -1)
    names = names_of(directions)
    table = np.array([*(COLOURS[name] for name in names), OTHER], np.uint8)
    # Farther surfaces are darker, so that parallel ones can be told apart.
    depth = thin.depth[flat]
    nearness = (np.quantile(depth, 0.1) if len(row) else 1.0) / depth
    shade = 0.7 + 0.3 * np.minimum(nearness, 1)
    pixels[flat] = (table[row] * shade[:, None]).astype(np.uint8)
    share = [100 * float((row == number).mean()) if len(row) else 0.0 for number in (0, 1, 2, -1)]
    order = sorted(range(3), key=lambda number: names[number])
    legend = [(NAMES[names[number]], COLOURS[names[number]], share[number]) for number in order]
    return PaintedPlanes(pixels, (*legend, ("other", OTHER, share[3])))


def orthogonal_directions(normals: np.ndarray) -> np.ndarray | None:
    """Three directions at right angles that most normals have.

    The commonest direction is the first, the commonest at a right angle to it the second.

    Args:
      normals: of unit length, shape (N, 3).

    Returns:
      Rows of unit length, shape (3, 3); None where fewer than half of the normals have one of them,
      or hardly any the second, as of a single wall.
    """
    if not len(normals):
        return None
    picked = normals[np.linspace(0, len(normals) - 1, min(len(normals), _COMPARED)).astype(int)]
    first, _ = _commonest(picked)
    across = picked[np.abs(picked @ first) < np.sin(np.radians(_WITHIN_DEGREES))]
    if len(across) < _LEAST_SECOND * len(picked):
        return None
    across = across - (across @ first)[:, None] * first
    second, count = _commonest(across / np.linalg.norm(across, axis=-1, keepdims=True))
    directions = np.stack([first, second, np.cross(first, second)])
    explained = np.abs(picked @ directions.T).max(-1) > np.cos(np.radians(_WITHIN_DEGREES))
    enough = explained.mean() >= _LEAST_EXPLAINED and count >= _LEAST_SECOND * len(picked)
    return directions if enough else None


def _commonest(normals: np.ndarray) -> tuple[np.ndarray, int]:
    """The direction, up to its sign, that most normals are near to; and how many."""
    cosines = normals @ normals.T
    near = np.abs(cosines) > np.cos(np.radians(_WITHIN_DEGREES / 2))
    best = int(near.sum(-1).argmax())
    members = normals[near[best]] * np.sign(cosines[best][near[best]])[:, None]
    mean = members.sum(0)
    return mean / np.linalg.norm(mean), len(members)
