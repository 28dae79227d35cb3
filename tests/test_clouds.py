import dataclasses
import functools
from typing import NamedTuple

import jax
import numpy as np
import pytest
from box_rooms import box_room

from train3d_jax.geometry import affine, camera, clouds, points
from train3d_jax.geometry.clouds import Blocks, CloudSettings

GRID = (20, 20)
EVERYTHING = CloudSettings(voxel_size=0.0, num_points=400)
"""Keeps every block, so that clouds can be compared as sets."""


class Made(NamedTuple):
    points: jax.Array
    mask: jax.Array
    focal: jax.Array
    canonical: affine.Canonical


@functools.partial(jax.jit, static_argnames="settings")
def make_clouds(key, blocks, settings, shift=None, focal=None):
    canonical = affine.canonicalise(blocks.values, blocks.mask)
    seen = clouds.observe(blocks, canonical, settings, shift, focal)
    return Made(*clouds.make_clouds(key, seen, settings), seen.focal, canonical)


def room_blocks(seeds=(0, 1), space="depth", scale=1.0, offset=0.0):
    """Blocks of rooms, and their focal lengths in pixels."""
    rows, focals = [], []
    for seed in seeds:
        true, intrinsics = box_room(seed)
        true = true.astype(float)
        values = scale * (true if space == "depth" else 1 / true) + offset
        averaged = points.average_blocks(values, true > 0, GRID)
        rows.append((*averaged, np.float32(true.shape), np.float32(intrinsics[:2, 2])))
        focals.append(intrinsics[0, 0])
    return Blocks(*(np.stack(column) for column in zip(*rows, strict=True))), np.float32(focals)


def sorted_rows(cloud, mask):
    """The points that count, in an order that does not depend on the sample; by their rays."""
    rays = np.asarray(cloud[mask][:, :2] / cloud[mask][:, 2:3], float).round(4)
    return np.asarray(cloud[mask])[np.lexsort(rays.T)]


def expected_cloud(blocks, i, z, focal):
    """Points of map i, unprojected by the formula, in the same order."""
    rays = (blocks.pixels[i] - blocks.centre[i]) / focal
    cloud = np.concatenate([rays * z[:, None], z[:, None]], -1)
    return sorted_rows(cloud, np.ones(len(cloud), bool))


@pytest.mark.parametrize("space", ["depth", "disparity"])
def test_clouds_are_canonical_values_unprojected_with_the_first_guess(space):
    blocks, _ = room_blocks(space=space)
    settings = dataclasses.replace(EVERYTHING, space=space, input_channels=3, init_fov=50.0)
    made = make_clouds(jax.random.key(0), blocks, settings)
    first_guess = 96 / 2 / np.tan(np.radians(25))
    np.testing.assert_allclose(made.focal, [first_guess] * 2, rtol=1e-6)
    canonical = affine.canonicalise(blocks.values, blocks.mask)
    for i in range(2):
        values = np.asarray(canonical.values[i])
        z = values if space == "depth" else 1 / values
        assert made.points.shape == (2, 400, 3) and made.mask[i].all()
        # float32, a few operations on numbers of order one.
        found = sorted_rows(np.asarray(made.points[i]), np.asarray(made.mask[i]))
        np.testing.assert_allclose(found, expected_cloud(blocks, i, z, first_guess), atol=2e-6)


def test_the_fourth_and_fifth_channel_are_the_rays_of_the_first_guess():
    blocks, focal = room_blocks()
    settings = dataclasses.replace(EVERYTHING, focal_known=True)
    for known in (settings, EVERYTHING):
        made = make_clouds(jax.random.key(0), blocks, known, focal=focal)
        cloud = np.asarray(made.points)
        by_own_focal = cloud[..., :2] / cloud[..., 2:3] * np.asarray(made.focal)[:, None, None]
        by_first_guess = cloud[..., 3:] * np.asarray(camera.initial_focal(96.0))
        np.testing.assert_allclose(by_first_guess, by_own_focal, atol=1e-4)  # pixels


