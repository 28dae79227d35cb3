"""Quadrics fitted by least squares to inverse depth in windows of the image plane.

Sums over points make a fit independent of the order of the points.  `block_windows` cuts the grid
of blocks into windows; `fit_windows` here cuts points in any order.
"""

# JAX types many of its functions in part only, hence what is switched off.
# pyright: strict, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from train3d_jax.geometry.affine import Either

GRIDS = ((16, 16), (11, 11), (7, 7))
"""Windows across and down the image at each scale.

Small windows see many planes, large ones average more points.  The numbers share no divisor, so
that borders fall in different places."""

MARGIN = 1e-3
"""By how much the grids begin before the first point, relative to the width of all points.

Points lie as evenly as pixels do.  Without a margin whole columns would lie on the borders of
windows (64 columns, 7 windows: every ninth), and rounding would choose the window."""

MINIMUM_POINTS = 8
"""A quadric has six coefficients; the residual of fewer points than this is meaningless."""

RIDGE = 1e-6
"""Added to the normal equations, relative to the number of points, for windows on few columns."""

LEAST_SPAN = 1e-3
"""Least width of a cloud in ray units.

Where all points lie in one column, standard deviations across it have to be large, but float32 must
be able to square them."""


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
    count: jax.Array  # pyright: ignore[reportIncompatibleMethodOverride]  # of tuples
    mask: jax.Array


def fit_windows(
    rays: Float[Either, "n 2"],
    inverse_depth: Float[Either, " n"],
    mask: Bool[Either, " n"],
    grids: tuple[tuple[int, int], ...] = GRIDS,
) -> Windows:
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
    return concatenate([fit_quadrics(inverse_depth, cut)[0] for cut in cuts])


class Cut(NamedTuple):
    """Points cut into the M windows of one grid.

    Attributes:
      local: where points are in their windows, of order one, shape (N, 2).
      centre: of the windows, rays, shape (M, 2).
      extent: half width and half height of the windows, shape (M, 2).
      sums: adds values up over the points of each window; any number of arrays (K, N) to (M, sum
        of K).
      spread: gives each point the values of its window; (K, M) to (K, N).
    """

    local: jax.Array
    centre: jax.Array
    extent: jax.Array
    sums: Callable[..., jax.Array]
    spread: Callable[[jax.Array], jax.Array]


def concatenate(parts: list[Windows]) -> Windows:
    """The windows of several grids, one after the other."""
    return jax.tree.map(lambda *values: jnp.concatenate(values), *parts)


def _cut(rays: Either, mask: Either, low: jax.Array, span: jax.Array, grid: np.ndarray) -> Cut:
    columns, rows = int(grid[0]), int(grid[1])
    cell = jnp.clip(jnp.floor((rays - low) / span * grid), 0, grid - 1)
    index = (cell[:, 1] * columns + cell[:, 0]).astype(jnp.int32)
    half = span / grid / 2
    local = (rays - low) / half - 2 * cell - 1  # -1 to 1 across the window
    cells = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), -1).reshape(-1, 2)

    def sums(*parts: jax.Array) -> jax.Array:
        values = jnp.concatenate(parts) * mask
        return jax.ops.segment_sum(values.T, index, rows * columns)

    return Cut(
        jnp.asarray(local),
        low + (2 * cells + 1) * half,
        jnp.broadcast_to(half, cells.shape),
        sums,
        lambda of_windows: of_windows[:, index],
    )


def fit_quadrics(w: Float[Either, " n"], cut: Cut) -> tuple[Windows, Float[Array, " n"]]:
    """Fits a quadric in each window of a cut.

    Args:
      w: inverse depth of the points, shape (N,).
      cut: of the same points.

    Returns:
      The windows, and the residual of each point, shape (N,).
    """
    w = jnp.asarray(w)
    count, total = cut.sums(jnp.stack([jnp.ones_like(w), w])).T
    mean = total / jnp.maximum(count, 1)
    # About the mean: in float32 the curvature would drown in the rounding of w itself.
    centred = w - cut.spread(mean[None])[0]
    products = [part * centred for part in _monomials(cut.local, 2)]
    moments = cut.sums(*_monomials(cut.local, 4), *products)
    matrix, right = moments[:, : len(_POWERS)], moments[:, len(_POWERS) :]
    ridge = jnp.eye(COEFFICIENTS) * (RIDGE * count + 1e-6)[:, None, None]
    coefficients = solve_positive_definite(matrix[:, _NORMAL_MATRIX] + ridge, right)
    residuals = centred - _polynomial(cut.local, cut.spread(coefficients.T))
    mean_square = cut.sums(residuals[None] ** 2)[:, 0] / jnp.maximum(count, 1)
    width, height = cut.extent.T
    areas = jnp.stack([width**2, width * height, height**2], -1)
    windows = Windows(
        centre=cut.centre,
        extent=cut.extent,
        value=mean + coefficients[:, 0],
        gradient=coefficients[:, np.array(_SLOPES)] / cut.extent,
        hessian=coefficients[:, np.array(_CURVATURES)] * np.array([2, 1, 2], np.float32) / areas,
        # Where there is no point the derivative would be infinite.
        residual=jnp.where(count > 0, jnp.sqrt(jnp.where(count > 0, mean_square, 1.0)), 0.0),
        count=count,
        mask=count >= MINIMUM_POINTS,
    )
    return windows, residuals


def _monomials(local: jax.Array, degree: int) -> list[jax.Array]:
    """The monomials of points (N, 2) up to a degree: for each power of q an array (powers, N)."""
    p, q = local.T
    powers = jnp.stack([p**i for i in range(degree + 1)])
    return [powers[: degree + 1 - j] * q**j for j in range(degree + 1)]


def _polynomial(local: jax.Array, coefficients: jax.Array) -> jax.Array:
    """Values at points (N, 2), each of a quadric of its own, coefficients (6, N) as `_BASIS`."""
    p, q = local.T
    terms = [c * p**i * q**j for c, (i, j) in zip(coefficients, _BASIS, strict=True)]
    return functools.reduce(jnp.add, terms)


def solve_positive_definite(
    matrix: Float[Either, "*b n n"], right: Float[Either, "*b n"]
) -> Float[Array, "*b n"]:
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
