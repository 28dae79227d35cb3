"""An upright world for a recovered map: gravity, the floor, and the pose of the camera in it."""

# JAX types many of its functions in part only, hence what is switched off.
# pyright: strict, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float64, Real

from train3d_jax.placement import floor, plane_directions
from train3d_jax.placement.gravity import Gravity, gravity

Up = Literal["z", "y"]
"""The axis of a world that points up: z (robotics, Blender), or y (glTF, game engines)."""

AXES: dict[Up, str] = {"z": "x right, y forward, z up", "y": "x right, y up, z back"}
"""Of upright worlds, seen from the camera."""

_Z_UP_TO_Y_UP = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])

LEAST_AHEAD = 0.1
"""Of the optical axis along the ground; below, the camera looks straight down, and the top of the
picture is ahead.  Chosen."""


class Upright(NamedTuple):
    """How the camera of one map is held above the ground.

    Attributes:
      gravity: the direction down.
      camera_height: of the camera above the floor, in the unit of the depth: the lowest level
        surface that is seen, which may be a table top; NaN where no floor is seen.
    """

    gravity: Gravity
    camera_height: float

    def pose(self, up: Up = "z") -> Float64[np.ndarray, "4 4"] | None:
        """From camera axes (x right, y down, z forward) to an upright world; None if unknown.

        The world's origin is on the floor below the camera, or in the camera where no floor is
        seen.  With z up x points right and y forward, with y up x right and z back.
        """
        if not self.gravity.is_known:
            return None
        height = self.camera_height if np.isfinite(self.camera_height) else 0.0
        return upright_pose(self.gravity.down, height, up)


def upright(
    depth: Real[np.ndarray, "h w"],
    intrinsics: Real[np.ndarray, "3 3"],
    focal_sigma: float = 0.0,
    by_lines: tuple[Real[np.ndarray, "3"], float] | None = None,
) -> Upright:
    """Gravity and the floor of a recovered depth map.

    Args:
      depth: z, any unit, shape (H, W); 0 where missing.
      intrinsics: (3, 3) in pixels.
      focal_sigma: standard deviation of the logarithm of its focal length.
      by_lines: see `gravity.gravity`.
    """
    windows = plane_directions.plane_windows(depth, intrinsics)
    directions = plane_directions.plane_directions(windows)
    found = gravity(directions, focal_sigma, by_lines)
    return Upright(found, floor.camera_height(windows, directions, found.down))


def upright_pose(
    down: Real[np.ndarray, "3"], height: float, up: Up = "z"
) -> Float64[np.ndarray, "4 4"]:
    """The pose of a camera in an upright world: see `Upright.pose`.

    Args:
      down: in camera axes, of unit length, shape (3,).
      height: of the camera above the origin.
      up: the world's axis that points up.

    Returns:
      A rotation and a translation, shape (4, 4).

    >>> upright_pose(np.array([0.0, 1.0, 0.0]), 1.5)[:3]
    array([[ 1. ,  0. ,  0. ,  0. ],
           [ 0. ,  0. ,  1. ,  0. ],
           [ 0. , -1. ,  0. ,  1.5]])
    """
    down = np.asarray(down, np.float64)
    ahead = np.array([0.0, 0, 1]) - down[2] * down
    if np.linalg.norm(ahead) < LEAST_AHEAD:
        ahead = np.array([0.0, -1, 0]) + down[1] * down
    ahead /= np.linalg.norm(ahead)
    right = np.cross(down, ahead)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, ahead, -down]) + 0.0  # no -0
    pose[2, 3] = height
    if up == "y":
        pose[:3] = _Z_UP_TO_Y_UP @ pose[:3]
    return pose
