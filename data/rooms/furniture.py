"""Random furniture, each piece a function of a numpy Generator.

A piece stands on z = 0, centred on the origin, its back towards -y; sizes in metres are those of
common household goods.  To add one: write a function `(rng) -> Piece` and enter it in a table at
the end of this file.
"""

import numpy as np

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
from data.rooms.small_things import SMALL_THINGS


def _table(rng: np.random.Generator) -> Piece:
    """Four legs and a top: coffee table to dining table."""
    height, width, depth = rng.uniform(0.4, 0.95), rng.uniform(0.6, 2.2), rng.uniform(0.45, 1.0)
    board, leg = rng.uniform(0.02, 0.06), rng.uniform(0.03, 0.1)
    x, y = width / 2 - leg, depth / 2 - leg
    parts = [box(width, depth, board, height - board)]
    corners = [(-x, -y), (x, -y), (x, y), (-x, y)]
    if rng.random() < 0.3:
        parts += [place(cylinder(leg / 2, height - board), *corner) for corner in corners]
    else:
        parts += [box_at(*corner, 0, leg, leg, height - board) for corner in corners]
    if rng.random() < 0.5:
        parts.append(box(width - 2 * leg, depth - 2 * leg, 0.1, height - board - 0.1))
    return Piece(merge(parts), width, depth, ((0, 0, height, width, depth),))


def _round_table(rng: np.random.Generator) -> Piece:
    radius, height, board = rng.uniform(0.3, 0.75), rng.uniform(0.45, 1.0), rng.uniform(0.02, 0.06)
    foot = rng.uniform(0.4, 0.8) * radius
    mesh = merge(
        [
            cylinder(radius, board, height - board),
            cylinder(rng.uniform(0.03, 0.08), height - board),
            revolution(np.array([[0, 0], [foot, 0], [foot, 0.02], [0.04, 0.1], [0, 0.1]])),
        ]
    )
    return Piece(mesh, 2 * radius, 2 * radius, ((0, 0, height, 1.4 * radius, 1.4 * radius),))


def _desk(rng: np.random.Generator) -> Piece:
    """A top on two drawer blocks or panels, with a screen on it more often than not."""
    width, depth, height = rng.uniform(1.0, 1.8), rng.uniform(0.5, 0.9), rng.uniform(0.68, 0.8)
    side = rng.choice([0.03, rng.uniform(0.3, 0.5)])
    x = (width - side) / 2
    parts = [
        box(width, depth, 0.03, height - 0.03),
        box_at(-x, 0, 0, side, depth - 0.04, height - 0.03),
        box_at(x, 0, 0, 0.03, depth - 0.04, height - 0.03),
    ]
    if rng.random() < 0.6:
        screen = rng.uniform(0.4, 0.8)
        parts += [
            box_at(0, -0.3 * depth, height, 0.25, 0.18, 0.02),
            box_at(0, -0.32 * depth, height, 0.05, 0.03, 0.25),
            place(tilted(box(screen, 0.03, 0.6 * screen), 0.1), 0, -0.3 * depth, height + 0.12),
        ]
    return Piece(merge(parts), width, depth, ((0, 0.15 * depth, height, width, 0.6 * depth),))


def _chair(rng: np.random.Generator) -> Piece:
    width, seat, back = rng.uniform(0.38, 0.52), rng.uniform(0.4, 0.5), rng.uniform(0.35, 0.6)
    leg, x = 0.035, width / 2 - 0.02
    parts = [box(width, width, 0.04, seat - 0.04)]
    parts += [box_at(sx * x, sy * x, 0, leg, leg, seat - 0.04) for sx in (-1, 1) for sy in (-1, 1)]
    lean = rng.uniform(0, 0.25)
    parts.append(place(tilted(box(width, 0.03, back), lean), 0, -x, seat))
    return Piece(merge(parts), width, width)


def _stool(rng: np.random.Generator) -> Piece:
    """A round seat on three splayed legs."""
    radius, height, splay = rng.uniform(0.15, 0.22), rng.uniform(0.4, 0.8), rng.uniform(1.0, 1.5)
    parts = [cylinder(radius, 0.04, height - 0.04)]
    for angle in 2 * np.pi * np.arange(3) / 3:
        spoke = radius * np.array([np.cos(angle), np.sin(angle), 0])
        parts.append(beam(0.6 * spoke + [0, 0, height - 0.03], splay * spoke, 0.03, 0.03))
    return Piece(merge(parts), 2 * splay * radius, 2 * splay * radius)


