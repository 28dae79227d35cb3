"""What pieces of furniture are made of: the record of a piece, and shapes that several share."""

from dataclasses import dataclass

import numpy as np

from data.rooms.meshes import (
    Mesh,
    box,
    place,
    rotation,
    transform,
)


@dataclass(frozen=True)
class Piece:
    """A piece of furniture.

    Attributes:
        mesh: its triangles.
        width: extent along x, metres.
        depth: extent along y, metres.
        tops: surfaces that things stand on, rows (x, y, z, width, depth), metres.
    """

    mesh: Mesh
    width: float
    depth: float
    tops: tuple[tuple[float, float, float, float, float], ...] = ()


def tilted(mesh: Mesh, angle: float) -> Mesh:
    """`mesh` turned about the x axis by `angle` radians, so that its top leans back, to -y."""
    return transform(mesh, rotation(0, angle))


def wavy_profile(rng: np.random.Generator, radius: float, height: float) -> np.ndarray:
    """A smooth profile of a solid of revolution from the axis back to the axis."""
    level = np.linspace(0, 1, 24)
    waves = sum(
        rng.uniform(-0.3, 0.3) / order * np.cos(np.pi * order * level + rng.uniform(0, 6))
        for order in (1, 2, 3)
    )
    width = 1 + waves
    side = np.column_stack([radius * width / np.max(width), height * level])
    return np.concatenate([[[0, 0]], side, [[0, height]]])


def tumbled(rng: np.random.Generator, size: float) -> Mesh:
    """A box of about `size` metres turned any way at all, as thrown on a heap; lowest at z = 0."""
    angles = rng.uniform(0, 2 * np.pi, 3)
    turn = rotation(0, angles[0]) @ rotation(1, angles[1]) @ rotation(2, angles[2])
    mesh = transform(box(*(size * rng.uniform(0.3, 1.0, 3))), turn)
    return place(mesh, 0, 0, -float(mesh.vertices[:, 2].min()))
