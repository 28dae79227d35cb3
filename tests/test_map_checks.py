"""Signs in a map's pixels: values that stand for missing ones, and views of 360 degrees."""

import numpy as np
import pytest
from box_rooms import box_room

from train3d_jax.geometry import clouds
from train3d_jax.inference.map_checks import Repeated, is_panorama, repeated_extremes


def everywhere(values):
    return np.ones(values.shape, bool)


def with_hole(value, dtype=np.float32):
    """A room with a disc of one value, 10 % of the map."""
    values = box_room(1)[0].astype(dtype)
    v, u = np.mgrid[: values.shape[0], : values.shape[1]]
    hole = np.hypot(u - 80, v - 50) < np.sqrt(0.1 * values.size / np.pi)
    return np.where(hole, np.asarray(value, dtype), values), hole.mean()


@pytest.mark.parametrize("value", [-1, -9999, -32768, 1e-6, 80, 65504, 1e10])
def test_a_value_that_fills_a_hole_is_found_with_its_share(value):
    values, share = with_hole(value)
    (found,) = repeated_extremes(values, clouds.valid(values))
    assert found == Repeated(float(np.float32(value)), pytest.approx(share))


def test_values_at_both_ends_are_found():
    values, _ = with_hole(-1)
    values[:10] = 65535
    found = repeated_extremes(values, clouds.valid(values))
    assert [repeated.value for repeated in found] == [-1, 65535]


def test_several_codes_at_one_end_are_all_found():
    values, _ = with_hole(65535)
    values[:6], values[6:12] = 65534, 65533
    found = repeated_extremes(values, clouds.valid(values))
    assert [repeated.value for repeated in found] == [65533, 65534, 65535]


def test_depth_cut_off_at_a_sensors_reach_is_found():
    values = box_room(2)[0]
    reach = np.quantile(values, 0.9)
    (found,) = repeated_extremes(np.minimum(values, reach), everywhere(values))
    assert found == Repeated(float(reach), pytest.approx(0.1, abs=0.01))


def test_missing_pixels_that_are_known_to_be_missing_are_no_sign():
    values, _ = with_hole(0)
    assert repeated_extremes(values, clouds.valid(values)) == ()


@pytest.mark.parametrize("steps", [8, 60, 256, 5000])
def test_a_coarse_map_repeats_all_of_its_values_and_is_no_sign(steps):
    # Of a plane each step is as wide: the first and the last fill up to an eighth of the map.
    v, u = np.mgrid[:96, :128]
    disparity = np.ceil((u + 0.3 * v + 1) / 160 * steps)
    assert repeated_extremes(disparity, everywhere(disparity)) == ()


@pytest.mark.parametrize("seed", range(5))
def test_a_wall_in_whole_millimetres_is_no_sign(seed):
    rng = np.random.default_rng(seed)
    wall = np.round(2000 + rng.normal(0, 1.5, (96, 128)))
    assert repeated_extremes(wall, everywhere(wall)) == ()


@pytest.mark.parametrize("values", [np.full((9, 9), 3.0), np.zeros((9, 9)), np.eye(3)])
def test_maps_of_one_value_or_none_have_no_extremes(values):
    assert repeated_extremes(values, clouds.valid(values)) == ()


def panorama(seed, height=128):
    """Distances in a box room with pieces in it, in all directions; the camera stands anywhere."""
    rng = np.random.default_rng(seed)
    width = 2 * height
    longitude = (np.arange(width) + 0.5) / width * 2 * np.pi + rng.uniform(0, 2 * np.pi)
    latitude = ((np.arange(height) + 0.5) / height - 0.5)[:, None] * np.pi
    rays = np.stack(
        np.broadcast_arrays(
            np.cos(latitude) * np.sin(longitude), np.sin(latitude),
            np.cos(latitude) * np.cos(longitude),
        ), -1,
    )  # fmt: skip
    room = rng.uniform([4, 2.4, 4], [7, 3.2, 7])
    place = room * rng.uniform(0.2, 0.8, 3)
    distance = np.where(rays > 0, room - place, -place) / np.where(rays == 0, 1e-9, rays)
    distance = distance.min(-1)
    for _ in range(5):
        low = rng.uniform(-place, room - place)
        ends = np.stack([low, low + rng.uniform(0.2, 0.8, 3)]) / rays[..., None, :]
        near, far = ends.min(-2).max(-1), ends.max(-2).min(-1)
        distance = np.where((near < far) & (near > 0.3), np.minimum(distance, near), distance)
    return distance


@pytest.mark.parametrize("change", [lambda x: x, lambda x: 1 / x, lambda x: 5 - 3 * x])
def test_panoramas_are_known_in_any_form(change):
    assert np.mean([is_panorama(change(m), everywhere(m)) for m in map(panorama, range(20))]) >= 0.9


def test_a_panorama_with_missing_poles_is_known():
    values = panorama(3)
    mask = everywhere(values)
    mask[:20], mask[-20:] = False, False
    assert is_panorama(values, mask)


def test_perspective_views_as_wide_are_no_panoramas():
    views = [box_room(seed, (96, 192))[0] for seed in range(60)]
    assert sum(is_panorama(view, everywhere(view)) for view in views) == 0


def test_a_view_straight_along_a_corridor_is_no_panorama():
    v, u = np.mgrid[:96, :192]
    rays = np.stack([(u - 95.5) / 60, (v - 47.5) / 60, np.ones_like(u)], -1)
    corridor = (np.array([1.2, 1.3, 20.0]) / np.abs(rays)).min(-1)
    assert not is_panorama(corridor, everywhere(corridor))


@pytest.mark.parametrize("size", [(1, 2), (2, 4), (3, 6), (96, 191 * 2), (50, 100)])
def test_maps_of_any_size_are_looked_at_without_a_warning(size):
    assert not is_panorama(np.ones(size), np.ones(size, bool))
    assert not is_panorama(np.ones(size), np.zeros(size, bool))
