"""Random rooms: kinds of scene as named builders, each a pure function of a numpy Generator.

To add a kind: write a function `(rng, surroundings) -> Room` and enter it with a weight in `KINDS`.
World axes: x and y horizontal, z up, metres; the floor is z = 0.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from data.rooms.furniture import (
    FREE_PIECES,
    ODD_PIECES,
    ROUND_PIECES,
    SMALL_THINGS,
    WALL_PIECES,
    Piece,
    tumbled,
    with_things,
)
from data.rooms.meshes import (
    Mesh,
    ball,
    beam,
    box,
    box_at,
    cylinder,
    lump,
    merge,
    place,
    relief,
    rotation,
    transform,
)
from data.rooms.outdoors import STREET_PIECES, barrier, front, hanging_things, rock_face
from data.rooms.shells import (
    Opening,
    chamfered_plan,
    edge_frame,
    inside,
    l_plan,
    polygon_plan,
    rectangle_plan,
    slabs,
    sloped_ceiling,
    surrounding_walls,
    walls,
)

Surroundings = Literal["homes", "halls", "streets", "rocks", "thickets"]
"""What is rendered: rooms of all kinds, mostly of homes; the same with rooms as large as halls, up
to 30 m, and with more, wider and longer corridors, up to 40 m, as robots see them; streets, yards
and squares under a sky without depth; rough ground and rock without any plane; leaves, branches,
stones or fish that hang anywhere, of which nothing tells how deep the view is."""

# The share of a room's views that look at a table top or shelf from near by.
USUAL_CLOSE_UP_SHARE = 0.15


@dataclass(frozen=True)
class Room:
    """A furnished room: what is to be seen, and where a camera may stand.

    Attributes:
        kind: the name of its builder in `KINDS`.
        mesh: all triangles.
        plan: (K, 2) corners of the floor, counter-clockwise, metres.
        height: of the ceiling at its highest, metres.
        targets: (T, 3) points worth a close-up, such as table tops; T may be 0.
        close_up_share: the share of views to be taken as close-ups, where there are targets.
        surroundings: what it is among, and so how it is seen.
    """

    kind: str
    mesh: Mesh
    plan: np.ndarray
    height: float
    targets: np.ndarray
    close_up_share: float
    surroundings: Surroundings = "homes"


@dataclass
class _Builder:
    """A room in the making: the solids so far, the ground that they take, points to look at."""

    rng: np.random.Generator
    plan: np.ndarray
    height: float
    parts: list[Mesh] = field(default_factory=list)
    footprints: list[np.ndarray] = field(default_factory=list)
    targets: list[np.ndarray] = field(default_factory=list)

    def shell(self, door_share: float = 0.4, window_share: float = 0.3) -> None:
        """Walls with openings, floor, ceiling, and most often something behind the openings."""
        rng, holes = self.rng, []
        for wall in range(len(self.plan)):
            length = edge_frame(self.plan, wall)[3]
            kind = rng.random()
            if kind < door_share and length > 1.5:
                width, bottom, top = rng.uniform(0.7, min(1.8, length - 0.6)), 0.0, 2.05
            elif kind < door_share + window_share and length > 1.5:
                width, bottom = rng.uniform(0.5, min(2.5, length - 0.4)), rng.uniform(0.3, 1.2)
                top = min(bottom + rng.uniform(0.6, 1.8), self.height - 0.1)
            else:
                continue
            start = rng.uniform(0.1, length - width - 0.1)
            holes.append(Opening(wall, start, start + width, bottom, min(top, self.height - 0.05)))
        self.parts.append(walls(self.plan, self.height, rng.uniform(0.08, 0.4), tuple(holes)))
        margin = rng.uniform(1.0, 3.5)
        self.parts.append(slabs(self.plan, self.height, margin))
        # Without them an opening shows the sky: no depth at all.
        if rng.random() < 0.75:
            self.parts.append(surrounding_walls(self.plan, self.height, margin))
        for hole in holes:
            self._dress(hole)

    def _dress(self, hole: Opening) -> None:
        """A door leaf that stands ajar, or a curtain in folds beside a window."""
        rng = self.rng
        corner, along, inward, _ = edge_frame(self.plan, hole.wall)
        heading = np.arctan2(along[1], along[0])
        if hole.bottom == 0.0 and rng.random() < 0.5:
            width = min(hole.end - hole.start, 1.0)
            leaf = box_at(width / 2, 0, 0, width, 0.04, hole.top)
            x, y = corner + hole.start * along
            self.parts.append(place(leaf, x, y, 0, heading + rng.uniform(0.1, 2.6)))
        elif hole.bottom > 0.0 and rng.random() < 0.4:
            for fold in range(rng.integers(3, 9)):
                x, y = corner + (hole.start + 0.09 * fold) * along + 0.08 * inward
                self.parts.append(place(cylinder(0.05, self.height - 0.05, 0.05), x, y))

    def along_walls(self, count: int, pieces=WALL_PIECES, most_things: int = 4) -> None:
        """Tries to stand `count` pieces with their backs to walls."""
        lengths = np.array([edge_frame(self.plan, wall)[3] for wall in range(len(self.plan))])
        for _ in range(count):
            piece = _pick(self.rng, pieces, most_things)
            wall = int(self.rng.choice(len(lengths), p=lengths / lengths.sum()))
            corner, along, inward, length = edge_frame(self.plan, wall)
            room_beside = length - piece.width
            if room_beside > 0:
                position = self.rng.uniform(0, room_beside) + piece.width / 2
                gap = 0.01 + 0.1 * self.rng.random() ** 3
                centre = corner + position * along + (piece.depth / 2 + gap) * inward
                self._stand(piece, centre, np.arctan2(along[1], along[0]))

    def anywhere(self, count: int, pieces=FREE_PIECES, most_things: int = 4) -> None:
        """Tries to stand `count` pieces on the floor, half of them turned any way."""
        along = edge_frame(self.plan, 0)[1]
        for _ in range(count):
            piece = _pick(self.rng, pieces, most_things)
            yaw = np.arctan2(along[1], along[0]) + np.pi / 2 * self.rng.integers(4)
            if self.rng.random() < 0.5:
                yaw = self.rng.uniform(0, 2 * np.pi)
            self._stand(piece, random_point(self.rng, self.plan, 0.1), yaw)

    def _stand(self, piece: Piece, centre: np.ndarray, yaw: float) -> None:
        """Adds the piece unless it would stick through a wall or another piece."""
        turn = np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])
        footprint = rectangle_plan(piece.width, piece.depth) @ turn.T + centre
        free = not any(_overlap(footprint, other) for other in self.footprints)
        if free and inside(self.plan, 0.98 * footprint + 0.02 * centre).all():
            self.footprints.append(footprint)
            self.parts.append(place(piece.mesh, centre[0], centre[1], 0, yaw))
            for x, y, z, _, _ in piece.tops:
                self.targets.append(np.array([*(turn @ [x, y] + centre), z]))

    def on_walls(self, count: int) -> None:
        """Pictures, boards, radiators and boxes fixed to the walls."""
        rng = self.rng
        for _ in range(count):
            wall = int(rng.integers(len(self.plan)))
            corner, along, inward, length = edge_frame(self.plan, wall)
            width, height = rng.uniform(0.2, 1.2), rng.uniform(0.03, 0.9)
            thickness, base = rng.choice([0.03, 0.1, 0.25]), rng.uniform(0.1, 2.0)
            if width < length - 0.1 and base + height < self.height:
                position = rng.uniform(width / 2, length - width / 2)
                x, y = corner + position * along + thickness / 2 * inward
                heading = np.arctan2(along[1], along[0])
                self.parts.append(place(box(width, thickness, height), x, y, base, heading))

    def on_ceiling(self) -> None:
        """Beams across, a hanging lamp, a rug below: each now and then."""
        rng = self.rng
        low, high = self.plan.min(axis=0), self.plan.max(axis=0)
        if rng.random() < 0.2:
            for x in np.arange(low[0] + 0.3, high[0], rng.uniform(0.6, 1.5)):
                ends = [x, low[1], self.height - 0.08], [x, high[1], self.height - 0.08]
                self.parts.append(beam(*ends, 0.14, 0.18))
        if rng.random() < 0.5:
            x, y = random_point(rng, self.plan, 0.3)
            size, drop = rng.uniform(0.1, 0.25), rng.uniform(0.4, 0.9)
            lamp = ball(size) if rng.random() < 0.5 else cylinder(size, size)
            lamp = merge([lamp, cylinder(0.008, drop, size)])
            self.parts.append(place(lamp, x, y, self.height - drop - size))
        if rng.random() < 0.3:
            x, y = random_point(rng, self.plan, 0.3)
            rug = box(rng.uniform(0.6, 2.5), rng.uniform(0.6, 2.0), 0.01)
            self.parts.append(place(rug, x, y, 0, rng.uniform(0, np.pi)))

    def heap(self, count: int) -> None:
        """Boxes thrown on the floor, turned every way, some on top of each other."""
        for _ in range(count):
            x, y = random_point(self.rng, self.plan, 0.2)
            thing = tumbled(self.rng, self.rng.uniform(0.15, 0.8))
            self.parts.append(place(thing, x, y, self.rng.choice([0.0, 0.0, 0.2])))
            self.targets.append(np.array([x, y, 0.3]))

    def litter(self, count: int) -> None:
        """Small and soft things that lie about on the floor, most of them along the walls."""
        for _ in range(count):
            spot = random_point(self.rng, self.plan, 0.15)
            if self.rng.random() < 0.5:
                wall = int(self.rng.integers(len(self.plan)))
                corner, along, inward, length = edge_frame(self.plan, wall)
                away = self.rng.uniform(0.15, 0.5)
                spot = corner + self.rng.uniform(0.1, 0.9) * length * along + away * inward
            thing = SMALL_THINGS[self.rng.integers(len(SMALL_THINGS))](self.rng)
            grown = transform(thing, np.eye(3) * self.rng.uniform(1.0, 2.5))
            self.parts.append(place(grown, spot[0], spot[1], 0, self.rng.uniform(0, 2 * np.pi)))

    def done(self, kind: str, close_up_share: float = USUAL_CLOSE_UP_SHARE) -> Room:
        """The finished room."""
        targets = np.array(self.targets).reshape(-1, 3)
        mesh = merge(self.parts)
        return Room(kind, mesh, self.plan, self.height, targets, close_up_share)


def random_point(rng: np.random.Generator, plan: np.ndarray, margin: float) -> np.ndarray:
    """(2,) a point of the floor at least `margin` metres from the walls, if there is one near."""
    low, high = plan.min(axis=0), plan.max(axis=0)
    points = rng.uniform(low, high, (64, 2))
    good = points[inside(plan, points, margin)]
    return good[0] if len(good) else plan.mean(axis=0)


def _pick(rng: np.random.Generator, pieces, most_things: int) -> Piece:
    return with_things(rng, pieces[rng.integers(len(pieces))](rng), most_things)


def _overlap(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two rectangles (4, 2) overlap: no side of either keeps them apart."""
    for edges in (first, second):
        axes = np.diff(edges[:3], axis=0)
        one, other = first @ axes.T, second @ axes.T
        if ((one.max(0) <= other.min(0)) | (other.max(0) <= one.min(0))).any():
            return False
    return True


