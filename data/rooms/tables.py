"""Table tops, bins of parts and shelves, as seen from near by; each a kind of `scenes.KINDS`.

Sizes in metres are those of kitchens, offices, workshops, shops and robots' cells.
"""

import numpy as np

from data.rooms.building import CloseUp, Room, RoomBuilder, Surroundings
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
    revolution,
    rotation,
    transform,
    tube,
)
from data.rooms.pieces import Piece, tilted, wavy_profile
from data.rooms.shells import rectangle_plan
from data.rooms.small_things import SMALL_THINGS

TABLE_CLOSE_UPS = CloseUp(distance_m=(0.1, 0.9), elevation_deg=(5.0, 90.0), spread_m=0.15)
BIN_CLOSE_UPS = CloseUp(distance_m=(0.35, 1.3), elevation_deg=(55.0, 90.0), spread_m=0.05)
SHELF_CLOSE_UPS = CloseUp(distance_m=(0.2, 1.6), elevation_deg=(-10.0, 40.0), spread_m=0.2)
BARE_SHARE = 0.5
"""Of the scenes, without a room around: beyond the table there is the floor, or nothing."""


def table_top(rng: np.random.Generator, surroundings: Surroundings) -> Room:
    """A table with few things on it or many, in a room or alone."""
    height, width, depth = rng.uniform(0.3, 1.0), rng.uniform(0.4, 2.0), rng.uniform(0.4, 1.0)
    parts = [box(width, depth, 0.04, height - 0.04)]
    parts += [
        box_at(x * (width / 2 - 0.05), y * (depth / 2 - 0.05), 0, 0.05, 0.05, height - 0.04)
        for x in (-1, 1)
        for y in (-1, 1)
    ]
    count = int(np.exp(rng.uniform(np.log(2), np.log(40))))
    tops = []
    for _ in range(count):
        x, y = rng.uniform(-0.45, 0.45, 2) * (width, depth)
        thing = _thing(rng)
        grown = transform(thing, np.eye(3) * np.exp(rng.normal(0, 0.25)))
        yaw = np.pi / 2 * rng.integers(4) + (rng.uniform(0, 7) if rng.random() < 0.5 else 0.0)
        parts.append(place(grown, x, y, height, yaw))
        tops.append((x, y, height, 0.1, 0.1))
    if rng.random() < 0.25:  # a wall, a screen or a window sill behind
        parts.append(box_at(0, -depth / 2 - 0.05, 0, width + 1, 0.05, height + rng.uniform(0.2, 2)))
    return _around(
        rng, Piece(merge(parts), width, depth + 0.1, tuple(tops)), "table_top", TABLE_CLOSE_UPS
    )


def bin_of_parts(rng: np.random.Generator, surroundings: Surroundings) -> Room:
    """A box without lid, or a tray, full of parts of one kind or of many, as robots see them."""
    width, depth, height = rng.uniform(0.25, 0.8), rng.uniform(0.2, 0.6), rng.uniform(0.03, 0.35)
    base, wall = rng.choice([0.0, rng.uniform(0.3, 0.9)]), rng.uniform(0.003, 0.02)
    parts = [box(width, depth, wall, base)] if rng.random() < 0.9 else []
    for side in (-1, 1):
        parts.append(box_at(side * width / 2, 0, base, wall, depth, height))
        parts.append(box_at(0, side * depth / 2, base, width, wall, height))
    if base:
        parts.append(box(width + rng.uniform(0.1, 1), depth + rng.uniform(0.1, 1), base - 0.01))
    size = np.exp(rng.uniform(np.log(0.03), np.log(0.15)))
    part = _part(rng, size) if rng.random() < 0.5 else None
    count = int(rng.uniform(0.3, 1.5) * width * depth / size**2) + 3
    parts += _dropped(rng, part, size, min(count, 80), width, depth, base + wall)
    tops = tuple(
        (x, y, base + 0.3 * height, 0.1, 0.1)
        for x, y in rng.uniform(-0.3, 0.3, (4, 2)) * (width, depth)
    )
    return _around(rng, Piece(merge(parts), width, depth, tops), "bin", BIN_CLOSE_UPS)


