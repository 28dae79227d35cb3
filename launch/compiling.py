"""Shows on a progress bar that JAX compiles."""

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import jax
from tqdm import tqdm

from train3d_jax import compilation


@contextlib.contextmanager
def shown_on(bar: tqdm | None) -> Iterator[None]:
    """Shows on a progress bar that programs are being compiled, which can take a minute.

    Programs that take less than `SHOWN_SECONDS`, such as those in the cache, are not shown.

    Args:
      bar: its description is replaced until it moves on, or nothing was compiled for
        `QUIET_SECONDS`; None, or one that is disabled (TQDM_DISABLE=1), for no bar.
    """
    if bar is None or bar.disable:
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
"""Time of compiling one program before it is shown; chosen: reading the largest program from the
cache takes 1 s."""

QUIET_SECONDS = 10.0
"""Time without compiling before it is no longer shown; chosen: tracing a program takes 5 s."""

_LOOK_SECONDS = 0.2
"""Between two updates of the bar; chosen."""

_LOWERED = "/jax/core/compile/jaxpr_to_mlir_module_duration"
_COMPILED = "/jax/core/compile/backend_compile_duration"
"""Events at the end of each step: a thread compiles (or reads from the cache) between the two.  If
JAX renames them nothing is shown."""


class _Watch:
    """Tracks which threads compile, and updates a bar's description."""

    def __init__(self, bar: tqdm):
        self._bar, self._plain = bar, bar.desc
        self._began: dict[int, float] = {}
        self._ended = 0.0
        self._shown_at: int | None = None
        """Where the bar was when its description was replaced; None where it is its own."""

    def listen(self, event: str, duration_secs: float, **_: Any) -> None:
        """Handles an event of JAX, in the thread that compiles."""
        if event == _LOWERED:
            self._began[threading.get_ident()] = time.monotonic()
        elif event == _COMPILED:
            self._began.pop(threading.get_ident(), None)
            self._ended = time.monotonic()

    def look(self, now: float) -> None:
        """Updates the bar at a time, in seconds of `time.monotonic`."""
        began = min(list(self._began.values()), default=now)
        if now - began > SHOWN_SECONDS and self._shown_at is None:
            self._shown_at = self._bar.n
            once = "once on this machine, " if compilation.is_kept() else ""
            self._bar.set_description_str(f"compiling ({once}up to a minute)")
        moved = self._shown_at is not None and self._bar.n != self._shown_at
        if moved or (not self._began and now - self._ended > QUIET_SECONDS):
            self.restore()

    def restore(self) -> None:
        """Gives the bar its own description back."""
        if self._shown_at is not None:
            self._shown_at = None
            self._bar.set_description_str(self._plain)
