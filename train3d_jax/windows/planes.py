"""Constraints that planes put on shift and focal length, from windows fitted to inverse depth.

Quadrics are fitted in windows of the image plane to the canonical inverse depth w as a function of
the viewing ray (u, v) (`quadrics`).  Three properties of planes follow:

* On a plane the true inverse depth is affine in (u, v), whatever the focal length.  Where the depth
  lacks a shift s, w = 1 / (z - s) is curved: its Hessian is q g g^T with g its gradient and
  q = 2 s / (1 + s w).  So every window on a plane votes for a shift (`shift_votes`).
* A plane with 1/z = g . (u, v) + m has, under a focal length alpha times the one that the rays were
  made with, the normal (alpha g, m).  Two planes at a right angle satisfy
  alpha^2 g1 . g2 + m1 m2 = 0.  So every pair of windows votes for a focal ratio (`focal_votes`).
* Parallel planes have (g1, m1) and (g2, m2) in one ratio, whatever the focal length, and m depends
  on the shift.  So every pair of windows constrains the shift (`parallel_residuals`).

In disparity space w is the canonical disparity itself.  A shift leaves planes flat there, so only
parallel planes and angles constrain it.  In log space a wrong ratio of near to far bends planes, as
a wrong shift does in depth space (`spaces`).

Functions take any leading axes; M windows or P pairs of them lie along the last one.
"""

# JAX types many of its functions in part only, hence what is switched off.
# pyright: strict, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Int32

from train3d_jax.geometry.affine import Either, Space
from train3d_jax.windows.quadrics import COEFFICIENTS, Windows
from train3d_jax.windows.spaces import INVERSE_DEPTH

Indices = Int[Either, " p"]
"""Of windows, the first or the second ones of P pairs."""


class Votes(NamedTuple):
    """Estimates of one unknown, one from each window or pair of windows.

    Attributes:
      value: the unknown, shape (..., M); 0 where `mask` is False.
      sigma: standard deviation of the value by the residuals of the fits, shape (..., M).
      mask: where there is an estimate, shape (..., M).
    """

    value: jax.Array
    sigma: jax.Array
    mask: jax.Array


RESIDUAL_FLOOR = 1e-5
"""Residuals below this are rounding (float32, 16-bit files), in units of w near 1."""

_HESSIAN_NOISE = 6.7
_TWIST_NOISE = 3.0
_GRADIENT_NOISE = 1.73
"""Standard deviation of a fitted second, mixed and first derivative per noise / sqrt(points).

For points spread evenly over [-1, 1]: 2 / sqrt(4/45), 1 / (1/3) and 1 / sqrt(1/3), from the
variances of p^2, p q and p."""


class Curvature(NamedTuple):
    """Curvature of w along its own gradient; each of shape (..., M).

    Attributes:
      q: of `hessian = q g g^T`, in the least-squares sense.
      sigma: standard deviation of q by the residual of the fit.
      misfit: root mean square of the rest of the Hessian over that of its noise: about 1 on a
        plane that lacks a shift.
    """

    q: jax.Array
    sigma: jax.Array
    misfit: jax.Array


def curvature(windows: Windows) -> Curvature:
    """Measures how w is curved along its gradient, and how unlike a shifted plane that is."""
    g, h = windows.gradient, windows.hessian
    slope = jnp.maximum((g**2).sum(-1), 1e-12)
    along = h[..., 0] * g[..., 0] ** 2 + 2 * h[..., 1] * g[..., 0] * g[..., 1]
    along = (along + h[..., 2] * g[..., 1] ** 2) / slope
    q = along / slope
    rest = h[..., 0] ** 2 + 2 * h[..., 1] ** 2 + h[..., 2] ** 2 - along**2
    width, height = windows.extent[..., 0], windows.extent[..., 1]
    noise = _noise(windows)
    uu, vv = (noise * _HESSIAN_NOISE / side**2 for side in (width, height))
    uv = noise * _TWIST_NOISE / (width * height)
    cosine, sine = jnp.moveaxis(g / jnp.sqrt(slope)[..., None], -1, 0)
    along_noise = jnp.sqrt(
        (uu * cosine**2) ** 2 + (2 * uv * cosine * sine) ** 2 + (vv * sine**2) ** 2
    )
    whole_noise = jnp.sqrt(uu**2 + 2 * uv**2 + vv**2)
    misfit = jnp.sqrt(jnp.maximum(rest, 0.0) + 1e-12) / whole_noise
    return Curvature(q, along_noise / slope, misfit)


