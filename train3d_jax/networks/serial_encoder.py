"""A point-set encoder without geometry of its own: points in serial order, attention in patches.

As in Point Transformer V3 (arXiv 2312.10035): points are sorted along a space-filling curve (Morton
codes of their voxels), cut into patches of a fixed length, and attend to each other within a patch;
patches are pooled and attend to each other.  All shapes are static, and because it sorts, it does
not depend on the order of its points.  It has no model of planes or right angles, and serves for
comparison (`benchmarks/encoders.py`).
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from train3d_jax.evidence.targets import Posterior, Target
from train3d_jax.networks.encoder import Encoder, pool
from train3d_jax.networks.point_set_encoder import HistogramHead

PATCH = 64
"""Points that attend to each other."""

GRID_BITS = 10
"""Voxels along an edge of the cloud's cube, as a power of 2; three times as many fit in 32 bits."""

HEADS = 4


class SerialEncoder(Encoder):
    """Attention within patches of points, then among patches, and a head for each target."""

    @nn.compact
    def __call__(self, points: jax.Array, mask: jax.Array) -> dict[Target, Posterior]:
        """Maps clouds (B, N, C) with masks (B, N) to a posterior for each target, (B, BINS)."""
        points = jnp.where(mask[..., None], points, 0.0)
        points, mask = in_serial_order(points, mask)
        batch, count, channels = points.shape
        short = -count % PATCH
        points = jnp.pad(points, [(0, 0), (0, short), (0, 0)])
        mask = jnp.pad(mask, [(0, 0), (0, short)])
        points = points.reshape(batch, -1, PATCH, channels)
        mask = mask.reshape(batch, -1, PATCH)
        held = jnp.maximum(mask.sum(-1), 1)[..., None, None]
        centre = (points * mask[..., None]).sum(-2, keepdims=True) / held
        features = jnp.concatenate([points, 8 * (points - centre)[..., :3]], -1)

        hidden = nn.Dense(self.width, dtype=self.dtype)(features)
        for _ in range(2):
            hidden = Block(self.width, self.dtype)(hidden, mask)
        patches = nn.Dense(self.width, dtype=self.dtype)(pool(hidden, mask))
        for _ in range(2):
            patches = Block(self.width, self.dtype)(patches, mask.any(-1))
        context = nn.Dense(2 * self.width, dtype=self.dtype)(pool(patches, mask.any(-1)))
        return {
            target: HistogramHead(self.width, self.dtype)(None, nn.relu(context))
            for target in self.estimated
        }


class Block(nn.Module):
    """Attention and two layers, each added to what comes in."""

    width: int
    dtype: Any = None

    @nn.compact
    def __call__(self, hidden: jax.Array, mask: jax.Array) -> jax.Array:
        """Maps (..., N, width) with mask (..., N) to the same shape."""
        together = mask[..., None, :, None] & mask[..., None, None, :]
        normed = nn.LayerNorm(dtype=self.dtype)(hidden)
        attention = nn.MultiHeadDotProductAttention(num_heads=HEADS, dtype=self.dtype)
        hidden = hidden + attention(normed, mask=together)
        wider = nn.Dense(2 * self.width, dtype=self.dtype)(nn.LayerNorm(dtype=self.dtype)(hidden))
        return hidden + nn.Dense(self.width, dtype=self.dtype)(nn.gelu(wider))


def in_serial_order(points: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Sorts clouds along a Morton curve, what is masked last; shapes stay."""
    xyz = points[..., :3]
    low = jnp.where(mask[..., None], xyz, jnp.inf).min(-2, keepdims=True)
    high = jnp.where(mask[..., None], xyz, -jnp.inf).max(-2, keepdims=True)
    span = jnp.maximum((high - low).max(-1, keepdims=True), 1e-6)
    cell = jnp.clip((xyz - low) / span * (1 << GRID_BITS), 0, (1 << GRID_BITS) - 1)
    # An empty cloud has no lowest point; its NaN become 0 here.
    cell = jnp.where(mask[..., None], cell, 0.0).astype(jnp.uint32)
    code = jnp.zeros(mask.shape, jnp.uint32)
    for bit in range(GRID_BITS):
        for axis in range(3):
            code |= ((cell[..., axis] >> bit) & 1) << (3 * bit + axis)
    order = jnp.argsort(jnp.where(mask, code, jnp.uint32(0xFFFFFFFF)), axis=-1)
    return (
        jnp.take_along_axis(points, order[..., None], -2),
        jnp.take_along_axis(mask, order, -1),
    )