def _sizes(rng: np.random.Generator, surroundings: Surroundings) -> tuple[float, float, float]:
    """Width, depth and height of a room in metres: mostly homes, some halls."""
    if surroundings == "halls" and rng.random() < 0.15:
        return rng.uniform(8, 30), rng.uniform(6, 20), rng.uniform(2.5, 7)
    if rng.random() < 0.12:
        return rng.uniform(6, 14), rng.uniform(6, 14), rng.uniform(3, 6)
    return rng.uniform(2.2, 6.5), rng.uniform(2.2, 6.5), rng.uniform(2.2, 3.5)


def _furnished(rng: np.random.Generator, plan: np.ndarray, height: float, **openings) -> _Builder:
    """A room with everything usual in it; few pieces or many."""
    builder = _Builder(rng, plan, height)
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
    builder = _Builder(rng, rectangle_plan(max(width, 3.5), max(depth, 3.5)), height)
    builder.shell()
    for _ in range(rng.integers(1, 5)):
        length, thickness = rng.uniform(0.8, 3.0), rng.uniform(0.05, 0.4)
        top = height if rng.random() < 0.6 else rng.uniform(0.8, height)
        wall = Piece(box(length, thickness, top), length, thickness)
        builder._stand(wall, random_point(rng, builder.plan, 0.3), rng.uniform(0, np.pi))
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
    builder = _Builder(rng, rectangle_plan(length, width), height)
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
    builder = _Builder(rng, plan, rng.uniform(2.2, 3.0))
    builder.shell()
    builder.anywhere(4, FREE_PIECES[:3], 14)
    builder.along_walls(8, WALL_PIECES, 10)
    builder.litter(8)
    return builder.done("close_up", 0.8)


