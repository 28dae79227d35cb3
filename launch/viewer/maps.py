"""The maps that the viewer shows: of a folder, with a known truth, and uploads."""

import base64
import dataclasses
import functools
import io
import math
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import jax
import numpy as np
from PIL import Image

from data.user_maps.depth_files import DepthFile, Listing, bare_name
from data.user_maps.true_maps import TrueMaps
from launch.recovery import one_map
from launch.recovery.config import RecoveryConfig, SaveSettings
from launch.recovery.folder import printable
from launch.recovery.pictures import read_picture
from launch.recovery.recovered import Map
from train3d_jax.errors import UserError
from train3d_jax.evaluation import views
from train3d_jax.files import write_whole
from train3d_jax.geometry import affine, camera, metrics
from train3d_jax.inference import estimates, recovery, viewing
from train3d_jax.pictures.shapes import value_colours

THUMBNAIL = 96
"""Width in pixels; chosen to fit three in a row of the panel."""

UPLOADS = "uploads"
"""Folder below --out for answers of uploaded maps, so that they replace no map's of the folder."""

_LONGEST_NAME = 60
"""Characters of an upload's name that are kept; chosen: of four bytes each they fit in a name."""


@dataclasses.dataclass(frozen=True, eq=False)
class Entry:
    """A map of the list.

    Attributes:
      name: as the list shows it.
      read: gives the map and its true intrinsics, (3, 3), or None where they are not known; raises
        UserError where it cannot be read.
      pictured: it may have a picture whose lines count.
    """

    name: str
    read: Callable[[], tuple[Map, np.ndarray | None]]
    pictured: bool = False


def entries_of_folder(config: RecoveryConfig, listing: Listing | None = None) -> list[Entry]:
    """The maps that launch.infer recovers, under the names that it gives them.

    Args:
      config: how to read them.
      listing: the result of `one_map.find_maps`, where it was called already.
    """
    files = (one_map.find_maps(config) if listing is None else listing).files
    printed: set[str] = set()
    return [_entry_of_file(file, config, printed) for file in files]


def entries_of_set(config: RecoveryConfig) -> list[Entry]:
    """The maps of a set whose truth is known, see `TrueMaps`, with the pictures that it names.

    Raises:
      UserError: there is no map, or a row names no file as its picture.
    """
    maps = TrueMaps(config.input)

    def read(index: int) -> tuple[Map, np.ndarray]:
        true_map = maps[index]
        file = DepthFile(config.input, true_map.name, true_map.name)
        values = true_map.depth
        if config.space == "disparity":
            values = np.divide(1, values, out=np.zeros_like(values), where=values > 0)
        elif config.space == "log":
            values = views.in_space(values, "log").astype(np.float32)
        colours = segments = None
        if (picture := pictures[index]) is not None:
            # Recovery does not know the camera.
            colours, segments = read_picture(picture, values, None, config)
        return Map(file, values, None, colours=colours, segments=segments), true_map.intrinsics

    pictures = [maps.picture(index) for index in range(len(maps))]
    return [
        Entry(f"map {i + 1}", functools.partial(read, i), config.lines and picture is not None)
        for i, picture in enumerate(pictures)
    ]


def entry_of_upload(folder: Path, name: str, content: bytes, config: RecoveryConfig) -> Entry:
    """Stores an upload of a browser, to be read as any other file.

    Args:
      folder: an empty one, for this upload alone.
      name: as the browser gives it; any text.
      content: of the file.
      config: how to read it.

    Raises:
      UserError: it cannot be stored.
    """
    safe = printable(PurePosixPath(name.replace("\\", "/")).name)[-_LONGEST_NAME:].strip(".")
    safe = safe or "upload"
    write_whole(folder / safe, content)
    file = DepthFile(folder, safe, f"{UPLOADS}/{bare_name(safe)}")
    # Nothing lies beside it but temporary files of others, and it is not the map of --rgb.
    camera = dataclasses.replace(config.camera, automatic=False)
    config = dataclasses.replace(config, camera=camera, saving=saving_of(file, config))
    return _entry_of_file(file, config, set())


def saving_of(file: DepthFile, config: RecoveryConfig) -> SaveSettings:
    """How to save a map: an upload does not get the image of the single map of --input."""
    settings = config.saving
    if settings.rgb is not None and settings.rgb.is_file() and file.name.startswith(f"{UPLOADS}/"):
        return dataclasses.replace(settings, rgb=None)
    return settings


def _entry_of_file(file: DepthFile, config: RecoveryConfig, printed: set[str]) -> Entry:
    """An entry; lines on its camera that are not in `printed` are printed once it is read."""

    def read() -> tuple[Map, None]:
        try:
            found = one_map.read_map(file, config)
        except (UserError, MemoryError) as error:
            raise UserError(f"{file.label}: {one_map.reason(file, error)}") from None
        for note in found.notes:
            if note not in printed:
                printed.add(note)
                print(printable(note), flush=True)
        return found, None

    return Entry(file.label, read, config.counts_pictures)


