import numpy as np
import pytest

from train3d_jax.evaluation import bootstrap


def test_a_spread_is_what_its_names_say():
    values = np.arange(11.0)
    found = bootstrap.spread(values, bootstrap.Resamples([*"abcdefghijk"], seed=0))
    assert (found.mean, found.median, found.p90) == (5, 5, 9)
    # The deviation of the mean of 11 draws is sqrt(10 / 11); 1.96 of them on each side.
    np.testing.assert_allclose(found.mean_interval, (5 - 1.87, 5 + 1.87), atol=0.25)
    assert found.median_interval[0] < 5 < found.median_interval[1]


def test_scenes_are_drawn_with_all_of_their_views():
    values = np.repeat([0.0, 1.0], 100)
    by_scene = bootstrap.Resamples(["a"] * 100 + ["b"] * 100, seed=0)
    by_view = bootstrap.Resamples([str(number) for number in range(200)], seed=0)
    # Of two scenes a quarter of the draws take one twice, and another quarter the other.
    assert bootstrap.spread(values, by_scene).mean_interval == (0, 1)
    low, high = bootstrap.spread(values, by_view).mean_interval
    assert 0.4 < low < high < 0.6
    assert bootstrap.spread(values, bootstrap.Resamples(["a"] * 200, 0)).mean_interval is None


def test_means_and_medians_of_resamples_are_those_of_the_views_drawn():
    rng = np.random.default_rng(0)
    scenes = [f"s{number}" for number in rng.integers(0, 6, 40)]
    values = rng.normal(size=40).round(1)  # some are equal
    resamples = bootstrap.Resamples(scenes, seed=1, count=120)
    names = np.unique(scenes)
    for draw in (0, 51, 119):
        drawn = np.concatenate(
            [
                np.tile(values[np.array(scenes) == name], times)
                for name, times in zip(names, resamples._taken[draw], strict=True)
            ]
        )
        assert resamples.means(values)[draw] == pytest.approx(drawn.mean())
        assert resamples.medians(values)[draw] == pytest.approx(np.median(drawn))


def test_shares_leave_out_what_is_not_told():
    assert bootstrap.share_of(np.array([1, 0, np.nan, 1])) == pytest.approx(2 / 3)
    assert bootstrap.share_of(np.array([np.nan])) is None
