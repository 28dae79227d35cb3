"""In which order training draws its samples: epochs, shuffled, mixed by weights."""

import dataclasses
import functools
import math
from collections.abc import Sequence

import numpy as np

from data.loading.splits import Subset, numbers_of, starts
from train3d_jax.errors import UserError

ORDER, CROP = 0, 1
"""What a random generator is for; part of its seed, so that no two generators share one."""


@dataclasses.dataclass(frozen=True)
class Draws:
    """An endless sequence of sample numbers with random access: `[place]`, without those before it.

    Attributes:
      decks: groups of sample numbers; each group is reshuffled when all of it has been drawn.
      shares: probability of drawing from each deck, given that no earlier deck was drawn from; the
        last is 1.
      seed: decides the orders.
    """

    decks: tuple[np.ndarray, ...]
    shares: tuple[float, ...]
    seed: int

    @classmethod
    def of(cls, subsets: Sequence[Subset], weights: Sequence[float] | None, seed: int) -> "Draws":
        """The draws of `training_batches`.  Raises UserError on weights that do not fit."""
        if weights is None:
            return cls((numbers_of(subsets),), (1.0,), seed)
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
        first = starts([subset.samples for subset in subsets])
        decks = tuple(subset.indices + start for subset, start in zip(subsets, first, strict=False))
        left = np.cumsum(weights[::-1])[::-1]
        return cls(decks, tuple((np.asarray(weights) / left).tolist()), seed)

    def __getitem__(self, place: int) -> int:
        for which, (deck, share) in enumerate(zip(self.decks, self.shares, strict=True)):
            # Spread evenly: after any number of draws, a deck is within one draw of its share.
            turn = math.floor(place * share)
            if math.floor((place + 1) * share) > turn:
                epoch, position = divmod(turn, len(deck))
                return int(deck[_order(self.seed, which, epoch, len(deck))[position]])
            place -= turn
        raise AssertionError("the last share is 1")


# Two epochs of up to eight sets: with threads, an epoch begins before the one before has ended.
@functools.lru_cache(maxsize=16)
def _order(seed: int, which: int, epoch: int, count: int) -> np.ndarray:
    # Not grain's shuffle: on small sets it takes up to 7 ms a sample (measured).
    return np.random.default_rng((seed, ORDER, which, epoch)).permutation(count)
