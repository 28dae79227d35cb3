"""The default encoder: learned trust in what each window of the image plane tells.

Quadrics are fitted to windows of the grid of blocks at six scales, and three facts speak
(`surfaces`, `solver`): 1 / (d + s) is affine on planes, many planes are parallel, and many meet at
right angles.  `solver` lets all windows and all pairs of them count alike.  Here a network that
sees the windows, and the whole, says of each window how likely it lies on a plane, of each pair how
likely it is parallel or a right angle, how far off either may be, and how much it counts.  Fresh
weights begin about where the solver is.  What comes of it are log-likelihoods over bins; a
small network over the bins corrects their sum.

It wants clouds of all blocks in the order of the grid (`CloudSettings.num_points` 0): windows are
parts of that grid.  So it is no function of a set, as `encoder.PointSetEncoder` is.
"""

import functools
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from train3d_jax import chunking
from train3d_jax.evidence import joint_posterior, solver
from train3d_jax.evidence.joint_posterior import Beliefs
from train3d_jax.evidence.targets import BINS, Posterior, Target, bin_centres
from train3d_jax.geometry import affine
from train3d_jax.geometry.affine import Space
from train3d_jax.networks.encoder import Encoder, pool, window_features
from train3d_jax.windows import planes, quadrics

PAIRS, MORE_PAIRS = 384, 768
"""Pairs of windows that are looked at, of the solver's the first: in training, and at work.
A network judges each pair for itself, so it may be shown more of them than it learned from, and is
a little better for it: the field of view of noisy rooms by .1 degree, of real depth by .1 to .4."""

NODES: dict[Space, int] = {"depth": 12, "disparity": 32}
"""Shifts at which angles are looked at, see `joint_posterior.nodes`: more in disparity space, where
parallels alone tell beforehand where the shift is."""

WIDEST = (-2.0, 3.0)
"""Range of the logarithm of what a deviation is multiplied with."""
ODDS = (-8.0, 6.0)
"""The same of odds."""
COUNTS = (-6.0, 3.0)
"""The same of how much a window or a pair counts."""

LARGEST = 1e6
"""Bending, and variance of a cosine, beyond which windows say nothing whatever they say."""

LEAST_VALUE = 0.1
"""Inverse depth, over the far depth's, that misses are compared with where a window has less."""
LEAST_MISSED, MOST_MISSED = 1e-3, 10.0
"""Of the value: what counts as no miss of a tangent plane, and what as the worst there is."""

TEMPER = {"parallel": 0.05, "focal": 0.08}
"""Share of the pairs' log-likelihood that counts where training begins, which goes on from there:
the solver's when the weights that come along were trained, a third more than it is now.  They mean
nothing with another."""


