"""One camera from many maps, one offset for a clip, and shifts that follow each other."""

import itertools
import math

import numpy as np
import pytest
from clip_evidence import SIGMAS, bump, evidence, log_width

from train3d_jax.evidence import fusion
from train3d_jax.evidence.targets import bin_centres, focal_bins, ratio_bins
from train3d_jax.geometry import affine
from train3d_jax.geometry.camera import initial_focal
from train3d_jax.inference import clips
from train3d_jax.inference.recovery import Evidence

SIZE = (96, 128)


def about(focal_px, sigma):
    """Rows of `Evidence.focal` about focal lengths."""
    return bump(focal_bins(), np.log(np.asarray(focal_px) / initial_focal(SIZE[0])), sigma)


# The camera.


def test_maps_of_one_camera_find_what_none_of_them_sees_alone():
    errors = np.random.default_rng(0).normal(0, 0.15, 30)
    maps = [evidence(1, about(100 * np.exp([error]), 0.15)) for error in errors]
    camera = clips.shared_camera(maps, SIZE)
    alone = [clips.shared_camera([one], SIZE) for one in maps]
    assert camera.used == 30 and camera.focal == pytest.approx(100, rel=0.06)
    assert camera.interval[0] < 100 < camera.interval[1]
    assert log_width(camera.interval) < 0.8 * min(log_width(one.interval) for one in alone)
    assert abs(math.log(camera.focal / 100)) < np.mean(
        [abs(math.log(o.focal / 100)) for o in alone]
    )


def test_more_maps_do_not_undo_the_error_that_all_share():
    common = SIGMAS * clips.COMMON_FOCAL
    widths = [
        log_width(clips.shared_camera([evidence(n, about([100.0] * n, 0.1))], SIZE).interval)
        for n in (1, 10, 100, 1000)
    ]
    assert widths[0] > widths[1] > 1.3 * common  # correlated maps count as 1 / CORRELATION
    assert widths[3] == pytest.approx(widths[2], rel=0.01)
    sharp = clips.shared_camera([evidence(50, about([100.0] * 50, 1e-3))], SIZE)
    assert log_width(sharp.interval) == pytest.approx(common, rel=0.1)


def test_neither_order_nor_batches_nor_maps_that_say_nothing_matter():
    rng = np.random.default_rng(1)
    rows = about(rng.uniform(80, 120, 12), 0.2)
    whole = clips.shared_camera([evidence(12, rows)], SIZE)
    parts = [evidence(len(some), some) for some in np.split(rng.permutation(rows), [1, 3, 8])]
    parts.insert(1, evidence(2, solvable=False))
    found = clips.shared_camera(iter(parts), SIZE)
    assert found.used == whole.used == 12
    np.testing.assert_allclose((found.focal, *found.interval), (whole.focal, *whole.interval))
    assert clips.shared_camera([evidence(3, solvable=False)], SIZE) is None
    assert clips.shared_camera([], SIZE) is None


def test_a_hint_counts_once_however_many_maps_there_are():
    few, many = (
        clips.shared_camera([evidence(count)] * 3, SIZE, (110.0, 0.03)) for count in (1, 30)
    )
    np.testing.assert_allclose(few[:1] + few[1], many[:1] + many[1])
    assert log_width(few.interval) == pytest.approx(SIGMAS * 0.03, rel=0.05)
    assert few.focal == pytest.approx(110, rel=0.01)
    maps = [evidence(20, about([100.0] * 20, 0.1))]
    both = clips.shared_camera(maps, SIZE, (110.0, 0.03)).focal
    assert clips.shared_camera(maps, SIZE).focal + 2 < both < 109.5


def test_of_maps_and_a_hint_that_exclude_each_other_the_wider_is_taken():
    maps = [evidence(20, about([100.0] * 20, 0.1))]
    alone = clips.shared_camera(maps, SIZE)
    narrow = clips.shared_camera(maps, SIZE, (200.0, 0.01))
    assert narrow.hint_disagrees and narrow.hint_dropped
    assert narrow[:2] == alone[:2]
    wide = clips.shared_camera(maps, SIZE, (250.0, 0.2))
    assert wide.hint_disagrees and not wide.hint_dropped
    assert wide.focal > 180
    assert not clips.shared_camera(maps, SIZE, (110.0, 0.03)).hint_disagrees


