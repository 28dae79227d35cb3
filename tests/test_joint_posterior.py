"""One posterior over shift and focal length against the same worked out on a dense grid."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train3d_jax.evidence import joint_posterior
from train3d_jax.evidence.prior import DOUBT, focal_prior, point_mass
from train3d_jax.evidence.settings import AngleSettings
from train3d_jax.evidence.targets import SHIFT_BINS, focal_bins, quantiles, ratio_bins
from train3d_jax.geometry.camera import initial_focal

RATIOS, ALPHAS = ratio_bins(), focal_bins()

# Compiled whole: one by one, hundreds of small operations take four times as long.
marginals = jax.jit(joint_posterior.marginals)
shift_nodes = jax.jit(joint_posterior.shift_nodes, static_argnums=(1, 2))
with_known_shift = jax.jit(joint_posterior.with_known_shift)
quantiles_of = jax.jit(quantiles, static_argnums=(1, 2))


def bump(bins, centre, deviation):
    return -0.5 * ((bins - centre) / deviation) ** 2


def leaning(ratios, slope=2.0, deviation=0.15):
    """Right angles of a room: each shift has a focal length of its own at which it has them."""
    best = slope * (ratios - 0.5)
    return bump(ALPHAS, best[..., None], deviation)


def dense(shift, both):
    """Margins by summing over all bins of both."""
    total = shift[:, None] + both
    return (jax.nn.log_softmax(jax.nn.logsumexp(total, axis)) for axis in (1, 0))


SIZE = np.array([480.0, 640.0])


def test_the_prior_is_what_the_documentation_says():
    ends = quantiles_of(focal_prior(SIZE), "focal", (0.05, 0.5, 0.95))
    heights = np.degrees(2 * np.arctan(np.tan(np.radians(30)) / np.exp(ends)))  # f0 is 60 degrees
    np.testing.assert_allclose(heights, [70.8, 40.0, 18.7], atol=0.05)


@pytest.mark.parametrize("size", [(480, 640), (640, 480), (100, 330), (640, 320), (96, 384)])
def test_the_prior_is_one_of_the_diagonal(size):
    """The likeliest lens is the same for every aspect ratio: 35.3 mm on the film's diagonal."""
    likeliest = np.exp(ALPHAS[np.argmax(focal_prior(np.array([*map(float, size)])))])
    focal = likeliest * np.asarray(initial_focal(float(size[0])))
    np.testing.assert_allclose(focal, np.hypot(*size) * 35.3 / 43.267, rtol=0.011)  # half a bin


@pytest.mark.parametrize(
    ("centre", "deviation", "count"), [(0.4, 0.01, 12), (0.7, 0.05, 12), (0.5, 10.0, 48)]
)
def test_margins_are_those_of_all_bins(centre, deviation, count):
    shift = bump(RATIOS, centre, deviation)
    at = shift_nodes(shift, AngleSettings(), count)
    found = marginals(shift, at, leaning(at) + focal_prior(SIZE))
    expected = dense(shift, leaning(RATIOS) + focal_prior(SIZE))
    targets = ("shift", "focal")
    for target, log_probability, exact in zip(targets, found, expected, strict=True):
        levels = quantiles_of(jnp.stack([log_probability, exact]), target, (0.05, 0.5, 0.95))
        # A twentieth of the widest of the two distributions: nodes are that far apart.
        np.testing.assert_allclose(levels[0], levels[1], atol=0.03)
        np.testing.assert_allclose(jnp.exp(log_probability).sum(), 1, rtol=1e-4)


def test_a_known_focal_length_tells_the_shift():
    nothing = np.zeros(SHIFT_BINS)
    at = shift_nodes(nothing, AngleSettings(), 48)
    known = point_mass(jnp.asarray(0.3), ALPHAS)
    shift, focal = marginals(nothing, at, leaning(at) + known)
    assert abs(RATIOS[shift.argmax()] - 0.65) < 0.01  # 2 (r - 1/2) = 0.3
    assert abs(ALPHAS[focal.argmax()] - 0.3) < 0.011  # half a bin
    low, high = quantiles_of(shift, "shift", (0.05, 0.95))
    # 1.64 deviations of 0.15 / 2 to either side.
    np.testing.assert_allclose(high - low, 2 * 1.645 * 0.075, rtol=0.1)


def test_a_known_shift_tells_the_focal_length():
    known = point_mass(jnp.asarray(0.65), RATIOS)
    at = shift_nodes(known, AngleSettings(), 48)
    _, focal = marginals(known, at, leaning(at))
    middle = quantiles_of(focal, "focal", (0.5,))[0]
    np.testing.assert_allclose(middle, 0.3, atol=0.01)


def test_nodes_are_even_without_knowledge_and_close_where_the_shift_is():
    even = shift_nodes(jnp.zeros(SHIFT_BINS), AngleSettings(), 16)
    np.testing.assert_allclose(even, (np.arange(16) + 0.5) / 16, atol=1e-3)
    close = np.asarray(shift_nodes(bump(RATIOS, 0.3, 0.005), AngleSettings(), 12))
    assert (np.diff(close) > 0).all()
    assert (np.abs(close - 0.3) < 0.03).sum() >= 8
    # And some far away, where the bending was misled.
    assert close.min() < 0.25 and close.max() > 0.6


def test_a_node_is_moved_to_where_a_known_shift_is_and_none_without():
    at = shift_nodes(jnp.stack([bump(RATIOS, 0.3, 0.01)] * 3), AngleSettings(), 12)
    known = point_mass(jnp.array([0.31, 0.9, 0.001]), RATIOS)
    moved = np.asarray(with_known_shift(at, known))
    np.testing.assert_allclose(np.abs(moved - [[0.31], [0.9], [0.005]]).min(-1), 0, atol=2e-3)
    assert ((moved != at).sum(-1) == 1).all() and (np.diff(moved) > 0).all()
    np.testing.assert_array_equal(with_known_shift(at, jnp.zeros_like(known)), at)


def test_the_prior_is_a_density_that_excludes_nothing():
    prior = np.exp(focal_prior(SIZE))
    width = ALPHAS[1] - ALPHAS[0]
    # All but the tails beyond the range, a hundredth.
    np.testing.assert_allclose(prior.sum() * width, 1, atol=0.03)
    assert prior.min() > 0.5 * DOUBT / (ALPHAS[-1] - ALPHAS[0])
    moved = focal_prior(SIZE, ALPHAS + 0.5)
    np.testing.assert_allclose(
        moved[10], np.interp(ALPHAS[10] + 0.5, ALPHAS, np.log(prior)), atol=0.01
    )


def test_batches_are_answered_row_by_row():
    shift = jnp.stack([bump(RATIOS, 0.4, 0.02), bump(RATIOS, 0.8, 0.1)])
    at = shift_nodes(shift, AngleSettings(), 12)
    together = marginals(shift, at, leaning(at))
    for row in range(2):
        alone = marginals(shift[row], at[row], leaning(at[row]))
        for one, other in zip(together, alone, strict=True):
            np.testing.assert_allclose(one[row], other, rtol=1e-5, atol=1e-5)
