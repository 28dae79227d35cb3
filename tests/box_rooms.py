"""Depth maps of empty rooms with right angles, computed, not rendered: test input."""

import numpy as np


def box_room(seed, size=(96, 128), fov_degrees=None):
    """What a camera in a random place of a random box sees.

    Returns:
      Depth in metres, float32 (H, W), nowhere missing, and intrinsics, float64 (3, 3), with the
      principal point in the image centre; `fov_degrees` is vertical, random where it is not given.
    """
    rng = np.random.default_rng(seed)
    height, _ = size
    fov = np.radians(rng.uniform(35, 90) if fov_degrees is None else fov_degrees)
    focal = height / 2 / np.tan(fov / 2)
    yaw, pitch = rng.uniform(0.2, 1.3), rng.uniform(-0.5, 0.5)
    turn = turned(yaw, pitch)
    room = rng.uniform([4, 2.4, 4], [7, 3.2, 7])
    place = room * rng.uniform(0.2, 0.8, 3)
    return seen(room, place, turn, focal, size)


def turned(yaw, pitch, roll=0.0):
    """From camera axes to those of a level world with y down; radians, up and clockwise."""
    turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    nod = np.array(
        [[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]]
    )
    lean = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    return turn @ nod @ lean


def seen(room, place, turn, focal, size):
    """Depth and intrinsics, as of `box_room`, of a box [0, room] from a place in it."""
    height, width = size
    cx, cy = (width - 1) / 2, (height - 1) / 2
    v, u = np.mgrid[:height, :width]
    rays = np.stack([(u - cx) / focal, (v - cy) / focal, np.ones(size)], -1)
    directions = rays @ turn.T
    with np.errstate(divide="ignore"):
        walls = np.where(directions > 0, (room - place) / directions, -place / directions)
    # A ray of unit z reaches a wall at depth z.
    depth = walls.min(-1).astype(np.float32)
    return depth, np.array([[focal, 0, cx], [0, focal, cy], [0, 0, 1.0]])
