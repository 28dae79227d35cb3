"""The default encoder: learned trust in what each window of the image plane tells.

Quadrics are fitted to windows of the grid of blocks at six scales, and two facts speak (`surfaces`,
`solver`): 1 / (d + s) is affine on planes, and many planes meet at right angles.  `solver` lets all
windows and all pairs of them count alike.  Here a network that sees the windows, and the whole,
says of each window how likely it lies on a plane, of each pair how likely it is a right angle, how
far off either may be, and how much it counts.  Fresh weights begin at the solver's own constants.
What comes of it are log-likelihoods over bins; a small network over the bins corrects their sum.

It wants clouds of all blocks in the order of the grid (`CloudSettings.num_points` 0): windows are
parts of that grid.  So it is no function of a set, as `encoder.PointSetEncoder` is.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from train3d_jax import depth, solver, surfaces
from train3d_jax.depth import Space
from train3d_jax.encoder import BINS, Encoder, Posterior, Target, pool, window_features

PAIRS = 1536
"""Pairs of windows whose angles are looked at, divided evenly among the nodes."""

NODES: dict[Space, int] = {"depth": 3, "disparity": 8}
"""Shifts at which angles are looked at: of equal probability by what the bending told in depth
space; evenly spread in disparity space, where only the angles tell."""

WIDEST = (-2.0, 3.0)
"""Range of the logarithm of what a deviation is multiplied with."""
LARGEST = 1e6
"""Bending, and variance of a cosine, beyond which windows say nothing whatever they say."""

ODDS = (-8.0, 6.0)
"""The same of odds."""
COUNTS = (-6.0, 3.0)
"""The same of how much a window or a pair counts."""


class SurfaceEncoder(Encoder):
    """Window network, likelihoods of bending and of angles, a head for each target."""

    @nn.compact
    def __call__(self, points: jax.Array, mask: jax.Array) -> dict[Target, Posterior]:
        """Encodes clouds.

        Args:
          points: x, y, z, and more that is not used, of every block in order; (B, P, 3 or 5).
          mask: points that count, shape (B, P).

        Returns:
          A posterior for each of `found`, (B, solver.SHIFT_BINS), (B, solver.FOCAL_BINS) or
          (B, BINS) for the scale.
        """
        # Masked points may hold anything, NaN included: nothing of them may reach a sum.
        points = jnp.where(mask[..., None], points, 1.0)
        rays, z = points[..., :2] / points[..., 2:3], points[..., 2]
        bending, windows, base = jax.lax.stop_gradient(self._fit(rays, z, mask))
        features = surface_features(windows, base)
        local, context = SurfaceNetwork(self.width, self.dtype)(features, windows.mask)
        heads = {
            target: CurveHead(self.width, self.dtype, name=target)
            for target in {*self.found, *self.heads}
        }

        nodes = self._first_nodes(base)
        curves = None
        posteriors: dict[Target, Posterior] = {}
        if "shift" in self.found:
            if self.space == "depth":
                seen = [self._bend_curve(windows, base, local), bending]
                posteriors["shift"] = heads["shift"](jnp.stack(seen, -1), context)
                levels = (np.arange(NODES["depth"]) + 0.5) / NODES["depth"]
                nodes = solver.quantiles(
                    jax.lax.stop_gradient(posteriors["shift"].log_probability),
                    solver.ratio_bins(),
                    levels,
                )
            else:
                curves = self._angle_curves(windows, base, nodes, local, context)
                seen = jax.nn.logsumexp(curves, 1)  # what angles tell of each shift, (B, nodes)
                at_bins = jax.vmap(lambda x, y: jnp.interp(solver.ratio_bins(), x, y))(nodes, seen)
                posteriors["shift"] = heads["shift"](at_bins[..., None], context)
        if "focal" in self.heads:
            if curves is None:
                curves = self._angle_curves(windows, base, nodes, local, context)
            if self.space == "disparity" and "shift" in posteriors:
                weight = jax.vmap(lambda x, y: jnp.interp(x, solver.ratio_bins(), y))(
                    nodes, posteriors["shift"].log_probability
                )
                curves = curves - jax.nn.logsumexp(curves, 1, keepdims=True) + weight[:, None]
            together = jax.nn.logsumexp(curves, -1, keepdims=True)
            posteriors["focal"] = heads["focal"](jnp.concatenate([together, curves], -1), context)
        if "scale" in self.heads:
            nothing = jnp.zeros((len(points), BINS, 1))
            posteriors["scale"] = heads["scale"](nothing, context)
        return posteriors

    def _fit(self, rays, z, mask):
        """What all windows tell of the shift alike, the windows, and the shift that they are at."""
        if self.space == "depth" and not self.shift_known:
            bending, _, windows, base = jax.vmap(lambda r, v, m: solver.fit_bending(r, v, m, None))(
                rays, z, mask
            )
            return bending, windows, base
        windows = jax.vmap(solver.fit_map)(rays, 1 / z, mask)
        return jnp.zeros((len(z), solver.SHIFT_BINS)), windows, jnp.zeros(len(z))

    def _first_nodes(self, base: jax.Array) -> jax.Array:
        """Near/far ratios to look at angles at, (B, nodes), where the bending told none."""
        count = NODES[self.space]
        if self.shift_known:
            return jnp.broadcast_to(depth.shift_to_ratio(base)[:, None], (len(base), count))
        return jnp.broadcast_to((jnp.arange(count) + 0.5) / count, (len(base), count))

    def _bend_curve(self, windows: surfaces.Windows, base: jax.Array, local: jax.Array):
        """Log-likelihood of each shift by the windows, as `solver.fit_bending`; (B, bins)."""
        opinion = Opinion(name="bending")(local)
        q, deviation = jax.lax.stop_gradient(jax.vmap(solver.bends)(windows))
        # What does not count must be finite all the same: 0 times infinity would be its gradient.
        q = jnp.where(windows.mask, jnp.clip(q, -LARGEST, LARGEST), 0.0)
        deviation = jnp.where(windows.mask, jnp.minimum(deviation, LARGEST), 1.0)
        deviation = deviation * opinion.deviation
        shifts = depth.ratio_to_shift(solver.ratio_bins())[:, None] - base[:, None, None]
        divisor = 1 + shifts * windows.value[:, None]
        possible = windows.mask[:, None] & (divisor > solver.LEAST_TRUE_DEPTH)
        distance = q[:, None] - 2 * shifts / jnp.where(possible, divisor, 1.0)
        likelihood = jnp.exp(-0.5 * (distance / deviation[:, None]) ** 2)
        spread = jnp.hypot(1.0, solver.BEND_RANGE / deviation)
        odds = (
            jnp.where(possible, likelihood, 0.0)
            * (solver.PLANE_ODDS * opinion.odds * spread)[:, None]
        )
        counts = solver.TEMPER["shift"] * opinion.counts
        return jnp.einsum("bnm,bm->bn", jnp.log1p(odds), counts)

    def _angle_curves(self, windows, base, ratios, local, context) -> jax.Array:
        """Log-likelihood of each focal ratio at each node's shift by pairs; (B, bins, nodes)."""
        pairs = solver.window_pairs()[:PAIRS]
        opinion = Opinion(name="angles")(
            PairNetwork(self.width, self.dtype)(windows, local, context, pairs)
        )
        shifts = jax.lax.stop_gradient(depth.ratio_to_shift(jnp.clip(ratios, 0.02, 0.98)))
        each = PAIRS // shifts.shape[-1]

        def at(node: int) -> jax.Array:
            part = slice(node * each, (node + 1) * each)
            cosine2, noise, mask = jax.lax.stop_gradient(
                jax.vmap(lambda w, s: _cosines(w, s, pairs[part], self.space))(
                    windows, shifts[:, node] - base
                )
            )
            tolerance = solver.COSINE_TOLERANCE * opinion.deviation[:, None, part]
            variance = noise + tolerance**2
            likelihood = jnp.exp(-0.5 * cosine2 / variance) * jax.lax.rsqrt(variance)
            odds = solver.ANGLE_ODDS * opinion.odds[:, None, part] * likelihood
            odds = jnp.where(mask[:, None], odds, 0.0)
            counts = solver.TEMPER["focal"] * opinion.counts[:, part]
            return jnp.einsum("bnm,bm->bn", jnp.log1p(odds), counts)

        # A node sees a part of the pairs, and speaks for all of them.
        return jnp.stack([at(node) for node in range(shifts.shape[-1])], -1) * shifts.shape[-1]


