"""JAX's cache of compiled programs, in the user's cache folder unless the user has one.

Compiling takes most of a short run's time; a process that finds its programs in the cache reads
them in about a second.
"""

import contextlib
import hashlib
import os
import platform
import shutil
import tempfile
from pathlib import Path

import jax

SWITCH = "TRAIN3D_JAX_CACHE"
"""An environment variable: 0 keeps no program."""

FOLDER = "jax_compilation_cache_dir"
"""JAX's setting of the cache's folder; None where nothing is kept."""

LEAST_SECONDS = 0.05
"""Of compiling: what took less is compiled again, which takes no longer than reading it."""

LEAST_BYTES = 16 << 20
"""Free space below which the cache counts as full; what launch.infer compiles takes 1.3 MB."""

SECONDS = "jax_persistent_cache_min_compile_time_secs"
_SECONDS_OF_JAX = 1.0
"""JAX's default for `LEAST_SECONDS`."""


def keep_programs() -> None:
    """Has JAX keep what it compiles from now on in `~/.cache/train3d_jax` (or XDG_CACHE_HOME).

    Nothing changes where the user has set a folder (JAX_COMPILATION_CACHE_DIR or `jax.config`),
    where TRAIN3D_JAX_CACHE is 0, or where the folder cannot be written, as for users without a home
    and on a full disk.  The setting is that of the process: programs of others are kept too.
    """
    if jax.config.values[FOLDER] is not None or os.environ.get(SWITCH) == "0":
        return
    folder = _user_folder()
    if folder is None or why_not_writable(folder) is not None:
        return
    jax.config.update(FOLDER, str(folder))
    if jax.config.values[SECONDS] == _SECONDS_OF_JAX:
        jax.config.update(SECONDS, LEAST_SECONDS)


def is_kept() -> bool:
    """Whether a program that is compiled now is there for the next start."""
    return jax.config.values[FOLDER] is not None


def why_not_writable(folder: Path) -> str | None:
    """Why no file can be kept in a folder, which is made; None where it can."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
        return None if shutil.disk_usage(folder).free >= LEAST_BYTES else "its disk is full"
    except OSError as error:
        return f"cannot be written ({error.strerror or error})"


def _user_folder() -> Path | None:
    """Where the user's programs are kept; None for a user without a home."""
    try:
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        return None
    return caches / "train3d_jax" / _processor()


def _processor() -> str:
    """A name for what compiled code can rely on: homes are shared by machines that differ."""
    features = platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        features += "".join(
            sorted({line for line in lines if line.startswith(("flags", "Features"))})
        )
    return hashlib.sha256(features.encode()).hexdigest()[:12]
