"""Rendered views with their pictures, as maps of an unknown scale and shift."""

import functools

import numpy as np

from data.rooms.views import random_views

SIZE = (240, 320)
ROOMS = 6


@functools.cache
def views():
    """One of each room."""
    return [
        view
        for seed in range(ROOMS)
        for view in random_views(seed, 1, SIZE, centred=True, pictures=True)
    ]


@functools.cache
def noisy_maps(noise=0.03):
    """Their depth in an unknown unit; with as much noise depth alone is often blind."""
    rng = np.random.default_rng(0)
    return [
        np.float32(0.3 * view.depth * (1 + noise * rng.standard_normal(SIZE)) + 0.2)
        * (view.depth > 0)
        for view in views()
    ]


@functools.cache
def pictures():
    return [view.picture for view in views()]


def true_focals():
    return np.array([view.intrinsics[1, 1] for view in views()])


def true_gravity():
    """Down in the axes of each camera: the third axis of the world points up."""
    return np.stack([-view.camera_to_world[2, :3] for view in views()])
