"""Speed of training: the loader alone, the step alone, both together, and where the time goes.

    python -m benchmarks.train [--data SET] [--batch_size 32]

Without a set, maps of rendered rooms as a depth camera gives them (640x480, whole millimetres,
steps of disparity, holes) are prepared in both formats.  What is compared is run in turns, and
medians are told: per sample, in samples/s or ms.
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
from typing import Any, Literal
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from benchmarks.measuring import Row, in_turns, row
from data.loading import pipeline
from data.prepared import npz_files, records
from data.prepared import prepared_set as prepared
from data.prepared.prepared_set import PreparedSet
from data.protocol import DepthMap
from data.rooms import views
from train3d_jax.geometry.clouds import CloudSettings
from train3d_jax.networks import encoder
from train3d_jax.training import losses
from train3d_jax.training import trainer as training
from train3d_jax.training.config import TrainingConfig, build_encoder
from train3d_jax.training.examples import Batch, make_examples

_DATA = flags.DEFINE_string("data", None, "A prepared set; rendered rooms where none is given.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "Samples in a step.", lower_bound=1)
_MAPS = flags.DEFINE_integer("maps", 256, "Rendered maps, in each format.", lower_bound=32)
_STEPS = flags.DEFINE_integer("steps", 8, "Batches of one measurement.", lower_bound=1)
_ROUNDS = flags.DEFINE_integer("rounds", 5, "How often each is measured.", lower_bound=1)
_NUM_WORKERS = flags.DEFINE_integer("num_workers", 2, "Worker processes, beside threads.")

SIZE = (480, 640)
VIEWS_OF_A_ROOM = 4
NOISY_COPIES = 8  # of each view: rendering takes longer than all the rest
# A structured light camera: focal length times baseline, its steps of disparity, and its noise.
DISPARITY_PIXEL_METRES, STEP_PIXELS, NOISE_PIXELS = 575 * 0.075, 1 / 8, 0.05
HOLES = 0.08  # share of the 8x8 blocks that have no depth
EXPONENTIALS = 256  # of an array, one after the other, to measure their rate
WARM_UP_BATCHES = 8  # more than the loader reads ahead on two cores


def rows() -> list[Row]:
    """The loader beside a common one, and the step with and without the loader.

    How long `np.load` takes is a question of the maps: 10 ms where depth has all digits of a float
    (3D Ken Burns, rendered maps, those of networks), 3 ms for the few steps that a stereo camera
    tells apart.  Ours takes 0.4 ms on two cores for either.
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


def subsets_of(path: Path) -> list[pipeline.Subset]:
    samples = PreparedSet(path)
    return [pipeline.Subset(samples, np.arange(len(samples)))]


def _loader_row(folder: Path, maps: list[DepthMap], of: str, aim: float | None) -> Row:
    """The loader with an array_record, beside one process that reads what numpy has saved."""
    steps, size = _STEPS.default, _BATCH_SIZE.default
    write_set(folder / "set", maps, prepared.ARRAY_RECORD)
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


def _step_rows(subsets: list[pipeline.Subset]) -> list[Row]:
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
            _tell_rates(subsets, step)
            _tell_loader_times(subsets[0])
        _tell_step_times(step)


