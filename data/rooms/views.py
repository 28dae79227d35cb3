"""Depth maps of random rooms, rendered by ray casting: exact, unlimited, and free to use.

A room is a pure function of a seed, and so are its views.  Camera axes as everywhere in the
project: x right, y down, z forward, depth is z, pixel centres at integers, 0 = missing.

All ranges are chosen: they cover hand-held cameras, robots and phones in rooms.

The ray caster is loaded when the first room is built: importing this module costs nothing.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from data.rooms.building import Room, Surroundings, random_point
from data.rooms.pictures import Photographer
from data.rooms.ray_casting import Hits, make_caster
from data.rooms.scenes import random_room
from data.rooms.shells import edge_frame
from train3d_jax.geometry.camera import fov_to_focal, intrinsics_matrix

# The full angle along the longer side of the image, degrees.
FIELD_OF_VIEW_DEG = (35.0, 100.0)
# Width to height: upright and lying 4:3, 3:2 and 16:9, and square.
ASPECTS = (3 / 4, 2 / 3, 9 / 16, 1.0, 4 / 3, 3 / 2, 16 / 9)
# Camera height above the floor, pitch (up is positive) and roll.
CAMERA_HEIGHT_M = (0.3, 2.4)
PITCH_DEG = (-70.0, 40.0)
ROLL_DEG = (-25.0, 25.0)
# A robot's camera: how high above the floor, and its pitch.
ROBOT_HEIGHT_M = (0.1, 0.7)
ROBOT_PITCH_DEG = (-2.0, 8.0)  # mean and standard deviation
# Views of a wall: the distance from it, and the standard deviation of yaw and pitch.
FACING_DISTANCE_M = (0.4, 4.0)
FACING_ANGLE_DEG = 15.0
# A principal point off the centre: its probability, and its offset as a share of the side.
OFF_CENTRE_CHANCE = 0.3
OFF_CENTRE_SHARE = 0.04
# fy / fx - 1 of a camera whose pixels are not square: ScanNet's depth camera has 0.002.
PIXEL_ASPECT_DEVIATION = 0.003
# Between the two cameras of a stereo pair, across and down.
STEREO_BASELINE_M = (0.02, 0.1)
# A close-up is taken from this far, metres, and from this high above its target, degrees.
CLOSE_UP_DISTANCE_M = (0.35, 1.3)
CLOSE_UP_ELEVATION_DEG = (8.0, 65.0)

# A view that is nearer, or whose planes share a direction, is drawn again.
NEAREST_DEPTH_M = 0.15
ONE_DIRECTION_COSINE = math.cos(math.radians(10.0))
# Rays that decide on a view before the full image is cast.
PROBE_SIZE = (18, 24)
# A room is replaced after so many rejected draws per view.
DRAWS_PER_VIEW = 40


@dataclass(frozen=True)
class Habits:
    """How cameras are held in some surroundings, and which views are kept.

    Attributes:
        robots: the share of views from low and level cameras.
        facing: the share of views of a wall from in front of it.
        most_missing: the largest share of pixels that may meet nothing.
        most_one_direction: the largest share of pixels on planes of one direction.  The
            focal length is unobservable in views of nearly one plane, but a network should be
            trained on some.
    """

    robots: float = 0.0
    facing: float = 0.0
    most_missing: float = 0.3
    most_one_direction: float = 0.88


HABITS: dict[Surroundings, Habits] = {
    "homes": Habits(),
    "halls": Habits(robots=0.3, facing=0.12, most_one_direction=0.97),
    "streets": Habits(robots=0.25, most_missing=0.55, most_one_direction=0.97),
    "rocks": Habits(),
}


@dataclass(frozen=True)
class Camera:
    """A pinhole camera in a room.

    Attributes:
        size: (height, width) in pixels.
        intrinsics: (3, 3) float64, pixels; pixel centres at integers.
        camera_to_world: (4, 4) float64, metres; world z is up, camera z forward and y down.
    """

    size: tuple[int, int]
    intrinsics: np.ndarray
    camera_to_world: np.ndarray


@dataclass(frozen=True)
class View:
    """A depth map with its camera.

    Attributes:
        depth: (H, W) float32, z in metres; 0 where the ray met nothing.
        intrinsics: (3, 3) float64, pixels.
        camera_to_world: (4, 4) float64, metres; views of one room share the world.
        picture: (H, W, 3) uint8; None if it was not asked for.
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
    pictures: bool = False,
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
        pictures: whether the views come with pictures, which takes ten times as long.

    Raises:
        UserError: no ray caster can be loaded.
    """
    caster, groups = _good_groups(
        seed, count, size, lambda rng, camera: (camera,), centred, one_camera, surroundings, threads
    )
    views = [view for (view,) in groups]
    return caster.with_pictures(views, seed) if pictures else views


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

    return _good_groups(seed, count, size, corners, True, False, surroundings, threads)[1]


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
        intrinsics = random_intrinsics(rng, size, centred=centred) if one_camera else None
        groups = []
        for _ in range(count * DRAWS_PER_VIEW):
            camera = random_camera(rng, room, size, centred=centred, intrinsics=intrinsics)
            cameras = group(rng, camera)
            if all(caster.is_worthwhile(camera) for camera in cameras):
                views = tuple(caster.render(camera) for camera in cameras)
                if all(nearest_depth(view) >= NEAREST_DEPTH_M for view in views):
                    groups.append(views)
            if len(groups) == count:
                return caster, groups
        # A room so full that no camera finds a place in it: the same generator builds another.


def random_camera(
    rng: np.random.Generator,
    room: Room,
    size: tuple[int, int],
    *,
    centred: bool = False,
    intrinsics: np.ndarray | None = None,
) -> Camera:
    """A camera somewhere in the room: hand-held, low or high, or close to a table top.

    It may stand inside a piece of furniture: `RayCaster.is_worthwhile` finds out.
    """
    if intrinsics is None:
        intrinsics = random_intrinsics(rng, size, centred=centred)
    if len(room.targets) and rng.random() < room.close_up_share:
        pose = _close_up_pose(rng, room)
    elif (facing := HABITS[room.surroundings].facing) and rng.random() < facing:
        pose = _facing_pose(rng, room)
    else:
        pose = _standing_pose(rng, room)
    return Camera(size, intrinsics, pose)


def random_size(rng: np.random.Generator, pixels: int = 192 * 256) -> tuple[int, int]:
    """(height, width) of about so many pixels, of an aspect that photographs commonly have."""
    width_to_height = float(rng.choice(ASPECTS))
    height = round(math.sqrt(pixels / width_to_height))
    return height, round(height * width_to_height)


def random_intrinsics(
    rng: np.random.Generator, size: tuple[int, int], *, centred: bool = False
) -> np.ndarray:
    """(3, 3) intrinsics with a field of view in `FIELD_OF_VIEW_DEG` along the longer side."""
    height, width = size
    angle = np.radians(rng.uniform(*FIELD_OF_VIEW_DEG))
    focal = fov_to_focal(angle, max(size))
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    aspect = 1.0
    if not centred:
        aspect += rng.normal(0, PIXEL_ASPECT_DEVIATION)
        if rng.random() < OFF_CENTRE_CHANCE:
            centre += rng.uniform(-OFF_CENTRE_SHARE, OFF_CENTRE_SHARE, 2) * [width, height]
    return intrinsics_matrix(focal, focal * aspect, *centre)


def _standing_pose(rng: np.random.Generator, room: Room) -> np.ndarray:
    """At a free place of the floor, looking mostly across the room and a little down."""
    x, y = random_point(rng, room.plan, 0.25)
    height = rng.choice([rng.uniform(1.2, 1.8), rng.uniform(*CAMERA_HEIGHT_M)], p=[0.6, 0.4])
    if rng.random() < 0.75:
        # The farther of two points: who photographs a room steps back to get it in.
        ahead = np.array([random_point(rng, room.plan, 0.0) for _ in range(2)]) - [x, y]
        heading = ahead[np.argmax(np.linalg.norm(ahead, axis=1))]
        yaw = np.arctan2(heading[1], heading[0])
    else:
        yaw = rng.uniform(-np.pi, np.pi)
    pitch = np.clip(rng.normal(-12, 16), *PITCH_DEG)
    # Drawn only where there are any: the homes of a seed stay what they were.
    robots = HABITS[room.surroundings].robots
    if robots and rng.random() < robots:
        height = np.exp(rng.uniform(*np.log(ROBOT_HEIGHT_M)))
        pitch = np.clip(rng.normal(*ROBOT_PITCH_DEG), *PITCH_DEG)
    return pose([x, y, min(height, room.height - 0.2)], yaw, np.radians(pitch), _roll(rng))


def _facing_pose(rng: np.random.Generator, room: Room) -> np.ndarray:
    """In front of a wall, near or far, looking at it or nearly so."""
    corner, along, inward, length = edge_frame(room.plan, int(rng.integers(len(room.plan))))
    away = np.exp(rng.uniform(*np.log(FACING_DISTANCE_M)))
    x, y = corner + rng.uniform(0.1, 0.9) * length * along + away * inward
    angles = np.radians(rng.normal(0, FACING_ANGLE_DEG, 2))
    yaw = np.arctan2(-inward[1], -inward[0]) + angles[0]
    height = min(rng.uniform(*CAMERA_HEIGHT_M), room.height - 0.2)
    return pose([x, y, height], yaw, angles[1], _roll(rng))


def _close_up_pose(rng: np.random.Generator, room: Room) -> np.ndarray:
    """From near a target, above it, looking almost at it."""
    target = room.targets[rng.integers(len(room.targets))] + rng.normal(0, 0.1, 3)
    elevation = np.radians(rng.uniform(*CLOSE_UP_ELEVATION_DEG))
    yaw = rng.uniform(-np.pi, np.pi)
    back = rng.uniform(*CLOSE_UP_DISTANCE_M)
    forward = np.array([np.cos(yaw), np.sin(yaw), 0]) * np.cos(elevation)
    position = target - back * (forward - [0, 0, np.sin(elevation)])
    return pose(position, yaw + rng.normal(0, 0.1), -elevation + rng.normal(0, 0.1), _roll(rng))


def _roll(rng: np.random.Generator) -> float:
    """Radians: most cameras are held nearly level, some are not."""
    spread = 3.0 if rng.random() < 0.7 else 12.0
    return float(np.radians(np.clip(rng.normal(0, spread), *ROLL_DEG)))


def pose(position, yaw: float, pitch: float, roll: float) -> np.ndarray:
    """The (4, 4) camera-to-world matrix of a camera.

    Args:
        position: (3,) metres, world axes (z up).
        yaw: horizontal direction that it looks in, radians from world x towards y.
        pitch: radians, up is positive.
        roll: radians; positive turns the camera clockwise as seen from behind it.
    """
    forward = np.array([np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch), np.sin(pitch)])
    level_right = np.array([np.sin(yaw), -np.cos(yaw), 0.0])
    level_down = np.cross(forward, level_right)
    right = np.cos(roll) * level_right + np.sin(roll) * level_down
    matrix = np.eye(4)
    matrix[:3, :3] = np.column_stack([right, np.cross(forward, right), forward])
    matrix[:3, 3] = position
    return matrix


def shifted(camera: Camera, right: float, down: float) -> Camera:
    """`camera` moved within its image plane by so many metres, looking the same way."""
    matrix = camera.camera_to_world.copy()
    matrix[:3, 3] += matrix[:3, :3] @ [right, down, 0.0]
    return replace(camera, camera_to_world=matrix)


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

    def with_pictures(self, views: list[View], seed: int) -> list[View]:
        """Views with what a camera would see: a pure function of the room, the views, the seed."""
        photographer = Photographer(self._room, self._cast_rays, seed)
        return [
            replace(
                view,
                picture=photographer.take(
                    view.depth.shape, view.intrinsics, view.camera_to_world, 1000 * seed + number
                ),
            )
            for number, view in enumerate(views)
        ]

    def is_worthwhile(self, camera: Camera) -> bool:
        """Whether a coarse look shows several plane directions, few gaps, and free space ahead."""
        depth, normals, _ = self._cast(camera, PROBE_SIZE)
        hit = np.isfinite(depth)
        if hit.mean() < 1 - self._habits.most_missing or depth.min() < NEAREST_DEPTH_M:
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
