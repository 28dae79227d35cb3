"""From prepared sets to batches: split by scene, shuffle, mix, crop, average over blocks, batch.

All of it is numpy on the host; canonical form, distortion and clouds are made on the device.

What is in a batch is a function of the seed and of the batch's place in the stream, and of nothing
else.  So the place in the data is a number: whoever has taken so many samples goes on from there,
with any number of threads and worker processes.
"""

import dataclasses
import functools
import itertools
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import grain
import numpy as np

from data.prepared.prepared_set import PreparedSet, Sample
from train3d_jax.errors import UserError
from train3d_jax.geometry import clouds
from train3d_jax.geometry.affine import Space

Batch = dict[str, np.ndarray]
"""pixels (B, P, 2), values (B, P), mask (B, P), size (B, 2), centre (B, 2), focal (B,),
weight (B,), see `to_blocks`; sample (B,) int32, see `sample_names`."""

UNCROPPED_SHARE = 0.2
SMALLEST_CROP = 0.4
NARROWED_SHARE = 0.5
NARROWEST = 0.6
"""Crops in training: a fifth of the maps stay whole, the others keep a log-uniform 40 to 100 % of
each side, and half of those lose up to 40 % more of one side.  A crop has another field of view: it
is what lets a set from a single camera teach all of them."""

MOST_THREADS = 16
"""That read, in one process: beyond that they wait for Python's lock, not for storage."""

_ENDLESS = 1 << 40
"""Batches.  Places of samples stay below 2**53, up to where float64 counts exactly."""

_ORDER, _CROP = 0, 1  # what a random generator is for, so that no two have the same seed


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


def split_sets(
    sets: Sequence[PreparedSet], train_split: float, seed: int
) -> tuple[list["Subset"], list["Subset"]]:
    """Divides several sets at once: a scene that is in two of them is on the same side in both.

    Args:
      sets: those with scenes are divided by scene, the others by sample.
      train_split: share of all samples for training, as in `split_by_scene`.
      seed: decides which scenes.

    Returns:
      The training part of each set and the validation part of each, in the order of `sets`; a part
      of one set may be empty.  Of a single set, the parts are those of `split_by_scene`.

    Raises:
      UserError: nothing would be left to train on, or to validate on.
    """
    paths = [samples.path for samples in sets]
    places = [
        place
        for samples in sets
        for place in samples.scenes
        # The same folder, given twice, holds the same samples.
        or [f"{paths.index(samples.path)}/{index}" for index in range(len(samples))]
    ]
    sides = split_by_scene(places, len(places), train_split, seed)
    borders = _starts(sets)[1:-1]
    training, validation = (
        [
            Subset(samples, part - start)
            for samples, part, start in zip(
                sets, np.split(side, np.searchsorted(side, borders)), _starts(sets), strict=False
            )
        ]
        for side in sides
    )
    return training, validation


@dataclasses.dataclass(frozen=True)
class Subset:
    """Some samples of a prepared set, by their indices in it."""

    samples: PreparedSet
    indices: np.ndarray

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[int(self.indices[index])]


def sample_names(subsets: Sequence[Subset], numbers: Sequence[int] | np.ndarray) -> list[str]:
    """The folder and id of samples, such as `prepared/000123`.

    Args:
      subsets: those that the batches were made of.
      numbers: `sample` of a batch: places in all samples of all the subsets' sets, set after set.
    """
    sets = [subset.samples for subset in subsets]
    found = (_locate(sets, int(number)) for number in numbers)
    return [f"{samples.path}/{samples.ids[index]}" for samples, index in found]


