"""A clip in memory: its camera and shifts, from all frames, before each frame is recovered."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from train3d_jax.geometry.affine import Space
from train3d_jax.inference import clips
from train3d_jax.inference.estimates import Estimates
from train3d_jax.inference.known import Clip
from train3d_jax.inference.recovery import Evidence, Known

EvidenceOf = Callable[[Sequence[int], Known], Iterable[Evidence]]
"""Gives the evidence of frames, by their numbers, in batches of any size."""


@dataclass(frozen=True)
class Pooled:
    """What is known of the frames of a clip from all of them.

    Attributes:
      camera: of all frames.
      shift: what the caller knows of shifts.
      offset: of all frames, where they have one scale and one shift.
      shifts: canonical, of each frame, where each has its own and the caller knows no shift.
    """

    camera: clips.Camera
    shift: Known
    offset: clips.Interval | None = None
    shifts: Sequence[clips.Interval] | None = None

    def known(self, frames: Sequence[int]) -> Known:
        """What is known of some frames before they are recovered."""
        known = self.shift._replace(focal=self.camera.focal)
        if self.offset is not None:
            return Known(self.camera.focal, offset=self.offset[1])
        if self.shifts is not None:
            return known._replace(shift=np.array([self.shifts[frame][1] for frame in frames]))
        return known

    def applied(self, found: Estimates) -> Estimates:
        """The estimates of all frames with the intervals that the clip gives them."""
        solvable = found.solvable[:, None]
        found = found._replace(focal=np.where(found.solvable, self.camera.focal, np.nan))
        found = found.with_focal_interval(np.where(solvable, self.camera.interval, np.nan))
        if self.camera.used:
            # A map that is unlike the others is no reason to doubt their camera.
            doubted = found.solvable & self.camera.hint_disagrees
            found = found._replace(flags={**found.flags, "hint_disagrees": doubted})
        if self.offset is None and self.shifts is None:
            return found
        if self.offset is not None:
            scale, offset = found.canonical_scale[:, None], found.canonical_offset[:, None]
            low, middle, high = (scale * np.array(self.offset) - offset).T
            found = found._replace(shift=middle)
        else:
            low, _, high = np.array(self.shifts).T
        ends = np.where(solvable, np.stack([low, high], -1), np.nan)
        return found._replace(shift_interval=ends)

    def coefficients(self, found: Estimates, space: Space) -> tuple[np.ndarray, np.ndarray]:
        """Scale and offset that make the values of each frame straight: a and b, shape (T,)."""
        a, b = found.coefficients(space)
        if self.offset is None or not found.solvable.any():
            return a, b
        a = np.where(found.solvable, np.median(a[found.solvable]), np.nan)
        return a, a * self.offset[1]


def pool(
    evidence_of: EvidenceOf,
    count: int,
    size: tuple[int, int],
    clip: Clip,
    hint: tuple[float, float] | None,
    shift: Known,
) -> Pooled | None:
    """What the frames of a clip have in common.

    Args:
      evidence_of: their evidence.
      count: of frames.
      size: height and width in pixels.
      clip: what has one scale and one shift.
      hint: a focal length in pixels, and the standard deviation of its logarithm; 0 is exact.
      shift: `Known.shift` True where the input's own is right, and its sigma.

    Returns:
      None where no frame could be solved.
    """
    chosen = clips.spread(count, clips.MOST_FRAMES)
    if hint is not None and not hint[1]:
        camera = clips.Camera(hint[0], (hint[0], hint[0]))
    else:
        camera = clips.shared_camera(evidence_of(chosen, shift), size, hint)
    if camera is None:
        return None
    if clip == "frame":
        if shift.shift:
            return Pooled(camera, shift)
        shifts = clips.smoothed_shifts(evidence_of(range(count), camera.known()))
        return Pooled(camera, shift, shifts=list(shifts))
    if shift.shift and not shift.shift_sigma:
        return Pooled(camera, shift, (0.0, 0.0, 0.0))
    found = clips.shared_offset(evidence_of(chosen, camera.known()), float(shift.shift_sigma))
    return None if found is None else Pooled(camera, shift, found.interval)
