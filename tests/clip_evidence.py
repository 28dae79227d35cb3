"""Evidence of frames that costs nothing, for tests of what is pooled."""

import math

import numpy as np

from train3d_jax.evidence.targets import FOCAL_BINS, SHIFT_BINS
from train3d_jax.inference.recovery import Evidence

SIGMAS = 2 * 1.6449
"""Of a central 90 % interval of a normal distribution."""


def bump(bins, place, sigma):
    """The log-likelihood of a normal error."""
    return -0.5 * ((bins - np.asarray(place)[..., None]) / sigma) ** 2


def evidence(count, focal=None, shift=None, near=1.0, far=2.0, solvable=True, unit=1.0):
    """Evidence of maps whose near and far values are these."""
    near, far, solvable, unit = (
        np.broadcast_to(values, count) for values in (near, far, solvable, unit)
    )
    scale = 0.5 / (far - near)
    focal = np.zeros((count, FOCAL_BINS)) if focal is None else focal
    shift = np.zeros((count, SHIFT_BINS)) if shift is None else shift
    return Evidence(focal, shift, scale, 0.5 - scale * near, solvable, unit)


def log_width(interval):
    return math.log(interval[1] / interval[0])
