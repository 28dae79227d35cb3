"""Directions of the planes of a recovered depth map, by how much of the map has each.

Inverse depth is affine in the viewing ray on a plane, whatever the focal length: planes are fitted
to it by least squares in small windows of a grid of blocks.  Windows on edges and on curved things
fit badly and drop out.
"""

# JAX types many of its functions in part only, hence what is switched off.
# pyright: strict, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Real

from train3d_jax.geometry import camera, points

ACROSS, STEP = 4, 2
"""Blocks along the side of a window, and between windows.  Chosen: 961 windows, each of a fifteenth
of the map's side, so that a chair's seat has some."""

LEAST_BLOCKS = 12
"""Of the 16 blocks of a window, so many must hold depth.  Chosen."""

RESIDUALS = (0.004, 0.012)
"""Of a window on a plane: root mean square of inverse depth about the plane, over its mean, is at
most the first, or on noisy maps up to the second.  Chosen: depth cameras leave less than the first
in blocks; a window across an edge leaves .02 and more."""

TYPICAL = 0.25
"""Quantile of the residuals of a map's windows whose double is still a plane's.  Chosen."""

KERNEL = np.radians(3.0)
"""Standard deviation of the directions of one plane's windows, of the kernel that finds them.
Chosen."""

SAME = np.radians(8.0)
"""Largest angle to the mean of the windows that are of one direction.  Chosen."""

LEAST_SHARE = 0.02
"""Of the windows that hold depth, so many make a direction: 19 on a map without holes.  Chosen."""

MOST_DIRECTIONS = 6
"""Directions that are looked for.  Chosen: two walls, floor and ceiling, a slope, a thing."""

INDEPENDENT = 10
"""Windows of one direction that count as independent, as they overlap and share errors.  Chosen."""

WORLD_SIGMA = np.radians(0.7)
"""Standard deviation of planes about the direction that they are built in.  Chosen: carpentry."""


class PlaneWindows(NamedTuple):
    """Planes in the windows of a map, for those that lie on one.

    Attributes:
      normal: of the plane, away from the camera, of unit length, camera axes, shape (M, 3).
      centre: the middle of the window on the plane, in the unit of the depth, shape (M, 3).
      count: windows that hold depth, on planes or not.
    """

    normal: np.ndarray
    centre: np.ndarray
    count: int  # pyright: ignore[reportIncompatibleMethodOverride]  # of tuples


class PlaneDirections(NamedTuple):
    """Directions of planes, the commonest first.

    Attributes:
      normal: away from the camera, of unit length, camera axes, shape (K, 3).
      sigma: standard deviation of its angle, radians, shape (K,).
      share: of the windows that hold depth, shape (K,).
      of_window: of each window its direction; -1 where it has none of them, shape (M,).
    """

    normal: np.ndarray
    sigma: np.ndarray
    share: np.ndarray
    of_window: np.ndarray


