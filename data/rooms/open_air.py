"""Roads, facades and gardens, each a kind of `scenes.KINDS`: what cameras see in the open.

Sizes in metres are those of common roads, houses and plants.
"""

import numpy as np

from data.rooms.building import CloseUp, Room, RoomBuilder, Surroundings, random_point
from data.rooms.furniture import FREE_PIECES
from data.rooms.meshes import Mesh, beam, box, box_at, cylinder, lump, merge, place, relief
from data.rooms.outdoors import STREET_PIECES, barrier, front
from data.rooms.shells import rectangle_plan

FACADE_VIEWS = CloseUp(distance_m=(3.0, 30.0), elevation_deg=(-25.0, 10.0), spread_m=2.0)
GARDEN_CLOSE_UPS = CloseUp(distance_m=(0.3, 4.0), elevation_deg=(-15.0, 60.0), spread_m=0.2)
MOST_LEAVES = 500
"""Of a plant; chosen: more make no other depth, only slower rays."""


def road(rng: np.random.Generator, surroundings: Surroundings) -> Room:
    """A road to the horizon with kerbs, cars, trees and houses on its sides, or open country."""
    length, width, verge = rng.uniform(40, 90), rng.uniform(5, 18), rng.uniform(1, 12)
    plan = rectangle_plan(0.6 * length, width)
    builder = RoomBuilder(rng, plan, height=6.0)
    builder.parts.append(box(4 * length, 2 * length, 0.5, -0.5))
    for side in (-1, 1):
        edge = side * width / 2
        turn = np.pi if side > 0 else 0.0
        if rng.random() < 0.7:
            kerb = box(length, verge, rng.uniform(0.05, 0.2))
            builder.parts.append(place(kerb, 0, edge + side * verge / 2))
        if rng.random() < 0.3:
            builder.parts.append(place(barrier(rng, length), 0, edge + 0.3 * side, 0, turn))
        for x in rng.uniform(-0.5, 0.5, rng.integers(0, 25)) * length:
            piece = STREET_PIECES[rng.integers(len(STREET_PIECES))](rng)
            yaw = np.pi * rng.integers(2) + rng.normal(0, 0.1)
            away = edge + side * rng.uniform(0.3, 1 + verge)
            builder.parts.append(place(piece.mesh, x, away, 0, yaw))
        end = -length / 2 + rng.uniform(0, 20)
        while end < length / 2 and rng.random() < 0.85:
            house = rng.uniform(5, 18)
            back = edge + side * (verge + rng.uniform(0.5, 6))
            builder.parts.append(place(front(rng, house), end + house / 2, back, 0, turn))
            end += house + rng.choice([0.0, rng.uniform(1, 25)])
    builder.anywhere(int(rng.integers(1, 9)), STREET_PIECES, 0)
    return builder.done("road", 0.0)


def facade(rng: np.random.Generator, surroundings: Surroundings) -> Room:
    """One or two houses seen from in front of them, straight or from aside."""
    width, away = rng.uniform(6, 25), rng.uniform(6, 30)
    builder = RoomBuilder(rng, rectangle_plan(width, away), height=6.0)
    builder.parts.append(box(6 * width, 2 * away, 0.5, -0.5))
    builder.parts.append(place(front(rng, width), 0, away / 2, 0, np.pi))
    if rng.random() < 0.5:  # a wing or a neighbour at an angle
        yaw = np.pi / 2 if rng.random() < 0.6 else rng.uniform(0.3, 2.6)
        side = rng.choice([-1, 1])
        wing = place(front(rng, rng.uniform(4, 15)), 0, 0, 0, side * -yaw)
        builder.parts.append(place(wing, side * (width / 2 + 2), away / 2 - 3))
    builder.anywhere(int(rng.integers(0, 8)), STREET_PIECES, 0)
    for x, z in rng.uniform((-0.4, 0.5), (0.4, 6), (6, 2)) * (width, 1):
        builder.targets.append(np.array([x, away / 2, z]))
    return builder.done("facade", 0.6, FACADE_VIEWS)


