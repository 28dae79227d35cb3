"""Whether a map shows planes of one direction only, which leaves the focal length unobservable."""

# JAX types many of its functions in part only, hence what is switched off.
# pyright: strict, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from train3d_jax.evidence.settings import EvidenceSettings
from train3d_jax.evidence.window_fit import WindowFit
from train3d_jax.geometry import affine
from train3d_jax.geometry.affine import Either, Space
from train3d_jax.windows import planes
from train3d_jax.windows.spaces import INVERSE_DEPTH

SCALE = 1
"""Which grid's windows are compared.  Chosen: one alone, so that areas count once; the second."""

FLAT_RESIDUAL = 0.003
"""Residual relative to w below which a window is flat on any map.  Chosen."""

TYPICAL_QUANTILE = 0.2
"""Of the relative residuals of a map, as `WindowSettings.noise_quantile`.  Chosen."""

ONE_DIRECTION_COSINE = 0.985
"""Planes within ten degrees have one direction.  Chosen."""


def plane_share(
    fit: WindowFit,
    space: Space,
    settings: EvidenceSettings,
    shift: Float[Either, " b"],
    alpha: Float[Either, " b"],
) -> Float[Array, " b"]:
    """The largest share of the flat windows whose planes have one direction.

    Args:
      fit: the windows of the maps, leading axis B.
      space: of the maps' values.
      settings: that the windows were fitted with.
      shift: canonical units, shape (B,).
      alpha: focal length over that of the rays that the windows were fitted to, shape (B,).

    Returns:
      Shape (B,), in [0, 1]; 1 where no window is flat.
    """
    grids = settings.windows.grids
    start = sum(across * down for across, down in grids[:SCALE])
    part = slice(start, start + grids[SCALE][0] * grids[SCALE][1])
    windows = jax.tree.map(lambda of_all: of_all[:, part], fit.windows)
    move = INVERSE_DEPTH[space].move(shift, fit.base)[:, None]
    relative, mask = INVERSE_DEPTH[space].noise(windows, move, settings.curvature.least_depth)
    (typical,) = affine.masked_quantiles(relative, mask, (TYPICAL_QUANTILE,))
    weight = windows.count * (mask & (relative < 3 * typical[:, None] + FLAT_RESIDUAL))
    g, m = planes.plane_normals(windows, move[:, 0], space)
    normal = jnp.concatenate([alpha[:, None, None] * g, m[..., None]], -1)
    normal = normal / jnp.sqrt((normal**2).sum(-1, keepdims=True) + 1e-12)
    cosine = jnp.einsum("bic,bjc->bij", normal, normal, precision="highest")
    alike = ((jnp.abs(cosine) > ONE_DIRECTION_COSINE) * weight[:, None]).sum(-1)
    total = weight.sum(-1)
    return jnp.where(total > 0, alike.max(-1) / jnp.maximum(total, 1), 1.0)
