"""Log space: depth that is known up to a power and a factor, by geometry alone."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from box_rooms import box_room
from ply_files import read_ply
from programs import run

from launch.recovery.config import RecoveryConfig, SaveSettings
from launch.recovery.folder import recover_folder
from launch.recovery.notes import notes_of
from train3d_jax import load_model, recover
from train3d_jax.errors import UserError
from train3d_jax.evaluation import views
from train3d_jax.evidence import forms, likelihoods, solver
from train3d_jax.formats.depth import ReadSettings
from train3d_jax.geometry import affine, camera
from train3d_jax.inference import map_checks, viewing
from train3d_jax.inference import recovery as inference
from train3d_jax.windows.quadrics import Windows
from train3d_jax.windows.spaces import INVERSE_DEPTH

ROOMS = [box_room(seed) for seed in range(3)]
FOCALS = np.array([intrinsics[0, 0] for _, intrinsics in ROOMS])
SCALES, OFFSETS = (0.3, 2.0, 40.0), (-5.0, 0.0, 700.0)
GEOMETRY = load_model(None, space="log")


def log_maps(scales=SCALES, offsets=OFFSETS):
    """Rooms as a network gives them; up to three programs of one map each are one program."""
    each = zip(ROOMS, scales, offsets, strict=True)
    return [scale * np.log(depth.astype(float)) + offset for (depth, _), scale, offset in each]


@pytest.fixture(scope="module")
def found():
    return GEOMETRY.recover(log_maps())


def test_a_room_of_log_depth_is_straightened(found):
    np.testing.assert_allclose(found.focal_px, FOCALS, rtol=0.005)
    np.testing.assert_allclose(found.a, 1 / np.array(SCALES), rtol=0.005)
    numbers = (found.depth, found.a, found.b, found.shift)
    for (depth, _), values, straight, a, b, shift in zip(ROOMS, log_maps(), *numbers, strict=True):
        ratio = straight / depth
        assert np.ptp(ratio) < 0.01 * ratio.mean()
        np.testing.assert_allclose(straight, np.exp(a * values + b), rtol=1e-5)
        # The unit is that of depth space, where the far quantile is 1 + shift.
        assert np.quantile(straight, 0.98) == pytest.approx(1 + shift, rel=0.02)
    assert found.flags == ((), (), ())


def test_the_shift_is_that_of_depth_with_the_same_near_and_far(found):
    for number, (depth, _) in enumerate(ROOMS):
        blocks = inference.make_blocks([np.log(depth)])
        near, far = np.exp(np.quantile(blocks.values[0], [0.02, 0.98]))
        ratio = affine.shift_to_ratio(found.shift[number])
        assert ratio == pytest.approx(near / far, abs=0.002)
        low, high = affine.shift_to_ratio(found.shift_interval[number])
        assert low < near / far < high and high - low < 0.02


def test_scale_and_offset_of_the_values_change_no_answer(found):
    scales, offsets = (1.0, 0.07, 3.0), (2.0, -9.0, 0.5)
    other = GEOMETRY.recover(log_maps(scales, offsets))
    np.testing.assert_allclose(other.focal_px, found.focal_px, rtol=2e-3)
    np.testing.assert_allclose(other.a * scales, found.a * SCALES, rtol=2e-3)
    for one, another in zip(found.depth, other.depth, strict=True):
        np.testing.assert_allclose(another, one, rtol=5e-3)


def test_a_known_focal_length_is_kept(found):
    known = GEOMETRY.recover(log_maps(), focal_px=FOCALS)
    np.testing.assert_allclose(known.focal_px, FOCALS, rtol=1e-6)
    np.testing.assert_allclose(known.a, 1 / np.array(SCALES), rtol=0.005)


def test_maps_of_nothing_have_no_answer_and_odd_ones_a_finite_one():
    v, u = np.mgrid[-0.5:0.5:96j, -0.6:0.6:128j]
    wall = np.log(1 / (0.4 + 0.1 * u + 0.05 * v))
    nearly_flat = 5 + 1e-4 * wall  # some tens of steps of float32
    room = log_maps()[1]
    outliers = room.copy()
    outliers[0, :40], outliers[1, :40] = 1e6, -1e6
    odd = GEOMETRY.recover([np.full((96, 128), 3.0), wall, nearly_flat, outliers])
    np.testing.assert_array_equal(odd.solvable, [False, True, True, True])
    assert "near_planar" in odd.flags[1] and "out_of_training_range" in odd.flags[3]
    for number in (1, 2, 3):
        for values in (odd.focal_px, odd.a, odd.b, odd.shift_interval):
            assert np.isfinite(values[number]).all()
        assert np.isfinite(odd.depth[number]).all() and (odd.depth[number] > 0).any()
    # What is known of the room does not suffer.
    assert odd.focal_px[3] == pytest.approx(FOCALS[1], rel=0.05)


def test_derivatives_are_finite_also_of_windows_without_depth():
    """Of what is log's own; the fits of windows are those of depth space."""
    settings = solver.solver_settings("log").with_pairs(64)
    grids = dataclasses.replace(settings.windows, grids=((3, 3), (2, 2)))
    settings = dataclasses.replace(settings, windows=grids)
    count = settings.windows.count
    rng = np.random.default_rng(0)
    places, gradient, hessian = (rng.normal(0, 0.3, (count, n)) for n in (2, 2, 3))
    one = np.ones(count)

    @jax.jit
    @jax.grad
    def slope(values):
        shift = jnp.float32(0.2)
        inverse = 1 / affine.to_depth(values, shift, "log")
        windows = Windows(
            places, one[:, None] * 0.3, inverse, gradient * inverse[:, None],
            hessian * inverse[:, None], 1e-3 * one, 50 * one, np.arange(count) != 1,
        )  # fmt: skip
        windows = jax.tree.map(jnp.asarray, windows)
        curve = likelihoods.curvature(windows, shift, settings.curvature, space="log")
        curve += likelihoods.parallelism(windows, shift, "log", settings)
        ratios = jnp.linspace(0.005, 0.995, 4)
        angles = likelihoods.right_angles(windows, shift, ratios, "log", settings, bins=8)
        return jax.nn.logsumexp(curve) + jax.nn.logsumexp(angles)

    values = rng.uniform(0.5, 1, count)
    assert np.abs(slope(jnp.float32(values))).max() > 0
    for extreme in (60.0, 1e6, 0.5):
        values[:3] = extreme
        assert np.isfinite(slope(jnp.float32(values))).all()


