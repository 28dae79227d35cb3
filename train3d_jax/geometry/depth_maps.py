"""Whole depth maps on the host: depth from an estimate, edges of depth, and the point cloud.

numpy, and JAX in `depth_of`; for maps of any size; every pixel is visited once.
"""

# JAX types many of its functions in part only, hence what is switched off.
# pyright: strict, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportMissingTypeStubs=false

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Real

from train3d_jax.geometry.affine import Space
from train3d_jax.geometry.camera import Array, array_namespace

FARTHEST = 1e30
"""Depth beyond this, in any unit, counts as missing: its x and y would not fit float32 either."""


def recovered_depth(
    values: Real[np.ndarray, "h w"], a: float, b: float, space: Space
) -> Float64[np.ndarray, "h w"]:
    """Depth z of a map under an estimate.

    a * input + b is z in depth space, 1 / z in disparity space, log(z) in log space.

    Args:
      values: the input map, shape (H, W).
      a: of the estimate.
      b: of the estimate.
      space: of the input.

    Returns:
      float64, shape (H, W); 0 where the input is missing (0 or not finite), or its depth is not
      positive or over `FARTHEST`.
    """
    present = np.isfinite(values) & (values != 0)
    affine = a * np.where(present, values, 0).astype(np.float64) + b
    return np.asarray(depth_of(affine, present, space))


def depth_of(
    affine: Float[Array, "*b h w"], present: Bool[Array, "*b h w"], space: Space
) -> Float[Array, "*b h w"]:
    """Depth of what a * input + b is in a space, of numpy or JAX.

    Args:
      affine: z, 1 / z or log(z), shape (..., H, W).
      present: pixels that hold a value, shape (..., H, W).
      space: of the input.

    Returns:
      Shape (..., H, W); 0 where `present` is False, or depth not positive or over `FARTHEST`.
    """
    xp = array_namespace(affine)
    if space == "log":
        depth = xp.exp(xp.minimum(affine, np.log(2 * FARTHEST)))
        return xp.where(present & (depth <= FARTHEST), depth, 0.0)
    present = present & (affine > 0)
    affine = xp.where(present, affine, 1)
    depth = affine if space == "depth" else 1 / xp.maximum(affine, 1 / (2 * FARTHEST))
    return xp.where(present & (depth <= FARTHEST), depth, 0.0)


def depth_edges(depth: Real[np.ndarray, "h w"], threshold: float) -> Bool[np.ndarray, "h w"]:
    """Pixels where depth jumps; sensors and networks put points between the two surfaces there.

    Args:
      depth: shape (H, W), 0 where missing.
      threshold: the least jump, relative to the nearer depth.

    Returns:
      Shape (H, W): True where in the 3 x 3 pixels about a pixel the largest depth is more than
      (1 + threshold) times the smallest; missing pixels do not count.
    """
    from scipy import ndimage  # a third of a second, and few runs filter edges

    present = depth > 0
    far = ndimage.maximum_filter(np.where(present, depth, -np.inf), 3, mode="nearest")
    near = ndimage.minimum_filter(np.where(present, depth, np.inf), 3, mode="nearest")
    return present & (far > (1 + threshold) * near)


def point_cloud(
    depth: Real[np.ndarray, "h w"], intrinsics: Real[np.ndarray, "3 3"]
) -> Float32[np.ndarray, "n 3"]:
    """The points of the pixels that hold a depth, as `camera.unproject`, written once as float32.

    Args:
      depth: z in any unit, shape (H, W), 0 where missing.
      intrinsics: (3, 3) in pixels.

    Returns:
      float32, in the unit of `depth`, one row for each pixel that is not missing, shape (N, 3).
    """
    height, width = depth.shape
    (fx, _, cx), (_, fy, cy), _ = intrinsics.tolist()
    x, y = (np.arange(width) - cx) / fx, (np.arange(height) - cy) / fy
    points = np.empty((height, width, 3), np.float32)
    np.multiply(depth, x, out=points[..., 0], casting="same_kind")
    np.multiply(depth, y[:, None], out=points[..., 1], casting="same_kind")
    points[..., 2] = depth
    present = depth != 0
    return points.reshape(-1, 3) if present.all() else points[present]
