"""Whose word counts, network's or geometry's, and how sure the answer is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from box_rooms import box_room

from train3d_jax import depth, inference, joint, weighing

RATIOS = joint.ratio_bins()


def posterior(centre, deviation):
    return jax.nn.log_softmax(jnp.asarray(-0.5 * ((RATIOS - centre) / deviation) ** 2))


def hybrid(network, geometry):
    opinions = weighing._Opinions(network[None], geometry[None], np.zeros(joint.SHIFT_BINS))
    return np.asarray(joint.quantiles(opinions.weighed("hybrid"), RATIOS, (0.05, 0.5, 0.95)))[0]


def test_geometry_answers_where_the_network_tells_nothing():
    nothing = jax.nn.log_softmax(1e-3 * posterior(0.7, 0.1))
    low, middle, high = hybrid(nothing, posterior(0.3, 0.05))
    assert abs(middle - 0.3) < 0.01
    # Not quite as sure: either may be wrong altogether.
    assert 1.6 < (high - low) / (2 * 0.05) < 3


def test_the_network_answers_where_it_is_sure():
    for of_geometry in (posterior(0.3, 0.1), posterior(0.3, 0.01)):
        middle = hybrid(posterior(0.6, 0.01), of_geometry)[1]
        assert abs(middle - 0.6) < 0.01


def test_what_counts_of_the_network_grows_with_what_it_tells():
    told = [hybrid(posterior(0.7, width), posterior(0.3, 0.2))[1] for width in (1, 0.4, 0.2, 0.05)]
    assert (np.diff(told) > 0).all()


@pytest.mark.parametrize("noise", [0.0, 0.003])
def test_geometry_is_as_sure_of_the_shift_as_it_is_right(noise):
    rng = np.random.default_rng(0)
    maps = [box_room(seed)[0] for seed in range(24)]
    maps = [np.float32(z * (1 + noise * rng.standard_normal(z.shape))) for z in maps]
    blocks = inference.make_blocks(maps)
    found = inference.recover_blocks([], blocks, method="geometric", space="depth")
    true = -np.asarray(depth.canonicalise(blocks.values, blocks.mask).offset)
    low, high = found.shift_interval.T
    held = ((low <= true) & (true <= high)).mean()
    # Of 24 maps, 90 % of which are to be held.
    assert held > 0.7
    width = np.ptp(depth.shift_to_ratio(found.shift_interval), axis=-1) * joint.SHIFT_BINS
    if not noise:
        assert np.median(width) < 1  # no bin is as narrow as what is known
    assert np.median(np.abs(found.shift - true) / (high - low)) > 0.02
