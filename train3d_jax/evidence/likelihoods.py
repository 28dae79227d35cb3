"""Log-likelihoods of shift and focal length by windows and pairs of them.

Solver and network share these.  Each window or pair contributes log(1 + odds * likelihood ratio):
it comes from a plane (parallel planes, a right angle) with some odds, and one that does not fit a
value counts no further, so outliers cannot decide.  In the solver all windows and pairs have equal
`Weights`; a network learns them.

Windows have leading axes (..., M), pairs (..., P), shifts (...).
"""

# JAX types many of its functions in part only, hence what is switched off.
# pyright: strict, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int32

from train3d_jax import chunking
from train3d_jax.evidence.settings import (
    CurvatureSettings,
    EvidenceSettings,
)
from train3d_jax.evidence.targets import at_ratio_bins, bin_centres, ratio_bins
from train3d_jax.geometry.affine import Either, Space, ratio_to_shift
from train3d_jax.windows import planes
from train3d_jax.windows.quadrics import Windows
from train3d_jax.windows.spaces import INVERSE_DEPTH

LARGEST = 1e6
"""Curvature, and variance of a cosine, beyond which a window has no effect whatever it measures."""


class Weights(NamedTuple):
    """Factors on the standard deviation, the odds and the weight of windows or pairs.

    Each of shape (..., M) or (..., P), or a number for all.
    """

    sigma: ArrayLike = 1.0
    odds: ArrayLike = 1.0
    weight: ArrayLike = 1.0


EQUAL = Weights()
"""All windows and pairs alike, as in the solver."""


def plane_curvature(
    windows: Windows, settings: CurvatureSettings, largest: float = np.inf
) -> tuple[Float[Array, "*b m"], Float[Array, "*b m"]]:
    """Curvature q along the gradient and its standard deviation, shapes (..., M).

    The standard deviation includes the curvature across the gradient, which a plane does not have;
    see `planes.curvature`.  Neither exceeds `largest`.  Masked windows have q 0 and standard
    deviation 1.
    """
    q, sigma, _ = planes.curvature(windows)
    slope = jnp.maximum((windows.gradient**2).sum(-1), 1e-12)
    h = windows.hessian
    twist = h[..., 0] ** 2 + 2 * h[..., 1] ** 2 + h[..., 2] ** 2 - (q * slope) ** 2
    twist = settings.twist_weight * jnp.sqrt(jnp.maximum(twist, 0) + 1e-12) / slope
    sigma = jnp.sqrt(sigma**2 + twist**2 + settings.sigma**2)
    # Finite where masked, too: 0 times infinity would be the gradient there.
    q = jnp.where(windows.mask, jnp.clip(q, -largest, largest), 0.0)
    return q, jnp.where(windows.mask, jnp.minimum(sigma, largest), 1.0)


def curvature(
    windows: Windows,
    base: Float[Either, "*b"],
    settings: CurvatureSettings,
    weights: Weights = EQUAL,
    largest: float = np.inf,
    space: Space = "depth",
) -> Float[Array, "*b 256"]:
    """Log-likelihood of each shift by how flat planes are; not in disparity space.

    Args:
      windows: fitted to the inverse of `affine.to_depth` with the base.
      base: canonical units, shape (...).
      settings: of this likelihood.
      weights: of the windows.
      largest: bound of the curvature and its standard deviation, which keeps derivatives with
        respect to the weights finite.
      space: of the canonical values, one where planes bend.

    Returns:
      At each of `targets.ratio_bins`, shape (..., SHIFT_BINS).
    """
    inverse_depth = INVERSE_DEPTH[space]
    assert inverse_depth.bend is not None
    bend = inverse_depth.bend
    q, sigma = plane_curvature(windows, settings, largest)
    sigma = sigma * weights.sigma
    odds = settings.odds * weights.odds * jnp.hypot(1.0, settings.spread / sigma)

    def at(shift: jax.Array) -> jax.Array:
        move = inverse_depth.move(shift, base)[..., None]
        of_planes, possible = bend(windows, move, settings.least_depth)
        distance = q - of_planes
        likelihood = jnp.exp(-0.5 * (distance / sigma) ** 2)
        of_windows = jnp.log1p(jnp.where(possible, likelihood, 0.0) * odds)
        return (of_windows * (settings.temper * weights.weight)).sum(-1)

    return jnp.moveaxis(chunking.over_bins(at, ratio_to_shift(ratio_bins())), 0, -1)


def parallelism(
    windows: Windows,
    base: Float[Either, "*b"],
    space: Space,
    settings: EvidenceSettings,
    weights: Weights = EQUAL,
) -> Float[Array, "*b 256"]:
    """Log-likelihood of each shift by how many planes are parallel.

    Args:
      windows: fitted to 1 / (canonical depth + base), or to canonical disparity.
      base: canonical units, shape (...).
      space: of the canonical values.
      settings: of the evidence.
      weights: of the pairs.

    Returns:
      At each of `targets.ratio_bins`, shape (..., SHIFT_BINS).
    """
    parallel = settings.parallel
    pairs = planes.window_pairs(settings.windows.count, parallel.pairs)
    # Gathered once: fused into the loop, pairs would be gathered again for every bin.
    pair = jax.lax.optimization_barrier(planes.gather_pairs(windows, pairs))
    typical = mean_square_gradient(windows)
    odds = parallel.odds * weights.odds
    weight = parallel.independent / parallel.pairs * weights.weight

    def at(shift: jax.Array) -> jax.Array:
        move = INVERSE_DEPTH[space].move(shift, base)
        residuals = planes.parallel_residuals(pair, move[..., None], space)
        likelihood = parallel_likelihood(residuals, typical, parallel.sigma, weights.sigma)
        return (jnp.log1p(odds * likelihood) * weight).sum(-1)

    shifts = ratio_to_shift(bin_centres("shift", parallel.bins))
    return at_ratio_bins(jnp.moveaxis(chunking.over_bins(at, shifts), 0, -1))


