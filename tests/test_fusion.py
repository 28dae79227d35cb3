"""Evidence and prior are multiplied; intervals and flags of estimates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from box_rooms import box_room
from recoveries import estimated

from train3d_jax.evidence import solver
from train3d_jax.evidence.fusion import Evidence, fuse, log_likelihoods
from train3d_jax.evidence.hints import Hints
from train3d_jax.evidence.line_curves import LineCurves
from train3d_jax.evidence.network_posterior import NetworkPosterior
from train3d_jax.evidence.targets import FOCAL_BINS, SHIFT_BINS, quantiles, ratio_bins
from train3d_jax.geometry import affine
from train3d_jax.inference import recovery as inference

RATIOS = ratio_bins()


def log_normal(centre, sigma):
    return jnp.asarray(-0.5 * ((RATIOS - centre) / sigma) ** 2)


def interval(log_probability):
    return np.asarray(quantiles(log_probability, "shift", (0.05, 0.5, 0.95)))


UNIFORM = np.zeros(SHIFT_BINS)


def test_the_posterior_is_the_normalised_product_of_prior_and_evidence():
    one, other = log_normal(0.4, 0.05), log_normal(0.6, 0.1)
    fused = fuse(log_normal(0.5, 0.2), Evidence(one), Evidence(other))
    # Precisions of normal distributions add up, and weight their means.
    precision = np.array([1 / 0.2**2, 1 / 0.05**2, 1 / 0.1**2])
    low, middle, high = interval(fused)
    assert abs(middle - precision @ [0.5, 0.4, 0.6] / precision.sum()) < 1e-3
    np.testing.assert_allclose(high - low, 2 * 1.645 / np.sqrt(precision.sum()), rtol=0.02)
    np.testing.assert_allclose(jnp.exp(fused).sum(), 1, rtol=1e-5)


def test_neither_order_nor_constants_nor_uniform_evidence_matter():
    one, other = Evidence(log_normal(0.4, 0.05), 0.1), Evidence(log_normal(0.6, 0.1))
    fused = fuse(UNIFORM, one, other)
    same = fuse(UNIFORM + 3, other, Evidence(one.log_likelihood - 7, 0.1), Evidence(UNIFORM))
    np.testing.assert_allclose(fused, same, atol=1e-4)


def test_evidence_that_may_be_wrong_cannot_exclude_what_other_evidence_is_sure_of():
    sure = Evidence(log_normal(0.7, 0.01))
    # 0.3 excludes 0.7 by 800 nats; with a doubt of 5 % it leaves it one part in twenty.
    wrong = log_normal(0.3, 0.01)
    assert abs(interval(fuse(UNIFORM, sure, Evidence(wrong)))[1] - 0.5) < 0.01
    assert abs(interval(fuse(UNIFORM, sure, Evidence(wrong, 0.05)))[1] - 0.7) < 0.01


def test_doubt_of_one_source_alone_widens_its_posterior():
    likelihood = log_normal(0.3, 0.05)
    low, middle, high = interval(fuse(UNIFORM, Evidence(likelihood, 0.05)))
    assert abs(middle - 0.3) < 0.01
    assert 1.1 < (high - low) / (2 * 1.645 * 0.05) < 3


@pytest.mark.parametrize("noise", [0.0, 0.003])
def test_intervals_of_geometry_contain_the_true_shift(noise):
    rng = np.random.default_rng(0)
    maps = [box_room(seed)[0] for seed in range(24)]
    maps = [np.float32(z * (1 + noise * rng.standard_normal(z.shape))) for z in maps]
    blocks = inference.make_blocks(maps)
    found = estimated(maps)
    true = -np.asarray(affine.canonicalise(blocks.values, blocks.mask).offset)
    low, high = found.shift_interval.T
    contained = ((low <= true) & (true <= high)).mean()
    # Of 24 maps, 90 % of which should be contained.
    assert contained > 0.7
    width = np.ptp(affine.shift_to_ratio(found.shift_interval), axis=-1) * SHIFT_BINS
    if not noise:
        assert np.median(width) < 1  # no bin is as narrow as what is known
    assert np.median(np.abs(found.shift - true) / (high - low)) > 0.02


def sparse(maps):
    return estimated(maps).flags["few_valid_pixels"].tolist()


def test_sparse_is_a_map_with_values_in_less_than_a_tenth_of_its_pixels():
    rng = np.random.default_rng(0)
    large, small = box_room(0, (192, 256))[0], box_room(0, (18, 18))[0]
    # Scattered pixels fill every block of a large map; a small map has few blocks.
    kept = rng.permutation(large.size).reshape(large.shape) / large.size
    scattered = [np.where(kept < share, large, 0) for share in (0.095, 0.105)]
    corner = np.zeros_like(small)
    corner[:5, :5] = small[:5, :5]
    assert sparse([small, large, *scattered, corner]) == [False, False, True, False, True]


def test_values_5_5_times_beyond_the_quantiles_are_out_of_range():
    room = box_room(0, (192, 256))[0]
    blocks = inference.make_blocks([room])
    form = affine.canonicalise(blocks.values, blocks.mask)
    maps = []
    for beyond in (0, 5.3, 5.7):
        # One block, of one value; its canonical value is 1 + 0.5 * beyond.
        value = (affine.FAR_VALUE + 0.5 * beyond - float(form.offset[0])) / float(form.scale[0])
        maps.append(room.copy())
        maps[-1][:3, :4] = value
    assert estimated(maps).flags["out_of_training_range"].tolist() == [False, False, True]


def test_lines_are_multiplied_once_with_what_the_map_says():
    blocks = jax.tree.map(jnp.asarray, inference.make_blocks([box_room(0)[0]]))
    canonical = affine.canonicalise(blocks.values, blocks.mask)
    geometry = solver.solve(blocks, canonical, "depth")
    rng = np.random.default_rng(0)
    focal = np.float32(rng.normal(0, 2, (1, FOCAL_BINS)))
    lines = LineCurves(focal, np.zeros((1, SHIFT_BINS), np.float32))
    both = solver.with_lines(geometry, lines)
    unknown = jnp.full(1, jnp.nan)
    hints = Hints(unknown, unknown, unknown, unknown)
    arguments = (NetworkPosterior(), blocks, hints, "geometric")
    without = log_likelihoods(geometry, *arguments).focal
    found = log_likelihoods(both, *arguments, lines).focal
    # Without the doubt of a frame, which flattens both: only where they are likely.
    likely = np.asarray(found > -2)
    change = np.asarray(found - without)[likely] - focal[likely]
    np.testing.assert_allclose(change, change[0], atol=0.2)
    same = solver.with_lines(geometry, lines._replace(focal=np.zeros_like(focal)))
    np.testing.assert_allclose(same.focal, geometry.focal, atol=1e-5)
