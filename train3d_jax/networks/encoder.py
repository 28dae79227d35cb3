"""The point-set encoder: from a distorted cloud to posteriors over shift, focal ratio and scale.

The encoder is a function of a set: it does not change when points are permuted or padding is added.
It sees the cloud in two ways.  A small shared network looks at every point and is pooled over all
of them (as PointNet, arXiv 1612.00593).  And quadrics fitted to windows of the cloud vote, each
window for a shift, each pair of windows for a focal length (`surfaces`); the network learns which
votes to trust.  The votes are counted in histograms, and from those come the posteriors.
"""

from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from train3d_jax.evidence.joint_posterior import Beliefs
from train3d_jax.evidence.targets import (
    BINS,
    RANGES,
    TARGETS,
    Posterior,
    Target,
    bin_centres,
    median,
)
from train3d_jax.geometry.affine import Space, ratio_to_shift
from train3d_jax.windows import planes, quadrics

PAIRS = 2048
"""Pairs of windows that vote for a focal length, out of the 90,000 that there are."""


class Encoder(nn.Module):
    """What all encoders are made with, and what they find.

    Attributes:
      heads: the targets that it gives posteriors for.
      space: of the canonical values; in "depth" planes tell of the shift, in "disparity" they do
        not.
      shift_known: the cloud comes with its true shift, so no shift is taken off before angles are
        judged.
      width: channels of the hidden layers.
      dtype: that layers compute with, None for that of the parameters; geometry, sums over sets and
        posteriors are never less than float32.
    """

    heads: tuple[Target, ...]
    space: Space = "depth"
    shift_known: bool = False
    width: int = 64
    dtype: Any = None

    @property
    def found(self) -> tuple[Target, ...]:
        """The targets that it gives posteriors for: its heads, and the shift unless it is known."""
        return tuple(
            target
            for target in TARGETS
            if target in self.heads or (target == "shift" and not self.shift_known)
        )


class PointSetEncoder(Encoder):
    """Shared point network, window votes, and one head for each target."""

    @nn.compact
    def __call__(self, points: jax.Array, mask: jax.Array) -> dict[Target, Posterior]:
        """Encodes clouds.

        Args:
          points: x, y, z and, with five channels, (u - cx) / f0 and (v - cy) / f0; (B, N, 3 or 5).
          mask: points that count, shape (B, N).

        Returns:
          A posterior, (B, BINS), for each of `found`: for the shift wherever it is not known,
          because angles can only be judged once it is taken off.
        """
        # Masked points may hold anything, NaN included: nothing of them may reach a sum.
        points = jnp.where(mask[..., None], points, 1.0)
        depth = points[..., 2]
        pooled = pool(PointNetwork(self.width, self.dtype)(points), mask)
        windows = jax.lax.stop_gradient(
            jax.vmap(quadrics.fit_windows)(points[..., :2] / depth[..., None], 1 / depth, mask)
        )
        local, context = WindowNetwork(self.width, self.dtype)(windows, pooled)

        posteriors: dict[Target, Posterior] = {}
        shift = jnp.zeros(points.shape[:1])
        if "shift" in self.found:
            posteriors["shift"] = self._shift_posterior(windows, local, context)
            if not self.shift_known:
                shift = ratio_to_shift(jnp.clip(median(posteriors["shift"], "shift"), 0.02, 0.98))
        if "focal" in self.heads:
            posteriors["focal"] = self._focal_posterior(
                windows, jax.lax.stop_gradient(shift), local, context
            )
        if "scale" in self.heads:
            posteriors["scale"] = HistogramHead(self.width, self.dtype)(None, context)
        return posteriors

    def _shift_posterior(self, windows, local, context) -> Posterior:
        if self.space == "disparity":
            return HistogramHead(self.width, self.dtype)(None, context)
        votes = jax.vmap(planes.shift_votes)(windows)
        weights = nn.softplus(nn.Dense(4)(local))
        return HistogramHead(self.width, self.dtype)(count_votes(votes, weights, "shift"), context)

    def _focal_posterior(self, windows, shift, local, context) -> Posterior:
        pairs = window_pairs(windows.mask.shape[-1], PAIRS)
        votes = jax.vmap(lambda w, s: planes.focal_votes(w, s, pairs, self.space))(windows, shift)
        trust = nn.softplus(nn.Dense(4)(local))
        weights = trust[:, pairs[:, 0]] * trust[:, pairs[:, 1]]
        return HistogramHead(self.width, self.dtype)(count_votes(votes, weights, "focal"), context)


def encode(
    encoder: Encoder,
    params: Any,
    points: jax.Array,
    mask: jax.Array,
    beliefs: Beliefs | None = None,
) -> dict[Target, Posterior]:
    """Applies an encoder with its weights; see `PointSetEncoder.__call__`.

    Beliefs are for `surface_encoder.SurfaceEncoder`, which weighs both unknowns together.
    """
    more = () if beliefs is None else (beliefs,)
    return cast(dict[Target, Posterior], encoder.apply(params, points, mask, *more))


