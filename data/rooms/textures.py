"""What a room's surfaces look like: a pure function of the room and a seed, fixed to the world.

A room has a style: one floor, one or two kinds of walls, painted doors, windows and pictures on
them, wood, paint or cloth on furniture.  Some rooms are plain.
"""

import numpy as np

from data.rooms import patterns, wall_things
from data.rooms.building import Room
from data.rooms.patterns import Pattern, Places, paint, shaded
from data.rooms.surfaces import FEWEST_FACES_CURVED, Surfaces

# Relative frequencies; chosen.
WALLS = {
    "plain": 0.42, "stripes": 0.13, "cladding": 0.15, "tiles": 0.12, "bricks": 0.06,
    "boards": 0.06, "diagonal": 0.06,
}  # fmt: skip
FLOORS = {"boards": 0.45, "tiles": 0.27, "cloth": 0.2, "plain": 0.08}
CEILINGS = {"plain": 0.75, "boards": 0.1, "tiles": 0.15}
ACCENT_CHANCE = 0.2  # of a wall that differs from the others
ASKEW_CHANCE = 0.12  # of a floor laid at an angle to the walls
THINGS_PER_METRE = 0.5  # of wall
PAINTED_THINGS = {"door": 0.35, "window": 0.25, "picture": 0.4}
SMALL_M = 0.35  # the size below which parts of furniture have colours of their own
OWN_COLOUR_CHANCE = 0.85
SOFT_FACES = 500  # of soft and round things, the fewest
FINISHES = {"wood": 0.4, "paint": 0.3, "cloth": 0.22, "stripes": 0.08}