def _cosines(windows, shift, pairs, space) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Squared cosine of each pair's planes and its variance, for each focal ratio; (bins, pairs).

    And whether a pair counts, (pairs,).
    """
    product, lengths, noise, mask = solver.normal_products(windows, shift, pairs, space)
    # What does not count must be finite all the same: 0 times infinity would be its gradient.
    cosine2 = jnp.where(mask, jnp.minimum(product**2 / lengths, 1.0), 1.0)
    variance = jnp.where(mask, jnp.minimum(noise / lengths, LARGEST), 1.0)
    return cosine2, variance, mask


def surface_features(windows: surfaces.Windows, base: jax.Array) -> jax.Array:
    """What a network needs to judge windows, each number of order one; shape (B, M, 17).

    In units in which the far depth is 1, by the shift `base` (B,) that the windows were fitted at.
    """
    far = (depth.FAR_VALUE + base)[:, None]
    windows = windows._replace(
        value=windows.value * far,
        gradient=windows.gradient * far[..., None],
        hessian=windows.hessian * far[..., None],
        residual=windows.residual * far,
    )
    g = windows.gradient
    m = windows.value - (g * windows.centre).sum(-1)
    normal = jnp.concatenate([g, m[..., None]], -1)
    normal = normal / jnp.sqrt((normal**2).sum(-1, keepdims=True) + 1e-6)
    ratio = jnp.broadcast_to(depth.shift_to_ratio(base)[:, None, None], (*m.shape, 1))
    features = jnp.concatenate([window_features(windows), normal, ratio], -1)
    return jnp.where(windows.mask[..., None], features, 0.0)


class SurfaceNetwork(nn.Module):
    """Features of every window, aware of all the others."""

    width: int
    dtype: Any = None

    @nn.compact
    def __call__(self, features: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Maps (B, M, C) to features of windows, (B, M, width), and the whole, (B, 2 * width)."""
        dense = lambda size: nn.Dense(size, dtype=self.dtype)  # noqa: E731
        hidden = nn.relu(dense(self.width)(features))
        hidden = nn.relu(dense(self.width)(hidden))
        context = nn.relu(dense(2 * self.width)(pool(hidden, mask)))
        for _ in range(2):
            aware = dense(self.width)(hidden) + dense(self.width)(context)[:, None]
            hidden = hidden + dense(self.width)(nn.relu(aware))
            pooled = jnp.concatenate([pool(hidden, mask), context], -1)
            context = nn.relu(dense(2 * self.width)(pooled))
        return nn.relu(hidden), context