@pytest.mark.parametrize("space", ["depth", "disparity", "log"])
def test_windows_bend_as_the_depth_of_their_space_does(space):
    """`spaces` against derivatives of `to_depth`."""
    base, shift = (0.0 if space == "disparity" else 0.3), 0.9

    def inverse(value, shift):
        return 1 / affine.to_depth(value[None], shift, space)[0]

    with jax.enable_x64(True):
        value = jnp.asarray(0.7)

        def over_slope(value):
            slope = [jax.grad(inverse)(value, at) for at in (shift, base)]
            return inverse(value, shift) * slope[1] / slope[0]

        functions = INVERSE_DEPTH[space]
        move, w = functions.move(jnp.asarray(shift), jnp.asarray(base)), inverse(value, base)
        expected = over_slope(value)
        np.testing.assert_allclose(functions.over_slope(w, move), expected, rtol=1e-9)
        slope = jax.grad(over_slope)(value) / jax.grad(inverse)(value, base)
        q = (slope - 1) / expected
        if functions.bend is None or functions.vote is None:
            np.testing.assert_allclose(q, 0, atol=1e-9)
            return
        none = jnp.zeros(1)
        windows = Windows(none, none, w[None], none, none, none, none, none == 0)
        np.testing.assert_allclose(functions.bend(windows, move, 0.02).q[0], q, rtol=1e-9)
        vote = functions.vote(windows, q[None], jnp.ones(1), jnp.asarray(base))
        np.testing.assert_allclose(vote.value[0], affine.shift_to_ratio(shift), rtol=1e-9)
        change = functions.vote(windows, q[None] + 1e-6, jnp.ones(1), jnp.asarray(base))
        slope = abs(change.value[0] - vote.value[0]) / 1e-6
        np.testing.assert_allclose(vote.sigma[0], slope, rtol=1e-3)


def test_forms_know_no_log_and_raise_no_flag():
    swapped = [-values for values in log_maps()]
    flags = GEOMETRY.recover(swapped).flags
    assert not {name for of_map in flags for name in of_map} & set(forms.FLAGS)
    (check,) = map_checks.check(swapped[:1], inference.make_blocks(swapped[:1]), "log")
    assert check.form is None and not set(notes_of(check, negated=False)) & set(forms.FLAGS)


