"""What the sheet of a map draws beside its clouds: its picture with segments, and the intervals."""

import functools

import numpy as np

from launch.recovery.recovered import Map
from train3d_jax.evidence.prior import focal_prior
from train3d_jax.evidence.targets import quantiles
from train3d_jax.geometry import camera
from train3d_jax.geometry.clouds import from_square_pixels
from train3d_jax.inference.estimates import Estimate, LineFindings
from train3d_jax.pictures.interval_drawings import Intervals
from train3d_jax.pictures.line_drawings import PictureLines


def picture_lines(shown: Map, focal: float, findings: LineFindings | None) -> PictureLines | None:
    """The picture of a map, at its own size, with its segments.

    Args:
      shown: the map.
      focal: the recovered vertical focal length in pixels.
      findings: what the segments say; None before an estimate.

    Returns:
      None where no picture counts as evidence.

    Raises:
      UserError: the image cannot be read any more.
    """
    colours, segments = shown.colours, shown.segments
    if colours is None or colours.pixels is None or segments is None:
        return None
    pixels = colours.pixels
    if colours.size != shown.size:  # of this size in memory; segments are finer
        from train3d_jax.formats.pictures import read_colours

        pixels = read_colours(colours.image)
    intrinsics = camera.recovered_intrinsics(focal, shown.size, shown.intrinsics)
    there = segments.mask
    ends = np.asarray(segments.ends)[there]
    if shown.intrinsics is not None:
        ends = np.asarray(from_square_pixels(ends, shown.intrinsics))
    nothing = np.full(3, np.nan)
    if findings is None:
        findings = LineFindings(
            nothing[0], nothing[0], np.full((3, 3), np.nan), np.full(len(there), -1), nothing,
            nothing[0],
        )  # fmt: skip
    return PictureLines(
        pixels, shown.size, intrinsics, ends, findings.directions, findings.axis[there],
        findings.gravity, float(findings.gravity_sigma), float(findings.focal_nats),
        float(findings.shift_nats),
    )  # fmt: skip


def intervals_of(size: tuple[int, int], estimate: Estimate) -> Intervals:
    """The estimates of a map and their intervals, beside those of the prior.

    Args:
      size: height and width of the map, pixels.
      estimate: of the map.
    """
    return Intervals(
        size[0], estimate.focal, estimate.focal_interval, _focal_prior(size), estimate.shift,
        estimate.shift_interval, estimate.flags,
    )  # fmt: skip


@functools.lru_cache(64)
def _focal_prior(size: tuple[int, int]) -> tuple[float, float]:
    """The central 90 % of focal lengths by the prior alone, pixels."""
    log_alpha = quantiles(focal_prior(np.array(size, np.float32)), "focal", (0.05, 0.95))
    low, high = np.exp(np.asarray(log_alpha)) * camera.initial_focal(size[0])
    return float(low), float(high)
