"""What is flat on walls: doors, windows, pictures, boards, radiators; and rugs on floors.

Each is a pattern (`data.rooms.patterns`) over the unit square of its rectangle: u from 0 at the
left to 1, v from 0 at the foot to 1.  Pictures have lines that say nothing of the room, on purpose.
"""

from collections.abc import Callable

import numpy as np

from data.rooms import patterns
from data.rooms.patterns import Pattern, Places, above, between, blended, paint, shaded

Maker = Callable[[np.random.Generator, float, float], Pattern]
"""From width and height in metres to the pattern over the unit square."""


def _ring(at: Places, low: tuple[float, float], high: tuple[float, float], line) -> np.ndarray:
    """How much of each place is on the outline of a rectangle, its lines so wide inwards."""

    def filled(by) -> np.ndarray:
        return between(at.u, at.width_u, low[0] + by[0], high[0] - by[0]) * between(
            at.v, at.width_v, low[1] + by[1], high[1] - by[1]
        )

    return filled((0.0, 0.0)) - filled(line)


def door(rng: np.random.Generator, width: float, height: float) -> Pattern:
    """A closed door in its frame, with panels and a handle."""
    colour = patterns.wood(rng) if rng.random() < 0.5 else paint(rng, 0.4, 0.9)
    frame = colour if rng.random() < 0.5 else paint(rng, 0.5, 0.9)
    rows, columns, side = int(rng.integers(1, 4)), int(rng.integers(1, 3)), rng.choice([0.12, 0.88])
    panelled = rng.random() < 0.7
    line = (0.012 / width, 0.012 / height)
    rim = (0.07 / width, 0.07 / height)

    def pattern(at: Places) -> np.ndarray:
        dark = _ring(at, rim, (1 - rim[0], 1.0), line)
        if panelled:
            for column in range(columns):
                for row in range(rows):
                    low = (0.16 + 0.7 * column / columns, 0.1 + 0.82 * row / rows)
                    high = (low[0] + 0.7 / columns - 0.06, low[1] + 0.82 / rows - 0.05)
                    dark = dark + _ring(at, low, high, line)
        leaf = shaded(colour, 1 - 0.5 * np.clip(dark, 0, 1))
        edge = _ring(at, (0.0, -1.0), (1.0, 1.0), rim)
        handle = between(at.u, at.width_u, side - 0.07, side + 0.07) * between(
            at.v, at.width_v, 0.485, 0.5
        )
        return blended(blended(leaf, frame, edge), np.full(3, 0.3), handle)

    return pattern


def window(rng: np.random.Generator, width: float, height: float) -> Pattern:
    """A window with bars; behind it sky, roofs at any slope, and a horizon."""
    frame, rows, columns = paint(rng, 0.6, 0.95), int(rng.integers(1, 4)), int(rng.integers(1, 4))
    sky, ground = np.array([0.65, 0.8, 1.0]) * rng.uniform(0.5, 1.2), paint(rng, 0.1, 0.5)
    horizon, slopes = rng.uniform(0.1, 0.6), rng.normal(0, 0.8, 3)
    bar = (0.04 / width, 0.04 / height)

    def pattern(at: Places) -> np.ndarray:
        glass = shaded(sky, 0.75 + 0.25 * at.v)
        for place, slope in zip((0.2, 0.5, 0.8), slopes, strict=True):
            roof = horizon + slope * np.abs(at.u - place) * np.sign(slope) * -1
            glass = blended(glass, ground * (0.5 + place), 1 - above(at.v, at.width_v, roof))
        bars = patterns.share(at.u, at.width_u, (1 - bar[0]) / columns, bar[0])
        bars = np.maximum(bars, patterns.share(at.v, at.width_v, (1 - bar[1]) / rows, bar[1]))
        return blended(glass, frame, np.maximum(bars, _ring(at, (0, 0), (1, 1), bar)))

    return pattern


def _seascape(rng: np.random.Generator) -> Pattern:
    """A horizon, not quite level, waves, and sails."""
    sky, sea = paint(rng, 0.5, 0.9), paint(rng, 0.1, 0.4)
    horizon, tilt, sails = rng.uniform(0.3, 0.6), rng.normal(0, 0.06), rng.uniform(0.1, 0.9, (3, 2))

    def pattern(at: Places) -> np.ndarray:
        level = horizon + tilt * (at.u - 0.5)
        colours = blended(sea, sky, above(at.v, at.width_v, level))
        waves = patterns.share(at.v + 0.1 * at.u, at.width_v, 0.08, 0.02)
        colours = shaded(colours, 1 + 0.25 * waves * (at.v < level))
        for place, size in sails:
            height = at.v - horizon + 0.1
            edge = np.abs(at.u - place) - 0.25 * size * (1 - height / (0.2 + 0.5 * size))
            sail = (1 - above(edge, at.width_u, 0)) * above(height, at.width_v, 0)
            colours = blended(colours, np.full(3, 0.85), sail * (height < 0.2 + 0.5 * size))
        return colours

    return pattern


