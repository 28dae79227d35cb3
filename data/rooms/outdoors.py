"""Random things that stand in the open, each a function of a numpy Generator.

As in `furniture`, a piece stands on z = 0, centred on the origin, its back towards -y; sizes in
metres are those of common streets.  A front is what a house shows of itself.
"""

import numpy as np

from data.rooms.furniture import ODD_PIECES
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
    prism,
    rotation,
    transform,
)
from data.rooms.pieces import Piece


def _car(rng: np.random.Generator) -> Piece:
    """A car or van: a side view drawn across, and four wheels."""
    length, width = rng.uniform(3.4, 5.6), rng.uniform(1.6, 2.1)
    bonnet, roof, floor = rng.uniform(0.7, 1.1), rng.uniform(1.35, 2.4), rng.uniform(0.15, 0.3)
    front, back = rng.uniform(0.0, 0.4, 2) * length
    half = length / 2
    body = np.array([[-half, floor], [half, floor], [half, bonnet], [-half, bonnet]])
    # Windscreens lean, and leave some of the roof.
    lean = rng.uniform(0.1, 0.4) * (length - front - back)
    cabin = np.array(
        [[-half + front, bonnet], [half - back, bonnet], [half - back - lean, roof],
         [-half + front + lean, roof]]
    )  # fmt: skip
    parts = [_drawn_across(part, width * share) for part, share in ((body, 1.0), (cabin, 0.92))]
    wheel = transform(cylinder(0.32, 0.22, -0.11), rotation(0, np.pi / 2))
    parts += [
        place(wheel, along * 0.31 * length, side * (width / 2 - 0.08), 0.32)
        for along in (-1, 1)
        for side in (-1, 1)
    ]
    return Piece(merge(parts), length, width)


def _drawn_across(outline: np.ndarray, width: float) -> Mesh:
    """The solid of a convex outline (K, 2), along x and up, counter-clockwise, so wide along y."""
    return transform(prism(outline, -width / 2, width / 2), rotation(0, np.pi / 2))


def _tree(rng: np.random.Generator) -> Piece:
    """A trunk, branches, and a crown of lumps."""
    trunk, height = rng.uniform(0.06, 0.3), rng.uniform(1.2, 5.0)
    parts = [cylinder(trunk, height + 0.5)]
    for angle in rng.uniform(0, 2 * np.pi, rng.integers(2, 6)):
        reach, rise = rng.uniform(0.4, 1.8), rng.uniform(0.3, 1.8)
        x, y, z = reach * np.cos(angle), reach * np.sin(angle), height + rise
        parts.append(beam([0, 0, 0.7 * height], [x, y, z], 0.5 * trunk, 0.5 * trunk))
        crown = lump(rng, rng.uniform(0.4, 1.4), rng.uniform(0.5, 1.2), rng.uniform(0.2, 0.5))
        parts.append(place(crown, x, y, z - 0.4))
    return Piece(merge(parts), 2 * trunk + 0.2, 2 * trunk + 0.2)


def _bush(rng: np.random.Generator) -> Piece:
    radius = rng.uniform(0.3, 1.2)
    mesh = lump(rng, radius, rng.uniform(0.5, 1.3), rng.uniform(0.2, 0.5))
    return Piece(mesh, 2 * radius, 2 * radius)


def _post(rng: np.random.Generator) -> Piece:
    """A lamp post, a bollard, or a sign on its pole."""
    radius, height = rng.uniform(0.03, 0.12), np.exp(rng.uniform(np.log(0.7), np.log(7)))
    parts = [cylinder(radius, height)]
    if height > 1.8:
        size = rng.uniform(0.3, 1.0)
        top = ball(size / 2) if rng.random() < 0.3 else box(size, 0.04, size)
        parts.append(place(top, 0, 0, height - 0.3))
    return Piece(merge(parts), 2 * radius + 0.1, 2 * radius + 0.1)


