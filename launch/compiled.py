"""What a program does first with JAX: finds compiled programs of earlier runs, and devices."""

import contextlib
import re
import sys
import warnings
from pathlib import Path
from typing import Any

import jax

from train3d_jax import compilation

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
    """Has JAX keep compiled programs, see `compilation.keep_programs`.

    Where the user chose the folder (`JAX_COMPILATION_CACHE_DIR`) and it cannot be written, it
    prints one line; JAX still reads what the folder holds.
    """
    _take_cache_faults()
    chosen = jax.config.values[compilation.FOLDER]
    if chosen is None:
        compilation.keep_programs()
        return
    reason = None if "://" in chosen else compilation.why_not_writable(Path(chosen))
    if reason is not None:
        print(
            f"JAX_COMPILATION_CACHE_DIR={chosen}: {reason}; compiled programs are not kept",
            file=sys.stderr,
        )


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
                for path in Path(jax.config.values[compilation.FOLDER]).iterdir():
                    if path.name.startswith(f"{found[2]}-"):
                        path.unlink()

    warnings.showwarning = take
