"""A room in the making: a shell, and what is stood in it, on its walls and its ceiling.

World axes: x and y horizontal, z up, metres; the floor is z = 0.
"""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from data.rooms.furniture import FREE_PIECES, WALL_PIECES, with_things
from data.rooms.meshes import Mesh, ball, beam, box, box_at, cylinder, merge, place, transform
from data.rooms.pieces import Piece, tumbled
from data.rooms.shells import (
    Opening,
    edge_frame,
    inside,
    rectangle_plan,
    slabs,
    surrounding_walls,
    walls,
)
from data.rooms.small_things import SMALL_THINGS

Surroundings = Literal["homes", "halls", "streets", "rocks", "tables", "outdoors"]
"""What is rendered: rooms of all kinds, mostly of homes; the same with rooms as large as halls, up
to 30 m, and with more, wider and longer corridors, up to 40 m, as robots see them; streets, yards
and squares under a sky without depth; rough ground and rock without any plane; table tops, shelves
and bins of parts from near by; roads, facades and gardens."""


@dataclass(frozen=True)
class CloseUp:
    """From where close-ups are taken; the defaults are those of table tops in rooms.  Chosen.

    Attributes:
        distance_m: from the target, metres.
        elevation_deg: above the target, degrees; 90 looks straight down.
        spread_m: standard deviation of the point looked at about the target, metres.
    """

    distance_m: tuple[float, float] = (0.35, 1.3)
    elevation_deg: tuple[float, float] = (8.0, 65.0)
    spread_m: float = 0.1


# Share of a room's views that are close-ups of a table top or shelf; chosen.
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
        pieces: faces of each piece, in the order of `mesh`; empty if they were not counted.
        close_up: from where the close-ups are taken.
    """

    kind: str
    mesh: Mesh
    plan: np.ndarray
    height: float
    targets: np.ndarray
    close_up_share: float
    surroundings: Surroundings = "homes"
    pieces: tuple[int, ...] = ()
    close_up: CloseUp = CloseUp()


@dataclass
class RoomBuilder:
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
                self.stand(piece, centre, np.arctan2(along[1], along[0]))

    def anywhere(self, count: int, pieces=FREE_PIECES, most_things: int = 4) -> None:
        """Tries to stand `count` pieces on the floor, half of them turned any way."""
        along = edge_frame(self.plan, 0)[1]
        for _ in range(count):
            piece = _pick(self.rng, pieces, most_things)
            yaw = np.arctan2(along[1], along[0]) + np.pi / 2 * self.rng.integers(4)
            if self.rng.random() < 0.5:
                yaw = self.rng.uniform(0, 2 * np.pi)
            self.stand(piece, random_point(self.rng, self.plan, 0.1), yaw)

    def stand(self, piece: Piece, centre: np.ndarray, yaw: float) -> None:
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

    def done(
        self,
        kind: str,
        close_up_share: float = USUAL_CLOSE_UP_SHARE,
        close_up: CloseUp = CloseUp(),
    ) -> Room:
        """The finished room."""
        targets = np.array(self.targets).reshape(-1, 3)
        mesh = merge(self.parts)
        pieces = tuple(len(part.faces) for part in self.parts)
        return Room(
            kind,
            mesh,
            self.plan,
            self.height,
            targets,
            close_up_share,
            pieces=pieces,
            close_up=close_up,
        )


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
