"""The default encoder: learned trust in what every window of the image plane tells.

Quadrics are fitted to windows of the grid of blocks at six scales, as in `solver`, and speak
through the same two facts: on planes 1 / (d + s) is affine, and many planes meet at right angles.
There all windows and pairs count alike; here a network that sees the windows and the whole judges
for each of them how likely it lies on a plane, for each pair how likely it is at a right angle, how
wide its deviation is and how much it counts.  With fresh weights it starts from the solver's own
constants.  What is summed up is corrected by a small network over the bins.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from train3d_jax import depth, points, solver, surfaces
from train3d_jax.depth import Space
from train3d_jax.encoder import TARGETS, Posterior, Target, median, pool, window_features

NODES = 3
PAIRS = 512

CHANNELS = 1
"""Opinions that each window, and each pair, may have."""


class SurfaceEncoder(nn.Module):
    heads: tuple[Target, ...]
    space: Space = "depth"
    shift_known: bool = False
    width: int = 64
    dtype: Any = None

    @property
    def found(self) -> tuple[Target, ...]:
        return tuple(
            target
            for target in TARGETS
            if target in self.heads or (target == "shift" and not self.shift_known)
        )

    @nn.compact
    def __call__(self, points_: jax.Array, mask: jax.Array) -> dict[Target, Posterior]:
        cloud = jnp.where(mask[..., None], points_, 1.0)
        rays, z = cloud[..., :2] / cloud[..., 2:3], cloud[..., 2]
        bending = jnp.zeros((len(cloud), solver.SHIFT_BINS))
        if self.space == "depth" and not self.shift_known:
            bending, _, windows, base = jax.lax.stop_gradient(
                jax.vmap(lambda r, v, m: solver._bending(r, v, m, None))(rays, z, mask)
            )
        else:
            windows = jax.lax.stop_gradient(jax.vmap(solver._fit)(rays, 1 / z, mask))
            base = jnp.zeros(len(cloud))
        far = (depth.FAR_VALUE + base)[:, None]
        scaled = windows._replace(
            value=windows.value * far, gradient=windows.gradient * far[..., None],
            hessian=windows.hessian * far[..., None], residual=windows.residual * far,
        )
        features = jnp.concatenate(
            [window_features(scaled), _normals(scaled), jnp.broadcast_to(
                depth.shift_to_ratio(base)[:, None, None], (*scaled.mask.shape, 1))], -1
        )
        local, context = _WindowNetwork(self.width, self.dtype)(features, windows.mask)

        posteriors: dict[Target, Posterior] = {}
        if "shift" in self.found:
            if self.space == "depth":
                curves = self._bend_curves(windows, base, local)
                curves = jnp.concatenate([curves, bending[..., None]], -1)
            else:
                curves = bending[..., None]
            posteriors["shift"] = CurveHead(self.width, self.dtype)(curves, context)
            levels = (np.arange(NODES) + 0.5) / NODES
            ratio = solver.quantiles(
                posteriors["shift"].log_probability, solver.ratio_bins(), levels
            )
            shift = depth.ratio_to_shift(jax.lax.stop_gradient(jnp.clip(ratio, 0.02, 0.98)))
        else:
            shift = jnp.broadcast_to(base[:, None], (len(base), NODES))
        if "focal" in self.heads:
            curves = self._angle_curves(windows, scaled, shift - base[:, None], local, context)
            curves = jnp.concatenate([jax.nn.logsumexp(curves, -1, keepdims=True), curves], -1)
            posteriors["focal"] = CurveHead(self.width, self.dtype)(curves, context)
        if "scale" in self.heads:
            posteriors["scale"] = CurveHead(self.width, self.dtype)(
                jnp.zeros((len(cloud), 64, 1)), context
            )
        return posteriors

    def _bend_curves(self, windows, base, local):
        opinion = nn.Dense(1 + 2 * CHANNELS, kernel_init=nn.initializers.normal(0.01))(local)
        q, deviation = jax.vmap(solver._bend)(windows)
        deviation = deviation * jnp.exp(jnp.clip(opinion[..., 0], -2, 3))
        odds = solver.PLANE_ODDS * jnp.exp(jnp.clip(opinion[..., 1 : 1 + CHANNELS], -8, 6))
        counts = solver.TEMPER["shift"] * jnp.exp(jnp.clip(opinion[..., 1 + CHANNELS :], -6, 3))
        shifts = depth.ratio_to_shift(solver.ratio_bins())[None, :, None] - base[:, None, None]
        divisor = 1 + shifts * windows.value[:, None]
        possible = windows.mask[:, None] & (divisor > solver.LEAST_TRUE_DEPTH)
        expected = 2 * shifts / jnp.where(possible, divisor, 1.0)
        distance = (q[:, None] - expected) / deviation[:, None]
        likelihood = jnp.exp(-0.5 * distance**2)
        likelihood = likelihood * jnp.hypot(1.0, solver.BEND_RANGE / deviation)[:, None]
        likelihood = jnp.where(possible, likelihood, 0.0)
        return _summed(likelihood, odds, counts)

    def _angle_curves(self, windows, scaled, shift, local, context):
        pairs = solver.window_pairs()[: NODES * PAIRS]
        hidden = nn.Dense(self.width, dtype=self.dtype)(local)
        one, other = hidden[:, pairs[:, 0]], hidden[:, pairs[:, 1]]
        apart = scaled.centre[:, pairs[:, 0]] - scaled.centre[:, pairs[:, 1]]
        apart = jnp.sqrt((apart**2).sum(-1, keepdims=True) + 1e-6)
        pair = nn.Dense(self.width // 2, dtype=self.dtype)(
            jnp.concatenate([one + other, one * other, apart], -1)
        )
        pair = nn.relu(pair + nn.Dense(self.width // 2, dtype=self.dtype)(context)[:, None])
        opinion = nn.Dense(1 + 2 * CHANNELS, kernel_init=nn.initializers.normal(0.01))(pair)
        tolerance = solver.COSINE_TOLERANCE * jnp.exp(jnp.clip(opinion[..., 0], -2, 3))
        odds = solver.ANGLE_ODDS * jnp.exp(jnp.clip(opinion[..., 1 : 1 + CHANNELS], -8, 6))
        counts = solver.TEMPER["focal"] * jnp.exp(jnp.clip(opinion[..., 1 + CHANNELS :], -6, 3))
        split = pairs.reshape(NODES, PAIRS, 2)

        def at(node):
            part = slice(node * PAIRS, (node + 1) * PAIRS)
            likelihood = jax.vmap(
                lambda w, s, t: angle_likelihood(w, s, split[node], self.space, t)
            )(windows, shift[:, node], tolerance[:, part])
            return _summed(likelihood, odds[:, part], counts[:, part])[..., 0]

        return jnp.stack([at(node) for node in range(NODES)], -1) * (1536 / PAIRS)


def angle_likelihood(windows, shift, pairs, space, tolerance):
    alpha2 = jnp.exp(2 * jnp.asarray(solver.focal_bins(), windows.value.dtype))[:, None]
    pair = jax.lax.optimization_barrier(
        jax.lax.stop_gradient(surfaces.pair_angles(windows, shift, pairs, space))
    )
    lengths = jnp.maximum(
        (alpha2 * pair.slopes[0] + pair.offsets[0]) * (alpha2 * pair.slopes[1] + pair.offsets[1]),
        1e-12,
    )
    cosine2 = (alpha2 * pair.across + pair.along) ** 2 / lengths
    noise = jnp.maximum((alpha2 * pair.noise[0] + pair.noise[1]) * alpha2 + pair.noise[2], 0.0)
    cosine2, noise = jax.lax.stop_gradient((cosine2, noise / lengths))
    variance = noise + tolerance**2
    likelihood = jnp.exp(-0.5 * cosine2 / variance) * jax.lax.rsqrt(variance)
    return jnp.where(pair.mask, likelihood, 0.0)


def _summed(likelihood, odds, counts):
    """(B, bins, M) and (B, M, K) twice to (B, bins, K)."""
    parts = [
        jnp.einsum("bnm,bm->bn", jnp.log1p(likelihood * odds[:, None, :, k]), counts[..., k])
        for k in range(odds.shape[-1])
    ]
    return jnp.stack(parts, -1)


def _normals(windows):
    """Normals of the windows' planes by the first guesses, unit vectors, shape (..., M, 3)."""
    g = windows.gradient
    m = windows.value - (g * windows.centre).sum(-1)
    normal = jnp.concatenate([g, m[..., None]], -1)
    return normal / jnp.sqrt((normal**2).sum(-1, keepdims=True) + 1e-6)


