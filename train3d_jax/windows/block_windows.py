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
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from train3d_jax.geometry.affine import Either, masked_quantiles
from train3d_jax.windows.quadrics import COEFFICIENTS, Cut, Windows, fit_quadrics

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
    consensus: bool | jax.Array = False,
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
        points.  A traced bool is one program for both.

    Returns:
      The windows of all grids, one after the other.
    """
    rays, w = (
        jnp.where(mask.reshape(-1, *[1] * (x.ndim - 1)), x, 0.0) for x in (rays, inverse_depth)
    )
    all_points = jnp.asarray(mask, w.dtype)
    tables = jax.tree.map(jnp.asarray, _tables(shape, settings.grids))

    def step(last: _Fit, number_and_kind: jax.Array) -> tuple[_Fit, Windows]:
        number, kind = number_and_kind
        grid = jax.tree.map(lambda of_grids: of_grids[number], tables)

        def near_best_plane() -> jax.Array:
            near = _near_best_planes(rays, w, all_points, last.windows, grid, settings)
            return jnp.where(mask, near, 0.0)

        def near_own_surface() -> jax.Array:
            sigma = _point_sigma(last.windows, settings.least_surface_sigma)
            distance = last.residuals / _spread(grid, sigma[None])[0]
            near = _robust_weight(distance, settings.far_residual)
            return jnp.where(mask, near, 0.0)

        def fit() -> _Fit:
            choices = (lambda: all_points, near_best_plane, near_own_surface)
            weights = jax.lax.switch(kind, choices)
            return _Fit(*fit_quadrics(w, _cut_blocks(rays, weights, grid)))

        new = jax.lax.cond(kind == _LEFT_OUT, lambda: last, fit)
        # What is fitted again is no candidate for larger windows.
        kept = jax.tree.map(lambda x, y: jnp.where(kind == _NEAR_OWN_SURFACE, x, y), last, new)
        return kept, new.windows

    # A loop over fits of grids that are padded alike: its body is traced and compiled once.
    plain, robust = _steps(len(settings.grids))
    steps = jnp.where(consensus, robust, plain)
    if consensus is False:
        steps = plain[plain[:, 1] != _LEFT_OUT]
    padded = tables.down.shape[1] * tables.across.shape[1]
    _, windows = jax.lax.scan(step, _no_fit(padded, w), jnp.asarray(steps))
    return _of_grids(windows, len(steps), settings.grids)


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


class _Fit(NamedTuple):
    """Windows of one padded grid, and the residual of each point, shape (P,)."""

    windows: Windows
    residuals: jax.Array


_ALL_POINTS, _NEAR_BEST_PLANE, _NEAR_OWN_SURFACE, _LEFT_OUT = range(4)
"""What weights the points of a fit."""


def _steps(grids: int) -> tuple[np.ndarray, np.ndarray]:
    """The fits of all grids, without consensus and with it: rows of grid and kind.

    Consensus goes from the smallest windows, which mostly see one surface, to ever larger ones:
    each time the planes of the windows within a window are the candidates for its points.  Then
    the window is fitted once more about its surface, which may be curved.
    """
    plain, robust = [(0, _ALL_POINTS)], [(0, _ALL_POINTS)]
    for grid in range(1, grids):
        plain += [(grid, _LEFT_OUT), (grid, _ALL_POINTS)]
        robust += [(grid, _NEAR_BEST_PLANE), (grid, _NEAR_OWN_SURFACE)]
    return np.array(plain, np.int32), np.array(robust, np.int32)


def _of_grids(fits: Windows, steps: int, grids: tuple[Grid, ...]) -> Windows:
    """The windows of all grids without padding, from those of all steps, shapes (steps, M)."""
    columns = max(across for across, _ in grids)
    padded = columns * max(down for _, down in grids)
    last_steps = np.arange(len(grids)) * (1 if steps == len(grids) else 2)
    taken = np.concatenate(
        [
            step * padded + (np.arange(down)[:, None] * columns + np.arange(across)).ravel()
            for step, (across, down) in zip(last_steps, grids, strict=True)
        ]
    )
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[taken], fits)


def _no_fit(windows: int, w: jax.Array) -> _Fit:
    of_windows, pairs = jnp.zeros(windows, w.dtype), jnp.zeros((windows, 2), w.dtype)
    none = Windows(
        centre=pairs,
        extent=pairs,
        value=of_windows,
        gradient=pairs,
        hessian=jnp.zeros((windows, 3), w.dtype),
        residual=of_windows,
        count=of_windows,
        mask=of_windows > 0,
    )
    return _Fit(none, jnp.zeros_like(w))


class _Tables(NamedTuple):
    """How grids of windows lie in the grid of blocks; leading axis of grids, padded alike.

    Padded to R rows and C columns of windows, numbered row by row.

    Attributes:
      down: 1 where a row of blocks lies in a row of windows, shape (R, rows of blocks).
      across: the same for columns, shape (C, columns of blocks).
      row_of: the row of windows that each row of blocks lies in, shape (rows of blocks,).
      within: the windows of the grid before about the middle of each window, shape (R * C, 9).
    """

    down: np.ndarray
    across: np.ndarray
    row_of: np.ndarray
    within: np.ndarray


def _tables(shape: Grid, grids: tuple[Grid, ...]) -> _Tables:
    columns, rows = np.max(grids, 0)
    parts = []
    for smaller, larger in zip((grids[0], *grids), grids, strict=False):
        (across, down), (row, column) = larger, _places(shape, larger)
        within = np.zeros((rows, columns, 9), np.int32)
        within[:down, :across] = _windows_within(smaller, larger, columns)
        parts.append(
            _Tables(
                (np.arange(rows)[:, None] == row).astype(np.float32),
                (np.arange(columns)[:, None] == column).astype(np.float32),
                row.astype(np.int32),
                within.reshape(-1, 9),
            )
        )
    return _Tables(*map(np.stack, zip(*parts, strict=True)))


def _places(shape: Grid, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """The row of windows that each row of blocks lies in, and the same for columns."""
    row, column = (
        np.floor((np.arange(size) + 0.5) * number / size)
        for number, size in zip(reversed(grid), shape, strict=True)
    )
    return row, column


def _windows_within(smaller: Grid, larger: Grid, columns: int) -> np.ndarray:
    """The windows of one grid about the middle of each window of a grid of larger ones.

    Those up to a window's width away, two or three in a row: the same from either side.  Where
    there are two, one is repeated.

    Returns:
      Numbers in rows of so many columns, shape (rows, columns of the larger windows, 9).
    """
    nearest = []
    for many, few in zip(smaller, larger, strict=True):
        middle = (np.arange(few) + 0.5) * many / few - 0.5
        first, last = np.ceil(middle - 1 - 1e-6), np.floor(middle + 1 + 1e-6)
        rows = np.stack([first, first + 1, last], -1)
        nearest.append(np.clip(rows, 0, many - 1).astype(np.int32))
    across, down = nearest
    index = down[:, None, :, None] * columns + across[None, :, None, :]
    return index.reshape(*index.shape[:2], 9)


def _cut_blocks(rays: jax.Array, weights: jax.Array, grid: _Tables) -> Cut:
    (rows, height), (columns, width) = grid.down.shape, grid.across.shape

    def sum_up(values: jax.Array) -> jax.Array:
        # Across, then down: two small matrix products in place of one large one.  With all digits
        # of float32: a GPU would otherwise keep three, and curvature needs six.
        values = (values * weights).reshape(-1, width)
        values = jnp.matmul(values, grid.across.T, precision="highest")
        values = values.reshape(-1, height, columns)
        values = jnp.einsum("krx,yr->yxk", values, grid.down, precision="highest")
        return values.reshape(rows * columns, -1)

    def sums(*parts: jax.Array) -> jax.Array:
        # One by one: concatenating them first takes longer than computing them.
        return jnp.concatenate([sum_up(part) for part in parts], -1)

    total = sums(jnp.stack([jnp.ones_like(rays[:, 0]), *rays.T]))
    count = jnp.maximum(total[:, :1], 1)
    centre = total[:, 1:] / count
    spread = functools.partial(_spread, grid)
    offset = rays - spread(centre.T).T
    # Of points spread evenly over [-h, h] the variance is h^2 / 3.
    extent = jnp.sqrt(3 * sums(offset.T**2) / count + LEAST_EXTENT**2)
    return Cut(offset / spread(extent.T).T, centre, extent, sums, spread)


def _spread(grid: _Tables, of_windows: jax.Array) -> jax.Array:
    """Gives each point the values of its window, (K, R * C) to (K, P)."""
    (rows, _), (columns, _) = grid.down.shape, grid.across.shape
    # A matrix product, then whole rows: picking single values takes ten times as long.
    values = of_windows.reshape(-1, rows, columns)
    values = jnp.matmul(values, grid.across, precision="highest")
    return values[:, grid.row_of].reshape(len(of_windows), -1)


def _near_best_planes(
    rays: jax.Array,
    w: jax.Array,
    weights: jax.Array,
    smaller: Windows,
    grid: _Tables,
    settings: WindowSettings,
) -> jax.Array:
    """How near points are to the plane that most points of their window agree on, 0 to 1, (P,).

    The candidates are the tangent planes of the smaller windows within it.  Points of a window
    without a candidate count as near.
    """
    within, cut = grid.within, _cut_blocks(rays, weights, grid)
    gradient, count = smaller.gradient[within], jnp.maximum(smaller.count[within], 1.0)
    # How far off a plane is where it is extrapolated to, over the noise: slopes are the less
    # certain the smaller the window in which they were measured.
    reach = cut.extent[:, None] / smaller.extent[within]
    extrapolation = jnp.sqrt(1 + 3 * (reach**2).sum(-1) / count)
    sigma = _point_sigma(smaller, settings.least_plane_sigma)[within] * extrapolation
    offset = smaller.value[within] - (gradient * smaller.centre[within]).sum(-1)
    usable = smaller.mask[within]
    sigma = jnp.where(usable, sigma, 1.0)
    planes = jnp.stack([offset, gradient[..., 0], gradient[..., 1], sigma])

    def near(plane: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Weights of points by a plane of their window, (4, R * C), and the plane's sigma there."""
        offset, along_u, along_v, sigma = cut.spread(plane)
        distance = (offset + along_u * rays[:, 0] + along_v * rays[:, 1] - w) / sigma
        return _robust_weight(distance, settings.far_residual), sigma

    def agreement(plane: jax.Array) -> jax.Array:
        weight, sigma = near(plane)
        odds = settings.stray_sigma * w / sigma
        return cut.sums(jnp.log1p(odds * weight)[None])[:, 0]

    agree = jax.lax.map(agreement, jnp.moveaxis(planes, -1, 0)).T
    best = jnp.where(usable, agree, 0.0).argmax(-1)[:, None]
    best_plane = jnp.take_along_axis(planes, best[None], -1)[..., 0]
    best_usable = jnp.take_along_axis(usable, best, -1)[:, 0]
    usable_here = cut.spread(jnp.float32(jnp.stack([usable.any(-1), best_usable]))) > 0
    return jnp.where(usable_here[0], usable_here[1] * near(best_plane)[0], 1.0)


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
