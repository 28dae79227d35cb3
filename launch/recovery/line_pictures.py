"""The picture of a map with its segments and what they say, to be drawn."""

import numpy as np

from launch.recovery.recovered import Map
from train3d_jax.geometry import camera
from train3d_jax.geometry.clouds import from_square_pixels
from train3d_jax.inference.estimates import LineFindings
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
