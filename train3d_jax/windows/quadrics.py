"""Windows of the image plane and the quadric that fits the inverse depth in each: no learning.

Sums over points make a fit independent of the order of the points.
"""

import functools
import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

GRIDS = ((16, 16), (11, 11), (7, 7))
"""Windows across and down the image at each scale: small ones see many planes, large ones average
more points.  The numbers share no divisor, so that borders fall in different places."""

MARGIN = 1e-3
"""By how much the grids begin before the first point, relative to the width of all.  Points lie as
evenly as pixels do: without it whole columns would lie on the borders of windows (64 columns, 7
windows: every ninth), and rounding would decide for a window."""

MINIMUM_POINTS = 8
"""A quadric has six coefficients; with fewer points than this its residual says nothing."""

RIDGE = 1e-6
"""Added to the normal equations, relative to the number of points, for windows on few columns."""

LEAST_EXTENT = 1e-4
"""Half width, in ray units, below which a window of blocks never counts: where all are in a column
the fit says nothing across it, and its deviations have to be large, not infinite."""

FAR_RESIDUAL = 3.0
"""Deviations from a surface at which a point has a quarter of the weight."""

LEAST_DEVIATION, LEAST_OF_PLANES = 2e-4, 1e-3
"""Of w: what points deviate from their surface at least, as far as 16-bit files round, or on clean
depth the weights would chase rounding; and from a plane, which the surface may not quite be where
the shift is only guessed."""

STRAY = 0.1
"""Of w: how far points that are not of a plane are from it, as a deviation.  A window across a step
in depth is off by as much from its own plane, which therefore gets no more points than others."""

LEAST_SPAN = 1e-3
"""Width of a cloud, in ray units, below which it counts as so wide: where all points are in a
column, deviations across it have to be large, but not so large that float32 cannot square them."""


def _powers(degree: int) -> list[tuple[int, int]]:
    """Exponents of the monomials p^i q^j up to a degree, in the order of `_monomials`."""
    return [(i, j) for j in range(degree + 1) for i in range(degree + 1 - j)]


_POWERS, _BASIS = _powers(4), _powers(2)
COEFFICIENTS = len(_BASIS)
"""Of a quadric in the plane."""
_SLOPES = [_BASIS.index(power) for power in ((1, 0), (0, 1))]
_CURVATURES = [_BASIS.index(power) for power in ((2, 0), (1, 1), (0, 2))]
_NORMAL_MATRIX = np.array(
    [[_POWERS.index((a + c, b + d)) for c, d in _BASIS] for a, b in _BASIS], np.int32
)


class Windows(NamedTuple):
    """Quadrics fitted to windows: w(u, v) about each window's centre.

    Attributes:
      centre: ray (u, v) of the middle, shape (..., M, 2).
      extent: half width and half height in ray units, shape (..., M, 2).
      value: w at the centre, shape (..., M).
      gradient: of w, shape (..., M, 2).
      hessian: w_uu, w_uv, w_vv, shape (..., M, 3).
      residual: root mean square of w about the quadric, shape (..., M).
      count: points in the window, or the sum of their weights, shape (..., M).
      mask: windows with enough points, shape (..., M).
    """

    centre: jax.Array
    extent: jax.Array
    value: jax.Array
    gradient: jax.Array
    hessian: jax.Array
    residual: jax.Array
    count: jax.Array
    mask: jax.Array


def fit_windows(rays: jax.Array, inverse_depth: jax.Array, mask: jax.Array, grids=GRIDS) -> Windows:
    """Fits a quadric in every window of every grid.

    Args:
      rays: (u, v) = (x / z, y / z), shape (N, 2).
      inverse_depth: w, shape (N,).
      mask: points that count, shape (N,).
      grids: windows across and down at each scale.

    Returns:
      The windows of all grids, one after the other.
    """
    low = jnp.where(mask[:, None], rays, jnp.inf).min(0)
    high = jnp.where(mask[:, None], rays, -jnp.inf).max(0)
    low, high = (jnp.where(mask.any(), x, fallback) for x, fallback in ((low, -1.0), (high, 1.0)))
    low = low - MARGIN * (high - low)
    span = jnp.maximum(high - low, LEAST_SPAN)
    cuts = [_cut(rays, mask, low, span, np.array(grid, np.float32)) for grid in grids]
    return _one_after_the_other([_fit_quadrics(inverse_depth, cut)[0] for cut in cuts])


