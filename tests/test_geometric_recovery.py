"""Recovery by geometry: known cameras and shifts, masks, flags, one camera for many maps."""

import numpy as np
import pytest
from box_rooms import box_room
from recoveries import FOCALS, NOTHING_KNOWN, Oracle, network, solved

from train3d_jax.evidence import prior
from train3d_jax.evidence.targets import FOCAL_BINS
from train3d_jax.geometry import clouds
from train3d_jax.inference import clips
from train3d_jax.inference import recovery as inference


def test_a_room_seen_with_more_pixels_gets_the_same_answer(geometric):
    finer = by_geometry([box_room(seed, (192, 256))[0] for seed in range(3)])
    # Blocks cut edges elsewhere, so these are not the same measurements: 0.3 % was seen.
    np.testing.assert_allclose(finer.focal, 2 * geometric.focal, rtol=0.01)
    np.testing.assert_allclose(finer.shift, geometric.shift, atol=0.01)


# Known cameras, flags, and one camera for many maps: by geometry, which needs no trained network.


def by_geometry(maps, known=NOTHING_KNOWN, intrinsics=None):
    blocks = inference.make_blocks(maps, intrinsics=intrinsics)
    return inference.recover_blocks([], blocks, known, "geometric", "depth")


ROOMS = [box_room(seed)[0] for seed in range(3)]


@pytest.fixture(scope="module")
def geometric():
    return by_geometry(ROOMS)


def test_pixels_that_are_not_square_and_an_offset_centre_are_accounted_for(geometric):
    wide = []
    matrices = []
    for seed, values in enumerate(ROOMS):
        focal = FOCALS[seed]
        # Every other column of the left three quarters: the centre of the image moves.
        wide.append(values[:, :96:2])
        matrices.append(np.array([[focal / 2, 0, 63.5 / 2], [0, focal, 47.5], [0, 0, 1]]))
    recovery = by_geometry(wide, intrinsics=matrices)
    # A quarter of the room less is seen, so the answers differ, but as clean rooms let them.
    np.testing.assert_allclose(recovery.focal, FOCALS, rtol=0.03)
    np.testing.assert_allclose(recovery.shift, geometric.shift, atol=0.02)
    wrong = by_geometry(wide)
    assert (np.abs(wrong.focal / FOCALS - 1) > 0.03).any()


def test_with_a_known_shift_the_canonical_offset_is_taken_back(geometric):
    recovery = by_geometry(ROOMS, inference.Known(shift=True))
    np.testing.assert_array_equal(recovery.shift, -recovery.canonical_offset)
    for i in range(3):
        assert abs(recovery.at(i).b) < 1e-6
    np.testing.assert_array_equal(recovery.shift_interval[:, 0], recovery.shift)
    np.testing.assert_allclose(recovery.focal, FOCALS, rtol=0.02)


def test_masked_pixels_are_missing_ones():
    mask = np.ones(ROOMS[0].shape, bool)
    mask[10:30, 20:90] = False
    one = inference.make_blocks([np.where(mask, ROOMS[0], 0)])
    other = inference.make_blocks([ROOMS[0]], [mask])
    for name in clouds.Blocks._fields:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_a_map_without_an_answer_holds_no_number(geometric):
    bad = by_geometry([np.full((9, 9), np.nan), ROOMS[1], ROOMS[1][:2, :9]])
    np.testing.assert_array_equal(bad.solvable, [False, True, False])
    for name in ("shift", "focal", "shift_interval", "focal_interval", "canonical_scale", "unit"):
        values = getattr(bad, name)
        assert np.isnan(values[[0, 2]]).all() and np.isfinite(values[1]).all()
    np.testing.assert_allclose(bad.focal[1], geometric.focal[1], rtol=1e-5)


def test_flags_tell_what_is_wrong_with_a_map(geometric):
    v, u = np.mgrid[-0.5:0.5:96j, -0.6:0.6:128j]
    wall = 1 / (0.4 + 0.1 * u + 0.05 * v)
    holed = np.where((np.indices(ROOMS[1].shape) < 28).all(0), ROOMS[1], 0)
    sky = ROOMS[2].copy()
    sky[:1, :60] = 500.0
    found = by_geometry([wall, holed, sky])
    flags = found.flags
    np.testing.assert_array_equal(flags["near_planar"], [True, False, False])
    np.testing.assert_array_equal(flags["few_valid_pixels"], [False, True, False])
    assert flags["out_of_training_range"][2]
    low, high = found.focal_interval.T
    np.testing.assert_array_equal(flags["focal_uncertain"], high > 2 * low)
    assert flags["focal_uncertain"][0]
    for raised in geometric.flags.values():
        assert not raised.any()


def test_network_and_geometry_disagree_where_each_excludes_the_other(monkeypatch):
    oracle = Oracle("depth", solved(ROOMS, "depth"))
    oracle.stand_in(monkeypatch)
    agreeing = inference.recover_blocks([network((0, 2))], inference.make_blocks(ROOMS))
    assert not agreeing.flags["solver_disagrees"].any()
    oracle.shift = oracle.shift + 1.0
    opposed = inference.recover_blocks([network((0, 2))], inference.make_blocks(ROOMS))
    assert opposed.flags["solver_disagrees"].all()


def test_many_maps_of_one_camera_agree_on_a_focal_length():
    maps = [box_room(seed, fov_degrees=55)[0] for seed in range(3)]
    true = 96 / 2 / np.tan(np.radians(55) / 2)
    evidence, with_empty = (
        inference.evidence([], inference.make_blocks(each), method="geometric", space="depth").focal
        for each in (maps, [*maps[:2], np.zeros((96, 128))])
    )
    assert evidence.shape == (3, FOCAL_BINS)
    np.testing.assert_array_equal(with_empty[2], 0)
    focal, (low, high) = clips.shared_focal(evidence.sum(0), 3, (96, 128))
    assert abs(focal / true - 1) < 0.03  # a bin is 2 % wide
    assert low < true < high
    # A thousand copies of the maps are more evidence, but not a thousand times as much.
    many, (low_many, high_many) = clips.shared_focal(1000 * evidence.sum(0), 3000, (96, 128))
    assert abs(many / focal - 1) < 0.03
    assert high_many - low_many > 0.15 * (high - low)
    # And without evidence the answer is what was believed before, up to the doubt in it.
    nothing, (low, high) = clips.shared_focal(np.zeros(FOCAL_BINS), 1, (96, 128))
    assert abs(np.log(nothing / np.hypot(96, 128)) - prior.MEAN) < 0.03
    assert high / low > 3
