"""Cameras in made-up places: lenses, poses, and how cameras are held in each surroundings.

Camera axes as everywhere in the project: x right, y down, z forward, pixel centres at integers.

All ranges are chosen: they cover hand-held cameras, robots and phones.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from data.rooms.building import Room, Surroundings, random_point
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
# Of lenses of all kinds: the full angle along the diagonal, degrees; how many of them are drawn
# evenly over that range, and the others' mean and deviation of log(focal / diagonal).
DIAGONAL_DEG = (8.0, 120.0)
EVENLY_DRAWN_SHARE = 0.5
USUAL_LENS = (-0.2, 0.45)
# Width to height where images are cut to strips or uprights too.
ALL_ASPECTS = (1 / 2, 9 / 16, 2 / 3, 3 / 4, 1.0, 4 / 3, 3 / 2, 16 / 9, 2.0, 2.5, 3.2, 4.0)


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
        all_lenses: whether lenses are drawn from `DIAGONAL_DEG` and not `FIELD_OF_VIEW_DEG`; who
            looks through a narrow one often steps back.
        aspects: width to height of images that are not of the usual size.
        other_aspects: the share of such images.
        scale: metres of a view for each metre of the scene.  A file's millimetres are too coarse
            for close-ups, and its largest depth too near for roads.
        nearest_m: nothing in a view is nearer, metres of the scene.
        scanned: the share of views of which the rows of a scanner are left.
    """

    robots: float = 0.0
    facing: float = 0.0
    most_missing: float = 0.3
    most_one_direction: float = 0.88
    all_lenses: bool = False
    aspects: tuple[float, ...] = ASPECTS
    other_aspects: float = 0.3
    scale: float = 1.0
    nearest_m: float = 0.15
    scanned: float = 0.0


# Where people use every camera that there is.
_ALL_CAMERAS = Habits(all_lenses=True, aspects=ALL_ASPECTS, other_aspects=0.6)

HABITS: dict[Surroundings, Habits] = {
    "homes": Habits(),
    "halls": Habits(robots=0.3, facing=0.12, most_one_direction=0.97),
    "streets": Habits(robots=0.25, most_missing=0.55, most_one_direction=0.97),
    "rocks": Habits(),
    "tables": replace(
        _ALL_CAMERAS, facing=0.1, most_missing=0.5, most_one_direction=0.95, scale=5.0,
        nearest_m=0.04,
    ),
    "outdoors": replace(
        _ALL_CAMERAS, robots=0.25, facing=0.15, most_missing=0.6, most_one_direction=0.97,
        scale=0.35, nearest_m=0.3, scanned=0.1,
    ),
}  # fmt: skip


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
    habits = HABITS[room.surroundings]
    if intrinsics is None:
        intrinsics = random_intrinsics(rng, size, centred=centred, all_lenses=habits.all_lenses)
    if len(room.targets) and rng.random() < room.close_up_share:
        pose = _close_up_pose(
            rng, room, _steps_back(rng, size, intrinsics) if habits.all_lenses else 1
        )
    elif (facing := habits.facing) and rng.random() < facing:
        pose = _facing_pose(rng, room)
    else:
        pose = _standing_pose(rng, room)
    return Camera(size, intrinsics, pose)


def random_size(
    rng: np.random.Generator, pixels: int = 192 * 256, aspects: tuple[float, ...] = ASPECTS
) -> tuple[int, int]:
    """(height, width) of about so many pixels, of one of some ratios of width to height."""
    width_to_height = float(rng.choice(aspects))
    height = round(math.sqrt(pixels / width_to_height))
    return height, round(height * width_to_height)


def random_intrinsics(
    rng: np.random.Generator,
    size: tuple[int, int],
    *,
    centred: bool = False,
    all_lenses: bool = False,
) -> np.ndarray:
    """(3, 3) intrinsics with a field of view in `FIELD_OF_VIEW_DEG` along the longer side.

    With `all_lenses`, one in `DIAGONAL_DEG` along the diagonal.
    """
    height, width = size
    if all_lenses:
        focal = _any_focal(rng) * math.hypot(*size)
    else:
        focal = fov_to_focal(np.radians(rng.uniform(*FIELD_OF_VIEW_DEG)), max(size))
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    aspect = 1.0
    if not centred:
        aspect += rng.normal(0, PIXEL_ASPECT_DEVIATION)
        if rng.random() < OFF_CENTRE_CHANCE:
            centre += rng.uniform(-OFF_CENTRE_SHARE, OFF_CENTRE_SHARE, 2) * [width, height]
    return intrinsics_matrix(focal, focal * aspect, *centre)


def _any_focal(rng: np.random.Generator) -> float:
    """A focal length over the diagonal."""
    high, low = (math.log(fov_to_focal(math.radians(angle), 1.0)) for angle in DIAGONAL_DEG)
    if rng.random() < EVENLY_DRAWN_SHARE:
        return math.exp(rng.uniform(low, high))
    return math.exp(min(max(rng.normal(*USUAL_LENS), low), high))


def _steps_back(rng: np.random.Generator, size: tuple[int, int], intrinsics: np.ndarray) -> float:
    """By what factor the camera goes back because its lens is narrow; more often than not all."""
    narrowness = intrinsics[0, 0] / math.hypot(*size) / math.exp(USUAL_LENS[0])
    return max(narrowness, 1.0) ** min(rng.uniform(0, 2), 1.0)


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


def _close_up_pose(rng: np.random.Generator, room: Room, factor: float = 1.0) -> np.ndarray:
    """From near a target, above it, looking almost at it; `factor` times as far as usual."""
    how = room.close_up
    target = room.targets[rng.integers(len(room.targets))] + rng.normal(0, how.spread_m, 3)
    elevation = np.radians(rng.uniform(*how.elevation_deg))
    yaw = rng.uniform(-np.pi, np.pi)
    back = factor * rng.uniform(*how.distance_m)
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
