"""Speed of training: the loader alone, the step alone, both together, and where the time goes.

    python -m benchmarks.train [--data SET] [--batch_size 32]

Without a set, maps of rendered rooms as a depth camera gives them (640x480, whole millimetres,
steps of disparity, holes) are prepared in both formats.  What is compared is run in turns, and
medians are printed: per sample, in samples/s or ms.
"""

import contextlib
import functools
import itertools
import multiprocessing
import os
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import app, flags

from benchmarks.maps import SIZE, render_maps, write_set
from benchmarks.measuring import Row, in_turns, row
from benchmarks.training_step import Step
from data.loading import crops, pipeline, read_ahead, samples, splits
from data.prepared import layout, npz_files, records
from data.prepared.prepared_set import PreparedSet
from data.protocol import DepthMap
from train3d_jax.training import trainer

_DATA = flags.DEFINE_string("data", None, "A prepared set; rendered rooms where none is given.")


_BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "Samples in a step.", lower_bound=1)


_MAPS = flags.DEFINE_integer("maps", 256, "Rendered maps, in each format.", lower_bound=32)


_STEPS = flags.DEFINE_integer("steps", 8, "Batches of one measurement.", lower_bound=1)


_ROUNDS = flags.DEFINE_integer("rounds", 5, "How often each is measured.", lower_bound=1)


_NUM_WORKERS = flags.DEFINE_integer("num_workers", 2, "Worker processes, beside threads.")


WARM_UP_BATCHES = 8  # more than the loader reads ahead on two cores


def rows() -> list[Row]:
    """The loader beside a common one, and the step with and without the loader.

    How long `np.load` takes is a question of the maps: 10 ms where depth has all digits of a float
    (3D Ken Burns, rendered maps, those of networks), 3 ms for the few steps that a stereo camera
    distinguishes.  Ours takes 0.4 ms on two cores for either.
    """
    with tempfile.TemporaryDirectory() as folder:
        smooth = render_maps(_MAPS.default, seen_by_a_camera=False)
        loader = _loader_row(Path(folder) / "smooth", smooth, "maps of floats", 12)
        camera = render_maps(_MAPS.default)
        return [
            loader,
            _loader_row(Path(folder) / "camera", camera, "maps of a stereo camera", None),
            *_step_rows(subsets_of(Path(folder) / "camera" / "set")),
        ]


def subsets_of(path: Path) -> list[splits.Subset]:
    samples = PreparedSet(path)
    return [splits.Subset(samples, np.arange(len(samples)))]


def _loader_row(folder: Path, maps: list[DepthMap], of: str, aim: float | None) -> Row:
    """The loader with an array_record, beside one process that reads what numpy has saved."""
    steps, size = _STEPS.default, _BATCH_SIZE.default
    write_set(folder / "set", maps, layout.ARRAY_RECORD)
    for index, depth_map in enumerate(maps):
        file = folder / f"{index:04d}.npz"
        np.savez_compressed(file, depth=depth_map.depth.astype(np.float64))
    files = sorted(folder.glob("*.npz"))[: steps * size]

    def common() -> None:
        for file in files:
            with np.load(file) as arrays:
                arrays["depth"].astype(np.float32)

    with contextlib.closing(batches_of(subsets_of(folder / "set"), 2)) as batches:
        taken = in_turns(
            {
                "common": common,
                "warm": lambda: consume(batches, WARM_UP_BATCHES),
                "loader": lambda: consume(batches, steps),
            }
        )
    common_rate = len(files) / taken["common"]
    ratio = steps * size / taken["loader"] / common_rate
    name = f"loader, {of}, against one process of np.load"
    return row(name, ratio, "x", aim, floor="inflate and average, on each core")


