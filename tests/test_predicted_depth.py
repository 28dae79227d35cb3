"""Maps with the errors of a depth network that is trained on rendered pictures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data.rooms.picture_sets import SIZE, SMALLER, read_scene, write_scenes
from launch.shipped_weights import predicted
from train3d_jax.training import picture_training


@pytest.fixture(scope="module")
def depth():
    rng = np.random.default_rng(0)
    z = rng.uniform(1, 5, (2, 1, 1)) + np.abs(rng.normal(0, 1, (2, 12, 16))).cumsum(1)
    z[0, :3] = 0  # missing
    return np.float32(z)


def log_of(depth):
    return np.log(np.where(depth > 0, depth, 1.0))


def test_a_network_without_errors_changes_nothing_whatever_its_scale(depth):
    for seed in range(4):  # both ways of moving
        seen = log_of(depth) + np.array([0.7, -3.0])[:, None, None]
        moved = predicted.with_errors(depth, seen, np.random.default_rng(seed))
        np.testing.assert_allclose(moved, depth, rtol=1e-5)


def test_errors_are_a_share_of_the_networks_and_missing_stays_missing(depth):
    error = np.random.default_rng(1).normal(0, 0.2, depth.shape)
    for seed in range(6):
        moved = predicted.with_errors(depth, log_of(depth) + error, np.random.default_rng(seed))
        np.testing.assert_array_equal(moved > 0, depth > 0)
        mask = depth > 0
        found = np.log(moved[mask] / depth[mask])
        centred = np.concatenate(
            [(e - np.median(e[m]))[m] for e, m in zip(error, mask, strict=True)]
        )
        share = np.abs(found).mean() / np.abs(centred).mean()
        assert 0.9 * predicted.SHARE[0] < share < 1.1 * predicted.SHARE[1]
        assert np.corrcoef(found, centred)[0, 1] > 0.95


def test_the_loss_ignores_the_scale_of_each_map_and_missing_depth(depth):
    seen = jnp.asarray(log_of(depth)) + jnp.array([0.4, -2.0])[:, None, None]
    seen = jnp.where(depth > 0, seen, 99.0)
    assert float(picture_training.loss(seen, jnp.asarray(depth))) < 1e-5
    bent = seen + 0.1 * jnp.linspace(-1, 1, 16)
    assert float(picture_training.loss(bent, jnp.asarray(depth))) > 0.02
    gradient = jax.grad(picture_training.loss)(bent, jnp.asarray(depth))
    assert np.isfinite(gradient).all()
    assert not np.asarray(gradient)[depth == 0].any()


def test_scenes_with_pictures_are_rendered_once(tmp_path):
    paths = write_scenes(tmp_path, 1, 1, seed=3, num_workers=0)
    scene = read_scene(paths[0])
    assert scene.depth.shape == (1, *SIZE)
    assert scene.pictures.shape == (1, SIZE[0] // SMALLER, SIZE[1] // SMALLER, 3)
    before = paths[0].stat().st_mtime_ns
    assert write_scenes(tmp_path, 1, 1, seed=3, num_workers=0) == paths
    assert paths[0].stat().st_mtime_ns == before
