"""How high the camera is above the lowest level surface that it sees: the floor, or a table top."""

# JAX types many of its functions in part only, hence what is switched off.
# pyright: strict, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

import numpy as np
from jaxtyping import Float

from train3d_jax.placement.plane_directions import PlaneDirections, PlaneWindows

LEVEL = np.radians(8.0)
"""Largest angle between down and the normal of a level surface.  Chosen: twice what gravity is
mostly off by."""

SAME_LEVEL = 0.08
"""Windows whose height differs by less than this share are on one level.  Chosen."""

LEAST_WINDOWS = 0.02
"""Of the windows on planes, so many make a floor.  Chosen."""

MOST_BELOW = 0.03
"""Of the windows on planes, at most so many lie below the floor.  Chosen: more are a pit, or the
level surface is a table and the floor is seen beside it, but too little of it to be measured."""


def camera_height(
    windows: PlaneWindows, directions: PlaneDirections, down: Float[np.ndarray, "3"]
) -> float:
    """The height of the camera above the floor, in the unit of the depth; NaN without a floor.

    It is measured along the floor's own normal, which errors of gravity do not change.

    Args:
      windows: on planes.
      directions: of these windows.
      down: in camera axes, of unit length, shape (3,); NaN where it is unknown.
    """
    if not np.isfinite(down).all() or not len(directions.normal):
        return np.nan
    alike = directions.normal @ down
    if alike.max() < np.cos(LEVEL):
        return np.nan
    floor = alike.argmax()
    heights = windows.centre @ directions.normal[floor]
    level = np.sort(heights[(directions.of_window == floor) & (heights > 0)])
    if not len(level):
        return np.nan
    # The lowest height that has enough windows up to a little above it.
    upper = np.searchsorted(level, level / (1 + SAME_LEVEL))
    enough = np.flatnonzero(np.arange(len(level)) - upper + 1 >= LEAST_WINDOWS * len(heights))
    if not len(enough):
        return np.nan
    lowest = level[enough[-1]]
    alike_heights = np.abs(np.log(level / lowest)) <= np.log(1 + SAME_LEVEL)
    height = float(np.median(level[alike_heights]))
    below = (heights > height * (1 + SAME_LEVEL)).mean()
    return height if below <= MOST_BELOW else np.nan
