"""Training and recovery on a GPU: batch sizes, bfloat16 against float32, the loader, the floor.

    python -m benchmarks.gpu [--parts loader,agreement,step,recovery]

On rendered rooms as a depth camera gives them (640x480).  The floor of a step is the larger of two
times: the operations that XLA counts at the rate at which this device multiplies large float32
matrices, and the bytes that the compiled program moves at the rate at which it copies large arrays.
The loader has to keep up with the step: its rate is printed for several numbers of processes.
"""

import contextlib
import itertools
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from benchmarks import train
from benchmarks.maps import render_maps, write_set
from benchmarks.measuring import in_turns
from benchmarks.table import machine_in_words
from benchmarks.training_step import Step
from data.prepared import layout
from train3d_jax.geometry import clouds
from train3d_jax.inference import recovery
from train3d_jax.inference.models import load_model
from train3d_jax.training import trainer

_MAPS = flags.DEFINE_integer("rendered_maps", 256, "Rendered maps.", lower_bound=32)
_SIZES = flags.DEFINE_list("sizes", ["32", "128", "512"], "Batch sizes.")
_WORKERS = flags.DEFINE_list("workers", ["0", "4", "8", "16"], "Processes that read; 0: threads.")

PARTS = ("loader", "agreement", "step", "recovery")
_PARTS = flags.DEFINE_list("parts", list(PARTS), f"What to measure: {', '.join(PARTS)}.")
flags.register_validator("parts", lambda parts: set(parts) <= set(PARTS), f"parts: {PARTS}")

STEPS = 10
READ_AHEAD = 64  # batches: more than the loader keeps ready on 16 cores
PRECISIONS = ("float32", "bfloat16")


def main(_: list[str]) -> None:
    """Prints what it measures."""
    print(machine_in_words())
    sizes = [int(size) for size in _SIZES.value]
    with tempfile.TemporaryDirectory() as folder:
        maps = render_maps(_MAPS.value)
        path = write_set(Path(folder) / "set", maps, layout.ARRAY_RECORD)
        batch = train.first_batch(train.subsets_of(path))
        measure = {
            "loader": lambda: _tell_loader(path, [int(count) for count in _WORKERS.value]),
            "agreement": lambda: _tell_agreement(batch),
            "step": lambda: _tell_steps(sizes, batch),
            "recovery": lambda: _tell_recovery(sizes, batch),
        }
        for part in _PARTS.value:
            measure[part]()


def _tell_agreement(batch: trainer.Batch) -> None:
    """How far the device's answers are from those of the CPU: float32 must stay float32."""
    model, blocks = load_model(), _blocks_of(batch)
    on_device = recovery.recover_blocks([model], blocks)
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        on_cpu = recovery.recover_blocks([model], blocks)
    apart = np.abs(on_device.focal / on_cpu.focal - 1), np.abs(on_device.shift - on_cpu.shift)
    errors = (f"median {np.nanmedian(x):.1e}, at most {np.nanmax(x):.1e}" for x in apart)
    print("device and CPU apart by: focal {}; shift {}".format(*errors), flush=True)


def _tell_steps(sizes: list[int], batch: trainer.Batch) -> None:
    steps = {pair: Step(*pair) for pair in itertools.product(sizes, PRECISIONS)}
    batches = {size: jax.device_put(_repeated(batch, size)) for size in sizes}
    began = time.perf_counter()

    def run(pair) -> None:
        steps[pair].train(itertools.repeat(batches[pair[0]]), STEPS)

    with ThreadPoolExecutor() as pool:
        list(pool.map(run, steps))
    print(f"{len(steps)} steps compiled in {time.perf_counter() - began:.0f} s", flush=True)
    taken = in_turns({pair: lambda pair=pair: run(pair) for pair in steps})
    rates = _rates()
    print(f"{'step: batch':14}{'precision':12}{'ms':>8}{'samples/s':>12}{'floor, ms':>12}  of it")
    for (size, precision), seconds in taken.items():
        milliseconds = 1e3 * np.median(seconds) / STEPS
        flops, moved = steps[size, precision].operations(batches[size])
        floors = {"operations": 1e3 * flops / rates[0], "bytes": 1e3 * moved / rates[1]}
        limit = max(floors, key=lambda name: floors[name])
        print(
            f"{size:<14}{precision:12}{milliseconds:8.2f}{1e3 * size / milliseconds:12.0f}"
            f"{floors[limit]:12.2f}  {limit}, {floors[limit] / milliseconds:.0%}",
            flush=True,
        )


def _rates() -> tuple[float, float]:
    """Operations a second of large float32 products, bytes a second of large copies."""
    matrix, many = jnp.ones((8192, 8192)), jnp.ones(2**28)
    product = jax.jit(lambda x: jnp.matmul(x, x, precision="highest"))
    copied = jax.jit(lambda x: x + 1)
    taken = in_turns(
        {
            "product": lambda: product(matrix).block_until_ready(),
            "copied": lambda: copied(many).block_until_ready(),
        }
    )
    flops = 2 * len(matrix) ** 3 / np.median(taken["product"])
    moved = 2 * many.nbytes / np.median(taken["copied"])
    print(f"ceilings: {flops / 1e12:.1f} TFLOP/s of float32, {moved / 1e9:.0f} GB/s", flush=True)
    return float(flops), float(moved)


def _tell_recovery(sizes: list[int], batch: trainer.Batch) -> None:
    model = load_model()
    for size in sizes:
        blocks = _blocks_of(_repeated(batch, size))
        taken = in_turns({"solve": lambda blocks=blocks: recovery.recover_blocks([model], blocks)})
        rate = size / np.median(taken["solve"])
        print(f"recover, {size} maps at once: {rate:.0f} maps/s", flush=True)


def _tell_loader(path: Path, counts: list[int]) -> None:
    for workers in counts:
        with contextlib.closing(train.batches_of(train.subsets_of(path), workers)) as batches:
            train.consume(batches, READ_AHEAD)
            began = time.perf_counter()
            train.consume(batches, 2 * READ_AHEAD)
            rate = 2 * READ_AHEAD * 32 / (time.perf_counter() - began)
        kind = f"{workers} processes" if workers else "threads"
        print(f"loader, {kind}: {rate:.0f} samples/s", flush=True)


def _repeated(batch: trainer.Batch, size: int) -> trainer.Batch:
    repeat = lambda x: np.resize(np.asarray(x), (size, *np.shape(x)[1:]))  # noqa: E731
    return {name: repeat(value) for name, value in batch.items() if name != "sample"}


def _blocks_of(batch: trainer.Batch) -> clouds.Blocks:
    return clouds.Blocks(*(batch[name] for name in ("pixels", "values", "mask", "size", "centre")))


if __name__ == "__main__":
    app.run(main)
