"""Windows of the grid of blocks, and the surface that most points of a window agree on.

Windows are fixed parts of the grid, which makes sums over them small matrix products: several times
faster than `quadrics.fit_windows`, which takes points in any order.  A window that sees several
surfaces can turn to the one that most of its points agree on, in place of one between them
(consensus).
"""

# JAX types many of its functions in part only, hence what is switched off.
# pyright: strict, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

import functools
import itertools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from train3d_jax.geometry.affine import Either, masked_quantiles
from train3d_jax.windows.quadrics import COEFFICIENTS, Cut, Windows, concatenate, fit_quadrics

Grid = tuple[int, int]


@dataclass(frozen=True)
class WindowSettings:
    """How windows are fitted.

    All values were chosen on rendered rooms, clean and with 1 % of noise.

    Attributes:
      grids: windows across and down at each scale, the smallest windows first.  The large ones hold
        few planes, but where depth is noisy they alone show curvature: with 1 % of noise they
        halve the error of the shift.
      far_residual: standard deviations from a surface at which a point has a quarter of the weight.
      least_surface_sigma: least standard deviation of points about their surface, relative to w:
        16-bit files round so far, and on clean depth the weights would fit the rounding.
      least_plane_sigma: the same about a plane, which a surface is not quite while the shift is a
        first guess.
      stray_sigma: standard deviation of points that are not of a plane, relative to w.  A window
        across a step in depth is off by as much from its own plane, which therefore gains no more
        points than others.
      noise_quantile: of the relative residuals of all windows: the least that the noise of any
        window is taken to be.  A small residual is chance in a window of few points, which would
        get the largest weight.
    """

    grids: tuple[Grid, ...] = ((16, 16), (11, 11), (7, 7), (5, 5), (4, 4), (3, 3))
    far_residual: float = 3.0
    least_surface_sigma: float = 2e-4
    least_plane_sigma: float = 1e-3
    stray_sigma: float = 0.1
    noise_quantile: float = 0.2

    @property
    def count(self) -> int:
        """Windows of all grids."""
        return sum(across * down for across, down in self.grids)


LEAST_EXTENT = 1e-4
"""Half width of a window in ray units below which it has no weight.

Where all points are in a column the fit has no slope across it, and its standard deviation has to
be large, not infinite."""


def fit_block_windows(
    rays: Float[Either, "p 2"],
    inverse_depth: Float[Either, " p"],
    mask: Bool[Either, " p"],
    shape: Grid,
    settings: WindowSettings,
    consensus: bool = False,
) -> Windows:
    """Fits a quadric in every window of the grid of blocks.

    A window lies where its points are on average, and is as wide as they are spread.

    Args:
      rays: (u, v), shape (P, 2), row by row.
      inverse_depth: w, shape (P,).
      mask: points that count, shape (P,).
      shape: rows and columns of the grid of blocks; P is their product.
      settings: grids and tolerances.
      consensus: whether a window that sees several surfaces turns to the one that most of its
        points agree on.  Its centre, extent, residual and count are then those of the weighted
        points.

    Returns:
      The windows of all grids, one after the other.
    """
    rays, w = (
        jnp.where(mask.reshape(-1, *[1] * (x.ndim - 1)), x, 0.0) for x in (rays, inverse_depth)
    )
    weights, grids = jnp.asarray(mask, w.dtype), settings.grids
    if not consensus:
        return concatenate([_fit_grid(rays, w, weights, shape, grid)[0] for grid in grids])
    # From the smallest windows, which mostly see one surface, to ever larger ones: each time the
    # planes of the windows within a window are the candidates for its points.
    parts = [_fit_grid(rays, w, weights, shape, grids[0])[0]]
    residuals = []
    for smaller, larger in itertools.pairwise(grids):
        near = _near_best_planes(rays, w, weights, parts[-1], shape, smaller, larger, settings)
        fits, residual = _fit_grid(rays, w, jnp.where(mask, near, 0.0), shape, larger)
        parts.append(fits)
        residuals.append(residual)
    # Once more about the resulting surfaces, which may be curved.
    for number, (grid, residual) in enumerate(zip(grids[1:], residuals, strict=True), 1):
        sigma = _point_sigma(parts[number], settings.least_surface_sigma)[_window_of(shape, grid)]
        near = jnp.where(mask, _robust_weight(residual / sigma, settings.far_residual), 0.0)
        parts[number], _ = _fit_grid(rays, w, near, shape, grid)
    return concatenate(parts)