def _sofa(rng: np.random.Generator) -> Piece:
    """Seat, back, arms and cushions, one to four places wide."""
    places = rng.integers(1, 5)
    arm, depth, seat = rng.uniform(0.1, 0.25), rng.uniform(0.7, 1.0), rng.uniform(0.35, 0.48)
    cushion = rng.uniform(0.5, 0.7)
    width = places * cushion + 2 * arm
    back = rng.uniform(0.15, 0.3)
    parts = [
        box(width, depth, seat - 0.07),
        box_at(0, -(depth - back) / 2, 0, width, back, rng.uniform(0.65, 0.95)),
    ]
    parts += [
        box_at(s * (width - arm) / 2, 0, 0, arm, depth, seat + rng.uniform(0.05, 0.2))
        for s in (-1, 1)
    ]
    for place_index in range(places):
        x = (place_index - (places - 1) / 2) * cushion
        parts.append(box_at(x, back / 2, seat - 0.1, cushion - 0.02, depth - back - 0.02, 0.12))
        if rng.random() < 0.4:
            pillow = tilted(box(0.4, 0.14, 0.4), rng.uniform(0.1, 0.5))
            yaw = rng.uniform(-0.5, 0.5)
            parts.append(place(pillow, x, back - depth / 2 + 0.12, seat, yaw))
    return Piece(merge(parts), width, depth)


def _bed(rng: np.random.Generator) -> Piece:
    width, length, height = rng.uniform(0.9, 2.0), rng.uniform(1.9, 2.15), rng.uniform(0.4, 0.65)
    parts = [
        box(width - 0.1, length - 0.1, height - 0.35),
        box(width, length, 0.1, height - 0.35),
        box(width - 0.04, length - 0.04, 0.25, height - 0.25),
        box_at(0, -length / 2 - 0.03, 0, width + 0.05, 0.06, rng.uniform(0.6, 1.2)),
    ]
    for x in (-width / 4, width / 4) if width > 1.3 else (0.0,):
        pillow = tilted(box(0.4 * max(width, 1.2) * 0.9, 0.12, 0.35), rng.uniform(0.6, 1.3))
        parts.append(place(pillow, x, -length / 2 + 0.15, height))
    return Piece(merge(parts), width, length, ((0, 0.3, height, 0.7 * width, 1.0),))


def _bookcase(rng: np.random.Generator) -> Piece:
    """An open case of boards, partly filled with books and things."""
    width, depth, height = rng.uniform(0.5, 2.2), rng.uniform(0.22, 0.45), rng.uniform(0.7, 2.3)
    board, boards = 0.025, max(2, round(height / rng.uniform(0.28, 0.45)))
    gap = (height - board) / boards
    parts = [box_at(s * (width - board) / 2, 0, 0, board, depth, height) for s in (-1, 1)] + [
        box(width, depth, board, level * gap) for level in range(boards + 1)
    ]
    if rng.random() < 0.6:
        parts.append(box_at(0, -depth / 2 + 0.005, 0, width, 0.01, height))
    for level in range(boards):
        if rng.random() < 0.75:
            row = _books(rng, 0.9 * width * rng.uniform(0.3, 1), 0.8 * gap, 0.8 * depth)
            parts.append(place(row, 0, 0, level * gap + board))
    return Piece(merge(parts), width, depth, ((0, 0, height + 0.0, width, depth),))


def _books(rng: np.random.Generator, length: float, height: float, depth: float) -> Mesh:
    """A row of upright books along x, the last one leaning."""
    parts, x = [], -length / 2
    while x < length / 2:
        thick = rng.uniform(0.02, 0.07)
        book = box(thick, depth * rng.uniform(0.6, 1), height * rng.uniform(0.6, 1))
        parts.append(place(book, x + thick / 2, 0))
        x += thick
    leaning = transform(box(0.03, 0.7 * depth, 0.8 * height), rotation(1, -rng.uniform(0.1, 0.4)))
    return merge([*parts, place(leaning, x + 0.3 * height, 0)])


def _cabinet(rng: np.random.Generator) -> Piece:
    """A closed body with doors that stand proud and knobs: sideboard to wardrobe."""
    width, depth = rng.uniform(0.4, 2.4), rng.uniform(0.3, 0.65)
    height = rng.choice([rng.uniform(0.45, 1.2), rng.uniform(1.7, 2.2)])
    parts = [box(width, depth, height)]
    columns, rows = max(1, round(width / 0.5)), int(rng.integers(1, 4))
    door_width, door_height = width / columns, (height - 0.08) / rows
    for column in range(columns):
        for row in range(rows):
            x = (column + 0.5) * door_width - width / 2
            z = 0.06 + row * door_height
            parts += [
                box_at(x, depth / 2 + 0.01, z, door_width - 0.015, 0.02, door_height - 0.015),
                box_at(
                    x + 0.35 * door_width, depth / 2 + 0.035, z + door_height / 2, 0.02, 0.03, 0.1
                ),
            ]
    if rng.random() < 0.15:
        swing = box_at(door_width / 2, 0, 0.06, door_width, 0.02, height - 0.08)
        parts.append(place(swing, -width / 2, depth / 2 + 0.02, 0, rng.uniform(0.3, 2.0)))
    return Piece(merge(parts), width, depth, ((0, 0, height, width, depth),))


