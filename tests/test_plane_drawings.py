"""Surfaces by the direction that they face, and intervals, as sheets draw them."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from train3d_jax.geometry.camera import centred_intrinsics
from train3d_jax.geometry.plane_fits import plane_normals
from train3d_jax.pictures.interval_drawings import _FOUND, _INK, _PRIOR, Intervals, draw_intervals
from train3d_jax.pictures.line_drawings import COLOURS, NAMES
from train3d_jax.pictures.plane_drawings import orthogonal_directions, paint_planes
from train3d_jax.pictures.shapes import Shape, averaged

SIZE = (60, 80)
CAMERA = centred_intrinsics(70.0, *SIZE)
NORMAL = np.array([0.3, -0.5, -0.8]) / np.linalg.norm([0.3, -0.5, -0.8])


def plane(normal=NORMAL, distance=2.0, size=SIZE, camera=CAMERA):
    """Depth of the plane with this normal (towards the camera) at this distance."""
    v, u = np.indices(size)
    x, y = (u - camera[0, 2]) / camera[0, 0], (v - camera[1, 2]) / camera[1, 1]
    return -distance / (normal[0] * x + normal[1] * y + normal[2])


def test_normals_of_a_plane_are_exact_also_beside_holes():
    depth = plane()
    depth[20:24, 30:50] = 0
    normals = plane_normals(depth, CAMERA)
    assert np.isfinite(normals[26:]).all() and np.isnan(normals[20:24, 30:50]).all()
    there = np.isfinite(normals).all(-1)
    assert there.mean() > 0.9
    np.testing.assert_allclose(normals[there], np.broadcast_to(NORMAL, (there.sum(), 3)), atol=1e-7)


def test_an_edge_and_lone_pixels_are_no_plane():
    depth = np.full(SIZE, 2.0)
    depth[:, 40:] = 3.0
    assert np.isnan(plane_normals(depth, CAMERA)[:, 39:41]).all()
    alone = np.zeros(SIZE)
    alone[::6, ::6] = 2.0
    alone[30] = 2.0
    assert np.isnan(plane_normals(alone, CAMERA)).all()


@pytest.mark.parametrize("step", [2, 3])
def test_averaged_blocks_lie_on_the_same_plane(step):
    normals = plane_normals(*averaged(Shape(plane(), CAMERA), step))
    np.testing.assert_allclose(normals, np.broadcast_to(NORMAL, normals.shape), atol=1e-7)


@pytest.mark.parametrize("seed", range(3))
def test_the_walls_of_a_turned_room_have_three_directions(seed):
    rng = np.random.default_rng(seed)
    turn = Rotation.random(random_state=seed).as_matrix()
    walls = np.repeat(np.concatenate([turn, -turn]), [300, 200, 40, 90, 10, 60], 0)
    normals = np.concatenate([walls, rng.normal(size=(150, 3))]) + rng.normal(0, 0.05, (850, 3))
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    found = orthogonal_directions(normals)
    np.testing.assert_allclose(found @ found.T, np.eye(3), atol=1e-6)
    # Two degrees.
    assert (np.abs(found @ turn.T).max(-1) > np.cos(np.radians(2))).all()


def test_a_single_wall_and_a_ball_have_no_three_directions():
    wall = np.broadcast_to(NORMAL, (500, 3))
    ball = np.random.default_rng(0).normal(size=(500, 3))
    ball /= np.linalg.norm(ball, axis=-1, keepdims=True)
    assert [orthogonal_directions(each) for each in (wall, ball, wall[:0])] == [None] * 3
    assert paint_planes(Shape(plane(), CAMERA)).legend == ()


def test_surfaces_have_the_colours_of_the_directions_that_they_face():
    depth = plane(np.array([0.0, -1.0, 0.0]), 1.0)  # a floor below, a wall ahead
    depth = np.where((depth > 0) & (depth < 3), depth, 3.0)
    for directions in (None, np.eye(3)[[2, 0, 1]], np.full((3, 3), np.nan)):
        painted = paint_planes(Shape(depth, CAMERA), directions)
        assert [name for name, _, _ in painted.legend] == [*NAMES, "other"]
        shares = [share for _, _, share in painted.legend]
        assert sum(shares) == pytest.approx(100) and shares[0] == 0 and min(shares[1:3]) > 5
        for row, name in ((5, "ahead"), (55, "up-down")):
            colour = painted.pixels[row, 40] / np.array(COLOURS[NAMES.index(name)])
            assert colour.min() > 0.69 and np.ptp(colour) < 0.03  # darker, of one hue


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (3, 3)])
def test_maps_of_any_size_have_surfaces(shape):
    for depth in (np.zeros(shape), np.ones(shape)):
        assert paint_planes(Shape(depth, centred_intrinsics(9.0, *shape))).pixels.shape[2] == 3


def columns_of(image, colour):
    """The first and the last column of a colour in the upper and the lower half."""
    same = (np.asarray(image) == colour).all(-1)[:100]
    halves = (np.flatnonzero(half.any(0)) for half in np.split(same, 2))
    return [(half.min(), half.max()) for half in halves if len(half)]


def test_intervals_lie_within_the_priors_where_they_are_narrower():
    shown = Intervals(480, 500.0, (450.0, 560.0), (300.0, 1500.0), 0.1, (0.0, 0.3), ())
    image = draw_intervals(shown, 360)
    found, prior = columns_of(image, _FOUND), columns_of(image, _PRIOR)
    assert len(found) == len(prior) == 2
    for (low, high), (prior_low, prior_high) in zip(found, prior, strict=True):
        assert prior_low < low < high < prior_high
    # The near/far ratios of shifts of 0 and 0.3 are 0.5 and 0.615.
    assert found[1] == (pytest.approx(0.5 * 359, abs=2.5), pytest.approx(0.615 * 359, abs=2.5))
    assert (np.asarray(image) == _INK).all(-1).any()


def test_a_given_focal_length_is_said_to_be_and_flags_are_red():
    known = Intervals(480, 500.0, (500.0, 500.0), (300.0, 1500.0), -0.499, (-0.4999, 50.0), ())
    flagged = known._replace(flags=("near_planar", "focal_uncertain", "solver_disagrees") * 3)
    pictures = [draw_intervals(shown, 360) for shown in (known, flagged)]
    assert pictures[1].height > pictures[0].height
    red = [
        (np.asarray(p)[..., 0].astype(int) - np.asarray(p)[..., 1] > 100).any() for p in pictures
    ]
    assert red == [False, True]
    assert (
        draw_intervals(known, 360).tobytes()
        != draw_intervals(known._replace(focal_interval=(499.0, 501.0)), 360).tobytes()
    )
