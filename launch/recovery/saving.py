"""What is written for a recovered map, and in which order: the answer last."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from data.formats.images import read_colours
from data.protocol import DataError
from data.user_maps.depth_files import DepthFile
from train3d_jax.errors import UserError
from train3d_jax.export import answers as export
from train3d_jax.export import cameras as camera_exports
from train3d_jax.geometry.affine import Space
from train3d_jax.geometry.camera import INITIAL_FOV_DEGREES
from train3d_jax.inference.recovery import Estimate

ENDINGS = {
    "ply": ".ply",
    "npz": ".npz",
    "glb": ".glb",
    "colmap": ".colmap",
    "nerfstudio": ".nerfstudio",
    "picture": ".png",
    "turntable": ".gif",
}
"""What can be saved, and what its name ends in; COLMAP's and nerfstudio's are folders."""

_FOLDERS = (ENDINGS["colmap"], ENDINGS["nerfstudio"])
_IN_FOLDERS = (*camera_exports.COLMAP_FILES, "transforms.json")

_COLOUR_SUFFIXES = (".png", ".jpg", ".jpeg", ".PNG", ".JPG", ".JPEG")

NO_COLOURS, RESIZED_COLOURS = "rgb_missing", "rgb_resized"
"""Flags of an answer: its cloud has no colours; they come from an image of another size."""


@dataclass(frozen=True)
class SaveSettings:
    """What to save, and how.

    Attributes:
      kinds: of `ENDINGS`.
      edge_filter: `export.edges` with this threshold are left out of clouds; 0 leaves none out.
      rgb: folder of the images that colour the clouds, under the relative paths of the maps; or the
        image of the only map.
    """

    kinds: tuple[str, ...] = ("ply", "npz")
    edge_filter: float = 0.0
    rgb: Path | None = None


class Colours(NamedTuple):
    """The image that belongs to a map.

    Attributes:
      image: its file; the map's own file where there is no image.
      size: its height and width in pixels.
      pixels: its colours at the map's size, uint8 (H, W, 3); None where there is no image.
      flags: what is to be said about it.
    """

    image: Path
    size: tuple[int, int]
    pixels: np.ndarray | None = None
    flags: tuple[str, ...] = ()


class Recovered(NamedTuple):
    """A map with its answer.

    Attributes:
      file: where it is from.
      values: the map, shape (H, W).
      space: of the map.
      solution: its answer.
      canonical: scale and offset of its canonical form.
      intrinsics: as recovered, (3, 3) in pixels.
      camera_known: nobody guessed the camera, so the picture "before" is made with it too.
      unit: of recovered depth.
    """

    file: DepthFile
    values: np.ndarray
    space: Space
    solution: Estimate
    canonical: tuple[float, float]
    intrinsics: np.ndarray
    camera_known: bool
    unit: str


def save(out: Path, recovered: Recovered, settings: SaveSettings) -> tuple[str, ...]:
    """Writes all but the answer.

    Args:
      out: folder of the answers.
      recovered: what to write.
      settings: what of it.

    Returns:
      Flags: what is to be said about the colours.

    Raises:
      UserError: a file cannot be written, or an image that is there cannot be read.
    """
    file, solution, intrinsics = recovered.file, recovered.solution, recovered.intrinsics
    unit, kinds = recovered.unit, settings.kinds
    paths = {kind: out / f"{file.name}{ending}" for kind, ending in ENDINGS.items()}
    depth = export.recovered_depth(recovered.values, solution.a, solution.b, recovered.space)
    if "npz" in kinds:
        export.write_depth(paths["npz"], depth, intrinsics, unit)
    image, size, pixels, flags = colours_of(file, recovered.values.shape, settings.rgb)
    # COLMAP and nerfstudio get the camera of the image that they are to read.
    camera = camera_exports.resized_camera(intrinsics, recovered.values.shape, size)
    if settings.edge_filter:
        depth = np.where(export.edges(depth, settings.edge_filter), 0, depth)
    if {"ply", "glb", "colmap"} & set(kinds):
        points = export.cloud_of(depth, intrinsics)
        colours = None if pixels is None else pixels[depth > 0]
        if "ply" in kinds:
            comments = (f"axes: {export.AXES}", f"unit: {unit}")
            export.write_ply(paths["ply"], points, comments, colours)
        if "glb" in kinds:
            export.write_glb(paths["glb"], points, unit, colours)
        if "colmap" in kinds:
            camera_exports.write_colmap(
                paths["colmap"], image.name, size, camera, points, unit, colours
            )
    if "nerfstudio" in kinds:
        folder = paths["nerfstudio"]
        camera_exports.write_nerfstudio(
            folder / "transforms.json", os.path.relpath(image, folder), size, camera, unit,
            os.path.relpath(paths["ply"], folder) if "ply" in kinds else None,
        )  # fmt: skip
    if {"picture", "turntable"} & set(kinds):
        _draw(paths, recovered, depth, settings, pixels)
    return flags


def check_images(rgb: Path | None, maps: int) -> None:
    """Refuses a flag --rgb that no map can get its colours from.

    Args:
      rgb: its value; None where it is not given.
      maps: how many there are.

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
    try:
        read_colours(rgb)
    except DataError as error:
        raise UserError(f"--rgb={rgb}: {error.reason}") from None


