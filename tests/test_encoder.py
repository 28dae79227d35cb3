import jax
import jax.numpy as jnp
import numpy as np
import pytest
from box_rooms import box_room

from train3d_jax.evidence import targets
from train3d_jax.networks.point_set_encoder import PAIRS, PointSetEncoder
from train3d_jax.training import losses
from train3d_jax.windows.planes import window_pairs

POINTS, BATCH = 1024, 3
NETWORK = PointSetEncoder(("shift", "focal"), width=16)
TRUTH = {"shift": jnp.array([0.2, 0.5, 0.9]), "focal": jnp.array([-0.5, 0.0, 0.4])}

TOLERANCE = 3e-3
"""Of probabilities.  Sums in another order differ by 1e-7; fitted second derivatives divide that by
the squared half width of a window, 1/1000, in windows of hardly more points than coefficients once
more, and the votes' logarithms pass it on: 6e-4 were seen."""


def cloud_of(seed, count=POINTS):
    """A room as the encoder sees it: canonical in size, 5 channels."""
    depth, intrinsics = box_room(seed)
    rng = np.random.default_rng(seed)
    v, u = (rng.integers(0, side, count) for side in depth.shape)
    z = depth[v, u] / np.quantile(depth, 0.98) * (1 + rng.normal(0, 2e-3, count))
    rays = (np.stack([u, v], -1) - intrinsics[:2, 2]) / intrinsics[0, 0]
    return np.concatenate([rays * z[:, None], z[:, None], rays], -1).astype(np.float32)


@jax.jit
def answer_and_gradient(params, points, mask):
    """Posteriors, and the gradient of the loss by weights and points: all compiled at once."""

    def loss(params, points):
        posteriors = NETWORK.apply(params, points, mask)
        parts = [losses.posterior_loss(posteriors[name], TRUTH[name], name) for name in TRUTH]
        return sum(part.sum() for part in parts), posteriors

    (value, posteriors), gradient = jax.value_and_grad(loss, (0, 1), has_aux=True)(params, points)
    return value, {name: p.log_probability for name, p in posteriors.items()}, gradient


@pytest.fixture(scope="module")
def params():
    points = jnp.zeros((BATCH, POINTS, 5))
    return jax.jit(NETWORK.init)(jax.random.key(0), points, jnp.ones((BATCH, POINTS), bool))


@pytest.fixture(scope="module")
def clouds():
    return np.stack([cloud_of(seed) for seed in range(BATCH)])


def answer(params, points, mask=None):
    mask = np.ones(points.shape[:2], bool) if mask is None else mask
    _, posteriors, _ = answer_and_gradient(params, points, mask)
    return posteriors


def furthest(one, other):
    """The largest difference between probabilities."""
    return max(np.abs(np.exp(one[name]) - np.exp(other[name])).max() for name in one)


def test_posteriors_are_normalised_over_the_bins(params, clouds):
    for posterior in answer(params, clouds).values():
        assert posterior.shape == (BATCH, targets.BINS)
        np.testing.assert_allclose(np.exp(posterior).sum(-1), 1, rtol=1e-5)


def test_different_clouds_get_different_answers(params, clouds):
    # Without this the invariances below would prove nothing.
    once = answer(params, clouds)
    assert furthest(once, answer(params, clouds[[1, 2, 0]])) > 10 * TOLERANCE
    # A fifth of the points, all from one side, left out.
    outermost = clouds[..., 3] > np.quantile(clouds[..., 3], 0.8, axis=1, keepdims=True)
    assert furthest(once, answer(params, clouds, ~outermost)) > 5 * TOLERANCE


@pytest.mark.parametrize("by", ["chance", "x", "depth"])
def test_the_answer_does_not_change_when_points_are_permuted(params, clouds, by):
    # Sorted too: what looks at a point's place in the row would see another scene.
    chance = np.random.default_rng(0).random((BATCH, POINTS))
    order = np.argsort({"chance": chance, "x": clouds[..., 0], "depth": clouds[..., 2]}[by], 1)
    permuted = np.take_along_axis(clouds, order[..., None], 1)
    assert furthest(answer(params, clouds), answer(params, permuted)) < TOLERANCE


@pytest.mark.parametrize("garbage", [np.nan, np.inf, 0.0, -3.0, 1e30])
def test_what_masked_points_hold_means_nothing(params, clouds, garbage):
    mask = np.random.default_rng(1).random((BATCH, POINTS)) < 0.8
    spoilt = np.where(mask[..., None], clouds, np.float32(garbage))
    # The same sums in the same order: not a bit differs.
    assert furthest(answer(params, clouds, mask), answer(params, spoilt, mask)) == 0


