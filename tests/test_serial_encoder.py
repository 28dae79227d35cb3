import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_encoder import cloud_of

from train3d_jax.evidence.targets import BINS
from train3d_jax.networks.encoder import encode
from train3d_jax.networks.serial_encoder import GRID_BITS, SerialEncoder, in_serial_order

NETWORK = SerialEncoder(("shift", "focal"), width=16)


@pytest.fixture(scope="module")
def asked():
    clouds = np.stack([cloud_of(seed, 500) for seed in range(3)])
    mask = np.ones((3, 500), bool)
    params = jax.jit(NETWORK.init)(jax.random.key(0), clouds, mask)
    return jax.jit(lambda c, m: encode(NETWORK, params, (c, m))), clouds, mask


def test_neither_the_order_of_points_nor_masked_ones_matter(asked):
    ask, clouds, mask = asked
    mask = mask & (np.arange(500) < 400)
    once = ask(clouds, mask)
    mixed = np.where(mask[..., None], clouds, np.nan)[:, ::-1]
    again = ask(mixed, mask[:, ::-1])
    assert set(once) == {"shift", "focal"}
    for name, posterior in once.items():
        assert posterior.log_probability.shape == (3, BINS)
        # Points in one voxel may change places within it: sums in another order, float32.
        np.testing.assert_allclose(
            np.exp(posterior.log_probability), np.exp(again[name].log_probability), atol=1e-4
        )
    other = ask(clouds[[1, 2, 0]], mask)
    assert np.abs(other["focal"].log_probability - once["focal"].log_probability).max() > 1e-3


def test_an_empty_cloud_gets_a_finite_answer(asked):
    ask, clouds, mask = asked
    for posterior in ask(clouds, mask & (np.arange(3)[:, None] > 0)).values():
        assert np.isfinite(posterior.log_probability).all()


def test_serial_order_goes_through_one_octant_after_the_other():
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, (1, 800, 3)).astype(np.float32)
    points[0, :2] = [[-1], [1]]  # the corners of the cube
    ordered, mask = in_serial_order(jnp.asarray(points), jnp.ones((1, 800), bool))
    octant = (np.asarray(ordered[0]) >= -1 / (1 << GRID_BITS)) @ np.array([1, 2, 4])
    assert mask.all() and (np.diff(octant) >= 0).mean() > 0.99
    np.testing.assert_array_equal(np.sort(ordered[0], 0), np.sort(points[0], 0))
