"""Meshes as Wavefront OBJ, with a material (MTL) and a texture."""

from pathlib import Path

import numpy as np

from train3d_jax.export.meshes import Mesh
from train3d_jax.files import write_whole
from train3d_jax.geometry import poses
from train3d_jax.geometry.camera import AXES

OBJ_FILES = ("mesh.obj", "mesh.mtl", "mesh.jpg")
"""What `write_obj` may write.  Names are fixed, because readers split those of others at spaces."""

_MATERIAL = "newmtl picture\nKa 0 0 0\nKd {0} {0} {0}\nKs 0 0 0\nillum 1\n"


def write_obj(
    folder: Path,
    mesh: Mesh,
    unit: str,
    picture: bytes | None = None,
    pose: np.ndarray | None = None,
    axes: str = AXES,
) -> None:
    """Writes a mesh as `OBJ_FILES`: the mesh last, so that where it is, all is.

    By hand: trimesh writes a fixed number of decimals, whatever the unit, and takes longer.

    Args:
      folder: where to.
      mesh: in camera axes; one without triangles leaves a file without.
      unit: of the mesh, for the head.
      picture: a JPEG for its texture; None for a grey mesh.
      pose: from camera axes to the world, see `poses.rigid_pose`; None for camera axes.
      axes: what to call those of the world.

    Raises:
      ArgumentError: the pose is not rigid.
      UserError: a file cannot be written.
    """
    pose = poses.rigid_pose(pose)
    name, material, texture = OBJ_FILES
    if picture is not None:
        write_whole(folder / texture, picture)
    grey = _MATERIAL.format(1 if picture else 0.7)
    write_whole(folder / material, (grey + f"map_Kd {texture}\n" * (picture is not None)).encode())
    # OBJ counts the rows of a picture from below, and vertices from 1.
    places = mesh.texture * np.array([1, -1]) + np.array([0, 1])
    corner = "%d/%d/%d" if picture else "%d//%d"
    corners = np.repeat(mesh.triangles + 1, corner.count("d"), axis=1)
    write_whole(
        folder / name,
        f"# axes: {axes}; unit: {unit}\nmtllib {material}\nusemtl picture\n".encode(),
        _rows("v %.7g %.7g %.7g\n", poses.moved(mesh.vertices, pose)),
        _rows("vt %.6g %.6g\n", places) if picture else b"",
        _rows("vn %.4f %.4f %.4f\n", poses.turned(mesh.normals, pose)),
        _rows(f"f {corner} {corner} {corner}\n", corners),
    )


def _rows(line: str, values: np.ndarray) -> bytes:
    return (line * len(values) % tuple(values.ravel().tolist())).encode()
