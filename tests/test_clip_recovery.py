"""`recover(..., clip=)`: what the maps of a clip share, and what each keeps."""

import numpy as np
import pytest
from clip_evidence import SIGMAS, bump, evidence, log_width

from train3d_jax.api import load_model
from train3d_jax.errors import UserError
from train3d_jax.evidence.targets import focal_bins, ratio_bins
from train3d_jax.geometry import affine
from train3d_jax.geometry.camera import initial_focal
from train3d_jax.inference import clips, estimates, map_checks
from train3d_jax.inference import recovery as inference
from train3d_jax.inference.clip_recovery import Pooled
from train3d_jax.inference.map_checks import MapCheck
from train3d_jax.inference.recovery import Estimates

TRUE_FOCAL, MAP_OFFSET, PRECISION = 40.0, 0.5, 0.02
CENTRE = np.array([[0, 0, 15.5], [0, 0, 11.5], [0, 0, 0]])


@pytest.fixture
def asked(monkeypatch):
    """What the evidence and the estimates were given, which cost nothing here.

    Maps are right once `MAP_OFFSET` is added; those of one value cannot be solved.
    """
    asked = {"evidence": [], "recover": []}

    def canonical(blocks):
        near, far = (
            pick(np.where(blocks.mask, blocks.values, np.nan), axis=-1)
            for pick in (np.nanmin, np.nanmax)
        )
        return near, np.where(far > near, far, near + 1), far > near

    def stand_in(models, blocks, known, method, space, at_once, segments):
        near, far, solvable = canonical(blocks)
        asked["evidence"].append((len(near), known))
        focal = bump(focal_bins(), np.log(np.full(len(near), TRUE_FOCAL) / initial_focal(24)), 0.1)
        shift = bump(ratio_bins(), (near + MAP_OFFSET) / (far + MAP_OFFSET), PRECISION)
        rows = (np.where(solvable[:, None], values, 0) for values in (focal, shift))
        return evidence(len(near), *rows, near, far, solvable)

    def recover_blocks(models, blocks, known, method, space, at_once, segments):
        near, far, solvable = canonical(blocks)
        asked["recover"].append(known)
        count, scale = len(near), 0.5 / (far - near)
        offset = 0.5 - scale * near
        values = known.values(count)
        shift = np.where(np.isnan(values.offset), values.shift, scale * values.offset - offset)
        numbers = (np.where(solvable, x, np.nan) for x in (shift, values.focal))
        nothing, ones = np.zeros(count, bool), np.ones(count)
        flags = dict.fromkeys(estimates.FLAGS, solvable)
        two, three = np.ones((count, 2)), np.ones((count, 3))
        return Estimates(solvable, *numbers, two, two, three, nothing, scale, offset, ones, flags)

    monkeypatch.setattr(inference, "evidence", stand_in)
    monkeypatch.setattr(inference, "recover_blocks", recover_blocks)
    monkeypatch.setattr(
        map_checks, "check", lambda maps, *_: [MapCheck(np.ones(4), False, (), ())] * len(maps)
    )
    return asked


def clip_of(count):
    rng = np.random.default_rng(2)
    near, far = rng.uniform(1, 2, count), rng.uniform(3, 4, count)
    return np.linspace(near, far, 24 * 32, axis=1).reshape(count, 24, 32)


@pytest.fixture(scope="module")
def model():
    return load_model(None, space="depth")


def test_with_clip_all_maps_have_one_camera_one_scale_and_one_shift(asked, model):
    maps = clip_of(20)
    maps[3] = 1.0
    shape = model.recover(maps, clip="clip")
    right = np.arange(20) != 3
    np.testing.assert_array_equal(shape.solvable, right)
    for values in (shape.focal_px, shape.a, shape.b, shape.focal_interval_px):
        assert len(np.unique(values[right], axis=0)) == 1
        assert np.isnan(values[3]).all()
    assert shape.focal_px[0] == pytest.approx(TRUE_FOCAL, rel=0.05)
    assert shape.b[0] / shape.a[0] == pytest.approx(MAP_OFFSET, abs=0.1)
    np.testing.assert_allclose(shape.depth[right], shape.a[0] * maps[right] + shape.b[0], rtol=1e-5)
    low, high = shape.shift_interval[right].T
    assert ((low < shape.shift[right]) & (shape.shift[right] < high)).all()
    # A map that is unlike the others is no reason to doubt their camera, whose interval is narrow.
    assert [set(estimates.FLAGS) - set(flags) for flags in shape.flags if flags] == (
        [{"hint_disagrees", "focal_uncertain"}] * 19
    )