def with_noise_floor(windows: Windows, quantile: float) -> Windows:
    """Raises residuals to a quantile of all windows', relative to w as the noise of depth is."""
    freedom = jnp.maximum(windows.count - COEFFICIENTS, 1) / jnp.maximum(windows.count, 1)
    relative = windows.residual / jnp.sqrt(freedom) / windows.value
    (floor,) = masked_quantiles(relative, windows.mask, (quantile,))
    return windows._replace(
        residual=jnp.maximum(windows.residual, floor * windows.value * jnp.sqrt(freedom))
    )


def mirrored(windows: Windows, grids: tuple[Grid, ...]) -> Windows:
    """The windows of the mirror image of a map, left for right.

    Args:
      windows: of all grids, any leading axes.
      grids: windows across and down at each scale; each lies evenly about the image centre.
    """
    starts = np.cumsum([0, *(across * down for across, down in grids)])
    order = np.concatenate(
        [
            start + np.arange(across * down).reshape(down, across)[:, ::-1].ravel()
            for start, (across, down) in zip(starts, grids, strict=False)
        ]
    )
    vectors = {"centre", "extent", "gradient", "hessian"}
    turned = Windows(
        **{
            name: value[..., order, :] if name in vectors else value[..., order]
            for name, value in windows._asdict().items()
        }
    )
    left_right = np.array([-1.0, 1.0], np.float32)
    return turned._replace(
        centre=turned.centre * left_right,
        gradient=turned.gradient * left_right,
        hessian=turned.hessian * np.array([1.0, -1.0, 1.0], np.float32),
    )


# Traced once for all the fits of a grid: tracing is most of the time to a first answer.
@functools.partial(jax.jit, static_argnames=("shape", "grid"))
def _fit_grid(
    rays: jax.Array, w: jax.Array, weights: jax.Array, shape: Grid, grid: Grid
) -> tuple[Windows, jax.Array]:
    return fit_quadrics(w, _cut_blocks(rays, weights, shape, grid))


def _window_of(shape: Grid, grid: Grid) -> np.ndarray:
    """The window that each block lies in, shape (P,)."""
    columns, rows = grid
    down, across = (
        np.floor((np.arange(size) + 0.5) * number / size)
        for number, size in zip((rows, columns), shape, strict=True)
    )
    return (down[:, None] * columns + across).astype(np.int32).ravel()