class SurfaceEncoder(Encoder):
    """Window network, likelihoods of planes and of angles, one posterior over both unknowns.

    Attributes:
      pairs: of windows that are looked at.
    """

    pairs: int = PAIRS

    def __call__(
        self, points: jax.Array, mask: jax.Array, beliefs: Beliefs | None = None
    ) -> dict[Target, Posterior]:
        """Encodes clouds.

        Args:
          points: x, y, z, and more that is not used, of every block in order; (B, P, 3 or 5).
          mask: points that count, shape (B, P).
          beliefs: to take into account beside those that training taught; None for no others.

        Returns:
          A posterior for each of `found`, (B, SHIFT_BINS), (B, FOCAL_BINS) or (B, BINS) for the
          scale.
        """
        # Masked points may hold anything, NaN included: nothing of them may reach a sum.
        points = jnp.where(mask[..., None], points, 1.0)
        rays, z = points[..., :2] / points[..., 2:3], points[..., 2]
        if self.shift_known:
            fit_true = functools.partial(solver.fit_map, consensus=True)
            windows = chunking.over_maps(fit_true, rays, 1 / z, mask)
            nothing = jnp.zeros((len(z), joint_posterior.SHIFT_BINS))
            return self.judge(nothing, windows, jnp.zeros(len(z)), beliefs)
        values = z if self.space == "depth" else 1 / z
        fit_one = lambda *of_map: solver.fit_windows(*of_map, self.space)  # noqa: E731
        fit = chunking.over_maps(fit_one, rays, values, mask)
        return self.judge(fit.bending, fit.windows, fit.base, beliefs)

    @nn.compact
    def judge(
        self,
        bending: jax.Array,
        windows: quadrics.Windows,
        base: jax.Array,
        beliefs: Beliefs | None = None,
    ) -> dict[Target, Posterior]:
        """The same from windows that are fitted already; arguments as `solver.Fit`, (B, ...)."""
        bending, windows, base = jax.lax.stop_gradient((bending, windows, base))
        features = surface_features(windows, base)
        local, context = SurfaceNetwork(self.width, self.dtype)(features, windows.mask)
        posteriors: dict[Target, Posterior] = {}
        if "scale" in self.heads:
            nothing = jnp.zeros((len(base), BINS, 1))
            head = CurveHead(self.width, self.dtype, name="scale")
            posteriors["scale"] = Posterior(jax.nn.log_softmax(head(nothing, context)))
        if not {"shift", "focal"} & set(self.found):
            return posteriors
        pairs = solver.window_pairs()[: self.pairs]
        of_pairs = PairNetwork(self.width, self.dtype)(windows, local, context, pairs)
        alone = self._shift_alone(bending, windows, base, local, of_pairs, context)
        count = 1 if self.shift_known else NODES[self.space]
        nodes = jax.lax.stop_gradient(joint_posterior.nodes(alone, count))
        shift = alone
        if beliefs is not None:
            # What is known is put on what was found without it: the heads have never seen it.
            shift = shift + beliefs.shift
            nodes = joint_posterior.with_known(nodes, beliefs.shift)
        angles = self._angles(windows, base, nodes, of_pairs)
        head = AngleHead(self.dtype, name="focal")
        both = head(angles, _at_bins(nodes, jax.nn.log_softmax(alone)), nodes, context)
        both = joint_posterior.at_focal_bins(both)
        if beliefs is not None:
            both = both + beliefs.focal[:, None]
        shift, focal = joint_posterior.margins(shift, nodes, both)
        found: dict[Target, Posterior] = {"shift": Posterior(shift), "focal": Posterior(focal)}
        posteriors.update({target: found[target] for target in self.found if target in found})
        return posteriors

    def _shift_alone(self, bending, windows, base, local, of_pairs, context) -> jax.Array:
        """What all but the angles tells of the shift, (B, SHIFT_BINS), up to a constant."""
        if self.shift_known:
            return joint_posterior.point_mass(
                affine.shift_to_ratio(base), joint_posterior.ratio_bins()
            )
        curves = [self._parallel_curve(windows, base, of_pairs)]
        if self.space == "depth":
            curves += [self._bend_curve(windows, base, local), bending]
        # What the solver says of bending is told beside, but counted once.
        counted = (1.0, 1.0, 0.0)[: len(curves)]
        head = CurveHead(self.width, self.dtype, counted, name="shift")
        return head(jnp.stack(curves, -1), context)

    def _parallel_curve(self, windows: quadrics.Windows, base: jax.Array, of_pairs: jax.Array):
        """Log-likelihood of each shift by parallel planes, as the solver; (B, bins)."""
        pairs = solver.window_pairs()[: self.pairs]
        opinion = Opinion(name="parallels")(of_pairs)
        odds = solver.PARALLEL_ODDS * opinion.odds
        # These pairs speak for all that the solver looks at.
        counts = TEMPER["parallel"] * solver.PARALLEL_PAIRS / self.pairs * opinion.counts
        usual = solver.usual_gradient(windows)
        gather = jax.vmap(lambda windows: planes.gather_pairs(windows, pairs))
        pair = jax.lax.stop_gradient(gather(windows))

        def at(shift: jax.Array) -> jax.Array:
            misfits = planes.parallel_misfits(pair, (shift - base)[:, None], self.space)
            likely = solver.parallel_likelihood(misfits, usual, opinion.deviation)
            return (jnp.log1p(odds * likely) * counts).sum(-1)

        shifts = affine.ratio_to_shift(bin_centres("shift", solver.PARALLEL_BINS))
        return joint_posterior.at_ratio_bins(chunking.over_bins(at, shifts).T)

    def _bend_curve(self, windows: quadrics.Windows, base: jax.Array, local: jax.Array):
        """Log-likelihood of each shift by the windows, as `solver.fit_windows`; (B, bins)."""
        opinion = Opinion(name="bending")(local)
        q, deviation = jax.lax.stop_gradient(jax.vmap(solver.bends)(windows))
        # What does not count must be finite all the same: 0 times infinity would be its gradient.
        q = jnp.where(windows.mask, jnp.clip(q, -LARGEST, LARGEST), 0.0)
        deviation = jnp.where(windows.mask, jnp.minimum(deviation, LARGEST), 1.0)
        deviation = deviation * opinion.deviation
        spread = jnp.hypot(1.0, solver.BEND_RANGE / deviation)
        odds = solver.PLANE_ODDS * opinion.odds * spread
        counts = solver.TEMPER["shift"] * opinion.counts

        def at(shift: jax.Array) -> jax.Array:
            shift = (shift - base)[:, None]
            divisor = 1 + shift * windows.value
            possible = windows.mask & (divisor > solver.LEAST_TRUE_DEPTH)
            distance = q - 2 * shift / jnp.where(possible, divisor, 1.0)
            likelihood = jnp.exp(-0.5 * (distance / deviation) ** 2)
            return (jnp.log1p(jnp.where(possible, likelihood, 0.0) * odds) * counts).sum(-1)

        return chunking.over_bins(at, affine.ratio_to_shift(joint_posterior.ratio_bins())).T

    def _angles(self, windows, base, nodes, of_pairs) -> jax.Array:
        """Log-likelihood of each focal ratio at each node's shift by pairs; (B, nodes, bins)."""
        pairs = solver.window_pairs()[: self.pairs]
        opinion = Opinion(name="angles")(of_pairs)
        # These pairs speak for all that the solver looks at.
        counts = TEMPER["focal"] * solver.PAIRS / self.pairs * opinion.counts
        odds = solver.ANGLE_ODDS * opinion.odds
        variance = (solver.COSINE_TOLERANCE * opinion.deviation) ** 2
        log_alpha = jnp.asarray(bin_centres("focal", solver.ANGLE_BINS[self.space]), counts.dtype)
        alpha2 = jnp.exp(2 * log_alpha)
        shifts = jax.lax.stop_gradient(affine.ratio_to_shift(nodes) - base[:, None])

        # One node after the other: all pairs at all shifts and focal lengths of a batch would be
        # gigabytes.
        def at(shift: jax.Array) -> jax.Array:
            pair = jax.vmap(lambda w, s: planes.pair_angles(w, s, pairs, self.space))(
                windows, shift
            )
            return _right_angles(counts, odds, variance, pair, alpha2)

        return jnp.moveaxis(jax.lax.map(at, shifts.T), 0, 1)


