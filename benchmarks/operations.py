"""Speed of what happens to every map, beside the same done plainly in numpy.

    python -m benchmarks.operations

From a 640x480 depth map to the cloud that the encoder sees: the plain way works on every pixel in
float64 and sorts all of them twice, as scripts do that were written map by map; ours averages over
blocks on the host and does the rest in one compiled function on a batch.  Both are run in turns,
and medians are told.
"""

import statistics
import time
from collections.abc import Callable

import jax
import numpy as np

from train3d_jax import clouds, inference, training

SIZE = (480, 640)
BATCH = 20
ROUNDS = 7


def main() -> None:
    """Prints a table."""
    rng = np.random.default_rng(0)
    maps = [room_like(rng) for _ in range(BATCH)]
    blocks = inference.make_blocks(maps)
    settings = clouds.CloudSettings()
    key = jax.random.key(0)
    make_clouds = jax.jit(lambda b: clouds.make_clouds(key, b, settings))

    config = training.TrainingConfig((0, 2), settings, BATCH)
    mesh = training.device_mesh(BATCH)
    state = training.place_state(training.initial_state(config, 100), mesh)
    step = training.make_train_step(config, 100, mesh)
    batch = {**blocks._asdict(), "focal": np.full(BATCH, 500, np.float32)}

    def train() -> None:
        nonlocal state
        state, losses = step(state, batch)
        jax.block_until_ready(losses)

    seconds = _in_turns(
        {
            "plain numpy, all pixels, float64": lambda: [_plain(depth) for depth in maps],
            "blocks, on the host": lambda: inference.make_blocks(maps),
            "cloud of the blocks, on the device": lambda: jax.block_until_ready(
                make_clouds(blocks)
            ),
            "training step, cloud included": train,
        }
    )
    plain = seconds["plain numpy, all pixels, float64"]
    print(f"{'':38}{'ms a map':>10}{'maps/s':>10}{'times the plain way':>22}")
    for name, taken in seconds.items():
        print(f"{name:38}{1e3 * taken:10.2f}{1 / taken:10.0f}{plain / taken:22.1f}")
    both = seconds["blocks, on the host"] + seconds["cloud of the blocks, on the device"]
    print(f"{'blocks and cloud':38}{1e3 * both:10.2f}{1 / both:10.0f}{plain / both:22.1f}")


def _in_turns(tasks: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Median seconds a map of each task; they take turns, so that all see the same machine."""
    for task in tasks.values():
        task()  # compiles
    taken: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(ROUNDS):
        for name, task in tasks.items():
            began = time.perf_counter()
            task()
            taken[name].append((time.perf_counter() - began) / BATCH)
    return {name: statistics.median(times) for name, times in taken.items()}


def room_like(rng: np.random.Generator) -> np.ndarray:
    """Two slanted walls and a floor, some noise, some holes."""
    v, u = np.mgrid[-1 : 1 : SIZE[0] * 1j, -1 : 1 : SIZE[1] * 1j]
    inverse = np.maximum(0.3 + 0.2 * u, np.maximum(0.25 - 0.1 * u, 0.2 + 0.3 * v))
    depth = (1 / inverse) * rng.normal(1, 0.002, SIZE)
    return np.where(rng.random(SIZE) < 0.05, 0, depth).astype(np.float32)


def _plain(depth: np.ndarray) -> np.ndarray:
    """Canonical form, unprojection, one point a voxel and a sample, on every pixel in float64."""
    v, u = np.nonzero(depth)
    z = depth[v, u].astype(np.float64)
    near, far = np.quantile(z, 0.02), np.quantile(z, 0.98)
    z = 0.5 + 0.5 * (z - near) / (far - near)
    focal = SIZE[0] / 2 / np.tan(np.pi / 6)
    x, y = (u - (SIZE[1] - 1) / 2) * z / focal, (v - (SIZE[0] - 1) / 2) * z / focal
    points = np.stack([x, y, z], -1)
    voxels = np.floor(points / 0.005).astype(np.int64)
    code = (voxels[:, 0] * 4096 + voxels[:, 1]) * 4096 + voxels[:, 2]
    _, first = np.unique(code, return_index=True)
    chosen = np.random.default_rng(0).choice(first, min(3072, len(first)), replace=False)
    return points[chosen]


if __name__ == "__main__":
    main()