def _diagonals(rng: np.random.Generator) -> Pattern:
    """Stripes at an angle."""
    first, second, period = paint(rng), paint(rng), rng.uniform(0.06, 0.4)
    angle = rng.uniform(0.15, 1.4) * rng.choice([-1, 1])

    def pattern(at: Places) -> np.ndarray:
        there = at.turned(angle)
        return blended(first, second, patterns.share(there.u, there.width_u, period, period / 2))

    return pattern


def _abstract(rng: np.random.Generator) -> Pattern:
    """Half planes laid over each other, their edges in any direction."""
    colours, angles = [paint(rng, 0.05, 0.9) for _ in range(6)], rng.uniform(0, 2 * np.pi, 5)
    offsets = rng.uniform(-0.4, 0.4, 5)

    def pattern(at: Places) -> np.ndarray:
        result = shaded(colours[0], np.ones_like(at.u))
        centred = at._replace(u=at.u - 0.5, v=at.v - 0.5)
        for colour, angle, offset in zip(colours[1:], angles, offsets, strict=True):
            there = centred.turned(angle)
            result = blended(result, colour, above(there.u, there.width_u, 0.15 + offset))
        return result

    return pattern


def _road(rng: np.random.Generator) -> Pattern:
    """Lines that run together at a vanishing point of the picture's own."""
    sky, ground, line = paint(rng, 0.5, 0.9), paint(rng, 0.1, 0.5), paint(rng, 0.05, 0.9)
    point, period = rng.uniform(0.25, 0.75, 2), rng.uniform(0.2, 0.6)

    def pattern(at: Places) -> np.ndarray:
        below = np.maximum(point[1] - at.v, 1e-3)
        across = (at.u - point[0]) / below
        lines = patterns.share(across, at.width_u / below, period, 0.3 * period)
        colours = blended(ground, line, lines)
        return blended(colours, sky, above(at.v, at.width_v, point[1]))

    return pattern


PAINTINGS = (_seascape, _diagonals, _abstract, _road)


def picture(rng: np.random.Generator, width: float, height: float) -> Pattern:
    """A framed picture."""
    content = PAINTINGS[rng.integers(len(PAINTINGS))](rng)
    frame = patterns.wood(rng) if rng.random() < 0.5 else paint(rng, 0.03, 0.9)
    rim, mount = rng.uniform(0.01, 0.05), rng.choice([0.0, 0.05])

    def pattern(at: Places) -> np.ndarray:
        colours = content(at)
        if mount:
            inner = (mount + rim) / width, (mount + rim) / height
            colours = blended(colours, np.full(3, 0.85), _ring(at, (0, 0), (1, 1), inner))
        return blended(colours, frame, _ring(at, (0, 0), (1, 1), (rim / width, rim / height)))

    return pattern


def radiator(rng: np.random.Generator, width: float, height: float) -> Pattern:
    """White, with upright ribs."""
    colour, period = paint(rng, 0.6, 0.9), rng.uniform(0.04, 0.08) / width
    return lambda at: shaded(
        colour, 1 - 0.4 * patterns.share(at.u, at.width_u, period, 0.3 * period)
    )


def board(rng: np.random.Generator, width: float, height: float) -> Pattern:
    """A plain board or box."""
    return patterns.plain(rng)


def rug(rng: np.random.Generator, width: float, height: float) -> Pattern:
    """Cloth, stripes, checks, slanting stripes, with a border or two."""
    makers = (patterns.cloth, patterns.stripes, patterns.checks, patterns.stripes)
    kind = int(rng.integers(len(makers)))
    inner = makers[kind](rng)
    if kind == 3:
        inner = patterns.turned(inner, rng.uniform(0.2, 1.3))
    border, rim = paint(rng, 0.05, 0.7), rng.uniform(0.02, 0.15)

    def pattern(at: Places) -> np.ndarray:
        metres = Places(at.u * width, at.v * height, at.width_u * width, at.width_v * height)
        edge = _ring(at, (0, 0), (1, 1), (rim / width, rim / height))
        return blended(inner(metres), border, edge)

    return pattern


ON_WALLS: tuple[Maker, ...] = (picture, picture, picture, radiator, board)
"""What boxes fixed to walls may be; equal chances."""