class PairNetwork(nn.Module):
    """Features of pairs of windows, whichever of the two is named first."""

    width: int
    dtype: Any = None

    @nn.compact
    def __call__(self, windows, local, context, pairs: np.ndarray) -> jax.Array:
        """Maps features of windows (B, M, width) to those of pairs, (B, len(pairs), width / 2)."""
        hidden = nn.Dense(self.width, dtype=self.dtype)(local)
        one, other = hidden[:, pairs[:, 0]], hidden[:, pairs[:, 1]]
        apart = windows.centre[:, pairs[:, 0]] - windows.centre[:, pairs[:, 1]]
        apart = jnp.sqrt((apart**2).sum(-1, keepdims=True) + 1e-6)
        pair = jnp.concatenate([one + other, one * other, apart], -1)
        pair = nn.Dense(self.width // 2, dtype=self.dtype)(pair)
        return nn.relu(pair + nn.Dense(self.width // 2, dtype=self.dtype)(context)[:, None])


class Factors(NamedTuple):
    """What is multiplied with deviation, odds and counts of windows or pairs, shapes (...)."""

    deviation: jax.Array
    odds: jax.Array
    counts: jax.Array


class Opinion(nn.Module):
    """How far windows, or pairs, are to be trusted; near 1 throughout with fresh weights."""

    @nn.compact
    def __call__(self, features: jax.Array) -> Factors:
        """Maps (..., C) to factors of shape (...)."""
        raw = nn.Dense(3, kernel_init=nn.initializers.normal(0.01))(features)
        ranges = (WIDEST, ODDS, COUNTS)
        return Factors(*(jnp.exp(jnp.clip(raw[..., i], *ranges[i])) for i in range(3)))


class CurveHead(nn.Module):
    """From log-likelihoods over bins to a posterior: their sum, tempered and corrected."""

    width: int
    dtype: Any = None

    @nn.compact
    def __call__(self, curves: jax.Array, context: jax.Array) -> Posterior:
        """Maps curves (B, bins, K), of which the first counts with fresh weights, and (B, C)."""
        curves = curves - jax.nn.logsumexp(curves, 1, keepdims=True)
        bins, count = curves.shape[1:]
        share = self.param("share", lambda _: jnp.float32(np.eye(count)[0]))
        temper = nn.Dense(1, kernel_init=nn.initializers.zeros)(context)
        logits = (curves * share).sum(-1) * jnp.exp(jnp.clip(temper, -3, 1))
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
        return Posterior(
            jax.nn.log_softmax(logits.astype(jnp.promote_types(logits.dtype, jnp.float32)))
        )
