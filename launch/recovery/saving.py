"""The files that are saved beside the answer of a map: depth, clouds, cameras, pictures."""

import contextlib
from pathlib import Path

import numpy as np

from launch.recovery import scene_files
from launch.recovery.config import ENDINGS, RecoveryConfig
from launch.recovery.pictures import Colours
from launch.recovery.recovered import Recovered
from train3d_jax.export.browser_clouds import write_browser_clouds
from train3d_jax.export.cameras import (
    COLMAP_DEPTH,
    COLMAP_DEPTH_ENDING,
    COLMAP_FILES,
    NERFSTUDIO_FILES,
)
from train3d_jax.export.depth_files import write_depth
from train3d_jax.export.obj_files import OBJ_FILES
from train3d_jax.geometry import affine, camera, depth_maps
from train3d_jax.pictures.shapes import Shape

_FOLDERS: dict[str, tuple[str, ...]] = {
    "colmap": (*COLMAP_FILES, str(COLMAP_DEPTH / f"*{COLMAP_DEPTH_ENDING}")),
    "nerfstudio": NERFSTUDIO_FILES,
    "obj": OBJ_FILES,
}
"""Kinds that are folders, and patterns of the files in them."""


def save(recovered: Recovered, config: RecoveryConfig, unit: str) -> tuple[str, ...]:
    """Writes all files of a map that has an estimate, but its answer.

    Args:
      recovered: the map and its estimate.
      config: which files, and where.
      unit: of recovered depth.

    Returns:
      Flags on the image that colours the cloud.

    Raises:
      UserError: a file cannot be written.
    """
    file, depth_map, estimate = recovered.file, recovered.map, recovered.estimate
    assert depth_map is not None and estimate is not None
    assert recovered.placed is not None
    place = recovered.placed
    depth, intrinsics = place.depth, place.intrinsics
    kinds, edge_filter = config.saving.kinds, config.saving.edge_filter
    paths = {kind: config.out / f"{file.name}{ending}" for kind, ending in ENDINGS.items()}
    if "npz" in kinds:
        write_depth(paths["npz"], depth, intrinsics, unit)
    colours = depth_map.colours or Colours(file.path, depth_map.size)
    if edge_filter:
        depth = np.where(depth_maps.depth_edges(depth, edge_filter), 0, depth)
    place = place._replace(depth=depth)
    scene_files.write(scene_files.Scene(place, unit, colours, config.saving, paths))
    if {"picture", "turntable", "view"} & set(kinds):
        _draw(paths, recovered, config, depth, intrinsics, colours.pixels)
    return colours.flags


def _draw(
    paths: dict[str, Path],
    recovered: Recovered,
    config: RecoveryConfig,
    depth: np.ndarray,
    intrinsics: np.ndarray,
    pixels: np.ndarray | None,
) -> None:
    """The files that show a map as given beside recovered."""
    depth_map, estimate, canonical = recovered.map, recovered.estimate, recovered.canonical
    assert depth_map is not None and estimate is not None and canonical is not None
    is_known = bool(depth_map.hints) and not depth_map.hints[0].sigma
    before = given_shape(
        depth_map.values, canonical, intrinsics if is_known else None, config.space
    )
    if config.saving.edge_filter:
        before = before._replace(depth=np.where(depth > 0, before.depth, 0))
    after = Shape(depth, intrinsics)
    if "view" in config.saving.kinds:
        write_browser_clouds(paths["view"], before, after, pixels)
    if "picture" in config.saving.kinds:
        from launch.recovery.line_pictures import intervals_of, picture_lines
        from train3d_jax.pictures.sheets import draw_sheet  # it imports Pillow and matplotlib

        shown = np.where(np.isfinite(depth_map.values), depth_map.values, 0)
        lines = None
        if recovered.lines is not None:
            lines = picture_lines(depth_map, estimate.focal, recovered.lines)
        draw_sheet(
            paths["picture"], shown, before, after, recovered.file.label, pixels, lines,
            intervals_of(depth_map.size, estimate),
        )  # fmt: skip
    if "turntable" in config.saving.kinds:
        from train3d_jax.pictures.turntables import draw_turntable

        draw_turntable(paths["turntable"], before, after, pixels)


def given_shape(
    values: np.ndarray,
    canonical: tuple[float, float],
    known: np.ndarray | None,
    space: affine.Space,
) -> Shape:
    """A map without any correction: the picture "before".

    Args:
      values: of the map, shape (H, W).
      canonical: scale and offset of its canonical form.
      known: its camera, where that is not corrected; None for the first guess.
      space: of the values.
    """
    height, width = values.shape
    first_guess = camera.centred_intrinsics(camera.initial_focal(height), height, width)
    return Shape(
        depth_maps.recovered_depth(values, *affine.coefficients(*canonical, 0.0, space), space),
        first_guess if known is None else known,
    )


def remove(out: Path, name: str) -> None:
    """Removes the files that an earlier run left of a map, first its answer: it states the rest."""
    (out / f"{name}.json").unlink(missing_ok=True)
    for kind, ending in ENDINGS.items():
        path = out / f"{name}{ending}"
        if kind not in _FOLDERS:
            path.unlink(missing_ok=True)
        elif path.is_dir():
            for pattern in _FOLDERS[kind]:
                for inner in path.glob(pattern):
                    inner.unlink(missing_ok=True)
            for folder in (path / COLMAP_DEPTH, path / COLMAP_DEPTH.parent, path):
                with contextlib.suppress(OSError):  # is not there, or holds something else
                    folder.rmdir()