def _bench(rng: np.random.Generator) -> Piece:
    width, depth = rng.uniform(1.0, 2.2), rng.uniform(0.35, 0.6)
    parts = [box(width, depth, 0.06, 0.42)]
    parts += [box_at(side * 0.4 * width, 0, 0, 0.1, depth, 0.42) for side in (-1, 1)]
    if rng.random() < 0.6:
        back = transform(box(width, 0.05, 0.45), rotation(0, rng.uniform(0.05, 0.3)))
        parts.append(place(back, 0, -depth / 2, 0.45))
    return Piece(merge(parts), width, depth, ((0, 0, 0.48, width, depth),))


def _bank(rng: np.random.Generator) -> Piece:
    """A long slope of earth or concrete, flat on top: one plane neither level nor upright."""
    width, height, top = rng.uniform(2, 8), rng.uniform(0.5, 2.5), rng.uniform(0.3, 2.0)
    run = height / np.tan(rng.uniform(0.3, 1.1))
    outline = np.array([[-run - top, 0], [run + top, 0], [top, height], [-top, height]])
    return Piece(_drawn_across(outline, width), 2 * (run + top), width)


STREET_PIECES = (_car, _car, _car, _tree, _tree, _bush, _post, _post, _bench, _bank, *ODD_PIECES)
"""Equal chances."""


def front(rng: np.random.Generator, width: float) -> Mesh:
    """A house front along x, facing +y at y = 0, with windows, sills, steps and balconies."""
    height, depth = rng.uniform(2.8, 14.0), 6.0
    parts = [box_at(0, -depth / 2, -0.5, width, depth, height + 0.5)]
    if rng.random() < 0.35:
        pitch = rng.uniform(0.3, 1.0) * depth / 2
        gable = np.array([[-depth, height], [0.4, height], [-depth / 2, height + pitch]])
        roof = _drawn_across(gable, width)
        parts.append(transform(roof, rotation(2, np.pi / 2)))
    storey = rng.uniform(2.6, 3.6)
    across = max(1, round(width / rng.uniform(1.6, 4.0)))
    size = rng.uniform(0.7, 0.45 * width / across + 0.7), rng.uniform(0.8, storey - 0.6)
    relief, balconies = rng.choice([0.06, 0.15, 0.3]), rng.random() < 0.25
    for level in range(int(height // storey)):
        for column in range(across):
            if rng.random() < 0.85:
                x, z = (column + 0.5) * width / across - width / 2, level * storey + 0.5
                parts += _window(x, z, size, relief)
                if balconies and level:
                    parts.append(box_at(x, 0.5, z - 0.4, size[0] + 0.4, 1.0, 0.15))
                    parts.append(box_at(x, 0.97, z - 0.3, size[0] + 0.4, 0.06, 0.9))
    if rng.random() < 0.4:
        parts += [box_at(0, 0.3, 0, 1.6, 0.6 * (2 - step), 0.17 * (step + 1)) for step in (0, 1)]
    if rng.random() < 0.2:
        parts.append(box_at(0, 0.6, 2.7, 0.8 * width, 1.2, 0.12))
    return merge(parts)


def _window(x: float, z: float, size: tuple[float, float], relief: float) -> list[Mesh]:
    """A frame that stands out of the front by its relief: no hole in the wall is needed."""
    width, height = size
    jambs = [box_at(x + side * width / 2, 0, z, 0.1, 2 * relief, height) for side in (-1, 1)]
    sills = [box_at(x, 0, z + up * height, width, 2 * relief, 0.1) for up in (0, 1)]
    return jambs + sills


def barrier(rng: np.random.Generator, length: float) -> Mesh:
    """A wall, a fence or a hedge along x."""
    height, kind = rng.uniform(0.5, 2.5), rng.random()
    if kind < 0.5:
        return box(length, rng.uniform(0.1, 0.4), height)
    if kind < 0.75:
        gap = rng.uniform(0.15, 0.4)
        stakes = np.arange(-length / 2, length / 2, gap * max(1.0, length / 30))
        rails = [box(length, 0.05, 0.08, level * height) for level in (0.2, 0.85)]
        return merge([*rails, *(box_at(x, 0, 0, 0.08, 0.04, height) for x in stakes)])
    bushes = np.arange(-length / 2, length / 2, height)
    return merge(
        place(lump(rng, 0.7 * height, rng.uniform(0.6, 1.0), 0.35), x, 0, -0.1) for x in bushes
    )