class _WindowNetwork(nn.Module):
    width: int
    dtype: Any = None

    @nn.compact
    def __call__(self, features, mask):
        features = jnp.where(mask[..., None], features, 0.0)
        hidden = nn.relu(nn.Dense(self.width, dtype=self.dtype)(features))
        hidden = nn.relu(nn.Dense(self.width, dtype=self.dtype)(hidden))
        context = nn.relu(nn.Dense(2 * self.width, dtype=self.dtype)(pool(hidden, mask)))
        for _ in range(2):
            added = nn.Dense(self.width, dtype=self.dtype)(hidden)
            added += nn.Dense(self.width, dtype=self.dtype)(context)[:, None]
            hidden = hidden + nn.Dense(self.width, dtype=self.dtype)(nn.relu(added))
            pooled = jnp.concatenate([pool(hidden, mask), context], -1)
            context = nn.relu(nn.Dense(2 * self.width, dtype=self.dtype)(pooled))
        return nn.relu(hidden), context


class CurveHead(nn.Module):
    """Sums curves up, and corrects them."""

    width: int
    dtype: Any = None

    @nn.compact
    def __call__(self, curves, context) -> Posterior:
        curves = curves - jax.nn.logsumexp(curves, 1, keepdims=True)
        bins = curves.shape[1]
        share = self.param("share", lambda _: jnp.float32(np.eye(curves.shape[-1])[0]))
        logits = (curves * share).sum(-1)
        place = jnp.broadcast_to(jnp.linspace(-1.0, 1.0, bins)[None, :, None], (*curves.shape[:2], 1))
        features = jnp.concatenate([jnp.maximum(curves, -15) / 5, jnp.exp(curves) * 4, place, place**2], -1)
        half = self.width // 2
        hidden = nn.Conv(half, (5,), dtype=self.dtype)(features)
        hidden = nn.relu(hidden + nn.Dense(half, dtype=self.dtype)(context)[:, None])
        for dilation in (3, 9):
            hidden = hidden + nn.relu(
                nn.Conv(half, (5,), kernel_dilation=dilation, dtype=self.dtype)(hidden)
            )
        correction = nn.Dense(1, dtype=self.dtype, kernel_init=nn.initializers.normal(0.01))(hidden)[..., 0]
        temper = nn.Dense(1, kernel_init=nn.initializers.zeros)(context)
        logits = logits * jnp.exp(jnp.clip(temper, -3, 1)) + correction
        return Posterior(jax.nn.log_softmax(logits.astype(jnp.float32)))
