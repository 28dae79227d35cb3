"""A training configuration that compiles once for all tests that train, and batches for it."""

import dataclasses
from pathlib import Path

from box_rooms import box_room

from data.loading import samples
from data.prepared.prepared_set import Sample
from train3d_jax.geometry.clouds import POINT_SETS, CloudSettings
from train3d_jax.training.config import TrainingConfig

CONFIG = TrainingConfig(
    (0, 2), CloudSettings(num_points=1024, voxel_size=POINT_SETS.voxel_size), encoder="points",
    batch_size=3, epochs=3, width=16, seed=5,
    augmentation=("crop", "mirror"), average_decay=0.9,
)  # fmt: skip
STEPS_PER_EPOCH = 10
TOTAL_STEPS = CONFIG.epochs * STEPS_PER_EPOCH


def with_clouds(config=CONFIG, **changes):
    """`config` with other settings of its clouds."""
    return dataclasses.replace(config, clouds=dataclasses.replace(config.clouds, **changes))


def rooms_batch(seeds=(0, 1, 2), space="depth"):
    """A batch of whole rooms, as the pipeline makes it."""
    return samples.stack([samples.to_blocks(*box_room(seed), space) for seed in seeds])


class Rooms:
    """Rooms in the place of a prepared set."""

    def __init__(self, count, scenes=None, folder="rooms"):
        self.count, self.scenes = count, scenes
        self.path, self.ids = Path(folder), [str(index) for index in range(count)]

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return Sample(*box_room(index), str(index), "")

    def stored(self, index):
        depth, intrinsics = box_room(index)
        return depth, 1.0, intrinsics
