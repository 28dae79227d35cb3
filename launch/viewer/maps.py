"""What the viewer can look at: maps of a folder, maps whose truth is known, and uploads."""

import base64
import dataclasses
import functools
import io
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import jax
import numpy as np
from PIL import Image

from data.user_maps.depth_files import DepthFile
from data.user_maps.true_maps import TrueMaps
from launch.recovery import one_map as recovery
from launch.recovery import saving
from launch.recovery.config import RecoveryConfig
from launch.recovery.folder import printable
from launch.recovery.one_map import Map
from launch.recovery.saving import SaveSettings
from train3d_jax.errors import UserError
from train3d_jax.evaluation import views as evaluation
from train3d_jax.export import answers as export
from train3d_jax.files import write_whole
from train3d_jax.geometry import affine, metrics
from train3d_jax.geometry.camera import INITIAL_FOV_DEGREES
from train3d_jax.inference import recovery as inference
from train3d_jax.inference import viewing
from train3d_jax.pictures.sheets import in_colours

THUMBNAIL = 96
"""Width in pixels."""

UPLOADS = "uploads"
"""Folder below --out for answers of uploaded maps, so that they replace no map's of the folder."""

_LONGEST_NAME = 60
"""Characters of an upload's name that are kept; four bytes each still fit a file's name."""


@dataclasses.dataclass(frozen=True, eq=False)
class Entry:
    """A map of the list.

    Attributes:
      name: as the list shows it.
      read: gives the map and its true intrinsics, (3, 3), or None where they are not known; raises
        UserError where it cannot be read.
    """

    name: str
    read: Callable[[], tuple[Map, np.ndarray | None]]


def entries_of_folder(config: RecoveryConfig) -> list[Entry]:
    """The maps that launch.infer would recover, under the names that it would give them."""
    return [_entry_of_file(file, config) for file in recovery.find_maps(config).files]


def entries_of_set(config: RecoveryConfig) -> list[Entry]:
    """The maps of a set whose truth is known, see `TrueMaps`."""
    maps = TrueMaps(config.input)

    def read(index: int) -> tuple[Map, np.ndarray]:
        found = maps[index]
        file = DepthFile(config.input, found.name, found.name)
        values = found.depth
        if config.space == "disparity":
            values = np.divide(1, values, out=np.zeros_like(values), where=values > 0)
        return Map(file, values, None), found.intrinsics

    return [Entry(f"map {i + 1}", functools.partial(read, i)) for i in range(len(maps))]


def entry_of_upload(folder: Path, name: str, content: bytes, config: RecoveryConfig) -> Entry:
    """Keeps what a browser sent, to be read as any other file.

    Args:
      folder: an empty one, for this upload alone.
      name: as the browser tells it: anything.
      content: of the file.
      config: how to read it.

    Raises:
      UserError: it cannot be kept.
    """
    safe = printable(PurePosixPath(name.replace("\\", "/")).name)[-_LONGEST_NAME:].strip(".")
    safe = safe or "upload"
    write_whole(folder / safe, content)
    return _entry_of_file(DepthFile(folder, safe, f"{UPLOADS}/{Path(safe).stem}"), config)


def saving_of(file: DepthFile, config: RecoveryConfig) -> SaveSettings:
    """How to save a map: an upload does not get the image of the single map of --input."""
    settings = config.saving
    if settings.rgb is not None and settings.rgb.is_file() and file.name.startswith(f"{UPLOADS}/"):
        return dataclasses.replace(settings, rgb=None)
    return settings


def _entry_of_file(file: DepthFile, config: RecoveryConfig) -> Entry:
    def read() -> tuple[Map, None]:
        try:
            return recovery.read_map(file, config), None
        except (UserError, MemoryError) as error:
            raise UserError(f"{file.relative}: {recovery.reason(file, error)}") from None

    return Entry(file.relative, read)


@functools.lru_cache(maxsize=512)
def thumbnail(entry: Entry) -> str:
    """A small picture as the address of an <img>; empty where the map cannot be read."""
    try:
        found, _ = entry.read()
    except UserError:
        return ""
    step = max(1, found.values.shape[1] // (2 * THUMBNAIL))
    values = found.values[::step, ::step]
    picture = Image.fromarray(in_colours(np.where(np.isfinite(values), values, 0)))
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getbuffer()).decode()


