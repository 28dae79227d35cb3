"""The scale of a recovered map in metres, from one fact: a length, a depth, the camera's height.

Depth is known up to a factor; one distance in the scene fixes it.  How far off metres may be
follows from the intervals of focal length and shift: under their ends the same fact gives the rest
of the map another size.
"""

# JAX types many of its functions in part only, hence what is switched off.
# pyright: strict, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Real

from train3d_jax.errors import Argument, ArgumentError
from train3d_jax.geometry import affine, camera, depth_maps
from train3d_jax.geometry.camera import Numbers
from train3d_jax.placement.facts import CameraHeight, Fact, KnownLength, Pixel
from train3d_jax.placement.upright import upright

SURROUNDING = 1
"""Pixels on each side of the one that is named, whose median depth counts: noise of single pixels
averages out.  Chosen."""


class MetricScale(NamedTuple):
    """Metres of one unit of a recovered depth map.

    Attributes:
      factor: on its depth.
      sigma: standard deviation of the logarithm of metric depths, at the map's median depth, as far
        as focal length and shift are uncertain; facts count as exact.  NaN where no fact can be
        measured under another focal length or shift.
    """

    factor: float
    sigma: float


class Variant(NamedTuple):
    """A map under a focal length and a shift.

    Attributes:
      depth: z, shape (H, W).
      intrinsics: pixels, shape (3, 3).
    """

    depth: Real[np.ndarray, "h w"]
    intrinsics: Real[np.ndarray, "3 3"]


class Unknowns(NamedTuple):
    """What was estimated of a map, and how far it may be off.

    Attributes:
      a: of the estimate: a * input + b is depth, in disparity space its inverse, in log space its
        logarithm.
      b: see `a`.
      canonical: scale and offset of the canonical form.
      shift: canonical units.
      shift_sigma: its standard deviation.
      focal_sigma: of the logarithm of the focal length.
    """

    a: float
    b: float
    canonical: tuple[float, float]
    shift: float
    shift_sigma: float
    focal_sigma: float


def metric_scale(
    facts: Sequence[Fact], recovered: Variant, unknowns: Unknowns, space: affine.Space
) -> MetricScale:
    """The scale by facts on one map; of several facts the geometric mean.

    Args:
      facts: at least one.
      recovered: the map as it was recovered.
      unknowns: of it.
      space: of its values.

    Raises:
      ArgumentError: a fact cannot be measured, and the message says why.
    """
    factor = _mean_factor(facts, recovered)
    pairs = []
    if unknowns.focal_sigma:
        pairs.append([_other_focal(recovered, sign * unknowns.focal_sigma) for sign in (-1, 1)])
    if unknowns.shift_sigma:
        pairs.append([_other_shift(recovered, unknowns, sign, space) for sign in (-1, 1)])
    size = _log_size(facts, recovered)
    variance = sum(_mean_square([_log_size(facts, each) - size for each in pair]) for pair in pairs)
    return MetricScale(factor, float(np.sqrt(variance)))


def scaled(a: Numbers, b: Numbers, factor: Numbers, space: affine.Space) -> tuple[Any, Any]:
    """The a and b of an estimate, of any shape, with depth multiplied by a factor."""
    if space == "log":
        return a, b + np.log(factor)
    factor = factor if space == "depth" else 1 / factor
    return a * factor, b * factor


def _other_focal(recovered: Variant, change: float) -> Variant:
    """The map with another logarithm of the focal length."""
    stretch = np.ones((3, 3))
    stretch[[0, 1], [0, 1]] = np.exp(change)
    return recovered._replace(intrinsics=recovered.intrinsics * stretch)


def _other_shift(
    recovered: Variant, unknowns: Unknowns, sigmas: float, space: affine.Space
) -> Variant:
    """The map with another shift, up to scale, which facts give anew."""
    depth = recovered.depth
    present = depth > 0
    safe = np.where(present, depth, 1).astype(np.float64)
    value = {"depth": safe, "disparity": 1 / safe, "log": np.log(safe)}[space]
    given = np.where(present, (value - unknowns.b) / unknowns.a, 0)
    shift = unknowns.shift + sigmas * unknowns.shift_sigma
    a, b = affine.coefficients(*unknowns.canonical, shift, space)
    return recovered._replace(depth=depth_maps.recovered_depth(given, float(a), float(b), space))


def _mean_factor(facts: Sequence[Fact], variant: Variant) -> float:
    ratios = [fact.metres / _measured(fact, *variant) for fact in facts]
    return float(np.exp(np.mean(np.log(ratios))))


def _log_size(facts: Sequence[Fact], variant: Variant) -> float:
    """Logarithm of the median depth in metres; NaN where facts cannot be measured."""
    depth = variant.depth
    try:
        factor = _mean_factor(facts, variant)
    except ArgumentError:  # as under a shift that bends the floor
        return np.nan
    return float(np.log(factor * np.median(depth[depth > 0])))


def _mean_square(changes: Sequence[float]) -> float:
    """Of the changes that could be measured; NaN where none could."""
    known = np.square([change for change in changes if np.isfinite(change)])
    return float(known.mean()) if len(known) else np.nan


def _measured(fact: Fact, depth: np.ndarray, intrinsics: np.ndarray) -> float:
    """What a fact says in metres, in the unit of a depth map."""
    if isinstance(fact, CameraHeight):
        height = upright(depth, intrinsics).camera_height
        if not np.isfinite(height):
            raise _cannot(fact, "no floor is seen; give a known length or depth instead")
        return height
    if isinstance(fact, KnownLength):
        if fact.first == fact.second:
            raise _cannot(fact, "both ends are one pixel; give the two ends of the length")
        ends = (_point(depth, intrinsics, pixel, fact) for pixel in (fact.first, fact.second))
        return float(np.linalg.norm(next(ends) - next(ends)))
    return float(_point(depth, intrinsics, fact.pixel, fact)[2])


def _point(depth: np.ndarray, intrinsics: np.ndarray, pixel: Pixel, fact: Fact) -> np.ndarray:
    """The point that a pixel shows, in the unit of the depth, shape (3,)."""
    u, v = pixel
    column, row = round(u), round(v)
    height, width = depth.shape
    if not (0 <= column < width and 0 <= row < height):
        raise _cannot(fact, f"pixel {u:g},{v:g} is outside of the map of {width} x {height} pixels")
    if not depth[row, column] > 0:
        raise _cannot(fact, f"pixel {u:g},{v:g} holds no depth; give one that does")
    rows, columns = (slice(max(at - SURROUNDING, 0), at + SURROUNDING + 1) for at in (row, column))
    near = depth[rows, columns]
    z = np.median(near[near > 0])
    return np.append(camera.rays(np.array([[u, v]]), intrinsics)[0] * z, z)


def _cannot(fact: Fact, why: str) -> ArgumentError:
    return ArgumentError(Argument(fact.name, fact), f": {why}")