def shelf(rng: np.random.Generator, surroundings: Surroundings) -> Room:
    """Boards with rows of goods, books or odd things, and uprights between them."""
    width, depth, height = rng.uniform(0.6, 3.0), rng.uniform(0.2, 0.6), rng.uniform(1.0, 2.4)
    gap = rng.uniform(0.18, 0.45)
    parts = [
        box_at(x, 0, 0, 0.02, depth, height)
        for x in np.linspace(-width / 2, width / 2, int(rng.integers(2, 5)))
    ]
    if rng.random() < 0.6:
        parts.append(box_at(0, -depth / 2, 0, width, 0.01, height))
    tops = []
    for level in np.arange(0.05, height, gap):
        parts.append(box_at(0, 0, level - 0.02, width, depth, 0.02))
        if rng.random() < 0.85:
            parts.append(place(_goods(rng, width, depth, 0.9 * gap), 0, 0, level))
        for x in rng.uniform(-0.4, 0.4, 2) * width:
            tops.append((x, 0.4 * depth, level + 0.1, 0.1, 0.1))
    return _around(
        rng, Piece(merge(parts), width, depth, tuple(tops)), "shelf", SHELF_CLOSE_UPS, wall=True
    )


def _around(
    rng: np.random.Generator, piece: Piece, kind: str, close_up: CloseUp, wall: bool = False
) -> Room:
    """The room around a piece, or the floor alone."""
    size = rng.uniform(1.0, 3.0, 2) + max(piece.width, piece.depth)
    builder = RoomBuilder(rng, rectangle_plan(*size), rng.uniform(2.2, 3.2))
    bare = rng.random() < BARE_SHARE
    if not bare:
        builder.shell()
    else:
        builder.parts.append(box(2 * size[0], 2 * size[1], 0.1, -0.1))
    spot = np.zeros(2)
    if wall:
        spot = np.array([0.0, piece.depth / 2 - size[1] / 2 + 0.02])
    builder.stand(piece, spot, 0.0)
    if not bare:
        builder.along_walls(5)
        builder.anywhere(3)
        builder.on_walls(4)
    # The piece's own points only: close-ups are of it.
    builder.targets = builder.targets[: len(piece.tops)]
    return builder.done(kind, 0.9, close_up)


def _goods(rng: np.random.Generator, width: float, depth: float, height: float) -> Mesh:
    """Things side by side along a shelf: many of a kind, as in a shop, or all different."""
    parts, x, thing, left = [], -width / 2 + 0.05, box(0.1, 0.1, 0.1), 0
    while x < width / 2 - 0.05:
        if left == 0:
            left = 1 if rng.random() < 0.5 else int(rng.integers(2, 8))
            thing = _packet(rng, height) if rng.random() < 0.7 else _thing(rng)
            thing = transform(thing, np.eye(3) * min(1, height / np.ptp(thing.vertices[:, 2])))
        across = float(np.ptp(thing.vertices[:, 0]))
        parts.append(place(thing, x + across / 2, rng.uniform(-0.2, 0.3) * depth))
        x += across + rng.uniform(0.002, 0.02)
        left -= 1
    return merge(parts or [thing])


def _packet(rng: np.random.Generator, height: float) -> Mesh:
    """A carton, a can, a bottle or a book."""
    tall = height * rng.uniform(0.4, 1.0)
    match rng.integers(4):
        case 0:
            return box(rng.uniform(0.03, 0.25), rng.uniform(0.03, 0.2), tall)
        case 1:
            return cylinder(rng.uniform(0.025, 0.06), min(tall, 0.2))
        case 2:
            return _bottle(rng, tall)
        case _:
            return box(rng.uniform(0.01, 0.05), rng.uniform(0.1, 0.2), tall)


def _thing(rng: np.random.Generator) -> Mesh:
    """Something that stands or lies on a table."""
    makers = (*SMALL_THINGS, _plate, _keyboard, _tool, _tumbled_part, _mug, _screen, _upright)
    return makers[rng.integers(len(makers))](rng)


def _bottle(rng: np.random.Generator, height: float) -> Mesh:
    radius = rng.uniform(0.025, 0.05)
    neck, shoulder = rng.uniform(0.2, 0.5) * radius, rng.uniform(0.5, 0.8) * height
    return revolution(
        np.array(
            [[0, 0], [radius, 0], [radius, shoulder], [neck, 0.5 * (shoulder + height)],
             [neck, height], [0, height]]
        )
    )  # fmt: skip


def _upright(rng: np.random.Generator) -> Mesh:
    return _bottle(rng, rng.uniform(0.12, 0.35))


def _plate(rng: np.random.Generator) -> Mesh:
    radius, rise = rng.uniform(0.07, 0.16), rng.uniform(0.01, 0.04)
    return tube(np.array([[0.6 * radius, 0.0], [radius, rise]]), 0.006)


def _mug(rng: np.random.Generator) -> Mesh:
    radius, height = rng.uniform(0.03, 0.05), rng.uniform(0.07, 0.13)
    handle = beam([radius, 0, 0.2 * height], [1.7 * radius, 0, 0.5 * height], 0.012, 0.012)
    other = beam([radius, 0, 0.8 * height], [1.7 * radius, 0, 0.5 * height], 0.012, 0.012)
    cup = tube(np.array([[0.9 * radius, 0.0], [radius, height]]), 0.004)
    return merge([cup, handle, other])


