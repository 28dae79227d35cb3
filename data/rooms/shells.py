"""Floor plans, walls with openings, and ceilings: the empty room.

World axes: x and y horizontal, z up, metres; the floor is z = 0.  A floor plan is a (K, 2) array
of corners, counter-clockwise.  Everything is a closed solid (`data.rooms.meshes`).
"""

from dataclasses import dataclass

import numpy as np

from data.rooms.meshes import Mesh, box, merge, place, prism, rotation, transform

# Metres of the slab above a room; chosen, so that sloped ceilings always reach into it.
SLAB_THICKNESS = 0.3


@dataclass(frozen=True)
class Opening:
    """A rectangular hole in a wall.

    Attributes:
        wall: index of the floor plan's edge, which runs from corner `wall` to the next.
        start: metres along the edge.
        end: metres along the edge, more than `start`.
        bottom: height above the floor: 0 for a door.
        top: height above the floor.
    """

    wall: int
    start: float
    end: float
    bottom: float
    top: float


def rectangle_plan(width: float, depth: float) -> np.ndarray:
    """(4, 2) corners of a rectangle about the origin."""
    x, y = width / 2, depth / 2
    return np.array([[-x, -y], [x, -y], [x, y], [-x, y]])


def l_plan(rng: np.random.Generator, width: float, depth: float) -> np.ndarray:
    """(6, 2) corners of a rectangle that lacks one corner, mirrored at random."""
    x, y = width / 2, depth / 2
    inner_x, inner_y = rng.uniform(-0.3, 0.5, 2) * (x, y)
    plan = np.array([[-x, -y], [x, -y], [x, inner_y], [inner_x, inner_y], [inner_x, y], [-x, y]])
    if rng.random() < 0.5:
        plan = (plan * [-1, 1])[::-1]
    return plan


def chamfered_plan(rng: np.random.Generator, width: float, depth: float) -> np.ndarray:
    """(5, 2) corners of a rectangle with one corner cut off, by 45 degrees or any other."""
    x, y = width / 2, depth / 2
    cut_x, cut_y = rng.uniform(0.25, 0.7, 2) * (width, depth)
    if rng.random() < 0.4:
        cut_x = cut_y = min(cut_x, cut_y)
    return np.array([[-x, -y], [x, -y], [x, y - cut_y], [x - cut_x, y], [-x, y]])


def polygon_plan(rng: np.random.Generator, corners: int, width: float, depth: float) -> np.ndarray:
    """(corners, 2) points on an ellipse at uneven angles: convex, hardly ever a right angle."""
    angle = 2 * np.pi * (np.arange(corners) + rng.uniform(-0.3, 0.3, corners)) / corners
    return np.column_stack([width / 2 * np.cos(angle), depth / 2 * np.sin(angle)])


def inside(plan: np.ndarray, points: np.ndarray, margin: float = 0.0) -> np.ndarray:
    """Which points lie in the plan and at least `margin` metres from every edge.

    Args:
        plan: (K, 2) corners; need not be convex.
        points: (..., 2).
        margin: metres, >= 0.

    Returns:
        (...) bool.
    """
    start, end = plan, np.roll(plan, -1, axis=0)
    point = np.asarray(points, float)[..., None, :]
    # Even-odd rule: a ray towards +x crosses the outline an odd number of times from inside.
    spans = (start[:, 1] > point[..., 1]) != (end[:, 1] > point[..., 1])
    rise = end[:, 1] - start[:, 1]
    fraction = (point[..., 1] - start[:, 1]) / np.where(rise == 0, 1, rise)
    crossing = start[:, 0] + fraction * (end[:, 0] - start[:, 0])
    within = (spans & (point[..., 0] < crossing)).sum(-1) % 2 == 1
    edge = end - start
    along = ((point - start) * edge).sum(-1) / (edge**2).sum(-1)
    nearest = start + np.clip(along, 0, 1)[..., None] * edge
    return within & (np.linalg.norm(point - nearest, axis=-1).min(-1) >= margin)