@pytest.mark.parametrize("space", ["depth", "disparity"])
def test_with_shift_and_focal_length_known_the_cloud_is_true_up_to_scale(space):
    blocks, focal = room_blocks(space=space, scale=0.3)
    settings = dataclasses.replace(
        EVERYTHING, space=space, input_channels=3, shift_known=True, focal_known=True
    )
    shift = -affine.canonicalise(blocks.values, blocks.mask).offset
    made = make_clouds(jax.random.key(0), blocks, settings, shift, focal)
    np.testing.assert_array_equal(made.focal, focal)
    for i in range(2):
        far = np.quantile(blocks.values[i], 0.98)
        z = blocks.values[i] / far if space == "depth" else far / blocks.values[i]
        found = sorted_rows(np.asarray(made.points[i]), np.asarray(made.mask[i]))
        np.testing.assert_allclose(found, expected_cloud(blocks, i, z, focal[i]), atol=5e-6)


def test_shift_and_focal_length_are_used_only_where_the_settings_say_that_they_are_known():
    blocks, focal = room_blocks()
    given = make_clouds(jax.random.key(0), blocks, EVERYTHING, np.float32([0.5, 0.5]), focal)
    not_given = make_clouds(jax.random.key(0), blocks, EVERYTHING)
    for one, other in zip(jax.tree.leaves(given), jax.tree.leaves(not_given), strict=True):
        np.testing.assert_array_equal(one, other)


def test_clouds_do_not_depend_on_scale_and_shift_of_the_input():
    with jax.enable_x64(True):
        settings = CloudSettings(num_points=150, voxel_size=0.05)
        blocks, _ = room_blocks()
        blocks = blocks._replace(values=blocks.values.astype(float))
        first = make_clouds(jax.random.key(0), blocks, settings)
        other = make_clouds(
            jax.random.key(0), blocks._replace(values=37 * blocks.values - 250), settings
        )
        np.testing.assert_array_equal(first.mask, other.mask)
        # The input is rounded at 250, 3e-14; the canonical form divides by a spread of metres.
        np.testing.assert_allclose(first.points, other.points, atol=1e-11)


def test_one_point_a_voxel_is_kept():
    blocks, _ = room_blocks()
    settings = CloudSettings(num_points=400, voxel_size=0.1)
    made = make_clouds(jax.random.key(0), blocks, settings)
    for i in range(2):
        kept = np.asarray(made.points[i, :, :3])[np.asarray(made.mask[i])]
        voxels = np.unique(np.floor(kept / np.float32(0.1)), axis=0)
        assert 20 < len(kept) == len(voxels) < 400
        np.testing.assert_array_equal(made.points[i][~made.mask[i]], 0)


def test_a_map_without_values_gives_an_empty_cloud_and_does_not_touch_the_others():
    blocks, _ = room_blocks()
    values, mask = blocks.values.copy(), blocks.mask.copy()
    values[0], mask[0] = np.nan, False
    made = make_clouds(jax.random.key(0), blocks._replace(values=values, mask=mask), EVERYTHING)
    whole = make_clouds(jax.random.key(0), blocks, EVERYTHING)
    assert not made.mask[0].any() and not made.canonical.solvable[0]
    np.testing.assert_array_equal(made.points[0], 0)
    np.testing.assert_array_equal(made.points[1], whole.points[1])


@pytest.mark.parametrize("space", ["depth", "disparity"])
def test_stray_values_far_below_the_near_quantile_are_left_out(space):
    blocks, _ = room_blocks(space=space)
    values = blocks.values.copy()
    values[:, :3] = -20.0  # under 2 % of the blocks
    settings = dataclasses.replace(EVERYTHING, space=space, input_channels=3)
    made = make_clouds(jax.random.key(0), blocks._replace(values=values), settings)
    np.testing.assert_array_equal(made.mask.sum(-1), [397, 397])
    assert np.asarray(made.points[..., 2])[np.asarray(made.mask)].min() > 0
