"""One camera for a folder or a clip, and the shifts of a clip: passes before maps are recovered.

A clip has one camera.  Its frames have one scale and one shift (`--affine clip`), or each has its
own, and these follow each other smoothly.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from data.user_maps.clips import FOLDER, read_map
from data.user_maps.depth_files import DepthFile
from data.user_maps.hints import CameraHint
from launch import compiling, program
from launch.recovery.config import RecoveryConfig
from launch.recovery.pictures import picture_of
from train3d_jax import chunking
from train3d_jax.errors import UserError
from train3d_jax.inference import clips, recovery
from train3d_jax.inference.estimates import Estimate
from train3d_jax.inference.models import Model
from train3d_jax.lines.segments import Segments, stacked, with_square_pixels

_FLOAT32 = 1e-6
"""Relative tolerance, some float32 roundings (6e-8 each): answers hold float32 focal lengths."""

_OTHER_MACHINE = 1e-4
"""Relative tolerance: processors sum the evidence in another order.  Chosen: below 0.1 pixels for
every focal length under 1000."""

MOST_MAPS = 2_000
"""Maps that the camera of a folder is estimated from; of more, an even share.  Chosen: maps of one
camera are correlated, so that more change the estimate little."""


class Metres(NamedTuple):
    """Why depth is in metres.

    Attributes:
      source: name of the fact that says so, of `placement.facts`.
      sigma: see `metres.MetricScale`.
    """

    source: str
    sigma: float


class CommonScale(NamedTuple):
    """Of all maps of a clip or a camera, which have one scale and one shift.

    Attributes:
      a: of every estimate, so that depth is in metres.
      b: the same.
      metres: why.
    """

    a: float
    b: float
    metres: Metres


@dataclass(frozen=True)
class SharedCamera:
    """The camera that took all maps, as it was estimated, and the shifts of a clip.

    Attributes:
      camera: its focal length, and of how many maps that is.
      total: maps in the folder or clip.
      clip: name of the clip; empty for a folder with one camera.
      source: of the focal length, as answers name it.
      offset: of all frames, added to their values: low end, median, high end; None where frames
        have shifts of their own.
      scale: what values with their offset are multiplied with, where there is one offset.
      shifts: canonical, of each frame by its name: low end, median, high end.
      common: the scale of all frames in metres; None where no fact tells it.
    """

    camera: clips.Camera
    total: int
    clip: str = ""
    source: str = "maps"
    offset: clips.Interval | None = None
    scale: float = 1.0
    shifts: Mapping[str, clips.Interval] | None = None
    common: CommonScale | None = None

    def shift_of(self, file: DepthFile) -> float:
        """The canonical shift of a frame that has its own; NaN where it is not known."""
        return (self.shifts or {}).get(file.name, (math.nan, math.nan))[1]

    def applied(
        self, file: DepthFile, estimate: Estimate, canonical: tuple[float, float]
    ) -> Estimate:
        """The estimate of a map whose camera, and shift, were known: with their intervals."""
        estimate = estimate.with_focal_interval(self.camera.interval)
        if self.camera.used:
            # A map that is unlike the others is no reason to doubt their camera.
            flags = [flag for flag in estimate.flags if flag != "hint_disagrees"]
            flags += ["hint_disagrees"] * self.camera.hint_disagrees
            estimate = estimate._replace(flags=tuple(flags))
        if self.offset is not None:
            scale, offset = canonical
            low, _, high = (scale * each - offset for each in self.offset)
            a, b = self.scale, self.scale * self.offset[1]
            return estimate._replace(shift_interval=(low, high), a=a, b=b)
        if self.shifts is not None and file.name in self.shifts:
            low, _, high = self.shifts[file.name]
            return estimate._replace(shift_interval=(low, high))
        return estimate

    def is_of(self, file: DepthFile, answer: Mapping[str, Any]) -> bool:
        """Whether an answer of an earlier run has this focal length, interval and shift."""
        values = focal_and_interval(answer)
        if values is None:
            return True
        if not np.allclose(values, (self.camera.focal, *self.camera.interval), _FLOAT32, 0):
            return False
        if self.offset is not None:
            return bool(np.isclose(answer["b"], answer["a"] * self.offset[1], _FLOAT32, 0))
        shift = self.shift_of(file)
        return math.isnan(shift) or bool(np.isclose(answer["shift"], shift, _FLOAT32, _FLOAT32))

    def __str__(self) -> str:
        low, high = self.camera.interval
        name = f"clip {self.clip}" if self.clip else "shared camera"
        text = f"{name}: focal length {self.camera.focal:.1f} px ({low:.1f} to {high:.1f})"
        if self.source == "maps":
            text += f", from {self.camera.used} of {self.total} maps"
        if self.offset is not None:
            low, middle, high = self.offset
            text += f"; offset of all frames {middle:.4g} ({low:.4g} to {high:.4g})"
        return text


class _Read(NamedTuple):
    """A map that was read: its file, its values, the segments of its image."""

    file: DepthFile
    values: np.ndarray
    segments: Segments | None


class Pooling:
    """Passes over the maps of one camera.

    Maps that cannot be read or solved are left to the last pass to report.
    """

    def __init__(
        self,
        files: Sequence[DepthFile],
        config: RecoveryConfig,
        models: Sequence[Model],
        clip: str = "",
    ):
        self._files, self._config, self._models, self._clip = files, config, models, clip
        self._at_once = chunking.maps_at_once(len(files))
        self._name = f"clip {clip}" if clip else "--shared_camera"
        if clip == FOLDER:
            self._name = "--clip"
        self._unread: str | None = None
        self._first: _Read | None = None
        self._intrinsics: np.ndarray | None = None

    def camera(
        self, hints_of: Callable[[DepthFile, tuple[int, int]], Sequence[CameraHint]]
    ) -> SharedCamera:
        """The camera by the sum of the log-likelihoods of maps, and by a hint.

        Args:
          hints_of: gives what is known of the camera of a map of a size.

        Raises:
          UserError: maps differ in size, or no map can be solved.
        """
        chosen = self._spread(clips.MOST_FRAMES if self._clip else MOST_MAPS)
        batches = self._batches(chosen, "camera")
        first = next(batches, [])
        hint: CameraHint | None = None
        if self._clip and first:
            hint = next(iter(hints_of(first[0].file, _size_of(first[0]))), None)
            self._intrinsics = None if hint is None else hint.intrinsics
        camera = None
        if hint is not None and not hint.sigma:
            focal = float(hint.intrinsics[1, 1])
            camera = clips.Camera(focal, (focal, focal))
        elif first:
            known = recovery.Known(
                shift=self._config.shift_known, shift_sigma=self._config.shift_sigma
            )
            evidence = (self._evidence(maps, known) for maps in itertools.chain([first], batches))
            soft = None if hint is None else (float(hint.intrinsics[1, 1]), hint.sigma)
            camera = clips.shared_camera(evidence, _size_of(first[0]), soft)
        if camera is None:
            why = self._unread or (
                f"{self._files[0].path}: too few valid pixels, all of one value, or no surface to "
                "measure"
            )
            raise UserError(
                f"{self._name}: none of {len(chosen)} maps can be read and solved; the first: {why}"
            )
        source = "maps" if hint is None or camera.hint_dropped else hint.source
        return SharedCamera(camera, len(self._files), self._clip, source)

    def with_offset(self, shared: SharedCamera) -> SharedCamera:
        """The camera, and the one offset of all frames of a clip."""
        if self._config.shift_is_exact:
            return dataclasses.replace(shared, offset=(0.0, 0.0, 0.0))
        known = shared.camera.known()
        batches = self._batches(self._spread(clips.MOST_FRAMES), "shift")
        evidence = (self._evidence(maps, known) for maps in batches)
        offset = clips.shared_offset(evidence, self._config.shift_sigma)
        if offset is None:
            return shared
        return dataclasses.replace(shared, offset=offset.interval, scale=offset.scale)

    def with_shifts(self, shared: SharedCamera) -> SharedCamera:
        """The camera, and the shift of each frame of a clip."""
        known = shared.camera.known()
        names: list[str] = []

        def evidence() -> Iterator[recovery.Evidence]:
            for maps in self._batches(self._files, "shifts"):
                names.extend(each.file.name for each in maps)
                yield self._evidence(maps, known)

        found = list(clips.smoothed_shifts(evidence()))
        return dataclasses.replace(shared, shifts=dict(zip(names, found, strict=True)))

    def _evidence(self, maps: Sequence[_Read], known: recovery.Known) -> recovery.Evidence:
        matrices = [self._intrinsics] * len(maps)
        blocks = recovery.make_blocks([each.values for each in maps], intrinsics=matrices)
        config = self._config
        found = [each.segments for each in maps]
        if self._intrinsics is not None:  # known since the first maps were read
            camera = self._intrinsics
            found = [each and with_square_pixels(each, camera) for each in found]
        segments = stacked(found, config.counts_pictures)
        return recovery.evidence(
            self._models, blocks, known, config.method, config.space, self._at_once, segments
        )

    def _spread(self, most: int) -> list[DepthFile]:
        """Up to so many maps, evenly spread."""
        return [self._files[number] for number in clips.spread(len(self._files), most)]

    def _batches(self, files: Sequence[DepthFile], title: str) -> Iterator[list[_Read]]:
        """The maps that can be read; UserError where they differ in size."""
        batch: list[_Read] = []
        title = f"{title} of {self._clip}" if self._clip else title
        with tqdm(total=len(files), desc=title, unit="map") as bar, compiling.shown_on(bar):
            for file in files:
                bar.update()
                try:
                    each = self._read(file)
                except UserError as error:
                    self._unread = self._unread or program.message(error)
                    continue
                except MemoryError:
                    self._unread = self._unread or f"{file.path}: needs more memory than there is"
                    continue
                self._first = self._first or each
                if each.values.shape != self._first.values.shape:
                    raise UserError(
                        f"{self._name}: {self._first.file.label} is {_shown(self._first)} pixels "
                        f"and {file.label} {_shown(each)}; one camera has one size"
                    )
                batch.append(each)
                if len(batch) == self._config.batch_size:
                    yield batch
                    batch = []
            if batch:
                yield batch

    def _read(self, file: DepthFile) -> _Read:
        values = read_map(file, self._config.reading)
        segments = None
        if self._config.counts_pictures:
            _, segments = picture_of(file, values, None, self._config)
        return _Read(file, values, segments)


def _size_of(each: _Read) -> tuple[int, int]:
    height, width = each.values.shape
    return height, width


def _shown(each: _Read) -> str:
    height, width = _size_of(each)
    return f"{width} x {height}"


def focal_and_interval(answer: Mapping[str, Any]) -> tuple[float, float, float] | None:
    """Focal length and its interval in an answer, pixels; None for a map that failed."""
    if answer["error"] is not None:
        return None
    low, high = answer["focal_interval_px"] or (math.nan, math.nan)
    return answer["focal_px"], low, high


def refuse_other_camera(
    file: DepthFile, answer: Mapping[str, Any], first: DepthFile, first_answer: Mapping[str, Any]
) -> None:
    """Makes sure that two answers, neither of them a failure, are of one shared camera.

    Raises:
      UserError: the shards saw different maps.
    """
    here, wanted = focal_and_interval(answer), focal_and_interval(first_answer)
    if here and wanted and not np.allclose(here, wanted, _OTHER_MACHINE, 0, equal_nan=True):
        raise UserError(
            f"--merge: {file.label} has another shared camera ({here[0]:.6g} px) than "
            f"{first.label} ({wanted[0]:.6g} px): maps were added, removed or changed between "
            "the shards; run all shards again with the same flags"
        )
