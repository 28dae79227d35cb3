"""Which way is down, from the directions of planes, how cameras are held, and lines of pictures.

The direction down g has a posterior over the directions of a grid: a prior of how cameras are held,
times a likelihood for each direction n of planes, which is that of one of four kinds of surface:

  floors, tables    n is g, as normals are away from the camera
  ceilings          n is -g
  walls             n is at a right angle to g, at any azimuth
  anything else     n is any direction

A direction counts once, whatever number of windows has it: how a surface was built was decided
once.  So a wall alone leaves the camera's roll to the prior, and the interval says so.
"""

# JAX types many of its functions in part only, hence what is switched off.
# pyright: strict, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

import functools
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Real

from train3d_jax.geometry.camera import roll_and_pitch
from train3d_jax.placement.plane_directions import PlaneDirections

FLOORS, CEILINGS, WALLS, OTHERS = 0.35, 0.08, 0.42, 0.15
"""Prior probability of the kinds of surface.  Chosen."""

ROLL_SIGMA, PITCH_SIGMA = np.radians(8), np.radians(30)
"""Standard deviations of how cameras are held, as of `lines.findings`.  Chosen: hands and robots
keep the horizon level far better than the view."""

PITCH_MEAN = np.radians(-10)
"""Mean pitch of cameras.  Chosen: more of them look down, at tables and floors, than up."""

WHOLE_SHARE = 0.07
"""Share of windows from which on a direction counts as a whole; smaller ones count by their share
of it.  Chosen: a thing's few windows are more often neither level nor upright."""

COARSE, FINE = np.radians(2.5), np.radians(0.5)
"""Distance of the directions of the grid that finds g, and of the one about it that measures it."""

NEAR = np.radians(8.0)
"""Half the side of the fine grid, and the largest angle of directions that agree.  Chosen."""

LEAST_SURE = 0.9
"""Probability within `NEAR` of the best direction, below which g is unknown.  Chosen."""

LARGEST_SIGMA = np.radians(6)
"""Standard deviation of the angle, above which g is unknown.  Chosen: half a wall's roll."""

FOCAL_NODES = np.array([-1.5, -0.75, 0.0, 0.75, 1.5])
"""Standard deviations of the logarithm of the focal length at which normals are evaluated."""

LINES_DOUBT = 0.1
"""Probability that the vertical by lines is another axis of the room.  Chosen."""


class Gravity(NamedTuple):
    """The direction down of one map.

    Attributes:
      down: in camera axes (x right, y down, z forward), of unit length, shape (3,); NaN where it is
        unknown.
      sigma_deg: standard deviation of its angle, degrees; NaN where it is unknown.
      roll_interval_deg: holds the camera's roll with 90 % probability, degrees, shape (2,); NaN
        where it is unknown.
      pitch_interval_deg: the same of its pitch.
    """

    down: np.ndarray
    sigma_deg: float
    roll_interval_deg: np.ndarray
    pitch_interval_deg: np.ndarray

    @property
    def is_known(self) -> bool:
        """Whether the map tells which way is down."""
        return bool(np.isfinite(self.down).all())


UNKNOWN = Gravity(np.full(3, np.nan), np.nan, np.full(2, np.nan), np.full(2, np.nan))


def gravity(
    directions: PlaneDirections,
    focal_sigma: float = 0.0,
    by_lines: tuple[Real[np.ndarray, "3"], float] | None = None,
) -> Gravity:
    """The direction down of one map.

    Args:
      directions: of its planes, under the focal length that was estimated.
      focal_sigma: standard deviation of the logarithm of that focal length.
      by_lines: down by the lines of a picture, shape (3,), and the standard deviation of its angle
        in degrees; None, or NaN, where there is none.

    Returns:
      `UNKNOWN` where the posterior is wide or has two maxima.
    """
    if by_lines is not None and not np.isfinite(by_lines[0]).all():
        by_lines = None
    if not len(directions.normal) and by_lines is None:
        return UNKNOWN
    grid = _coarse_grid()
    posterior = _posterior(grid, directions, focal_sigma, by_lines, COARSE)
    best = grid[posterior.argmax()]
    sure = posterior[grid @ best > np.cos(NEAR)].sum()
    fine = _around(best)
    weight = _posterior(fine, directions, focal_sigma, by_lines, FINE)
    down = weight @ fine
    down /= np.linalg.norm(down)
    angle2 = 2 * (1 - fine @ down)
    sigma = float(np.sqrt(weight @ angle2))
    if sure < LEAST_SURE or sigma > LARGEST_SIGMA:
        return UNKNOWN
    roll, pitch = roll_and_pitch(fine)
    return Gravity(
        down, float(np.degrees(sigma)), _interval(roll, weight), _interval(pitch, weight)
    )


