"""Depth maps of random rooms, rendered by ray casting: exact, unlimited, and free to use.

A room is a pure function of a seed, and so are its views.  Camera axes as everywhere in the
project: x right, y down, z forward, depth is z, pixel centres at integers, 0 = missing.

The ray caster is loaded when the first room is built: importing this module costs nothing.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from data.rooms.building import Room, Surroundings
from data.rooms.cameras import (
    HABITS,
    STEREO_BASELINE_M,
    Camera,
    random_camera,
    random_intrinsics,
    shifted,
)
from data.rooms.pictures import Photographer
from data.rooms.ray_casting import Hits, make_caster
from data.rooms.scenes import random_room
from train3d_jax.geometry.camera import pixel_grid, resized_intrinsics, unproject_pixels

# A view whose planes share a direction is drawn again.
ONE_DIRECTION_COSINE = math.cos(math.radians(10.0))
# Rays that decide on a view before the full image is cast.
PROBE_SIZE = (18, 24)
# Rows of a scanner: how many, and its lowest and highest, degrees from the horizontal (Velodyne
# HDL-64E: 64, -24.8 and 2); how far a ray may pass from the middle of its pixel's row, pixels.
SCANNER_ROWS = (16, 128)
SCANNER_DEG = (-24.8, 2.0)
SCANNED_PIXELS = 0.5
LEAST_SCANNED = 0.35
# A room is replaced after so many rejected draws per view.
DRAWS_PER_VIEW = 40


@dataclass(frozen=True)
class View:
    """A depth map with its camera.

    Attributes:
        depth: (H, W) float32, z in metres; 0 where the ray met nothing.
        intrinsics: (3, 3) float64, pixels.
        camera_to_world: (4, 4) float64, metres; views of one room share the world.
        picture: (H, W, 3) uint8, or a whole fraction of that size; None if it was not asked for.
    """

    depth: np.ndarray
    intrinsics: np.ndarray
    camera_to_world: np.ndarray
    picture: np.ndarray | None = None


def random_views(
    seed: int,
    count: int,
    size: tuple[int, int] = (192, 256),
    *,
    centred: bool = False,
    one_camera: bool = False,
    surroundings: Surroundings = "homes",
    threads: int = 0,
    pictures: bool | int = False,
) -> list[View]:
    """`count` views of one random room: the same seed and arguments give the same views.

    Args:
        seed: of the room and the cameras, >= 0.
        count: how many views, >= 1.
        size: (height, width) in pixels of each.
        centred: square pixels and a principal point exactly at the centre; otherwise some cameras
            have a pixel aspect and an offset as real ones do.
        one_camera: all views share one set of intrinsics.
        surroundings: what the room is among, and so how it is seen: `HABITS`.
        threads: that cast rays; 0 takes every core.  The views do not depend on it.
        pictures: whether the views come with pictures, which takes ten times as long; 2 for
            pictures half as wide and high, and so on.

    Raises:
        UserError: no ray caster can be loaded.
    """
    caster, groups = _good_groups(
        seed, count, size, lambda rng, camera: (camera,), centred, one_camera, surroundings, threads
    )
    views = [view for (view,) in groups]
    if pictures:
        views = caster.with_pictures(views, seed, int(pictures))
    return [scaled(view, HABITS[surroundings].scale) for view in views]


def random_quadruples(
    seed: int,
    count: int,
    size: tuple[int, int] = (192, 192),
    *,
    surroundings: Surroundings = "homes",
    threads: int = 0,
) -> list[tuple[View, ...]]:
    """Views of one random room in fours: top left, top right, bottom left, bottom right.

    The cameras of a quadruple look the same way and stand a few centimetres apart, as in the
    3D Ken Burns dataset; all are centred, with square pixels.

    Args:
        seed: of the room and the cameras, >= 0.
        count: how many quadruples, >= 1.
        size: (height, width) in pixels of each view.
        surroundings: as of `random_views`.
        threads: that cast rays; 0 takes every core.

    Raises:
        UserError: no ray caster can be loaded.
    """

    def corners(rng: np.random.Generator, camera: Camera) -> tuple[Camera, ...]:
        half = rng.uniform(*STEREO_BASELINE_M) / 2
        return tuple(shifted(camera, x, y) for y in (-half, half) for x in (-half, half))

    groups = _good_groups(seed, count, size, corners, True, False, surroundings, threads)[1]
    scale = HABITS[surroundings].scale
    return [tuple(scaled(view, scale) for view in views) for views in groups]


def _good_groups(
    seed: int,
    count: int,
    size: tuple[int, int],
    group: Callable[[np.random.Generator, Camera], tuple[Camera, ...]],
    centred: bool,
    one_camera: bool,
    surroundings: Surroundings,
    threads: int,
) -> tuple["RayCaster", list[tuple[View, ...]]]:
    """A room and `count` groups of views of it, every view of each of them worth having."""
    rng = np.random.default_rng(seed)
    while True:
        room = random_room(rng, surroundings=surroundings)
        caster = RayCaster(room, threads)
        habits = HABITS[surroundings]
        intrinsics = None
        if one_camera:
            intrinsics = random_intrinsics(rng, size, centred=centred, all_lenses=habits.all_lenses)
        groups = []
        for _ in range(count * DRAWS_PER_VIEW):
            camera = random_camera(rng, room, size, centred=centred, intrinsics=intrinsics)
            cameras = group(rng, camera)
            if all(caster.is_worthwhile(camera) for camera in cameras):
                views = tuple(caster.render(camera) for camera in cameras)
                if habits.scanned and rng.random() < habits.scanned:
                    rows = int(rng.integers(*SCANNER_ROWS))
                    views = tuple(rows_of_scanner(view, rows) for view in views)
                if all(nearest_depth(view) >= habits.nearest_m for view in views):
                    groups.append(views)
            if len(groups) == count:
                return caster, groups
        # A room so full that no camera finds a place in it: the same generator builds another.


def scaled(view: View, scale: float) -> View:
    """The view of the scene made larger by a factor: its picture stays the same."""
    pose = view.camera_to_world * np.array([1, 1, 1, scale])
    return replace(view, depth=view.depth * np.float32(scale), camera_to_world=pose)


def rows_of_scanner(view: View, rows: int) -> View:
    """The view with depth only where one of so many level rows of a scanner at the camera passes.

    The rows are `SCANNER_DEG` from the horizontal, at equal angles; other pixels are missing.  The
    view itself, where fewer than `LEAST_SCANNED` of its pixels would be left.
    """
    pixels = pixel_grid(*view.depth.shape)
    rays = unproject_pixels(pixels, np.ones(view.depth.shape), view.intrinsics)
    up = view.camera_to_world[2, :3]
    elevation = np.degrees(np.arcsin((rays @ up) / np.linalg.norm(rays, axis=-1)))
    low, high = SCANNER_DEG
    number = (elevation - low) / (high - low) * (rows - 1)
    off = np.abs(number - np.rint(number)) * (high - low) / (rows - 1)  # degrees
    seen = off <= np.degrees(SCANNED_PIXELS / view.intrinsics[1, 1])
    seen &= (number > -0.5) & (number < rows - 0.5)
    depth = np.where(seen, view.depth, np.float32(0))
    return replace(view, depth=depth) if (depth > 0).mean() >= LEAST_SCANNED else view


def nearest_depth(view: View) -> float:
    """The smallest depth of the view in metres; infinite if it has none."""
    return float(np.where(view.depth > 0, view.depth, np.inf).min())


class RayCaster:
    """The rays' side of a room: built once, then asked for as many views as wanted.

    Args:
        room: what to look at.
        threads: that cast rays; 0 takes every core.

    Raises:
        UserError: no ray caster can be loaded.
    """

    def __init__(self, room: Room, threads: int = 0) -> None:
        self._cast_rays = make_caster(room.mesh.vertices, room.mesh.faces, threads)
        self._room, self._habits = room, HABITS[room.surroundings]

    def render(self, camera: Camera) -> View:
        """The view from `camera`, every pixel cast through its centre."""
        depth = self._cast(camera, camera.size).distance
        depth = np.where(np.isfinite(depth), depth, np.float32(0))
        return View(depth.reshape(camera.size), camera.intrinsics, camera.camera_to_world)

    def with_pictures(self, views: list[View], seed: int, smaller: int = 1) -> list[View]:
        """Views with what a camera would see: a pure function of the room, the views, the seed.

        The pictures are so many times smaller than the depth.
        """
        photographer = Photographer(self._room, self._cast_rays, seed)
        pictured = []
        for number, view in enumerate(views):
            height, width = view.depth.shape
            size = (height // smaller, width // smaller)
            intrinsics = resized_intrinsics(view.intrinsics, (height, width), size)
            picture = photographer.take(
                size, intrinsics, view.camera_to_world, 1000 * seed + number
            )
            pictured.append(replace(view, picture=picture))
        return pictured

    def is_worthwhile(self, camera: Camera) -> bool:
        """Whether a coarse look shows several plane directions, few gaps, and free space ahead."""
        depth, normals, _ = self._cast(camera, PROBE_SIZE)
        hit = np.isfinite(depth)
        if hit.mean() < 1 - self._habits.most_missing or depth.min() < self._habits.nearest_m:
            return False
        normals = normals[hit]
        # A triangle met from behind: the camera stands inside a solid.
        directions = self._directions(camera, PROBE_SIZE)[hit]
        if ((normals * directions).sum(-1) > 1e-4).any():
            return False
        alike = np.abs(np.einsum("ik,jk->ij", normals, normals)) > ONE_DIRECTION_COSINE
        return bool(alike.mean(axis=1).max() < self._habits.most_one_direction)

    def _cast(self, camera: Camera, grid: tuple[int, int]) -> Hits:
        return self._cast_rays(camera.camera_to_world[:3, 3], self._directions(camera, grid))

    def _directions(self, camera: Camera, grid: tuple[int, int]) -> np.ndarray:
        """World directions of a grid of rays over the image: z = 1 before turning, so t is z."""
        height, width = camera.size
        v = np.linspace(0, height - 1, grid[0])[:, None, None]
        u = np.linspace(0, width - 1, grid[1])[None, :, None]
        per_u, per_v, origin = (camera.camera_to_world[:3, :3] @ np.linalg.inv(camera.intrinsics)).T
        # Sums, not a matrix product: BLAS would wake all its threads for it in every worker.
        return (u * per_u + (v * per_v + origin)).reshape(-1, 3)
