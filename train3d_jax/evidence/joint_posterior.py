"""Shift and focal length together: what is told of either, of both, and what follows for each.

Planes that are flat, or parallel, tell of the shift alone.  Angles tell of shift and focal length
together: a right angle at one shift and focal length is one at others, too.  So angles are looked
at under some shifts (`nodes`), and from the two comes one posterior over both unknowns, whose
margins are the answers (`margins`). What is believed or known beforehand is multiplied on it
before, so that a known focal length sharpens the shift, and a known shift the focal length.

Solver and network share this, and the bins.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from train3d_jax.evidence.targets import bin_centres

SHIFT_BINS = 256
FOCAL_BINS = 128
"""Bins of the posteriors: 0.004 of the near/far ratio, 2 % of the focal length."""

PRIOR_MEAN, PRIOR_DEVIATION = 0.45, 0.45
"""Of log(focal / f0), as a broad normal distribution: a phone's photo has 0.15, a depth camera's
map 0.3, a crop to three quarters 0.3 more.  With `PRIOR_DOUBT` the central 90 % are vertical fields
of view of 20.5 to 83.2 degrees, the median 41.2.  Where a map tells little, this decides."""

PRIOR_DOUBT = 0.1
"""Share of cameras of which nothing of the kind is believed: any focal length that there is."""

NODE_TEMPER, NODE_DOUBT = 0.3, 0.2
"""Of what bending tells only this share, and this chance that it is wrong altogether, decide where
angles are looked at: on noisy depth the true shift often lies where bending sees little."""

SAFE_RATIO = (0.005, 0.995)
"""Near/far ratios that shifts are made of: at 1 the shift is infinite."""

IMPOSSIBLE = -300.0
"""Logarithm of what is no probability at all, finite so that differences are."""


def ratio_bins() -> np.ndarray:
    """Centres of the bins of the near/far ratio, shape (SHIFT_BINS,)."""
    return bin_centres("shift", SHIFT_BINS)


def focal_bins() -> np.ndarray:
    """Centres of the bins of log(focal / f0), shape (FOCAL_BINS,)."""
    return bin_centres("focal", FOCAL_BINS)


class Beliefs(NamedTuple):
    """What is believed, or known, before a network is asked; logarithms up to a constant.

    Attributes:
      shift: over `joint.ratio_bins`, shape (B, joint.SHIFT_BINS).
      focal: over `joint.focal_bins`, of the focal length over that which the cloud was made with,
        shape (B, joint.FOCAL_BINS).
    """

    shift: jax.Array
    focal: jax.Array


def focal_prior(log_alpha: jax.Array | np.ndarray | None = None) -> jax.Array:
    """What is believed of focal lengths before looking.

    Args:
      log_alpha: log(focal / f0) with f0 of 60 degrees, at equal bins along the last axis; None for
        `focal_bins`.

    Returns:
      Logarithm of the density, up to a constant, of the same shape.
    """
    log_alpha = jnp.asarray(focal_bins() if log_alpha is None else log_alpha)
    normal = -0.5 * ((log_alpha - PRIOR_MEAN) / PRIOR_DEVIATION) ** 2
    normal -= np.log(PRIOR_DEVIATION * np.sqrt(2 * np.pi))
    low, high = focal_bins()[[0, -1]]
    anywhere = np.log(PRIOR_DOUBT / (high - low))
    return jnp.logaddexp(normal + np.log(1 - PRIOR_DOUBT), anywhere)


def point_mass(value: jax.Array, bins: np.ndarray) -> jax.Array:
    """All probability in the bin of a value; value of shape (...), answer (..., len(bins))."""
    place = jnp.abs(jnp.asarray(bins) - value[..., None]).argmin(-1)
    return jnp.where(jnp.arange(len(bins)) == place[..., None], 0.0, IMPOSSIBLE)


def nodes(shift: jax.Array, count: int) -> jax.Array:
    """Near/far ratios to look at angles at: close together where the shift probably is.

    Args:
      shift: log-probability over `ratio_bins` up to a constant, shape (..., SHIFT_BINS).
      count: how many.

    Returns:
      Ratios, ascending, shape (..., count); evenly spread where nothing is known of the shift.
    """
    wide = jax.nn.log_softmax(NODE_TEMPER * shift)
    anywhere = np.log(NODE_DOUBT / SHIFT_BINS)
    wide = jnp.logaddexp(wide + np.log(1 - NODE_DOUBT), anywhere)
    levels = (np.arange(count) + 0.5) / count
    return jnp.clip(quantiles(wide, ratio_bins(), levels), *SAFE_RATIO)


def with_known(nodes: jax.Array, belief: jax.Array) -> jax.Array:
    """Nodes with the nearest one moved to a shift that is known.

    Args:
      nodes: ratios, ascending, shape (..., K).
      belief: log-probability over `ratio_bins`, shape (..., SHIFT_BINS): a `point_mass`, or none,
        equal throughout, which moves nothing.

    Returns:
      Ratios, ascending, shape (..., K).
    """
    is_known = (belief.max(-1) - belief.min(-1) > -IMPOSSIBLE / 2)[..., None]
    known = jnp.asarray(ratio_bins(), nodes.dtype)[belief.argmax(-1)][..., None]
    nearest = jnp.arange(nodes.shape[-1]) == jnp.abs(nodes - known).argmin(-1)[..., None]
    return jnp.where(is_known & nearest, jnp.clip(known, *SAFE_RATIO), nodes)


def at_ratio_bins(curve: jax.Array) -> jax.Array:
    """A curve over equal bins of the near/far ratio, shape (..., bins), at `ratio_bins`."""
    return jax.image.resize(curve, (*curve.shape[:-1], SHIFT_BINS), "linear")


def at_focal_bins(curve: jax.Array) -> jax.Array:
    """A curve over equal bins of log(focal / f0), shape (..., bins), at `focal_bins`."""
    return jax.image.resize(curve, (*curve.shape[:-1], FOCAL_BINS), "linear")


def margins(shift: jax.Array, at: jax.Array, both: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Posteriors of shift and focal length, each with the other summed over.

    Args:
      shift: log-probability over `ratio_bins` by all but the angles, up to a constant, shape
        (..., SHIFT_BINS).
      at: near/far ratios, ascending, shape (..., K).
      both: logarithm of what angles, and beliefs about the focal length, say of each focal length
        at each of these ratios, up to one constant for all, shape (..., K, F).

    Returns:
      Normalised log-probabilities, (..., SHIFT_BINS) and (..., F).
    """
    seen = jax.nn.logsumexp(both, -1)
    told = jnp.vectorize(jnp.interp, signature="(n),(k),(k)->(n)")(
        jnp.asarray(ratio_bins(), seen.dtype), at, seen
    )
    # Each node speaks for the shifts that are nearer to it than to any other.
    cumulative = jnp.cumsum(jax.nn.softmax(shift), -1)
    cumulative = jnp.concatenate([jnp.zeros_like(cumulative[..., :1]), cumulative], -1)
    edges = jnp.linspace(0.0, 1.0, SHIFT_BINS + 1)
    below = jnp.vectorize(jnp.interp, signature="(k),(n),(n)->(k)")(
        (at[..., 1:] + at[..., :-1]) / 2, edges, cumulative
    )
    nothing, all_of_it = jnp.zeros_like(at[..., :1]), jnp.ones_like(at[..., :1])
    share = jnp.diff(jnp.concatenate([nothing, below, all_of_it], -1))
    focal = jax.nn.logsumexp(both + jnp.log(jnp.maximum(share, 1e-9))[..., None], -2)
    return jax.nn.log_softmax(shift + told), jax.nn.log_softmax(focal)


def quantiles(log_probability: jax.Array, bins: np.ndarray, levels) -> jax.Array:
    """Quantiles of a posterior, linear within a bin; shape (..., len(levels))."""
    bins = np.asarray(bins)
    width = bins[1] - bins[0]
    probability = jnp.exp(log_probability - jax.nn.logsumexp(log_probability, -1, keepdims=True))
    cumulative = jnp.cumsum(probability, -1)
    levels = jnp.asarray(levels)

    def at(level):
        index = jnp.minimum((cumulative < level).sum(-1), len(bins) - 1)[..., None]
        inside = jnp.take_along_axis(probability, index, -1)[..., 0]
        below = jnp.take_along_axis(cumulative, index, -1)[..., 0] - inside
        part = jnp.clip((level - below) / jnp.maximum(inside, 1e-9), 0.0, 1.0)
        return bins[0] + (index[..., 0] - 0.5 + part) * width

    return jnp.stack([at(level) for level in levels], -1)
