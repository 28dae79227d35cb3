"""What makes rendered and clean depth look like depth that people really have."""

import jax
from jax.typing import ArrayLike


def add_noise(key: jax.Array, values: jax.Array, strength: ArrayLike) -> jax.Array:
    """Multiplies each map by white noise of its own amplitude.

    The amplitude is drawn log-uniformly from 0.01 to 1 times `strength`, so that nearly clean maps
    stay among them: a network trained on noisy maps alone loses accuracy on clean ones.

    Args:
      key: random key.
      values: depth or disparity, shape (..., P).
      strength: largest standard deviation of the noise, relative to the value, shape ().

    Returns:
      Shape (..., P).
    """
    amplitude_key, noise_key = jax.random.split(key)
    shape = (*values.shape[:-1], 1)
    amplitude = strength * 10 ** jax.random.uniform(amplitude_key, shape, minval=-2.0, maxval=0.0)
    return values * (1 + amplitude * jax.random.normal(noise_key, values.shape))