def _counter(rng: np.random.Generator) -> Piece:
    """A kitchen run: base units, worktop, wall units above."""
    width, depth, height = rng.uniform(1.2, 3.2), rng.uniform(0.55, 0.65), rng.uniform(0.85, 0.95)
    parts = [
        box_at(0, -0.06, 0, width, depth - 0.12, 0.1),
        box_at(0, -0.03, 0.1, width, depth - 0.06, height - 0.14),
        box(width, depth, 0.04, height - 0.04),
    ]
    if rng.random() < 0.7:
        top, wall = rng.uniform(1.35, 1.5), rng.uniform(0.3, 0.38)
        parts.append(box_at(0, (wall - depth) / 2, top, width * rng.uniform(0.4, 1), wall, 0.7))
    return Piece(merge(parts), width, depth, ((0, 0.05, height, width, 0.8 * depth),))


def _floor_lamp(rng: np.random.Generator) -> Piece:
    height, shade = rng.uniform(1.2, 1.8), rng.uniform(0.12, 0.25)
    cone = np.array([[shade, 0.0], [shade * rng.uniform(0.4, 1), rng.uniform(0.15, 0.35)]])
    ring = np.concatenate([cone, cone[::-1] - [0.01, 0], cone[:1]])
    mesh = merge(
        [cylinder(0.15, 0.03), cylinder(0.015, height), place(revolution(ring), 0, 0, height - 0.1)]
    )
    return Piece(mesh, 2 * shade, 2 * shade)


def _plant(rng: np.random.Generator) -> Piece:
    """A pot and long leaves that lean out every way."""
    pot = rng.uniform(0.12, 0.25)
    parts = [
        tube(np.array([[0.75 * pot, 0.0], [pot, 1.6 * pot]]), 0.02),
        cylinder(0.9 * pot, 1.3 * pot),
    ]
    for angle in rng.uniform(0, 2 * np.pi, rng.integers(5, 16)):
        reach, rise = rng.uniform(0.05, 0.5), rng.uniform(0.3, 1.3)
        tip = np.array([reach * np.cos(angle), reach * np.sin(angle), 1.3 * pot + rise])
        parts.append(beam([0, 0, 1.3 * pot], tip, rng.uniform(0.02, 0.12), 0.01))
    return Piece(merge(parts), 2 * pot, 2 * pot)


def _stairs(rng: np.random.Generator) -> Piece:
    """A flight of solid steps, rising away from the front."""
    width, steps = rng.uniform(0.7, 1.5), int(rng.integers(3, 13))
    rise, going = rng.uniform(0.15, 0.2), rng.uniform(0.24, 0.32)
    depth = steps * going
    parts = [
        box_at(0, depth / 2 - (k + 0.5) * going, 0, width, going, (k + 1) * rise)
        for k in range(steps)
    ]
    return Piece(merge(parts), width, depth)


def _ramp(rng: np.random.Generator) -> Piece:
    """A board that leans on a block: one large plane that is neither level nor upright."""
    width, height, run = rng.uniform(0.5, 1.5), rng.uniform(0.3, 1.4), rng.uniform(0.5, 2.0)
    board = beam([0, run / 2, 0.02], [0, -run / 2 + 0.1, height], width, 0.04)
    return Piece(merge([board, box_at(0, -run / 2, 0, width, 0.2, height)]), width, run + 0.2)


def _barrel(rng: np.random.Generator) -> Piece:
    """A fat surface of revolution: barrel, urn or vat."""
    radius, height = rng.uniform(0.2, 0.5), rng.uniform(0.5, 1.3)
    mesh = revolution(wavy_profile(rng, radius, height))
    return Piece(mesh, 2 * radius, 2 * radius)


def _column(rng: np.random.Generator) -> Piece:
    """A round or square pillar, taller than any room."""
    radius = rng.uniform(0.1, 0.35)
    mesh = cylinder(radius, 6.0) if rng.random() < 0.6 else box(2 * radius, 2 * radius, 6.0)
    return Piece(mesh, 2 * radius, 2 * radius)


