"""Which form the values of maps have: what the network sees of them, and what is made of it."""

import numpy as np
import pytest
from box_rooms import box_room

from data.user_maps.true_maps import TrueMaps
from train3d_jax.evidence import forms
from train3d_jax.evidence.forms import FORMS
from train3d_jax.inference import map_checks
from train3d_jax.inference import recovery as inference


def in_form(depth, form):
    """Depth, 0 where missing, as a map of a form; in an affine unit of its own."""
    with np.errstate(divide="ignore"):
        values = depth if forms.space_of(form) == "depth" else 1 / depth
    values = -values if forms.is_inverted(form) else values
    low, high = values[depth > 0].min(), values[depth > 0].max()
    # From .001 to 1, as networks write them: 0 is missing.
    return np.where(depth > 0, 0.001 + 0.999 * (values - low) / (high - low), 0).astype(np.float32)


def evidence(maps):
    blocks = inference.make_blocks(maps)
    return map_checks.form_evidence(np.asarray(blocks.values), np.asarray(blocks.mask))


ROOMS = [box_room(seed)[0] for seed in range(12)]


@pytest.mark.parametrize("number", range(4))
def test_rooms_look_like_the_form_that_they_are_in(number):
    seen = evidence([in_form(room, FORMS[number]) for room in ROOMS])
    assert (seen.argmax(-1) == number).mean() >= 0.75  # empty rooms, without floor or furniture
    assert forms.pooled(seen, negative=False)[number] > 0.95


def test_no_scale_and_no_shift_changes_what_is_seen():
    rooms = ROOMS[:4]
    seen = evidence(rooms)
    # float32 keeps three digits less of a map that lies 100 times its spread from 0.
    np.testing.assert_allclose(evidence([30 * room + 7 for room in rooms]), seen, atol=1e-3)
    np.testing.assert_allclose(evidence([room - 500 for room in rooms]), seen, atol=0.1)


def test_a_map_is_seen_alike_whatever_else_is_looked_at_and_nothing_is_seen_in_none():
    maps = [*ROOMS, *ROOMS, np.full((40, 50), 3.0), np.zeros((40, 50))]
    seen = evidence(maps)
    np.testing.assert_allclose(seen[12:24], seen[:12], atol=1e-5)
    np.testing.assert_allclose(seen[:12], evidence(ROOMS), atol=1e-5)
    assert not seen[24:].any()


def test_holes_are_no_values():
    room = ROOMS[0].copy()
    room[20:40, 30:60] = 0
    other = np.where(room == 0, np.nan, room)
    np.testing.assert_array_equal(evidence([room]), evidence([other]))


def test_flags_follow_from_the_likeliest_form():
    sure = np.log(np.eye(4) + 1e-6)
    no = np.zeros(4, bool)
    swapped, other = {"near_far_swapped"}, {"other_space"}
    for space, expected in (
        ("depth", [set(), other, swapped, swapped | other]),
        ("disparity", [other, set(), swapped | other, swapped]),
    ):
        raised = forms.flags(forms.posterior(sure, space, no), space)
        for number, names in enumerate(expected):
            assert {name for name in forms.FLAGS if raised[name][number]} == names


def test_without_evidence_a_claim_is_believed_unless_all_values_are_below_zero():
    nothing = np.zeros((2, 4))
    probability = forms.posterior(nothing, "disparity", np.array([False, True]))
    np.testing.assert_allclose(probability.sum(-1), 1)
    raised = forms.flags(probability, "disparity")
    assert raised["near_far_swapped"].tolist() == [False, True]


def test_evidence_of_maps_of_one_kind_adds_up_to_no_more_than_ten_independent_ones():
    one = np.log([[0.4, 0.2, 0.2, 0.2]])
    odds = [
        np.log(p[0] / p[1])
        for p in (forms.pooled(np.repeat(one, n, 0), negative=False) for n in (1, 5, 10**5))
    ]
    assert odds[0] == pytest.approx(np.log(2))
    assert odds[0] < odds[1] < odds[2] == pytest.approx(10 * np.log(2), rel=1e-3)


def test_of_real_maps_most_in_the_wrong_form_are_flagged_and_few_in_the_right_one(real_data):
    maps = [
        found.depth
        for name in ("depth", "more", "predicted")
        for found in map(
            TrueMaps(real_data / name).__getitem__, range(len(TrueMaps(real_data / name)))
        )
    ]
    seen = {form: evidence([in_form(depth, form) for depth in maps]) for form in FORMS}
    right, wrong = [], []
    for space in ("depth", "disparity"):
        for form, log_likelihood in seen.items():
            probability = forms.posterior(log_likelihood, space, np.zeros(len(maps), bool))
            raised = np.any(list(forms.flags(probability, space).values()), 0)
            (right if form == space else wrong).append(raised)
    assert np.mean(right) < 0.03 and np.mean(wrong) > 0.8
