"""The canonical form of a depth map, and the distortion by a wrong shift and focal length.

A depth network gives depth up to an unknown scale and shift.  `canonicalise` maps every a * d + b
(a > 0) to one and the same canonical depth, so nothing computed from it can depend on the arbitrary
scale and shift of the network; training and inference both call it.

True depth is `z = scale * (d + shift)` with d canonical.  In disparity space the same holds for the
inverse: `1 / z = scale * (d + shift)`.  The space is "depth" or "disparity" and always explicit.
"""

# JAX types many of its functions in part only, hence what is switched off.
# pyright: strict, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

import math
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from train3d_jax.geometry import camera
from train3d_jax.geometry.camera import Numbers, array_namespace

Space = Literal["depth", "disparity"]

Either = Array | np.ndarray
"""An array of JAX or numpy."""

NEAR_QUANTILE, FAR_QUANTILE = 0.02, 0.98
"""In place of the smallest and the largest value: a few outliers do not move them.  The far one is
that of LeReS, section 3.2; the near one mirrors it."""

NEAR_VALUE, FAR_VALUE = 0.5, 1.0
"""Canonical values of the two quantiles.  LeReS, section 3.2, moves the minimum to 0.5 and then
divides by the 98th percentile; two fixed values make the form invariant to any affine change."""

SMALLEST_VALUE = 0.05
"""Canonical values below this are left out of clouds.  They lie far under the near quantile, and
values of 0 and less, unprojected with shift 0, would lie behind the camera.  Chosen."""

MINIMUM_PIXELS = 16
"""Fewer valid pixels than this have no meaningful quantiles.  Chosen."""


class Canonical(NamedTuple):
    """Canonical values, and the affine map from the input: `values = scale * input + offset`.

    Attributes:
      values: canonical depth or disparity, shape (..., N); 0 where `mask` is False.
      mask: pixels that hold a value, shape (..., N); all False where `solvable` is.
      scale: canonical units per unit of the input, > 0, shape (...).
      offset: canonical units, shape (...).
      solvable: False where there are too few valid pixels or no spread between them, shape (...).
    """

    values: Float[Array, "*b n"]
    mask: Bool[Array, "*b n"]
    scale: Float[Array, "*b"]
    offset: Float[Array, "*b"]
    solvable: Bool[Array, "*b"]


def canonicalise(values: Float[Either, "*b n"], mask: Bool[Either, "*b n"]) -> Canonical:
    """Brings depth or disparity to canonical form: 2 % quantile to 0.5, 98 % quantile to 1.

    Where the input is the true depth (or disparity), the canonical shift is `-offset` and the scale
    of the module's formula is `1 / scale`.

    Args:
      values: depth or disparity in any affine unit, shape (..., N).
      mask: pixels that hold a value, shape (..., N); values that are not finite are left out too.

    Returns:
      The canonical form; a map that has none (`solvable` False) has scale 1 and offset 0.
    """
    values = jnp.asarray(values)
    mask = jnp.asarray(mask, bool) & jnp.isfinite(values)
    near, far = masked_quantiles(values, mask, (NEAR_QUANTILE, FAR_QUANTILE))
    rounding = 8 * jnp.finfo(values.dtype).eps * jnp.maximum(jnp.abs(near), jnp.abs(far))
    solvable = (mask.sum(-1) >= MINIMUM_PIXELS) & (far - near > rounding)
    spread = jnp.where(solvable, far - near, 1.0)
    scale = jnp.where(solvable, (FAR_VALUE - NEAR_VALUE) / spread, 1.0)
    offset = jnp.where(solvable, NEAR_VALUE - near * scale, 0.0)
    mask = mask & solvable[..., None]
    # (value - near) first: multiplying out would cancel digits where the offset is large.
    canonical = NEAR_VALUE + (values - near[..., None]) * scale[..., None]
    return Canonical(jnp.where(mask, canonical, 0.0), jnp.asarray(mask), scale, offset, solvable)