def edge_frame(plan: np.ndarray, wall: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """A wall's first corner, unit direction along it, unit normal into the room, and length."""
    corner = plan[wall]
    edge = plan[(wall + 1) % len(plan)] - corner
    length = float(np.linalg.norm(edge))
    along = edge / length
    return corner, along, np.array([-along[1], along[0]]), length


def walls(
    plan: np.ndarray, height: float, thickness: float, openings: tuple[Opening, ...] = ()
) -> Mesh:
    """Walls outside the floor plan, joined at the corners, with holes where the openings are.

    Args:
        plan: (K, 2) corners.
        height: metres.
        thickness: metres.
        openings: those of one wall must not overlap along it.
    """
    return merge(
        _wall(plan, wall, height, thickness, [hole for hole in openings if hole.wall == wall])
        for wall in range(len(plan))
    )


def _wall(
    plan: np.ndarray, wall: int, height: float, thickness: float, holes: list[Opening]
) -> Mesh:
    corner, along, inward, length = edge_frame(plan, wall)
    _, before, _, _ = edge_frame(plan, (wall - 1) % len(plan))
    _, after, _, _ = edge_frame(plan, (wall + 1) % len(plan))
    # Mitred at both ends, so that neighbouring walls meet whichever way the corner turns.
    overlap = [
        thickness * np.tan(0.5 * np.arctan2(a[0] * b[1] - a[1] * b[0], a @ b))
        for a, b in ((before, along), (along, after))
    ]

    def panel(start: float, end: float, bottom: float, top: float) -> list[Mesh]:
        if end - start < 1e-6 or top - bottom < 1e-6:
            return []
        outer_start = start - (overlap[0] if start == 0.0 else 0.0)
        outer_end = end + (overlap[1] if end == length else 0.0)
        outline = [(start, 0), (outer_start, thickness), (outer_end, thickness), (end, 0)]
        corners = np.array([corner + s * along - t * inward for s, t in outline])
        return [prism(corners, bottom, top)]

    parts, position = [], 0.0
    for hole in sorted(holes, key=lambda hole: hole.start):
        parts += panel(position, hole.start, 0.0, height)
        parts += panel(hole.start, hole.end, 0.0, hole.bottom)
        parts += panel(hole.start, hole.end, hole.top, height)
        position = hole.end
    parts += panel(position, length, 0.0, height)
    return merge(parts)


def slabs(plan: np.ndarray, height: float, margin: float) -> Mesh:
    """A floor and a flat ceiling at `height`, both `margin` metres wider than the plan."""
    low, high = plan.min(axis=0) - margin, plan.max(axis=0) + margin
    centre, (width, depth) = (low + high) / 2, high - low
    return merge(
        place(box(width, depth, SLAB_THICKNESS, base), *centre)
        for base in (-SLAB_THICKNESS, height)
    )


def surrounding_walls(plan: np.ndarray, height: float, margin: float) -> Mesh:
    """The walls of what lies behind the doors: a rectangle `margin` metres out from the plan."""
    low, high = plan.min(axis=0) - margin, plan.max(axis=0) + margin
    outline = rectangle_plan(*(high - low)) + (low + high) / 2
    return walls(outline, height, 0.1)


def sloped_ceiling(plan: np.ndarray, section: np.ndarray, top: float, yaw: float) -> Mesh:
    """A ceiling that follows a line: an attic's slopes, a gable, a barrel vault.

    Args:
        plan: (K, 2) corners, which the ceiling covers.
        section: (N, 2) pairs (position across, height), N >= 2, positions rising from -1 to 1,
            which stand for the ends of the plan across the ridge; heights in metres under `top`.
        top: where the solid ends above, metres: the height of the flat ceiling.
        yaw: direction in which the section's positions run, radians from x.
    """
    across = plan @ [np.cos(yaw), np.sin(yaw)]
    along = plan @ [-np.sin(yaw), np.cos(yaw)]
    middle, half = (across.max() + across.min()) / 2, np.ptp(across) / 2 + 0.01
    positions = middle + half * section[:, 0]
    parts = []
    for (x0, z0), (x1, z1) in zip(
        zip(positions, section[:, 1], strict=True),
        zip(positions[1:], section[1:, 1], strict=True),
        strict=False,
    ):
        wedge = np.array([[x0, z0], [x1, z1], [x1, top], [x0, top]])
        parts.append(prism(wedge, -along.max(), -along.min()))
    # The wedges were drawn in a vertical plane: (across, up) become (x, z), their height becomes y.
    upright = transform(merge(parts), rotation(0, np.pi / 2))
    return transform(upright, rotation(2, yaw))
