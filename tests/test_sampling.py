import itertools
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.prepare.sampling import Replacements, allocate, allocate_scenes, choose
from data.protocol import Scene, SingleViews

SIZES = st.lists(st.integers(0, 40), min_size=1, max_size=12)
VIEWS = st.lists(st.integers(1, 4), max_size=12)  # of each place of a scene
SEEDS = st.integers(0, 1 << 32)


def scene(views_of_places, name="scene"):
    places = [
        tuple(f"{place}-{view}" for view in range(views))
        for place, views in enumerate(views_of_places)
    ]
    return Scene(name, Path(name), places)


def recording(frames, name="scene"):
    return Scene(name, Path(name), SingleViews(range(frames)))


@given(SIZES, st.floats(0, 1), SEEDS)
def test_exactly_the_total_is_shared_out_as_evenly_as_sizes_allow(sizes, share, seed):
    total = round(share * sum(sizes))
    shares = allocate(sizes, total, seed)
    assert sum(shares) == total
    assert all(0 <= share <= size for share, size in zip(shares, sizes, strict=True))
    for share, size in zip(shares, sizes, strict=True):
        # Who gives two less than another does so only because there is no more.
        assert share == size or share >= max(shares) - 1
    assert shares == allocate(sizes, total, seed)


def test_the_remainder_goes_to_scenes_that_the_seed_decides():
    shares = {tuple(allocate([5] * 6, 8, seed)) for seed in range(20)}
    assert len(shares) > 5 and all(sorted(each) == [1, 1, 1, 1, 2, 2] for each in shares)
    # These never change: a set that was begun with one version is finished with another.
    assert allocate([5] * 6, 8, seed=0) == [2, 1, 1, 1, 1, 2]


@pytest.mark.parametrize("total", [-1, 11])
def test_more_than_there_is_cannot_be_shared_out(total):
    with pytest.raises(ValueError, match="cannot take"):
        allocate([4, 6], total, seed=0)
    with pytest.raises(ValueError, match="cannot take"):
        allocate_scenes([recording(4), recording(6)], total, seed=0)
    with pytest.raises(ValueError, match="cannot take"):
        choose(recording(10), total, seed=0)


@given(st.integers(1, 300), st.floats(0, 1), SEEDS)
def test_frames_are_spread_over_the_whole_recording(frames, share, seed):
    count = round(share * frames)
    chosen = choose(recording(frames), count, seed)
    assert len(chosen) == count and chosen == sorted(set(chosen))
    if count:
        ends = [-1, *chosen, frames]
        gaps = [after - before for before, after in itertools.pairwise(ends)]
        assert max(gaps[1:-1], default=0) <= -(-frames // count)
        assert gaps[0] + gaps[-1] <= -(-frames // count) + 1
    assert chosen == choose(recording(frames), count, seed)


def test_other_seeds_and_scenes_choose_other_frames():
    assert len({tuple(choose(recording(1000), 5, seed)) for seed in range(20)}) > 15
    named = {tuple(choose(recording(1000, f"scene{n}"), 5, seed=0)) for n in range(20)}
    assert len(named) > 15


@given(VIEWS, st.floats(0, 1), SEEDS)
def test_no_second_view_before_every_place_has_given_one(views, share, seed):
    count = round(share * sum(views))
    chosen = choose(scene(views), count, seed)
    assert len(set(chosen)) == len(chosen) == count
    taken = [sum(frame.startswith(f"{place}-") for frame in chosen) for place in range(len(views))]
    for place, of_place in enumerate(taken):
        assert of_place == views[place] or of_place >= max(taken) - 1


@given(st.lists(VIEWS, min_size=1, max_size=6), st.floats(0, 1), SEEDS)
def test_no_second_view_before_every_place_of_every_scene_has_given_one(all_views, share, seed):
    scenes = [scene(views, f"scene{number}") for number, views in enumerate(all_views)]
    total = round(share * sum(map(sum, all_views)))
    counts = allocate_scenes(scenes, total, seed)
    assert sum(counts) == total
    places = [len(views) for views in all_views]
    if total <= sum(places):
        assert counts == allocate(places, total, seed)
    else:
        assert all(count >= place for count, place in zip(counts, places, strict=True))
    for each, count in zip(scenes, counts, strict=True):
        assert len(choose(each, count, seed)) == count


def test_which_view_comes_first_is_drawn():
    chosen = choose(scene([4] * 200), 200, seed=0)
    views = [frame.split("-")[1] for frame in chosen]
    assert all(30 < views.count(view) < 70 for view in "0123")


def test_scannet_whole_takes_little_time():
    scenes = [recording(1650, f"scene{number:04d}_00") for number in range(1513)]
    start = time.process_time()
    counts = allocate_scenes(scenes, 200_000, seed=0)
    for each, count in zip(scenes, counts, strict=True):
        choose(each, count, seed=0)
    assert set(counts) == {132, 133}
    assert time.process_time() - start < 5  # seconds; takes 0.2


def test_a_helping_scene_gives_no_second_view_while_another_has_an_unused_place():
    alone, one_place, two_places = scene([1], "a"), scene([4], "b"), scene([4, 4], "c")
    scenes, counts = [alone, one_place, two_places], [1, 1, 1]
    replacements = Replacements(scenes, counts, seed=0)
    (only,) = choose(alone, 1, 0)
    # Scene b is asked before c, but has only other views of the place that it gave.
    giver, frame = replacements.replace(0, 0, only)
    assert giver == 2
    assert frame not in choose(two_places, 1, 0)
    # Now every place has given one, and second views are taken in turns.
    givers = [replacements.replace(0, giver, frame)[0]]
    while (found := replacements.replace(0, 0, only)) is not None:
        givers.append(found[0])
    assert sorted(givers) == [1] * 3 + [2] * 6
