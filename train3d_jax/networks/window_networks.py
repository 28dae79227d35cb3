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
    neighbour, inside = _neighbours(grids)
    other = jax.tree.map(lambda of_windows: of_windows[:, neighbour], windows)
    here = jax.tree.map(lambda of_windows: of_windows[:, :, None], windows)
    both = inside & here.mask & other.mask
    apart, rise = other.centre - here.centre, other.value - here.value
    gradients = jnp.stack(jnp.broadcast_arrays(here.gradient, other.gradient), 3)
    values = jnp.stack(jnp.broadcast_arrays(other.value, here.value), 3)
    residual = jnp.abs(rise[..., None] - (gradients * apart[..., None, :]).sum(-1))
    residual = residual / jnp.maximum(values, LEAST_VALUE)
    residual = jnp.log(jnp.minimum(residual, LARGEST_RESIDUAL) + LEAST_RESIDUAL)
    features = jnp.where(both[..., None], (residual + 4) / 3, 0.0)
    return features.reshape(*features.shape[:2], -1)


def _neighbours(grids: tuple[Grid, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The windows left, right, above and below of each, and whether there are any, (M, 4)."""
    neighbours, inside, start = [], [], 0
    for across, down in grids:
        row, column = np.mgrid[:down, :across].reshape(2, -1, 1)
        row, column = row + np.array([0, 0, -1, 1]), column + np.array([-1, 1, 0, 0])
        inside.append((row >= 0) & (row < down) & (column >= 0) & (column < across))
        neighbours.append(start + row.clip(0, down - 1) * across + column.clip(0, across - 1))
        start += across * down
    return np.concatenate(neighbours), np.concatenate(inside)


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
