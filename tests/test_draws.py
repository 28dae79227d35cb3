from collections import Counter

import numpy as np
import pytest
from prepared_sets import subset, take

from data.loading import pipeline
from data.loading.draws import Draws
from data.loading.splits import Subset
from train3d_jax.errors import UserError


@pytest.mark.parametrize("weights", [(0.7, 0.3), (1, 99), (3, 1)])
def test_sets_are_mixed_by_their_weights(small_and_large, weights):
    draws = Draws.of(small_and_large, weights, seed=0)
    drawn = np.array([draws[place] for place in range(2000)])
    share = weights[0] / sum(weights)
    # Turns are spread evenly: after any number of draws, within one of the share.
    from_small = np.cumsum(drawn < 4)
    assert np.abs(from_small - share * np.arange(1, 2001)).max() <= 1
    # Each set has epochs of its own: all of it, then all of it again in another order.
    for numbers in (range(1, 4), range(5, 16)):
        own = drawn[np.isin(drawn, numbers)]
        whole = len(own) // len(numbers)
        epochs = own[: whole * len(numbers)].reshape(whole, -1)
        np.testing.assert_array_equal(np.sort(epochs, 1), [list(numbers)] * whole)
        assert whole < 2 or len(np.unique(epochs, axis=0)) > 1


def test_three_sets_are_mixed_by_their_weights():
    subsets = [subset(5), subset(50), subset(500)]
    draws = Draws.of(subsets, (2, 3, 5), seed=0)
    drawn = np.array([draws[place] for place in range(1000)])
    counts = np.histogram(drawn, [0, 5, 55, 555])[0]
    # The first is within one of its share, each after it within one more.
    assert (np.abs(counts - [200, 300, 500]) <= [1, 2, 3]).all()


def test_without_weights_sets_are_drawn_from_as_one(small_and_large):
    draws = Draws.of(small_and_large, None, seed=0)
    epoch = [draws[place] for place in range(14)]
    assert sorted(epoch) == [1, 2, 3, *range(5, 16)]


def test_a_place_far_out_takes_no_longer_than_a_near_one(small_and_large):
    draws = Draws.of(small_and_large, (1, 3), seed=0)
    far = 10**12
    window = Counter(draws[far + place] < 4 for place in range(400))
    assert window[True] == 100 and draws[1 << 52] in range(16)


@pytest.mark.parametrize(
    "weights, message",
    [
        ((1,), r"--mix=1: 1 weights for 2 sets"),
        ((1, 0), r"--mix=1,0: each weight must be a positive number"),
        ((1, -2), r"--mix=1,-2: each weight"),
        ((1, float("nan")), r"--mix=1,nan: each weight"),
    ],
)
def test_weights_that_do_not_fit_are_an_error(small_and_large, weights, message):
    with pytest.raises(UserError, match=message):
        pipeline.training_batches(small_and_large, weights, 3, "depth", 0, 0)


def test_a_set_of_which_nothing_is_left_cannot_be_given_a_weight(small_and_large):
    small, large = small_and_large
    empty = Subset(small.samples, np.arange(0))
    with pytest.raises(UserError, match=r"small: none of its samples is left to train on"):
        pipeline.training_batches([empty, large], (1, 1), 3, "depth", 0, 0)
    (batch,) = take(pipeline.training_batches([empty, large], None, 3, "depth", 0, 0), 1)
    assert (batch["sample"] > 4).all()
    with pytest.raises(UserError, match=r"--batch_size=3: there are only 0 samples"):
        pipeline.training_batches([empty], None, 3, "depth", 0, 0)
