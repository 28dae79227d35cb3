"""One posterior over shift and focal length, and its marginals.

Curvature and parallel planes depend on the shift alone.  Right angles depend on shift and focal
length together: planes that are at a right angle for one pair of values are at one for others too.
So angles are evaluated at some shifts (`shift_nodes`), and the marginals follow from both
(`marginals`).  Priors and known values are multiplied before, so that a known focal length narrows
the shift, and a known shift the focal length.

Solver and network share this, and the bins.
"""

# JAX types many of its functions in part only, hence what is switched off.
# pyright: strict, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from train3d_jax.evidence.prior import IMPOSSIBLE
from train3d_jax.evidence.settings import AngleSettings
from train3d_jax.evidence.targets import SAFE_RATIO, SHIFT_BINS, quantiles, ratio_bins
from train3d_jax.geometry.affine import Either


def shift_nodes(
    shift: Float[Either, "*b 256"], settings: AngleSettings, count: int | None = None
) -> Float[Array, "*b k"]:
    """Near/far ratios at which angles are evaluated: close together where the shift is likely.

    Args:
      shift: log-probability over `ratio_bins` up to a constant, shape (..., SHIFT_BINS).
      settings: of the nodes.
      count: how many, if not `settings.nodes`.

    Returns:
      Ratios, ascending, shape (..., count); evenly spread where the shift is unobservable.
    """
    count = count or settings.nodes
    wide = jax.nn.log_softmax(settings.node_temper * shift)
    even = np.log(settings.node_doubt / SHIFT_BINS)
    wide = jnp.logaddexp(wide + np.log(1 - settings.node_doubt), even)
    return jnp.clip(quantiles(wide, "shift", (np.arange(count) + 0.5) / count), *SAFE_RATIO)


def with_known_shift(
    nodes: Float[Array, "*b k"], shift: Float[Either, "*b 256"]
) -> Float[Array, "*b k"]:
    """Nodes with the nearest one moved to a known shift.

    Args:
      nodes: ratios, ascending, shape (..., K).
      shift: log-probability over `ratio_bins`, shape (..., SHIFT_BINS): a `prior.point_mass`, or
        uniform, which moves no node.

    Returns:
      Ratios, ascending, shape (..., K).
    """
    is_known = (shift.max(-1) - shift.min(-1) > -IMPOSSIBLE / 2)[..., None]
    known = jnp.asarray(ratio_bins(), nodes.dtype)[shift.argmax(-1)][..., None]
    nearest = jnp.arange(nodes.shape[-1]) == jnp.abs(nodes - known).argmin(-1)[..., None]
    return jnp.where(is_known & nearest, jnp.clip(known, *SAFE_RATIO), nodes)


def marginals(
    shift: Float[Either, "*b 256"], nodes: Float[Array, "*b k"], both: Float[Either, "*b k f"]
) -> tuple[Float[Array, "*b 256"], Float[Array, "*b f"]]:
    """Marginal posteriors of shift and focal length.

    Args:
      shift: log-probability over `ratio_bins` without the angles, up to a constant, shape
        (..., SHIFT_BINS).
      nodes: near/far ratios, ascending, shape (..., K).
      both: log-likelihood of each focal length at each node by the angles, plus the log-prior of
        the focal length, up to one constant for all, shape (..., K, F).

    Returns:
      Normalised log-probabilities, (..., SHIFT_BINS) and (..., F).
    """
    of_nodes = jax.nn.logsumexp(both, -1)
    by_angles = interpolate(jnp.asarray(ratio_bins(), of_nodes.dtype), nodes, of_nodes)
    # Each node stands for the shifts that are nearer to it than to any other.
    cumulative = jnp.cumsum(jax.nn.softmax(shift), -1)
    cumulative = jnp.concatenate([jnp.zeros_like(cumulative[..., :1]), cumulative], -1)
    edges = jnp.linspace(0.0, 1.0, SHIFT_BINS + 1)
    below = interpolate((nodes[..., 1:] + nodes[..., :-1]) / 2, edges, cumulative)
    first, last = jnp.zeros_like(nodes[..., :1]), jnp.ones_like(nodes[..., :1])
    share = jnp.diff(jnp.concatenate([first, below, last], -1))
    focal = jax.nn.logsumexp(both + jnp.log(jnp.maximum(share, 1e-9))[..., None], -2)
    return jax.nn.log_softmax(shift + by_angles), jax.nn.log_softmax(focal)


def interpolate(
    x: Float[Array, "... q"], places: Float[Array, "... n"], values: Float[Array, "... n"]
) -> Float[Array, "... q"]:
    """Curves at any places, linear between those where they are given, as `jnp.interp`.

    A smaller program than `jnp.interp`, which searches.

    Args:
      x: where to evaluate, shape (..., Q); beyond the ends a curve keeps its last value.
      places: where it is given, ascending, shape (..., N).
      values: there, shape (..., N).
    """
    above = jnp.clip((places[..., None, :] <= x[..., None]).sum(-1), 1, places.shape[-1] - 1)
    shape = (*jnp.broadcast_shapes(above.shape[:-1], values.shape[:-1]), above.shape[-1])
    above = jnp.broadcast_to(above, shape)

    def at(curve: jax.Array, index: jax.Array) -> jax.Array:
        curve = jnp.broadcast_to(curve, (*shape[:-1], curve.shape[-1]))
        return jnp.take_along_axis(curve, index, -1)

    low, high = at(places, above - 1), at(places, above)
    part = jnp.clip((x - low) / jnp.maximum(high - low, 1e-12), 0.0, 1.0)
    return (1 - part) * at(values, above - 1) + part * at(values, above)