def colours_of(file: DepthFile, size: tuple[int, int], rgb: Path | None) -> Colours:
    """The image of a map.

    Args:
      file: the map.
      size: its height and width in pixels.
      rgb: as `SaveSettings.rgb`.

    Raises:
      UserError: an image that is there cannot be read.
    """
    if rgb is None:
        return Colours(file.path, size)
    image = rgb
    if not rgb.is_file():
        bare = rgb / Path(file.relative).with_suffix("")
        images = [bare.with_name(bare.name + suffix) for suffix in _COLOUR_SUFFIXES]
        found = next((path for path in images if path.is_file()), None)
        if found is None:
            return Colours(file.path, size, flags=(NO_COLOURS,))
        image = found
    pixels = read_colours(image)
    own_size = (pixels.shape[0], pixels.shape[1])
    if own_size == size:
        return Colours(image, size, pixels)
    height, width = size
    resized = Image.fromarray(pixels).resize((width, height), Image.Resampling.BOX)
    return Colours(image, own_size, np.asarray(resized), (RESIZED_COLOURS,))


def _draw(
    paths: dict[str, Path],
    recovered: Recovered,
    depth: np.ndarray,
    settings: SaveSettings,
    pixels: np.ndarray | None,
) -> None:
    from train3d_jax.pictures import sheets as pictures  # imports matplotlib, which few runs need

    solution, values = recovered.solution, recovered.values
    height, width = values.shape
    first_guess = height / 2 / np.tan(np.radians(INITIAL_FOV_DEGREES) / 2)
    before = pictures.Shape(
        export.recovered_depth(values, *recovered.canonical, recovered.space),
        recovered.intrinsics
        if recovered.camera_known
        else export.camera_of(first_guess, (height, width)),
    )
    if settings.edge_filter:
        before = before._replace(depth=np.where(depth > 0, before.depth, 0))
    after = pictures.Shape(depth, recovered.intrinsics)
    if "picture" in settings.kinds:
        shown = np.where(np.isfinite(values), values, 0)
        title = f"{recovered.file.relative}   shift {solution.shift:.3f}"
        pictures.draw_sheet(paths["picture"], shown, before, after, title, pixels)
    if "turntable" in settings.kinds:
        pictures.draw_turntable(paths["turntable"], before, after, pixels)


def remove(out: Path, name: str) -> None:
    """Removes what an earlier run left of a map, first its answer, which vouches for the rest."""
    (out / f"{name}.json").unlink(missing_ok=True)
    for ending in ENDINGS.values():
        path = out / f"{name}{ending}"
        if ending not in _FOLDERS:
            path.unlink(missing_ok=True)
        elif path.is_dir():
            for inner in _IN_FOLDERS:
                (path / inner).unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # holds something else
                path.rmdir()
