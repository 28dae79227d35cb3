"""Keeps what JAX compiles for programs that are started later: most of a short run's time."""

import contextlib
import hashlib
import os
import platform
from pathlib import Path

import jax

LEAST_SECONDS = 0.05
"""Of compiling: what took less is compiled again, which takes no longer than reading it."""


def keep() -> None:
    """Has JAX keep compiled programs in the user's cache folder.

    Nothing changes where JAX was told of another place (`JAX_COMPILATION_CACHE_DIR`), or where the
    folder cannot be written to.
    """
    if jax.config.values.get("jax_compilation_cache_dir") is not None:
        return
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = caches / "train3d_jax" / _processor()
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    if os.access(folder, os.W_OK):
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", LEAST_SECONDS)


def _processor() -> str:
    """A name for what compiled code can rely on: homes are shared by machines that differ."""
    told = platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        told += "".join(sorted({line for line in lines if line.startswith(("flags", "Features"))}))
    return hashlib.sha256(told.encode()).hexdigest()[:12]
