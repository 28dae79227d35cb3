"""Triangle meshes in numpy: the few solids that rooms and furniture are put together from.

World axes: x and y horizontal, z up, metres.  Every solid is closed and its triangles turn
counter-clockwise seen from outside, so a ray that meets a triangle from behind started inside a
solid: that is how the renderer knows that a camera stands within the furniture.  Solids may
overlap; a union of closed solids keeps that property.
"""

import functools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

# Facets of a full circle; chosen: a cylinder of 1 m radius is then at most 2 mm off.
CIRCLE_SEGMENTS = 48
# Distance of two vertices of rough ground of small extent; chosen.
RELIEF_CELL_M = 0.08


@dataclass(frozen=True)
class Mesh:
    """Triangles as plain arrays.

    Attributes:
        vertices: (N, 3) float64, metres.
        faces: (M, 3) int32, rows of `vertices`; counter-clockwise seen from outside.
    """

    vertices: np.ndarray
    faces: np.ndarray


def merge(meshes: Iterable[Mesh]) -> Mesh:
    """One mesh that holds the triangles of all; of none, the empty mesh."""
    parts = list(meshes)
    starts = np.cumsum([0, *(len(part.vertices) for part in parts)])
    return Mesh(
        np.concatenate([np.empty((0, 3)), *(part.vertices for part in parts)]),
        np.concatenate(
            [
                np.empty((0, 3), np.int32),
                *(part.faces + start for part, start in zip(parts, starts, strict=False)),
            ]
        ).astype(np.int32),
    )


def rotation(axis: int, angle: float) -> np.ndarray:
    """(3, 3) rotation by `angle` radians, counter-clockwise about axis 0 (x), 1 (y) or 2 (z)."""
    cosine, sine = np.cos(angle), np.sin(angle)
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = cosine
    matrix[first, second], matrix[second, first] = -sine, sine
    return matrix


def transform(mesh: Mesh, matrix: np.ndarray, offset=(0.0, 0.0, 0.0)) -> Mesh:
    """`mesh` with every vertex v moved to `matrix @ v + offset`.

    A matrix that mirrors (negative determinant) turns the triangles over, so that they still face
    outwards.
    """
    faces = mesh.faces if np.linalg.det(matrix) > 0 else mesh.faces[:, ::-1]
    return Mesh(mesh.vertices @ matrix.T + np.asarray(offset, float), faces)


def place(mesh: Mesh, x: float, y: float, z: float = 0.0, yaw: float = 0.0) -> Mesh:
    """`mesh` turned by `yaw` radians about the vertical, then moved by (x, y, z) metres."""
    turned = mesh.vertices @ rotation(2, yaw).T if yaw else mesh.vertices
    return Mesh(turned + np.array([x, y, z]), mesh.faces)


def prism(polygon: np.ndarray, bottom: float, top: float) -> Mesh:
    """The solid between the heights `bottom` < `top` above a convex polygon.

    Args:
        polygon: (K, 2) corners, counter-clockwise, convex, K >= 3.
        bottom: height of the lower face, metres.
        top: height of the upper face, metres.
    """
    polygon = np.asarray(polygon, float)
    count = len(polygon)
    vertices = np.empty((2 * count, 3))
    vertices[:count, :2] = vertices[count:, :2] = polygon
    vertices[:count, 2], vertices[count:, 2] = bottom, top
    return Mesh(vertices, _prism_faces(count))


@functools.cache
def _prism_faces(count: int) -> np.ndarray:
    corner = np.arange(count)
    following = (corner + 1) % count
    fan = np.column_stack([np.zeros(count - 2, int), corner[1:-1], corner[2:]])
    sides = np.concatenate(
        [
            np.column_stack([corner, following, following + count]),
            np.column_stack([corner, following + count, corner + count]),
        ]
    )
    return np.concatenate([fan[:, ::-1], fan + count, sides]).astype(np.int32)


def box(width: float, depth: float, height: float, base: float = 0.0) -> Mesh:
    """A box, `width` along x and `depth` along y, centred there; its lower face at `base`."""
    x, y = width / 2, depth / 2
    return prism(np.array([[-x, -y], [x, -y], [x, y], [-x, y]]), base, base + height)


def box_at(x: float, y: float, z: float, width: float, depth: float, height: float) -> Mesh:
    """A box whose lower face is centred at (x, y, z)."""
    return place(box(width, depth, height), x, y, z)


def revolution(profile: np.ndarray, segments: int = CIRCLE_SEGMENTS) -> Mesh:
    """The solid that a profile sweeps out when it turns about the z axis.

    Args:
        profile: (K, 2) pairs (radius >= 0, height), metres.  Either a line from the axis back to
            the axis, lower end first (a ball), or a closed ring that runs counter-clockwise in
            the (radius, height) plane with its first point repeated at the end (a tube).
        segments: facets round the circle.
    """
    profile = np.asarray(profile, float)
    count = len(profile)
    angle = 2 * np.pi * np.arange(segments) / segments
    radius, height = profile.T
    vertices = np.stack(
        [
            radius * np.cos(angle)[:, None],
            radius * np.sin(angle)[:, None],
            np.broadcast_to(height, (segments, count)),
        ],
        axis=-1,
    ).reshape(-1, 3)
    return Mesh(vertices, _revolution_faces(segments, count))