def _keyboard(rng: np.random.Generator) -> Mesh:
    width, depth = rng.uniform(0.25, 0.46), rng.uniform(0.1, 0.18)
    keys = [
        box_at(x, y, 0.015, 0.015, 0.015, 0.008)
        for x in np.arange(-width / 2 + 0.015, width / 2, 0.02)
        for y in np.arange(-depth / 2 + 0.015, depth / 2, 0.02)
    ]
    return merge([box(width, depth, 0.015), *keys])


def _screen(rng: np.random.Generator) -> Mesh:
    width = rng.uniform(0.3, 0.7)
    panel = tilted(box(width, 0.03, 0.6 * width), rng.uniform(-0.1, 0.3))
    foot = box(0.25, 0.18, 0.02)
    return merge([foot, box(0.05, 0.03, 0.2), place(panel, 0, 0, rng.uniform(0.05, 0.15))])


def _tool(rng: np.random.Generator) -> Mesh:
    """Long and thin, lying: a pen, a spoon, a screwdriver, a ruler."""
    length, thick = rng.uniform(0.1, 0.35), rng.uniform(0.006, 0.03)
    handle = rng.uniform(0.3, 0.6) * length
    return merge(
        [
            box_at(0, 0, 0, length, thick, 0.5 * thick),
            box_at(-(length - handle) / 2, 0, 0, handle, 1.8 * thick, thick),
        ]
    )


def _tumbled_part(rng: np.random.Generator) -> Mesh:
    return _tumbled(rng, _part(rng, rng.uniform(0.04, 0.15)))


def _part(rng: np.random.Generator, size: float) -> Mesh:
    """A part of a machine or a packet, centred anywhere, about `size` metres long."""
    a, b = size * rng.uniform(0.2, 0.6, 2)
    match rng.integers(8):
        case 0:
            return box(size, a, b)
        case 1:
            return cylinder(0.5 * a, size)
        case 2:
            return tube(np.array([[0.5 * a, 0.0], [0.5 * a, size]]), 0.1 * a)
        case 3:  # an angle
            thick = rng.uniform(0.1, 0.3) * size
            return merge([box(size, a, thick), box_at((thick - size) / 2, 0, 0, thick, a, size)])
        case 4:  # a bolt
            return merge([cylinder(0.2 * a, size), cylinder(0.5 * a, 0.3 * a)])
        case 5:
            return lump(rng, 0.5 * size, rng.uniform(0.3, 1.0), rng.uniform(0.05, 0.4))
        case 6:
            return revolution(wavy_profile(rng, 0.4 * size, size))
        case _:
            return ball(0.5 * size, rng.uniform(0.6, 1.0))


def _tumbled(rng: np.random.Generator, mesh: Mesh) -> Mesh:
    """The mesh lying any way at all; lowest at z = 0."""
    turn = np.eye(3)
    for axis in range(3):
        # Flat sides come to lie on the ground: quarter turns about the horizontal axes.
        quarter = np.pi / 2 * rng.integers(4)
        free = axis == 2 or rng.random() < 0.3
        turn = rotation(axis, rng.uniform(0, 7) if free else quarter) @ turn
    turned = transform(mesh, turn)
    low, high = turned.vertices.min(0), turned.vertices.max(0)
    middle = (low + high) / 2
    return place(turned, -middle[0], -middle[1], -low[2])


def _dropped(
    rng: np.random.Generator,
    part: Mesh | None,
    size: float,
    count: int,
    width: float,
    depth: float,
    base: float,
) -> list[Mesh]:
    """Parts in a bin, each on the highest that it meets: a heap without the physics of one."""
    dropped, places, tops, radii = [], np.zeros((0, 2)), np.zeros(0), np.zeros(0)
    for _ in range(count):
        one = part if part is not None else _part(rng, size * np.exp(rng.normal(0, 0.4)))
        one = _tumbled(rng, one)
        extent = np.ptp(one.vertices, axis=0)
        room = np.maximum((width, depth) - extent[:2], 0)
        place_xy = rng.uniform(-0.5, 0.5, 2) * room
        radius = 0.25 * (extent[0] + extent[1])
        near = np.linalg.norm(places - place_xy, axis=1) < 0.7 * (radii + radius)
        # Parts sink between others, so not all of their height counts.
        height = 0.6 * float(tops[near].max()) if near.any() else 0.0
        dropped.append(place(one, place_xy[0], place_xy[1], base + height))
        places = np.concatenate([places, [place_xy]])
        tops, radii = np.append(tops, height + extent[2]), np.append(radii, radius)
    return dropped