def test_the_answer_does_not_change_when_padding_is_added(params, clouds):
    count = 900
    padded = np.where(np.arange(POINTS)[:, None] < count, clouds, np.nan)
    mask = np.broadcast_to(np.arange(POINTS) < count, (BATCH, POINTS))
    bare = jax.jit(NETWORK.apply)(params, clouds[:, :count], np.ones((BATCH, count), bool))
    bare = {name: posterior.log_probability for name, posterior in bare.items()}
    assert furthest(bare, answer(params, padded, mask)) < TOLERANCE


def test_each_cloud_is_answered_alone(params, clouds):
    others = clouds.copy()
    others[1:] = np.nan
    others[2] = 1
    mask = np.ones((BATCH, POINTS), bool)
    mask[1] = False
    one, other = answer(params, clouds), answer(params, others, mask)
    for name in one:
        # The same operations on the same rows.
        np.testing.assert_allclose(one[name][0], other[name][0], atol=1e-6)


def singular_clouds(clouds):
    wall = clouds.copy()
    wall[..., 2] = 0.7
    wall[..., :2] = wall[..., 3:] * 0.7
    tilted = clouds.copy()
    tilted[..., 2] = 1 / (1.2 + 0.4 * clouds[..., 3] - 0.3 * clouds[..., 4])
    tilted[..., :2] = clouds[..., 3:] * tilted[..., 2:3]
    column = wall.copy()
    column[..., [0, 3]] = 0
    everything, nothing = (np.full(clouds.shape[:2], held) for held in (True, False))
    single = everything & (np.arange(POINTS) == 5)
    return {
        "one wall, seen straight": (wall, everything),
        "one tilted plane": (tilted, everything),
        "one column": (column, everything),
        "all points the same": (np.ones_like(clouds), everything),
        "one point": (clouds, single),
        "nothing": (np.full_like(clouds, np.nan), nothing),
    }


def test_gradients_are_finite_where_the_geometry_is_singular(params, clouds):
    for name, (points, mask) in singular_clouds(clouds).items():
        value, posteriors, gradient = answer_and_gradient(params, points, mask)
        assert np.isfinite(value), name
        assert all(np.isfinite(p).all() for p in posteriors.values()), name
        for leaf in jax.tree.leaves(gradient):
            assert np.isfinite(leaf).all(), name


def test_every_weight_learns_from_a_cloud(params, clouds):
    _, _, (gradient, _) = answer_and_gradient(params, clouds, np.ones((BATCH, POINTS), bool))
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        name = jax.tree_util.keystr(path)
        if leaf.shape == (1,) and "HistogramHead" in name:
            continue  # one number added to all logits, which the softmax cancels
        assert np.abs(leaf).max() > 0, name


@pytest.mark.parametrize(
    ("heads", "space", "shift_known", "channels", "answered"),
    [
        (("shift",), "depth", False, 3, {"shift"}),
        (("shift", "focal"), "depth", False, 5, {"shift", "focal"}),
        (("shift", "scale", "focal"), "disparity", False, 3, {"shift", "scale", "focal"}),
        (("scale",), "depth", True, 5, {"scale"}),
        (("focal",), "disparity", True, 5, {"focal"}),
        # A shift that is neither known nor asked for is estimated all the same: focal votes need it
        (("focal",), "depth", False, 3, {"shift", "focal"}),
    ],
)
def test_there_is_a_posterior_for_each_head(heads, space, shift_known, channels, answered):
    network = PointSetEncoder(heads, space, shift_known, width=16)
    points, mask = jnp.zeros((2, 64, channels)), jnp.ones((2, 64), bool)
    posteriors, _ = jax.eval_shape(network.init_with_output, jax.random.key(0), points, mask)
    assert set(posteriors) == answered
    for posterior in posteriors.values():
        assert posterior.log_probability.shape == (2, targets.BINS)


def test_pairs_of_windows_are_different_windows_each_pair_once():
    pairs = window_pairs(426, PAIRS)
    assert pairs.shape == (PAIRS, 2)
    assert (pairs[:, 0] < pairs[:, 1]).all() and pairs.max() < 426
    assert len(np.unique(pairs, axis=0)) == PAIRS
    assert window_pairs(5, PAIRS).shape == (10, 2)
