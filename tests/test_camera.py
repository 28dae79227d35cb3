import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from train3d_jax.geometry import camera

# Compiled whole: one by one, every operation would be compiled for every shape.
unproject, project = jax.jit(camera.unproject), jax.jit(camera.project)
intrinsics_matrix = jax.jit(camera.intrinsics_matrix)
centred_intrinsics = jax.jit(camera.centred_intrinsics)

LEADING = [(), (1,), (3, 1, 2)]
SIZES = [(1, 1), (5, 7), (48, 63)]


def random_cameras(rng, leading, size):
    """Cameras of 20 to 110 degrees, pixels not square, the principal point off the centre."""
    height, width = size
    focal = height / 2 / np.tan(np.radians(rng.uniform(20, 110, leading)) / 2)
    cx = (width - 1) / 2 + rng.uniform(-0.2, 0.2, leading) * width
    cy = (height - 1) / 2 + rng.uniform(-0.2, 0.2, leading) * height
    return intrinsics_matrix(focal, focal * rng.uniform(0.8, 1.2, leading), cx, cy)


def pixels_of(size):
    return np.asarray(camera.pixel_grid(*size)).reshape(-1, 2)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("leading", LEADING)
def test_projecting_what_was_unprojected_gives_pixels_and_depth_back(leading, size):
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        intrinsics = random_cameras(rng, leading, size)
        depth = rng.uniform(0.1, 80, (*leading, *size))
        points = np.asarray(unproject(depth, intrinsics))
        assert points.shape == (*leading, *size, 3)
        flat = points.reshape(*leading, -1, 3)
        pixels, found = project(flat, intrinsics)
        expected = np.broadcast_to(pixels_of(size), (*flat.shape[:-1], 2))
        # float64, a handful of operations: far below a millionth of a pixel.
        np.testing.assert_allclose(pixels, expected, atol=1e-9)
        np.testing.assert_array_equal(found, depth.reshape(*leading, -1))


@pytest.mark.parametrize(
    ("of_depth", "of_camera", "together"),
    [
        ((), (3,), (3,)),
        ((3,), (), (3,)),
        ((4, 1), (2,), (4, 2)),
        ((1, 2), (3, 1, 1), (3, 1, 2)),
    ],
)
def test_leading_axes_of_depth_and_camera_broadcast(of_depth, of_camera, together):
    with jax.enable_x64(True):
        rng = np.random.default_rng(1)
        size = (3, 5)
        intrinsics = random_cameras(rng, of_camera, size)
        depth = rng.uniform(1, 9, (*of_depth, *size))
        points = np.asarray(unproject(depth, intrinsics))
        assert points.shape == (*together, *size, 3)
        flat_depth = np.broadcast_to(depth, (*together, *size)).reshape(-1, *size)
        flat_camera = np.broadcast_to(intrinsics, (*together, 3, 3)).reshape(-1, 3, 3)
        one_by_one = [unproject(d, k) for d, k in zip(flat_depth, flat_camera, strict=True)]
        # The same operations on the same numbers; only fused multiply-adds may differ.
        np.testing.assert_allclose(points.reshape(-1, *size, 3), np.stack(one_by_one), rtol=1e-14)
        pixels, _ = project(points.reshape(*together, -1, 3), intrinsics)
        grid = np.broadcast_to(pixels_of(size), pixels.shape)
        np.testing.assert_allclose(pixels, grid, atol=1e-9)


def test_unprojection_is_the_formula_of_the_conventions():
    points = unproject(np.array([[2.0, 4.0, 0.0]]), intrinsics_matrix(2.0, 5.0, 1.0, 3.0))
    # x = (u - cx) z / fx, y = (v - cy) z / fy; all numbers are exact in float32 but -12 / 5.
    expected = [[[-1.0, -1.2, 2.0], [0.0, -2.4, 4.0], [0.0, 0.0, 0.0]]]
    np.testing.assert_allclose(points, expected, rtol=1e-6)


def test_pixel_centres_lie_at_integers_column_first():
    grid = camera.pixel_grid(2, 3)
    assert grid.shape == (2, 3, 2)
    np.testing.assert_array_equal(grid[..., 0], [[0, 1, 2], [0, 1, 2]])
    np.testing.assert_array_equal(grid[..., 1], [[0, 0, 0], [1, 1, 1]])


@pytest.mark.parametrize("size", [(4, 6), (5, 7), (1, 1)])
def test_the_principal_point_of_a_centred_camera_is_the_middle_of_the_pixel_centres(size):
    intrinsics = centred_intrinsics(100.0, *size)
    middle = pixels_of(size).mean(0)
    expected = [[100, 0, middle[0]], [0, 100, middle[1]], [0, 0, 1]]
    np.testing.assert_array_equal(intrinsics, expected)
    # Seen from there, the cloud of a flat wall lies evenly about the axis.
    wall = np.asarray(unproject(np.ones(size), intrinsics))
    np.testing.assert_allclose(wall[..., :2].mean((0, 1)), 0, atol=1e-6)