def garden(rng: np.random.Generator, surroundings: Surroundings) -> Room:
    """Plants of all sizes on rough or level ground, with a wall, a fence or garden furniture."""
    size = rng.uniform(3, 15, 2)
    builder = RoomBuilder(rng, rectangle_plan(*size), height=5.0)
    if rng.random() < 0.5:
        builder.parts.append(relief(rng, size[0] + 10, size[1] + 10, rng.uniform(0.01, 0.25)))
    else:
        builder.parts.append(box(size[0] + 30, size[1] + 30, 0.5, -0.5))
    for side in range(4):
        if rng.random() < 0.3:
            far = size[side % 2] / 2 + 0.5
            yaw = np.pi / 2 * (side % 2)
            sign = 1 if side < 2 else -1
            x, y = (far * sign, 0) if side % 2 == 0 else (0, far * sign)
            builder.parts.append(place(barrier(rng, size.max()), x, y, 0, yaw + np.pi / 2))
    for _ in range(rng.integers(2, 14)):
        x, y = random_point(rng, builder.plan, 0.0)
        tall = np.exp(rng.uniform(np.log(0.25), np.log(6)))
        plant = leafy(rng, tall) if rng.random() < 0.75 else lump(rng, 0.4 * tall, 1.0, 0.4)
        builder.parts.append(place(plant, x, y))
        builder.targets.append(np.array([x, y, rng.uniform(0.2, 0.9) * min(tall, 2.5)]))
    builder.anywhere(int(rng.integers(0, 5)), FREE_PIECES)
    return builder.done("garden", 0.5, GARDEN_CLOSE_UPS)


def leafy(rng: np.random.Generator, height: float) -> Mesh:
    """A plant of stems and leaves: a pot herb to a tree, bare below or leafy from the ground."""
    parts: list[Mesh] = []
    stems, bare = int(rng.integers(1, 5)), rng.uniform(0.0, 0.5)
    spread = rng.uniform(0.1, 0.6) * height
    leaf = np.clip(height * np.exp(rng.uniform(np.log(0.02), np.log(0.15))), 0.015, 0.4)
    tips = []
    for _ in range(stems):
        foot = np.array([*rng.normal(0, 0.03 * height, 2), -0.05])
        top = foot + np.array([*rng.normal(0, 0.4 * spread, 2), height * rng.uniform(0.7, 1.0)])
        thick = height * rng.uniform(0.01, 0.06)
        parts.append(beam(foot, top, thick, thick))
        for _ in range(rng.integers(2, 8)):
            start = foot + rng.uniform(bare, 1.0) * (top - foot)
            end = start + rng.normal(0, 1, 3) * (spread, spread, 0.3 * height) / 2
            parts.append(beam(start, end, 0.4 * thick, 0.4 * thick))
            tips.append((start, end))
    for _ in range(min(MOST_LEAVES, int(rng.uniform(20, 150) * stems))):
        start, end = tips[rng.integers(len(tips))]
        at = start + rng.uniform(0.2, 1.1) * (end - start) + rng.normal(0, 0.5 * leaf, 3)
        if at[2] < 0.02:
            continue
        along = rng.normal(0, 1, 3) * (1, 1, 0.6)
        along *= leaf / max(np.linalg.norm(along), 1e-3)
        parts.append(beam(at, at + along, rng.uniform(0.2, 0.7) * leaf, 0.02 * leaf))
    if rng.random() < 0.3:
        radius = rng.uniform(0.05, 0.25) * min(height, 1.5)
        parts.append(cylinder(radius, 1.2 * radius))
        return merge([parts.pop(), place(merge(parts), 0, 0, radius)])
    if rng.random() < 0.2:
        parts.append(box_at(0, 0, 0, 0.8 * spread + 0.1, 0.8 * spread + 0.1, 0.3))
    return merge(parts)
