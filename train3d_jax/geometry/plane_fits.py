"""The directions that the surfaces of a whole map face, by planes fitted about each pixel.

On a plane the inverse depth is affine in the viewing ray: with normal n and distance d,
`1 / z = (n_x x + n_y y + n_z) / d`, x and y being the ray's slopes.  So an affine fit of the
inverse depth over a small window gives the normal of its plane with no error but that of depth.
"""

import numpy as np
from jaxtyping import Float64, Real

LEAST_SHARE = 0.3
"""Of the pixels of a window that must hold a depth.  Chosen: a corner of the map has a third."""

FLAT = 0.02
"""Standard deviation of the residual over the mean inverse depth, up to which a window is a plane.
Chosen: depth cameras have up to 1 % of noise; an edge of objects leaves 5 % and more."""


def plane_normals(
    depth: Real[np.ndarray, "h w"], intrinsics: Real[np.ndarray, "3 3"], window: int = 5
) -> Float64[np.ndarray, "h w 3"]:
    """Normals of the planes through the pixels about each pixel, towards the camera.

    Args:
      depth: z in any unit, shape (H, W), 0 where missing.
      intrinsics: (3, 3) in pixels.
      window: edge of a window, pixels.

    Returns:
      Of unit length in camera axes, shape (H, W, 3); NaN where depth is missing, too few pixels
      about it have one, or they are no plane (see `FLAT`).
    """
    from scipy import ndimage  # a third of a second, and few runs draw

    height, width = depth.shape
    (fx, _, cx), (_, fy, cy), _ = intrinsics.tolist()
    present = depth > 0
    inverse = np.where(present, 1 / np.where(present, depth, 1), 0.0)

    def mean(values: np.ndarray) -> np.ndarray:
        return ndimage.uniform_filter(values.astype(np.float64), window, mode="constant")

    share = mean(present)
    enough = present & (share > LEAST_SHARE - 1e-9)
    weight = 1 / np.where(enough, share, 1)
    x = np.where(present, (np.arange(width) - cx) / fx, 0.0)
    y = np.where(present, (np.arange(height)[:, None] - cy) / fy, 0.0)
    mean_x, mean_y, mean_w = (weight * mean(part) for part in (x, y, inverse))

    def covariance(one: np.ndarray, other: np.ndarray, means: np.ndarray) -> np.ndarray:
        return weight * mean(one * other) - means

    xx, xy, yy = (
        covariance(x, x, mean_x**2), covariance(x, y, mean_x * mean_y), covariance(y, y, mean_y**2),
    )  # fmt: skip
    xw, yw = covariance(x, inverse, mean_x * mean_w), covariance(y, inverse, mean_y * mean_w)
    ww = covariance(inverse, inverse, mean_w**2)
    determinant = xx * yy - xy**2
    enough &= determinant > 1e-3 / (fx * fy) ** 2  # pixels in one row determine no plane
    determinant = np.where(enough, determinant, 1)
    of_x, of_y = (yy * xw - xy * yw) / determinant, (xx * yw - xy * xw) / determinant
    residual = np.sqrt(np.maximum(ww - of_x * xw - of_y * yw, 0))
    enough &= residual <= FLAT * mean_w
    away = np.stack([of_x, of_y, mean_w - of_x * mean_x - of_y * mean_y], -1)
    length = np.linalg.norm(away, axis=-1)
    enough &= length > 0
    return np.where(enough[..., None], -away / np.where(enough, length, 1)[..., None], np.nan)
