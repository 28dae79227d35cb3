"""The records that a map passes through: as it was read, with its estimate, and with its place."""

from typing import NamedTuple

import numpy as np

from data.user_maps.depth_files import DepthFile
from data.user_maps.hints import CameraHint
from launch.recovery.pictures import Colours
from launch.recovery.shared_camera import Metres, SharedCamera
from train3d_jax.geometry.clouds import from_square_pixels
from train3d_jax.inference.estimates import Estimate, LineFindings
from train3d_jax.inference.map_checks import MapCheck
from train3d_jax.lines.segments import Segments, with_square_pixels
from train3d_jax.placement.upright import Up, Upright


class Map(NamedTuple):
    """A map that was read.

    Attributes:
      file: the file that it was read from.
      values: shape (H, W); 0 and what is not finite is missing.
      intrinsics: (3, 3) in pixels, of the most trusted hint; None where there is none.
      hints: what is known of the camera, the most trusted first.
      colours: of the image that belongs to it; None without --rgb.
      segments: of that image, as evidence; None where there is none, or it does not count.
      shared: the camera that took all maps of its folder or clip, and their shifts.
      notes: lines on where that is from, and on sources that cannot be used; the same for all maps
        of one source.
      metres: of one unit of the values, where it is known and their shift is right; else None.
    """

    file: DepthFile
    values: np.ndarray
    intrinsics: np.ndarray | None
    hints: tuple[CameraHint, ...] = ()
    notes: tuple[str, ...] = ()
    metres: float | None = None
    colours: Colours | None = None
    segments: Segments | None = None
    shared: SharedCamera | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = self.values.shape
        return height, width

    def with_hints(self, hints: tuple[CameraHint, ...]) -> "Map":
        """The same map with other knowledge of its camera, at least one hint."""
        intrinsics, segments = hints[0].intrinsics, self.segments
        if segments is not None:
            if self.intrinsics is not None:
                ends = from_square_pixels(segments.ends, self.intrinsics)
                segments = segments._replace(ends=ends)
            segments = with_square_pixels(segments, intrinsics)
        return self._replace(intrinsics=intrinsics, hints=hints, segments=segments)


class Placed(NamedTuple):
    """Where a recovered map lies.

    Attributes:
      depth: straight depth, z, shape (H, W); 0 where missing.
      intrinsics: of its camera, pixels, shape (3, 3).
      upright: gravity and the floor.
      up: the axis of the files that points up; None where they have the axes of the camera.
      metres: why depth is in metres; None where no fact says so.
      flags: `GRAVITY_UNKNOWN`, `SCALE_UNKNOWN`.
    """

    depth: np.ndarray
    intrinsics: np.ndarray
    upright: Upright
    up: Up | None = None
    metres: Metres | None = None
    flags: tuple[str, ...] = ()

    @property
    def pose(self) -> np.ndarray | None:
        """From camera axes to those of the files, (4, 4); None where they are the same."""
        return None if self.up is None else self.upright.pose(self.up)


class Recovered(NamedTuple):
    """A map with its estimate, or with the reason why there is none: what is saved and reported.

    Attributes:
      file: the file of the map.
      map: None where the file could not be read.
      estimate: of the camera and the shift; None where there is none.
      canonical: scale and offset of the canonical form; None where there is no estimate.
      check: what the map looks like; None where it was not solved.
      error: why there is no estimate; None where there is one.
      metric: its depth is in metres because the map's unit is known.
      hint_dropped: the map excludes the most trusted hint, and is the wider evidence.
      lines: what the lines of its image say, without a batch axis; None where none count.
      placed: where it lies; None until `placing.placed`.
    """

    file: DepthFile
    map: Map | None = None
    estimate: Estimate | None = None
    canonical: tuple[float, float] | None = None
    check: MapCheck | None = None
    error: str | None = None
    metric: bool = False
    hint_dropped: bool = False
    lines: LineFindings | None = None
    placed: Placed | None = None

    def failed(self, error: str) -> "Recovered":
        """The same map without an estimate."""
        return Recovered(self.file, self.map, error=error)