def _clutter(rng: np.random.Generator, surroundings: Surroundings) -> Room:
    """Crates, ramps and a heap of boxes turned every way: planes in all directions."""
    width, depth, height = _sizes(rng, surroundings)
    builder = _Builder(rng, rectangle_plan(width, depth), height)
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
    builder = _Builder(rng, plan, height)
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
    builder = _Builder(rng, plan, height=5.0)
    rough = rng.uniform(0.02, 0.4)
    builder.parts.append(relief(rng, width + 8, depth + 8, rough))
    for side in rng.permutation(4)[: rng.integers(0, 4)]:
        face = rock_face(rng, width + 8, depth / 2 + 0.5)
        builder.parts.append(place(face, 0, 0, 0, side * np.pi / 2))
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


def _thicket(rng: np.random.Generator, surroundings: Surroundings) -> Room:
    """No room at all: things that hang anywhere, often before a backdrop or above rough ground."""
    plan = rectangle_plan(*rng.uniform(1.5, 8, 2))
    width, depth = np.ptp(plan, axis=0)
    builder = _Builder(rng, plan, height=rng.uniform(2.1, 4.5))
    if rng.random() < 0.5:
        builder.parts.append(relief(rng, width + 8, depth + 8, rng.uniform(0.02, 0.4)))
    for side in rng.permutation(4)[: rng.integers(0, 5)]:
        face = rock_face(rng, width + 8, depth / 2 + rng.uniform(0.3, 3.0))
        builder.parts.append(place(face, 0, 0, 0, side * np.pi / 2))
    builder.parts.append(hanging_things(rng, np.array([width, depth, builder.height])))
    return builder.done("thicket", 0.0)