def shift_votes(windows: Windows) -> Votes:
    """Each window's vote for the near/far ratio of the true depth (see `affine.shift_to_ratio`).

    With q of `curvature`, the shift is s = q / (2 - q w) and the ratio, which stays finite for any
    slope, ((2 - q w) / 2 + q) / (2 - q w + q).

    Args:
      windows: fitted to w = 1 / canonical depth.

    Returns:
      Votes for the ratio; those outside [-0.25, 1.25] are masked.
    """
    q, q_sigma, _ = curvature(windows)
    half_turn = 2 - q * windows.value
    divisor = half_turn + q
    possible = windows.mask & (divisor > 1e-3)
    divisor = jnp.where(possible, divisor, 1.0)
    ratio = (half_turn / 2 + q) / divisor
    possible &= (ratio > -0.25) & (ratio < 1.25)
    return Votes(jnp.where(possible, ratio, 0.0), q_sigma / divisor**2, possible)


def plane_normals(
    windows: Windows, move: Float[Either, "*b"], space: Space
) -> tuple[Float[Array, "*b m 2"], Float[Array, "*b m"]]:
    """The tangent planes of the windows under a shift.

    Args:
      windows: fitted to w = 1 / canonical depth, or to canonical disparity.
      move: of the shift, see `spaces`: in depth and disparity space the shift beside the one that
        the windows were fitted with, canonical units; shape (...).
      space: of the canonical values.

    Returns:
      (g, m), shapes (..., M, 2) and (..., M): the plane's normal for a focal ratio alpha is
      proportional to (alpha g, m).
    """
    over_slope = INVERSE_DEPTH[space].over_slope(windows.value, move[..., None])
    return windows.gradient, over_slope - (windows.gradient * windows.centre).sum(-1)


class PairAngles(NamedTuple):
    """The angle between the planes of pairs of windows, as polynomials of the focal ratio alpha.

    With a = alpha^2, n1 . n2 = a * across + along; |n|^2 = a * slopes + offsets; the variance of
    n1 . n2 by the fits' noise is a^2 * noise[0] + a * noise[1] + noise[2].  Each of shape (..., P).
    """

    across: jax.Array
    along: jax.Array
    slopes: tuple[jax.Array, jax.Array]
    offsets: tuple[jax.Array, jax.Array]
    noise: tuple[jax.Array, jax.Array, jax.Array]
    mask: jax.Array


def pair_angles(
    windows: Windows, move: Float[Either, "*b"], pairs: Int[Either, "p 2"], space: Space
) -> PairAngles:
    """The angles of pairs of windows' planes, for any focal ratio; arguments as of `focal_votes`.

    n = (alpha g, m), and m depends on g too, through the window's centre c: n1 . n2 changes with
    g1 by alpha^2 g2 - m2 c1.
    """
    g, m = plane_normals(windows, move, space)
    first, second = pairs[:, 0], pairs[:, 1]
    noise = gradient_variance(windows)

    def variance(one: Indices, other: Indices) -> tuple[jax.Array, jax.Array, jax.Array]:
        lever = m[..., other, None] * windows.centre[..., one, :]
        g_other, noise_one = g[..., other, :], noise[..., one, :]
        return (
            (g_other**2 * noise_one).sum(-1),
            -2 * (g_other * lever * noise_one).sum(-1),
            (lever**2 * noise_one).sum(-1),
        )

    square = (g**2).sum(-1)
    quadratic, linear, constant = (
        x + y for x, y in zip(variance(first, second), variance(second, first), strict=True)
    )
    return PairAngles(
        across=(g[..., first, :] * g[..., second, :]).sum(-1),
        along=m[..., first] * m[..., second],
        slopes=(square[..., first], square[..., second]),
        offsets=(m[..., first] ** 2, m[..., second] ** 2),
        noise=(quadratic, linear, constant),
        mask=windows.mask[..., first] & windows.mask[..., second],
    )


class Pairs(NamedTuple):
    """Measurements of pairs of windows that do not depend on a shift; each of shape (..., P).

    Attributes:
      values: w of both.
      rise: change of w of the first window's plane up to the second's centre.
      squares: squared gradients of w of both.
      across: product of the two gradients.
      noise: variance of a component of the gradient by the fit's noise, of both.
      mask: both windows count.
    """

    values: tuple[jax.Array, jax.Array]
    rise: jax.Array
    squares: tuple[jax.Array, jax.Array]
    across: jax.Array
    noise: tuple[jax.Array, jax.Array]
    mask: jax.Array


class ParallelResiduals(NamedTuple):
    """How far the planes of pairs of windows are from parallel; each of shape (..., P).

    Attributes:
      distance2: squared distance between the gradient measured in the second window and that of a
        plane through its centre which is parallel to the first window's plane.
      variance: of either component of that difference by the fits' noise.
      size2: mean of the two squared gradients.
      mask: pairs of which both planes are in front of the camera.
    """

    distance2: jax.Array
    variance: jax.Array
    size2: jax.Array
    mask: jax.Array


LARGEST_RATIO = 20.0
"""Of the gradients of two parallel planes.  Where one plane is seen nearly edge on, the other could
be compared with its noise alone."""


