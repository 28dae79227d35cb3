"""The faces of a room as surfaces: which solid and piece each belongs to, its axes, its shading.

What a solid is follows from its shape and place, so builders of rooms need not say it.
"""

from functools import cached_property

import numpy as np

from data.rooms.building import Room
from data.rooms.meshes import face_normals
from data.rooms.shells import edge_frame

PLANE_TOLERANCE_M = 1e-4
"""Of faces on a plane of the room; chosen: coordinates are float64 sums of a few terms."""

LEVEL_COSINE = 0.8
"""Of faces that count as level; chosen: the axes of steeper ones follow the vertical."""

SMOOTH_COSINE = 0.8
"""Of the angle between two faces that are shaded as one curved surface; chosen: facets of a circle
meet at 7.5 degrees, those of dents at up to 30."""

MOST_FACES_AT_A_VERTEX = 12
"""That are looked at for shading; chosen: grids of facets have 6."""

FEWEST_FACES_CURVED = 100
"""Of a solid whose facets stand for a curved surface; chosen: bars and boxes have 12."""


class Surfaces:
    """What is to be known of each face, computed once for a room.

    Attributes:
        solid: (M,) number of the solid of each face.
        piece: (S,) number of the piece of each solid.
        normals: (M, 3) of unit length.
        along, up: (M, 3) axes in the face: to the right and upwards on what is upright, along its
            solid's first edge and to the left of that on what is level.
        origin: (M, 2) where a pattern starts along these axes: the middle of the solid.
        low, high: (S, 3) bounds of each solid, metres.
        extents: (S, 3) of each solid along its first edge, across, and upwards.
        face_counts: (S,).
    """

    def __init__(self, room: Room) -> None:
        mesh = self._mesh = room.mesh
        faces, vertices = mesh.faces, mesh.vertices
        # Solids share no vertex, and the vertices of each lie together.
        highest = np.maximum.accumulate(faces.max(1))
        lowest = np.minimum.accumulate(faces.min(1)[::-1])[::-1]
        begins = np.concatenate([[True], lowest[1:] > highest[:-1]])
        self.solid = np.cumsum(begins) - 1
        starts, first = np.nonzero(begins)[0], lowest[begins]
        self.face_counts = np.diff(starts, append=len(faces))
        ends = np.cumsum(room.pieces) if room.pieces else np.append(starts[1:], len(faces))
        self.piece = np.searchsorted(ends, starts, side="right")

        self.normals, self._areas = face_normals(vertices, faces)

        self.low = np.minimum.reduceat(vertices, first)
        self.high = np.maximum.reduceat(vertices, first)
        edge = (vertices[first + 1] - vertices[first]) * [1, 1, 0]
        length = np.linalg.norm(edge, axis=1, keepdims=True)
        edge = np.where(length > 1e-6, edge / np.maximum(length, 1e-6), [1.0, 0, 0])
        across = np.column_stack([-edge[:, 1], edge[:, 0], 0 * edge[:, 0]])
        of_vertex = np.repeat(np.arange(len(first)), np.diff(first, append=len(vertices)))
        frame = np.stack([(vertices * axis[of_vertex]).sum(1) for axis in (edge, across)], 1)
        frame = np.column_stack([frame, vertices[:, 2]])
        self.extents = np.maximum.reduceat(frame, first) - np.minimum.reduceat(frame, first)

        n = self.normals
        level = np.abs(n[:, 2]) > LEVEL_COSINE
        along = np.column_stack([-n[:, 1], n[:, 0], 0 * n[:, 0]])
        own = edge[self.solid]
        along = np.where(level[:, None], own - n * (own * n).sum(1, keepdims=True), along)
        self.along = along / np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-12)
        self.up = np.cross(n, self.along)
        middle = ((self.low + self.high) / 2)[self.solid]
        self.origin = np.stack([(middle * axis).sum(1) for axis in (self.along, self.up)], 1)
        self._first_edge, self._across = edge, across

    @cached_property
    def lengths(self) -> np.ndarray:
        """(M, 2) extents of each face's solid along its two axes, of boxes at least."""
        solid = self.solid
        frame = (self._first_edge[solid], self._across[solid], np.array([0, 0, 1.0]))
        return np.stack(
            [
                sum(
                    np.abs((axis * direction).sum(-1)) * self.extents[solid, number]
                    for number, direction in enumerate(frame)
                )
                for axis in (self.along, self.up)
            ],
            axis=1,
        )

    def on_plane(self, normal, offset: float) -> np.ndarray:
        """(M,) which faces lie in the plane normal . x = offset and face along the normal."""
        distance = np.abs(self._mesh.vertices @ np.asarray(normal, float) - offset)
        lies = (distance < PLANE_TOLERANCE_M)[self._mesh.faces].all(1)
        return lies & (self.normals @ np.asarray(normal, float) > 0.99)

    def on_wall(self, plan: np.ndarray, wall: int) -> np.ndarray:
        """(M,) which faces are the inner side of a wall."""
        corner, _, inward, _ = edge_frame(plan, wall)
        return self.on_plane([*inward, 0.0], float(inward @ corner))

    def bounds(self, faces: np.ndarray) -> np.ndarray:
        """(len(faces), 2, 2) lowest and highest (along, up) of faces."""
        corners = self._mesh.vertices[self._mesh.faces[faces]]
        axes = np.stack([self.along[faces], self.up[faces]], axis=1)
        places = np.einsum("fcx,fax->fca", corners, axes) - self.origin[faces, None]
        return np.stack([places.min(1), places.max(1)], axis=1)

    @cached_property
    def _corner_normals(self) -> np.ndarray:
        """(M, 3, 3): for each corner the mean of the normals of faces that go on smoothly there.

        Those of solids that are not curved are 0.
        """
        curved = self.face_counts[self.solid] >= FEWEST_FACES_CURVED
        flat = self._mesh.faces[curved].ravel()
        face = np.repeat(np.nonzero(curved)[0], 3)
        order = np.argsort(flat, kind="stable")
        vertex, face = flat[order], face[order]
        total = self.normals[face] * self._areas[face, None]
        for step in range(1, MOST_FACES_AT_A_VERTEX):
            one, other = face[:-step], face[step:]
            together = (self.normals[one] * self.normals[other]).sum(1) > SMOOTH_COSINE
            together &= vertex[:-step] == vertex[step:]
            one, other = one[together], other[together]
            where = np.nonzero(together)[0]
            total[where] += self.normals[other] * self._areas[other, None]
            total[where + step] += self.normals[one] * self._areas[one, None]
        length = np.linalg.norm(total, axis=1, keepdims=True)
        smooth = np.empty_like(total)
        smooth[order] = total / np.maximum(length, 1e-30)
        normals = np.zeros((len(curved), 3, 3))
        normals[curved] = smooth.reshape(-1, 3, 3)
        return normals

    def shading_normals(self, faces: np.ndarray, points: np.ndarray) -> np.ndarray:
        """(N, 3) normals at points of faces; facets of curved surfaces run into each other."""
        normals = self.normals[faces].astype(np.float32)
        curved = np.nonzero(self.face_counts[self.solid[faces]] >= FEWEST_FACES_CURVED)[0]
        if not len(curved):
            return normals
        on = faces[curved]
        a, b, c = self._mesh.vertices[self._mesh.faces[on]].swapaxes(0, 1)
        n, p = self.normals[on], points[curved]
        weights = np.stack(
            [
                (np.cross(end - start, p - start) * n).sum(1)
                for start, end in ((b, c), (c, a), (a, b))
            ],
            axis=1,
        )
        mixed = np.einsum("nc,ncx->nx", np.clip(weights, 0, None), self._corner_normals[on])
        length = np.linalg.norm(mixed, axis=1, keepdims=True)
        normals[curved] = np.where(length > 1e-20, mixed / np.maximum(length, 1e-20), n)
        return normals
