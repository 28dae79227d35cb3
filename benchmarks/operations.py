"""Speed of what happens to every map, beside the same done plainly in numpy.

    python -m benchmarks.operations

From a 640x480 depth map to the distorted cloud that the encoder sees.  The plain way works on every
pixel in float64 and sorts all of them twice, as scripts do that were written map by map; ours
averages over blocks on the host and does the rest in one compiled function on a batch.

The floor is reading 1.2 MB of depth once: 0.1 ms at 12 GB/s.  Averaging takes most of our time: it
reads a map four times, for the mask, its sums down and across, and those of the values, in float64
so that the mean of far depth keeps its digits.
"""

import jax
import numpy as np

from benchmarks.measuring import Row, in_turns, row
from train3d_jax.geometry import affine, camera, clouds
from train3d_jax.inference import recovery
from train3d_jax.training import trainer
from train3d_jax.training.config import TrainingConfig

SIZE = (480, 640)
BATCH = 32
SHIFT, ALPHA = 0.3, 1.2
PLAIN = "plain numpy, all pixels, float64"
BLOCKS = "blocks, on the host"
CLOUD = "distorted cloud of all blocks"
SAMPLE = "the same, a sample of 3,072 by voxels"
STEP = "training step of the default encoder"


def rows() -> list[Row]:
    """How many times as fast as the plain way a cloud is made."""
    seconds = measure()
    cloud, sample = (seconds[PLAIN] / (seconds[BLOCKS] + seconds[name]) for name in (CLOUD, SAMPLE))
    return [
        row("cloud of a 640x480 map, against plain numpy", cloud, "x", 15,
            floor="240x: 0.1 ms to read it"),
        row("the same, with voxels and a sample", sample, "x", 15),
    ]  # fmt: skip


def measure() -> dict[str, np.ndarray]:
    """Seconds a map of each way, in each round."""
    rng = np.random.default_rng(0)
    maps = [room_like(rng) for _ in range(BATCH)]
    blocks = recovery.make_blocks(maps)
    key = jax.random.key(0)

    def cloud_of(settings: clouds.CloudSettings):
        @jax.jit
        def make(b: clouds.Blocks) -> jax.Array:
            canonical = affine.canonicalise(b.values, b.mask)
            seen = clouds.observe(b, canonical, settings)
            cloud = clouds.make_clouds(key, seen, settings)
            shift, alpha = np.full(len(b.size), SHIFT), np.full(len(b.size), ALPHA)
            return affine.distort(cloud.points[..., :3], shift, alpha, "depth")

        return lambda: jax.block_until_ready(make(blocks))

    config = TrainingConfig(
        (0, 2), clouds.CloudSettings(voxel_size=0.0, num_points=0), BATCH, encoder="surfaces"
    )
    mesh = trainer.device_mesh(BATCH)
    state = trainer.place_state(trainer.initial_state(config, 100), mesh)
    step = trainer.make_train_step(config, 100, mesh)
    batch = {**blocks._asdict(), "focal": np.full(BATCH, 500, np.float32)}

    def train() -> None:
        nonlocal state
        state, losses = step(state, batch)
        jax.block_until_ready(losses)

    taken = in_turns(
        {
            PLAIN: lambda: [_plain(values) for values in maps],
            BLOCKS: lambda: recovery.make_blocks(maps),
            CLOUD: cloud_of(config.clouds),
            SAMPLE: cloud_of(clouds.POINT_SETS),
            STEP: train,
        }
    )
    return {name: seconds / BATCH for name, seconds in taken.items()}


def main() -> None:
    """Prints a table."""
    seconds = {name: float(np.median(rounds)) for name, rounds in measure().items()}
    print(f"{'':38}{'ms a map':>10}{'maps/s':>10}{'times the plain way':>22}")
    for name, taken in seconds.items():
        print(f"{name:38}{1e3 * taken:10.2f}{1 / taken:10.0f}{seconds[PLAIN] / taken:22.1f}")


def room_like(rng: np.random.Generator) -> np.ndarray:
    """Two slanted walls and a floor, some noise, some holes."""
    v, u = np.mgrid[-1 : 1 : SIZE[0] * 1j, -1 : 1 : SIZE[1] * 1j]
    inverse = np.maximum(0.3 + 0.2 * u, np.maximum(0.25 - 0.1 * u, 0.2 + 0.3 * v))
    depth = (1 / inverse) * rng.normal(1, 0.002, SIZE)
    return np.where(rng.random(SIZE) < 0.05, 0, depth).astype(np.float32)


def _plain(values: np.ndarray) -> np.ndarray:
    """Canonical form, distortion, unprojection, a point a voxel and a sample, all in float64."""
    v, u = np.nonzero(values)
    z = values[v, u].astype(np.float64)
    near, far = np.quantile(z, 0.02), np.quantile(z, 0.98)
    z = 0.5 + 0.5 * (z - near) / (far - near) + SHIFT
    focal = ALPHA * camera.initial_focal(SIZE[0])
    x, y = (u - (SIZE[1] - 1) / 2) * z / focal, (v - (SIZE[0] - 1) / 2) * z / focal
    points = np.stack([x, y, z], -1)
    voxels = np.floor(points / 0.005).astype(np.int64)
    code = (voxels[:, 0] * 4096 + voxels[:, 1]) * 4096 + voxels[:, 2]
    _, first = np.unique(code, return_index=True)
    chosen = np.random.default_rng(0).choice(first, min(3072, len(first)), replace=False)
    return points[chosen]


if __name__ == "__main__":
    main()
