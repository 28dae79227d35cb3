"""Patterns of surfaces: boards, tiles, panels, cloth; colours as functions of a place.

A place is given by u and v in metres along a surface, and by how much of the surface one ray
stands for.  Seams are averaged over that width in closed form, so that what is too fine for a
picture fades into its mean instead of flickering.  Colours are linear, 0 to 1.  All sizes are
chosen: those of common households.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

TABLE = np.random.default_rng(0).random((256, 256)).astype(np.float32)
"""Random numbers that cells of a pattern look up by their row and column."""


class Places(NamedTuple):
    """Where rays meet a surface; arrays of shape (N,), float32.

    Attributes:
        u: metres along the surface: to the right on a wall.
        v: metres along the surface: upwards on a wall.
        width_u: metres along u that one ray stands for.
        width_v: the same along v.
    """

    u: np.ndarray
    v: np.ndarray
    width_u: np.ndarray
    width_v: np.ndarray

    def turned(self, angle: float) -> "Places":
        """The same places in axes turned by `angle` radians, counter-clockwise."""
        cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        return Places(
            cosine * self.u + sine * self.v,
            cosine * self.v - sine * self.u,
            np.hypot(cosine * self.width_u, sine * self.width_v),
            np.hypot(cosine * self.width_v, sine * self.width_u),
        )


Pattern = Callable[[Places], np.ndarray]
"""From places to colours, (N, 3) float32."""


def share(x: np.ndarray, width: np.ndarray, period, line) -> np.ndarray:
    """How much of `width` about x is covered by lines that start at each multiple of a period.

    Args:
        x: metres.
        width: metres.
        period: metres.
        line: metres, at most the period.
    """

    def covered(to: np.ndarray) -> np.ndarray:
        turns = np.floor(to / period)
        return turns * line + np.minimum(to - turns * period, line)

    half = np.maximum(width, 1e-4) / 2
    return (covered(x + half) - covered(x - half)) / (2 * half)


def between(x: np.ndarray, width: np.ndarray, low, high) -> np.ndarray:
    """How much of `width` about x lies between two bounds."""
    half = np.maximum(width, 1e-4) / 2
    return np.clip(np.minimum(x + half, high) - np.maximum(x - half, low), 0, None) / (2 * half)


def above(x: np.ndarray, width: np.ndarray, edge) -> np.ndarray:
    """How much of `width` about x lies above an edge."""
    return np.clip((x - edge) / np.maximum(width, 1e-4) + 0.5, 0, 1)


def of_cells(column: np.ndarray, row: np.ndarray, seed: int) -> np.ndarray:
    """A random number for each cell, 0 to 1."""
    first, second = divmod(seed, 256)
    return TABLE[(column.astype(int) + first) & 255, (row.astype(int) + second) & 255]


def noise(x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    """Smooth noise, 0 to 1, whose waves are about one unit long."""
    column, row = np.floor(x), np.floor(y)
    a, b = x - column, y - row
    a, b = a * a * (3 - 2 * a), b * b * (3 - 2 * b)
    low, high = (
        of_cells(column, row + up, seed) * (1 - a) + of_cells(column + 1, row + up, seed) * a
        for up in (0, 1)
    )
    return low + (high - low) * b


def fading(width: np.ndarray, size: float) -> np.ndarray:
    """How much of a pattern of some size is left where a ray stands for `width`."""
    return 1 / (1 + (width / size) ** 2)


def blended(first, second, share_of_second: np.ndarray) -> np.ndarray:
    """(N, 3) colours between two, each (3,) or (N, 3)."""
    weight = share_of_second[:, None]
    return np.asarray(first, np.float32) * (1 - weight) + np.asarray(second, np.float32) * weight


def shaded(colour, brightness: np.ndarray) -> np.ndarray:
    """(N, 3): a colour, (3,) or (N, 3), times (N,)."""
    return np.asarray(colour, np.float32) * brightness[:, None].astype(np.float32)


def paint(rng: np.random.Generator, dark: float = 0.25, bright: float = 0.85) -> np.ndarray:
    """(3,) a colour of walls and cloth: hardly saturated as a rule, now and then strong."""
    value = rng.uniform(dark, bright)
    saturation = min(rng.exponential(0.15), 0.8)
    hue = np.clip(np.abs((rng.uniform(0, 6) + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    return (value * (1 - saturation * (1 - hue))).astype(np.float32)


def wood(rng: np.random.Generator) -> np.ndarray:
    """(3,) a colour of wood, from birch to wenge."""
    return (np.array([1.0, rng.uniform(0.6, 0.75), rng.uniform(0.3, 0.5)])
            * np.exp(rng.uniform(np.log(0.08), np.log(0.65)))).astype(np.float32)  # fmt: skip


def plain(rng: np.random.Generator, colour: np.ndarray | None = None) -> Pattern:
    """One colour, with stains a metre wide."""
    colour = paint(rng, 0.35) if colour is None else colour
    seed, strength = int(rng.integers(65536)), rng.uniform(0.0, 0.08)

    def pattern(at: Places) -> np.ndarray:
        return shaded(colour, 1 + strength * (noise(1.7 * at.u, 1.7 * at.v, seed) - 0.5))

    return pattern


def cloth(rng: np.random.Generator, colour: np.ndarray | None = None) -> Pattern:
    """Carpet or felt: one colour with fine and coarse grain."""
    colour = paint(rng, 0.1, 0.7) if colour is None else colour
    seed, fine = int(rng.integers(65536)), rng.uniform(0.004, 0.02)

    def pattern(at: Places) -> np.ndarray:
        left = fading(np.maximum(at.width_u, at.width_v), fine)
        grain = left * (noise(at.u / fine, at.v / fine, seed) - 0.5)
        return shaded(colour, 1 + 0.5 * grain + 0.15 * (noise(3 * at.u, 3 * at.v, seed) - 0.5))

    return pattern


def boards(rng: np.random.Generator, colour: np.ndarray | None = None) -> Pattern:
    """Boards along u: each of its own shade, with grain; dark seams between them and at ends."""
    colour = wood(rng) if colour is None else colour
    seed = int(rng.integers(65536))
    width, length, seam = rng.uniform(0.06, 0.24), rng.uniform(0.5, 2.5), rng.uniform(0.002, 0.008)
    variety, dark = rng.uniform(0.05, 0.5), rng.uniform(0.35, 0.9)

    def pattern(at: Places) -> np.ndarray:
        row = np.floor(at.v / width)
        along = at.u + 37.1 * of_cells(row, row, seed + 1)
        shade = of_cells(np.floor(along / length), row, seed) - 0.5
        left = fading(at.width_v, width)
        grain = fading(at.width_v, 0.01) * (noise(2 * along, 90 * at.v, seed) - 0.5)
        lines = share(at.v, at.width_v, width, seam)
        lines = np.maximum(lines, share(along, at.width_u, length, seam))
        return shaded(colour, (1 + variety * shade * left + 0.22 * grain) * (1 - dark * lines))

    return pattern


def tiles(rng: np.random.Generator, bricks: bool = False) -> Pattern:
    """Tiles with grout, all alike, each of its own shade, or chequered; or bricks in bond."""
    seed = int(rng.integers(65536))
    height = rng.uniform(0.06, 0.08) if bricks else np.exp(rng.uniform(np.log(0.1), np.log(0.6)))
    width = height * (3 if bricks else rng.choice([1.0, 1.0, 1.0, 2.0]))
    shift = 0.5 if bricks or rng.random() < 0.2 else 0.0
    grout = rng.uniform(0.008, 0.014) if bricks else rng.uniform(0.002, 0.008)
    colour = np.array([0.45, 0.2, 0.14], np.float32) if bricks else paint(rng, 0.3, 0.9)
    if bricks and rng.random() < 0.4:
        colour = paint(rng, 0.5, 0.8)
    chequered = not bricks and not shift and rng.random() < 0.25
    other = paint(rng, 0.05, 0.4) if chequered else colour
    between_tiles = paint(rng, 0.15, 0.7) if rng.random() < 0.5 else colour * rng.uniform(0.4, 0.8)
    variety = rng.uniform(0.2, 0.5) if bricks else rng.choice([0.0, 0.05, 0.25])

    def pattern(at: Places) -> np.ndarray:
        row = np.floor(at.v / height)
        along = at.u + shift * width * (row % 2)
        column = np.floor(along / width)
        left = fading(np.maximum(at.width_u, at.width_v), height)
        shade = 1 + variety * left * (of_cells(column, row, seed) - 0.5)
        face = shaded(blended(colour, other, (column + row) % 2) if chequered else colour, shade)
        lines = np.maximum(
            share(at.v, at.width_v, height, grout), share(along, at.width_u, width, grout)
        )
        return blended(face, between_tiles, lines)

    return pattern


def stripes(rng: np.random.Generator) -> Pattern:
    """Stripes along v: wallpaper, curtains."""
    first, period = paint(rng, 0.3), np.exp(rng.uniform(np.log(0.03), np.log(0.5)))
    second = np.clip(first * rng.uniform(0.5, 0.95), 0, 1) if rng.random() < 0.6 else paint(rng)
    line = period * rng.uniform(0.1, 0.5)

    def pattern(at: Places) -> np.ndarray:
        return blended(first, second, share(at.u, at.width_u, period, line))

    return pattern


def checks(rng: np.random.Generator) -> Pattern:
    """Stripes both ways: tartan, plaids."""
    one, other, period = stripes(rng), stripes(rng), rng.uniform(0.0, 1.0)

    def pattern(at: Places) -> np.ndarray:
        return period * one(at) + (1 - period) * other(at.turned(np.pi / 2))

    return pattern


def turned(pattern: Pattern, angle: float) -> Pattern:
    """A pattern laid at an angle, in radians."""
    return lambda at: pattern(at.turned(angle))


def cladding(rng: np.random.Generator, over: Pattern) -> Pattern:
    """Upright panels up to a rail, of narrow grooves or wide frames; above it another pattern."""
    top, colour = rng.choice([rng.uniform(0.8, 1.3), 5.0], p=[0.8, 0.2]), paint(rng, 0.3, 0.9)
    framed = rng.random() < 0.4
    period = rng.uniform(0.5, 0.9) if framed else rng.uniform(0.08, 0.2)
    groove, rail = rng.uniform(0.004, 0.01), rng.uniform(0.03, 0.07)

    def pattern(at: Places) -> np.ndarray:
        lines = share(at.u, at.width_u, period, groove)
        if framed:
            inside = (
                share(at.u - 0.08, at.width_u, period, period - 0.16),
                between(at.v, at.width_v, 0.2, top - 0.12),
            )
            core = (
                share(at.u - 0.095, at.width_u, period, period - 0.19),
                between(at.v, at.width_v, 0.215, top - 0.135),
            )
            lines = inside[0] * inside[1] - core[0] * core[1]
        panels = shaded(colour, 1 - 0.45 * np.clip(lines, 0, 1))
        edge = between(at.v, at.width_v, top - rail, top)
        shadow = between(at.v, at.width_v, top - rail - 0.015, top - rail)
        panels = shaded(panels, 1 + 0.15 * edge - 0.4 * shadow)
        return blended(panels, over(at), above(at.v, at.width_v, top))

    return pattern


def with_skirting(rng: np.random.Generator, wall: Pattern, height: float) -> Pattern:
    """A wall's pattern with a skirting board at its foot and, now and then, a cornice on top."""
    top, colour = rng.uniform(0.05, 0.16), paint(rng, 0.6, 0.9) if rng.random() < 0.6 else wood(rng)
    cornice = rng.uniform(0.04, 0.15) if rng.random() < 0.25 else 0.0

    def pattern(at: Places) -> np.ndarray:
        board = 1 - above(at.v, at.width_v, top)
        edge = between(at.v, at.width_v, top - 0.012, top)
        colours = blended(wall(at), shaded(colour, 1 - 0.35 * edge), board)
        if cornice:
            upper = above(at.v, at.width_v, height - cornice)
            line = between(at.v, at.width_v, height - cornice, height - cornice + 0.012)
            colours = blended(colours, shaded(np.full(3, 0.8), 1 - 0.3 * line), upper)
        return colours

    return pattern
