"""The protocol of raw datasets: the reader, and the types that it uses.

A dataset is a list of scenes; a scene is a sequence of places; a place is a tuple of frames that
show nearly the same thing (the four views of one 3D Ken Burns id), so that a sample can be spread
over places before it takes a second view of one.  To add a dataset, write one module with a class
that fulfils `Reader`, and add it to `data.prepare.sources`.

Pixel centres are at integers: the centre of a W-wide image is (W-1)/2.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, NamedTuple, Protocol

import numpy as np

from data.validity import limit_depth
from train3d_jax.errors import DataError
from train3d_jax.geometry import camera

Frame = int | str

MIN_FIELD_OF_VIEW_DEG, MAX_FIELD_OF_VIEW_DEG = 1.0, 179.0
"""Range of a pinhole camera with a known truth; chosen: what lies outside is a broken record."""

_NARROWEST_DEG = 1e-3
"""Chosen: far below any lens, far above angles whose focal length is infinite in float64."""


class UnsuitableError(DataError):
    """A raw file that is whole, but not to be trained on."""


class Stored(NamedTuple):
    """Depth in 16 bits, as a sensor or a file holds it.

    codes: (H, W) uint16, 0 = missing.
    units_per_metre: metres are codes / units_per_metre.
    """

    codes: np.ndarray
    units_per_metre: float


class DepthMap(NamedTuple):
    """A depth map and the camera that took it.

    depth: (H, W) float32, metres along the optical axis, 0 = missing.
    intrinsics: (3, 3) float64, pixels.
    stored: the same depth in 16 bits, where the raw file holds it so; then no digit gets lost.
    """

    depth: np.ndarray
    intrinsics: np.ndarray
    stored: Stored | None = None

    def limited(self, max_depth_m: float | None) -> "DepthMap":
        """The map with everything beyond `max_depth_m` missing; None: no limit."""
        if max_depth_m is None:
            return self
        depth = limit_depth(self.depth, max_depth_m)
        return DepthMap(depth, self.intrinsics, self.stored and _where_present(depth, *self.stored))


@dataclass(frozen=True)
class Scene:
    """A scene of a dataset.

    name: unique in its dataset.
    path: the file or folder that holds its depth.
    places: each a tuple of one or more frames; a lazy sequence where a scene is long.
    """

    name: str
    path: Path
    places: Sequence[tuple[Frame, ...]]

    def rounds(self) -> list[int]:
        """How many places have a first view, a second, and so on; the sum is all frames."""
        if isinstance(self.places, SingleViews):
            return [len(self.places)] if self.places else []
        places_with = Counter(len(place) for place in self.places)
        return [
            sum(count for views, count in places_with.items() if views > taken)
            for taken in range(max(places_with, default=0))
        ]

    def without_places(self) -> "Scene":
        """The same scene, light enough to be sent to a worker with each of its frames."""
        return replace(self, places=())


class SingleViews(Sequence[tuple[Frame, ...]]):
    """Places of one view each, over any sequence of frames; costs no memory of its own."""

    def __init__(self, frames: Sequence[Frame]):
        self._frames = frames

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return SingleViews(self._frames[index])
        return (self._frames[index],)


def refuse(error: DataError) -> None:
    """The default for a scene that cannot be read: raises the error."""
    raise error


class Reader(Protocol):
    """Reads one raw dataset.  It is small and can be pickled: workers get a copy of it."""

    name: ClassVar[str]  # the dataset's, as it stands in the manifest
    patterns: ClassVar[tuple[str, ...]]  # of its depth files below the root, for messages
    licence: ClassVar[str]  # what its owners allow, in a few words, and where they say so

    @property
    def root(self) -> Path:
        """The folder that the user gave."""
        ...

    def scenes(self, on_broken: Callable[[DataError], None] = refuse) -> list[Scene]:
        """All scenes that hold a frame, by name, whatever the file system's order.

        `on_broken` is called, in the order of names, with each file of a scene that cannot be read,
        or is not to be trained on (UnsuitableError); that scene is left out.  Raises DataError when
        two scenes have one name.
        """
        ...

    def file(self, scene: Scene, frame: Frame) -> Path:
        """The file that holds the depth of this frame."""
        ...

    def read(self, scene: Scene, frame: Frame) -> DepthMap:
        """One depth map; of `scene`, only name and path are used.  Raises DataError."""
        ...


def metric_depth(
    raw: np.ndarray, units_per_metre: float, missing_from: float = math.inf
) -> np.ndarray:
    """Values of a sensor or renderer to float32 metres, 0 where missing.

    Args:
      raw: (H, W), integer or float; missing where it is 0, negative or not finite.
      units_per_metre: a float32.
      missing_from: from this value on, in units, it is missing too.
    """
    # The values are float32 at most, and a quotient in float32 is the float64 one, rounded.
    with np.errstate(invalid="ignore"):
        depth = np.divide(raw, np.float32(units_per_metre), dtype=np.float32)
        if raw.dtype.kind == "u" and missing_from > np.iinfo(raw.dtype).max:
            return depth
        depth[~((raw > 0) & (raw < missing_from))] = 0  # NaN is neither
    return depth


def depth_map_of_units(
    raw: np.ndarray,
    units_per_metre: float,
    intrinsics: np.ndarray,
    missing_from: float = math.inf,
) -> DepthMap:
    """A depth map from a file's 16-bit values; see `metric_depth`.

    Args:
      raw: (H, W) uint16, 0 where missing.
      units_per_metre: a float32.
      intrinsics: (3, 3), pixels.
      missing_from: from this value on, in units, it is missing too.
    """
    depth = metric_depth(raw, units_per_metre, missing_from)
    return DepthMap(depth, intrinsics, _where_present(depth, raw, units_per_metre))


def _where_present(depth: np.ndarray, codes: np.ndarray, units_per_metre: float) -> Stored:
    return Stored(np.where(depth > 0, codes, codes.dtype.type(0)), units_per_metre)


def square_camera(field_of_view_deg: float, height: int, width: int) -> np.ndarray:
    """(3, 3) float64 intrinsics, in pixels, of a square image seen under a full field of view.

    Raises ValueError on an image that is not square or an angle without a finite focal length.
    Whether the camera is fit to train on `validity.unfit_camera` decides, as for all datasets.
    """
    if height != width:
        raise ValueError(f"the image is {width}x{height}, not square")
    if not _NARROWEST_DEG <= field_of_view_deg < 180:
        raise ValueError(f"a field of view of {field_of_view_deg:g} degrees has no focal length")
    focal = camera.degrees_to_focal(field_of_view_deg, width)
    return camera.centred_intrinsics(focal, height, width)


def refuse_no_camera(file: Path, intrinsics: np.ndarray) -> None:
    """Raises DataError where a (3, 3) matrix is not finite with positive focal lengths."""
    if not (np.isfinite(intrinsics).all() and intrinsics[0, 0] > 0 and intrinsics[1, 1] > 0):
        raise DataError(
            file, "has depth intrinsics that are not finite with positive focal lengths"
        )


def unique_scenes(scenes: Iterable[Scene]) -> list[Scene]:
    """The scenes that hold a frame, by name; one that is linked to several times is taken once.

    Raises DataError when two share a name.
    """
    scenes = list(scenes)
    real = {scene.path: scene.path.resolve() for scene in scenes}

    def link_last(scene: Scene) -> tuple[int, str]:
        return len({*scene.path.parts} - {*real[scene.path].parts}), scene.name

    by_name: dict[str, Scene] = {}
    seen: set[Path] = set()
    for scene in sorted(scenes, key=link_last):
        if not scene.places or real[scene.path] in seen:
            continue
        seen.add(real[scene.path])
        twin = by_name.setdefault(scene.name, scene)
        if twin is not scene:
            raise DataError(scene.path, f"holds the scene {scene.name}, as does {twin.path}")
    return [by_name[name] for name in sorted(by_name)]


LICENCE = "LICENCE.txt"
"""A file beside raw data that has the layout of another dataset; its first line is the licence."""


def licence_of(reader: Reader) -> str:
    """The licence of a reader's data on one line: the first of `LICENCE`, or the reader's own."""
    try:
        text = (reader.root / LICENCE).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        text = ""
    return text.partition("\n")[0] or reader.licence
