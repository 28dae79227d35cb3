"""Windows of maps, fitted at a first estimate of the shift: what all evidence rests on."""

# JAX types many of its functions in part only, hence what is switched off.
# pyright: strict, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from train3d_jax import chunking
from train3d_jax.evidence import likelihoods
from train3d_jax.evidence.settings import EvidenceSettings
from train3d_jax.evidence.targets import SHIFT_BINS, ratio_bins
from train3d_jax.geometry import affine, points
from train3d_jax.geometry.affine import Either, Space
from train3d_jax.windows import block_windows, planes
from train3d_jax.windows.quadrics import Windows
from train3d_jax.windows.spaces import INVERSE_DEPTH

SAFE_BASE = (0.02, 0.98)
"""Near/far ratios at which windows are fitted: near 0 and 1 canonical depth is nearly singular."""

LEAST_WINDOWS = 4
"""Windows with enough points, below which a map has no evidence."""


class WindowFit(NamedTuple):
    """Windows fitted to maps, any leading axes.

    Attributes:
      curvature: log-likelihood of each of `targets.ratio_bins` by how flat planes are, shape
        (..., SHIFT_BINS); 0 in disparity space, where planes are flat under every shift.
      votes: of each window for the ratio; none in disparity space.
      windows: the fits, to canonical disparity, in other spaces to the inverse of `affine.to_depth`
        with the base.
      base: shift that the windows were fitted with, canonical units, shape (...).
    """

    curvature: jax.Array
    votes: planes.Votes
    windows: Windows
    base: jax.Array

    @property
    def has_evidence(self) -> jax.Array:
        """Whether there are enough windows, shape (...)."""
        return self.windows.mask.sum(-1) >= LEAST_WINDOWS


def fit_maps(
    rays: Float[Either, "b p 2"],
    values: Float[Either, "b p"],
    mask: Bool[Either, "b p"],
    space: Space,
    settings: EvidenceSettings,
    ratio: Float[Either, " b"] | None = None,
) -> WindowFit:
    """Fits the windows of a batch of maps.

    Args:
      rays: (u, v), shape (B, P, 2).
      values: canonical depth, disparity or log depth, shape (B, P).
      mask: shape (B, P).
      space: of the values.
      settings: of windows and curvature.
      ratio: the near/far ratio to fit at, shape (B,); NaN, and None for all, for the one at which
        most windows are flat.  Not used in disparity space.
    """
    ratio = jnp.full(len(values), jnp.nan, values.dtype) if ratio is None else ratio
    fit = lambda rays, values, mask, ratio: fit_map(  # noqa: E731
        rays, values, mask, ratio, space=space, settings=settings
    )
    return chunking.over_maps(fit, rays, values, mask, ratio)


def fit_true_maps(
    rays: Float[Either, "b p 2"],
    inverse_depth: Float[Either, "b p"],
    mask: Bool[Either, "b p"],
    settings: EvidenceSettings,
) -> WindowFit:
    """The same for maps whose shift is known and taken off; their base is 0."""
    fit = lambda rays, w, mask: _fit(rays, w, mask, settings.windows, True)  # noqa: E731
    windows = chunking.over_maps(fit, rays, inverse_depth, mask)
    return _without_curvature(windows)


def fit_map(
    rays: Float[Either, "p 2"],
    values: Float[Either, " p"],
    mask: Bool[Either, " p"],
    ratio: Float[Either, ""],
    *,
    space: Space,
    settings: EvidenceSettings,
) -> WindowFit:
    """Fits the windows of one map; arguments as of `fit_maps` without the leading axis."""
    if space == "disparity":
        positive = mask & (values > affine.SMALLEST_VALUE)
        return _without_curvature(
            _fit(rays, jnp.asarray(values), positive, settings.windows, consensus=True)
        )

    def fit_again(base: jax.Array, again: jax.Array) -> tuple[jax.Array, Any]:
        least = jnp.where(again, settings.curvature.least_depth, affine.SMALLEST_VALUE)
        depth = affine.to_depth(values, base, space)
        positive = mask & (depth > least)
        inverse = 1 / jnp.where(positive, depth, 1)
        windows = _fit(rays, inverse, positive, settings.windows, consensus=again)
        curve = likelihoods.curvature(windows, base, settings.curvature, space=space)
        flattest = jnp.asarray(ratio_bins(), base.dtype)[curve.argmax()]
        chosen = jnp.clip(jnp.where(jnp.isnan(ratio), flattest, ratio), *SAFE_BASE)
        return jax.lax.stop_gradient(affine.ratio_to_shift(chosen)), (windows, curve, base)

    # Again: a quadric omits the cubic part of 1 / d, which vanishes as the shift is taken off.  A
    # loop, so that the fit is compiled once.
    none, consensus = jnp.zeros((), values.dtype), INVERSE_DEPTH[space].fits
    _, fits = jax.lax.scan(fit_again, none, jnp.array(consensus))
    last = len(consensus) - 1
    windows, curve, base = jax.tree.map(lambda of_fits: of_fits[last], fits)
    return WindowFit(curve, _votes(windows, base, space, settings), windows, base)


def _fit(
    rays: Either,
    w: jax.Array,
    mask: Either,
    settings: block_windows.WindowSettings,
    consensus: bool | jax.Array,
) -> Windows:
    """Fits the windows of all grids to w, (P,), no residual less than most of the map's."""
    w = jnp.where(mask, w, 1.0)
    windows = block_windows.fit_block_windows(rays, w, mask, points.BLOCKS, settings, consensus)
    return block_windows.with_noise_floor(windows, settings.noise_quantile)


def _without_curvature(windows: Windows) -> WindowFit:
    none = jnp.zeros_like(windows.value)
    flat = jnp.zeros((*none.shape[:-1], SHIFT_BINS), none.dtype)
    return WindowFit(flat, planes.Votes(none, none + 1, none > 0), windows, none[..., 0])


def _votes(
    windows: Windows, base: jax.Array, space: Space, settings: EvidenceSettings
) -> planes.Votes:
    """Each window's vote for the near/far ratio."""
    vote = INVERSE_DEPTH[space].vote
    assert vote is not None
    q, sigma = likelihoods.plane_curvature(windows, settings.curvature)
    return planes.Votes(*vote(windows, q, sigma, base))