def gather_pairs(windows: Windows, pairs: Int[Either, "p 2"]) -> Pairs:
    """Gathers the measurements of pairs of windows.

    Args:
      windows: fitted to w = 1 / canonical depth, or to canonical disparity.
      pairs: indices of windows, shape (P, 2).
    """
    first, second = pairs[:, 0], pairs[:, 1]
    g, w = windows.gradient, windows.value
    noise = gradient_variance(windows).mean(-1)
    square = (g**2).sum(-1)
    return Pairs(
        values=(w[..., first], w[..., second]),
        rise=(
            g[..., first, :] * (windows.centre[..., second, :] - windows.centre[..., first, :])
        ).sum(-1),
        squares=(square[..., first], square[..., second]),
        across=(g[..., first, :] * g[..., second, :]).sum(-1),
        noise=(noise[..., first], noise[..., second]),
        mask=windows.mask[..., first] & windows.mask[..., second],
    )


def parallel_residuals(pair: Pairs, move: Float[Either, "..."], space: Space) -> ParallelResiduals:
    """Compares the planes of pairs of windows with parallel ones, under a shift.

    Parallel planes share a vanishing line: the line where true inverse depth is 0.  So the ratio of
    their inverse depths is the same everywhere, and their gradients have it too: with W1 the first
    plane's inverse depth extrapolated to the second window's centre, and W2 the one measured there,
    a parallel plane has the gradient g1 W2 / W1.  The focal length cancels.  Gradients are compared
    as they are measured, before the shift is taken off: otherwise a shift that makes all gradients
    small would make all planes look parallel.

    Args:
      pair: of `gather_pairs`.
      move: of the shift, as of `plane_normals`; of a shape that broadcasts with that of the pairs.
      space: of the canonical values.
    """
    true, continued, slopes, possible = INVERSE_DEPTH[space].continued(pair.values, pair.rise, move)
    mask = pair.mask & possible & (jnp.abs(continued) > 1e-4)
    ratio = slopes * true / jnp.where(mask, continued, 1.0)
    mask &= jnp.abs(ratio) < LARGEST_RATIO
    ratio = jnp.where(mask, ratio, 1.0)
    parallel2 = ratio**2 * pair.squares[0]
    return ParallelResiduals(
        distance2=jnp.maximum(pair.squares[1] - 2 * ratio * pair.across + parallel2, 0.0),
        variance=pair.noise[1] + ratio**2 * pair.noise[0],
        size2=(pair.squares[1] + parallel2) / 2,
        mask=mask,
    )


def window_pairs(windows: int, count: int) -> Int32[np.ndarray, "n 2"]:
    """A fixed random choice of pairs out of so many windows, shape (count, 2), or all if fewer.

    A smaller count gives the first pairs of a larger one.
    """
    first, second = np.triu_indices(windows, 1)
    chosen = np.random.default_rng(0).permutation(len(first))[:count]
    return np.stack([first[chosen], second[chosen]], -1).astype(np.int32)


def focal_votes(
    windows: Windows, move: Float[Either, "*b"], pairs: Int[Either, "p 2"], space: Space
) -> Votes:
    """Each pair's vote for log(alpha), on the assumption that its planes are at a right angle.

    Args:
      windows: fitted to w = 1 / canonical depth, or to canonical disparity.
      move: as of `plane_normals`, shape (...).
      pairs: indices of windows, shape (P, 2).
      space: of the canonical values.

    Returns:
      Votes for log(alpha), (..., P); a pair whose planes no focal length makes orthogonal is
      masked.
    """
    pair = pair_angles(windows, move, pairs, space)
    across, along = pair.across, pair.along
    possible = pair.mask & (across * along < 0)
    possible &= (jnp.abs(across) > 1e-8) & (jnp.abs(along) > 1e-8)
    ratio = jnp.where(possible, -along, 1.0) / jnp.where(possible, across, 1.0)
    # n1 . n2 = alpha^2 across + along changes by 2 |along| for each unit of log(alpha) there.
    quadratic, linear, constant = pair.noise
    variance = jnp.maximum((ratio * quadratic + linear) * ratio + constant, 0.0)
    sigma = jnp.sqrt(variance + 1e-20) / jnp.where(possible, 2 * jnp.abs(along), 1.0)
    log_alpha = jnp.log(ratio) / 2
    return Votes(jnp.where(possible, log_alpha, 0.0), sigma, possible)


def gradient_variance(windows: Windows) -> jax.Array:
    """Variance of both components of the gradient by the fit's noise, (..., M, 2)."""
    return ((_noise(windows) * _GRADIENT_NOISE)[..., None] / windows.extent) ** 2


def _noise(windows: Windows) -> jax.Array:
    """Standard deviation of the mean of a window by its residual, less six degrees of freedom."""
    freedom = jnp.maximum(windows.count - COEFFICIENTS, 1.0)
    return jnp.maximum(windows.residual, RESIDUAL_FLOOR) / jnp.sqrt(freedom)
