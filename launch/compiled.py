"""Keeps what JAX compiles for programs that are started later, and says when it compiles."""

import contextlib
import hashlib
import os
import platform
import re
import shutil
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
from tqdm import tqdm

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


@contextlib.contextmanager
def shown_on(bar: tqdm | None) -> Iterator[None]:
    """Has a progress bar say so while programs are being compiled, which can take minutes.

    It says nothing of what takes less than `SHOWN_SECONDS`, as programs that the cache holds do.

    Args:
      bar: its description is replaced until it moves on, or nothing was compiled for
        `QUIET_SECONDS`; None for no bar.
    """
    if bar is None:
        yield
        return
    watch, done = _Watch(bar), threading.Event()

    def look() -> None:
        while not done.wait(_LOOK_SECONDS):
            watch.look(time.monotonic())

    thread = threading.Thread(target=look, daemon=True)
    jax.monitoring.register_event_duration_secs_listener(watch.listen)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        jax.monitoring.unregister_event_duration_listener(watch.listen)
        watch.restore()


SHOWN_SECONDS = 3.0
"""Of compiling one program before it is shown: reading the largest from the cache takes 1 s."""

QUIET_SECONDS = 10.0
"""Without compiling, before it is no longer shown: tracing the next program takes 5 s."""

_LOOK_SECONDS = 0.2

_LOWERED = "/jax/core/compile/jaxpr_to_mlir_module_duration"
_COMPILED = "/jax/core/compile/backend_compile_duration"
"""Events at the end of each step: a thread compiles (or reads from the cache) between the two.  If
JAX renames them nothing is shown."""


class _Watch:
    """Knows which threads compile, and keeps a bar's description up to date."""

    def __init__(self, bar: tqdm):
        self._bar, self._plain = bar, bar.desc
        self._began: dict[int, float] = {}
        self._ended = 0.0
        self._shown_at: int | None = None
        """Where the bar was when its description was replaced; None where it is its own."""

    def listen(self, event: str, duration_secs: float, **_: Any) -> None:
        """Takes an event of JAX, in the thread that compiles."""
        if event == _LOWERED:
            self._began[threading.get_ident()] = time.monotonic()
        elif event == _COMPILED:
            self._began.pop(threading.get_ident(), None)
            self._ended = time.monotonic()

    def look(self, now: float) -> None:
        """Shows what there is to show at a time, in seconds of `time.monotonic`."""
        began = min(list(self._began.values()), default=now)
        if now - began > SHOWN_SECONDS and self._shown_at is None:
            self._shown_at = self._bar.n
            once = "once on this machine, " if jax.config.values[_FOLDER] else ""
            self._bar.set_description_str(f"compiling ({once}a minute or two)")
        moved = self._shown_at is not None and self._bar.n != self._shown_at
        if moved or (not self._began and now - self._ended > QUIET_SECONDS):
            self.restore()

    def restore(self) -> None:
        """Gives the bar its own description back."""
        if self._shown_at is not None:
            self._shown_at = None
            self._bar.set_description_str(self._plain)


def _processor() -> str:
    """A name for what compiled code can rely on: homes are shared by machines that differ."""
    told = platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        told += "".join(sorted({line for line in lines if line.startswith(("flags", "Features"))}))
    return hashlib.sha256(told.encode()).hexdigest()[:12]
