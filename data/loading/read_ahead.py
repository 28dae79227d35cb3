"""Batches made ahead by threads or worker processes, and delivered in order (grain)."""

import functools
import math
import os
import signal
import threading
import time
from collections.abc import Callable

import grain
import numpy as np

from data.loading.samples import Batch

MOST_THREADS = 16
"""Reading threads of one process.  Chosen: more threads wait for Python's lock, not for storage."""

_BUFFERED = 2
"""Batches that are ready or being made, for each thread: one in work and one that waits."""

_WATCH_SECONDS = 1
"""Between two checks whether the parent process lives."""

_FREED_BYTES = 31 << 20
"""Just under 32 MiB, the largest value that glibc's mmap threshold adapts to (mallopt(3))."""


def read_ahead(batch: Callable[[int], Batch], count: int, num_workers: int) -> grain.IterDataset:
    """Batches 0 to count - 1 in order, each made by one thread.

    Args:
      batch: makes the batch of a number; runs in threads of this process or of workers.
      count: number of batches.
      num_workers: processes, at most one for each core; 0 uses threads of this process.
    """

    def made(number: int) -> Batch:
        keep_freed_memory()  # in the process that makes the batch, which may be a worker
        return batch(number)

    cores = os.cpu_count() or 1
    # More processes than cores only take memory: each of them imports JAX.
    workers = min(num_workers, cores)
    threads = min(math.ceil(cores / max(workers, 1)), MOST_THREADS)
    dataset = (
        grain.MapDataset.range(count)
        .map(made)
        .to_iter_dataset(
            grain.ReadOptions(num_threads=threads, prefetch_buffer_size=_BUFFERED * threads)
        )
    )
    if workers:
        dataset = dataset.mp_prefetch(
            grain.MultiprocessingOptions(num_workers=workers), _serve_the_parent
        )
    return dataset


def _serve_the_parent(*_: int) -> None:
    """Ties a worker process to its parent: it ignores signals, and ends when the parent has."""
    # Ctrl-C and a scheduler's SIGTERM reach all processes of a job; the parent needs its workers
    # until it has taken its last batch and saved.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    parent = os.getppid()

    def watch() -> None:
        # A parent that was killed ends no worker, and grain's workers would wait for ever.
        while os.getppid() == parent:
            time.sleep(_WATCH_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@functools.cache
def keep_freed_memory() -> None:
    """Makes the C library reuse the memory of one map for the next one.

    glibc returns a freed block to the system if it is larger than every block freed before.  Fresh
    pages for each map take a fifth of the loader's time (measured).  Freeing one large block raises
    the threshold.  Other C libraries are unaffected.
    """
    np.empty(_FREED_BYTES, np.uint8)
