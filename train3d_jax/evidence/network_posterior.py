"""Posteriors of networks, and the same over the bins of the solver."""

# JAX types many of its functions in part only, hence what is switched off.
# pyright: strict, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

from typing import NamedTuple

import jax
import jax.numpy as jnp

from train3d_jax.evidence.line_curves import LineCurves
from train3d_jax.evidence.targets import RANGES, SHIFT_BINS, focal_bins

OUTSIDE = -30.0
"""Log-likelihood of focal lengths outside of a network's range."""


class NetworkPosterior(NamedTuple):
    """Posteriors of networks; the fields of a target are None where no network covers it.

    Attributes:
      shift: calibrated log-probability over the near/far ratio, shape (B, bins).
      focal: calibrated log-likelihood, without any prior, of the focal length over `first_guess`,
        shape (B, bins).
      first_guess: focal length in pixels that the network's rays were made with, shape (B,).
      finest_shift, finest_focal: `Calibration.finest` of both.
    """

    shift: jax.Array | None = None
    focal: jax.Array | None = None
    first_guess: jax.Array | None = None
    finest_shift: float | None = None
    finest_focal: float | None = None


def on_solver_bins(
    network: NetworkPosterior, first_guess: jax.Array, lines: LineCurves | None = None
) -> tuple[jax.Array | None, jax.Array | None]:
    """The network's posterior of the shift and likelihood of the focal length, on solver's bins.

    Networks have seen crops of cameras of any kind, far more of them unusual than those of users.
    So their posterior of the focal length is nearly a likelihood, and counts as one.

    Both are multiplied with what lines of pictures say, where maps have any.
    """
    shift = focal = None
    if network.shift is not None:
        repeats = SHIFT_BINS // network.shift.shape[-1]
        shift = jax.nn.log_softmax(jnp.repeat(network.shift, repeats, -1))
    if network.focal is not None and network.first_guess is not None:
        low, high = RANGES["focal"]
        bins = network.focal.shape[-1]
        log_alpha = focal_bins() - jnp.log(network.first_guess / first_guess)[:, None]
        # Rounding must not choose the bin where both first guesses agree: bins are looked up a
        # little above their centre.
        index = jnp.floor((log_alpha - low) / (high - low) * bins + 1e-3).astype(jnp.int32)
        taken = jnp.take_along_axis(network.focal, jnp.clip(index, 0, bins - 1), -1)
        outside = (index < 0) | (index >= bins)
        focal = jax.nn.log_softmax(jnp.where(outside, OUTSIDE, taken))
    if lines is not None:
        shift = None if shift is None else shift + lines.shift
        focal = None if focal is None else focal + lines.focal
    return shift, focal
