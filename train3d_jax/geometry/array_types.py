"""Kinds of arrays in annotations of shapes (jaxtyping), which tests check at run time."""

import jax
import numpy as np

AnyArray = jax.Array | np.ndarray
"""A JAX array or a numpy array, where a function takes either."""