def _step_rows(subsets: list[splits.Subset]) -> list[Row]:
    steps, size = _STEPS.default, _BATCH_SIZE.default
    step = Step(size)
    fixed = jax.device_put(first_batch(subsets))
    with contextlib.closing(batches_of(subsets, 2)) as batches:

        def alone() -> None:
            time.sleep(0.5)  # the loader has read ahead what it may, and rests

        taken = in_turns(
            {
                "rest": alone,
                "step": lambda: step.train(itertools.repeat(fixed), steps),
                "begin": lambda: step.train(batches, 2),
                "both": lambda: step.train(batches, steps),
            }
        )
    count = steps * size
    return [
        row("training step, batch 32", count / taken["step"], "samples/s", 100,
            floor=step.floor(fixed)),
        row("share of training that is the step", 100 * taken["step"] / taken["both"], "%", 90),
    ]  # fmt: skip


def main(_: list[str]) -> None:
    """Prints the tables."""
    with tempfile.TemporaryDirectory() as folder:
        sets = [_DATA.value] if _DATA.value else _render_sets(Path(folder))
        step = Step(_BATCH_SIZE.value)
        for path in sets:
            subsets = subsets_of(path)
            samples = subsets[0].samples
            size = "x".join(map(str, samples[0].depth.shape[::-1]))
            print(f"\n{path}: {len(samples)} maps, the first of {size}")
            _print_rates(subsets, step)
            _print_loader_times(subsets[0])
        _print_step_times(step)


def _print_rates(subsets: list[splits.Subset], step: Step) -> None:
    """Samples/s of loader, step, and both; and memory."""
    steps, size = _STEPS.value, _BATCH_SIZE.value
    fixed = jax.device_put(first_batch(subsets))
    step.train(itertools.repeat(fixed), 2)  # compiles
    kinds = {"threads": 0}
    if _NUM_WORKERS.value:
        kinds[f"{_NUM_WORKERS.value} processes"] = _NUM_WORKERS.value
    for kind, workers in kinds.items():
        taken: dict[str, list[float]] = {"loader": [], "step": [], "both": []}
        with contextlib.closing(batches_of(subsets, workers)) as batches:
            for _ in range(_ROUNDS.value):
                for name, seconds in taken.items():
                    if name == "step":
                        # The loader has read ahead what it may, and rests.
                        time.sleep(0.5)
                        run = functools.partial(step.train, itertools.repeat(fixed), steps)
                    elif name == "loader":
                        consume(batches, WARM_UP_BATCHES)
                        run = functools.partial(consume, batches, steps)
                    else:
                        step.train(batches, 2)
                        run = functools.partial(step.train, batches, steps)
                    start = time.perf_counter()
                    run()
                    seconds.append((time.perf_counter() - start) / (steps * size))
            memory = _peak_memory_mb()
        rates = {name: 1 / statistics.median(seconds) for name, seconds in taken.items()}
        slower = min(rates["loader"], rates["step"])
        print(
            f"  {kind:14} loader {rates['loader']:6.0f} samples/s   step {rates['step']:6.0f}   "
            f"both {rates['both']:6.0f}, {rates['both'] / slower:4.0%} of the slower   "
            f"memory {memory:5.0f} MB at most"
        )


