"""A network of point sets: from a distorted cloud to posteriors over shift, focal ratio and scale.

It is a function of a set: it does not change when points are permuted or padding is added.  A small
shared network sees every point and is pooled over all of them (PointNet, arXiv 1612.00593).
Quadrics fitted to windows of the cloud vote, each window for a shift, each pair of windows for a
focal length (`windows.planes`); the network learns the weights of the votes.  Histograms of the
votes give the posteriors.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from train3d_jax.evidence.targets import (
    BINS,
    RANGES,
    Posterior,
    Target,
    bin_centres,
    median,
)
from train3d_jax.geometry.affine import ratio_to_shift
from train3d_jax.networks.encoder import Encoder, pool, window_features
from train3d_jax.windows import planes, quadrics

PAIRS = 2048
"""Pairs of windows that vote for a focal length, out of 90,000.  Chosen."""


class PointSetEncoder(Encoder):
    """Shared point network, window votes, and one head for each target."""

    @nn.compact
    def __call__(self, points: jax.Array, mask: jax.Array) -> dict[Target, Posterior]:
        """Encodes clouds.

        Args:
          points: x, y, z and, with five channels, (u - cx) / f0 and (v - cy) / f0; (B, N, 3 or 5).
          mask: points that count, shape (B, N).

        Returns:
          A posterior, (B, BINS), for each of `estimated`: for the shift wherever it is not known,
          because angles can only be evaluated once it is taken off.
        """
        # Masked points may hold anything, NaN included: it must not reach a sum.
        points = jnp.where(mask[..., None], points, 1.0)
        depth = points[..., 2]
        pooled = pool(PointNetwork(self.width, self.dtype)(points), mask)
        windows = jax.lax.stop_gradient(
            jax.vmap(quadrics.fit_windows)(points[..., :2] / depth[..., None], 1 / depth, mask)
        )
        local, context = WindowNetwork(self.width, self.dtype)(windows, pooled)

        posteriors: dict[Target, Posterior] = {}
        shift = jnp.zeros(points.shape[:1])
        if "shift" in self.estimated:
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
        votes = planes.shift_votes(windows)
        weights = nn.softplus(nn.Dense(4)(local))
        return HistogramHead(self.width, self.dtype)(count_votes(votes, weights, "shift"), context)

    def _focal_posterior(self, windows, shift, local, context) -> Posterior:
        pairs = planes.window_pairs(windows.mask.shape[-1], PAIRS)
        votes = planes.focal_votes(windows, shift, pairs, self.space)
        of_windows = nn.softplus(nn.Dense(4)(local))
        weights = of_windows[:, pairs[:, 0]] * of_windows[:, pairs[:, 1]]
        return HistogramHead(self.width, self.dtype)(count_votes(votes, weights, "focal"), context)


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


def count_votes(votes: planes.Votes, weights: jax.Array, target: Target) -> jax.Array:
    """Histograms of votes, each spread by its own standard deviation.

    Args:
      votes: shape (B, M).
      weights: K learned weights of each vote, shape (B, M, K).
      target: which range the bins span.

    Returns:
      Shape (B, BINS, K), each of the order of one.
    """
    low, high = RANGES[target]
    width = (high - low) / BINS
    sigma = jnp.hypot(votes.sigma, width)
    distance = (bin_centres(target) - votes.value[..., None]) / sigma[..., None]
    # A vote counts by its density: one with a large standard deviation adds little anywhere.
    density = jnp.exp(-0.5 * distance**2) * (width / sigma)[..., None]
    density = jax.lax.stop_gradient(jnp.where(votes.mask[..., None], density, 0.0))
    weights = jnp.where(votes.mask[..., None], weights, 0.0)
    counted = jnp.einsum("bmk,bmh->bkh", density, weights)
    return counted / (weights.sum(-2)[:, None] / 16 + 1e-3)
