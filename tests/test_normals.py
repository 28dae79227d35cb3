"""Normals of depth maps."""

import numpy as np
import pytest
from box_rooms import box_room
from scene_views import INTRINSICS, SIZE, plane

from train3d_jax.geometry.normals import depth_normals, grazing_edge

EDGE = grazing_edge(38)


@pytest.mark.parametrize("normal", [(0, 0, -1), (0.2, -0.5, -1), (-2, 0.1, -1), (0.3, -1, -0.1)])
@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e9])
def test_normals_of_a_plane_are_exact_in_any_unit(normal, unit):
    depth, expected = plane(normal)
    depth = np.where(depth > 0, depth, 0) * unit
    found = depth_normals(depth, INTRINSICS, EDGE)[depth > 0]
    # Near the horizon neighbours are across an edge; there the ray stands in.
    within = np.linalg.norm(found - expected, axis=-1) < 1e-5  # float32
    assert within.mean() > 0.9 and (within.all() or normal == (0.3, -1, -0.1))


def test_normals_of_a_box_are_its_walls_but_at_its_edges():
    depth, intrinsics = box_room(3, (96, 128))
    found = depth_normals(depth, intrinsics, grazing_edge(intrinsics[1, 1])).reshape(-1, 3)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    # The most frequent direction is a wall's; all others are along it, or at a right angle.
    values, counts = np.unique(found.round(3), axis=0, return_counts=True)
    wall = values[counts.argmax()]
    cosine = np.abs(found @ wall)
    assert ((cosine < 0.01) | (cosine > 0.999)).mean() > 0.8


def test_normals_point_towards_the_camera_and_do_not_mix_surfaces():
    depth = np.full(SIZE, 2.0)
    depth[:, 16:] = 3.0
    depth[:4] = 0
    found = depth_normals(depth, INTRINSICS, 0.05)
    np.testing.assert_allclose(found[4:], np.broadcast_to([0, 0, -1], found[4:].shape), atol=1e-6)
    assert (found[:4] == 0).all()


def test_a_pixel_without_neighbours_faces_the_camera():
    depth = np.zeros(SIZE)
    depth[5, 20] = 3
    depth[12, 3:9] = 2  # a line has no plane
    found = depth_normals(depth, INTRINSICS, EDGE)
    for v, u in [(5, 20), (12, 3), (12, 5)]:
        ray = np.array([(u - 14) / 40, (v - 12.5) / 38, 1])
        np.testing.assert_allclose(found[v, u], -ray / np.linalg.norm(ray), atol=1e-6)
    assert not depth_normals(np.zeros(SIZE), INTRINSICS, EDGE).any()


@pytest.mark.parametrize("focal", [50.0, 525.0, 3000.0])
def test_the_edge_of_grazing_surfaces_means_the_same_at_any_size(focal):
    # A floor 1.5 m below a level camera: at 1.5 tan(87.5 degrees) it is seen at 87.5 degrees.
    row = focal / np.tan(np.radians(87.5))
    step = (1.5 * focal / row) / (1.5 * focal / (row + 1)) - 1
    assert grazing_edge(focal) == pytest.approx(step)