@pytest.mark.parametrize(
    ("interval", "raised"), [((30.0, 61.0), True), ((30.0, 59.0), False), ((40.0, 40.0), False)]
)
def test_the_interval_of_the_whole_clip_says_whether_its_focal_length_is_uncertain(
    interval, raised
):
    count, solvable = 3, np.array([True, False, True])
    for alone in (solvable, np.zeros(count, bool)):
        found = Estimates(
            solvable, *np.ones((2, count)), *np.ones((2, count, 2)), np.ones((count, 3)),
            np.zeros(count, bool), *np.ones((3, count)), {"focal_uncertain": alone},
        )  # fmt: skip
        clip = Pooled(clips.Camera(40.0, interval), inference.Known()).applied(found)
        np.testing.assert_array_equal(clip.flags["focal_uncertain"], solvable & raised)


def test_with_frame_each_map_has_the_shift_that_its_neighbours_support(asked, model):
    maps = clip_of(20)
    shape = model.recover(list(maps), clip="frame")
    assert len(np.unique(shape.focal_px)) == 1 and len(np.unique(shape.a)) == 20
    near, far = maps.min((1, 2)) + MAP_OFFSET, maps.max((1, 2)) + MAP_OFFSET
    np.testing.assert_allclose(affine.shift_to_ratio(shape.shift), near / far, atol=0.04)
    low, high = affine.shift_to_ratio(shape.shift_interval).T
    assert ((low < near / far) & (near / far < high)).mean() > 0.85


def test_what_is_known_of_the_camera_counts_for_the_whole_clip(asked, model):
    centre = [[30.0, 0, 14.0], [0, 30, 12], [0, 0, 1]]
    for known in ({"focal_px": 30.0}, {"focal_px": [30.0] * 4}, {"intrinsics": centre}):
        shape = model.recover(clip_of(4), clip="frame", **known)
        assert (shape.focal_px == 30).all() and (shape.focal_interval_px == 30).all()
        assert [known.focal for _, known in asked["evidence"]] == [30]  # the shifts' alone
        asked["evidence"].clear()
    assert (shape.intrinsics == centre).all()
    shape = model.recover(clip_of(4), clip="clip", focal_px=33.0, focal_sigma=0.1)
    assert [known.focal for _, known in asked["evidence"]] == [None, shape.focal_px[0]]
    assert 31 < shape.focal_px[0] < 39
    assert asked["evidence"][1][1].focal_sigma == pytest.approx(
        log_width(shape.focal_interval_px[0]) / SIGMAS, rel=1e-3
    )
    assert asked["recover"][-1].focal_sigma == 0


def test_a_known_shift_is_kept_in_a_clip(asked, model):
    shape = model.recover(clip_of(4), clip="clip", shift_known=True)
    assert (shape.b == 0).all() and len(np.unique(shape.a)) == 1
    assert asked["evidence"][0][1].shift is True
    model.recover(clip_of(4), clip="frame", shift_known=0.05)
    assert asked["recover"][-1].shift is True and asked["recover"][-1].shift_sigma == 0.05
    soft = model.recover(clip_of(4), clip="clip", shift_known=0.01)
    assert 0 < soft.b[0] / soft.a[0] < MAP_OFFSET / 2 and len(np.unique(soft.b)) == 1


def test_log_depth_has_shifts_by_frame_alone(asked):
    logs = load_model(None, space="log")
    with pytest.raises(UserError, match="clip='clip': log depth has no shift that frames could"):
        logs.recover(clip_of(2), clip="clip")
    shape = logs.recover(clip_of(3), clip="frame")
    assert len(np.unique(shape.focal_px)) == 1 and (shape.a > 0).all()
    straight = np.exp(shape.a[1] * clip_of(3)[1] + shape.b[1])
    np.testing.assert_allclose(shape.depth[1], straight, rtol=1e-4)


def test_of_a_long_clip_an_even_share_says_what_is_common(asked, model):
    model.recover(clip_of(150), clip="frame")
    frames = [count for count, _ in asked["evidence"]]
    assert sum(frames) == clips.MOST_FRAMES + 150 and max(frames) <= 16
    assert len(asked["recover"]) == 10


@pytest.mark.parametrize("clip", ["clip", "frame"])
def test_a_clip_without_anything_to_see_has_no_answer(asked, model, clip):
    shape = model.recover(np.ones((3, 24, 32)), clip=clip)
    assert not shape.solvable.any() and np.isnan(shape.focal_px).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"clip": "film"}, "clip='film': give 'clip' where all maps have one scale"),
        ({"clip": True}, "clip=True: give 'clip'"),
        (
            {"depth": [np.ones((24, 32)), np.ones((32, 24))]},
            "clip='clip': map 0 is 32 x 24 pixels and map 1 24 x 32; one camera has one size",
        ),
        ({"focal_px": [30.0, 31.0]}, "clip='clip': maps have one camera; give one focal_px"),
        ({"intrinsics": [np.diag([f, f, 1.0]) + CENTRE for f in (30, 31)]}, "one matrix of intri"),
    ],
)
def test_what_is_no_clip_is_refused(model, arguments, message):
    with pytest.raises(UserError, match=message):
        model.recover(**{"depth": clip_of(2), "clip": "clip", **arguments})
