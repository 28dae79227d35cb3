"""Upright worlds: rotations that send gravity down, and the camera ahead."""

import numpy as np
import pytest

from train3d_jax.geometry.poses import rigid_pose
from train3d_jax.placement.upright import upright_pose

DOWNWARD = [(0.0, 1, 0), (0.2, 0.9, 0.3), (-0.3, 0.5, -0.8), (0.0, 0.001, 1.0), (0.6, 0.8, 0)]


@pytest.mark.parametrize("down", DOWNWARD)
@pytest.mark.parametrize(("up", "axis"), [("z", 2), ("y", 1)])
def test_a_pose_sends_gravity_down_and_the_view_ahead(down, up, axis):
    down = np.array(down) / np.linalg.norm(down)
    pose = rigid_pose(upright_pose(down, 1.5, up))  # refuses what is no rotation
    turn, place = pose[:3, :3], pose[:3, 3]
    np.testing.assert_allclose(turn @ down, -np.eye(3)[axis], atol=1e-12)
    np.testing.assert_allclose(place, 1.5 * np.eye(3)[axis], atol=1e-12)
    view = turn @ [0, 0, 1]
    ahead = view[1] if up == "z" else -view[2]
    assert abs(view[0]) < 1e-9  # neither to the left nor to the right
    assert ahead >= -1e-9


@pytest.mark.parametrize("down", DOWNWARD)
def test_z_up_and_y_up_are_one_world(down):
    down = np.array(down) / np.linalg.norm(down)
    points = np.random.default_rng(0).normal(size=(20, 3))
    z, y = (points @ p[:3, :3].T + p[:3, 3] for p in (upright_pose(down, 2, u) for u in "zy"))
    np.testing.assert_allclose(y, np.stack([z[:, 0], z[:, 2], -z[:, 1]], -1), atol=1e-12)


def test_a_level_camera_keeps_its_right_side():
    pose = upright_pose(np.array([0.0, 1, 0]), 0.0)
    np.testing.assert_allclose(pose[:3, :3] @ [1, 0, 0], [1, 0, 0])