def mean_square_gradient(windows: Windows) -> Float[Array, "*b 1"]:
    """Mean square of a component of the gradients of a map's windows (..., M); shape (..., 1)."""
    square = jnp.where(windows.mask, (windows.gradient**2).mean(-1), 0.0).sum(-1, keepdims=True)
    return square / jnp.maximum(windows.mask.sum(-1, keepdims=True), 1) + 1e-6


def parallel_likelihood(
    residuals: planes.ParallelResiduals,
    typical: Float[Array, "*b 1"],
    tolerance: float,
    sigma: ArrayLike = 1.0,
) -> Float[Array, "*b p"]:
    """Likelihood of gradients of parallel planes over that of any other planes of the map.

    Args:
      residuals: of pairs of windows, shape (..., P).
      typical: of `mean_square_gradient`, shape (..., 1).
      tolerance: see `ParallelSettings.sigma`.
      sigma: factor on the standard deviations of noise and tolerance, shape (..., P).

    Returns:
      The ratio to a normal distribution as wide as gradients are, (..., P); 0 where masked.
    """
    variance = residuals.variance + tolerance**2 * (residuals.size2 + typical)
    variance = variance * jnp.asarray(sigma) ** 2
    likelihood = typical / variance * jnp.exp(-0.5 * residuals.distance2 / variance)
    return jnp.where(residuals.mask, likelihood, 0.0)


def right_angles(
    windows: Windows,
    base: Float[Either, "*b"],
    ratios: Float[Either, "*b k"],
    space: Space,
    settings: EvidenceSettings,
    weights: Weights = EQUAL,
    bins: int | None = None,
) -> Float[Array, "*b k f"]:
    """Log-likelihood of each focal length at each of K shifts by right angles.

    Args:
      windows: fitted to 1 / (canonical depth + base), or to canonical disparity.
      base: canonical units, shape (...).
      ratios: near/far ratios of the shifts, shape (..., K).
      space: of the canonical values.
      settings: of the evidence.
      weights: of the pairs.
      bins: of log(focal / f0), if not `settings.angles.bins`.

    Returns:
      At equal bins of log(focal / f0), shape (..., K, bins).
    """
    angles = settings.angles
    pairs = pairs_of(settings)
    odds = angles.odds * weights.odds
    weight = angles.independent / angles.pairs * weights.weight
    variance = (angles.sigma * weights.sigma) ** 2
    log_alpha = jnp.asarray(bin_centres("focal", bins or angles.bins), windows.value.dtype)
    moves = INVERSE_DEPTH[space].move(ratio_to_shift(ratios), base[..., None])

    # One shift after the other: all pairs at all shifts and focal lengths of a batch would be
    # gigabytes.
    def at_shift(move: jax.Array) -> jax.Array:
        pair = jax.lax.optimization_barrier(planes.pair_angles(windows, move, pairs, space))

        def at(alpha2: jax.Array) -> jax.Array:
            product, lengths, noise = normal_products(pair, alpha2)
            shorter = 1 / lengths
            precision = 1 / (jnp.minimum(noise * shorter, LARGEST) + variance)
            cosine2 = jnp.minimum(product**2 * shorter, 1.0)
            likelihood = jnp.exp(-0.5 * cosine2 * precision) * jnp.sqrt(precision)
            # Finite where masked, too: 0 times infinity would be the gradient there.
            return (jnp.log1p(jnp.where(pair.mask, odds * likelihood, 0.0)) * weight).sum(-1)

        return jnp.moveaxis(chunking.over_bins(at, jnp.exp(2 * log_alpha)), 0, -1)

    return jnp.moveaxis(jax.lax.map(at_shift, jnp.moveaxis(moves, -1, 0)), 0, -2)


def normal_products(
    pair: planes.PairAngles, alpha2: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Products of the normals of pairs of windows under focal ratios.

    Args:
      pair: the pairs.
      alpha2: squared focal ratios, of a shape that broadcasts with that of the pairs.

    Returns:
      The products, the product of the squared lengths, and the variance of the products by the
      noise of the fits, of the common shape.
    """
    lengths = jnp.maximum(
        (alpha2 * pair.slopes[0] + pair.offsets[0]) * (alpha2 * pair.slopes[1] + pair.offsets[1]),
        1e-12,
    )
    product = alpha2 * pair.across + pair.along
    noise = jnp.maximum((alpha2 * pair.noise[0] + pair.noise[1]) * alpha2 + pair.noise[2], 0.0)
    return product, lengths, noise


def pairs_of(settings: EvidenceSettings) -> Int32[np.ndarray, "p 2"]:
    """The pairs of windows whose angles are evaluated, shape (pairs, 2)."""
    return planes.window_pairs(settings.windows.count, settings.angles.pairs)