class Step:
    """All that is asked of the training API: a compiled step and its parts, on a fixed batch."""

    def __init__(self, batch_size: int, precision: Literal["float32", "bfloat16"] = "float32"):
        clouds = CloudSettings(num_points=0, voxel_size=0)
        self.config = config = TrainingConfig(
            (0, 2), clouds, batch_size, encoder="surfaces", precision=precision
        )
        self._mesh = training.device_mesh(batch_size)
        self._state = training.place_state(training.initial_state(config, 1000), self._mesh)
        self._step = training.make_train_step(config, 1000, self._mesh)

        def examples(params: Any, key: jax.Array, batch: Batch):
            return make_examples(key, batch, config, augmented=True)

        def loss(params: Any, key: jax.Array, batch: Batch) -> jax.Array:
            observation, labels = examples(params, key, batch)
            network = build_encoder(config)
            inputs = network.inputs(key, observation, config.clouds)
            posteriors = encoder.encode(network, params, inputs)
            return sum(
                losses.posterior_loss(posterior, labels.quantity(target), target).mean()
                for target, posterior in posteriors.items()
            )  # pyright: ignore[reportReturnType]

        self._parts = [jax.jit(examples), jax.jit(loss), jax.jit(jax.value_and_grad(loss))]

    def train(self, batches: Iterator[Batch], steps: int) -> None:
        """So many steps, one ahead of the device, as the training loop does."""
        last: Any = None
        for _ in range(steps):
            batch = training.place_batch(next(batches), self._mesh)
            self._state, now = self._step(self._state, batch)
            jax.block_until_ready(last)
            last = now
        jax.block_until_ready(last)

    def floor(self, batch: Batch) -> str:
        """How many samples a second there would be at best, in words.

        The operations that XLA counts, and of these the exponentials, logarithms and roots, at the
        rates at which this machine multiplies large matrices and takes exponentials of an array
        that its caches hold.  Moving data is left out: what fits a cache costs little.
        """
        # XLA counts the body of a loop once, so there must be none.
        at_once = lambda function, rows, **_: jax.vmap(function)(rows)  # noqa: E731
        with mock.patch.object(jax.lax, "map", at_once):
            step = training.make_train_step(self.config, 1000, self._mesh)
            counted = step.lower(self._state, batch).compile().cost_analysis()
        size = len(batch["focal"])
        plain, hard = counted["flops"] / size, counted["transcendentals"] / size
        matrix, many = jnp.ones((2048, 2048)), jnp.ones(2**16)
        product = jax.jit(lambda x: x @ x)
        # Many in one call: a call of its own takes as long as thousands of exponentials.
        again = lambda _, x: jnp.exp(-x)  # noqa: E731
        exponential = jax.jit(lambda x: jax.lax.fori_loop(0, EXPONENTIALS, again, x))
        taken = in_turns(
            {
                "product": lambda: product(matrix).block_until_ready(),
                "exponential": lambda: exponential(many).block_until_ready(),
            }
        )
        rate = 2 * len(matrix) ** 3 / np.median(taken["product"])
        hard_rate = EXPONENTIALS * len(many) / np.median(taken["exponential"])
        at_best = 1 / (plain / rate + hard / hard_rate)
        return (
            f"{at_best:.0f}: {plain / 1e6:.0f} MFLOP a sample at {rate / 1e9:.0f} GFLOP/s, "
            f"{hard / 1e6:.1f} M exponentials at {hard_rate / 1e9:.2f} G/s"
        )

    def operations(self, batch: Batch) -> tuple[float, float]:
        """Operations of a step as compiled, and the bytes that it moves, by XLA's account."""
        counted = self._step.lower(self._state, batch).compile().cost_analysis()
        return counted["flops"], counted["bytes accessed"]

    def parts(self, batch: Batch) -> dict[str, Callable[[], object]]:
        """What each part takes, with the parts before it."""
        arguments = self._state.params, jax.random.key(0), batch
        # A copy of the parameters: those of the state are donated to the step.
        arguments = jax.tree.map(lambda x: x + 0, arguments[0]), *arguments[1:]
        names = ("clouds and labels", "forward", "backward")
        return {
            **{
                name: functools.partial(lambda part: jax.block_until_ready(part(*arguments)), part)
                for name, part in zip(names, self._parts, strict=True)
            },
            "optimiser": lambda: self.train(itertools.repeat(batch), 1),
        }


def _tell_rates(subsets: list[pipeline.Subset], step: Step) -> None:
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


