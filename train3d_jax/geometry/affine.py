"""The canonical form of a depth map, and the distortion by a wrong shift and focal length.

A depth network gives depth up to an unknown scale and shift.  `canonicalise` maps every a * d + b
(a > 0) to one and the same canonical depth, so nothing computed from it can depend on the arbitrary
scale and shift of the network; training and inference both call it.

True depth is `z = scale * (d + shift)` with d canonical.  In disparity space the same holds for the
inverse: `1 / z = scale * (d + shift)`.  In log space the logarithm of depth is affine in d; its
shift is the one that gives the two quantiles the depths that they have in depth space, 0.5 + shift
and 1 + shift, between which depth is interpolated geometrically: `z = scale * (1 + shift) *
exp(2 (d - 1) log_range(shift))`.  The space is "depth", "disparity" or "log" and always explicit.
"""

# JAX types many of its functions in part only, hence what is switched off.
# pyright: strict, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

import math
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from train3d_jax.geometry import camera
from train3d_jax.geometry.camera import Numbers, array_namespace

Space = Literal["depth", "disparity", "log"]

NETWORK_SPACES: tuple[Space, ...] = ("depth", "disparity")
"""Those that networks are trained in, and that the weights of the package cover."""

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

LARGEST_EXPONENT = 30.0
"""Of depth over the far quantile in log space: 1e13, of which float32 holds the square."""

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


def log_range(shift: Numbers) -> Float[camera.Array, "..."]:
    """The logarithm of far over near that a canonical shift means: `-log(shift_to_ratio(shift))`.

    Args:
      shift: canonical units above -0.5, any shape, a number or an array of numpy or JAX.

    Returns:
      > 0, as `shift`; exact to the last digits where near and far are nearly the same.
    """
    namespace = array_namespace(shift)
    return -namespace.log1p((NEAR_VALUE - FAR_VALUE) / (FAR_VALUE + namespace.asarray(shift)))


def log_slope(shift: Numbers) -> Float[camera.Array, "..."]:
    """By how much the logarithm of depth grows for each canonical unit in log space."""
    return log_range(shift) / (FAR_VALUE - NEAR_VALUE)


def to_depth(values: Float[Either, "... n"], shift: Numbers, space: Space) -> Float[Array, "... n"]:
    """Depth, up to scale, of canonical values under a shift.

    Args:
      values: canonical depth, disparity or log depth, shape (..., N).
      shift: canonical units, shape (...).
      space: of `values`.

    Returns:
      Depth, shape (..., N); not positive or not finite where the shift does not fit the value.
    """
    if space == "log":
        shift = jnp.asarray(shift)[..., None]
        exponent = log_slope(shift) * (jnp.asarray(values) - FAR_VALUE)
        return (FAR_VALUE + shift) * jnp.exp(jnp.minimum(exponent, LARGEST_EXPONENT))
    shifted = jnp.asarray(values) + jnp.asarray(shift)[..., None]
    return shifted if space == "depth" else 1 / shifted


def from_depth(
    depth: Float[Either, "... n"], shift: Numbers, space: Space
) -> Float[Array, "... n"]:
    """The canonical values that a shift makes a depth of: the inverse of `to_depth`."""
    depth, shift = jnp.asarray(depth), jnp.asarray(shift)[..., None]
    if space == "log":
        return FAR_VALUE + jnp.log(depth / (FAR_VALUE + shift)) / log_slope(shift)
    return (depth if space == "depth" else 1 / depth) - shift


def coefficients(
    scale: Numbers, offset: Numbers, shift: Numbers, space: Space, unit: Numbers = 1.0
) -> tuple[Any, Any]:
    """The a and b of the input under a shift: depth is a * input + b.

    In disparity space that is the inverse of depth, in log space its logarithm.

    Args:
      scale: of the input's canonical form, see `Canonical`; any shape.
      offset: likewise.
      shift: canonical units.
      space: of the input.
      unit: factor on depth (in disparity space on its inverse).
    """
    if space == "log":
        slope, namespace = log_slope(shift), array_namespace(shift)
        of_far = namespace.log(namespace.asarray((FAR_VALUE + shift) * unit))
        return slope * scale, slope * (offset - FAR_VALUE) + of_far
    return scale * unit, (offset + shift) * unit


def distort(
    points: Float[Either, "... n 3"], shift: Numbers, alpha: Numbers, space: Space
) -> Float[Array, "... n 3"]:
    """A true cloud as unprojected without its shift and with a wrong focal length.

    Args:
      points: a true cloud, its depth (or disparity) in canonical units, shape (..., N, 3).
      shift: canonical units, missing from the distorted depth (or disparity, log depth), (...).
      alpha: true focal length over that of the unprojection, shape (...).
      space: of the shift.

    Returns:
      The distorted cloud, shape (..., N, 3).
    """
    shift = jnp.asarray(shift)
    return _reshape_cloud(points, (shift, jnp.zeros_like(shift)), jnp.asarray(alpha), space)


def straighten(
    points: Float[Either, "... n 3"], shift: Numbers, alpha: Numbers, space: Space
) -> Float[Array, "... n 3"]:
    """Applies an estimate of shift and focal ratio to a distorted cloud: inverse of `distort`."""
    shift = jnp.asarray(shift)
    return _reshape_cloud(points, (jnp.zeros_like(shift), shift), 1 / jnp.asarray(alpha), space)


def _reshape_cloud(
    points: Float[Either, "... n 3"],
    shifts: tuple[Float[Array, "..."], Float[Array, "..."]],
    stretch: Float[Array, "..."],
    space: Space,
) -> Float[Array, "... n 3"]:
    """A cloud that was made with the first shift, with the second."""
    points = jnp.asarray(points)
    depth = points[..., 2]
    directions = points[..., :2] / depth[..., None] * stretch[..., None, None]
    moved = to_depth(from_depth(depth, shifts[0], space), shifts[1], space)[..., None]
    return jnp.concatenate([directions * moved, moved], -1)
