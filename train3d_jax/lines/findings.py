"""What lines of pictures tell beside focal length and shift: directions, and which way is down."""

# JAX types many of its functions in part only, hence what is switched off.
# pyright: strict, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from train3d_jax.evidence.targets import RANGES
from train3d_jax.lines.evidence import LineFrames, LineSettings, focal_ratios
from train3d_jax.lines.frames import line_shares
from train3d_jax.lines.vanishing import Lines
from train3d_jax.windows.quadrics import solve_positive_definite

LEAST_SHARE = 0.5
"""Probability that a segment is along an axis, from which on it counts as one of its lines."""

LEAST_LINES = 3
"""Lines along an axis that make it known; two meet by chance.  Chosen."""

ROLL_SIGMA, PITCH_SIGMA = np.radians(8), np.radians(30)
"""Standard deviations of how cameras are held: they say which axis of a frame is the vertical.
Chosen: hands and robots keep the horizon level far better than the view."""

LEAST_SURE = 0.9
"""Probability that the chosen axis is the vertical, below which gravity is unknown.  Chosen."""

MOST_UNUSUAL = 3.0
"""Standard deviations of roll and pitch together, beyond which gravity is unknown: cameras are
hardly ever held so.  Chosen."""

LEAST_DOWN = np.sin(np.radians(10))
"""Of the vertical along the picture's downward axis: a camera that looks straight down or up does
not show which of both it does.  Chosen."""

WORLD_SIGMA = np.radians(0.5)
"""Standard deviation of a room's axes: lens and carpentry, see `segments.WORLD_SIGMA`."""

LARGEST_SIGMA = np.radians(10)
"""Above which gravity is unknown.  Chosen."""


class Findings(NamedTuple):
    """As the fields of these names of `inference.estimates.LineFindings`."""

    directions: jax.Array
    axis: jax.Array
    gravity: jax.Array
    gravity_sigma: jax.Array


def findings(
    frames: LineFrames,
    log_alpha: jax.Array,
    settings: LineSettings,
) -> Findings:
    """The best frames of a batch of maps at the focal lengths that were estimated.

    Args:
      frames: of all focal lengths.
      log_alpha: log of the estimated focal length over the first guess, shape (B,).
      settings: that the frames were evaluated with.
    """
    low, high = RANGES["focal"]
    place = jnp.floor((log_alpha - low) / (high - low) * settings.focal_bins)
    place = jnp.where(jnp.isnan(log_alpha), 0, jnp.clip(place, 0, settings.focal_bins - 1))
    number = place.astype(jnp.int32)
    alpha = jnp.asarray(focal_ratios(settings))[number]
    rows = jnp.arange(len(number))
    chosen = frames.frames[rows, number], frames.information[rows, number]
    return jax.vmap(_of_map)(*chosen, frames.lines, alpha)


def _of_map(frame: jax.Array, information: jax.Array, lines: Lines, alpha: jax.Array) -> Findings:
    shares = line_shares(frame, lines, alpha)
    along = shares.max(0) > LEAST_SHARE
    axis = jnp.where(along & (lines.weight > 0), shares.argmax(0), -1)
    counts = (axis == np.arange(3)[:, None]).sum(-1)
    # Two axes fix the third.
    known = (counts >= LEAST_LINES).sum() >= 2
    downward = frame * jnp.where(frame[:, 1:2] < 0, -1.0, 1.0)
    roll, pitch = downward[:, 0], jnp.arcsin(jnp.clip(downward[:, 2], -1.0, 1.0))
    unusual = (roll / ROLL_SIGMA) ** 2 + (pitch / PITCH_SIGMA) ** 2
    share = jax.nn.softmax(-0.5 * unusual)
    gravity = downward[share.argmax()]
    # Not `jnp.linalg.inv`: a stored program that calls LAPACK crashes the processes that read it.
    precision = jnp.broadcast_to(information + jnp.eye(3), (3, 3, 3))
    covariance = solve_positive_definite(precision, jnp.eye(3))
    # A turn about gravity itself does not move it.
    variance = jnp.trace(covariance) - gravity @ covariance @ gravity
    sigma = jnp.sqrt(jnp.maximum(variance, 0.0) + 2 * WORLD_SIGMA**2)
    sure = (share.max() > LEAST_SURE) & (gravity[1] > LEAST_DOWN)
    sure &= unusual.min() < MOST_UNUSUAL**2
    upright = known & sure & (sigma < LARGEST_SIGMA)
    return Findings(
        jnp.where(known, frame, jnp.nan),
        jnp.where(known, axis, -1),
        jnp.where(upright, gravity, jnp.nan),
        jnp.where(upright, jnp.degrees(sigma), jnp.nan),
    )
