"""How cost grows with maps, pixels, points and batch: each is doubled three times.

    python -m benchmarks.growth

An exponent of 1 means twice the time for twice as much; below 1, that something is paid once,
whatever the size; above 1, that something is compared with everything, or no longer fits a cache.
"""

from collections.abc import Callable

import jax
import numpy as np

from benchmarks.measuring import Row, in_turns, row
from benchmarks.operations import room_like
from train3d_jax.geometry import clouds
from train3d_jax.inference import recovery
from train3d_jax.inference.models import load_model
from train3d_jax.training import trainer
from train3d_jax.training.config import TrainingConfig

DOUBLED = np.array([1, 2, 4, 8])
ALL_BLOCKS = clouds.CloudSettings(voxel_size=0.0, num_points=0)
POINTS, PIXELS, BATCH = 512, 240 * 320, 8
"""Before anything is doubled."""


def rows() -> list[Row]:
    """An exponent for each quantity."""
    rng = np.random.default_rng(0)
    depth = room_like(rng)
    kinds: dict[str, Callable[[int], Callable[[], object]]] = {
        "maps, launch.infer's blocks and answers": lambda n: _recover(depth, BATCH * n),
        "pixels, averaging over blocks": lambda n: _average(n),
        "points, a training step of the point encoder": lambda n: _train(
            depth, 4, clouds.CloudSettings(num_points=POINTS * n, voxel_size=0.0), "points"
        ),
        "batch, a training step of the default encoder": lambda n: _train(
            depth, BATCH * n, ALL_BLOCKS, "surfaces"
        ),
    }
    return [
        row(f"exponent of cost: {name}", _exponents(task), "", 1, better="less")
        for name, task in kinds.items()
    ]


def _exponents(task: Callable[[int], Callable[[], object]]) -> np.ndarray:
    """The slope of the logarithm of time, in each round."""
    taken = in_turns({str(n): task(n) for n in DOUBLED.tolist()})
    seconds = np.log(np.stack(list(taken.values())))
    return np.polyfit(np.log(DOUBLED), seconds, 1)[0]


def _recover(depth: np.ndarray, count: int) -> Callable[[], object]:
    model = load_model()

    def run() -> None:
        for _ in range(count // BATCH):
            recovery.recover_blocks([model], recovery.make_blocks([depth] * BATCH))

    return run


def _average(doubled: int) -> Callable[[], object]:
    # Square up to a factor of 2, as images are.
    height = 240 * 2 ** (int(np.log2(doubled)) // 2)
    values = np.random.default_rng(0).uniform(1, 2, (height, PIXELS * doubled // height))
    maps = [values.astype(np.float32)] * 8
    return lambda: recovery.make_blocks(maps)


def _train(depth: np.ndarray, size: int, settings: clouds.CloudSettings, encoder: str):
    config = TrainingConfig((0, 2), settings, size, encoder=encoder)
    mesh = trainer.device_mesh(size)
    state = trainer.place_state(trainer.initial_state(config, 100), mesh)
    step = trainer.make_train_step(config, 100, mesh)
    blocks = recovery.make_blocks([depth] * size)
    batch = {**blocks._asdict(), "focal": np.full(size, 500, np.float32)}

    def run() -> None:
        nonlocal state
        state, losses = step(state, batch)
        jax.block_until_ready(losses)

    return run


def main() -> None:
    """Prints the rows."""
    for each in rows():
        print(f"{each.name:70}{each.value:6.2f} +- {each.value * each.spread:.2f}")


if __name__ == "__main__":
    main()