class Part(NamedTuple):
    """What one of several processes reads of each batch; all divide it evenly, in their order."""

    number: int
    count: int

    def of(self, places: range) -> range:
        """Its own of all places of a batch."""
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
    """An endless dataset of batches, shuffled anew each epoch, every map cropped at random.

    From `start` on, it gives to the bit what it gives after as many samples from 0, whatever the
    number of workers.

    Args:
      subsets: what to train on.
      weights: how often to draw from each, relative to each other; each of them has epochs of its
        own.  None draws from all samples as if they were one set.
      batch_size: samples in a batch.
      space: of the values.
      seed: decides order and crops.
      num_workers: processes that read; 0 reads in threads of this process.
      start: number of samples that have been taken already.
      crop: cut windows out.
      mirror: mirror half of the maps.
      part: of each batch, to be read by this process.

    Raises:
      UserError: there are fewer samples than make a batch, or `weights` do not fit the subsets.
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
        samples, index = _locate(sets, number)
        depth, units_per_metre, intrinsics = samples.stored(index)
        rng = np.random.default_rng((seed, _CROP, place))
        window = random_crop(depth, intrinsics, rng, crop, mirror)
        return {**to_blocks(*window, space, units_per_metre), "sample": np.int32(number)}

    def batch(number: int) -> Batch:
        first = start + number * batch_size
        return stack([sample(place) for place in part.of(range(first, first + batch_size))])

    return _read_ahead(batch, _ENDLESS, num_workers)


def validation_batches(
    subsets: Sequence[Subset], batch_size: int, space: Space, part: Part = WHOLE
) -> Iterator[Batch]:
    """Every sample once, uncropped and in order; the last batch is filled up with weight 0.

    Of each batch the part of this process.  Raises DataError on a file that is missing or damaged.
    """
    sets = [subset.samples for subset in subsets]
    numbers = _numbers(subsets)

    def sample(number: int) -> dict[str, Any]:
        samples, index = _locate(sets, number)
        depth, units_per_metre, intrinsics = samples.stored(index)
        blocks = to_blocks(depth, intrinsics, space, units_per_metre)
        return {**blocks, "sample": np.int32(number)}

    def batch(number: int) -> Batch:
        places = part.of(range(number * batch_size, (number + 1) * batch_size))
        rows = [sample(int(numbers[place])) for place in places if place < len(numbers)]
        filler = {**(rows[0] if rows else sample(int(numbers[0]))), "weight": np.float32(0)}
        return stack(rows + [filler] * (len(places) - len(rows)))

    yield from _read_ahead(batch, math.ceil(len(numbers) / batch_size), num_workers=0)


def _read_ahead(batch: Callable[[int], Batch], count: int, num_workers: int) -> grain.IterDataset:
    """Batches by their number, each made by one thread; they come in order."""

    def made(number: int) -> Batch:
        _keep_freed_memory()  # here, for here is where worker processes come by
        return batch(number)

    cores = os.cpu_count() or 1
    # More processes than cores only take memory: each of them loads jax.
    workers = min(num_workers, cores)
    threads = min(math.ceil(cores / max(workers, 1)), MOST_THREADS)
    dataset = (
        grain.MapDataset.range(count)
        .map(made)
        .to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads))
    )
    if workers:
        dataset = dataset.mp_prefetch(
            grain.MultiprocessingOptions(num_workers=workers), _serve_the_parent
        )
    return dataset


def _serve_the_parent(*_: int) -> None:
    """In a worker process: stays as long as the parent does, and no longer."""
    # Ctrl-C and a scheduler's SIGTERM go to all processes of a job; the parent needs its workers
    # until it has taken its last batch and saved.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    parent = os.getppid()

    def watch() -> None:
        # A parent that was killed tells nobody, and grain's workers would wait for ever.
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@functools.cache
def _keep_freed_memory() -> None:
    """Has the C library keep the memory of one map for the next one.

    It gives back to the system what is larger than what has been freed before, and a page that
    comes anew with each map costs as much as its decoding: a fifth of all that the loader does.
    Freeing a large block once, up to 32 MB in glibc, is what raises the limit; elsewhere it does
    nothing.
    """
    np.empty(31 << 20, np.uint8)


@dataclasses.dataclass(frozen=True)
class Draws:
    """An endless sequence of numbers of samples; `[place]` is found without those before it.

    decks: the samples that are shuffled together, each time that all of them have been drawn.
    shares: how often the first deck is drawn from, how often the second when it is not the first's
    turn, and so on; the last is 1.
    """

    decks: tuple[np.ndarray, ...]
    shares: tuple[float, ...]
    seed: int

    @classmethod
    def of(cls, subsets: Sequence[Subset], weights: Sequence[float] | None, seed: int) -> "Draws":
        """The draws of `training_batches`.  Raises UserError on weights that do not fit."""
        if weights is None:
            return cls((_numbers(subsets),), (1.0,), seed)
        given = ",".join(f"{weight:g}" for weight in weights)
        if len(weights) != len(subsets):
            raise UserError(
                f"--mix={given}: {len(weights)} weights for {len(subsets)} sets; give one for each"
            )
        if not all(math.isfinite(weight) and weight > 0 for weight in weights):
            raise UserError(f"--mix={given}: each weight must be a positive number")
        for subset in subsets:
            if not len(subset):
                raise UserError(
                    f"{subset.samples.path}: none of its samples is left to train on; use a larger "
                    "--train_split, or leave this set out"
                )
        starts = _starts([subset.samples for subset in subsets])
        decks = tuple(
            subset.indices + start for subset, start in zip(subsets, starts, strict=False)
        )
        left = np.cumsum(weights[::-1])[::-1]
        return cls(decks, tuple((np.asarray(weights) / left).tolist()), seed)

    def __getitem__(self, place: int) -> int:
        for which, (deck, share) in enumerate(zip(self.decks, self.shares, strict=True)):
            # Evenly spread: after any number of draws, a deck is within one of its share.
            turn = math.floor(place * share)
            if math.floor((place + 1) * share) > turn:
                epoch, position = divmod(turn, len(deck))
                return int(deck[_order(self.seed, which, epoch, len(deck))[position]])
            place -= turn
        raise AssertionError("the last share is 1")


# Two epochs of some sets: with threads, the next one begins before the last one is over.
@functools.lru_cache(maxsize=16)
def _order(seed: int, which: int, epoch: int, count: int) -> np.ndarray:
    # Not grain's shuffle: on small sets it takes up to 7 ms a sample.
    return np.random.default_rng((seed, _ORDER, which, epoch)).permutation(count)


def _starts(sets: Sequence[PreparedSet]) -> list[int]:
    """Where the samples of each set begin when all are counted through, and where they end."""
    return list(itertools.accumulate((len(samples) for samples in sets), initial=0))


def _locate(sets: Sequence[PreparedSet], number: int) -> tuple[PreparedSet, int]:
    """The set and the index in it of a sample, all samples of all sets being counted through."""
    for samples in sets:
        if number < len(samples):
            return samples, number
        number -= len(samples)
    raise IndexError("there are not so many samples")


def _numbers(subsets: Sequence[Subset]) -> np.ndarray:
    """The samples of all subsets, all samples of all their sets being counted through."""
    starts = _starts([subset.samples for subset in subsets])
    parts = [subset.indices + start for subset, start in zip(subsets, starts, strict=False)]
    return np.concatenate([np.zeros(0, np.int64), *parts])


def stack(rows: list[dict[str, Any]]) -> Batch:
    """Stacks the outputs of `to_blocks` along a new leading axis."""
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def to_blocks(
    depth: np.ndarray, intrinsics: np.ndarray, space: Space, units_per_metre: float = 1.0
) -> dict[str, Any]:
    """One sample for the device.

    Args:
      depth: 0 where missing, shape (H, W), floats or unsigned integers.
      intrinsics: pixels, shape (3, 3).
      space: what `values` shall hold, in metres or 1 / metres.
      units_per_metre: of `depth`.

    Returns:
      The fields of `clouds.blocks_of` but for `valid_share`; focal, the mean focal length in
      pixels; weight 1.
    """
    if space == "depth":
        blocks = clouds.blocks_of(depth, depth > 0)  # integers add up faster than metres
        blocks = blocks._replace(values=np.divide(blocks.values, units_per_metre, dtype=np.float32))
    else:
        with np.errstate(divide="ignore"):
            blocks = clouds.blocks_of(np.float32(units_per_metre) / depth, depth > 0)
    fields = blocks._asdict()
    del fields["valid_share"]
    return {
        **fields,
        "focal": np.float32((intrinsics[0, 0] + intrinsics[1, 1]) / 2),
        "weight": np.float32(1),
    }


def random_crop(
    depth: np.ndarray,
    intrinsics: np.ndarray,
    rng: np.random.Generator,
    crop: bool = True,
    mirror: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Cuts a window out of a map, its camera moved along, and mirrors half of the maps.

    The principal point stays at the same place relative to the window.

    Args:
      depth: shape (H, W).
      intrinsics: pixels, shape (3, 3).
      rng: decides window and mirror; without the one, the other comes out the same.
      crop: cut a window out.
      mirror: mirror half of the maps.

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
    is_mirrored = rng.random() < 0.5
    if crop:
        rows, columns = (max(round(n * share), 1) for n, share in ((height, down), (width, across)))
        # + 0.5: from pixel centres at integers to distances from the border.
        top = round((intrinsics[1, 2] + 0.5) * (1 - rows / height))
        left = round((intrinsics[0, 2] + 0.5) * (1 - columns / width))
        top = min(max(top, 0), height - rows)
        left = min(max(left, 0), width - columns)
        depth = depth[top : top + rows, left : left + columns]
        intrinsics = intrinsics - np.array([[0, 0, left], [0, 0, top], [0, 0, 0]])
    return mirrored(depth, intrinsics) if mirror and is_mirrored else (depth, intrinsics)


def mirrored(depth: np.ndarray, intrinsics: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Left to right: a plane stays a plane when the principal point is mirrored too."""
    intrinsics = intrinsics.copy()
    intrinsics[0, 2] = depth.shape[1] - 1 - intrinsics[0, 2]
    return depth[:, ::-1], intrinsics
