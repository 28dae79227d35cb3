"""From prepared sets to batches: training's endless stream, and validation's single pass.

All of it is numpy on the host; canonical form, distortion and clouds are made on the device.

A batch is a function of the seed and of its place in the stream, and of nothing else.  So the state
of the pipeline is one number: a run that has taken n samples resumes at sample n, with any number
of threads and worker processes.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import grain
import numpy as np

from data.loading.crops import random_crop
from data.loading.draws import CROP, Draws
from data.loading.read_ahead import read_ahead
from data.loading.samples import Batch, stack, to_blocks
from data.loading.splits import Subset, locate, numbers_of
from train3d_jax.errors import UserError
from train3d_jax.geometry.affine import Space

_ENDLESS = 1 << 40
"""Batches of the endless stream.  Chosen so that places of samples, batch size times this, stay
below 2**53, where float64 still counts exactly (`Draws` multiplies places with shares)."""


class Part(NamedTuple):
    """The part of each batch that one of several processes reads; the processes share it evenly."""

    number: int
    count: int

    def of(self, places: range) -> range:
        """The places of a batch that this process reads."""
        size = len(places) // self.count
        return places[self.number * size : (self.number + 1) * size]


WHOLE = Part(0, 1)


def training_batches(
    subsets: Sequence[Subset],
    weights: Sequence[float] | None,
    batch_size: int,
    space: Space,
    seed: int,
    num_workers: int,
    start: int = 0,
    crop: bool = True,
    mirror: bool = True,
    part: Part = WHOLE,
) -> grain.IterDataset:
    """An endless dataset of batches, reshuffled each epoch, every map cropped at random.

    The batches from `start` on are bit-identical to those that follow `start` samples of a stream
    from 0, for any number of workers.

    Args:
      subsets: the samples to train on.
      weights: relative rates of drawing from each subset, each of which has its own epochs.  None
        draws from all samples as from one set.
      batch_size: samples in a batch.
      space: of the values.
      seed: decides order and crops.
      num_workers: processes that read; 0 reads in threads of this process.
      start: number of samples already taken.
      crop: cut windows out.
      mirror: mirror half of the maps.
      part: of each batch, to be read by this process.

    Raises:
      UserError: there are fewer samples than fill a batch, or `weights` do not fit the subsets.
        While iterating, DataError: a file of a sample is missing or damaged.
    """
    available = sum(len(subset) for subset in subsets)
    if available < batch_size:
        raise UserError(
            f"--batch_size={batch_size}: there are only {available} samples to train on; "
            "use a smaller batch, a larger --train_split, or prepare more samples"
        )
    sets = [subset.samples for subset in subsets]
    draws = Draws.of(subsets, weights, seed)

    def sample(place: int) -> dict[str, Any]:
        number = draws[place]
        samples, index = locate(sets, number)
        depth, units_per_metre, intrinsics = samples.stored(index)
        rng = np.random.default_rng((seed, CROP, place))
        window = random_crop(depth, intrinsics, rng, crop, mirror)
        return {**to_blocks(*window, space, units_per_metre), "sample": np.int32(number)}

    def batch(number: int) -> Batch:
        first = start + number * batch_size
        return stack([sample(place) for place in part.of(range(first, first + batch_size))])

    return read_ahead(batch, _ENDLESS, num_workers)


def validation_batches(
    subsets: Sequence[Subset], batch_size: int, space: Space, part: Part = WHOLE
) -> Iterator[Batch]:
    """Every sample once, uncropped, in order; the last batch is filled up with weight 0.

    Yields this process's part of each batch.  Raises DataError on a missing or damaged file.
    """
    sets = [subset.samples for subset in subsets]
    numbers = numbers_of(subsets)

    def sample(number: int) -> dict[str, Any]:
        samples, index = locate(sets, number)
        depth, units_per_metre, intrinsics = samples.stored(index)
        blocks = to_blocks(depth, intrinsics, space, units_per_metre)
        return {**blocks, "sample": np.int32(number)}

    def batch(number: int) -> Batch:
        places = part.of(range(number * batch_size, (number + 1) * batch_size))
        rows = [sample(int(numbers[place])) for place in places if place < len(numbers)]
        filler = {**(rows[0] if rows else sample(int(numbers[0]))), "weight": np.float32(0)}
        return stack(rows + [filler] * (len(places) - len(rows)))

    yield from read_ahead(batch, math.ceil(len(numbers) / batch_size), num_workers=0)
