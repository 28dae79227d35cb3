"""From a prepared set to batches: split by scene, shuffle, crop, average over blocks, batch.

All of it is numpy on the host; canonical form, distortion and clouds are made on the device.
"""

import dataclasses
import os
from collections.abc import Iterator, Sequence
from typing import Any

import grain
import numpy as np

from data.prepared import PreparedSet, Sample
from train3d_jax import clouds
from train3d_jax.depth import Space
from train3d_jax.errors import UserError

Batch = dict[str, np.ndarray]
"""pixels (B, P, 2), values (B, P), mask (B, P), size (B, 2), centre (B, 2), focal (B,),
weight (B,), see `to_blocks`."""

UNCROPPED_SHARE = 0.2
SMALLEST_CROP = 0.4
NARROWED_SHARE = 0.5
NARROWEST = 0.6
"""Crops in training: a fifth of the maps stay whole, the others keep a log-uniform 40 to 100 % of
each side, and half of those lose up to 40 % more of one side.  A crop has another field of view: it
is what lets a set from a single camera teach all of them."""


def split_by_scene(
    scenes: Sequence[str] | None, count: int, train_split: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Divides samples into training and validation, whole scenes where they are known.

    Args:
      scenes: the scene of each sample, or None to divide by sample.
      count: number of samples.
      train_split: share of the samples for training, in (0, 1]; met as nearly as scenes allow.
      seed: decides which scenes.

    Returns:
      Indices of both parts, ascending.  With 1 the second is empty; otherwise neither is.

    Raises:
      UserError: a part would be empty.
    """
    keys = np.array(scenes if scenes is not None else [str(i) for i in range(count)])
    names, scene_of = np.unique(keys, return_inverse=True)
    everything = np.arange(count)
    if train_split == 1:
        return everything, everything[:0]
    if len(names) < 2:
        raise UserError(
            f"--train_split={train_split:g}: all {count} samples show the scene {names[0]}, so "
            "none can be kept for validation; prepare more scenes or use --train_split=1"
        )
    order = np.random.default_rng(seed).permutation(len(names))
    sizes = np.bincount(scene_of)[order]
    excess = np.abs(np.cumsum(sizes) - train_split * count)[:-1]
    taken = order[: int(np.argmin(excess)) + 1]
    in_training = np.isin(scene_of, taken)
    return everything[in_training], everything[~in_training]


@dataclasses.dataclass(frozen=True)
class Subset:
    """Some samples of a prepared set, as a source for grain."""

    samples: PreparedSet
    indices: np.ndarray

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[int(self.indices[index])]

    def __repr__(self) -> str:
        return f"Subset({self.samples!r}, {len(self)} samples)"


def training_batches(
    subset: Subset, batch_size: int, space: Space, seed: int, num_workers: int, start: int = 0
) -> grain.IterDataset:
    """An endless dataset of batches, shuffled anew each epoch, every map cropped at random.

    The order and the crops are functions of the seed alone, not of the number of workers.

    Args:
      subset: what to train on.
      batch_size: samples in a batch.
      space: of the values.
      seed: decides order and crops.
      num_workers: processes that read; 0 reads in threads of this process.

    Raises:
      UserError: there are fewer samples than make a batch.
    """
    if len(subset) < batch_size:
        raise UserError(
            f"--batch_size={batch_size}: there are only {len(subset)} samples to train on; "
            "use a smaller batch, a larger --train_split, or prepare more samples"
        )

    def random_blocks(sample: Sample, rng: np.random.Generator) -> dict[str, Any]:
        row = to_blocks(*random_crop(sample.depth, sample.intrinsics, rng), space)
        return {**row, "sample": np.int32(int(sample.id))}

    cores = os.cpu_count() or 1
    dataset = (
        grain.MapDataset.source(subset)
        .seed(seed)
        .shuffle()
        .repeat()
        .random_map(random_blocks)[start:]
        .to_iter_dataset(grain.ReadOptions(num_threads=cores, prefetch_buffer_size=2 * batch_size))
    )
    # More processes than cores only take memory: each of them loads jax.
    workers = min(num_workers, cores)
    if workers:
        dataset = dataset.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers))
    # After the workers, who take samples in turns: each would make batches of its own samples, and
    # what stands together in a batch would depend on how many workers there are.
    return dataset.batch(batch_size, drop_remainder=True)


def validation_batches(subset: Subset, batch_size: int, space: Space) -> Iterator[Batch]:
    """Every sample once, uncropped and in order; the last batch is filled up with weight 0."""
    for start in range(0, len(subset), batch_size):
        indices = range(start, min(start + batch_size, len(subset)))
        rows = [to_blocks(*subset[i][:2], space) for i in indices]
        filler = [{**rows[0], "weight": np.float32(0)}] * (batch_size - len(rows))
        yield stack(rows + filler)


def stack(rows: list[dict[str, Any]]) -> Batch:
    """Stacks the outputs of `to_blocks` along a new leading axis."""
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def to_blocks(depth: np.ndarray, intrinsics: np.ndarray, space: Space) -> dict[str, Any]:
    """One sample for the device.

    Args:
      depth: metres, 0 where missing, shape (H, W).
      intrinsics: pixels, shape (3, 3).
      space: what `values` shall hold.

    Returns:
      The fields of `clouds.blocks_of`, which inference calls too; focal, the mean focal length in
      pixels; weight 1.
    """
    mask = depth > 0
    values = depth if space == "depth" else 1 / np.where(mask, depth, 1)
    return {
        **clouds.blocks_of(values, mask)._asdict(),
        "focal": np.float32((intrinsics[0, 0] + intrinsics[1, 1]) / 2),
        "weight": np.float32(1),
    }


def random_crop(
    depth: np.ndarray, intrinsics: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Cuts a window out of a map, its camera moved along, and mirrors half of the maps.

    The principal point stays at the same place relative to the window.

    Args:
      depth: shape (H, W).
      intrinsics: pixels, shape (3, 3).
      rng: decides window and mirror.

    Returns:
      The window of the depth and its intrinsics.
    """
    height, width = depth.shape
    across = down = 1.0
    if rng.random() >= UNCROPPED_SHARE:
        across = down = float(np.exp(rng.uniform(np.log(SMALLEST_CROP), 0)))
        if rng.random() < NARROWED_SHARE:
            narrower = rng.uniform(NARROWEST, 1)
            across, down = (
                (across * narrower, down) if rng.random() < 0.5 else (across, down * narrower)
            )
    rows, columns = (max(round(n * share), 1) for n, share in ((height, down), (width, across)))
    # + 0.5: from pixel centres at integers to distances from the border.
    top = round((intrinsics[1, 2] + 0.5) * (1 - rows / height))
    left = round((intrinsics[0, 2] + 0.5) * (1 - columns / width))
    top = min(max(top, 0), height - rows)
    left = min(max(left, 0), width - columns)
    depth = depth[top : top + rows, left : left + columns]
    intrinsics = intrinsics - np.array([[0, 0, left], [0, 0, top], [0, 0, 0]])
    return mirror(depth, intrinsics) if rng.random() < 0.5 else (depth, intrinsics)


def mirror(depth: np.ndarray, intrinsics: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Left to right: a plane stays a plane when the principal point is mirrored too."""
    intrinsics = intrinsics.copy()
    intrinsics[0, 2] = depth.shape[1] - 1 - intrinsics[0, 2]
    return depth[:, ::-1], intrinsics


def split_sets(sets, train_split, seed):
    a, b = split_by_scene(sets[0].scenes, len(sets[0]), train_split, seed)
    return [Subset(sets[0], a)], [Subset(sets[0], b)]


def sample_names(subsets, numbers):
    return [f"{subsets[0].samples.path.name}/{subsets[0].samples.ids[n]}" for n in numbers]


_old_training, _old_validation = training_batches, validation_batches


def training_batches(
    subsets, weights, batch_size, space, seed, num_workers, start=0, crop=True, mirror=True
):
    dataset = _old_training(subsets[0], batch_size, space, seed, num_workers, start)
    return dataset


def validation_batches(subsets, batch_size, space):
    return _old_validation(subsets[0], batch_size, space)
