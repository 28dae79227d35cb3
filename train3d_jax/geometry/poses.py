"""Where a camera stands in the world of a file: rigid poses, and points and directions under them.

A pose is a 4 x 4 matrix from the camera's axes (x right, y down, z forward) to those of the world:
a rotation and a translation.  Scale belongs to the depth, so that the depth maps, cameras and
points of one map agree whatever the pose is.
"""

import numpy as np
from jaxtyping import Float32, Float64, Real

from train3d_jax.errors import Argument, ArgumentError

OPENGL_FROM_OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])
"""From x right, y down, z forward to x right, y up, z backward: half a turn about x; its own
inverse.  glTF and nerfstudio have cameras that look along -z with y up."""

_ROUNDING = 1e-5
"""Of the entries of a rotation: a matrix in float32 passes."""


def rigid_pose(pose: np.ndarray | None) -> Float64[np.ndarray, "4 4"]:
    """A pose as float64; the identity for None.

    Args:
      pose: from camera axes to those of the world, (4, 4): a rotation and a translation.

    Raises:
      ArgumentError: it is no such matrix, as one with a scale or a mirror.
    """
    if pose is None:
        return np.eye(4)
    matrix = np.asarray(pose, np.float64)
    if matrix.shape == (4, 4) and np.isfinite(matrix).all():
        turn = matrix[:3, :3]
        is_turn = np.allclose(turn @ turn.T, np.eye(3), 0, _ROUNDING) and np.linalg.det(turn) > 0
        if is_turn and np.array_equal(matrix[3], [0, 0, 0, 1]):
            return matrix
    raise ArgumentError(
        Argument("pose"), ": is not a rotation and a translation in 4 x 4; a scale belongs to depth"
    )


def moved(
    points: Real[np.ndarray, "n 3"], pose: Float64[np.ndarray, "4 4"]
) -> Float32[np.ndarray, "n 3"]:
    """Points in camera axes as the world has them, computed in float64, shape (N, 3)."""
    return (points @ pose[:3, :3].T + pose[:3, 3]).astype(np.float32)


def turned(
    directions: Real[np.ndarray, "n 3"], pose: Float64[np.ndarray, "4 4"]
) -> Float32[np.ndarray, "n 3"]:
    """Directions in camera axes, as normals, as the world has them, shape (N, 3)."""
    return (directions @ pose[:3, :3].T).astype(np.float32)