def test_a_camera_is_known_to_the_evidence_with_its_width():
    known = clips.Camera(100.0, (100 * math.exp(-0.1), 100 * math.exp(0.1))).known()
    assert known.focal == 100 and known.focal_sigma == pytest.approx(0.2 / SIGMAS, rel=1e-3)
    assert clips.Camera(100.0, (100.0, 100.0)).known().focal_sigma == 0


def test_an_even_share_is_chosen_of_many_maps():
    assert clips.spread(5, 100) == [0, 1, 2, 3, 4]
    assert clips.spread(1001, 5) == [0, 250, 500, 750, 1000]
    assert clips.spread(1, 100) == [0]


# One offset for a clip.

OFFSET = 0.7
NEAR, FAR = np.array([1.0, 1.4, 2.0, 1.1]), np.array([3.0, 2.2, 5.0, 1.9])
"""True values of frames that look at different parts of a room."""


def frames(scale=1.0, offset=OFFSET, error=0.0, sigma=0.02, **other):
    """Evidence of frames whose values are to be multiplied with `scale` after adding `offset`."""
    rows = bump(ratio_bins(), NEAR / FAR + error, sigma)
    return evidence(
        len(NEAR), None, rows, near=NEAR / scale - offset, far=FAR / scale - offset, **other
    )


def test_frames_of_different_ranges_find_the_offset_that_they_share():
    low, middle, high = clips.shared_offset([frames()]).interval
    assert low < OFFSET < high
    assert middle == pytest.approx(OFFSET, abs=0.05)
    # The ratio of the widest frame alone is known to +-.02 of the clip's, as the error is common.
    errors = np.array([0.05, -0.05, 0.04, -0.04])
    low, middle, high = clips.shared_offset([frames(error=errors, sigma=0.05)]).interval
    assert low < OFFSET < high and middle == pytest.approx(OFFSET, abs=0.2)


def test_the_offset_moves_as_the_values_of_the_clip_do():
    whole = clips.shared_offset([frames()])
    for scale, more in ((10.0, 3.0), (1e-3, -500.0)):
        offset = OFFSET / scale + more
        moved = clips.shared_offset([frames(scale, offset)])
        expected = np.array(whole.interval) / scale + more
        np.testing.assert_allclose(moved.interval, expected, rtol=1e-6, atol=1e-6 / scale)
        assert moved.scale == pytest.approx(whole.scale * scale)


def test_the_offset_depends_on_no_order_and_on_no_frame_that_says_nothing():
    whole = clips.shared_offset([frames()])
    rows = [Evidence(*(values[n : n + 1] for values in frames())) for n in (2, 0, 3, 1)]
    nothing = evidence(2, near=-1e6, far=1e6, solvable=False)
    found = clips.shared_offset(iter([nothing, *rows]))
    np.testing.assert_allclose(found.interval, whole.interval)
    assert found.scale == whole.scale
    assert clips.shared_offset([nothing]) is None and clips.shared_offset([]) is None


def test_a_shift_that_is_nearly_right_draws_the_offset_to_0_once():
    blurred = [frames(sigma=0.1)]
    free, soft, firm = (clips.shared_offset(blurred, sigma) for sigma in (0.0, 0.1, 0.01))
    assert free.interval[1] > soft.interval[1] > firm.interval[1] > -0.01
    assert firm.interval[1] < 0.1
    nothing = frames(sigma=1e6)
    once, often = (clips.shared_offset([nothing] * n, 0.05).interval for n in (1, 20))
    np.testing.assert_allclose(once, often, atol=1e-6)


