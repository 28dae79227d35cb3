import numpy as np
import pytest
from prepared_sets import make_set
from tiny import Rooms

from data.loading.splits import split_by_scene, split_sets
from data.prepared import layout
from data.prepared.prepared_set import PreparedSet
from train3d_jax.errors import UserError

SCENES = [f"scene{i % 7}" for i in range(40)]


# The split.


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("train_split", [0.01, 0.5, 0.9, 0.999])
def test_no_scene_is_on_both_sides_of_the_split(train_split, seed):
    training, validation = split_by_scene(SCENES, len(SCENES), train_split, seed)
    assert len(training) and len(validation)
    assert sorted([*training, *validation]) == list(range(len(SCENES)))
    assert not {SCENES[i] for i in training} & {SCENES[i] for i in validation}
    assert (np.diff(training) > 0).all() and (np.diff(validation) > 0).all()


def test_the_split_is_met_as_nearly_as_scenes_allow():
    # Scenes have 5 or 6 samples: the border between two is at most 3 from where it should be.
    for seed in range(10):
        training, _ = split_by_scene(SCENES, len(SCENES), 0.5, seed)
        assert abs(len(training) - 20) <= 3


def test_the_split_is_a_function_of_the_seed():
    first, again, other = (split_by_scene(SCENES, len(SCENES), 0.5, seed)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert list(first) != list(other)


def test_without_scenes_samples_are_split():
    training, validation = split_by_scene(None, 10, 0.9, 0)
    assert (len(training), len(validation)) == (9, 1)


def test_a_split_of_one_trains_on_everything():
    training, validation = split_by_scene(SCENES, len(SCENES), 1, 0)
    assert list(training) == list(range(len(SCENES))) and len(validation) == 0


@pytest.mark.parametrize("seed", range(5))
def test_a_scene_that_is_in_two_sets_is_on_one_side_only(tmp_path, seed):
    # The second set shows the scenes 0 to 7 too, and 8 more; the towns are each walked and flown.
    towns = "town{:d}-walking", "town{:d}-flying"
    sets = [
        PreparedSet(make_set(tmp_path / "a", 8)),
        PreparedSet(make_set(tmp_path / "b", 16, layout.ARRAY_RECORD, scene="scene{:04d}_01")),
        *(
            PreparedSet(make_set(tmp_path / town[:7] / town[-6:], 6, "npz", "kenburns", town))
            for town in towns
        ),
        # Three views of each of two buildings.
        PreparedSet(make_set(tmp_path / "c", 2, "npz", "taskonomy", "building{:d}")),
        PreparedSet(make_set(tmp_path / "d", 2, "npz", "taskonomy", "building{:d}")),
    ]
    training, validation = split_sets(sets, 0.6, seed)
    sides = []
    for parts in (training, validation):
        assert [part.samples for part in parts] == sets
        sides.append({part.samples.scenes[i] for part in parts for i in part.indices})
    assert not sides[0] & sides[1] and len(sides[0] | sides[1]) == 16 + 6 + 2
    for one, other, whole in zip(training, validation, sets, strict=True):
        assert sorted([*one.indices, *other.indices]) == list(range(len(whole)))
    # No scene has more than two samples, so the border is at most one from where it should be.
    assert abs(sum(map(len, training)) - 0.6 * 40) <= 1


def test_of_one_set_the_split_is_that_by_its_scenes():
    for scenes in (SCENES, None):
        samples = Rooms(40, scenes)
        (training,), (validation,) = split_sets([samples], 0.7, 3)
        expected = split_by_scene(scenes, 40, 0.7, 3)
        np.testing.assert_array_equal(training.indices, expected[0])
        np.testing.assert_array_equal(validation.indices, expected[1])


def test_sets_without_scenes_are_split_by_sample_and_the_same_folder_in_the_same_way():
    sets = [Rooms(10, folder="a"), Rooms(6, folder="b"), Rooms(10, folder="a")]
    training, _ = split_sets(sets, 0.5, 0)
    assert 11 <= sum(map(len, training)) <= 15  # a pair has two samples
    np.testing.assert_array_equal(training[0].indices, training[2].indices)
    everything, nothing = split_sets(sets, 1, 0)
    assert [len(part) for part in everything] == [10, 6, 10]
    assert [len(part) for part in nothing] == [0, 0, 0]


def test_a_single_scene_cannot_be_split():
    with pytest.raises(UserError, match=r"--train_split=0.9: all 3 samples show the scene a"):
        split_by_scene(["a"] * 3, 3, 0.9, 0)
    assert len(split_by_scene(["a"] * 3, 3, 1, 0)[0]) == 3