@functools.cache
def _revolution_faces(segments: int, count: int) -> np.ndarray:
    ring, step = np.meshgrid(np.arange(segments), np.arange(count - 1), indexing="ij")
    here = (ring * count + step).ravel()
    beside = (((ring + 1) % segments) * count + step).ravel()
    return np.concatenate(
        [
            np.column_stack([here, beside, beside + 1]),
            np.column_stack([here, beside + 1, here + 1]),
        ]
    ).astype(np.int32)


def cylinder(radius: float, height: float, base: float = 0.0) -> Mesh:
    """An upright cylinder about the z axis from `base` up to `base + height`."""
    top = base + height
    return revolution(np.array([[0, base], [radius, base], [radius, top], [0, top]]))


def ball(radius: float, squash: float = 1.0) -> Mesh:
    """A sphere that stands on z = 0, its height `squash` times its width."""
    latitude = np.linspace(-np.pi / 2, np.pi / 2, CIRCLE_SEGMENTS // 2 + 1)
    # cos(pi/2) is 6e-17, not 0: a negative radius would turn a facet over.
    profile_radius = radius * np.maximum(np.cos(latitude), 0)
    return revolution(np.column_stack([profile_radius, radius * squash * (1 + np.sin(latitude))]))


def lump(rng: np.random.Generator, radius: float, squash: float, waves: float) -> Mesh:
    """A ball with random dents and bulges, as of clay or cloth; stands on z = 0.

    Args:
        rng: of the shape.
        radius: metres, of the ball.
        squash: its height over its width.
        waves: size of the dents relative to the radius, 0 to 0.5.
    """
    mesh = ball(1.0)
    direction = mesh.vertices - [0, 0, 1]
    # Functions of the direction alone: the two ends of a circle of latitude stay together.
    bulge = np.zeros(len(direction))
    for frequency in (2.0, 3.5, 6.0):
        for wave in rng.normal(size=(4, 3)):
            bulge += np.sin(frequency * direction @ wave + rng.uniform(0, 6)) / frequency
    shape = direction * (1 + waves * np.clip(bulge, -1.5, 1.5) / 1.5)[:, None]
    shape = shape * (rng.uniform(0.6, 1.0), 1.0, squash) * radius
    return place(Mesh(shape, mesh.faces), 0, 0, -float(shape[:, 2].min()))


def face_normals(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Normals of unit length by the winding, (F, 3), 0 of no area; twice the areas, (F,)."""
    first, second, third = vertices[faces].swapaxes(0, 1)
    crosses = np.cross(second - first, third - first)
    areas = np.linalg.norm(crosses, axis=1)
    return crosses / np.maximum(areas, 1e-30)[:, None], areas


def relief(rng: np.random.Generator, width: float, depth: float, height: float) -> Mesh:
    """Rough ground: a surface over the rectangle about the z axis, to be seen from above.

    Args:
        rng: of the shape.
        width: along x, metres.
        depth: along y, metres.
        height: standard deviation of the surface about z = 0, metres.
    """
    columns, rows = (int(np.clip(np.ceil(side / RELIEF_CELL_M), 8, 120)) for side in (width, depth))
    x, y = np.meshgrid(
        np.linspace(-0.5, 0.5, columns) * width, np.linspace(-0.5, 0.5, rows) * depth
    )
    z = np.zeros(x.shape)
    # Rock looks alike at all scales: the longer a wave the higher it is, some have sharp ridges.
    for length in np.geomspace(2 * RELIEF_CELL_M, max(width, depth), 10):
        for angle, phase in rng.uniform(0, 2 * np.pi, (3, 2)):
            wave = np.sin(2 * np.pi / length * (x * np.cos(angle) + y * np.sin(angle)) + phase)
            z += length**0.75 * (np.abs(wave) if rng.random() < 0.4 else wave)
    z = (z - z.mean()) / z.std() * height
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    faces = np.concatenate(
        [
            np.column_stack([corner, corner + 1, corner + columns + 1]),
            np.column_stack([corner, corner + columns + 1, corner + columns]),
        ]
    )
    return Mesh(np.stack([x, y, z], axis=-1).reshape(-1, 3), faces.astype(np.int32))


def tube(outer: np.ndarray, thickness: float) -> Mesh:
    """A hollow vessel without lid: the surface of revolution of `outer`, walls of `thickness`.

    Args:
        outer: (K, 2) pairs (radius > 0, height), from the foot up to the rim.
        thickness: metres, less than every radius; also the thickness of the floor.
    """
    outer = np.asarray(outer, float)
    inner = outer[::-1] - np.array([thickness, 0.0])
    inner[-1, 1] += thickness
    foot = np.array([[0.0, outer[0, 1]]])
    floor = np.array([[0.0, inner[-1, 1]]])
    return revolution(np.concatenate([foot, outer, inner, floor]))


def beam(start, end, width: float, height: float) -> Mesh:
    """A straight bar of rectangular section between two points, in any direction.

    Args:
        start: (3,) centre of one end face, metres.
        end: (3,) centre of the other.
        width: extent across, horizontally unless the bar is upright.
        height: extent across, at right angles to `width`.
    """
    start, end = np.asarray(start, float), np.asarray(end, float)
    length = float(np.linalg.norm(end - start))
    along = (end - start) / length
    # An upright bar has no horizontal "across": any will do.
    reference = np.array([0.0, 0.0, 1.0]) if abs(along[2]) < 0.99 else np.array([0.0, 1.0, 0.0])
    across = np.cross(reference, along)
    across /= np.linalg.norm(across)
    axes = np.column_stack([across, np.cross(along, across), along])
    return transform(box(width, height, length), axes, start)
