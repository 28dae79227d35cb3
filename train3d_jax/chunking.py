"""Work in chunks that fit a CPU's caches, all at once on a GPU; options of the compiler.

XLA makes one loop over whole arrays of each operation.  On a CPU those of a batch of maps are tens
of megabytes, which pass through memory each time.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

MAPS = 16
"""Maps in a chunk.  Windows of 64 maps at once take half as long again as in chunks of 16; smaller
chunks are a little faster still, but leave one of two cores idle in a training step.  Measured on
two cores."""

FEW = 4
"""Maps up to which each is computed by itself, by a program that is compiled quickly.  Chosen."""

COMPILER_OPTIONS = {"xla_gpu_experimental_enable_fusion_autotuner": False}
"""For `jax.jit` of whole programs.  On a GPU XLA would otherwise make two kernels of every sum over
bins and take the faster, and some of the second kind take minutes to compile.  With this option a
training step compiles in less than a minute.  Other devices ignore it."""


def over_bins(function: Callable[[jax.Array], jax.Array], bins: ArrayLike) -> jax.Array:
    """A function of one bin for all bins, stacked along a new leading axis.

    One bin after the other on a CPU, and what derivatives need is computed again: sums over bins,
    an axis in the middle, are not vectorised otherwise.  Curves take half the time, their
    derivatives a quarter.
    """
    bins = jnp.asarray(bins)
    if jax.default_backend() != "cpu":
        return jax.vmap(function)(bins)
    return jax.lax.map(jax.checkpoint(function), bins)


def over_maps(function: Callable[..., Any], *arrays: Any) -> Any:
    """A function of one map for all maps of a batch, as `jax.vmap`, a chunk at a time.

    On several devices all at once: there a batch is divided among them along its leading axis.
    """
    if jax.default_backend() != "cpu" or jax.device_count() > 1:
        return jax.vmap(function)(*arrays)
    return jax.lax.map(lambda row: function(*row), arrays, batch_size=MAPS)


def maps_at_once(count: int) -> int:
    """How many maps a program computes at once, of so many; few sizes, as each is compiled."""
    if jax.default_backend() == "cpu":
        return 1 if count <= FEW else MAPS
    return max(MAPS, 1 << (count - 1).bit_length())


def compiler_options(quickly: bool = False) -> dict[str, Any]:
    """Options of the compiler, see `COMPILER_OPTIONS`.

    On a CPU loops are generated one by one: the newer way takes twice as long to compile, and they
    run as fast.

    Args:
      quickly: compile in a fifth of the time what then takes six times as long to run.
    """
    options: dict[str, Any] = dict(COMPILER_OPTIONS)
    if jax.default_backend() == "cpu":
        options["xla_cpu_use_fusion_emitters"] = False
        if quickly:
            options["xla_backend_optimization_level"] = 0
    return options