class Values(NamedTuple):
    """What the sliders stand for.

    Attributes:
      focal: vertical focal length, pixels.
      shift: canonical units.
    """

    focal: float
    shift: float


class Errors(NamedTuple):
    """How far values are from the truth.

    Attributes:
      fov: horizontal field of view, degrees.
      shift: over the far quantile of the true depth.
      points: mean error of the points over their true distance.
    """

    fov: float
    shift: float
    points: float


class Look:
    """A map that is being looked at.

    Attributes:
      found: the map.
      first_guess: of its values: 60 degrees high, and the canonical form as it is.
      truth: None where it is not known.
      colours: of the points, uint8 (N, 3).
      flags: what is to be said about the colours.
      distorted: the cloud under the first guess, (N, 3), see `viewing.unproject`.
      true_cloud: None where it is not known.

    Raises UserError where nothing can be seen of the map.
    """

    def __init__(self, entry: Entry, config: RecoveryConfig):
        self.found, true_camera = entry.read()
        values = self.found.values
        blocks = inference.make_blocks([values])
        canonical = _canonical(blocks.values, blocks.mask)
        if not canonical.solvable[0]:
            raise UserError(f"{self.name}: {recovery.NOT_SOLVABLE}")
        scale, offset = float(canonical.scale[0]), float(canonical.offset[0])
        if not np.isfinite([scale, offset]).all():
            raise UserError(f"{self.name}: {recovery.NOT_FINITE}")
        self._canonical = scale, offset
        self._space = config.space
        self._scores = viewing.scores(blocks, config.space)
        self._sample, places = viewing.take_sample(values, (scale, offset))
        self._count = len(places)
        rgb = saving_of(self.found.file, config).rgb
        _, _, pixels, self.flags = saving.colours_of(self.found.file, self.size, rgb)
        if pixels is None:
            pixels = in_colours(np.where(np.isfinite(values), values, 0))
        self.colours = pixels[places[:, 0], places[:, 1]]
        half = np.radians(INITIAL_FOV_DEGREES) / 2
        self.first_guess = Values(float(self.size[0] / 2 / np.tan(half)), 0.0)
        self.distorted = self.cloud(self.first_guess)
        self.truth: Values | None = None
        self.true_cloud: np.ndarray | None = None
        if true_camera is not None:
            self.truth = Values(float(true_camera[1, 1]), -offset)
            self._true_points = self._unproject(self.truth.shift, true_camera)
            self.true_cloud = np.asarray(self._true_points)[: self._count]
            self._true_fov = export.fov_degrees(true_camera[0, 0], self.size[1])

    @property
    def name(self) -> str:
        """Of the map, as messages tell it."""
        return self.found.file.relative

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = self.found.values.shape
        return height, width

    def fov(self, focal: float) -> float:
        """The horizontal field of view of a focal length, degrees."""
        return export.fov_degrees(focal, self.size[1])

    def focal(self, fov: float) -> float:
        """The inverse of `fov`."""
        return evaluation.fov_to_focal(fov, self.size[1])

    def cloud(self, values: Values) -> np.ndarray:
        """The points under some values, (N, 3), see `viewing.unproject`."""
        return np.asarray(self._points(values))[: self._count]

    def flat(self, shifts: np.ndarray | float) -> np.ndarray:
        """How flat planes are under shifts of any shape, in [0, 1]."""
        return self._scores.flat_at(shifts)

    def right(self, shift: float, focals: np.ndarray | float) -> np.ndarray:
        """How right angles are under a shift and focal lengths of any shape, in [0, 1]."""
        return self._scores.right_at(shift, np.asarray(focals) / self.first_guess.focal)

    def as_solution(self, values: Values) -> inference.Estimate:
        """Values that were set, not found: as `launch.infer` tells what is known; up to scale."""
        scale, offset = self._canonical
        focal, shift = values
        return inference.Estimate(
            focal, shift, scale, offset + shift, (focal, focal), (shift, shift), flags=()
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
        return self._unproject(values.shift, export.camera_of(values.focal, self.size))

    def _unproject(self, shift: float, intrinsics: np.ndarray) -> jax.Array:
        return viewing.unproject(
            self._sample, np.float32(shift), intrinsics.astype(np.float32), self._space
        )


_canonical = jax.jit(affine.canonicalise)