@jax.jit
def there_and_back(fov, size):
    focal = camera.fov_to_focal(fov, size)
    return focal, camera.focal_to_fov(focal, size)


@settings(deadline=None, max_examples=50)
@given(st.floats(5, 170), st.integers(1, 5000))
def test_focal_length_and_field_of_view_are_inverse(fov_degrees, size):
    fov = math.radians(fov_degrees)
    with jax.enable_x64(True):
        focal, again = there_and_back(fov, float(size))
        assert focal > 0
        np.testing.assert_allclose(again, fov, rtol=1e-12)
        # Half of the image is seen under half of the angle.
        np.testing.assert_allclose(math.atan2(size / 2, float(focal)), fov / 2, rtol=1e-12)


def test_the_first_guess_sees_sixty_degrees_from_top_to_bottom():
    focal = camera.initial_focal(jnp.array([480.0, 192.0]))
    np.testing.assert_allclose(focal, [240 * math.sqrt(3), 96 * math.sqrt(3)], rtol=1e-6)
    np.testing.assert_allclose(camera.initial_focal(480.0, 90.0), 240.0, rtol=1e-6)


def test_numpy_stays_numpy_in_float64_and_agrees_with_jax():
    intrinsics = camera.intrinsics_matrix(300, 310.5, 320, 239.25)
    depth = np.random.default_rng(0).uniform(1, 9, (4, 6))
    points = camera.unproject(depth, intrinsics)
    pixels, again = camera.project(points.reshape(-1, 3), intrinsics)
    for array in (intrinsics, points, pixels, again):
        assert type(array) is np.ndarray and array.dtype == np.float64
    np.testing.assert_allclose(pixels, pixels_of((4, 6)), atol=1e-12)
    in_jax = camera.unproject(jnp.asarray(depth), jnp.asarray(intrinsics))
    assert isinstance(in_jax, jax.Array) and in_jax.dtype == jnp.float32
    np.testing.assert_allclose(in_jax, points, rtol=1e-5, atol=1e-6)
    for function, value in (
        (camera.fov_to_focal, 1.1),
        (camera.degrees_to_focal, 63.0),
        (camera.focal_to_fov, 300.0),
        (camera.focal_to_degrees, 300.0),
    ):
        found = function(value, np.array([640.0, 480.0]))
        assert isinstance(found, np.ndarray) and found.dtype == np.float64
        np.testing.assert_allclose(function(value, jnp.array([640.0, 480.0])), found, rtol=1e-6)
    assert camera.degrees_to_focal(camera.focal_to_degrees(300, 640), 640) == pytest.approx(300)


def test_a_recovered_camera_keeps_what_is_known():
    known = np.array([[55.0, 0, 140], [0, 50, 101], [0, 0, 1]])
    found = camera.recovered_intrinsics(100.0, (200, 300), known)
    np.testing.assert_allclose(found, [[110, 0, 140], [0, 100, 101], [0, 0, 1]])
    centred = camera.recovered_intrinsics(100.0, (200, 300), None)
    np.testing.assert_array_equal(centred, [[100, 0, 149.5], [0, 100, 99.5], [0, 0, 1]])


def test_resizing_keeps_the_corners_of_the_image():
    intrinsics = camera.intrinsics_matrix(50.0, 48.0, 33.0, 21.0)
    resized = camera.resized_intrinsics(intrinsics, (40, 64), (90, 32))
    for corner, same in (((-0.5, -0.5), (-0.5, -0.5)), ((63.5, 39.5), (31.5, 89.5))):
        np.testing.assert_allclose(
            camera.rays(np.array([same]), resized), camera.rays(np.array([corner]), intrinsics)
        )


@pytest.mark.parametrize("leading", LEADING)
def test_roll_and_pitch_are_those_that_a_camera_was_turned_by(leading):
    rng = np.random.default_rng(0)
    roll, pitch = rng.uniform(-179, 179, leading), rng.uniform(-89, 89, leading)
    about_z, about_x = np.radians(roll), np.radians(pitch)
    # A camera that looks up sees gravity behind it; one turned clockwise sees it to the right.
    level = np.cos(about_x)
    gravity = np.stack(
        [level * np.sin(about_z), level * np.cos(about_z), -np.sin(about_x)], axis=-1
    )
    found = camera.roll_and_pitch(gravity)
    np.testing.assert_allclose(found[0], roll, atol=1e-9)
    np.testing.assert_allclose(found[1], pitch, atol=1e-6)
    on_device = jax.jit(camera.roll_and_pitch)(gravity)
    np.testing.assert_allclose(on_device[0], roll, atol=1e-3)


def test_a_camera_that_looks_straight_up_has_a_pitch_of_90_degrees():
    longer = np.array([0, 0, -1 - 1e-7])
    assert camera.roll_and_pitch(longer)[1] == 90
