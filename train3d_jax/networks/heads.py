"""Heads of the default network: learned weights of windows and pairs, corrections of curves."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from train3d_jax.evidence.likelihoods import Weights

SIGMA_RANGE = (-2.0, 3.0)
ODDS_RANGE = (-8.0, 6.0)
WEIGHT_RANGE = (-6.0, 3.0)
"""Ranges of the logarithms of the factors in `Weights`.  Chosen: wide enough to drop a window."""

ANGLE_WIDTH = 16
"""Channels of `AngleHead`.  Chosen."""


class LearnedWeights(nn.Module):
    """Weights of windows, or of pairs; near 1 throughout with fresh parameters."""

    @nn.compact
    def __call__(self, features: jax.Array) -> Weights:
        """Maps (..., C) to factors of shape (...)."""
        raw = nn.Dense(3, kernel_init=nn.initializers.normal(0.01))(features)
        ranges = (SIGMA_RANGE, ODDS_RANGE, WEIGHT_RANGE)
        return Weights(*(jnp.exp(jnp.clip(raw[..., i], *ranges[i])) for i in range(3)))


class CurveHead(nn.Module):
    """From log-likelihoods over bins to one: their sum, tempered and corrected.

    Attributes:
      initial_weights: of the curves, with fresh parameters.
    """

    width: int
    dtype: Any = None
    initial_weights: tuple[float, ...] = (1.0,)

    @nn.compact
    def __call__(self, curves: jax.Array, context: jax.Array) -> jax.Array:
        """Maps curves (B, bins, K) and features of the whole map, (B, C), to (B, bins)."""
        curves = curves - jax.nn.logsumexp(curves, 1, keepdims=True)
        bins = curves.shape[1]
        share = self.param("share", lambda _: jnp.float32(self.initial_weights))
        logits = (curves * share).sum(-1) * _temper(context)
        place = jnp.linspace(-1.0, 1.0, bins)[:, None] ** np.array([1, 2])
        place = jnp.broadcast_to(place, (len(curves), bins, 2))
        # Logarithms for the slopes, probabilities for the peaks; each of order one.
        features = [jnp.maximum(curves, -15) / 5, jnp.exp(curves) * 4, place]
        half = self.width // 2
        hidden = nn.Conv(half, (5,), dtype=self.dtype)(jnp.concatenate(features, -1))
        hidden = nn.relu(hidden + nn.Dense(half, dtype=self.dtype)(context)[:, None])
        for dilation in (3, 9):
            wider = nn.Conv(half, (5,), kernel_dilation=dilation, dtype=self.dtype)(hidden)
            hidden = hidden + nn.relu(wider)
        small = nn.initializers.normal(0.01)
        logits += nn.Dense(1, kernel_init=small, dtype=self.dtype)(hidden)[..., 0]
        return logits.astype(jnp.promote_types(logits.dtype, jnp.float32))


class AngleHead(nn.Module):
    """Corrects and tempers log-likelihoods over shifts and focal lengths."""

    dtype: Any = None

    @nn.compact
    def __call__(
        self, angles: jax.Array, shift: jax.Array, nodes: jax.Array, context: jax.Array
    ) -> jax.Array:
        """Maps (B, K, bins) to the same.

        Args:
          angles: at each of K nodes, shape (B, K, bins).
          shift: log-probability of each node's shift, shape (B, K).
          nodes: near/far ratios, shape (B, K).
          context: shape (B, C).
        """
        angles = angles - jax.nn.logsumexp(angles, (1, 2), keepdims=True)
        each = jax.nn.log_softmax(angles, -1)
        whole = jax.nn.log_softmax(angles + shift[..., None], (1, 2))
        place = jnp.linspace(-1.0, 1.0, angles.shape[-1])
        # Logarithms for the slopes, probabilities for the peaks; each of order one.
        features = [
            jnp.maximum(each, -15) / 5, jnp.exp(each) * 4,
            jnp.maximum(whole, -15) / 5, jnp.exp(whole / 2) * 4,
            place, place**2, 2 * nodes[..., None] - 1, jnp.maximum(shift, -15)[..., None] / 5,
        ]  # fmt: skip
        hidden = jnp.stack([jnp.broadcast_to(feature, angles.shape) for feature in features], -1)
        hidden = nn.Conv(ANGLE_WIDTH, (3, 5), dtype=self.dtype)(hidden)
        of_whole = nn.Dense(ANGLE_WIDTH, dtype=self.dtype)(context)
        hidden = nn.relu(hidden + of_whole[:, None, None])
        for dilation in ((1, 3), (2, 9)):
            wider = nn.Conv(ANGLE_WIDTH, (3, 5), kernel_dilation=dilation, dtype=self.dtype)
            hidden = hidden + nn.relu(wider(hidden))
        small = nn.initializers.normal(0.01)
        logits = angles * _temper(context)[:, None]
        logits += nn.Dense(1, kernel_init=small, dtype=self.dtype)(hidden)[..., 0]
        return logits.astype(jnp.promote_types(logits.dtype, jnp.float32))


def _temper(context: jax.Array) -> jax.Array:
    """A learned factor on log-likelihoods, 1 with fresh parameters, (B, 1); called in a module."""
    temper = nn.Dense(1, kernel_init=nn.initializers.zeros)(context)
    return jnp.exp(jnp.clip(temper, -3, 1))