def _giant_ball(rng: np.random.Generator) -> Piece:
    radius = rng.uniform(0.2, 0.6)
    return Piece(ball(radius, rng.uniform(0.6, 1.1)), 2 * radius, 2 * radius)


def _beanbag(rng: np.random.Generator) -> Piece:
    """Something large and soft: beanbag, sack, or a heap under a sheet."""
    radius = rng.uniform(0.25, 0.7)
    mesh = lump(rng, radius, rng.uniform(0.4, 1.4), rng.uniform(0.1, 0.35))
    return Piece(mesh, 2.4 * radius, 2.4 * radius)


def _unmade_bed(rng: np.random.Generator) -> Piece:
    """A bed or couch under blankets and cushions that nobody has straightened."""
    width, length, height = rng.uniform(0.8, 2.0), rng.uniform(1.6, 2.15), rng.uniform(0.3, 0.6)
    parts = [box(width, length, height)]
    for _ in range(rng.integers(3, 9)):
        soft = lump(rng, rng.uniform(0.15, 0.6), rng.uniform(0.15, 0.5), rng.uniform(0.1, 0.4))
        x, y = rng.uniform(-0.4, 0.4, 2) * (width, length)
        parts.append(place(soft, x, y, height - 0.05, rng.uniform(0, 6)))
    return Piece(merge(parts), width + 0.3, length + 0.3)


def _person(rng: np.random.Generator) -> Piece:
    """A figure of lumps that stands, its arms anywhere."""
    scale = rng.uniform(0.7, 1.1)
    hips, shoulders = 0.85 * scale, 1.4 * scale
    parts = [place(lump(rng, 0.1 * scale, 4.4, 0.1), side * 0.1 * scale, 0, 0) for side in (-1, 1)]
    parts.append(place(lump(rng, 0.22 * scale, 1.5, 0.15), 0, 0, hips - 0.05))
    parts.append(place(lump(rng, 0.11 * scale, 1.25, 0.1), 0, 0, shoulders + 0.05 * scale))
    for side in (-1, 1):
        start = np.array([side * 0.2 * scale, 0, shoulders - 0.05])
        reach = rng.normal(size=3) * (0.2, 0.3, 0.2) + (side * 0.1, 0, -0.35)
        end = start + 0.55 * scale * reach / np.linalg.norm(reach)
        parts.append(beam(start, end, 0.09 * scale, 0.09 * scale))
    return Piece(merge(parts), 0.7 * scale, 0.6 * scale)


def _crates(rng: np.random.Generator) -> Piece:
    """Boxes piled up, each turned a little against the one below."""
    size, parts, height = rng.uniform(0.3, 0.7), [], 0.0
    for _ in range(rng.integers(1, 5)):
        level, width = rng.uniform(0.2, 0.5), size * rng.uniform(0.6, 1.0)
        crate = box(width, size * rng.uniform(0.6, 1.0), level)
        parts.append(place(crate, 0, 0, height, rng.normal(0, 0.4)))
        height += level
    return Piece(merge(parts), size, size, ((0, 0, height, 0.4 * size, 0.4 * size),))


# Pieces that stand with their back to a wall, and pieces that stand anywhere; equal chances.
WALL_PIECES = (_desk, _sofa, _bed, _bookcase, _bookcase, _cabinet, _cabinet, _counter, _stairs,
               _unmade_bed)  # fmt: skip


FREE_PIECES = (_table, _table, _round_table, _chair, _chair, _stool, _sofa, _floor_lamp, _plant,
               _beanbag, _person)  # fmt: skip


ROUND_PIECES = (_round_table, _stool, _floor_lamp, _barrel, _column, _giant_ball, _plant, _beanbag,
                _person)  # fmt: skip


ODD_PIECES = (_crates, _crates, _ramp, _stairs, _barrel, _giant_ball, _column, _table,
              _beanbag, _unmade_bed)  # fmt: skip


def with_things(rng: np.random.Generator, piece: Piece, most: int) -> Piece:
    """`piece` with a third of `most` to `most` small things standing on each of its tops."""
    parts = [piece.mesh]
    for x, y, z, width, depth in piece.tops:
        for _ in range(rng.integers(most // 3, most + 1)):
            thing = SMALL_THINGS[rng.integers(len(SMALL_THINGS))](rng)
            along, across = rng.uniform(-0.42, 0.42, 2) * (width, depth)
            parts.append(place(thing, x + along, y + across, z, rng.uniform(0, 2 * np.pi)))
    return Piece(merge(parts), piece.width, piece.depth, piece.tops)
