"""The 3D files of a map: clouds, meshes, and cameras of other programs."""

import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from launch.recovery.config import SaveSettings
from launch.recovery.pictures import Colours
from launch.recovery.recovered import Placed
from train3d_jax.export import cameras, glb, meshes, obj_files, point_clouds, recordings
from train3d_jax.export.textures import texture
from train3d_jax.geometry import camera, depth_maps, normals
from train3d_jax.placement.upright import AXES


class Scene:
    """A recovered map as its files need it; what several of them hold is computed once.

    Args:
      place: the map; its depth is 0 where missing and where --edge_filter leaves points out.
      unit: of the depth.
      colours: the image of the map.
      settings: what to save, and how.
      paths: of the file or folder of each kind.
    """

    def __init__(
        self,
        place: Placed,
        unit: str,
        colours: Colours,
        settings: SaveSettings,
        paths: Mapping[str, Path],
    ):
        self.depth, self.intrinsics, self.unit = place.depth, place.intrinsics, unit
        self.place = place
        self.image, self.settings, self.paths = colours, settings, paths
        self.size = place.depth.shape[0], place.depth.shape[1]
        self.edge = settings.edge_filter or normals.grazing_edge(float(place.intrinsics[1, 1]))

    @functools.cached_property
    def points(self) -> np.ndarray:
        """Of the cloud, (N, 3)."""
        return depth_maps.point_cloud(self.depth, self.intrinsics)

    @functools.cached_property
    def colours(self) -> np.ndarray | None:
        """Of `points`, (N, 3)."""
        pixels = self.image.pixels
        return None if pixels is None else pixels[self.depth > 0]

    @functools.cached_property
    def normals(self) -> np.ndarray:
        """Of the pixels, (H, W, 3)."""
        return normals.depth_normals(self.depth, self.intrinsics, self.edge)

    @functools.cached_property
    def mesh(self) -> meshes.Mesh:
        """The mesh, simplified where that is asked for."""
        mesh = meshes.depth_mesh(self.depth, self.intrinsics, self.normals, self.edge)
        count = self.settings.simplify
        if count is None:
            return mesh
        return meshes.simplified(mesh, count, self.intrinsics, self.size)

    @functools.cached_property
    def texture(self) -> bytes | None:
        """The image at its own size, as a JPEG; None where there is none."""
        if self.image.pixels is None:
            return None
        from train3d_jax.formats.pictures import read_colours  # start-up: it imports Pillow

        return texture(read_colours(self.image.image))

    @property
    def world(self) -> dict[str, Any]:
        """The pose of the camera and the axes, of all files but GLB."""
        up = self.place.up
        return {"pose": self.place.pose, "axes": camera.AXES if up is None else AXES[up]}

    @property
    def view(self) -> glb.View:
        """The camera of the map in a GLB, which has y up in any case."""
        pose = None if self.place.up is None else self.place.upright.pose("y")
        return glb.View(self.intrinsics, self.size, pose)

    @property
    def image_intrinsics(self) -> np.ndarray:
        """Of the image that COLMAP and nerfstudio are to read, at its own size."""
        return camera.resized_intrinsics(self.intrinsics, self.size, self.image.size)


def write(scene: Scene) -> None:
    """Writes the 3D files among the kinds of the settings.

    Raises:
      UserError: a file cannot be written, the image not be read any more, or a library is missing.
    """
    kinds = [kind for kind in scene.settings.kinds if kind in _WRITERS]
    if {"mesh", "obj"} & set(kinds):
        _ = scene.texture  # what may fail comes first
    for kind in kinds:
        _WRITERS[kind](scene)


def _ply(scene: Scene) -> None:
    comments = (f"axes: {scene.world['axes']}", f"unit: {scene.unit}")
    towards = scene.normals[scene.depth > 0] if scene.settings.normals else None
    point_clouds.write_ply(
        scene.paths["ply"], scene.points, comments, scene.colours, towards, scene.place.pose
    )


def _glb(scene: Scene) -> None:
    glb.write_points(scene.paths["glb"], scene.points, scene.view, scene.unit, scene.colours)


def _mesh(scene: Scene) -> None:
    glb.write_mesh(scene.paths["mesh"], scene.mesh, scene.view, scene.unit, scene.texture)


def _obj(scene: Scene) -> None:
    obj_files.write_obj(scene.paths["obj"], scene.mesh, scene.unit, scene.texture, **scene.world)


def _colmap(scene: Scene) -> None:
    image = scene.image
    cameras.write_colmap(
        scene.paths["colmap"], image.image.name, image.size, scene.image_intrinsics, scene.points,
        scene.unit, scene.colours, scene.depth, **scene.world,
    )  # fmt: skip


def _nerfstudio(scene: Scene) -> None:
    folder, image = scene.paths["nerfstudio"], scene.image
    has_cloud = "ply" in scene.settings.kinds
    cloud = os.path.relpath(scene.paths["ply"], folder) if has_cloud else None
    cameras.write_nerfstudio(
        folder, os.path.relpath(image.image, folder), image.size, scene.image_intrinsics,
        scene.unit, cloud, scene.depth, **scene.world,
    )  # fmt: skip


def _rrd(scene: Scene) -> None:
    recordings.write_rrd(
        scene.paths["rrd"], scene.depth, scene.intrinsics, scene.points, scene.unit,
        scene.colours, scene.image.pixels, **scene.world,
    )  # fmt: skip


_WRITERS: dict[str, Callable[[Scene], None]] = {
    "ply": _ply,
    "glb": _glb,
    "mesh": _mesh,
    "obj": _obj,
    "colmap": _colmap,
    "nerfstudio": _nerfstudio,
    "rrd": _rrd,
}