def mirrored(windows: Windows, grids) -> Windows:
    """The windows of the map as a mirror shows it, left for right.

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


class _Cut(NamedTuple):
    """Points cut into the windows of one grid.

    `local` is where points are in their windows, of order one, (N, 2); `sums` adds values up, of
    any number of arrays (K, N), to (M, sum of K); `spread` hands what windows have, (M, ...), out
    to their points.
    """

    local: jax.Array
    centre: jax.Array
    extent: jax.Array
    sums: Callable[..., jax.Array]
    spread: Callable[[jax.Array], jax.Array]


def _cut(rays, mask, low, span, grid: np.ndarray) -> _Cut:
    columns, rows = int(grid[0]), int(grid[1])
    cell = jnp.clip(jnp.floor((rays - low) / span * grid), 0, grid - 1)
    index = (cell[:, 1] * columns + cell[:, 0]).astype(jnp.int32)
    half = span / grid / 2
    local = (rays - low) / half - 2 * cell - 1  # -1 to 1 across the window
    cells = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), -1).reshape(-1, 2)

    def sums(*parts):
        values = jnp.concatenate(parts) * mask
        return jax.ops.segment_sum(values.T, index, rows * columns)

    return _Cut(
        local,
        low + (2 * cells + 1) * half,
        jnp.broadcast_to(half, cells.shape),
        sums,
        lambda of_windows: of_windows[index],
    )


def fit_block_windows(
    rays: jax.Array,
    inverse_depth: jax.Array,
    mask: jax.Array,
    shape: tuple[int, int],
    grids=GRIDS,
    consensus: bool = False,
) -> Windows:
    """The same for points that lie on a grid of blocks: windows are fixed parts of that grid.

    Several times faster than `fit_windows`, which suits points in any order.  A window lies where
    its points are on average, and is as wide as they are spread.

    Args:
      rays: (u, v), shape (P, 2), row by row.
      inverse_depth: w, shape (P,).
      mask: points that count, shape (P,).
      shape: rows and columns of the grid of blocks; P is their product.
      grids: windows across and down at each scale, the smallest windows first.
      consensus: whether a window that sees several surfaces turns to the one that most of its
        points agree on, in place of one between them.  Its centre, extent, residual and count are
        then those of the points as they are weighed.

    Returns:
      The windows of all grids, one after the other.
    """
    rays, w = (
        jnp.where(mask.reshape(-1, *[1] * (x.ndim - 1)), x, 0.0) for x in (rays, inverse_depth)
    )
    weights = mask.astype(w.dtype)
    if not consensus:
        return _one_after_the_other([_fit_grid(rays, w, weights, shape, grid)[0] for grid in grids])
    # From the smallest windows, which mostly see one surface, to ever larger ones: each time the
    # planes of the windows within one are what its points may agree on.
    parts = [_fit_grid(rays, w, weights, shape, grids[0])[0]]
    residuals = []
    for smaller, larger in itertools.pairwise(grids):
        near = _near_best_planes(rays, w, weights, parts[-1], shape, smaller, larger)
        fits, residual = _fit_grid(rays, w, jnp.where(mask, near, 0.0), shape, larger)
        parts.append(fits)
        residuals.append(residual)
    # Once more by the surfaces that came of it, which may be bent.
    for number, (grid, residual) in enumerate(zip(grids[1:], residuals, strict=True), 1):
        deviation = _deviation(parts[number], LEAST_DEVIATION)[_window_of(shape, grid)]
        near = jnp.where(mask, _nearness(residual / deviation), 0.0)
        parts[number], _ = _fit_grid(rays, w, near, shape, grid)
    return _one_after_the_other(parts)


def _one_after_the_other(parts: list[Windows]) -> Windows:
    return jax.tree.map(lambda *values: jnp.concatenate(values), *parts)


# Traced once for all the fits of a grid: tracing is most of the time to a first answer.
@functools.partial(jax.jit, static_argnames=("shape", "grid"))
def _fit_grid(
    rays, w, weights, shape: tuple[int, int], grid: tuple[int, int]
) -> tuple[Windows, jax.Array]:
    return _fit_quadrics(w, _cut_blocks(rays, weights, shape, grid))


def _windows_within(smaller: tuple[int, int], larger: tuple[int, int]) -> np.ndarray:
    """The windows of one grid about the middle of each of a grid of larger ones, (M, 9).

    Those up to a window's width away, two or three in a row: the same from either side.  Where
    there are two, one stands twice.
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


