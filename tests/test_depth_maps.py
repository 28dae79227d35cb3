import numpy as np
import pytest

from train3d_jax.export.depth_files import write_depth
from train3d_jax.geometry.camera import centred_intrinsics, intrinsics_matrix, unproject
from train3d_jax.geometry.depth_maps import depth_edges, point_cloud, recovered_depth


def test_a_depth_map_is_stored_with_its_camera_unit_and_axes(tmp_path):
    depth = np.random.default_rng(0).uniform(1, 2, (3, 4))
    intrinsics = centred_intrinsics(5.0, 3, 4)
    write_depth(tmp_path / "map.npz", depth, intrinsics, "metres")
    with np.load(tmp_path / "map.npz", allow_pickle=False) as held:
        np.testing.assert_array_equal(held["depth"], depth.astype(np.float32))
        np.testing.assert_array_equal(held["intrinsics"], intrinsics)
        assert str(held["unit"]) == "metres" and "z forward" in str(held["axes"])


@pytest.mark.parametrize("space", ["depth", "disparity"])
def test_depth_beyond_all_bounds_is_missing_and_makes_no_warning(space):
    values = np.array([[1.0, 3e38, 1e-45, 2.0]], np.float32)
    depth = recovered_depth(values, 100.0, 0.0, space)
    assert (depth[0, [0, 3]] > 0).all() and depth[0, 1 if space == "depth" else 2] == 0
    assert np.isfinite(point_cloud(depth, centred_intrinsics(0.01, *depth.shape))).all()


def test_edges_are_where_depth_jumps_and_holes_are_none():
    depth = np.full((6, 8), 2.0)
    depth[:, 4:] = 2.3  # 15 % further
    depth[0, 0] = 0
    expected = np.zeros((6, 8), bool)
    expected[:, 3:5] = True
    np.testing.assert_array_equal(depth_edges(depth, 0.1), expected)
    assert not depth_edges(depth, 0.2).any()
    np.testing.assert_array_equal(depth_edges(depth.T, 0.1), expected.T)
    np.testing.assert_array_equal(depth_edges(7 * depth, 0.1), expected)


def test_depth_is_a_times_input_plus_b_and_missing_stays_missing():
    values = np.array([[1.0, 2.0, 0.0], [np.nan, np.inf, -4.0]], np.float32)
    found = recovered_depth(values, 2.0, 0.5, "depth")
    # -4 would lie behind the camera.
    np.testing.assert_array_equal(found, [[2.5, 4.5, 0], [0, 0, 0]])
    inverse = recovered_depth(values, 2.0, 0.5, "disparity")
    np.testing.assert_allclose(inverse, [[1 / 2.5, 1 / 4.5, 0], [0, 0, 0]], rtol=1e-15)


def test_the_cloud_of_a_depth_map_is_unprojected_about_the_image_centre():
    depth = np.array([[1.0, 0.0, 2.0], [4.0, 3.0, 0.0]])
    # Centre (1, 0.5); row by row, missing pixels left out.
    expected = [[-0.5, -0.25, 1], [1, -0.5, 2], [-2, 1, 4], [0, 0.75, 3]]
    cloud = point_cloud(depth, centred_intrinsics(2.0, *depth.shape))
    assert cloud.dtype == np.float32
    np.testing.assert_array_equal(cloud, expected)


def test_intrinsics_off_the_centre_and_with_two_focal_lengths_are_kept_to():
    depth = np.array([[1.0, 0.0, 2.0], [4.0, 3.0, 5.0]])
    intrinsics = np.array([[2.0, 0, 0.25], [0, 4.0, 1.5], [0, 0, 1]])
    v, u = np.nonzero(depth)
    z = depth[v, u]
    expected = np.stack([(u - 0.25) * z / 2, (v - 1.5) * z / 4, z], -1)
    np.testing.assert_array_equal(point_cloud(depth, intrinsics), expected)


def test_a_cloud_is_the_unprojection_of_the_valid_pixels():
    rng = np.random.default_rng(0)
    depth = rng.uniform(1, 9, (5, 7)) * (rng.random((5, 7)) > 0.3)
    intrinsics = intrinsics_matrix(50.0, 48.0, 3.3, 1.9)
    expected = unproject(depth, intrinsics)[depth > 0]
    np.testing.assert_allclose(point_cloud(depth, intrinsics), expected, rtol=1e-6)
