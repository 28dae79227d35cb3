"""Several processes that train one network: how they connect, agree and end.

Each is the same program with the same flags but its number.  All run the same operations in the
same order, as a sum over their devices waits for every one.
"""

import contextlib
import faulthandler
import hashlib
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils

from data.loading.pipeline import Part
from launch import program
from launch.training.process_flags import COORDINATOR, NUM_PROCESSES, PROCESS_ID
from train3d_jax.errors import UserError, is_lost_process

AUTO = "auto"

MEETING_SECONDS = 300
"""How long a process waits for the others to connect; chosen."""

SILENCE_SECONDS = 30
"""After which a silent process counts as lost; chosen."""

SHOW_SECONDS = 60
"""How long shared storage may take to show what another machine wrote: NFS caches attributes for up
to 60 s (acdirmax)."""

AGREE_EVERY = 10
"""Steps between two agreements on whether to stop; chosen, as one takes a millisecond."""

_NOT_COME = (
    "--coordinator={}: not to be reached, or not all have come within "
    f"{MEETING_SECONDS} seconds; start all of them at about the same time"
)
_GONE = (
    "another process is gone, or not to be reached{}; start all again with the same flags, and "
    "they go on from the last checkpoint"
)


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Joins the other processes, where there are any; to be entered before JAX computes anything.

    What goes wrong in it ends this process at once, in one line: to part in good order it would
    wait for those that are gone.

    Raises:
      UserError: flags that do not fit, or others that do not come.
    """
    coordinator, count, number = COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value
    if coordinator is None:
        if count is not None or number is not None:
            raise UserError("--num_processes and --process_id need --coordinator=host:port or auto")
        yield
        return
    address = _address(coordinator, count, number)
    name = program.name()
    with _last_words() as last_words:

        def leave(reason: str, status: int) -> NoReturn:
            last_words("")
            sys.stdout.flush()
            print(f"{name}: {reason}", file=sys.stderr, flush=True)
            os._exit(status)

        def leave_without(others: str) -> NoReturn:
            # Not printed here: a thread of JAX may print its page until this process has ended.
            last_words(f"{name}: {others}")
            sys.stdout.flush()
            os._exit(program.EXIT_SOME_FAILED)

        last_words(f"{name}: {_NOT_COME.format(coordinator)}")
        try:
            _join(address, count, number)
            last_words(f"{name}: {_GONE.format(', or this one was killed')}")
            yield
            jax.distributed.shutdown()
        except UserError as error:
            leave(program.message(error), program.EXIT_WRONG_USE)
        except KeyboardInterrupt:
            leave("interrupted", program.EXIT_INTERRUPTED)
        except Exception as error:
            if is_lost_process(error):
                leave_without(_GONE.format(f" ({_first_line(error)})"))
            leave(traceback.format_exc(), program.EXIT_SOME_FAILED)


@contextlib.contextmanager
def _last_words() -> Iterator[Callable[[str], None]]:
    """Prints why this process ended, even where JAX aborts it; yields what sets that line.

    JAX aborts a process that has lost the others, in any thread, after a page of its own.  So a
    shell waits beside this process, and prints the last line that it received when it has ended.
    """
    faulthandler.disable()  # absl's stacks of all threads would bury the line
    shell = subprocess.Popen(
        [
            "sh",
            "-c",
            'while read -r line; do text=$line; done; test -z "$text" || echo "$text" >&2',
        ],
        stdin=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for this process
    )

    def say(text: str) -> None:
        assert shell.stdin is not None
        with contextlib.suppress(OSError):
            shell.stdin.write(f"{text}\n".encode())
            shell.stdin.flush()

    try:
        yield say
        say("")
    finally:
        shell.communicate()


def _address(coordinator: str, count: int | None, number: int | None) -> str | None:
    """Of process 0; None where the cluster knows it.  Raises UserError on flags that do not fit."""
    if coordinator == AUTO:
        if count is not None or number is not None:
            raise UserError("--coordinator=auto: leave --num_processes and --process_id out")
        return None
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise UserError(f"--coordinator={coordinator}: give host:port of process 0, or auto")
    if count is None or number is None:
        raise UserError("--coordinator needs --num_processes and --process_id, or is auto")
    if number >= count:
        raise UserError(f"--process_id={number}: {count} processes are numbered from 0")
    return coordinator


def _join(address: str | None, count: int | None, number: int | None) -> None:
    try:
        jax.distributed.initialize(
            address,
            count,
            number,
            initialization_timeout=MEETING_SECONDS,
            heartbeat_timeout_seconds=SILENCE_SECONDS,
        )
    except (RuntimeError, ValueError) as error:
        reason = _first_line(error)
        if address is None:
            reason = f"no cluster is known here ({reason}); give host:port"
        raise UserError(f"--coordinator={address or AUTO}: {reason}") from None


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def part_of(batch_size: int) -> Part:
    """What this process reads of each batch of all processes together.

    Raises:
      UserError: they do not divide it.
    """
    if batch_size % jax.process_count():
        raise UserError(
            f"--batch_size={batch_size}: {jax.process_count()} processes do not divide it evenly"
        )
    return Part(jax.process_index(), jax.process_count())


def refuse_different(asked: Any, shared: Path) -> None:
    """Makes sure that all processes are about to do the same, or they would wait for ever.

    Args:
      asked: what this process is about to do; its `repr` is compared.
      shared: a file that the first of them has written, and all must see.

    Raises:
      UserError: they are not; on all of them.
    """
    if jax.process_count() == 1:
        return
    multihost_utils.sync_global_devices("written")
    end = time.monotonic() + SHOW_SECONDS
    while not shared.exists() and time.monotonic() < end:
        time.sleep(0.1)
    text = repr((asked, shared.exists()))
    digest = np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint8)
    digests = np.asarray(multihost_utils.process_allgather(digest))
    others = np.flatnonzero((digests != digests[0]).any(1))
    if len(others):
        raise UserError(
            f"process {', '.join(map(str, others))} has other flags, other data or another state "
            "of the run than process 0: give all the same, and --data and --workdir that all share"
        )


def is_first() -> bool:
    """Whether this is the process that writes and prints."""
    return jax.process_index() == 0


def agreed(stop: Callable[[], bool]) -> Callable[[], bool]:
    """A stop of all processes at the same step, whichever of them was asked."""
    if jax.process_count() == 1:
        return stop
    calls = 0

    @jax.transfer_guard("allow")  # the loop forbids to move data by the way
    def anyone() -> bool:
        nonlocal calls
        calls += 1
        if calls % AGREE_EVERY:
            return False
        return bool(multihost_utils.process_allgather(np.array(stop())).any())

    return anyone
