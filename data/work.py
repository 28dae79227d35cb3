"""Work in parallel, expressed against `concurrent.futures.Executor`: the seam for a cluster.

Results come in the order of the tasks, and no more tasks are in flight than keep the workers busy.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from typing import TypeVar

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")

_TASKS_PER_WORKER = 3  # in flight: one running, and two so that no worker waits


def run_in_order(
    executor: Executor,
    function: Callable[[_Task], _Result],
    tasks: Iterable[_Task],
    num_workers: int,
) -> Iterator[tuple[_Task, _Result]]:
    """Each task with what `function` gives for it; takes only as many as keep the workers busy."""
    in_flight: deque[tuple[_Task, Future[_Result]]] = deque()
    for task in tasks:
        in_flight.append((task, executor.submit(function, task)))
        if len(in_flight) >= max(num_workers, 1) * _TASKS_PER_WORKER:
            oldest, future = in_flight.popleft()
            yield oldest, future.result()
    while in_flight:
        oldest, future = in_flight.popleft()
        yield oldest, future.result()


class InProcess(Executor):
    """Runs each call when it is submitted, here: for no workers, and for tests."""

    def submit(self, fn, /, *args, **kwargs) -> Future:
        """A future that is already done."""
        future = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def make_executor(num_workers: int) -> Executor:
    """Processes that end with this one; with 0 all is done in this one."""
    if num_workers == 0:
        return InProcess()
    # Spawned, never forked: a fork of a process with threads (JAX has many) can hang.
    executor = ProcessPoolExecutor(
        num_workers, multiprocessing.get_context("spawn"), initializer=_start_worker
    )
    with _interrupt_later():
        executor.submit(os.getpid)  # starts all workers
    return executor


@contextlib.contextmanager
def _interrupt_later() -> Iterator[None]:
    """Puts Ctrl-C off to the end of the block, and lets processes started in it never see it.

    Ctrl-C reaches the whole process group, also workers that are still being started; the parent
    stops them in good order.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    interrupted = []
    # Another thread may take the signal, so holding it back in this one is not enough; and what is
    # held back here is so in the workers too, while a handler is not.
    handler = signal.signal(signal.SIGINT, lambda *_: interrupted.append(True))
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
    if interrupted:
        raise KeyboardInterrupt


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A parent that is killed cannot: without this its workers would wait for it for ever.
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
    os._exit(1)