@functools.lru_cache(maxsize=512)
def thumbnail(entry: Entry) -> str:
    """A small picture as the address of an <img>; empty where the map cannot be read."""
    try:
        shown, _ = entry.read()
    except UserError:
        return ""
    step = max(1, shown.values.shape[1] // (2 * THUMBNAIL))
    values = shown.values[::step, ::step]
    picture = Image.fromarray(value_colours(np.where(np.isfinite(values), values, 0)))
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    return address_of(picture)


def address_of(picture: Image.Image) -> str:
    """A picture as the address of an <img>."""
    file = io.BytesIO()
    picture.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getbuffer()).decode()


class Values(NamedTuple):
    """The values of the sliders.

    Attributes:
      focal: vertical focal length, pixels.
      shift: canonical units.
    """

    focal: float
    shift: float


class Errors(NamedTuple):
    """Errors of the values of the sliders.

    Attributes:
      fov: horizontal field of view, degrees.
      shift: over the far quantile of the true depth.
      points: mean error of the points over their true distance.
    """

    fov: float
    shift: float
    points: float


class MapView:
    """A map that a window shows.

    Attributes:
      map: the map.
      first_guess: 60 degrees high, and no shift of the canonical form.
      truth: None where it is not known.
      colours: of the points, uint8 (N, 3).
      flags: on the image of the colours, see `pictures.Colours`.
      distorted: the cloud under the first guess, (N, 3), see `viewing.unproject`.
      true_cloud: None where it is not known.

    Raises UserError where the map cannot be unprojected.
    """

    def __init__(self, entry: Entry, config: RecoveryConfig):
        self.map, true_camera = entry.read()
        values = self.map.values
        blocks = recovery.make_blocks([values])
        canonical = _canonical(blocks.values, blocks.mask)
        if not canonical.solvable[0]:
            raise UserError(f"{self.name}: {one_map.NOT_SOLVABLE}")
        scale, offset = float(canonical.scale[0]), float(canonical.offset[0])
        if not np.isfinite([scale, offset]).all():
            raise UserError(f"{self.name}: {one_map.NOT_FINITE}")
        self._canonical = scale, offset
        self._space: affine.Space = config.space
        self._scores = viewing.scores(blocks, config.space)
        self._sample, places = viewing.take_sample(values, (scale, offset))
        self._count = len(places)
        colours = self.map.colours
        self.flags = () if colours is None else colours.flags
        pixels = None if colours is None else colours.pixels
        if pixels is None:
            pixels = value_colours(np.where(np.isfinite(values), values, 0))
        self.colours = pixels[places[:, 0], places[:, 1]]
        self.first_guess = Values(float(camera.initial_focal(self.size[0])), 0.0)
        self.distorted = self.cloud(self.first_guess)
        self.truth: Values | None = None
        self.true_cloud: np.ndarray | None = None
        if true_camera is not None:
            shift = views.true_shift((scale, offset), config.space)
            self.truth = Values(float(true_camera[1, 1]), shift)
            self._true_points = self._unproject(self.truth.shift, true_camera)
            self.true_cloud = np.asarray(self._true_points)[: self._count]
            self._true_fov = self.fov(true_camera[0, 0])

    @property
    def name(self) -> str:
        """Of the map, in messages."""
        return self.map.file.label

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.map.size

    def fov(self, focal: float) -> float:
        """The horizontal field of view of a focal length, degrees."""
        return float(camera.focal_to_degrees(focal, self.size[1]))

    def focal(self, fov: float) -> float:
        """The inverse of `fov`."""
        return float(camera.degrees_to_focal(fov, self.size[1]))

    def cloud(self, values: Values) -> np.ndarray:
        """The points under some values, (N, 3), see `viewing.unproject`."""
        return np.asarray(self._points(values))[: self._count]

    def flat(self, shifts: np.ndarray | float) -> np.ndarray:
        """How flat planes are under shifts of any shape, in [0, 1]."""
        return self._scores.flat_at(shifts)

    def right(self, shift: float, focals: np.ndarray | float) -> np.ndarray:
        """How right angles are under a shift and focal lengths of any shape, in [0, 1]."""
        return self._scores.right_at(shift, np.asarray(focals) / self.first_guess.focal)

    def as_estimate(self, values: Values) -> estimates.Estimate:
        """The values as a known focal length and shift; depth is up to scale."""
        scale, offset = self._canonical
        focal, shift = values
        a, b = map(float, affine.coefficients(scale, offset, shift, self._space))
        nothing = (math.nan, math.nan, math.nan)  # the map was not asked
        return estimates.Estimate(
            focal, shift, a, b, (focal, focal), (shift, shift), nothing, flags=()
        )

    def errors(self, values: Values) -> Errors | None:
        """Against the truth; None where it is not known."""
        if self.truth is None:
            return None
        return Errors(
            abs(self.fov(values.focal) - self._true_fov),
            float(metrics.shift_error(values.shift, self.truth.shift)),
            float(viewing.compare(self._points(values), self._true_points)),
        )

    def _points(self, values: Values) -> jax.Array:
        return self._unproject(values.shift, camera.centred_intrinsics(values.focal, *self.size))

    def _unproject(self, shift: float, intrinsics: np.ndarray) -> jax.Array:
        return viewing.unproject(
            self._sample, np.float32(shift), intrinsics.astype(np.float32), self._space
        )


_canonical = jax.jit(affine.canonicalise)
