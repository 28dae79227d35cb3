"""Work on an existing Dask cluster, through the same executor as on one machine.

Workers need the same software and see the same folders under the same names.  Who does what, and
what is done again after a worker was lost, is Dask's to decide.
"""

import contextlib
import logging
import pickle
import platform
import re
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, Future
from importlib import metadata
from typing import Any, cast

from train3d_jax import __version__, command
from train3d_jax.errors import UserError

CONNECT_SECONDS = 30
"""How long the scheduler may take to answer; chosen."""

WITHOUT_WORKERS_SECONDS = 300
"""After which a run without any worker ends; chosen, as clusters take minutes to start some."""

_LOOK_EVERY_SECONDS = 5
"""Between two counts of the workers; chosen."""

_ADDRESS = re.compile(r"((tcp|tls|ucx|ws|wss)://)?[^/]+:\d+")

_GO_ON = "what is done stays, and the same command goes on"


@contextlib.contextmanager
def cluster_workers(address: str) -> Iterator[tuple[Executor, Callable[[], int]]]:
    """An executor on the cluster, and a function that counts the calls it runs at once.

    Raises:
      UserError: Dask is not installed, or the scheduler not there; and from within it for whatever
        ends the work: the scheduler or all workers gone, a task that no worker survives.
    """
    try:
        from distributed import Client, KilledWorker
    except ImportError:
        raise UserError("--executor=dask: needs Dask: pip install 'train3d-jax[cluster]'") from None
    if not _ADDRESS.fullmatch(address):
        raise UserError(f"--scheduler={address}: give an address such as tcp://host:8786")
    for name in ("distributed", "distributed.client"):  # its errors are printed in one line
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except OSError as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise UserError(f"--scheduler={address}: there is no Dask scheduler ({reason})") from None
    executor = client.get_executor(pure=False)  # each call is one, also where two are the same
    ended = threading.Event()
    abandoned = threading.Event()

    def workers() -> int:
        return sum(cast(Any, client).nthreads().values())  # typed as what async clients get

    def watch() -> None:
        seen = time.monotonic()
        while not ended.wait(_LOOK_EVERY_SECONDS):
            try:
                if workers():
                    seen = time.monotonic()
            except Exception:  # the scheduler is gone, which ends all calls too
                return
            if time.monotonic() - seen > WITHOUT_WORKERS_SECONDS:
                abandoned.set()
                executor.shutdown(wait=False)
                return

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield _SameEverywhere(executor), workers
    except KilledWorker as error:
        raise UserError(
            f"--scheduler={address}: {error.allowed_failures + 1} workers died at the same task;"
            f" see their logs, perhaps of too little memory; {_GO_ON}"
        ) from None
    except (CancelledError, OSError, RuntimeError, ImportError) as error:
        missing = _missing_module(error)
        if missing is not None:
            reason = f"lacks this program ({missing}): install the same version on all its machines"
        elif abandoned.is_set():
            reason = f"has had no worker for {WITHOUT_WORKERS_SECONDS} seconds; start some"
        elif isinstance(error, CancelledError) or client.status != "running":
            reason = "is gone, or not to be reached"
        else:
            raise
        raise UserError(f"--scheduler={address}: {reason}; {_GO_ON}") from None
    finally:
        ended.set()
        executor.shutdown(wait=False)
        client.close(timeout=CONNECT_SECONDS)


def _missing_module(error: BaseException | None) -> ImportError | None:
    """What scheduler or worker could not import when it was handed a call."""
    while error is not None and not isinstance(error, ImportError):
        error = error.__cause__
    return error


class _SameEverywhere(Executor):
    """Checks that workers have the same software, as bytes would differ otherwise."""

    def __init__(self, executor: Executor):
        self._executor = executor
        self._software = software()

    def submit(self, fn, /, *args, **kwargs) -> Future:
        """As the executor's own."""
        # The scheduler unpacks what it is handed, and need not know the programs.
        call = pickle.dumps((_run, (self._software, fn, *args), kwargs))
        return self._executor.submit(command.call, call)


def software() -> dict[str, str]:
    """The versions that the bytes of a prepared set depend on."""
    names = ("numpy", "OpenImageIO", "imagecodecs", "pillow", "array_record")
    return {
        "train3d_jax": __version__,
        "python": ".".join(platform.python_version_tuple()[:2]),
        "zlib": zlib.ZLIB_RUNTIME_VERSION,
        **{name: metadata.version(name) for name in names},
    }


def _run(expected: dict[str, str], function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """On a worker."""
    here = software()
    differing = [
        f"{name} {here[name]}, not {version}"
        for name, version in expected.items()
        if here[name] != version
    ]
    if differing:
        raise UserError(
            f"the Dask worker on {platform.node()} has other software ({'; '.join(differing)}),"
            " and might write other bytes: install the same there"
        )
    return function(*args, **kwargs)
