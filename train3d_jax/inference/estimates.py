"""Estimates of shift and focal length: the records that `recovery` returns."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Real

from train3d_jax.evidence import fusion
from train3d_jax.geometry import affine

FOCAL_UNCERTAIN = "focal_uncertain"

FLAGS = (*fusion.FLAGS, FOCAL_UNCERTAIN)
"""Those of `fusion`; the 90 % interval of the focal length is wide, see `is_uncertain`."""

UNCERTAIN_FACTOR = 2.0
"""Of the upper over the lower end of a 90 % interval of the focal length.  Chosen, between two
factors that were measured on maps of no training on 2026-11-28: below 1.25 the field of view is 1
degree off on average, above 2.5 it is 12 degrees off."""


def is_uncertain(interval: Real[np.ndarray, "*maps 2"]) -> Bool[np.ndarray, "*maps"]:
    """Whether the ends of a focal length's interval differ by more than `UNCERTAIN_FACTOR`.

    Args:
      interval: low and high end in one unit, shape (..., 2); NaN where there is none.

    Returns:
      Shape (...); False for an exact focal length, whose interval has no width, and for NaN.
    """
    return np.asarray(interval[..., 1] > UNCERTAIN_FACTOR * interval[..., 0])


def sigma_of(low: Real[np.ndarray, "..."] | float, high: Real[np.ndarray, "..."] | float) -> Any:
    """The standard deviation of a normal distribution by its central 90 %, of any shape."""
    return (high - low) / 2 / fusion.INTERVAL_SIGMAS


def log_sigma_of(interval: Real[np.ndarray, "... 2"] | tuple[float, float]) -> Any:
    """The standard deviation of the logarithm of a value > 0, by its central 90 %.

    Args:
      interval: low and high end, shape (..., 2).

    Returns:
      Shape (...); 0 where an end is 0, or not finite.
    """
    low, high = np.moveaxis(np.asarray(interval, np.float64), -1, 0)
    known = (low > 0) & (high < np.inf)
    return sigma_of(np.log(np.where(known, low, 1)), np.log(np.where(known, high, 1)))


class LineFindings(NamedTuple):
    """What straight lines of the pictures of a batch of maps say, see `lines.segments.Segments`.

    Attributes:
      focal_nats: how much lines changed the posterior of the focal length: its divergence from the
        same posterior without the factor of the lines, nats, shape (B,); 0 where a map has no
        picture, or its focal length is known.
      shift_nats: the same for the shift.
      directions: the three directions at right angles that most lines have, in camera axes (x
        right, y down, z forward), rows of unit length, shape (B, 3, 3); NaN where there are none.
      axis: of each segment the row of `directions` that it has; -1 where none, shape (B, S).
      gravity: the direction down in camera axes, of unit length, shape (B, 3); NaN where unknown.
      gravity_sigma: standard deviation of its angle, degrees, shape (B,); NaN where unknown.
    """

    focal_nats: np.ndarray
    shift_nats: np.ndarray
    directions: np.ndarray
    axis: np.ndarray
    gravity: np.ndarray
    gravity_sigma: np.ndarray

    def at(self, index: int) -> "LineFindings":
        """The same of one map, without the batch axis."""
        return LineFindings(*(values[index] for values in self))


class Estimate(NamedTuple):
    """The estimate for one map.

    Attributes:
      focal: vertical focal length in pixels.
      shift: canonical units.
      a: depth (its inverse in disparity space, its logarithm in log space) is a * input + b.
      b: see `a`.
      focal_interval: contains the focal length with 90 % probability; pixels.
      shift_interval: the same for the shift.
      focal_by_map: low end, median and high end of the focal length by the map alone, pixels.
      flags: names of those of `FLAGS` that are raised.
    """

    focal: float
    shift: float
    a: float
    b: float
    focal_interval: tuple[float, float]
    shift_interval: tuple[float, float]
    focal_by_map: tuple[float, float, float]
    flags: tuple[str, ...]

    def with_focal_interval(self, interval: tuple[float, float]) -> "Estimate":
        """The same with another interval of the focal length, in pixels, and its flag."""
        flags = [flag for flag in self.flags if flag != FOCAL_UNCERTAIN]
        flags += [FOCAL_UNCERTAIN] * bool(is_uncertain(np.array(interval)))
        return self._replace(focal_interval=interval, flags=tuple(flags))


class Estimates(NamedTuple):
    """Estimates for a batch; all numbers are NaN where `solvable` is False.

    Attributes:
      solvable: the map has enough valid pixels, they differ, and the method has evidence, shape
        (B,).
      shift: canonical units, shape (B,).
      focal: vertical focal length in pixels, shape (B,).
      shift_interval: contains the shift with 90 % probability, shape (B, 2).
      focal_interval: the same for the focal length, shape (B, 2).
      focal_by_map: low end, median and high end of the focal length by the prior and the map alone,
        shape (B, 3).
      map_wins: a hint of the focal length was dropped, see `hint_disagrees`, shape (B,).
      canonical_scale: canonical units per unit of the input, see `affine.Canonical`, shape (B,).
      canonical_offset: canonical units, shape (B,).
      unit: factor on a and b that gives metres (or 1 / metres), shape (B,); 1 without a network for
        the scale, and then the unit is arbitrary.
      flags: for each of `FLAGS` whether it is raised, shape (B,):
        near_planar: nearly all planes have one direction, or no surface is flat, so the focal
          length is unobservable;
        few_valid_pixels: less than a tenth of the map's pixels hold values;
        out_of_training_range: the estimate lies at the border of the range, or the values are
          spread as in no room;
        solver_disagrees: the intervals of network and geometry exclude each other's median;
        hint_disagrees: the map and what is known of its focal length exclude each other.  Of a
          hint with a width and the map the wider evidence is taken, a known value stays;
        focal_uncertain: the ends of `focal_interval` differ by more than `UNCERTAIN_FACTOR`.
      lines: what lines of pictures say; None where no map was given a picture.
    """

    solvable: np.ndarray
    shift: np.ndarray
    focal: np.ndarray
    shift_interval: np.ndarray
    focal_interval: np.ndarray
    focal_by_map: np.ndarray
    map_wins: np.ndarray
    canonical_scale: np.ndarray
    canonical_offset: np.ndarray
    unit: np.ndarray
    flags: dict[str, np.ndarray]
    lines: LineFindings | None = None

    def with_focal_interval(self, interval: Real[np.ndarray, "maps 2"]) -> "Estimates":
        """The same with other intervals of the focal length, in pixels, and their flag."""
        flags = {**self.flags, FOCAL_UNCERTAIN: is_uncertain(interval)}
        return self._replace(focal_interval=interval, flags=flags)

    def coefficients(self, space: affine.Space = "depth") -> tuple[np.ndarray, np.ndarray]:
        """Of each map a and b as of `Estimate`, shape (B,); depth and disparity give the same."""
        return affine.coefficients(
            self.canonical_scale, self.canonical_offset, self.shift, space, self.unit
        )

    def at(self, index: int, space: affine.Space = "depth") -> Estimate | None:
        """The estimate for one map of the batch; None where it is not solvable.

        Args:
          index: of the map.
          space: of its values; depth and disparity give the same.
        """
        if not self.solvable[index]:
            return None
        a, b = affine.coefficients(
            self.canonical_scale[index], self.canonical_offset[index], self.shift[index], space,
            self.unit[index],
        )  # fmt: skip
        focal_low, focal_high = self.focal_interval[index]
        shift_low, shift_high = self.shift_interval[index]
        by_map = self.focal_by_map[index]
        return Estimate(
            focal=float(self.focal[index]),
            shift=float(self.shift[index]),
            a=float(a),
            b=float(b),
            focal_interval=(float(focal_low), float(focal_high)),
            shift_interval=(float(shift_low), float(shift_high)),
            focal_by_map=(float(by_map[0]), float(by_map[1]), float(by_map[2])),
            flags=tuple(name for name, raised in self.flags.items() if raised[index]),
        )
