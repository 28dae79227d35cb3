"""Work in parallel, expressed against `concurrent.futures.Executor`: here, or on a cluster.

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
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from train3d_jax.errors import UserError

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")

Number = int | Callable[[], int]
"""Number of workers; a function where it changes while they work."""

_TASKS_PER_WORKER = 3  # in flight; chosen: one runs, and two wait, so that no worker does


def run_in_order(
    executor: Executor,
    function: Callable[[_Task], _Result],
    tasks: Iterable[_Task],
    num_workers: Number,
) -> Iterator[tuple[_Task, _Result]]:
    """Each task with its result, in order; takes only as many tasks as keep the workers busy."""
    in_flight: deque[tuple[_Task, Future[_Result]]] = deque()
    for task in tasks:
        in_flight.append((task, executor.submit(function, task)))
        while len(in_flight) >= at_least_one(num_workers) * _TASKS_PER_WORKER:
            oldest, future = in_flight.popleft()
            yield oldest, future.result()
    while in_flight:
        oldest, future = in_flight.popleft()
        yield oldest, future.result()


def at_least_one(num_workers: Number) -> int:
    """How many work now, this process counted where there is no other."""
    return max(num_workers() if callable(num_workers) else num_workers, 1)


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


@contextlib.contextmanager
def workers(num_workers: int, scheduler: str | None = None) -> Iterator[tuple[Executor, Number]]:
    """An executor and the number of its workers; tasks that have not begun are dropped at the end.

    Args:
      num_workers: processes on this machine; with 0 all is done in this one.
      scheduler: address of a Dask scheduler, whose workers take their place.

    Raises:
      UserError: there is no such cluster; and from within it when a worker died, or the cluster.
    """
    if scheduler is not None:
        from data.parallel.cluster import cluster_workers

        with cluster_workers(scheduler) as pool:
            yield pool
        return
    executor = make_executor(num_workers)
    try:
        yield executor, num_workers
    except BrokenProcessPool:
        raise UserError(
            f"--num_workers={num_workers}: a worker process died, perhaps of too little"
            " memory; run again with fewer, and it goes on from there"
        ) from None
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


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
