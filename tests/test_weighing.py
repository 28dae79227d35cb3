"""Whose word counts, network's or geometry's, and how sure the answer is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from box_rooms import box_room

from train3d_jax.evidence import fusion
from train3d_jax.evidence.targets import SHIFT_BINS, quantiles, ratio_bins
from train3d_jax.geometry import affine
from train3d_jax.inference import recovery as inference

RATIOS = ratio_bins()


def posterior(centre, deviation):
    return jax.nn.log_softmax(jnp.asarray(-0.5 * ((RATIOS - centre) / deviation) ** 2))


def hybrid(network, geometry, trust=1.0):
    shares = fusion._between((0.0, 1.0), (1.0, 0.1), jnp.full((1, 1), trust))
    opinions = fusion._Opinions(network[None], geometry[None], np.zeros(SHIFT_BINS), shares)
    return np.asarray(quantiles(opinions.weighed("hybrid"), RATIOS, (0.05, 0.5, 0.95)))[0]


def test_the_network_answers_where_it_is_trusted():
    for of_geometry in (posterior(0.3, 0.1), posterior(0.3, 0.01)):
        middle = hybrid(posterior(0.6, 0.01), of_geometry)[1]
        assert abs(middle - 0.6) < 0.01


def test_geometry_answers_where_the_network_is_not_trusted():
    low, middle, high = hybrid(posterior(0.7, 0.01), posterior(0.3, 0.05), 0.0)
    assert abs(middle - 0.3) < 0.01
    # Not quite as sure: it may be wrong altogether.
    assert 1.6 < (high - low) / (2 * 0.05) < 3


def test_the_answer_goes_from_one_to_the_other_with_trust():
    network, geometry = posterior(0.7, 0.15), posterior(0.3, 0.15)
    middles = [hybrid(network, geometry, trust)[1] for trust in (0.0, 0.25, 0.5, 1.0)]
    assert (np.diff(middles) > 0).all()


@pytest.mark.parametrize(("deviation", "nats"), [(1e3, 0.0), (0.086, 1.04), (0.0121, 3.0)])
def test_information_is_that_of_a_narrower_range(deviation, nats):
    # -log(4.13 deviations): a normal distribution is as wide as a uniform one over sqrt(2 pi e).
    found = fusion._information(posterior(0.5, deviation))
    np.testing.assert_allclose(found, nats, atol=0.03)


@pytest.mark.parametrize("noise", [0.0, 0.003])
def test_geometry_is_as_sure_of_the_shift_as_it_is_right(noise):
    rng = np.random.default_rng(0)
    maps = [box_room(seed)[0] for seed in range(24)]
    maps = [np.float32(z * (1 + noise * rng.standard_normal(z.shape))) for z in maps]
    blocks = inference.make_blocks(maps)
    found = inference.recover_blocks([], blocks, method="geometric", space="depth")
    true = -np.asarray(affine.canonicalise(blocks.values, blocks.mask).offset)
    low, high = found.shift_interval.T
    held = ((low <= true) & (true <= high)).mean()
    # Of 24 maps, 90 % of which are to be held.
    assert held > 0.7
    width = np.ptp(affine.shift_to_ratio(found.shift_interval), axis=-1) * SHIFT_BINS
    if not noise:
        assert np.median(width) < 1  # no bin is as narrow as what is known
    assert np.median(np.abs(found.shift - true) / (high - low)) > 0.02


def sparse(maps):
    found = inference.recover_blocks(
        [], inference.make_blocks(maps), method="geometric", space="depth"
    )
    return found.flags["few_valid_pixels"].tolist()


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
    found = inference.recover_blocks(
        [], inference.make_blocks(maps), method="geometric", space="depth"
    )
    assert found.flags["out_of_training_range"].tolist() == [False, False, True]
