"""What tells the spaces of depth maps apart: how inverse depth bends under another shift.

Windows are fitted to an inverse depth w under one shift, their base.  Under another shift the true
inverse depth W is a function of w and of one number m, the move:

  depth      w = 1 / (canonical + base)   W = w / (1 + m w)   m = shift - base
  disparity  w = canonical disparity      W = w + m           m = shift, as the base is 0
  log        w = 1 / `affine.to_depth`    W ~ w^m             m = log_range(shift) / log_range(base)

W over its slope, D = W / (dW / dw), is all that planes need: the plane of a window with gradient g
at the centre c has the normal (g, D - g . c), parallel planes have gradients in the ratio of their
D, and where W is flat the Hessian of w is q g g^T with q = (dD / dw - 1) / D.
"""

# JAX types many of its functions in part only, hence what is switched off.
# pyright: strict, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from train3d_jax.geometry.affine import Space, log_range
from train3d_jax.windows.quadrics import Windows

LEAST_INVERSE = 1e-3
"""Inverse depth, of order one, below which a plane is taken to have left the picture."""


class Continued(NamedTuple):
    """Two windows' inverse depths at the second one's centre, by a common factor each.

    Attributes:
      measured: of the second window.
      continued: of the first one's plane.
      slopes: factor on their ratio that makes it one of gradients of w.
      possible: both planes are in front of the camera.
    """

    measured: Any
    continued: Any
    slopes: Any
    possible: Any


class Bend(NamedTuple):
    """How planes are curved: q of their Hessian q g g^T, and where the shift is possible."""

    q: jax.Array
    possible: jax.Array


class Vote(NamedTuple):
    """Votes of windows for the near/far ratio; see `planes.Votes`."""

    value: jax.Array
    sigma: jax.Array
    mask: jax.Array


class InverseDepth(NamedTuple):
    """The functions of a space; w, m and what they give have one shape.

    Attributes:
      move: m of a shift and a base.
      over_slope: D of w and m.
      continued: of the w of both windows of pairs, the rise of w on the first one's plane up to the
        second one's centre, and m.
      noise: the residual of windows over their inverse depth under m, and where that is possible
        with a least depth.
      bend: of windows under m, and a least depth; None where planes stay flat under every shift.
      vote: of windows, their q and its standard deviation, and the base; None likewise.
      fits: each after the first at the shift at which most windows of the last are flat; whether
        windows turn to one surface in it, see `block_windows.fit_block_windows`.
    """

    move: Callable[[Any, Any], Any]
    over_slope: Callable[[jax.Array, Any], jax.Array]
    continued: Callable[[tuple[jax.Array, jax.Array], jax.Array, Any], Continued]
    noise: Callable[[Windows, Any, float], tuple[jax.Array, jax.Array]]
    bend: Callable[[Windows, Any, float], Bend] | None = None
    vote: Callable[[Windows, jax.Array, jax.Array, jax.Array], Vote] | None = None
    fits: tuple[bool, ...] = (True,)


# Depth: W = w / (1 + m w).


def _depth_continued(values: tuple[jax.Array, jax.Array], rise: jax.Array, move: Any) -> Continued:
    divisors = tuple(1 + move * w for w in values)
    possible = (divisors[0] > 1e-3) & (divisors[1] > 1e-3)
    one, other = (jnp.where(possible, divisor, 1.0) for divisor in divisors)
    # True inverse depth is w / divisor, and changes with w by 1 / divisor^2.
    continued = (values[0] + rise / one) / one
    return Continued(values[1] / other, continued, (other / one) ** 2, possible)


def _depth_noise(windows: Windows, move: Any, least: float) -> tuple[jax.Array, jax.Array]:
    # What w is divided by under the shift, and its tangent plane by the square of it.
    divisor = 1 + move * windows.value
    mask = windows.mask & (divisor > least * windows.value)
    true = windows.value / jnp.where(mask, divisor, 1.0)
    residual = windows.residual / jnp.where(mask, divisor, 1.0) ** 2
    return residual / jnp.where(mask, true, 1.0), mask