class Textures:
    """The colours of a room.

    Args:
        room: whose faces are asked for.
        seed: of colours and patterns.
    """

    def __init__(self, room: Room, seed: int) -> None:
        self._room, self.surfaces = room, Surfaces(room)
        self._rng = np.random.default_rng([seed, 1])
        surfaces = self.surfaces
        self._patterns: list[Pattern] = []
        # 0 is furniture; above it is a pattern's number and 1.
        self._pattern = np.zeros(len(surfaces.solid), np.int32)
        self._origin = surfaces.origin.copy()
        self._dress_furniture()
        if room.surroundings == "rocks":
            return
        if room.surroundings in ("streets", "outdoors"):
            self._dress_street()
        else:
            self._dress_shell()
            self._dress_flat_pieces()

    def colours(self, faces: np.ndarray, points: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """Colours of points, linear, 0 to 1.

        Args:
            faces: that the points are on, (N,).
            points: metres, (N, 3).
            steps: to the points that the rays right and below would meet on the same plane,
                (2, N, 3).

        Returns:
            (N, 3) float32.
        """
        surfaces, which = self.surfaces, self._pattern[faces]
        at = []
        for axis, origin in ((surfaces.along, 0), (surfaces.up, 1)):
            of_point = axis[faces].astype(np.float32)
            at.append(
                np.einsum("ij,ij->i", points, of_point)
                - self._origin[faces, origin].astype(np.float32)
            )
            right, below = np.einsum("kij,ij->ki", steps, of_point)
            at.append(np.hypot(right, below))
        places = Places(at[0], at[2], at[1], at[3])
        colours = np.empty((len(faces), 3), np.float32)
        order = np.argsort(which, kind="stable")
        numbers, starts = np.unique(which[order], return_index=True)
        for number, here in zip(numbers, np.split(order, starts[1:]), strict=True):
            some = Places(*(values[here] for values in places))
            if number:
                colours[here] = self._patterns[number - 1](some)
            else:
                colours[here] = self._of_furniture(faces[here], points[here], some)
        return colours

    def _lay(self, faces: np.ndarray, pattern: Pattern, origin=None) -> None:
        """Gives faces a pattern, counted from an origin, (2,), None or nan to leave it."""
        self._patterns.append(pattern)
        self._pattern[faces] = len(self._patterns)
        if origin is not None:
            for axis, value in enumerate(origin):
                if np.isfinite(value):
                    self._origin[faces, axis] = value

    def _dress_shell(self) -> None:
        """Floor, ceiling, walls and what is painted on them."""
        rng, room, surfaces = self._rng, self._room, self.surfaces
        # Walls go on behind doors, where nothing else says what they are.
        widths = surfaces.high - surfaces.low
        floor = surfaces.on_plane([0, 0, 1.0], 0.0)
        ceiling = surfaces.on_plane([0, 0, -1.0], -room.height)
        walls = [surfaces.on_wall(room.plan, wall) for wall in range(len(room.plan))]
        of_shell = np.isin(surfaces.piece, surfaces.piece[surfaces.solid[np.any(walls, axis=0)]])
        of_shell |= (surfaces.low[:, 2] < 0) | (widths[:, 2] > room.height - 0.01)
        of_shell &= surfaces.face_counts < FEWEST_FACES_CURVED
        style, accent = (_pick(rng, WALLS) for _ in range(2))
        usual, other = (_wall(rng, kind) for kind in (style, accent))
        rest = patterns.with_skirting(rng, patterns.plain(rng), room.height)
        self._lay(of_shell[surfaces.solid], rest, (np.nan, 0.0))
        above = (surfaces.high[:, 2] > room.height + 1e-3)[surfaces.solid]
        slopes = above & (surfaces.normals[:, 2] < -0.02)
        overhead = _ceiling(rng)
        self._lay(slopes, overhead)
        self._lay(ceiling, overhead)
        heading = room.plan[1] - room.plan[0]
        self._lay(floor, _floor(rng, float(np.arctan2(heading[1], heading[0]))), (0.0, 0.0))
        skirting = int(rng.integers(2**31)) if rng.random() < 0.75 else None
        for wall, faces in enumerate(walls):
            if faces.any():
                pattern = other if rng.random() < ACCENT_CHANCE else usual
                if skirting is not None:
                    same = np.random.default_rng(skirting)
                    pattern = patterns.with_skirting(same, pattern, room.height)
                end = room.plan[(wall + 1) % len(room.plan)]
                origin = float(surfaces.along[faces][0, :2] @ end)
                self._lay(faces, pattern, (origin, 0.0))
                bounds = surfaces.bounds(np.nonzero(faces)[0])
                bounds += (surfaces.origin[faces] - self._origin[faces])[:, None]
                self._patterns[-1] = _with_things(rng, pattern, bounds)

    def _dress_flat_pieces(self) -> None:
        """Rugs, what is fixed to walls, and walls that stand free."""
        rng, room, surfaces = self._rng, self._room, self.surfaces
        solids_of = np.bincount(surfaces.piece)
        for solid in np.nonzero(solids_of[surfaces.piece] == 1)[0].tolist():
            faces = surfaces.solid == solid
            if surfaces.face_counts[solid] != 12 or self._pattern[faces].any():
                continue
            low, height = surfaces.low[solid, 2], surfaces.extents[solid, 2]
            if low > 0.05 and surfaces.high[solid, 2] < room.height:
                maker = wall_things.ON_WALLS[rng.integers(len(wall_things.ON_WALLS))]
                front = faces & (surfaces.normals @ self._inward(solid) > 0.99)
            elif low == 0 and height < 0.011:
                maker, front = wall_things.rug, faces & (surfaces.normals[:, 2] > 0.99)
            elif low == 0 and height > 0.8 and surfaces.extents[solid, :2].max() > 0.8:
                pattern = _wall(rng, "plain" if rng.random() < 0.5 else _pick(rng, WALLS))
                upright = faces & (np.abs(surfaces.normals[:, 2]) < 0.1)
                self._lay(upright, patterns.with_skirting(rng, pattern, 9.0), (np.nan, 0.0))
                continue
            else:
                continue
            if front.any():
                lengths = surfaces.lengths[front][0]
                self._lay(front, _in_square(maker(rng, *lengths), -lengths / 2, lengths))

    def _inward(self, solid: int) -> np.ndarray:
        """(3,) the level normal of a solid's largest side that looks at the middle of the room."""
        surfaces = self.surfaces
        faces = np.nonzero(surfaces.solid == solid)[0]
        upright = faces[np.abs(surfaces.normals[faces, 2]) < 0.1]
        if not len(upright):
            return np.zeros(3)
        middle = (surfaces.low[solid] + surfaces.high[solid]) / 2
        to_middle = np.append(self._room.plan.mean(0) - middle[:2], 0)
        towards = surfaces.normals[upright] @ to_middle > 0
        size = surfaces.lengths[upright, 0] * np.where(towards, 1, 0.5)
        return surfaces.normals[upright[np.argmax(size)]]

    def _dress_street(self) -> None:
        """Paving, and bricks or plaster on what is large."""
        rng, surfaces = self._rng, self.surfaces
        ground = (surfaces.low[:, 2] < 0)[surfaces.solid] & (surfaces.normals[:, 2] > 0.99)
        paving = patterns.tiles(rng) if rng.random() < 0.5 else patterns.cloth(rng)
        self._lay(ground, paving, (0.0, 0.0))
        facades = np.isin(surfaces.piece, surfaces.piece[(surfaces.extents[:, 2] > 2.5)])
        facades &= (surfaces.extents.max(1) > 2.0) & (surfaces.face_counts <= 20)
        facades &= surfaces.low[:, 2] > -0.4
        for solid in np.nonzero(facades)[0]:
            pattern = patterns.plain(rng) if rng.random() < 0.5 else patterns.tiles(rng, True)
            self._lay(surfaces.solid == solid, pattern, (np.nan, 0.0))

    def _dress_furniture(self) -> None:
        """A colour and a finish for each solid: one for a piece, others for its small parts."""
        surfaces, rng = self.surfaces, self._rng
        solids = len(surfaces.piece)
        self._solid_colour = np.empty((solids, 3), np.float32)
        self._finish = np.empty(solids, "U7")
        count_of = np.bincount(surfaces.piece)
        curved = surfaces.face_counts >= FEWEST_FACES_CURVED
        small = surfaces.extents.max(1) < SMALL_M
        own = (count_of[surfaces.piece] > 3) & (small | (surfaces.face_counts >= SOFT_FACES))
        colour, finish, last = np.zeros(3), "paint", -1
        for solid in range(solids):
            piece = surfaces.piece[solid]
            if piece != last:
                colour, finish = _finish(rng, curved[solid])
                last = piece
            if own[solid] and rng.random() < OWN_COLOUR_CHANCE:
                self._solid_colour[solid], self._finish[solid] = _finish(rng, curved[solid])
            else:
                self._solid_colour[solid], self._finish[solid] = colour, finish
        if self._room.surroundings == "rocks":
            stone = paint(rng, 0.2, 0.5)
            self._solid_colour = stone * np.exp(rng.normal(0, 0.15, (solids, 1)).astype(np.float32))
            self._finish[:] = "cloth"
        self._lengthwise = surfaces.lengths[:, 0] >= surfaces.lengths[:, 1]

    def _of_furniture(self, faces: np.ndarray, points: np.ndarray, at: Places) -> np.ndarray:
        solid = self.surfaces.solid[faces]
        finish, bright = self._finish[solid], np.ones(len(faces), np.float32)
        width = np.maximum(at.width_u, at.width_v)

        some = finish == "wood"
        lengthwise = self._lengthwise[faces[some]]
        along, across = np.where(lengthwise, at.u[some], at.v[some]), np.where(
            lengthwise, at.v[some], at.u[some]
        )  # fmt: skip
        grain = patterns.noise(2 * along + solid[some] * 7.3, 70 * across, 11) - 0.5
        bright[some] += 0.4 * patterns.fading(width[some], 0.015) * grain

        some = (finish == "cloth") | (finish == "stripes")
        x, y, z = points[some].T
        grain = 0.6 * patterns.fading(width[some], 0.006) * _rough(x, y, z, 170.0)
        bright[some] += grain + 0.25 * _rough(x, y, z, 5.0)

        some = finish == "stripes"
        period = 0.05 + 0.1 * patterns.of_cells(solid[some], solid[some], 3)
        lines = patterns.share(at.u[some], at.width_u[some], period, 0.4 * period)
        bright[some] *= 1 - 0.4 * lines
        return shaded(self._solid_colour[solid], np.ones(1)) * bright[:, None]


def _rough(x: np.ndarray, y: np.ndarray, z: np.ndarray, waves: float) -> np.ndarray:
    """Noise in space, about -0.25 to 0.25, so many waves a metre."""
    return 0.5 * (patterns.noise(waves * (x + 0.37 * z), waves * (y + 0.71 * z), 5) - 0.5)


def _pick(rng: np.random.Generator, weights: dict[str, float]) -> str:
    names = list(weights)
    chances = np.array([weights[name] for name in names])
    return names[rng.choice(len(names), p=chances / chances.sum())]


def _finish(rng: np.random.Generator, curved: bool) -> tuple[np.ndarray, str]:
    """A colour and what it is on."""
    finish = _pick(rng, FINISHES)
    if curved and finish in ("wood", "stripes"):
        finish = "cloth"
    return (patterns.wood(rng) if finish == "wood" else paint(rng, 0.04, 0.8)), finish


def _wall(rng: np.random.Generator, kind: str) -> Pattern:
    if kind == "stripes":
        return patterns.stripes(rng)
    if kind == "cladding":
        return patterns.cladding(rng, patterns.plain(rng))
    if kind in ("tiles", "bricks"):
        return patterns.tiles(rng, kind == "bricks")
    if kind == "boards":
        return patterns.turned(patterns.boards(rng), np.pi / 2 * rng.integers(2))
    if kind == "diagonal":
        pattern = patterns.checks(rng) if rng.random() < 0.5 else patterns.stripes(rng)
        return patterns.turned(pattern, rng.uniform(0.2, 1.3))
    return patterns.plain(rng)


def _floor(rng: np.random.Generator, heading: float) -> Pattern:
    kind = _pick(rng, FLOORS)
    maker = {"boards": patterns.boards, "tiles": patterns.tiles, "cloth": patterns.cloth}
    pattern = maker.get(kind, patterns.plain)(rng)
    angle = heading + np.pi / 2 * rng.integers(2)
    if rng.random() < ASKEW_CHANCE:
        angle += np.pi / 4 if rng.random() < 0.5 else rng.uniform(0, np.pi)
    return patterns.turned(pattern, float(angle))


def _ceiling(rng: np.random.Generator) -> Pattern:
    kind = _pick(rng, CEILINGS)
    if kind == "boards":
        return patterns.boards(rng)
    if kind == "tiles":
        return patterns.tiles(rng)
    return patterns.plain(rng, np.full(3, rng.uniform(0.6, 0.9), np.float32))


def _in_square(pattern: Pattern, low: np.ndarray, size: np.ndarray) -> Pattern:
    """A pattern of the unit square laid into a rectangle."""
    (left, foot), (width, height) = low.astype(np.float32), size.astype(np.float32)

    def laid(at: Places) -> np.ndarray:
        return pattern(
            Places(
                (at.u - left) / width, (at.v - foot) / height,
                at.width_u / width, at.width_v / height,
            )
        )  # fmt: skip

    return laid


def _with_things(rng: np.random.Generator, wall: Pattern, panels: np.ndarray) -> Pattern:
    """A wall's pattern with doors, windows and pictures where there is wall for them.

    Args:
        rng: of their kinds and places.
        wall: the pattern around them.
        panels: bounds of the wall's faces, (F, 2, 2), metres.
    """
    low, high = panels[:, 0].min(0), panels[:, 1].max(0)
    things: list[tuple[np.ndarray, np.ndarray, Pattern]] = []
    for _ in range(rng.poisson(THINGS_PER_METRE * (high[0] - low[0]))):
        kind = _pick(rng, PAINTED_THINGS)
        size, foot = {
            "door": (rng.uniform([0.7, 1.95], [1.0, 2.1]), 0.0),
            "window": (rng.uniform([0.5, 0.5], [2.0, 1.4]), rng.uniform(0.6, 1.1)),
            "picture": (rng.uniform([0.2, 0.2], [1.4, 1.0]), rng.uniform(0.9, 1.5)),
        }[kind]
        start = np.array([rng.uniform(low[0], max(high[0] - size[0], low[0] + 1e-6)), foot])
        pattern = getattr(wall_things, kind)(rng, *size)
        free = not any(
            (start < old + old_size).all() and (old < start + size).all()
            for old, old_size, _ in things
        )
        if free and _covered(panels, start, start + size):
            things.append((start, size, _in_square(pattern, start, size)))

    def dressed(at: Places) -> np.ndarray:
        colours = wall(at)
        for start, size, thing in things:
            inside = (np.abs(at.u - start[0] - size[0] / 2) < size[0] / 2) & (
                np.abs(at.v - start[1] - size[1] / 2) < size[1] / 2
            )
            if inside.any():
                colours[inside] = thing(Places(*(values[inside] for values in at)))
        return colours

    return dressed


def _covered(panels: np.ndarray, low: np.ndarray, high: np.ndarray) -> bool:
    """Whether a rectangle lies on the wall, not on an opening: tried at a grid of points."""
    share = np.stack(np.meshgrid(np.linspace(0, 1, 7), np.linspace(0.01, 1, 7)), -1).reshape(-1, 2)
    points = low + share * (high - low)
    within = (points[:, None] >= panels[:, 0]) & (points[:, None] <= panels[:, 1])
    return bool(np.all(np.any(np.all(within, axis=2), axis=1)))