def _posterior(
    grid: Float[np.ndarray, "n 3"],
    directions: PlaneDirections,
    focal_sigma: float,
    by_lines: tuple[np.ndarray, float] | None,
    step: float,
) -> Float[np.ndarray, " n"]:
    """Probability of each direction of a grid of some step, which no kernel may fall between."""
    roll, pitch = grid[:, 0], -np.arcsin(np.clip(grid[:, 2], -1, 1))
    prior = -0.5 * ((roll / ROLL_SIGMA) ** 2 + ((pitch - PITCH_MEAN) / PITCH_SIGMA) ** 2)
    if by_lines is not None:
        down, sigma = by_lines
        variance = np.radians(sigma) ** 2 / 2 + step**2 / 4  # of either of two angles
        density = np.exp((grid @ down - 1) / variance) / (2 * np.pi * variance)
        prior += np.log((1 - LINES_DOUBT) * density + LINES_DOUBT / (4 * np.pi))
    weight = np.minimum(directions.share / WHOLE_SHARE, 1)
    variance = directions.sigma**2 + step**2 / 4
    log_posteriors = []
    for node in FOCAL_NODES if focal_sigma else FOCAL_NODES[[2]]:
        # Under another focal length a plane's normal has other x and y.
        stretch = np.exp(node * focal_sigma)
        normal = directions.normal * np.array([stretch, stretch, 1])
        normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
        cosine = grid @ normal.T
        likelihood = (
            OTHERS / (4 * np.pi)
            + FLOORS * np.exp((cosine - 1) / variance) / (2 * np.pi * variance)
            + CEILINGS * np.exp((-cosine - 1) / variance) / (2 * np.pi * variance)
            + WALLS * np.exp(-(cosine**2) / (2 * variance)) / np.sqrt(8 * np.pi**3 * variance)
        )
        log_posteriors.append(prior + np.log(likelihood) @ weight - 0.5 * node**2)
    total = np.logaddexp.reduce(log_posteriors)
    probability = np.exp(total - total.max())
    return probability / probability.sum()


@functools.cache
def _coarse_grid() -> Float[np.ndarray, "n 3"]:
    """Directions `COARSE` apart, evenly over the lower hemisphere and a little above: a spiral."""
    lowest = -0.2  # of y: a camera that hangs head down is no camera
    count = int(2 * np.pi * (1 - lowest) / COARSE**2)
    y = 1 - (1 - lowest) * (np.arange(count) + 0.5) / count
    turn = np.arange(count) * np.pi * (3 - np.sqrt(5))
    radius = np.sqrt(1 - y**2)
    return np.stack([radius * np.cos(turn), y, radius * np.sin(turn)], -1)


def _around(middle: Float[np.ndarray, "3"]) -> Float[np.ndarray, "n 3"]:
    """Directions `FINE` apart about one, within `NEAR` along two axes."""
    across = np.cross(middle, np.eye(3)[np.abs(middle).argmin()])
    across /= np.linalg.norm(across)
    side = np.arange(-NEAR, NEAR, FINE)
    one, other = np.meshgrid(side, side)
    grid = middle + np.stack([one, other], -1).reshape(-1, 2) @ np.stack(
        [across, np.cross(middle, across)]
    )
    return grid / np.linalg.norm(grid, axis=-1, keepdims=True)


def _interval(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The central 90 % of weighted values, shape (2,)."""
    order = values.argsort()
    below = weight[order].cumsum()
    places = np.searchsorted(below, (0.05, 0.95)).clip(max=len(values) - 1)
    return values[order][places]
