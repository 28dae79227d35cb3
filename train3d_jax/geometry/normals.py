"""Surfaces of whole depth maps on the host: the normals of their pixels, and where they end.

numpy only, as in `depth_maps`.
"""

import math

import numpy as np
from jaxtyping import Float32, Real

GRAZING_DEGREES = 87.5
"""Between the viewing ray and a normal: a step of depth that only a surface seen more obliquely
would explain is the edge between two surfaces.  Chosen, because a floor 1.5 m below the camera
stays whole up to 34 m, and 0.1 m between two surfaces at 2 m is cut at 525 pixels of focal length
(by 4.4 % of the depth).  Unlike a share of the depth it means the same in maps of any size."""

_REACH = 2
"""Pixels to each side that a plane is fitted to, so 5 x 5; chosen."""


def grazing_edge(focal: float) -> float:
    """The step between two neighbours, relative to the nearer depth, at `GRAZING_DEGREES`.

    A surface whose normal is at an angle t to the ray has z'/z = tan(t) / focal a pixel.

    Args:
      focal: focal length in pixels.
    """
    return math.tan(math.radians(GRAZING_DEGREES)) / focal


def depth_normals(
    depth: Real[np.ndarray, "h w"], intrinsics: Real[np.ndarray, "3 3"], edge: float
) -> Float32[np.ndarray, "h w 3"]:
    """The normal of the surface at each pixel, towards the camera.

    On a plane the inverse depth is affine in pixels, so its least-squares fit in a window of 5 x 5
    pixels gives the normal without error there.  Pixels across an edge do not count.

    Args:
      depth: z, shape (H, W), 0 where missing.
      intrinsics: (3, 3) in pixels.
      edge: the least step of depth a pixel, relative to the nearer depth, that is an edge.

    Returns:
      float32, of unit length, shape (H, W, 3); against the viewing ray where too few neighbours
      are on the surface; 0 where depth is missing.
    """
    present = depth > 0
    inverse = np.zeros(depth.shape)
    if present.any():  # of order 1, whatever the unit
        np.divide(np.median(depth[present]), depth, out=inverse, where=present)
    slope_u, slope_v, level = _plane_fits(inverse, edge)
    (fx, _, cx), (_, fy, cy), _ = intrinsics.tolist()
    height, width = depth.shape
    u, v = np.arange(width) - cx, (np.arange(height) - cy)[:, None]
    # 1/z = n . ray / d: its slopes by x = (u - cx) / fx and y, and its value on the axis.
    normals = np.stack([slope_u * fx, slope_v * fy, level - slope_u * u - slope_v * v], -1)
    along = level > 0
    rays = np.stack(np.broadcast_arrays(u / fx, v / fy, 1.0), -1)
    normals = -np.where(along[..., None], normals, rays)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    return np.where(present[..., None], normals, 0).astype(np.float32)


def _plane_fits(inverse: np.ndarray, edge: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Slopes by u and v of the inverse depth, and its fitted value; 0 where nothing is fitted."""
    height, width = inverse.shape
    padded = np.pad(inverse, _REACH)
    # Sums over the window of 1, u, v, w, uu, uv, vv, uw, vw, with u and v from its centre.
    sums = np.zeros((9, height, width))
    for v in range(-_REACH, _REACH + 1):
        for u in range(-_REACH, _REACH + 1):
            w = padded[_REACH + v :, _REACH + u :][:height, :width]
            most = 1 + edge * max(abs(u), abs(v))
            counts = (w > 0) & (w <= most * inverse) & (inverse <= most * w)
            w = np.where(counts, w, 0)
            terms = (counts, u * counts, v * counts, w, u * u * counts, u * v * counts)
            for total, term in zip(sums, (*terms, v * v * counts, u * w, v * w), strict=True):
                total += term
    n, u, v, w, uu, uv, vv, uw, vw = sums
    # Covariances times n^2: of pixels they are whole numbers, and their determinant is 0 exactly
    # where the pixels lie on a line.
    uu, uv, vv, uw, vw = (n * x - y for x, y in zip(
        (uu, uv, vv, uw, vw), (u * u, u * v, v * v, u * w, v * w), strict=True))  # fmt: skip
    determinant = uu * vv - uv * uv
    fitted = determinant > 0
    safe, count = np.where(fitted, determinant, 1), np.maximum(n, 1)
    slope_u = np.where(fitted, (vv * uw - uv * vw) / safe, 0)
    slope_v = np.where(fitted, (uu * vw - uv * uw) / safe, 0)
    level = np.where(fitted, (w - slope_u * u - slope_v * v) / count, 0)
    return slope_u, slope_v, level
