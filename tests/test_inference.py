import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from box_rooms import box_room
from tiny import CONFIG, TOTAL_STEPS, rooms_batch, with_clouds

from train3d_jax.errors import UserError
from train3d_jax.evidence import prior, solver, targets
from train3d_jax.evidence.targets import FOCAL_BINS
from train3d_jax.geometry import affine, clouds, metrics, points
from train3d_jax.geometry.camera import centred_intrinsics
from train3d_jax.geometry.depth_maps import point_cloud, recovered_depth
from train3d_jax.inference import predictor
from train3d_jax.inference import recovery as inference
from train3d_jax.inference.models import Model, check_models, is_metric
from train3d_jax.networks import encoder
from train3d_jax.training import trainer as training
from train3d_jax.training.config import build_encoder, initial_params
from train3d_jax.windows.block_windows import mirrored


def noisy_room(seed):
    """Half a percent of noise, as sensors have: on planes without any, rounding is all there is to
    see of a fit's residual."""
    true, _ = box_room(seed)
    noise = np.random.default_rng(seed).normal(0, 0.005, true.shape)
    return (true * (1 + noise)).astype(np.float32)


NOTHING_KNOWN = inference.Known()
METHODS = ("learned", "geometric")
every_method = pytest.mark.parametrize("method", METHODS)
MAPS = [noisy_room(seed) for seed in range(3)]
FOCALS = np.array([box_room(seed)[1][0, 0] for seed in range(3)])


@pytest.fixture(scope="module")
def model():
    """A network for both targets; its weights are random, its answers therefore far from true."""
    params = training.initial_state(CONFIG, TOTAL_STEPS).params
    return Model("both@0", CONFIG, jax.device_put(params, jax.devices()[0]))


@pytest.fixture(scope="module")
def recoveries(model):
    return {method: recover(model, MAPS, method=method) for method in METHODS}


@pytest.fixture
def recovery(recoveries):
    return recoveries["learned"]


def recover(model, maps, known_focal=None, method="learned"):
    known = inference.Known(known_focal)
    return inference.recover_blocks([model], inference.make_blocks(maps), known, method)


