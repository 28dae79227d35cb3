"""Work in pieces says what work all at once says, and so do its derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train3d_jax import chunking

BINS = np.linspace(-1, 1, 9, dtype=np.float32)


def curve(values, bins=BINS):
    """Sums over the values at each bin, (B, bins)."""
    return chunking.over_bins(lambda at: jnp.exp(-((values - at) ** 2)).sum(-1), bins).T


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_curves_and_their_derivatives_are_those_of_the_formula(monkeypatch, backend):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    rng = np.random.default_rng(0)
    values, weight = rng.normal(size=(3, 20)), rng.normal(size=(3, 9))
    found = jax.jit(curve)(jnp.asarray(values, jnp.float32))
    apart = values[:, None] - BINS[:, None]
    # Sums of twenty float32 numbers below 1.
    np.testing.assert_allclose(found, np.exp(-(apart**2)).sum(-1), atol=1e-5)
    told = jax.jit(jax.grad(lambda values: (weight * curve(values)).sum()))(
        jnp.asarray(values, jnp.float32)
    )
    expected = (weight[..., None] * -2 * apart * np.exp(-(apart**2))).sum(1)
    np.testing.assert_allclose(told, expected, atol=2e-5)


@pytest.mark.parametrize("backend, devices", [("cpu", 1), ("cpu", 2), ("gpu", 1)])
@pytest.mark.parametrize("count", [1, chunking.MAPS, chunking.MAPS + 1, 3 * chunking.MAPS])
def test_a_batch_of_maps_comes_out_in_order_whatever_its_size(monkeypatch, backend, devices, count):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    monkeypatch.setattr(jax, "device_count", lambda: devices)
    first = np.arange(count * 6, dtype=np.float32).reshape(count, 2, 3)
    second = np.arange(count, dtype=np.float32)

    def of_map(image, number):
        assert image.shape == (2, 3) and number.shape == ()
        return {"sum": image.sum(), "product": image * number}

    found = jax.jit(lambda *arrays: chunking.over_maps(of_map, *arrays))(first, second)
    np.testing.assert_array_equal(found["sum"], first.sum((1, 2)))
    np.testing.assert_array_equal(found["product"], first * second[:, None, None])
