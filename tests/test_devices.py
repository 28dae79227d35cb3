"""Training on several devices: eight of the CPU's, in a program of its own."""

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import dataclasses, sys
import jax, numpy as np
from tiny import CONFIG, rooms_batch, with_clouds
from train3d_jax.training import trainer as training

# Rounding must not decide anything: not which voxel a point is in, nor how flat a perfect plane is.
# Nor the sign of a gradient near 0, which is all that the first steps of AdamW go by.
config = dataclasses.replace(
    with_clouds(CONFIG, voxel_size=0.0, num_points=128), batch_size=8, augmentation=("noise",),
    optimizer="sgd",
)
batch = rooms_batch(range(8))
noise = np.random.default_rng(0).normal(1, 0.01, batch["values"].shape)
batch["values"] = np.float32(batch["values"] * noise)
losses = []
for count in (8, 1):
    mesh = jax.sharding.Mesh(np.array(jax.local_devices()[:count]), ("batch",))
    state = training.place_state(training.initial_state(config, 10), mesh)
    step = training.make_train_step(config, 10, mesh)
    rows = []
    for _ in range(3):
        state, row = step(state, training.place_batch(batch, mesh))
        rows.append(float(row["loss"]))
    assert len(state.step.sharding.device_set) == count
    assert all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(state))
    assert step._cache_size() == 1
    losses.append(rows)
assert training.device_mesh(8).size == 8 and training.device_mesh(20).size == 5
assert training.device_mesh(7).size == 7 and training.device_mesh(11).size == 1
# Sums come in another order: float32 rounding, which fits of curvature magnify a hundred times.
np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)
assert losses[0][0] != losses[0][2]
print("same")
"""


def test_eight_devices_give_the_losses_of_one():
    tests = Path(__file__).parent
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
    paths = os.pathsep.join([str(tests), str(tests.parent)])
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "XLA_FLAGS": flags, "PYTHONPATH": paths},
        capture_output=True, text=True,
    )  # fmt: skip
    assert ended.stdout.split() == ["same"], ended.stderr