def _right_angles(counts, odds, variance, pair: planes.PairAngles, alpha2) -> jax.Array:
    """Log-likelihood of focal ratios by pairs of windows.

    Args:
      counts: how much each pair counts, shape (B, P).
      odds: that it is at a right angle, shape (B, P).
      variance: of its cosine, beyond that of the fits, shape (B, P).
      pair: the pairs, (B, P).
      alpha2: squared focal ratios, shape (F,).

    Returns:
      Shape (B, F).
    """

    def at(alpha2: jax.Array) -> jax.Array:
        product, lengths, noise = solver.normal_products(pair, alpha2)
        shorter = 1 / lengths
        precision = 1 / (jnp.minimum(noise * shorter, LARGEST) + variance)
        cosine2 = jnp.minimum(product**2 * shorter, 1.0)
        likelihood = jnp.exp(-0.5 * cosine2 * precision) * jnp.sqrt(precision)
        # What does not count must be finite all the same: 0 times infinity would be its gradient.
        likely = jnp.where(pair.mask, odds * likelihood, 0.0)
        return (jnp.log1p(likely) * counts).sum(-1)

    return chunking.over_bins(at, alpha2).T


def _at_bins(nodes: jax.Array, curve: jax.Array) -> jax.Array:
    """A curve over `joint_posterior.ratio_bins`, (B, SHIFT_BINS), at ratios (B, K)."""
    bins = jnp.asarray(joint_posterior.ratio_bins(), curve.dtype)
    return jax.vmap(lambda x, y: jnp.interp(x, bins, y))(nodes, curve)


