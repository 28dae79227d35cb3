"""The images of --rgb: which one is a map's, its colours for the cloud, its lines as evidence."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from data.user_maps.depth_files import DepthFile
from launch.recovery.config import RecoveryConfig
from train3d_jax.errors import DataError, UserError
from train3d_jax.lines.pictures import evidence_of
from train3d_jax.lines.segments import Segments

_COLOUR_SUFFIXES = (".png", ".jpg", ".jpeg", ".PNG", ".JPG", ".JPEG")

NO_COLOURS, RESIZED_COLOURS = "rgb_missing", "rgb_resized"
"""Flags of an answer: its cloud has no colours; they come from an image of another size."""


class Colours(NamedTuple):
    """The image that belongs to a map.

    Attributes:
      image: its file; the map's own file where there is no image.
      size: its height and width in pixels.
      pixels: its colours at the map's size, uint8 (H, W, 3); None where there is no image.
      flags: of `NO_COLOURS`, `RESIZED_COLOURS` and `lines.pictures.FLAGS`.
    """

    image: Path
    size: tuple[int, int]
    pixels: np.ndarray | None = None
    flags: tuple[str, ...] = ()


def check_images(rgb: Path | None, maps: int) -> None:
    """Refuses a value of --rgb from which no map can get its colours.

    Args:
      rgb: its value; None where it is not given.
      maps: number of maps.

    Raises:
      UserError: it is neither a folder nor an image that can be read, or one image for many maps.
    """
    if rgb is None or rgb.is_dir():
        return
    if not rgb.exists():
        raise UserError(
            f"--rgb={rgb}: is not there; give a folder with images of the maps' names, or the "
            "image of a single map"
        )
    if maps != 1:
        raise UserError(
            f"--rgb={rgb}: is one image, and there are {maps} depth maps; give a folder with "
            "images of their names"
        )
    from train3d_jax.formats.pictures import read_colours  # start-up: it imports Pillow

    try:
        read_colours(rgb)
    except DataError as error:
        raise UserError(f"--rgb={rgb}: {error.reason}") from None


def image_of(file: DepthFile, rgb: Path | None) -> Path | None:
    """The file of the image of a map, see `config.SaveSettings`; None where there is none.

    Raises:
      UserError: the folder cannot be searched.
    """
    try:
        if rgb is None or rgb.is_file():
            return rgb
        bare = rgb / (file.bare if file.frame is None else file.name)
        images = [bare.with_name(bare.name + suffix) for suffix in _COLOUR_SUFFIXES]
        own = file.path.resolve()  # a PNG of depth may lie beside its JPEG
        return next((path for path in images if path.is_file() and path.resolve() != own), None)
    except OSError as error:
        raise UserError(f"--rgb={rgb}: cannot be read: {error.strerror or error}") from None


def picture_of(
    file: DepthFile, values: np.ndarray, intrinsics: np.ndarray | None, config: RecoveryConfig
) -> tuple[Colours | None, Segments | None]:
    """The image of a map, read once: for its cloud, and its segments as evidence.

    Args:
      file: the map.
      values: of the map, shape (H, W).
      intrinsics: that its blocks are made with.
      config: of the run.

    Returns:
      Its colours, None without --rgb; its segments, None where they do not count.

    Raises:
      UserError: an image that is there cannot be read.
    """
    rgb, size = config.saving.rgb, (values.shape[0], values.shape[1])
    if rgb is None:
        return None, None
    image = image_of(file, rgb)
    if image is None:
        return Colours(file.path, size, flags=(NO_COLOURS,)), None
    return read_picture(image, values, intrinsics, config)


def read_picture(
    image: Path, values: np.ndarray, intrinsics: np.ndarray | None, config: RecoveryConfig
) -> tuple[Colours, Segments | None]:
    """An image, as `picture_of` has it.

    Raises:
      UserError: it cannot be read.
    """
    from train3d_jax.formats.pictures import read_colours  # start-up: it imports Pillow

    pixels = read_colours(image)
    colours = _resized(image, pixels, (values.shape[0], values.shape[1]))
    if not config.lines:
        return colours, None
    segments, flags = evidence_of(pixels, values, config.space, intrinsics)
    return colours._replace(flags=(*colours.flags, *flags)), segments


def colours_of(file: DepthFile, size: tuple[int, int], rgb: Path | None) -> np.ndarray | None:
    """The colours of a map at its size, as of `Colours`; None where it has no image.

    Args:
      file: the map.
      size: its height and width in pixels.
      rgb: see `config.SaveSettings`.

    Raises:
      UserError: an image that is there cannot be read.
    """
    image = image_of(file, rgb)
    if image is None:
        return None
    from train3d_jax.formats.pictures import read_colours

    return _resized(image, read_colours(image), size).pixels


def _resized(image: Path, pixels: np.ndarray, size: tuple[int, int]) -> Colours:
    from train3d_jax.formats.pictures import resized  # start-up: it imports Pillow

    own_size = (pixels.shape[0], pixels.shape[1])
    if own_size == size:
        return Colours(image, size, pixels)
    return Colours(image, own_size, resized(pixels, size), (RESIZED_COLOURS,))