def _window_of(shape: tuple[int, int], grid: tuple[int, int]) -> np.ndarray:
    """The window that each block lies in, shape (P,)."""
    columns, rows = grid
    down, across = (
        np.floor((np.arange(size) + 0.5) * number / size)
        for number, size in zip((rows, columns), shape, strict=True)
    )
    return (down[:, None] * columns + across).astype(np.int32).ravel()


def _members(shape: tuple[int, int], grid: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The blocks of each window, as many for all of them, and which of them are more than it has.

    Shapes (M, K) both.
    """
    window_of = _window_of(shape, grid)
    in_turn = np.argsort(window_of, kind="stable")
    count = np.bincount(window_of, minlength=int(np.prod(grid)))
    place = np.arange(count.max())
    index = (np.cumsum(count) - count)[:, None] + place
    return in_turn[np.minimum(index, len(in_turn) - 1)], place < count[:, None]


def _near_best_planes(rays, w, weights, fits: Windows, shape, smaller, larger) -> jax.Array:
    """How near points are to the plane that most of their window agrees on, 0 to 1, (P,).

    Of the planes that touch the smaller windows within it, as `fits` has them.  Points of a window
    none of which tells anything count as near.
    """
    within = _windows_within(smaller, larger)
    index, inside = _members(shape, larger)
    window_of, extent = _window_of(shape, larger), _cut_blocks(rays, weights, shape, larger).extent
    gradient, count = fits.gradient[within], jnp.maximum(fits.count[within], 1.0)
    # How far off a plane is where it is continued to, over the noise: slopes are the less certain
    # the smaller the window is that they were measured in.
    reach = extent[:, None] / fits.extent[within]
    doubt = jnp.sqrt(1 + 3 * (reach**2).sum(-1) / count)
    deviation = _deviation(fits, LEAST_OF_PLANES)[within] * doubt
    offset = fits.value[within] - (gradient * fits.centre[within]).sum(-1)
    told = fits.mask[within]
    deviation = jnp.where(told, deviation, 1.0)

    def near(planes, places):
        (offset, along_u, along_v, deviation), (u, v, w) = planes, places
        return _nearness((offset + along_u * u + along_v * v - w) / deviation)

    planes = jnp.stack([offset, gradient[..., 0], gradient[..., 1], deviation])
    places = jnp.stack([*rays.T, w])
    # The points of a window side by side, for all its planes alike.
    of_windows = places[:, index][:, :, None]
    odds = STRAY * of_windows[2] / deviation[..., None]
    agree = jnp.log1p(odds * near(planes[..., None], of_windows))
    agree = (agree * (weights[index] * inside)[:, None]).sum(-1)
    best = jnp.where(told, agree, 0.0).argmax(-1)[:, None]
    best_planes = jnp.take_along_axis(planes, best[None], -1)[..., 0]
    of_told = jnp.take_along_axis(told, best, -1)[:, 0]
    nearest = of_told[window_of] * near(best_planes[:, window_of], places)
    return jnp.where(told.any(-1)[window_of], nearest, 1.0)


def _nearness(deviations: jax.Array) -> jax.Array:
    """Weights of points by how many deviations they are off.

    S. Geman and D. McClure, Statistical methods for tomographic image reconstruction, 1987.
    """
    return 1 / (1 + (deviations / FAR_RESIDUAL) ** 2) ** 2


def _deviation(windows: Windows, least: float) -> jax.Array:
    """Deviation of a single point from the surface of its window, at least a part of w."""
    freedom = jnp.maximum(windows.count - COEFFICIENTS, 2.0)
    deviation = windows.residual * jnp.sqrt(jnp.maximum(windows.count, 1.0) / freedom)
    return jnp.maximum(deviation, least * windows.value)


def _cut_blocks(rays, weights, shape: tuple[int, int], grid: tuple[int, int]) -> _Cut:
    (columns, rows), index = grid, _window_of(shape, grid)
    down = np.float32(np.arange(rows)[:, None] == index[:: shape[1]] // columns)
    across = np.float32(np.arange(columns)[:, None] == index[: shape[1]])

    def sum_up(values):
        # Across, then down: two small matrix products in place of one large one.  With all digits
        # of float32: a GPU would otherwise keep three, and curvature needs six.
        values = jnp.matmul((values * weights).reshape(-1, shape[1]), across.T, precision="highest")
        values = values.reshape(-1, shape[0], columns)
        values = jnp.einsum("krx,yr->yxk", values, down, precision="highest")
        return values.reshape(rows * columns, -1)

    def sums(*parts):
        # One by one: putting them into one array takes longer than making them.
        return jnp.concatenate([sum_up(part) for part in parts], -1)

    total = sums(jnp.stack([jnp.ones_like(rays[:, 0]), *rays.T]))
    count = jnp.maximum(total[:, :1], 1)
    centre = total[:, 1:] / count
    offset = rays - centre[index]
    # Of points spread evenly over [-h, h] the variance is h^2 / 3.
    extent = jnp.sqrt(3 * sums(offset.T**2) / count + LEAST_EXTENT**2)
    return _Cut(offset / extent[index], centre, extent, sums, lambda of_windows: of_windows[index])


def _fit_quadrics(w: jax.Array, cut: _Cut) -> tuple[Windows, jax.Array]:
    """The windows of a cut, and by how much w of each point is beyond its window's quadric."""
    count, total = cut.sums(jnp.stack([jnp.ones_like(w), w])).T
    mean = total / jnp.maximum(count, 1)
    # About the mean: in float32 the curvature would drown in the rounding of w itself.
    deviation = w - cut.spread(mean)
    products = [part * deviation for part in _monomials(cut.local, 2)]
    moments = cut.sums(*_monomials(cut.local, 4), *products)
    matrix, right = moments[:, : len(_POWERS)], moments[:, len(_POWERS) :]
    ridge = jnp.eye(COEFFICIENTS) * (RIDGE * count + 1e-6)[:, None, None]
    coefficients = solve_positive_definite(matrix[:, _NORMAL_MATRIX] + ridge, right)
    residuals = deviation - _polynomial(cut.local, cut.spread(coefficients))
    width, height = cut.extent.T
    areas = jnp.stack([width**2, width * height, height**2], -1)
    windows = Windows(
        centre=cut.centre,
        extent=cut.extent,
        value=mean + coefficients[:, 0],
        gradient=coefficients[:, np.array(_SLOPES)] / cut.extent,
        hessian=coefficients[:, np.array(_CURVATURES)] * np.array([2, 1, 2], np.float32) / areas,
        residual=jnp.sqrt(cut.sums(residuals[None] ** 2)[:, 0] / jnp.maximum(count, 1)),
        count=count,
        mask=count >= MINIMUM_POINTS,
    )
    return windows, residuals


def _monomials(local: jax.Array, degree: int) -> list[jax.Array]:
    """The monomials of points (N, 2) up to a degree; of each power of q an array, (powers, N)."""
    p, q = local.T
    powers = jnp.stack([p**i for i in range(degree + 1)])
    return [powers[: degree + 1 - j] * q**j for j in range(degree + 1)]


def _polynomial(local: jax.Array, coefficients: jax.Array) -> jax.Array:
    """Values at points (N, 2), each of a quadric of its own, coefficients (N, 6) as `_BASIS`."""
    p, q = local.T
    terms = [c * p**i * q**j for c, (i, j) in zip(coefficients.T, _BASIS, strict=True)]
    return functools.reduce(jnp.add, terms)


def solve_positive_definite(matrix: jax.Array, right: jax.Array) -> jax.Array:
    """Solves small positive definite systems, by Gauss and Jordan without pivoting.

    In a batch far faster than LAPACK's calls.  A loop: unrolled it takes .04 ms a map for .12, and
    a second to compile wherever it is called.

    Args:
      matrix: shape (..., n, n).
      right: shape (..., n).

    Returns:
      Shape (..., n).
    """
    n = matrix.shape[-1]
    # What is done to all systems alike lies side by side.
    system = jnp.concatenate([matrix, right[..., None]], -1)
    system = jnp.moveaxis(system, (-2, -1), (0, 1))
    # What is left of a pivot below the rounding of its sum is noise, and would be divided by.
    least = 4 * jnp.finfo(matrix.dtype).eps * system[np.arange(n), np.arange(n)] + 1e-12
    rows = np.arange(n).reshape(n, *[1] * (system.ndim - 1))

    def eliminate(column: jax.Array, system: jax.Array) -> jax.Array:
        row = system[column] / jnp.maximum(system[column, column], least[column])
        return jnp.where(rows == column, row, system - system[:, column, None] * row)

    return jnp.moveaxis(jax.lax.fori_loop(0, n, eliminate, system)[:, n], 0, -1)
