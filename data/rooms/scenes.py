"""Random rooms: kinds of scene as named builders, each a pure function of a numpy Generator.

To add a kind: write a function `(rng, surroundings) -> Room` and enter it with a weight in `KINDS`.
World axes: x and y horizontal, z up, metres; the floor is z = 0.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from data.rooms.building import Room, RoomBuilder, Surroundings, random_point
from data.rooms.furniture import FREE_PIECES, ODD_PIECES, ROUND_PIECES, WALL_PIECES
from data.rooms.meshes import box, box_at, cylinder, lump, merge, place, relief, rotation, transform
from data.rooms.open_air import facade, garden, road
from data.rooms.outdoors import STREET_PIECES, barrier, front
from data.rooms.pieces import Piece
from data.rooms.shells import chamfered_plan, l_plan, polygon_plan, rectangle_plan, sloped_ceiling
from data.rooms.tables import bin_of_parts, shelf, table_top


def _sizes(rng: np.random.Generator, surroundings: Surroundings) -> tuple[float, float, float]:
    """Width, depth and height of a room in metres: mostly homes, some halls."""
    if surroundings == "halls" and rng.random() < 0.15:
        return rng.uniform(8, 30), rng.uniform(6, 20), rng.uniform(2.5, 7)
    if rng.random() < 0.12:
        return rng.uniform(6, 14), rng.uniform(6, 14), rng.uniform(3, 6)
    return rng.uniform(2.2, 6.5), rng.uniform(2.2, 6.5), rng.uniform(2.2, 3.5)


def _furnished(
    rng: np.random.Generator, plan: np.ndarray, height: float, **openings
) -> RoomBuilder:
    """A room with everything usual in it; few pieces or many."""
    builder = RoomBuilder(rng, plan, height)
    builder.shell(**openings)
    fullness = rng.uniform(0.3, 1.0)
    builder.along_walls(round(12 * fullness))
    builder.anywhere(round(8 * fullness))
    builder.on_walls(round(8 * fullness))
    builder.on_ceiling()
    if rng.random() < 0.5:
        builder.litter(int(rng.integers(2, 25)))
    return builder


def _manhattan(rng: np.random.Generator, surroundings: Surroundings) -> Room:
    width, depth, height = _sizes(rng, surroundings)
    return _furnished(rng, rectangle_plan(width, depth), height).done("manhattan")


def _l_shaped(rng: np.random.Generator, surroundings: Surroundings) -> Room:
    width, depth, height = _sizes(rng, surroundings)
    plan = l_plan(rng, max(width, 3.5), max(depth, 3.5))
    return _furnished(rng, plan, height).done("l_shaped")


def _chamfered(rng: np.random.Generator, surroundings: Surroundings) -> Room:
    width, depth, height = _sizes(rng, surroundings)
    return _furnished(rng, chamfered_plan(rng, width, depth), height).done("chamfered")


def _polygon(rng: np.random.Generator, surroundings: Surroundings) -> Room:
    width, depth, height = _sizes(rng, surroundings)
    plan = polygon_plan(rng, int(rng.integers(5, 8)), 1.2 * width, 1.2 * depth)
    return _furnished(rng, plan, height).done("polygon")


def _attic(rng: np.random.Generator, surroundings: Surroundings) -> Room:
    """Slopes on one side or both, of any pitch, straight or broken."""
    width, depth, _ = _sizes(rng, surroundings)
    knee, top = rng.uniform(0.4, 1.6), rng.uniform(2.3, 3.8)
    ridge, end = rng.uniform(-0.8, 0.8), rng.choice([knee, top, rng.uniform(0.4, 2.0)])
    section = [(-1, knee), (ridge, top), (1, end)]
    if rng.random() < 0.35:
        section = [(-1, knee), (-rng.uniform(0.2, 0.7), top), (ridge * 0.2 + 0.4, top), (1, end)]
    plan = rectangle_plan(width, depth)
    # A ridge along neither wall is rare, but it happens.
    yaw = np.pi / 2 * rng.integers(2) + (rng.uniform(-0.5, 0.5) if rng.random() < 0.2 else 0)
    builder = _furnished(rng, plan, top + 0.01)
    builder.parts.append(sloped_ceiling(plan, np.array(section, float), top + 0.02, yaw))
    return builder.done("attic")


def _inner_walls(rng: np.random.Generator, surroundings: Surroundings) -> Room:
    """Free-standing walls and screens, turned against the outer ones."""
    width, depth, height = _sizes(rng, surroundings)
    builder = RoomBuilder(rng, rectangle_plan(max(width, 3.5), max(depth, 3.5)), height)
    builder.shell()
    for _ in range(rng.integers(1, 5)):
        length, thickness = rng.uniform(0.8, 3.0), rng.uniform(0.05, 0.4)
        top = height if rng.random() < 0.6 else rng.uniform(0.8, height)
        wall = Piece(box(length, thickness, top), length, thickness)
        builder.stand(wall, random_point(rng, builder.plan, 0.3), rng.uniform(0, np.pi))
    builder.along_walls(6)
    builder.anywhere(6)
    builder.on_walls(6)
    builder.on_ceiling()
    return builder.done("inner_walls")


def _corridor(rng: np.random.Generator, surroundings: Surroundings) -> Room:
    """Long and narrow, with doors; what stands in it leaves a way through."""
    length, width, height = rng.uniform(4, 14), rng.uniform(1.1, 2.4), rng.uniform(2.2, 3.2)
    if surroundings == "halls" and rng.random() < 0.6:
        length, width, height = rng.uniform(8, 40), rng.uniform(1.2, 4.5), rng.uniform(2.2, 4.0)
    builder = RoomBuilder(rng, rectangle_plan(length, width), height)
    for _ in range(rng.integers(0, 5)):
        side, x = rng.choice([-1, 1]), rng.uniform(-length / 2, length / 2)
        builder.parts.append(box_at(x, side * width / 2, 0, rng.uniform(0.2, 1), 0.3, height))
    builder.shell(door_share=0.7, window_share=0.2)
    builder.along_walls(5)
    builder.on_walls(12)
    builder.on_ceiling()
    return builder.done("corridor", 0.05)


def _close_up(rng: np.random.Generator, surroundings: Surroundings) -> Room:
    """A small room whose tables and shelves are full of things."""
    plan = rectangle_plan(*rng.uniform(2.2, 4.5, 2))
    builder = RoomBuilder(rng, plan, rng.uniform(2.2, 3.0))
    builder.shell()
    builder.anywhere(4, FREE_PIECES[:3], 14)
    builder.along_walls(8, WALL_PIECES, 10)
    builder.litter(8)
    return builder.done("close_up", 0.8)


def _clutter(rng: np.random.Generator, surroundings: Surroundings) -> Room:
    """Crates, ramps and a heap of boxes turned every way: planes in all directions."""
    width, depth, height = _sizes(rng, surroundings)
    builder = RoomBuilder(rng, rectangle_plan(width, depth), height)
    builder.shell()
    builder.anywhere(10, ODD_PIECES)
    builder.along_walls(4)
    builder.heap(int(rng.integers(5, 40)))
    return builder.done("clutter", 0.25)


def _curved(rng: np.random.Generator, surroundings: Surroundings) -> Room:
    """A round room or a barrel vault, full of balls, barrels, columns and lamps."""
    width, depth, height = _sizes(rng, surroundings)
    vaulted = rng.random() < 0.5
    plan = rectangle_plan(width, depth) if vaulted else polygon_plan(rng, 5, width, depth)
    if not vaulted and rng.random() < 0.6:
        angle = 2 * np.pi * np.arange(32) / 32
        plan = np.column_stack([width / 2 * np.cos(angle), depth / 2 * np.sin(angle)])
    builder = RoomBuilder(rng, plan, height)
    builder.shell()
    if vaulted:
        across, spring = np.linspace(-1, 1, 25), rng.uniform(0.4, 0.75) * height
        arch = spring + (height - spring) * np.sqrt(np.maximum(1 - across**2, 0))
        section = np.column_stack([across, arch])
        builder.parts.append(sloped_ceiling(plan, section, height + 0.02, np.pi / 2))
    builder.anywhere(12, ROUND_PIECES, 6)
    builder.along_walls(4)
    return builder.done("curved", 0.2)


def _rocks(rng: np.random.Generator, surroundings: Surroundings) -> Room:
    """No room at all: rough ground with boulders and bushes, often below a rock face or two."""
    plan = rectangle_plan(*rng.uniform(3, 12, 2))
    width, depth = np.ptp(plan, axis=0)
    builder = RoomBuilder(rng, plan, height=5.0)
    rough = rng.uniform(0.02, 0.4)
    builder.parts.append(relief(rng, width + 8, depth + 8, rough))
    for side in rng.permutation(4)[: rng.integers(0, 4)]:
        # Upright, its foot below the ground, and facing inwards.
        face = transform(
            relief(rng, width + 8, 8.0, rng.uniform(0.05, 0.5)), rotation(0, np.pi / 2)
        )
        lean = transform(face, rotation(0, rng.normal(0, 0.25)), (0, depth / 2 + 0.5, 2.5))
        builder.parts.append(place(lean, 0, 0, 0, side * np.pi / 2))
    for _ in range(rng.integers(3, 50)):
        x, y = random_point(rng, plan, 0.0)
        radius = min(0.08 * np.exp(rng.exponential(1.0)), 1.5)
        stone = lump(rng, radius, rng.uniform(0.4, 1.0), rng.uniform(0.1, 0.5))
        turned = transform(
            stone, rotation(0, rng.normal(0, 0.5)) @ rotation(2, rng.uniform(0, 6.3))
        )
        builder.parts.append(place(turned, x, y, rng.uniform(-0.6, 0.1) * radius))
        builder.targets.append(np.array([x, y, 0.5 * radius]))
    for _ in range(rng.integers(0, 4)):
        x, y = random_point(rng, plan, 0.0)
        trunk = transform(
            cylinder(rng.uniform(0.04, 0.25), 6, -0.5), rotation(0, rng.normal(0, 0.1))
        )
        builder.parts.append(place(trunk, x, y, 0, rng.uniform(0, 6.3)))
    return builder.done("rocks", 0.5)


def _street(rng: np.random.Generator, surroundings: Surroundings) -> Room:
    """No room at all: level ground between fronts of houses, walls, hedges, or nothing."""
    length, width = rng.uniform(10, 60), rng.uniform(4, 25)
    builder = RoomBuilder(rng, rectangle_plan(length, width), height=6.0)
    builder.parts.append(box(4 * length, length + 4 * width, 0.5, -0.5))
    for side in (-1, 1):
        _line_street(builder, length, (0, side * width / 2), np.pi if side > 0 else 0.0)
        if rng.random() < 0.5:
            _line_street(builder, width, (side * length / 2, 0), side * np.pi / 2)
    builder.anywhere(round(4 + rng.uniform(0.01, 0.08) * length * width), STREET_PIECES, 0)
    builder.anywhere(int(rng.integers(0, 6)), FREE_PIECES)
    return builder.done("street", 0.05)


def _line_street(builder: RoomBuilder, length: float, middle, yaw: float) -> None:
    """Adds a side of a street: a pavement, and fronts or a barrier; turned by yaw, it faces +y."""
    rng, parts = builder.rng, []
    if rng.random() < 0.6:
        parts.append(box_at(0, 0, 0, length, rng.uniform(1.5, 4.0), rng.uniform(0.06, 0.2)))
    kind, skew = rng.random(), rng.normal(0, 0.3) if rng.random() < 0.2 else 0.0
    if kind < 0.65:
        end = -length / 2
        while end < length / 2:
            width, gap = rng.uniform(4, 18), rng.choice([0.0, 0.0, rng.uniform(0.5, 4.0)])
            back = rng.uniform(0, 3) if rng.random() < 0.4 else 0.0
            parts.append(place(front(rng, width), end + width / 2, -back, 0, skew))
            end += width + gap
    elif kind < 0.85:
        parts.append(place(barrier(rng, length), 0, 0, 0, skew))
    if parts:
        builder.parts.append(place(merge(parts), middle[0], middle[1], 0, yaw))


# Relative frequency of each kind of room; chosen.
KINDS: dict[str, tuple[float, Callable[[np.random.Generator, Surroundings], Room]]] = {
    "manhattan": (0.17, _manhattan),
    "l_shaped": (0.10, _l_shaped),
    "chamfered": (0.08, _chamfered),
    "polygon": (0.13, _polygon),
    "attic": (0.12, _attic),
    "inner_walls": (0.10, _inner_walls),
    "corridor": (0.07, _corridor),
    "close_up": (0.11, _close_up),
    "clutter": (0.07, _clutter),
    "curved": (0.05, _curved),
    "street": (0.0, _street),
    "rocks": (0.0, _rocks),
    "table_top": (0.0, table_top),
    "bin": (0.0, bin_of_parts),
    "shelf": (0.0, shelf),
    "road": (0.0, road),
    "facade": (0.0, facade),
    "garden": (0.0, garden),
}

KINDS_AMONG: dict[Surroundings, dict[str, float]] = {
    "streets": {"street": 1.0},
    "rocks": {"rocks": 1.0},
    "tables": {"table_top": 0.45, "bin": 0.2, "shelf": 0.15, "close_up": 0.2},
    "outdoors": {"road": 0.35, "facade": 0.3, "garden": 0.35},
}
"""Relative frequencies where kinds are others than in homes; chosen."""

CORRIDORS_AMONG_HALLS = 2.0
"""Factor on their weight."""


def random_room(
    rng: np.random.Generator, kind: str | None = None, surroundings: Surroundings = "homes"
) -> Room:
    """A random room; the same state of `rng` gives the same room.

    Args:
        rng: source of all randomness.
        kind: a name in `KINDS`; None draws one by the weights there.
        surroundings: what the room is among.
    """
    names = list(KINDS)
    if kind is None:
        weights = np.array([KINDS[name][0] for name in names])
        if surroundings == "halls":
            weights[names.index("corridor")] *= CORRIDORS_AMONG_HALLS
        elif among := KINDS_AMONG.get(surroundings):
            weights = np.array([among.get(name, 0.0) for name in names])
        kind = names[rng.choice(len(names), p=weights / weights.sum())]
    return replace(KINDS[kind][1](rng, surroundings), surroundings=surroundings)