def _tell_loader_times(subset: pipeline.Subset) -> None:
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
        window = timed("crop", lambda: pipeline.random_crop(depth, intrinsics, rng))
        return timed("blocks", lambda: pipeline.to_blocks(*window, "depth", units))

    def run() -> None:
        rows = [sample(int(index)) for _ in range(3) for index in order][: _BATCH_SIZE.value]
        for _ in range(5):
            batch = timed("batch", functools.partial(pipeline.stack, rows), len(rows))
            timed("to the device", functools.partial(_put, batch), len(rows))

    pipeline._keep_freed_memory()
    with ThreadPoolExecutor(1) as executor:  # as the loader does: it reads in threads
        executor.submit(run).result()
    parts = {name: 1e3 * statistics.median(seconds) for name, seconds in taken.items()}
    crossing = sum(value.nbytes for value in first_batch([subset]).values()) / _BATCH_SIZE.value
    total = sum(parts.values())
    print(f"  loader, ms of a core: {_listed(parts)}; {total:.2f} together")
    print(f"  {crossing / 1e3:.0f} kB a sample go to the device, as from worker processes")


def _tell_step_times(step: Step) -> None:
    """Milliseconds that each part of a step takes a sample, on all cores."""
    rng = np.random.default_rng(0)
    walls = np.maximum.outer(rng.uniform(1, 4, SIZE[0]), rng.uniform(1, 4, SIZE[1]))
    intrinsics = np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]])
    row = pipeline.to_blocks(walls.astype(np.float32), intrinsics, "depth")
    row["sample"] = np.int32(0)
    batch = jax.device_put(pipeline.stack([row] * _BATCH_SIZE.value))
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


def batches_of(subsets: list[pipeline.Subset], workers: int) -> Iterator[Batch]:
    return iter(pipeline.training_batches(subsets, None, _BATCH_SIZE.value, "depth", 0, workers))


def first_batch(subsets: list[pipeline.Subset]) -> Batch:
    with contextlib.closing(batches_of(subsets, 0)) as batches:
        return next(batches)


def consume(batches: Iterator[Batch], count: int) -> None:
    for _ in itertools.islice(batches, count):
        pass


def _put(batch: Batch) -> None:
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
    return [write_set(folder / format, maps, format) for format in prepared.FORMATS]


def render_maps(count: int, seen_by_a_camera: bool = True) -> list[DepthMap]:
    """Rooms as a depth camera gives them, or as they are, 640x480."""
    rng = np.random.default_rng(0)
    clean = [
        view
        for seed in range(count // (VIEWS_OF_A_ROOM * NOISY_COPIES))
        for view in views.random_views(seed, VIEWS_OF_A_ROOM, SIZE)
    ]
    return [
        DepthMap(
            _as_a_camera_sees(view.depth, rng) if seen_by_a_camera else view.depth, view.intrinsics
        )
        for _ in range(NOISY_COPIES)
        for view in clean
    ]


def _as_a_camera_sees(depth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Whole millimetres, with noise and steps of disparity, and holes."""
    holes = rng.random((SIZE[0] // 8, SIZE[1] // 8)) < HOLES
    seen = (depth > 0) & ~np.kron(holes, np.ones((8, 8), bool))
    disparity = DISPARITY_PIXEL_METRES / np.where(seen, depth, 1)
    disparity += rng.normal(0, NOISE_PIXELS, SIZE)
    disparity = np.maximum(np.rint(disparity / STEP_PIXELS), 1) * STEP_PIXELS
    millimetres = np.rint(1000 * DISPARITY_PIXEL_METRES / disparity).clip(1, 65535)
    return np.divide(np.where(seen, millimetres, 0), 1000, dtype=np.float32)


def write_set(folder: Path, maps: list[DepthMap], format: str) -> Path:
    """A prepared set of maps; its folder."""
    prepared.begin(folder)
    for index, depth_map in enumerate(maps):
        origin = prepared.Origin("rooms", f"room{index % 16}", "rendered", index)
        row = prepared.write_sample(folder, index, depth_map, origin, format)
        prepared.append_rows(folder, [row])
    if format == prepared.ARRAY_RECORD:
        first = 0
        for number, size in enumerate(records.shard_sizes(len(maps))):
            records.pack(folder, number, first, size)
            records.drop(folder, first, size)
            first += size
    prepared.finish(folder, {"format": format}, software="benchmark")
    return folder


if __name__ == "__main__":
    app.run(main)
