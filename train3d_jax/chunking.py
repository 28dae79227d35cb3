"""What suits the device: pieces that stay in a CPU's caches, all at once on a GPU; how to compile.

XLA makes one loop over whole arrays of each step; on a CPU those of a batch of maps are tens of
megabytes, which come from memory and go back to it, page by page new.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

MAPS = 16
"""At a time.  Windows of 64 maps at once take half as long again as in turns of so many; smaller
turns are a little faster still, but within a training step they leave one of two cores idle."""

COMPILER_OPTIONS = {"xla_gpu_experimental_enable_fusion_autotuner": False}
"""For `jax.jit` of whole programs.  On a GPU XLA would otherwise make two kernels of every sum over
bins and take the faster; of the second kind some take minutes to compile.  Without, a training step
compiles in less than a minute.  Other devices do not ask for it."""


def over_bins(function: Callable[[jax.Array], jax.Array], bins: ArrayLike) -> jax.Array:
    """What a function says of each bin, stacked along a new leading axis.

    One bin after the other on a CPU: what derivatives need of all bins is worked out again, and
    sums over bins, an axis in the middle, are not vectorised otherwise.  Curves take half the time,
    their derivatives a quarter.
    """
    bins = jnp.asarray(bins)
    if jax.default_backend() != "cpu":
        return jax.vmap(function)(bins)
    return jax.lax.map(jax.checkpoint(function), bins)


def over_maps(function: Callable[..., Any], *arrays: Any) -> Any:
    """What a function of one map says of each of a batch, as `jax.vmap`, a few maps at a time.

    On several devices all at once: there a batch is divided among them along its leading axis.
    """
    if jax.default_backend() != "cpu" or jax.device_count() > 1:
        return jax.vmap(function)(*arrays)
    return jax.lax.map(lambda row: function(*row), arrays, batch_size=MAPS)
