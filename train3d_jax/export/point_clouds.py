"""Point clouds as PLY."""

from pathlib import Path

import numpy as np

from train3d_jax.files import write_whole
from train3d_jax.geometry import poses

_NORMAL = ("nx", "ny", "nz")

_COLOUR = ("red", "green", "blue")


def write_ply(
    path: Path,
    points: np.ndarray,
    comments: tuple[str, ...] = (),
    colours: np.ndarray | None = None,
    normals: np.ndarray | None = None,
    pose: np.ndarray | None = None,
) -> None:
    """Writes a point cloud as binary little-endian PLY with float32 x, y, z.

    By hand: trimesh takes three times as long (28 ms for 307,200 points, 9 ms here), writes no
    comments, and adds an alpha to every colour.

    Args:
      path: file to write.
      points: shape (N, 3).
      comments: lines for the header; axes and units belong there.
      colours: red, green and blue, uint8, shape (N, 3); None for a cloud without.
      normals: of unit length, shape (N, 3), as nx, ny, nz; None for a cloud without.
      pose: from the axes of `points` to those of the file, see `poses.rigid_pose`; None where they
        are the same.

    Raises:
      ArgumentError: the pose is not rigid.
      UserError: the file cannot be written.
    """
    if pose is not None:
        pose = poses.rigid_pose(pose)
        points = poses.moved(points, pose)
        normals = None if normals is None else poses.turned(normals, pose)
    columns = [np.ascontiguousarray(points, "<f4").view(np.uint8).reshape(-1, 12)]
    lines = ["ply", "format binary_little_endian 1.0", *(f"comment {line}" for line in comments)]
    lines += [f"element vertex {len(points)}", *(f"property float {axis}" for axis in "xyz")]
    if normals is not None:
        lines += [f"property float {name}" for name in _NORMAL]
        columns.append(np.ascontiguousarray(normals, "<f4").view(np.uint8).reshape(-1, 12))
    if colours is not None:
        lines += [f"property uchar {name}" for name in _COLOUR]
        columns.append(colours)
    head = "\n".join([*lines, "end_header", ""]).encode("ascii", "backslashreplace")
    rows = columns[0] if len(columns) == 1 else np.concatenate(columns, 1)
    write_whole(path, head, rows.data if rows.size else b"")
