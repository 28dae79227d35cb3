"""Ray casting against a triangle mesh, with open3d, or with embreex where open3d cannot be loaded.

open3d's wheels need libX11 and libGL, which machines without a desktop lack.  embreex carries the
same ray caster (Intel Embree) and needs neither, so a bare machine renders the same rooms.  Both
are imported only when a caster is made: importing this module costs nothing.
"""

import contextlib
import ctypes
import importlib
import importlib.util
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from data.rooms.meshes import face_normals
from train3d_jax.errors import UserError


class Hits(NamedTuple):
    """Where rays first meet the mesh.

    distance: in lengths of the ray's direction, (N,) float32; infinite where nothing is met.
    normals: of unit length, by the winding of the triangle, (N, 3); 0 where nothing is met.
    faces: number of the triangle, (N,); any where nothing is met.
    """

    distance: np.ndarray
    normals: np.ndarray
    faces: np.ndarray


Caster = Callable[[np.ndarray, np.ndarray], Hits]
"""From origins, (3,) or (N, 3), and directions (N, 3), of any length, to hits."""


def make_caster(vertices: np.ndarray, faces: np.ndarray, threads: int = 0) -> Caster:
    """Builds a scene out of one mesh.

    Args:
      vertices: (V, 3).
      faces: indices of vertices, (F, 3).
      threads: that cast rays; 0 takes every core.  embreex always takes one.

    Raises:
      UserError: neither library can be loaded; the message says what is missing.
    """
    vertices, faces = vertices.astype(np.float32), faces.astype(np.uint32)
    try:
        open3d = import_open3d()
    except UserError:
        if importlib.util.find_spec("embreex") is None:
            raise
        return embreex_caster(vertices, faces)
    return open3d_caster(open3d, vertices, faces, threads)


def open3d_caster(open3d: Any, vertices: np.ndarray, faces: np.ndarray, threads: int) -> Caster:
    """A caster of `open3d.t.geometry.RaycastingScene`."""
    tensor = open3d.core.Tensor
    scene = open3d.t.geometry.RaycastingScene(nthreads=threads)
    scene.add_triangles(tensor(vertices), tensor(faces))

    def cast(origin: np.ndarray, directions: np.ndarray) -> Hits:
        rays = np.empty((len(directions), 6), np.float32)
        rays[:, :3] = origin
        rays[:, 3:] = directions
        hits = scene.cast_rays(tensor(rays), nthreads=threads)
        return Hits(
            hits["t_hit"].numpy(),
            hits["primitive_normals"].numpy(),
            hits["primitive_ids"].numpy(),
        )

    return cast


def embreex_caster(vertices: np.ndarray, faces: np.ndarray) -> Caster:
    """A caster of `embreex.rtcore_scene.EmbreeScene`."""
    rtcore_scene = importlib.import_module("embreex.rtcore_scene")
    mesh_construction = importlib.import_module("embreex.mesh_construction")
    scene = rtcore_scene.EmbreeScene()
    mesh = mesh_construction.TriangleMesh(scene, vertices, faces.astype(np.int32))
    normals_of_faces, _ = face_normals(vertices, faces)

    def cast(origin: np.ndarray, directions: np.ndarray) -> Hits:
        origins = np.broadcast_to(origin, directions.shape).astype(np.float32)
        hits = scene.run(origins, directions.astype(np.float32), output=True)
        met = hits["primID"] >= 0
        normals = np.where(met[:, None], normals_of_faces[hits["primID"]], 0)
        distance = np.where(met, hits["tfar"], np.inf).astype(np.float32)
        return Hits(distance, normals, hits["primID"])

    cast.mesh = mesh  # pyright: ignore[reportFunctionMemberAccess]  # the scene does not keep it
    return cast


def import_open3d() -> Any:
    """Imports open3d, now, and returns the module.

    Raises:
        UserError: a shared library that open3d needs is not on this machine, or open3d is not
            installed.
    """
    # open3d 0.20 looks for libusb, which bare machines lack; this package carries one.  Where the
    # package is not installed, open3d either does not need it or says below what it lacks.
    with contextlib.suppress(ImportError, OSError):
        libusb = importlib.import_module("libusb_package").get_library_path()
        ctypes.CDLL(str(libusb), mode=ctypes.RTLD_GLOBAL)
    try:
        return importlib.import_module("open3d")
    # open3d preloads its own extension by ctypes, which raises OSError.
    except (ImportError, OSError) as error:
        library = re.search(r"\S+\.so[.\d]*", str(error))
        if library:
            raise UserError(
                f"rendering rooms needs the shared library {library[0]}, which is not on this "
                "machine; on Debian or Ubuntu: apt-get install libgl1 libx11-6 libgomp1"
            ) from error
        raise UserError(
            f"rendering rooms needs open3d, which cannot be imported ({error}): "
            "pip install 'train3d-jax[prepare]'"
        ) from error