def _street(rng: np.random.Generator, surroundings: Surroundings) -> Room:
    """No room at all: level ground between fronts of houses, walls, hedges, or nothing."""
    length, width = rng.uniform(10, 60), rng.uniform(4, 25)
    builder = _Builder(rng, rectangle_plan(length, width), height=6.0)
    builder.parts.append(box(4 * length, length + 4 * width, 0.5, -0.5))
    for side in (-1, 1):
        _line_street(builder, length, (0, side * width / 2), np.pi if side > 0 else 0.0)
        if rng.random() < 0.5:
            _line_street(builder, width, (side * length / 2, 0), side * np.pi / 2)
    builder.anywhere(round(4 + rng.uniform(0.01, 0.08) * length * width), STREET_PIECES, 0)
    builder.anywhere(int(rng.integers(0, 6)), FREE_PIECES)
    return builder.done("street", 0.05)


def _line_street(builder: _Builder, length: float, middle, yaw: float) -> None:
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


# How often each kind of room is built; the weights need not sum to 1.
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
    "thicket": (0.0, _thicket),
}

ONLY_KIND: dict[Surroundings, str] = {"streets": "street", "rocks": "rocks", "thickets": "thicket"}
"""Surroundings in which there is but one kind."""

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
        elif only := ONLY_KIND.get(surroundings):
            weights = np.array([name == only for name in names])
        kind = names[rng.choice(len(names), p=weights / weights.sum())]
    return replace(KINDS[kind][1](rng, surroundings), surroundings=surroundings)
