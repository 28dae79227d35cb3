"""The files that are saved beside the answer of a map: depth, clouds, cameras, pictures."""

import contextlib
import os
from pathlib import Path

import numpy as np

from launch.recovery.config import ENDINGS, RecoveryConfig
from launch.recovery.pictures import Colours
from launch.recovery.recovered import Recovered
from train3d_jax.export import cameras, point_clouds
from train3d_jax.export.browser_clouds import write_browser_clouds
from train3d_jax.export.depth_files import write_depth
from train3d_jax.geometry import affine, camera, depth_maps
from train3d_jax.pictures.shapes import Shape

_FOLDERS = (ENDINGS["colmap"], ENDINGS["nerfstudio"])
_IN_FOLDERS = (*cameras.COLMAP_FILES, "transforms.json")


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
    intrinsics = camera.recovered_intrinsics(estimate.focal, depth_map.size, depth_map.intrinsics)
    kinds, edge_filter = config.saving.kinds, config.saving.edge_filter
    paths = {kind: config.out / f"{file.name}{ending}" for kind, ending in ENDINGS.items()}
    depth = depth_maps.recovered_depth(depth_map.values, estimate.a, estimate.b, config.space)
    if "npz" in kinds:
        write_depth(paths["npz"], depth, intrinsics, unit)
    image, size, pixels, flags = depth_map.colours or Colours(file.path, depth_map.size)
    # COLMAP and nerfstudio get the camera of the image that they are to read.
    resized = camera.resized_intrinsics(intrinsics, depth_map.size, size)
    if edge_filter:
        depth = np.where(depth_maps.depth_edges(depth, edge_filter), 0, depth)
    if {"ply", "glb", "colmap"} & set(kinds):
        points = depth_maps.point_cloud(depth, intrinsics)
        colours = None if pixels is None else pixels[depth > 0]
        if "ply" in kinds:
            comments = (f"axes: {camera.AXES}", f"unit: {unit}")
            point_clouds.write_ply(paths["ply"], points, comments, colours)
        if "glb" in kinds:
            point_clouds.write_glb(paths["glb"], points, unit, colours)
        if "colmap" in kinds:
            cameras.write_colmap(paths["colmap"], image.name, size, resized, points, unit, colours)
    if "nerfstudio" in kinds:
        folder = paths["nerfstudio"]
        cameras.write_nerfstudio(
            folder / "transforms.json", os.path.relpath(image, folder), size, resized, unit,
            os.path.relpath(paths["ply"], folder) if "ply" in kinds else None,
        )  # fmt: skip
    if {"picture", "turntable", "view"} & set(kinds):
        _draw(paths, recovered, config, depth, intrinsics, pixels)
    return flags


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
    for ending in ENDINGS.values():
        path = out / f"{name}{ending}"
        if ending not in _FOLDERS:
            path.unlink(missing_ok=True)
        elif path.is_dir():
            for inner in _IN_FOLDERS:
                (path / inner).unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # holds something else
                path.rmdir()
