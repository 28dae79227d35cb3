import math

import jax
import numpy as np
import pytest

from train3d_jax.geometry import camera, metrics

point_error = jax.jit(metrics.point_error)
EVERYTHING = np.ones(50, bool)


def two_clouds(seed=0, noise=0.2):
    rng = np.random.default_rng(seed)
    true = rng.uniform([-1, -1, 2], [1, 1, 4], (50, 3))
    return (true + rng.normal(0, noise, true.shape)).astype(np.float32), true.astype(np.float32)


def test_the_truth_has_no_error():
    _, true = two_clouds()
    # Residuals below 1e-6 are weighted alike, and float32 leaves 1e-7.
    assert point_error(true, true, EVERYTHING) < 1e-6
    assert metrics.focal_error(300.0, 300.0) == 0
    assert metrics.fov_error(300.0, 300.0, 480) == 0
    assert metrics.shift_error(0.4, 0.4) == 0


@pytest.mark.parametrize("scale", [1e-3, 0.5, 40.0])
def test_the_scale_of_a_cloud_does_not_change_its_point_error(scale):
    cloud, true = two_clouds()
    error = point_error(cloud, true, EVERYTHING)
    assert error > 0.01
    np.testing.assert_allclose(point_error(scale * cloud, true, EVERYTHING), error, rtol=1e-4)
    np.testing.assert_allclose(point_error(cloud, scale * true, EVERYTHING), error, rtol=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_the_point_error_is_that_of_the_best_of_all_scales(seed):
    cloud, true = two_clouds(seed)
    cloud[:10] *= 3  # so far off that the best scale by least squares is another
    scales = np.linspace(0.1, 2, 20001)
    distance = np.linalg.norm(true, axis=-1)
    tried = [(np.linalg.norm(s * cloud - true, axis=-1) / distance).mean() for s in scales]
    # The reweighting has nearly converged after its 20 rounds: a thousandth is left.
    np.testing.assert_allclose(point_error(cloud, true, EVERYTHING), min(tried), rtol=1e-3)


def test_masked_points_do_not_count_whatever_they_hold():
    cloud, true = two_clouds()
    mask = np.arange(50) < 30
    cloud[30:], true[30:] = np.nan, np.inf
    expected = point_error(cloud[np.arange(50) % 30], true[np.arange(50) % 30], mask)
    np.testing.assert_allclose(point_error(cloud, true, mask), expected, rtol=1e-6)
    assert point_error(cloud, true, np.zeros(50, bool)) == 0


def test_clouds_of_a_batch_are_measured_one_by_one():
    pairs = [two_clouds(seed) for seed in range(3)]
    clouds, true = (np.stack(side) for side in zip(*pairs, strict=True))
    errors = point_error(clouds, 5 * true, np.stack([EVERYTHING] * 3))
    for error, (cloud, truth) in zip(errors, pairs, strict=True):
        np.testing.assert_allclose(error, point_error(cloud, truth, EVERYTHING), rtol=1e-4)


def test_camera_and_shift_errors_are_what_their_formulas_say():
    np.testing.assert_allclose(metrics.focal_error(330.0, 300.0), 0.1, rtol=1e-5)
    # 90 degrees across 200 pixels is 100 px, 60 degrees is 100 sqrt(3).
    error = metrics.fov_error(100.0, 100 * math.sqrt(3), 200)
    np.testing.assert_allclose(error, 30, rtol=1e-5)
    np.testing.assert_allclose(
        metrics.shift_error(np.array([0.5, 0.1]), 0.25), [0.2, 0.12], rtol=1e-5
    )


def test_points_within_a_quarter_are_counted_at_the_best_scale():
    _, true = two_clouds()
    cloud, mask = 3 * true, np.arange(50) < 40
    cloud[:10] *= 1.5  # half too far, once the scale of the others is right
    errors = metrics.point_errors(cloud, true, mask)
    np.testing.assert_allclose(errors.within, 30 / 40)
    np.testing.assert_allclose(errors.mean, 10 / 40 * 0.5, rtol=1e-3)
    np.testing.assert_array_equal(errors.mean, metrics.point_error(cloud, true, mask))
    assert metrics.point_errors(cloud, true, np.zeros(50, bool)).within == 0


@pytest.mark.parametrize("size", [(90, 130), (40, 200)])
@pytest.mark.parametrize("fov", [20, 60, 110])
def test_the_error_of_rays_is_the_mean_angle_over_all_pixels(size, fov):
    height, width = size
    true = camera.centred_intrinsics(float(camera.degrees_to_focal(fov, width)), *size)
    true[:2, 2] += 4, -3
    focals = true[0, 0] * np.array([0.8, 1.0, 1.3])
    found = metrics.ray_error(camera.centred_intrinsics(focals, *size), true, size)
    pixels = camera.pixel_grid(height, width).reshape(-1, 2)
    for error, focal in zip(np.asarray(found), focals, strict=True):
        estimated = camera.centred_intrinsics(focal, *size)
        one, other = (
            rays / np.linalg.norm(rays, axis=-1, keepdims=True)
            for matrix in (estimated, true)
            for rays in [camera.unproject_pixels(pixels, np.ones(len(pixels)), matrix)]
        )
        angles = 2 * np.arcsin(np.linalg.norm(one - other, axis=-1) / 2)
        # An even grid of places stands for all pixels.
        np.testing.assert_allclose(error, np.rad2deg(angles.mean()), rtol=1e-3)
    assert metrics.ray_error(true, true, size) < 1e-5