def masked_quantiles(
    values: Float[Array, "*b n"], mask: Bool[Array, "*b n"], quantiles: tuple[float, ...]
) -> tuple[Float[Array, "*b"], ...]:
    """Linearly interpolated quantiles of the values where `mask` holds; 0 where it never does.

    Args:
      values: shape (..., N).
      mask: shape (..., N).
      quantiles: in [0, 1].

    Returns:
      For each quantile an array of shape (...).
    """
    last = jnp.maximum(mask.sum(-1) - 1, 0)

    def at(quantile: float) -> Float[Array, "*b"]:
        # Sort only the few values beyond the quantile, from the nearer end.
        upwards = quantile <= 0.5
        most = math.ceil(min(quantile, 1 - quantile) * (values.shape[-1] - 1)) + 2
        sign = -1 if upwards else 1
        ends, _ = jax.lax.top_k(
            jnp.where(mask, sign * values, -jnp.inf), min(most, values.shape[-1])
        )
        position = quantile * last.astype(values.dtype)
        below = jnp.floor(position).astype(jnp.int32)
        above = jnp.minimum(below + 1, last)
        lower, upper = (
            sign * jnp.take_along_axis(ends, (index if upwards else last - index)[..., None], -1)
            for index in (below, above)
        )
        value = lower + (upper - lower) * (position - below)[..., None]
        return jnp.where(mask.any(-1), value[..., 0], 0.0)

    return tuple(at(quantile) for quantile in quantiles)


def shift_to_ratio(shift: Numbers) -> Float[camera.Array, "..."]:
    """The ratio of the near to the far quantile of the true values that a canonical shift means.

    With the quantiles at 0.5 and 1 it is (0.5 + shift) / (1 + shift).  Unlike the shift, which has
    no upper bound, the ratio of true depths lies in (0, 1): it is what networks are trained on.

    Args:
      shift: canonical units, any shape, a number or an array of numpy or JAX.

    Returns:
      As `shift`; numpy for a number.
    """
    shift = array_namespace(shift).asarray(shift)
    return (NEAR_VALUE + shift) / (FAR_VALUE + shift)


def ratio_to_shift(ratio: Numbers) -> Float[camera.Array, "..."]:
    """The inverse of `shift_to_ratio`, for ratios below 1."""
    ratio = array_namespace(ratio).asarray(ratio)
    return (ratio * FAR_VALUE - NEAR_VALUE) / (1 - ratio)


def to_depth(values: Float[Either, "... n"], shift: Numbers, space: Space) -> Float[Array, "... n"]:
    """Depth, up to scale, of canonical values under a shift.

    Args:
      values: canonical depth or disparity, shape (..., N).
      shift: canonical units, shape (...).
      space: of `values`.

    Returns:
      Depth, shape (..., N); not positive or not finite where the shift does not fit the value.
    """
    shifted = jnp.asarray(values) + jnp.asarray(shift)[..., None]
    return shifted if space == "depth" else 1 / shifted


def distort(
    points: Float[Either, "... n 3"], shift: Numbers, alpha: Numbers, space: Space
) -> Float[Array, "... n 3"]:
    """A true cloud as unprojected without its shift and with a wrong focal length.

    Args:
      points: a true cloud, its depth (or disparity) in canonical units, shape (..., N, 3).
      shift: canonical units, missing from the distorted depth (or disparity), shape (...).
      alpha: true focal length over that of the unprojection, shape (...).
      space: of the shift.

    Returns:
      The distorted cloud, shape (..., N, 3).
    """
    return _reshape_cloud(points, -jnp.asarray(shift), jnp.asarray(alpha), space)


def straighten(
    points: Float[Either, "... n 3"], shift: Numbers, alpha: Numbers, space: Space
) -> Float[Array, "... n 3"]:
    """Applies an estimate of shift and focal ratio to a distorted cloud: inverse of `distort`."""
    return _reshape_cloud(points, jnp.asarray(shift), 1 / jnp.asarray(alpha), space)


def _reshape_cloud(
    points: Float[Either, "... n 3"],
    shift: Float[Array, "..."],
    stretch: Float[Array, "..."],
    space: Space,
) -> Float[Array, "... n 3"]:
    points = jnp.asarray(points)
    depth = points[..., 2]
    directions = points[..., :2] / depth[..., None] * stretch[..., None, None]
    moved = to_depth(depth if space == "depth" else 1 / depth, shift, space)[..., None]
    return jnp.concatenate([directions * moved, moved], -1)
