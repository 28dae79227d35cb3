"""Samples of prepared sets: which of them train, which validate, and how they are numbered.

Samples are numbered through: all samples of the first set, then all of the second, and so on.
"""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from data.prepared.prepared_set import PreparedSet, Sample
from train3d_jax.errors import UserError


def split_by_scene(
    scenes: Sequence[str] | None, count: int, train_split: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Divides samples into training and validation, by whole scenes where scenes are known.

    Args:
      scenes: the scene of each sample, or None to divide by sample.
      count: number of samples.
      train_split: share of the samples for training, in (0, 1]; met as closely as scenes allow.
      seed: decides which scenes.

    Returns:
      Indices of both parts, ascending.  With a share of 1 the second is empty; otherwise neither
      is.

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
    """Divides several sets at once; a scene of two sets is in the same part of both.

    Args:
      sets: those with scenes are divided by scene, the others by sample.
      train_split: share of all samples for training, as in `split_by_scene`.
      seed: decides which scenes.

    Returns:
      The training part of each set and the validation part of each, in the order of `sets`; a part
      of one set may be empty.  For a single set, the parts are those of `split_by_scene`.

    Raises:
      UserError: no sample would be left for training, or none for validation.
    """
    paths = [samples.path for samples in sets]
    places = [
        place
        for samples in sets
        for place in samples.scenes
        # A folder that is given twice holds the same samples.
        or [f"{paths.index(samples.path)}/{index}" for index in range(len(samples))]
    ]
    sides = split_by_scene(places, len(places), train_split, seed)
    borders = starts(sets)[1:-1]
    training, validation = (
        [
            Subset(samples, part - start)
            for samples, part, start in zip(
                sets, np.split(side, np.searchsorted(side, borders)), starts(sets), strict=False
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
      subsets: the subsets that the batches were made of.
      numbers: `sample` of a batch: numbers of samples, counted through all sets.
    """
    sets = [subset.samples for subset in subsets]
    located = (locate(sets, int(number)) for number in numbers)
    return [f"{samples.path}/{samples.ids[index]}" for samples, index in located]


def starts(sets: Sequence[PreparedSet]) -> list[int]:
    """The number of the first sample of each set, and the total."""
    return list(itertools.accumulate((len(samples) for samples in sets), initial=0))


def locate(sets: Sequence[PreparedSet], number: int) -> tuple[PreparedSet, int]:
    """The set that holds sample `number`, and the sample's index in it."""
    for samples in sets:
        if number < len(samples):
            return samples, number
        number -= len(samples)
    raise IndexError("the number is larger than all samples together")


def numbers_of(subsets: Sequence[Subset]) -> np.ndarray:
    """The numbers of all samples of all subsets, (N,) int."""
    first = starts([subset.samples for subset in subsets])
    parts = [subset.indices + start for subset, start in zip(subsets, first, strict=False)]
    return np.concatenate([np.zeros(0, np.int64), *parts])