def _depth_bend(windows: Windows, move: Any, least: float) -> Bend:
    divisor = 1 + move * windows.value
    possible = windows.mask & (divisor > least)
    return Bend(2 * move / jnp.where(possible, divisor, 1.0), possible)


def _depth_vote(windows: Windows, q: jax.Array, sigma: jax.Array, base: jax.Array) -> Vote:
    """Shift = base + q / (2 - q w), and ratio = 1 - 0.5 / (1 + shift)."""
    half_turn = 2 - q * windows.value
    possible = windows.mask & (half_turn > 0.1)
    half_turn = jnp.where(possible, half_turn, 1.0)
    far = 1 + base + q / half_turn
    possible &= far > 1e-2
    far = jnp.where(possible, far, 1.0)
    return Vote(1 - 0.5 / far, sigma / half_turn**2 / far**2, possible)


# Disparity: W = w + m.


def _disparity_continued(
    values: tuple[jax.Array, jax.Array], rise: jax.Array, move: Any
) -> Continued:
    true = values[1] + move
    continued = values[0] + move + rise
    possible = (true > LEAST_INVERSE) & (values[0] + move > LEAST_INVERSE)
    return Continued(true, continued, 1.0, possible)


def _disparity_noise(windows: Windows, move: Any, least: float) -> tuple[jax.Array, jax.Array]:
    true, residual = windows.value + move, windows.residual
    mask = windows.mask & (true > least)
    return residual / jnp.where(mask, true, 1.0), mask


# Log: W = w^m up to scale, so D = w / m; nothing lies behind the camera.


def _log_continued(values: tuple[jax.Array, jax.Array], rise: jax.Array, move: Any) -> Continued:
    possible = (values[0] > LEAST_INVERSE) & (values[1] > LEAST_INVERSE)
    return Continued(values[1], values[0] + move * rise, 1.0, possible)


def _log_noise(windows: Windows, move: Any, least: float) -> tuple[jax.Array, jax.Array]:
    mask = windows.mask & (windows.value > LEAST_INVERSE)
    return move * windows.residual / jnp.where(mask, windows.value, 1.0), mask


def _log_bend(windows: Windows, move: Any, least: float) -> Bend:
    possible = windows.mask & (windows.value > LEAST_INVERSE)
    return Bend((1 - move) / jnp.where(possible, windows.value, 1.0), possible)


def _log_vote(windows: Windows, q: jax.Array, sigma: jax.Array, base: jax.Array) -> Vote:
    """Move = 1 - q w, and ratio = exp(-move log_range(base))."""
    move = 1 - q * windows.value
    possible = windows.mask & (move > 0) & (windows.value > LEAST_INVERSE)
    move = jnp.where(possible, move, 1.0)
    full = log_range(base)
    ratio = jnp.exp(-move * full)
    return Vote(ratio, ratio * full * jnp.where(possible, windows.value, 1.0) * sigma, possible)


INVERSE_DEPTH: dict[Space, InverseDepth] = {
    "depth": InverseDepth(
        move=lambda shift, base: shift - base,
        over_slope=lambda w, move: w * (1 + move * w),
        continued=_depth_continued,
        noise=_depth_noise,
        bend=_depth_bend,
        vote=_depth_vote,
        fits=(False, True),
    ),
    "disparity": InverseDepth(
        move=lambda shift, base: shift - base,
        over_slope=lambda w, move: w + move,
        continued=_disparity_continued,
        noise=_disparity_noise,
    ),
    "log": InverseDepth(
        move=lambda shift, base: log_range(shift) / log_range(base),
        over_slope=lambda w, move: w / move,
        continued=_log_continued,
        noise=_log_noise,
        bend=_log_bend,
        vote=_log_vote,
        fits=(False, True, True),
    ),
}
"""Of each space.

A third fit in log space is chosen on 31 maps of depth cameras: without it the field of view is 13.1
degrees off in place of 10.9, points 11.9 % in place of 9.4 %; a fourth gains nothing.  In depth
space two are what networks were trained with."""
