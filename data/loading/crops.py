"""Random crops and mirror images of depth maps, with the camera that belongs to the window."""

import numpy as np

UNCROPPED_SHARE = 0.2
SMALLEST_CROP = 0.4
NARROWED_SHARE = 0.5
NARROWEST = 0.35
"""Crops in training, as shares; chosen, so that crops of one camera cover the fields of view of
others, and strips of up to 4:1.  A fifth of the maps stay whole.  The others keep a log-uniform 40
to 100 % of each side, and half of those a log-uniform 35 to 100 % of one side of that."""


def random_crop(
    depth: np.ndarray,
    intrinsics: np.ndarray,
    rng: np.random.Generator,
    crop: bool = True,
    mirror: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Cuts a random window out of a map, adapts the intrinsics, and mirrors half of the maps.

    The principal point keeps its relative place in the window.

    Args:
      depth: shape (H, W).
      intrinsics: pixels, shape (3, 3).
      rng: decides window and mirror; the draws do not depend on `crop` and `mirror`.
      crop: cut a window out.
      mirror: mirror half of the maps.

    Returns:
      The window of the depth and its intrinsics.
    """
    height, width = depth.shape
    across = down = 1.0
    if rng.random() >= UNCROPPED_SHARE:
        across = down = float(np.exp(rng.uniform(np.log(SMALLEST_CROP), 0)))
        if rng.random() < NARROWED_SHARE:
            narrower = float(np.exp(rng.uniform(np.log(NARROWEST), 0)))
            across, down = (
                (across * narrower, down) if rng.random() < 0.5 else (across, down * narrower)
            )
    is_mirrored = rng.random() < 0.5
    if crop:
        rows, columns = (max(round(n * share), 1) for n, share in ((height, down), (width, across)))
        # + 0.5: from pixel centres at integers to distances from the border.
        top = round((intrinsics[1, 2] + 0.5) * (1 - rows / height))
        left = round((intrinsics[0, 2] + 0.5) * (1 - columns / width))
        top = min(max(top, 0), height - rows)
        left = min(max(left, 0), width - columns)
        depth = depth[top : top + rows, left : left + columns]
        intrinsics = intrinsics - np.array([[0, 0, left], [0, 0, top], [0, 0, 0]])
    return mirrored(depth, intrinsics) if mirror and is_mirrored else (depth, intrinsics)


def mirrored(depth: np.ndarray, intrinsics: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mirrors a map left to right, and its principal point with it: planes stay planes."""
    intrinsics = intrinsics.copy()
    intrinsics[0, 2] = depth.shape[1] - 1 - intrinsics[0, 2]
    return depth[:, ::-1], intrinsics
