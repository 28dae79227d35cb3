"""Networks for different targets are asked in turn, and those that do not fit are refused."""

import numpy as np
import pytest
from recoveries import FOCALS, MAPS, Oracle, maps_in, network, solved

from train3d_jax.errors import UserError
from train3d_jax.geometry import metrics
from train3d_jax.geometry.camera import centred_intrinsics
from train3d_jax.geometry.depth_maps import point_cloud, recovered_depth
from train3d_jax.inference import recovery as inference
from train3d_jax.inference.models import check_models, is_metric


def straightened_error(recovery, space):
    """Point error of the clouds that the answers make of the maps, in the true maps' own unit."""
    errors = []
    for i, true in enumerate(MAPS):
        solution = recovery.at(i)
        recovered = recovered_depth(maps_in(space)[i], solution.a, solution.b, space)
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
    oracle = Oracle(space, solved(maps_in(space), space))
    oracle.stand_in(monkeypatch)
    models = [network(targets, space, **clouds) for targets, clouds in networks]
    recovery = inference.recover_blocks(models, inference.make_blocks(maps_in(space)))
    assert oracle.calls == asked
    # The prior tilts the bins that the oracle spreads its probability over: by less than a sixth
    # of their width, which is 6 %.
    np.testing.assert_allclose(recovery.focal, FOCALS, rtol=1e-2)
    np.testing.assert_allclose(recovery.shift, oracle.shift, rtol=1e-4, atol=1e-4)
    assert straightened_error(recovery, space).max() < 5e-3


def test_a_shift_network_that_knows_the_focal_length_uses_the_one_that_is_given(monkeypatch):
    oracle = Oracle("depth", solved(MAPS, "depth", FOCALS))
    oracle.stand_in(monkeypatch)
    models = [network((0,), focal_known=True)]
    recovery = inference.recover_blocks(
        models, inference.make_blocks(MAPS), inference.Known(FOCALS)
    )
    assert oracle.calls == [("shift",)]
    np.testing.assert_allclose(recovery.shift, oracle.shift, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("space", ["depth", "disparity"])
def test_with_a_network_for_the_scale_depth_comes_out_in_metres(monkeypatch, space):
    Oracle(space, solved(maps_in(space), space)).stand_in(monkeypatch)
    models = [network((0, 1, 2), space)]
    assert is_metric(models) and not is_metric([network((0, 2))])
    values = [5 * values - 3 for values in maps_in(space)]
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