def test_views_have_an_unknown_scale_and_offset():
    depth, intrinsics = ROOMS[0]
    view = views.make_view(depth, intrinsics, "log", (0, 0, 0), crop=False)
    fit = np.polyfit(np.log(depth.ravel()), view.values.ravel(), 1)
    np.testing.assert_allclose(np.polyval(fit, np.log(depth)), view.values, atol=1e-4)
    assert fit[0] == pytest.approx(view.scale, rel=1e-4)
    truth = views.truth_of(view, "log")
    near, far = np.quantile(inference.make_blocks([np.log(depth)]).values[0], [0.02, 0.98])
    assert truth.ratio == pytest.approx(np.exp(near - far), rel=1e-3)
    assert (views.in_space(np.ones((2, 2)), "log") != 0).all()  # 0 would read as missing
    scale, offset = views.canonical_form(view.values)
    straight = affine.to_depth(scale * view.values.ravel() + offset, truth.shift, "log")
    ratio = np.asarray(straight).reshape(depth.shape) / depth
    assert np.ptp(ratio) < 1e-3 * ratio.mean()


def test_the_viewer_shows_the_same_cloud_and_scores():
    values = log_maps()[0]
    blocks = inference.make_blocks([values])
    canonical = jax.jit(affine.canonicalise)(blocks.values, blocks.mask)
    form = float(canonical.scale[0]), float(canonical.offset[0])
    shift = views.true_shift(form, "log", SCALES[0])
    sample, places = viewing.take_sample(values, form)
    cloud = viewing.unproject(sample, jnp.float32(shift), jnp.float32(ROOMS[0][1]), "log")
    true = camera.unproject(ROOMS[0][0], ROOMS[0][1])[places[:, 0], places[:, 1]]
    ratio = np.asarray(cloud)[: len(places), 2] / true[:, 2]
    assert np.ptp(ratio) < 1e-3 * ratio.mean()


def test_files_hold_the_depth_of_a_and_b(tmp_path):
    (tmp_path / "in").mkdir()
    values = log_maps()[0]
    np.save(tmp_path / "in" / "room.npy", -values)
    config = RecoveryConfig(
        tmp_path / "in", tmp_path / "out", (), "log", "geometric",
        reading=ReadSettings(negate=True), saving=SaveSettings(("ply", "npz", "picture")),
    )  # fmt: skip
    outcome = recover_folder(config, [])
    assert outcome.counts.recovered == 1 and not outcome.flags
    answer = json.loads((tmp_path / "out" / "room.json").read_text())
    assert answer["space"] == "log" and answer["a"] == pytest.approx(-1 / SCALES[0], rel=0.01)
    depth = np.exp(answer["a"] * -values + answer["b"])
    np.testing.assert_allclose(np.load(tmp_path / "out" / "room.npz")["depth"], depth, rtol=1e-5)
    np.testing.assert_allclose(
        read_ply(tmp_path / "out" / "room.ply")[:, 2], depth.ravel(), rtol=1e-5
    )
    assert (tmp_path / "out" / "room.png").stat().st_size > 10_000


def test_what_log_space_does_not_have_is_refused_in_one_line(tmp_path):
    flags = ["--input", ".", "--out", "out", "--space", "log"]
    for more, output in (
        (["--method", "learned"], "no network covers it; leave out --model and --method=learned"),
        (["--shift_known"], "--shift_known has no meaning with --space=log"),
        (["--shift_known", "0.05"], "--shift_known has no meaning with --space=log"),
        (["--ray_depth", "--focal_px", "50"], "--ray_depth needs distances up to scale"),
    ):
        ended = run(tmp_path, "infer", *flags, *more, status=2)
        assert output in ended.stderr and len(ended.stderr.splitlines()) == 1
        assert not (tmp_path / "out").exists()
    for arguments, output in (
        ({"space": "log"}, "space='log': no network covers it; give None as model"),
        ({"model": "depth", "space": "log"}, "space='log': no network covers it"),
        ({"model": None, "space": "log", "shift_known": True}, "shift_known=True: has no meaning"),
        ({"model": None, "space": "logs"}, "give 'depth', 'disparity' or 'log'"),
    ):
        with pytest.raises(UserError, match=output):
            recover(log_maps()[0], **arguments)