def plane_windows(
    depth: Real[np.ndarray, "h w"], intrinsics: Real[np.ndarray, "3 3"]
) -> PlaneWindows:
    """Fits planes in the windows of a recovered depth map.

    Args:
      depth: z, any unit, shape (H, W); 0 where missing.
      intrinsics: (3, 3) in pixels.
    """
    present = depth > 0
    inverse = np.where(present, 1 / np.where(present, depth, 1), 0).astype(np.float32)
    if present.any():  # of order one, so that float32 holds the products below
        inverse /= np.float32(inverse[present].mean())
    # A small map has no more blocks than pixels, so that none of them is empty.
    height, width = depth.shape
    shape = min(height, points.BLOCKS[0]), min(width, points.BLOCKS[1])
    if min(shape) < ACROSS:
        return PlaneWindows(np.zeros((0, 3)), np.zeros((0, 3)), 0)
    pixels, values, mask = points.average_blocks(inverse, present, shape)
    rays = camera.rays(pixels.astype(np.float64), intrinsics)
    fields = np.stack([rays[:, 0], rays[:, 1], values], -1).reshape(*shape, 3)
    mean, square, count = _moments(fields.astype(np.float64), mask.reshape(shape))
    (uu, uv, vv), (uw, vw), ww = square[..., :3].T, square[..., 3:5].T, square[..., 5]
    determinant = uu * vv - uv**2
    # A window that is a few rows of a scanner, or a column, does not fix a plane.
    good = (count >= LEAST_BLOCKS) & (determinant > 1e-3 * (uu + vv) ** 2)
    determinant = np.where(good, determinant, 1.0)
    gradient = np.stack([vv * uw - uv * vw, uu * vw - uv * uw], -1) / determinant[:, None]
    residual2 = np.maximum(ww - gradient[:, 0] * uw - gradient[:, 1] * vw, 0)
    value = mean[:, 2]
    count = int(good.sum())
    relative = np.sqrt(residual2[good]) / value[good]
    least, most = RESIDUALS
    largest = np.clip(2 * np.quantile(relative, TYPICAL), least, most) if count else least
    good[good] = relative <= largest
    offset = value - (gradient * mean[:, :2]).sum(-1)
    normal = np.concatenate([gradient, offset[:, None]], -1)[good]
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    scale = np.float64(1 / depth[present]).mean() if present.any() else 1.0
    centre = np.concatenate([mean[good, :2], np.ones((good.sum(), 1))], -1)
    return PlaneWindows(normal, centre / (scale * value[good])[:, None], count)


def _moments(
    fields: Float[np.ndarray, "h w 3"], mask: Bool[np.ndarray, "h w"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of all windows the means of (u, v, w), their second moments and the number of blocks.

    Returns:
      Means, shape (N, 3); moments uu, uv, vv, uw, vw, ww about the means, shape (N, 6); numbers,
      shape (N,).
    """
    # Moments about the middle of each window: differences of large sums would lose digits.
    windows = np.lib.stride_tricks.sliding_window_view(fields, (ACROSS, ACROSS), (0, 1))
    windows = windows[::STEP, ::STEP].reshape(-1, 3, ACROSS**2)
    inside = np.lib.stride_tricks.sliding_window_view(mask, (ACROSS, ACROSS))
    inside = inside[::STEP, ::STEP].reshape(-1, 1, ACROSS**2)
    count = inside.sum(-1)
    mean = (windows * inside).sum(-1) / np.maximum(count, 1)
    u, v, w = np.moveaxis((windows - mean[..., None]) * inside, 1, 0)
    products = np.stack([u * u, u * v, v * v, u * w, v * w, w * w], 1).sum(-1)
    return mean, products / np.maximum(count, 1), count[:, 0]


def plane_directions(windows: PlaneWindows) -> PlaneDirections:
    """The directions that most windows have, each found where the rest of them is densest."""
    normals = windows.normal
    of_window = np.full(len(normals), -1)
    found: list[tuple[np.ndarray, float, float]] = []
    # exp(-angle^2 / 2 KERNEL^2), as the square of a small angle is 2 (1 - cosine).
    narrow = normals.astype(np.float32)
    near = np.exp((narrow @ narrow.T - 1) / np.float32(KERNEL**2))
    while len(found) < MOST_DIRECTIONS and (of_window < 0).any():
        left = of_window < 0
        densest = np.where(left, near @ left, -1).argmax()
        mean = normals[densest]
        for _ in range(3):  # mean shift
            weights = left * np.exp((normals @ mean - 1) / KERNEL**2)
            mean = weights @ normals
            mean /= np.linalg.norm(mean)
        angle2 = 2 * (1 - normals @ mean)
        inside = left & (angle2 < SAME**2)
        if inside.sum() < LEAST_SHARE * windows.count:
            break
        of_window[inside] = len(found)
        scatter = angle2[inside].mean() / min(inside.sum(), INDEPENDENT)
        share = inside.sum() / windows.count
        found.append((mean, np.sqrt(scatter + WORLD_SIGMA**2), share))
    normal, sigma, share = zip(*found, strict=True) if found else ((), (), ())
    return PlaneDirections(np.reshape(normal, (-1, 3)), np.array(sigma), np.array(share), of_window)
