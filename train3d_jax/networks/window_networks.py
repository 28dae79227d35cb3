"""Features of windows and of pairs of them, aware of the whole map."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from train3d_jax.geometry import affine
from train3d_jax.networks.encoder import pool, window_features
from train3d_jax.windows import quadrics
from train3d_jax.windows.block_windows import Grid

LEAST_VALUE = 0.1
"""Inverse depth, relative to the far depth's, that residuals are divided by at least.  Chosen."""

LEAST_RESIDUAL, LARGEST_RESIDUAL = 1e-3, 10.0
"""Relative residuals of a tangent plane between which the feature varies.  Chosen."""


def surface_features(
    windows: quadrics.Windows, base: jax.Array, grids: tuple[Grid, ...]
) -> jax.Array:
    """Features of windows, each of order one; shape (B, M, 26).

    In units in which the far depth is 1 under the shift `base` (B,) of the fit.
    """
    far = (affine.FAR_VALUE + base)[:, None]
    windows = windows._replace(
        value=windows.value * far,
        gradient=windows.gradient * far[..., None],
        hessian=windows.hessian * far[..., None],
        residual=windows.residual * far,
    )
    g = windows.gradient
    m = windows.value - (g * windows.centre).sum(-1)
    normal = jnp.concatenate([g, m[..., None]], -1)
    normal = normal / jnp.sqrt((normal**2).sum(-1, keepdims=True) + 1e-6)
    ratio = jnp.broadcast_to(affine.shift_to_ratio(base)[:, None, None], (*m.shape, 1))
    features = [window_features(windows), normal, ratio, continuation(windows, grids)]
    return jnp.where(windows.mask[..., None], jnp.concatenate(features, -1), 0.0)


def continuation(windows: quadrics.Windows, grids: tuple[Grid, ...]) -> jax.Array:
    """How well planes continue into the neighbouring windows, as those of walls and floors do.

    Args:
      windows: of all grids, (B, M).
      grids: windows across and down at each scale.

    Returns:
      For the windows to the left, to the right, above and below in the same grid: the residual of
      the tangent plane at the neighbour's value, and of the neighbour's tangent plane at the value
      here, over that value, as a logarithm of order one; shape (B, M, 8).  0 where there is no
      neighbour.
    """
    parts, start = [], 0
    for across, down in grids:
        part = slice(start, start + across * down)
        start = part.stop
        grid = (x[:, part].reshape(len(x), down, across, *x.shape[2:]) for x in windows)
        parts.append(_residuals(quadrics.Windows(*grid)))
    return jnp.concatenate(parts, 1)


def _residuals(grid: quadrics.Windows) -> jax.Array:
    """`continuation` of one grid, (B, rows, columns) to (B, rows * columns, 8)."""
    rows, columns = grid.value.shape[1:]
    row, column = np.mgrid[:rows, :columns]
    residuals = []
    for down, right in ((0, -1), (0, 1), (-1, 0), (1, 0)):
        inside = (row + down >= 0) & (row + down < rows)
        inside &= (column + right >= 0) & (column + right < columns)
        other = quadrics.Windows(*(jnp.roll(x, (-down, -right), (1, 2)) for x in grid))
        both = inside & grid.mask & other.mask
        apart, rise = other.centre - grid.centre, other.value - grid.value
        for gradient, value in ((grid.gradient, other.value), (other.gradient, grid.value)):
            residual = jnp.abs(rise - (gradient * apart).sum(-1)) / jnp.maximum(value, LEAST_VALUE)
            residual = jnp.log(jnp.minimum(residual, LARGEST_RESIDUAL) + LEAST_RESIDUAL)
            residuals.append(jnp.where(both, (residual + 4) / 3, 0.0))
    return jnp.stack(residuals, -1).reshape(len(grid.value), rows * columns, -1)


class SurfaceNetwork(nn.Module):
    """Features of every window, aware of all the others."""

    width: int
    dtype: Any = None

    @nn.compact
    def __call__(self, features: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Maps (B, M, C) to features of windows, (B, M, width), and the whole, (B, 2 * width)."""
        dense = lambda size: nn.Dense(size, dtype=self.dtype)  # noqa: E731
        hidden = nn.relu(dense(self.width)(features))
        hidden = nn.relu(dense(self.width)(hidden))
        context = nn.relu(dense(2 * self.width)(pool(hidden, mask)))
        for _ in range(2):
            aware = dense(self.width)(hidden) + dense(self.width)(context)[:, None]
            hidden = hidden + dense(self.width)(nn.relu(aware))
            pooled = jnp.concatenate([pool(hidden, mask), context], -1)
            context = nn.relu(dense(2 * self.width)(pooled))
        return nn.relu(hidden), context


class PairNetwork(nn.Module):
    """Features of pairs of windows, whichever of the two is named first."""

    width: int
    dtype: Any = None

    @nn.compact
    def __call__(self, windows, local, context, pairs: np.ndarray) -> jax.Array:
        """Maps features of windows (B, M, width) to those of pairs, (B, len(pairs), width / 2)."""
        hidden = nn.Dense(self.width, dtype=self.dtype)(local)
        one, other = hidden[:, pairs[:, 0]], hidden[:, pairs[:, 1]]
        apart = windows.centre[:, pairs[:, 0]] - windows.centre[:, pairs[:, 1]]
        apart = jnp.sqrt((apart**2).sum(-1, keepdims=True) + 1e-6)
        pair = jnp.concatenate([one + other, one * other, apart], -1)
        pair = nn.Dense(self.width // 2, dtype=self.dtype)(pair)
        return nn.relu(pair + nn.Dense(self.width // 2, dtype=self.dtype)(context)[:, None])