def _cut_blocks(rays: jax.Array, weights: jax.Array, shape: Grid, grid: Grid) -> Cut:
    (columns, rows), index = grid, _window_of(shape, grid)
    down = np.float32(np.arange(rows)[:, None] == index[:: shape[1]] // columns)
    across = np.float32(np.arange(columns)[:, None] == index[: shape[1]])

    def sum_up(values: jax.Array) -> jax.Array:
        # Across, then down: two small matrix products in place of one large one.  With all digits
        # of float32: a GPU would otherwise keep three, and curvature needs six.
        values = jnp.matmul((values * weights).reshape(-1, shape[1]), across.T, precision="highest")
        values = values.reshape(-1, shape[0], columns)
        values = jnp.einsum("krx,yr->yxk", values, down, precision="highest")
        return values.reshape(rows * columns, -1)

    def sums(*parts: jax.Array) -> jax.Array:
        # One by one: concatenating them first takes longer than computing them.
        return jnp.concatenate([sum_up(part) for part in parts], -1)

    total = sums(jnp.stack([jnp.ones_like(rays[:, 0]), *rays.T]))
    count = jnp.maximum(total[:, :1], 1)
    centre = total[:, 1:] / count
    offset = rays - centre[index]
    # Of points spread evenly over [-h, h] the variance is h^2 / 3.
    extent = jnp.sqrt(3 * sums(offset.T**2) / count + LEAST_EXTENT**2)
    return Cut(offset / extent[index], centre, extent, sums, lambda of_windows: of_windows[index])


def _windows_within(smaller: Grid, larger: Grid) -> np.ndarray:
    """The windows of one grid about the middle of each window of a grid of larger ones, (M, 9).

    Those up to a window's width away, two or three in a row: the same from either side.  Where
    there are two, one is repeated.
    """
    nearest = []
    for many, few in zip(smaller, larger, strict=True):
        middle = (np.arange(few) + 0.5) * many / few - 0.5
        first, last = np.ceil(middle - 1 - 1e-6), np.floor(middle + 1 + 1e-6)
        rows = np.stack([first, first + 1, last], -1)
        nearest.append(np.clip(rows, 0, many - 1).astype(np.int32))
    across, down = nearest
    index = down[:, None, :, None] * smaller[0] + across[None, :, None, :]
    return index.reshape(-1, 9)


def _members(shape: Grid, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """The blocks of each window, padded to the same number, and which of them are no padding.

    Shapes (M, K) both.
    """
    window_of = _window_of(shape, grid)
    in_turn = np.argsort(window_of, kind="stable")
    count = np.bincount(window_of, minlength=int(np.prod(grid)))
    place = np.arange(count.max())
    index = (np.cumsum(count) - count)[:, None] + place
    return in_turn[np.minimum(index, len(in_turn) - 1)], place < count[:, None]


def _near_best_planes(
    rays: jax.Array,
    w: jax.Array,
    weights: jax.Array,
    fits: Windows,
    shape: Grid,
    smaller: Grid,
    larger: Grid,
    settings: WindowSettings,
) -> jax.Array:
    """How near points are to the plane that most points of their window agree on, 0 to 1, (P,).

    The candidates are the tangent planes of the smaller windows within it (`fits`).  Points of a
    window without a candidate count as near.
    """
    within = _windows_within(smaller, larger)
    index, inside = _members(shape, larger)
    window_of, extent = _window_of(shape, larger), _cut_blocks(rays, weights, shape, larger).extent
    gradient, count = fits.gradient[within], jnp.maximum(fits.count[within], 1.0)
    # How far off a plane is where it is extrapolated to, over the noise: slopes are the less
    # certain the smaller the window in which they were measured.
    reach = extent[:, None] / fits.extent[within]
    extrapolation = jnp.sqrt(1 + 3 * (reach**2).sum(-1) / count)
    sigma = _point_sigma(fits, settings.least_plane_sigma)[within] * extrapolation
    offset = fits.value[within] - (gradient * fits.centre[within]).sum(-1)
    usable = fits.mask[within]
    sigma = jnp.where(usable, sigma, 1.0)

    def near(planes: jax.Array, places: jax.Array) -> jax.Array:
        (offset, along_u, along_v, sigma), (u, v, w) = planes, places
        distance = (offset + along_u * u + along_v * v - w) / sigma
        return _robust_weight(distance, settings.far_residual)

    planes = jnp.stack([offset, gradient[..., 0], gradient[..., 1], sigma])
    places = jnp.stack([*rays.T, w])
    # The points of a window side by side, for all its planes alike.
    of_windows = places[:, index][:, :, None]
    odds = settings.stray_sigma * of_windows[2] / sigma[..., None]
    agree = jnp.log1p(odds * near(planes[..., None], of_windows))
    agree = (agree * (weights[index] * inside)[:, None]).sum(-1)
    best = jnp.where(usable, agree, 0.0).argmax(-1)[:, None]
    best_planes = jnp.take_along_axis(planes, best[None], -1)[..., 0]
    best_usable = jnp.take_along_axis(usable, best, -1)[:, 0]
    nearest = best_usable[window_of] * near(best_planes[:, window_of], places)
    return jnp.where(usable.any(-1)[window_of], nearest, 1.0)


def _robust_weight(distance: jax.Array, far: float) -> jax.Array:
    """Weights of points by their distance in standard deviations.

    S. Geman and D. McClure, Statistical methods for tomographic image reconstruction, 1987.
    """
    return 1 / (1 + (distance / far) ** 2) ** 2


def _point_sigma(windows: Windows, least: float) -> jax.Array:
    """Standard deviation of points about the surface of their window, at least a share of w."""
    freedom = jnp.maximum(windows.count - COEFFICIENTS, 2.0)
    sigma = windows.residual * jnp.sqrt(jnp.maximum(windows.count, 1.0) / freedom)
    return jnp.maximum(sigma, least * windows.value)