def test_the_scale_of_a_clip_is_in_metres_where_networks_give_it():
    metres = np.array([2.0, 4.0, 3.0, 8.0])
    plain = frames()
    found = clips.shared_offset([frames(unit=metres / plain.scale)])
    assert found.scale == pytest.approx(3.5)


# Shifts that follow each other.


def posterior_of_every_path(likelihoods, bins):
    """The marginal of each frame, from the probability of every sequence of ratios."""
    distance = bins[:, None] - bins
    step = np.exp(-0.5 * (distance / clips.DRIFT) ** 2)
    step = (1 - clips.CUT) * step / step.sum(0) + clips.CUT / len(bins)  # to row, from column
    count = len(likelihoods)
    joint = np.ones([len(bins)] * count)
    for path in itertools.product(range(len(bins)), repeat=count):
        for frame, place in enumerate(path):
            joint[path] *= likelihoods[frame][place]
            if frame:
                joint[path] *= step[place, path[frame - 1]]
    axes = range(count)
    marginals = [joint.sum(tuple(axis for axis in axes if axis != frame)) for frame in axes]
    return [marginal / marginal.sum() for marginal in marginals]


def quantiles(probability):
    cumulative = np.concatenate([[0.0], np.cumsum(probability)])
    return np.interp(fusion.INTERVAL, cumulative, np.linspace(0, 1, len(cumulative)))


@pytest.mark.parametrize("lag", [16, 1])
def test_the_shift_of_a_frame_is_that_of_all_sequences(monkeypatch, lag):
    bins = bin_centres("shift", 8)
    monkeypatch.setattr(clips, "SHIFT_BINS", 8)
    monkeypatch.setattr(clips, "ratio_bins", lambda: bins)
    monkeypatch.setattr(clips, "LAG", lag)
    monkeypatch.setattr(clips, "DRIFT", 0.15)
    logs = np.random.default_rng(0).normal(0, 2, (4, 8))
    found = list(clips.smoothed_shifts([evidence(4, None, logs)]))
    for frame, interval in enumerate(found):
        seen = np.exp(logs[: frame + lag + 1])
        expected = quantiles(posterior_of_every_path(seen, bins)[frame])
        np.testing.assert_allclose(affine.shift_to_ratio(np.array(interval)), expected, atol=1e-9)


def smoothed(ratios, sigma=0.05):
    rows = bump(ratio_bins(), ratios, sigma)
    rows[np.isnan(rows)] = 0  # a frame that says nothing
    found = np.array([*clips.smoothed_shifts([evidence(len(rows), None, rows)])])
    return affine.shift_to_ratio(found)


def test_frames_support_each_other():
    noise = np.random.default_rng(0).normal(0, 0.05, 40)
    low, middle, high = smoothed(0.4 + noise).T
    assert np.abs(middle - 0.4).mean() < 0.6 * np.abs(noise).mean()
    assert ((low < 0.4) & (high > 0.4)).mean() > 0.85
    assert (high - low)[5:-5].max() < 0.9 * SIGMAS * 0.05


def test_a_cut_is_followed_at_once_and_does_not_reach_back():
    ratios = np.repeat([0.3, 0.7], 10)
    _, middle, _ = smoothed(ratios).T
    np.testing.assert_allclose(middle, ratios, atol=0.03)


def test_a_frame_that_says_nothing_has_the_shift_of_its_neighbours():
    low, middle, high = smoothed([0.5] * 5 + [np.nan] + [0.5] * 5).T
    assert middle[5] == pytest.approx(0.5, abs=0.01)
    assert (high - low)[5] > (high - low)[4]


@pytest.mark.parametrize("count", [0, 1, clips.LAG, clips.LAG + 1, 50])
def test_there_is_a_shift_for_every_frame_and_few_are_kept(count):
    asked = 0

    def batches():
        nonlocal asked
        for _ in range(count):
            asked += 1
            yield evidence(1)

    found = 0
    for found, _ in enumerate(clips.smoothed_shifts(batches()), start=1):
        assert asked <= found + clips.LAG
    assert found == count
