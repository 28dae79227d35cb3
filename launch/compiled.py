"""Keeps what JAX compiles for programs that are started later: most of a short run's time."""

import contextlib
import hashlib
import os
import platform
import re
import shutil
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import jax

_FOLDER = "jax_compilation_cache_dir"
"""JAX's setting of the cache's folder; None where nothing is kept."""

LEAST_SECONDS = 0.05
"""Of compiling: what took less is compiled again, which takes no longer than reading it."""

LEAST_BYTES = 16 << 20
"""Free space below which the cache counts as full; what launch.infer compiles takes 1.3 MB."""

_CACHE_FAULT = re.compile(r"Error (reading|writing) persistent compilation cache entry for '(\w+)'")
"""A warning of JAX, one for each program that it cannot read or write; it then compiles it."""


def start() -> None:
    """Has compiled programs kept, and finds JAX's devices.

    For programs of one process; those of several find them when they have joined.

    Raises:
      RuntimeError, AssertionError: there are none; `program.run` makes one line of it.
    """
    keep()
    jax.devices()


def keep() -> None:
    """Has JAX keep compiled programs in the user's cache folder.

    It says nothing where there is no such folder, as for users without a home, or where it cannot
    be written to; programs are then compiled each time.  Where the user chose the folder
    (`JAX_COMPILATION_CACHE_DIR`) it prints one line, and JAX still reads what the folder holds.
    """
    _take_cache_faults()
    chosen = jax.config.values.get(_FOLDER)
    if chosen is not None:
        reason = None if "://" in chosen else _why_not_writable(Path(chosen))
        if reason is not None:
            print(
                f"JAX_COMPILATION_CACHE_DIR={chosen}: {reason}; compiled programs are not kept",
                file=sys.stderr,
            )
        return
    folder = _user_folder()
    if folder is not None and _why_not_writable(folder) is None:
        jax.config.update(_FOLDER, str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", LEAST_SECONDS)


def is_kept() -> bool:
    """Whether a program that is compiled now is there for the next start."""
    return jax.config.values[_FOLDER] is not None


def _take_cache_faults() -> None:
    """Removes what JAX cannot read, in place of its warnings.

    JAX writes in place, so that a full disk or a kill leaves half a program; it never replaces a
    file that is there.
    """
    show = warnings.showwarning

    def take(message: Warning | str, *where: Any, **more: Any) -> None:
        found = _CACHE_FAULT.match(str(message))
        if found is None:
            show(message, *where, **more)
        elif found[1] == "reading":
            with contextlib.suppress(OSError):
                for path in Path(jax.config.values[_FOLDER]).iterdir():
                    if path.name.startswith(f"{found[2]}-"):
                        path.unlink()

    warnings.showwarning = take


def _user_folder() -> Path | None:
    """Where the user's programs are kept; None for a user without a home."""
    try:
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        return None
    return caches / "train3d_jax" / _processor()


def _why_not_writable(folder: Path) -> str | None:
    """Why no file can be kept in a folder, which is made; None where it can."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
        return None if shutil.disk_usage(folder).free >= LEAST_BYTES else "its disk is full"
    except OSError as error:
        return f"cannot be written ({error.strerror or error})"


def _processor() -> str:
    """A name for what compiled code can rely on: homes are shared by machines that differ."""
    told = platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        told += "".join(sorted({line for line in lines if line.startswith(("flags", "Features"))}))
    return hashlib.sha256(told.encode()).hexdigest()[:12]