def _print_loader_times(subset: splits.Subset) -> None:
    """Milliseconds that each part of the loader takes a sample, on one core."""
    samples = subset.samples
    rng = np.random.default_rng(0)
    order = rng.permutation(len(samples))[:64]
    sharded = (samples.path / records.SHARDS).is_dir()
    taken: dict[str, list[float]] = {}

    def timed(name: str, run: Callable[[], Any], share: int = 1) -> Any:
        start = time.thread_time()
        result = run()
        taken.setdefault(name, []).append((time.thread_time() - start) / share)
        return result

    def sample(index: int) -> dict[str, Any]:
        if sharded:
            record = timed("read and decompress", lambda: _record(samples.path, index))
            depth, units, intrinsics = timed("decode", lambda: records.decode_units(record))
        else:
            files = [
                samples.path / npz_files.DEPTHS / f"{samples.ids[index]}.npz",
                samples.path / npz_files.INTRINSICS / f"{samples.ids[index]}.npy",
            ]
            timed("read", lambda: [file.read_bytes() for file in files])
            stored = timed("read from the cache and decode", lambda: samples.stored(index))
            depth, units, intrinsics = stored
        window = timed("crop", lambda: crops.random_crop(depth, intrinsics, rng))
        return timed("blocks", lambda: samples.to_blocks(*window, "depth", units))

    def run() -> None:
        rows = [sample(int(index)) for _ in range(3) for index in order][: _BATCH_SIZE.value]
        for _ in range(5):
            batch = timed("batch", functools.partial(samples.stack, rows), len(rows))
            timed("to the device", functools.partial(_put, batch), len(rows))

    read_ahead.keep_freed_memory()
    with ThreadPoolExecutor(1) as executor:  # as the loader does: it reads in threads
        executor.submit(run).result()
    parts = {name: 1e3 * statistics.median(seconds) for name, seconds in taken.items()}
    crossing = sum(value.nbytes for value in first_batch([subset]).values()) / _BATCH_SIZE.value
    total = sum(parts.values())
    print(f"  loader, ms of a core: {_listed(parts)}; {total:.2f} together")
    print(f"  {crossing / 1e3:.0f} kB a sample go to the device, as from worker processes")


def _print_step_times(step: Step) -> None:
    """Milliseconds that each part of a step takes a sample, on all cores."""
    rng = np.random.default_rng(0)
    walls = np.maximum.outer(rng.uniform(1, 4, SIZE[0]), rng.uniform(1, 4, SIZE[1]))
    intrinsics = np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]])
    row = samples.to_blocks(walls.astype(np.float32), intrinsics, "depth")
    row["sample"] = np.int32(0)
    batch = jax.device_put(samples.stack([row] * _BATCH_SIZE.value))
    parts = step.parts(batch)
    taken: dict[str, list[float]] = {name: [] for name in parts}
    for turn in range(_ROUNDS.value + 1):
        for name, run in parts.items():
            start = time.perf_counter()
            run()
            if turn:  # the first compiles
                taken[name].append((time.perf_counter() - start) / _BATCH_SIZE.value)
    ends = [1e3 * statistics.median(seconds) for seconds in taken.values()]
    own = dict(zip(parts, np.diff(ends, prepend=0).tolist(), strict=True))
    print(f"\nstep, ms a sample on {os.cpu_count()} cores:", _listed(own))


def batches_of(subsets: list[splits.Subset], workers: int) -> Iterator[trainer.Batch]:
    return iter(pipeline.training_batches(subsets, None, _BATCH_SIZE.value, "depth", 0, workers))


def first_batch(subsets: list[splits.Subset]) -> trainer.Batch:
    with contextlib.closing(batches_of(subsets, 0)) as batches:
        return next(batches)


def consume(batches: Iterator[trainer.Batch], count: int) -> None:
    for _ in itertools.islice(batches, count):
        pass


def _put(batch: trainer.Batch) -> None:
    jax.block_until_ready(jax.device_put(batch))


def _record(folder: Path, index: int) -> bytes:
    number, position = divmod(index, records.SAMPLES_PER_SHARD)
    path = records.shard(folder, number)
    return records._open(path, path.stat().st_mtime_ns).read([position])[0]


def _listed(parts: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.2f}" for name, value in parts.items())


def _peak_memory_mb() -> float:
    """The most that this process and each of its workers have held, added up (Linux only)."""
    processes = ["self", *(child.pid for child in multiprocessing.active_children())]
    statuses = [Path(f"/proc/{process}/status") for process in processes]
    peaks = (re.search(r"VmHWM:\s*(\d+) kB", status.read_text()) for status in statuses)
    return sum(int(peak[1]) / 1e3 for peak in peaks if peak)


def _render_sets(folder: Path) -> list[Path]:
    maps = render_maps(_MAPS.value)
    return [write_set(folder / format, maps, format) for format in layout.FORMATS]


if __name__ == "__main__":
    app.run(main)
