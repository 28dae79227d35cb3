"""The surface of a depth map as triangles, with the picture of the map as its texture.

Pixels are vertices, shared by the triangles of the pixel grid about them.  No triangle spans an
edge of depth.  Here: building and simplifying meshes.  Not here: the formats of files.
"""

import threading
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int32, Real

from train3d_jax.errors import UserError
from train3d_jax.geometry import camera
from train3d_jax.geometry.depth_maps import point_cloud

_ONE_AT_A_TIME = threading.Lock()
"""fast_simplification keeps the mesh that it works on in globals."""

_PROGRESS = 0.95
"""A pass that leaves a larger share of the triangles is the last of its kind; chosen."""


class Mesh(NamedTuple):
    """A mesh in camera axes (x right, y down, z forward), seen from its front by the camera.

    Attributes:
      vertices: in the unit of the depth, shape (N, 3).
      triangles: rows of `vertices`, counter-clockwise as the camera sees them, shape (M, 3).
      normals: of unit length, towards the camera, shape (N, 3).
      texture: places in the picture, from (0, 0) in its upper left corner to (1, 1) in its lower
        right corner, shape (N, 2).
    """

    vertices: Float32[np.ndarray, "n 3"]
    triangles: Int32[np.ndarray, "m 3"]
    normals: Float32[np.ndarray, "n 3"]
    texture: Float32[np.ndarray, "n 2"]


def depth_mesh(
    depth: Real[np.ndarray, "h w"],
    intrinsics: Real[np.ndarray, "3 3"],
    normals: Real[np.ndarray, "h w 3"],
    edge: float,
) -> Mesh:
    """The mesh of a depth map.  A pixel without a triangle is no vertex.

    Args:
      depth: z, shape (H, W), 0 where missing.
      intrinsics: (3, 3) in pixels.
      normals: of its pixels, shape (H, W, 3): `normals.depth_normals`.
      edge: a triangle whose largest depth is more than (1 + edge) times its smallest is left out.
    """
    height, width = depth.shape
    grid = _triangles(depth, edge)
    chosen = np.zeros(depth.size, bool)
    chosen[grid] = True
    used = np.flatnonzero(chosen)
    v, u = np.divmod(used, width)
    rows = np.cumsum(chosen, dtype=np.int32) - 1
    return Mesh(
        point_cloud(np.where(chosen.reshape(depth.shape), depth, 0), intrinsics),
        rows[grid].astype(np.int32),
        normals.reshape(-1, 3)[used].astype(np.float32),
        _texture(np.stack([u, v], -1), (height, width)),
    )


def _triangles(depth: np.ndarray, edge: float) -> np.ndarray:
    """Numbers of pixels, shape (M, 3).

    Four pixels are split along the diagonal with the smaller step of depth; where one is missing,
    along the one that leaves a triangle.
    """
    number = np.arange(depth.size).reshape(depth.shape)
    # Upper left, lower left, lower right, upper right: counter-clockwise.
    corners = [number[:-1, :-1], number[1:, :-1], number[1:, 1:], number[:-1, 1:]]
    a, b, c, d = (corner.ravel() for corner in corners)
    flat = depth.ravel()
    along_ac = _ratio(flat[a], flat[c]) <= _ratio(flat[b], flat[d])
    quads = np.where(along_ac[:, None], np.stack([a, b, c, a, c, d], -1),
                     np.stack([a, b, d, d, b, c], -1))  # fmt: skip
    triangles = quads.reshape(-1, 3)
    z = flat[triangles]
    near, far = z.min(1), z.max(1)
    return triangles[(near > 0) & (far <= (1 + edge) * near)]


def _ratio(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The larger over the smaller depth; infinite where one is missing."""
    near = np.minimum(one, other)
    return np.divide(np.maximum(one, other), near, out=np.full(one.shape, np.inf), where=near > 0)


def _texture(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Places in the picture of pixels (u, v) whose centres are at integers."""
    places = (pixels + 0.5) / np.array([size[1], size[0]])
    return np.clip(places, 0, 1).astype(np.float32)


def simplified(
    mesh: Mesh, count: int, intrinsics: Real[np.ndarray, "3 3"], size: tuple[int, int]
) -> Mesh:
    """The mesh with fewer triangles, by quadric error metrics (Garland and Heckbert, 1997).

    Vertices move, so their places in the picture follow anew from the camera.  They keep the normal
    of the vertex of `mesh` that is nearest.

    Args:
      mesh: of one map.
      count: triangles to aim at, over 0; with as many or fewer the mesh stays as it is.
      intrinsics: of the map, (3, 3) in pixels.
      size: height and width of the map in pixels.

    Raises:
      UserError: fast-simplification is not installed.
    """
    if len(mesh.triangles) <= count:
        return mesh
    from scipy.spatial import KDTree

    # The library compares errors with constants of its own.
    unit = float(np.median(mesh.vertices[:, 2]))
    vertices, triangles = _decimated(mesh.vertices / unit, mesh.triangles, count)
    _, nearest = KDTree(mesh.vertices / unit).query(vertices)
    # A vertex beside or behind the camera has no place in the picture.
    lost = ~np.isfinite(vertices).all(1) | (vertices[:, 2] <= 0)
    vertices = np.where(lost[:, None], mesh.vertices[nearest] / unit, vertices)
    pixels, _ = camera.project(vertices, intrinsics)
    return Mesh(
        (vertices * unit).astype(np.float32),
        triangles.astype(np.int32),
        mesh.normals[nearest],
        _texture(np.asarray(pixels), size),
    )


def _decimated(
    vertices: np.ndarray, triangles: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Fewer triangles; borders lose theirs only where the rest is not enough."""
    try:
        from fast_simplification import simplify
    except ImportError:
        raise UserError(
            "simplifying meshes needs fast-simplification: pip install 'train3d-jax[mesh]'"
        ) from None
    with _ONE_AT_A_TIME:
        for border in (True, False):
            before = np.inf
            # One pass ends early on planes, whose triangles are all equally good to remove.
            while count < len(triangles) < _PROGRESS * before:
                before = len(triangles)
                vertices, triangles = simplify(
                    vertices, triangles, target_count=count, preserve_border=border
                )[:2]
    return vertices, triangles