def assert_close(one, other, rtol):
    np.testing.assert_array_equal(one.solvable, other.solvable)
    np.testing.assert_allclose(one.shift, other.shift, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(one.focal, other.focal, rtol=rtol)


def reordered(recovery, order):
    flags = {name: raised[order] for name, raised in recovery.flags.items()}
    return inference.Estimates(*(values[order] for values in recovery[:-1]), flags)


@every_method
def test_different_maps_get_different_answers(recoveries, method):
    # Without this the invariances below would prove nothing.
    recovery = recoveries[method]
    assert recovery.solvable.all()
    assert np.ptp(recovery.focal) > 1 and np.ptp(recovery.shift) > 0.01


@every_method
def test_an_answer_does_not_depend_on_the_order_of_the_maps(model, recoveries, method):
    order = [2, 0, 1]
    other = recover(model, [MAPS[i] for i in order], method=method)
    # The same numbers for each map, only vectorised at another place.
    assert_close(other, reordered(recoveries[method], order), 1e-5)


@every_method
def test_an_answer_does_not_depend_on_the_other_maps(model, recoveries, method):
    maps = [MAPS[1], np.zeros((5, 7), np.float32), MAPS[1]]
    alone = recover(model, maps, method=method)
    np.testing.assert_array_equal(alone.solvable, [True, False, True])
    for row in (0, 2):
        assert_close(reordered(alone, [row]), reordered(recoveries[method], [1]), 1e-5)


@every_method
@pytest.mark.parametrize(("a", "b"), [(0.25, 0.0), (1000.0, 0.0), (1.0, 8.0), (3.0, -40.0)])
def test_an_answer_does_not_depend_on_scale_and_shift_of_the_input(model, recoveries, method, a, b):
    recovery = recoveries[method]
    other = recover(model, [np.float32(a * values + b) for values in MAPS], method=method)
    # float32 rounds a * d + b at |b|, up to 2e-6 of the spread, and fitted curvatures multiply
    # that by up to a thousand; 2e-4 was seen.
    assert_close(other, recovery, 1e-3)
    # And so the depth that comes out is the same, whatever the input's unit.
    for i, values in enumerate(MAPS):
        one, two = other.at(i), recovery.at(i)
        np.testing.assert_allclose(
            one.a * np.float32(a * values + b) + one.b, two.a * values + two.b, atol=2e-3
        )


@every_method
def test_an_answer_does_not_depend_on_how_numbers_are_stored(model, method):
    stored = [np.round(values * 1000).astype(np.uint16) for values in MAPS]
    recovery = recover(model, stored, method=method)
    for kind in (np.int16, np.int32, np.float32, np.float64):
        other = recover(model, [values.astype(kind) for values in stored], method=method)
        assert_close(other, recovery, 0)


@every_method
def test_a_doubled_resolution_doubles_the_focal_length(model, method):
    """Each pixel is shown four times; of a side that blocks divide, so that they stay the same."""
    maps = [box_room(seed, (128, 128))[0] for seed in range(3)]
    doubled = [values.repeat(2, 0).repeat(2, 1) for values in maps]
    one, other = recover(model, maps, method=method), recover(model, doubled, method=method)
    # The same blocks but for the rounding of float32.
    np.testing.assert_allclose(other.focal, 2 * one.focal, rtol=2e-3)
    np.testing.assert_allclose(other.shift, one.shift, rtol=2e-3, atol=2e-3)


def test_a_mirror_image_gets_the_same_answer(model, recoveries):
    other = recover(model, [values[:, ::-1] for values in MAPS])
    # Blocks hold the same pixels where their number divides the width; sums come in another order.
    assert MAPS[0].shape[1] % points.BLOCKS[1] == 0
    assert_close(other, recoveries["learned"], 1e-3)


def test_mirrored_blocks_are_those_of_the_mirrored_map():
    blocks = inference.make_blocks([values[:, ::-1] for values in MAPS])
    mirrored = clouds.mirrored(inference.make_blocks(MAPS))
    for one, other in zip(blocks, mirrored, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-4)


def test_a_times_input_plus_b_is_canonical_depth_plus_shift(recovery):
    blocks = inference.make_blocks(MAPS)
    canonical = affine.canonicalise(blocks.values, blocks.mask)
    for i in range(3):
        solution = recovery.at(i)
        assert (solution.focal, solution.shift) == (recovery.focal[i], recovery.shift[i])
        found = solution.a * blocks.values[i] + solution.b
        # float32 in the canonical form.
        np.testing.assert_allclose(found, canonical.values[i] + solution.shift, atol=1e-5)


def test_missing_pixels_may_be_zero_or_not_finite(model, recovery):
    holed = [values.copy() for values in MAPS]
    for values, missing in zip(holed, (0, np.nan, np.inf), strict=True):
        values[10:20, 30:50] = missing
    zeroed = [np.where(np.isfinite(values), values, 0) for values in holed]
    one, other = recover(model, holed), recover(model, zeroed)
    assert_close(one, other, 0)
    assert (one.focal != recovery.focal).all()


def test_maps_without_values_or_spread_are_reported_and_the_others_solved(model, recovery):
    bad = recover(model, [np.full((9, 9), np.nan), MAPS[1], np.full((40, 30), 2.5)])
    np.testing.assert_array_equal(bad.solvable, [False, True, False])
    assert bad.at(0) is None and bad.at(1) is not None and bad.at(2) is None
    assert_close(reordered(bad, [1]), reordered(recovery, [1]), 1e-5)


def test_a_known_focal_length_is_kept(model, recovery):
    known = recover(model, MAPS, FOCALS)
    np.testing.assert_allclose(known.focal, FOCALS, rtol=1e-6)  # float32
    # This network does not want to know it: its shift stays.
    np.testing.assert_allclose(known.shift, recovery.shift, rtol=1e-5)


def test_maps_of_any_size_come_together_in_a_batch():
    blocks = inference.make_blocks([np.ones((1, 1)), MAPS[0], MAPS[0][:33, :7]])
    assert blocks.values.shape == (3, 64 * 64)
    np.testing.assert_array_equal(blocks.size, [[1, 1], [96, 128], [33, 7]])
    np.testing.assert_array_equal(blocks.centre, [[0, 0], [63.5, 47.5], [3, 16]])
    np.testing.assert_array_equal(blocks.mask.sum(-1), [1, 64 * 64, 33 * 7])


def test_training_and_inference_make_the_same_blocks_of_a_whole_map():
    blocks, batch = inference.make_blocks([box_room(s)[0] for s in range(3)]), rooms_batch()
    # The share of valid pixels serves a flag of answers; training has none.
    for name in set(clouds.Blocks._fields) - {"valid_share"}:
        np.testing.assert_array_equal(getattr(blocks, name), batch[name])


# How networks work together, with networks that know the truth but need what their settings say.


def posterior_about(values, target):
    """Log-probabilities whose medians are these values: half in the value's own bin, the rest so
    divided between the bins beside it that half of all lies below the value."""
    low, high = targets.RANGES[target]
    place = (np.asarray(values, float) - low) / (high - low) * targets.BINS
    probability = np.full((len(place), targets.BINS), 1e-12)
    for row, number in zip(probability, place.astype(int), strict=True):
        row[number] = 0.5
    part = place - place.astype(int)
    rows = np.arange(len(place))
    probability[rows, place.astype(int) - 1] = 0.5 - 0.5 * part
    probability[rows, place.astype(int) + 1] = 0.5 * part
    return jnp.log(jnp.asarray(probability, jnp.float32))


class Oracle:
    """Stands in for the compiled networks: answers rightly where it is shown what it needs.

    A network that knows the shift (or focal length) is right where it is given the true one, and
    far off elsewhere.
    """

    def __init__(self, space):
        values = MAPS if space == "depth" else [1 / values for values in MAPS]
        blocks = inference.make_blocks(values)
        near, far = np.quantile(blocks.values.astype(float), [0.02, 0.98], axis=1)
        # Of true values the canonical form is 0.5 (v - near) / (far - near) + 0.5.
        self.shift = 0.5 * near / (far - near) - 0.5
        self.metres = far if space == "depth" else 1 / far
        self.calls = []

    def predictor(self, config, *_):
        def run(params, batch, fit, shift, focal):
            settings = config.clouds
            self.calls.append(config.heads)
            assumed = jnp.full(3, 96 / 2 / np.tan(np.radians(30)))
            if settings.focal_known and focal is not None:
                assumed = focal
            right = jnp.ones(3, bool)
            if settings.shift_known:
                right &= jnp.isclose(shift, self.shift, rtol=1e-2, atol=1e-2)
            if settings.focal_known:
                right &= jnp.isclose(assumed, FOCALS, rtol=1e-2)
            quantities = {
                "shift": affine.shift_to_ratio(self.shift),
                "focal": jnp.log(FOCALS / assumed),
                "scale": jnp.log(self.metres),
            }
            medians = {
                head: jnp.where(right, quantities[head], 0.5 * quantities[head] + 0.2)
                for head in config.heads
            }
            metres = jnp.asarray(self.metres) if "scale" in config.heads else None
            logs = {head: posterior_about(value, head) for head, value in medians.items()}
            return predictor._Prediction(medians, logs, assumed, metres)

        return run


def network(targets, space="depth", **clouds):
    return Model(
        f"n{targets}", dataclasses.replace(with_clouds(space=space, **clouds), targets=targets), {}
    )


def straightened_error(recovery, space):
    """Point error of the clouds that the answers make of the maps, in the true maps' own unit."""
    errors = []
    for i, true in enumerate(MAPS):
        values = true if space == "depth" else 1 / true
        solution = recovery.at(i)
        recovered = recovered_depth(values, solution.a, solution.b, space)
        cloud = point_cloud(recovered, centred_intrinsics(solution.focal, *true.shape))
        truth = point_cloud(true, centred_intrinsics(FOCALS[i], *true.shape))
        errors.append(metrics.point_error(cloud, truth, np.ones(len(truth), bool)))
    return np.array(errors)


@pytest.mark.parametrize("space", ["depth", "disparity"])
@pytest.mark.parametrize(
    ("networks", "asked"),
    [
        ([((0, 2), {})], [("shift", "focal")]),
        ([((0,), {}), ((2,), {})], [("focal",), ("shift",)]),
        # As LeReS: focal length, shift, and the focal length again, now that the shift is known.
        ([((0,), {}), ((2,), {"shift_known": True})], [("focal",), ("shift",), ("focal",)]),
        ([((0,), {"focal_known": True}), ((2,), {})], [("focal",), ("shift",)]),
    ],
)
def test_networks_for_single_targets_work_together(monkeypatch, networks, asked, space):
    oracle = Oracle(space)
    monkeypatch.setattr(predictor, "_predictor", oracle.predictor)
    models = [network(targets, space, **clouds) for targets, clouds in networks]
    maps = MAPS if space == "depth" else [1 / values for values in MAPS]
    recovery = inference.recover_blocks(models, inference.make_blocks(maps))
    assert oracle.calls == asked
    # The prior tilts the bins that the oracle spreads its probability over: by less than an eighth
    # of their width, which is 4 %.
    np.testing.assert_allclose(recovery.focal, FOCALS, rtol=5e-3)
    np.testing.assert_allclose(recovery.shift, oracle.shift, rtol=1e-4, atol=1e-4)
    assert straightened_error(recovery, space).max() < 5e-3


def test_a_shift_network_that_knows_the_focal_length_uses_the_one_that_is_given(monkeypatch):
    oracle = Oracle("depth")
    monkeypatch.setattr(predictor, "_predictor", oracle.predictor)
    models = [network((0,), focal_known=True)]
    recovery = inference.recover_blocks(
        models, inference.make_blocks(MAPS), inference.Known(FOCALS)
    )
    assert oracle.calls == [("shift",)]
    np.testing.assert_allclose(recovery.shift, oracle.shift, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("space", ["depth", "disparity"])
def test_with_a_network_for_the_scale_depth_comes_out_in_metres(monkeypatch, space):
    monkeypatch.setattr(predictor, "_predictor", Oracle(space).predictor)
    models = [network((0, 1, 2), space)]
    assert is_metric(models) and not is_metric([network((0, 2))])
    values = [5 * (m if space == "depth" else 1 / m) - 3 for m in MAPS]
    recovery = inference.recover_blocks(models, inference.make_blocks(values))
    for i, true in enumerate(MAPS):
        solution = recovery.at(i)
        found = recovered_depth(values[i], solution.a, solution.b, space)
        np.testing.assert_allclose(found, true, rtol=1e-3)


@pytest.mark.parametrize(
    ("models", "space", "focal_known", "message"),
    [
        ([network((0, 2))], "disparity", False, "was trained in depth space"),
        ([network((2,))], "depth", True, "cover no shift"),
        ([network((0,))], "depth", False, "cover no focal length"),
    ],
)
def test_networks_that_cannot_answer_are_refused(models, space, focal_known, message):
    with pytest.raises(UserError, match=message):
        check_models(models, space, focal_known)


def test_networks_that_cover_what_is_asked_for_are_accepted():
    check_models([network((0, 2))], "depth", False)
    check_models([network((2,)), network((0,))], "depth", False)
    check_models([network((0,), "disparity")], "disparity", True)


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
    flags = by_geometry([wall, holed, sky]).flags
    np.testing.assert_array_equal(flags["near_planar"], [True, False, False])
    np.testing.assert_array_equal(flags["few_valid_pixels"], [False, True, False])
    assert flags["out_of_training_range"][2]
    for raised in geometric.flags.values():
        assert not raised.any()


def test_network_and_geometry_disagree_where_each_excludes_the_other(monkeypatch):
    oracle = Oracle("depth")
    monkeypatch.setattr(predictor, "_predictor", oracle.predictor)
    agreeing = inference.recover_blocks([network((0, 2))], inference.make_blocks(ROOMS))
    assert not agreeing.flags["solver_disagrees"].any()
    oracle.shift = oracle.shift + 1.0
    opposed = inference.recover_blocks([network((0, 2))], inference.make_blocks(ROOMS))
    assert opposed.flags["solver_disagrees"].all()


def test_many_maps_of_one_camera_agree_on_a_focal_length():
    maps = [box_room(seed, fov_degrees=55)[0] for seed in range(3)]
    true = 96 / 2 / np.tan(np.radians(55) / 2)
    blocks = inference.make_blocks([*maps, np.zeros((96, 128))])
    evidence = inference.focal_evidence([], blocks, "geometric", space="depth")
    assert evidence.shape == (4, FOCAL_BINS)
    np.testing.assert_array_equal(evidence[3], 0)
    focal, (low, high) = inference.shared_focal(evidence.sum(0), 3, 96)
    assert abs(focal / true - 1) < 0.03  # a bin is 2 % wide
    assert low < true < high
    # A thousand copies of the maps are more evidence, but not a thousand times as much.
    many, (low_many, high_many) = inference.shared_focal(1000 * evidence.sum(0), 3000, 96)
    assert abs(many / focal - 1) < 0.03
    assert high_many - low_many > 0.15 * (high - low)
    # And without evidence the answer is what was believed before, up to the doubt in it.
    nothing, (low, high) = inference.shared_focal(np.zeros(FOCAL_BINS), 1, 96)
    assert abs(np.log(nothing * 2 / 96 * np.tan(np.radians(30))) - prior.MEAN) < 0.03
    assert high / low > 3


SPACES = pytest.mark.parametrize("space", ["depth", "disparity"])


@pytest.fixture(scope="module")
def surface_models():
    """Fresh weights of the default encoder: they answer as the solver."""
    settings = clouds.CloudSettings(num_points=0, voxel_size=0.0)
    return {
        space: Model(
            f"{space}@0",
            config := dataclasses.replace(
                CONFIG, clouds=dataclasses.replace(settings, space=space), encoder="surfaces"
            ),
            initial_params(config),
        )
        for space in ("depth", "disparity")
    }


def maps_of(space):
    return [values if space == "depth" else 1 / values for values in MAPS]


@SPACES
def test_windows_of_the_solver_serve_the_network(surface_models, space):
    """Posteriors are those from maps and mirror images whose windows the network fits itself."""
    model = surface_models[space]
    blocks = inference.make_blocks(maps_of(space))
    fit = solver.solve(blocks, affine.canonicalise(blocks.values, blocks.mask), space).fit
    network = build_encoder(model.config)
    grids = network.evidence.windows.grids
    for maps, windows in (
        (blocks, fit.windows),
        (clouds.mirrored(blocks), mirrored(fit.windows, grids)),
    ):
        canonical = affine.canonicalise(maps.values, maps.mask)
        seen = clouds.observe(maps, canonical, model.config.clouds)
        inputs = network.inputs(jax.random.key(0), seen, model.config.clouds)
        own = encoder.encode(network, model.params, inputs)
        shared = network.apply(model.params, fit._replace(windows=windows), method="from_windows")
        for target in own:
            # Probabilities; the fits' rounding goes through second derivatives of depth.
            np.testing.assert_allclose(
                np.exp(shared[target].log_probability),
                np.exp(own[target].log_probability),
                atol=5e-3,
            )


@SPACES
@every_method
def test_what_is_known_sharpens_the_rest(surface_models, space, method):
    """Angles tell of both together, so either narrows the other, in network and solver."""
    model, blocks = surface_models[space], inference.make_blocks(maps_of(space))
    canonical = affine.canonicalise(blocks.values, blocks.mask)
    asked = lambda known: inference.recover_blocks([model], blocks, known, method)  # noqa: E731
    nothing = asked(NOTHING_KNOWN)
    with_focal = asked(inference.Known(focal=FOCALS))
    with_shift = asked(inference.Known(shift=-np.asarray(canonical.offset)))
    np.testing.assert_allclose(with_focal.focal, FOCALS, rtol=1e-6)
    for found, one, other in ((with_focal, "shift", nothing), (with_shift, "focal", nothing)):
        if space == "depth" and one == "shift":
            continue  # bending tells of it already, to a bin
        wide, narrow = (
            np.log(np.ptp(getattr(recovery, f"{one}_interval"), axis=-1)).mean()
            for recovery in (other, found)
        )
        assert narrow < wide
    error = np.abs(np.log(with_shift.focal / FOCALS))
    assert np.median(error) < 0.05
