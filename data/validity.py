"""Whether a depth map is worth training on; pure functions of the map."""

import numpy as np

DEFAULT_MIN_VALID = 0.3
"""Share of the pixels that must have a depth, unless the user says otherwise."""


def limit_depth(depth: np.ndarray, max_depth_m: float | None) -> np.ndarray:
    """The map with everything beyond `max_depth_m` missing (0); (H, W) metres, None: no limit.

    >>> limit_depth(np.array([[1.0, 30.0]]), 10.0).tolist()
    [[1.0, 0.0]]
    """
    if max_depth_m is None:
        return depth
    return np.where(depth <= max_depth_m, depth, depth.dtype.type(0))


def valid_share(depth: np.ndarray) -> float:
    """The share of the pixels of an (H, W) map that have a depth, in [0, 1]."""
    return np.count_nonzero(depth) / depth.size


def unsuitable(depth: np.ndarray, min_valid: float) -> str | None:
    """Why an (H, W) map is not to be taken, on one line; None when it is fine.

    >>> unsuitable(np.full((2, 2), 3.0), 0.3)
    'all valid pixels are 3 m away: constant'
    """
    share = valid_share(depth)
    if share < min_valid or not share:
        return f"{share:.1%} of the pixels are valid, less than --min_valid={min_valid:g}"
    nearest = depth[depth > 0].min()
    if nearest == depth.max():
        return f"all valid pixels are {nearest:g} m away: constant"
    return None