def surface_features(windows: quadrics.Windows, base: jax.Array) -> jax.Array:
    """What a network needs to judge windows, each number of order one; shape (B, M, 26).

    In units in which the far depth is 1, by the shift `base` (B,) that the windows were fitted at.
    """
    far = (affine.FAR_VALUE + base)[:, None]
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
    ratio = jnp.broadcast_to(affine.shift_to_ratio(base)[:, None, None], (*m.shape, 1))
    features = [window_features(windows), normal, ratio, continuation(windows)]
    return jnp.where(windows.mask[..., None], jnp.concatenate(features, -1), 0.0)


def continuation(windows: quadrics.Windows) -> jax.Array:
    """Whether planes go on beyond their windows: those that do are walls, or floors.

    Args:
      windows: of all grids of `solver.GRIDS`, (B, M).

    Returns:
      For the windows to the left, to the right, above and below in the same grid: by how much the
      tangent plane misses the value there, and by how much the tangent plane there misses the
      value here, over that value, as a logarithm of order one; shape (B, M, 8).  0 where there
      is none.
    """
    parts, start = [], 0
    for across, down in solver.GRIDS:
        part = slice(start, start + across * down)
        start = part.stop
        grid = (x[:, part].reshape(len(x), down, across, *x.shape[2:]) for x in windows)
        parts.append(_misses(quadrics.Windows(*grid)))
    return jnp.concatenate(parts, 1)


def _misses(grid: quadrics.Windows) -> jax.Array:
    """`continuation` of one grid, (B, rows, columns) to (B, rows * columns, 8)."""
    rows, columns = grid.value.shape[1:]
    row, column = np.mgrid[:rows, :columns]
    misses = []
    for down, right in ((0, -1), (0, 1), (-1, 0), (1, 0)):
        inside = (row + down >= 0) & (row + down < rows)
        inside &= (column + right >= 0) & (column + right < columns)
        other = quadrics.Windows(*(jnp.roll(x, (-down, -right), (1, 2)) for x in grid))
        both = inside & grid.mask & other.mask
        apart, rise = other.centre - grid.centre, other.value - grid.value
        for gradient, value in ((grid.gradient, other.value), (other.gradient, grid.value)):
            miss = jnp.abs(rise - (gradient * apart).sum(-1)) / jnp.maximum(value, LEAST_VALUE)
            miss = jnp.log(jnp.minimum(miss, MOST_MISSED) + LEAST_MISSED)
            misses.append(jnp.where(both, (miss + 4) / 3, 0.0))
    return jnp.stack(misses, -1).reshape(len(grid.value), rows * columns, -1)


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
    """From log-likelihoods over bins to one: their sum, tempered and corrected.

    Attributes:
      counted: what of each curve counts with fresh weights.
    """

    width: int
    dtype: Any = None
    counted: tuple[float, ...] = (1.0,)

    @nn.compact
    def __call__(self, curves: jax.Array, context: jax.Array) -> jax.Array:
        """Maps curves (B, bins, K) and what is known of the whole, (B, C), to (B, bins)."""
        curves = curves - jax.nn.logsumexp(curves, 1, keepdims=True)
        bins = curves.shape[1]
        share = self.param("share", lambda _: jnp.float32(self.counted))
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
        told = nn.Dense(ANGLE_WIDTH, dtype=self.dtype)(context)
        hidden = nn.relu(hidden + told[:, None, None])
        for dilation in ((1, 3), (2, 9)):
            wider = nn.Conv(ANGLE_WIDTH, (3, 5), kernel_dilation=dilation, dtype=self.dtype)
            hidden = hidden + nn.relu(wider(hidden))
        small = nn.initializers.normal(0.01)
        logits = angles * _temper(context)[:, None]
        logits += nn.Dense(1, kernel_init=small, dtype=self.dtype)(hidden)[..., 0]
        return logits.astype(jnp.promote_types(logits.dtype, jnp.float32))


ANGLE_WIDTH = 16
"""Channels of `AngleHead`."""


def _temper(context: jax.Array) -> jax.Array:
    """A learned factor on logarithms, 1 with fresh weights; called within a module; (B, 1)."""
    temper = nn.Dense(1, kernel_init=nn.initializers.zeros)(context)
    return jnp.exp(jnp.clip(temper, -3, 1))
