"""Whether a depth map and its camera are fit to train on, by the same rules for all datasets."""

import numpy as np

from train3d_jax.geometry.camera import focal_to_degrees

DEFAULT_MIN_VALID = 0.3
"""Least share of the pixels with a depth; chosen, the default of --min_valid."""

FIELDS_OF_VIEW_DEG = (1.0, 170.0)
"""Of width and height.  The widest rectilinear lenses have about 130 degrees; a focal length in
other units than pixels gives more than 170 (1 px at 640: 179.8) or less than 1."""

PRINCIPAL_POINTS = (1 / 3, 2 / 3)
"""Along width and height.  Depth cameras and stereo rigs have 0.42 to 0.58; the matrix of a colour
camera with 1.5 times as many pixels or more across gives 0.75 or more."""

FOCAL_RATIO = 2.0
"""Largest ratio of the two focal lengths.  Cameras have 1.0, images that were resized to another
aspect up to 1.4."""

MEDIAN_DEPTHS_M = (0.03, 600.0)
"""Depth cameras measure from about 0.1 m; 3D Ken Burns, from the air too, has no depth beyond 600.
A unit that is wrong by a factor of a thousand puts rooms outside."""

_MEDIAN_STRIDE = 16
"""Stride of the valid pixels in the median; chosen, as it is compared with orders of magnitude."""


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
    valid = depth[depth > 0]
    nearest = valid.min()
    if nearest == depth.max():
        return f"all valid pixels are {nearest:g} m away: constant"
    median = float(np.median(valid[::_MEDIAN_STRIDE]))
    least, most = MEDIAN_DEPTHS_M
    if not least <= median <= most:
        return f"its median depth is {median:g} m, not {least:g} to {most:g}: in another unit"
    return None


def unfit_camera(intrinsics: np.ndarray, height: int, width: int) -> str | None:
    """Why a camera cannot be that of an image, on one line; None when it can.

    Args:
      intrinsics: (3, 3), pixels, finite, with positive focal lengths.
      height: of the image, in pixels.
      width: of the image, in pixels.

    >>> unfit_camera(np.array([[1170.0, 0, 648], [0, 1170, 484], [0, 0, 1]]), 480, 640)
    'its camera does not fit 640x480 pixels: the principal point is (648, 484)'
    """
    focal = intrinsics[[0, 1], [0, 1]]
    size = np.array([width, height])
    fields_of_view = focal_to_degrees(focal, size)
    least, most = FIELDS_OF_VIEW_DEG
    across = (intrinsics[:2, 2] + 0.5) / size
    if not ((fields_of_view >= least) & (fields_of_view <= most)).all():
        wrong = "the field of view is {:.3g} by {:.3g} degrees".format(*fields_of_view)
    elif not ((across >= PRINCIPAL_POINTS[0]) & (across <= PRINCIPAL_POINTS[1])).all():
        wrong = "the principal point is ({:g}, {:g})".format(*intrinsics[:2, 2])
    elif not 1 / FOCAL_RATIO <= focal[0] / focal[1] <= FOCAL_RATIO:
        wrong = "the focal lengths are {:g} and {:g} pixels".format(*focal)
    else:
        return None
    return f"its camera does not fit {width}x{height} pixels: {wrong}"