class PointNetwork(nn.Module):
    """The same two layers for every point."""

    width: int
    dtype: Any = None

    @nn.compact
    def __call__(self, points: jax.Array) -> jax.Array:
        """Maps (B, N, C) to (B, N, width)."""
        hidden = nn.relu(nn.Dense(self.width // 2, dtype=self.dtype)(points))
        return nn.relu(nn.Dense(self.width, dtype=self.dtype)(hidden))


class WindowNetwork(nn.Module):
    """Features of every window, aware of all the others."""

    width: int
    dtype: Any = None

    @nn.compact
    def __call__(self, windows: quadrics.Windows, pooled: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns features of windows, (B, M, width), and of the whole, (B, 3 * width)."""
        features = window_features(windows)
        hidden = nn.relu(nn.Dense(self.width, dtype=self.dtype)(features))
        hidden = nn.relu(nn.Dense(self.width, dtype=self.dtype)(hidden))
        context = jnp.concatenate([pool(hidden, windows.mask), pooled], -1)
        context = nn.relu(nn.Dense(2 * self.width, dtype=self.dtype)(context))
        aware = (
            nn.Dense(self.width, dtype=self.dtype)(hidden)
            + nn.Dense(self.width, dtype=self.dtype)(context)[:, None]
        )
        return nn.relu(aware), context


class HistogramHead(nn.Module):
    """From counted votes and the context to a posterior over bins."""

    width: int
    dtype: Any = None

    @nn.compact
    def __call__(self, histogram: jax.Array | None, context: jax.Array) -> Posterior:
        """Takes a histogram (B, BINS, K), or None where there are no votes."""
        logits = nn.Dense(BINS, dtype=self.dtype)(
            nn.relu(nn.Dense(self.width, dtype=self.dtype)(context))
        )
        if histogram is not None:
            log_votes = jnp.log(histogram + 1e-3)
            place = jnp.linspace(-1.0, 1.0, BINS)[None, :, None]
            features = jnp.concatenate(
                [log_votes, histogram, jnp.broadcast_to(place, (*log_votes.shape[:2], 1))], -1
            )
            hidden = nn.Conv(self.width // 2, (5,), dtype=self.dtype)(features)
            hidden = nn.relu(hidden + nn.Dense(self.width // 2, dtype=self.dtype)(context)[:, None])
            hidden = nn.relu(nn.Conv(self.width // 2, (5,), dtype=self.dtype)(hidden)) + hidden
            logits += nn.Dense(1, dtype=self.dtype)(jnp.concatenate([hidden, log_votes], -1))[
                ..., 0
            ]
        return Posterior(
            jax.nn.log_softmax(logits.astype(jnp.promote_types(logits.dtype, jnp.float32)))
        )


def pool(features: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean and maximum over the set: (B, N, C) with mask (B, N) to (B, 2 C)."""
    features = features.astype(jnp.promote_types(features.dtype, jnp.float32))
    weight = mask[..., None].astype(features.dtype)
    mean = (features * weight).sum(-2) / jnp.maximum(weight.sum(-2), 1)
    largest = jnp.where(mask[..., None], features, -jnp.inf).max(-2)
    return jnp.concatenate([mean, jnp.where(jnp.isfinite(largest), largest, 0.0)], -1)


def window_features(windows: quadrics.Windows) -> jax.Array:
    """What a network needs to judge a window, each number of order one; shape (..., M, 14)."""
    q, q_deviation, misfit = planes.bending(windows)
    size = jnp.sqrt(windows.extent.prod(-1))
    slope = jnp.sqrt((windows.gradient**2).sum(-1))
    features = [
        windows.centre,
        jnp.log(windows.extent) + 3,
        windows.value[..., None] - 1.4,
        windows.gradient / 3,
        jnp.log(slope + 1e-3)[..., None],
        (jnp.log(windows.residual + planes.RESIDUAL_FLOOR) + 8)[..., None] / 3,
        (jnp.log(windows.residual + planes.RESIDUAL_FLOOR) - jnp.log(slope * size + 1e-3))[
            ..., None
        ]
        / 3,
        jnp.tanh(q / 4)[..., None],
        (jnp.log(q_deviation + 1e-3))[..., None] / 3,
        (jnp.log(misfit + 0.1))[..., None],
        (jnp.log(windows.count + 1) - 3)[..., None],
    ]
    return jnp.where(windows.mask[..., None], jnp.concatenate(features, -1), 0.0)


def window_pairs(count: int, pairs: int) -> np.ndarray:
    """A fixed choice of pairs out of `count` windows, spread evenly; shape (pairs, 2)."""
    first, second = np.triu_indices(count, 1)
    chosen = np.random.default_rng(0).permutation(len(first))[:pairs]
    return np.stack([first[chosen], second[chosen]], -1)


def count_votes(votes: planes.Votes, weights: jax.Array, target: Target) -> jax.Array:
    """Histograms of votes, each smeared by its own deviation.

    Args:
      votes: shape (B, M).
      weights: K learned opinions of every vote, shape (B, M, K).
      target: which range the bins span.

    Returns:
      Shape (B, BINS, K), each of the order of one.
    """
    low, high = RANGES[target]
    width = (high - low) / BINS
    deviation = jnp.hypot(votes.deviation, width)
    distance = (bin_centres(target) - votes.value[..., None]) / deviation[..., None]
    # A vote counts by its density: one that is unsure adds little anywhere.
    density = jnp.exp(-0.5 * distance**2) * (width / deviation)[..., None]
    density = jax.lax.stop_gradient(jnp.where(votes.mask[..., None], density, 0.0))
    weights = jnp.where(votes.mask[..., None], weights, 0.0)
    counted = jnp.einsum("bmk,bmh->bkh", density, weights)
    return counted / (weights.sum(-2)[:, None] / 16 + 1e-3)
