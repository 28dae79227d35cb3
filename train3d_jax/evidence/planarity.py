"""Whether a map shows planes of one direction only, which leaves the focal length unobservable."""

# JAX types many of its functions in part only, hence what is switched off.
# pyright: strict, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from train3d_jax.evidence.settings import solver_settings
from train3d_jax.geometry import affine, points
from train3d_jax.geometry.affine import Canonical, Either, Space
from train3d_jax.geometry.clouds import Blocks, block_rays
from train3d_jax.windows import planes
from train3d_jax.windows.block_windows import (
    WindowSettings,
    fit_block_windows,
    with_noise_floor,
)

WINDOWS = WindowSettings(grids=((11, 11),))
"""The windows whose directions are compared.  Chosen: one scale, so that areas count once."""

FLAT_RESIDUAL = 0.003
"""Residual relative to w below which a window is flat on any map.  Chosen."""

ONE_DIRECTION_COSINE = 0.985
"""Planes within ten degrees have one direction.  Chosen."""


def plane_share(
    blocks: Blocks,
    canonical: Canonical,
    space: Space,
    shift: Float[Either, " b"],
    focal: Float[Either, " b"],
) -> Float[Array, " b"]:
    """The largest share of the flat windows whose planes have one direction.

    Args:
      blocks: the maps, leading axis B.
      canonical: their canonical form.
      space: of their values.
      shift: canonical units, shape (B,).
      focal: pixels, shape (B,).

    Returns:
      Shape (B,), in [0, 1]; 1 where no window is flat.
    """
    least_depth = solver_settings(space).curvature.least_depth

    def one(rays: jax.Array, values: jax.Array, mask: jax.Array, shift: Either) -> jax.Array:
        true = values + shift
        mask = mask & (true > least_depth)
        w = jnp.where(mask, true, 1.0)
        w = 1 / w if space == "depth" else w
        windows = fit_block_windows(rays, w, mask, points.BLOCKS, WINDOWS)
        windows = with_noise_floor(windows, WINDOWS.noise_quantile)
        g, m = planes.plane_normals(windows, jnp.zeros(()), space)
        normal = jnp.concatenate([g, m[:, None]], -1)
        normal = normal / jnp.sqrt((normal**2).sum(-1, keepdims=True) + 1e-12)
        relative = windows.residual / windows.value
        (typical,) = affine.masked_quantiles(relative, windows.mask, (WINDOWS.noise_quantile,))
        weight = windows.count * (windows.mask & (relative < 3 * typical + FLAT_RESIDUAL))
        alike = jnp.abs(normal @ normal.T) > ONE_DIRECTION_COSINE
        total = weight.sum()
        return jnp.where(total > 0, (alike * weight).sum(-1).max() / jnp.maximum(total, 1), 1.0)

    return jax.vmap(one)(block_rays(blocks, focal), canonical.values, canonical.mask, shift)
