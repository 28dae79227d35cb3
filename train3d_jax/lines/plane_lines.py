"""The likelihood of shifts by lines that lie in planes.

On a plane the true inverse depth is affine in the image and 0 on the plane's vanishing line.  A
line in the plane has its vanishing point there.  So the plane that was fitted in a window has to be
0 at the vanishing point of lines in that window.  That says what the shift is, for any focal length
and in disparity space too.

With D of `spaces` under the shift, g the gradient, c the centre of a window and V the homogeneous
vanishing point, e = V_xy - c V_z: D V_z + g . e = 0.  The component of g along e is measured, and
-D V_z / |e| is what the shift predicts for it.
"""

# JAX types many of its functions in part only, hence what is switched off.
# pyright: strict, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

import jax
import jax.numpy as jnp

from train3d_jax.geometry.affine import Space
from train3d_jax.lines.vanishing import Lines, VanishingPoints, pointing
from train3d_jax.windows.planes import gradient_variance
from train3d_jax.windows.quadrics import Windows
from train3d_jax.windows.spaces import INVERSE_DEPTH

IN_PLANE_ODDS = 0.3
"""That lines seen in a window lie in its plane.  Chosen."""

SIGMA = 0.03
"""Standard deviation of a plane's gradient beyond the noise of its fit, over the gradients of the
map: two degrees.  Chosen."""

MOST_LINES = 2.0
"""Lines of one direction in one window beyond which more say nothing new.  Chosen."""


def shift_likelihood(
    lines: Lines,
    points: VanishingPoints,
    windows: Windows,
    typical: jax.Array,
    moves: jax.Array,
    space: Space,
) -> jax.Array:
    """Log-likelihood of shifts for one map.

    Args:
      lines: segments of its picture.
      points: their vanishing points.
      windows: of the map, shape (M,).
      typical: mean square of a component of gradients, shape ().
      moves: of the shifts, see `spaces`, shape (N,).
      space: of the map's values.

    Returns:
      Shape (N,).
    """
    odds = jax.vmap(pointing, (0, None))(points.points, lines) * points.mask[:, None]
    share = odds / (1 + odds.sum(0)) * lines.weight
    apart = jnp.abs(lines.middle[:, None] - windows.centre)
    inside = (apart < windows.extent).all(-1) & windows.mask
    counts = jnp.einsum("ks,sm->km", share, inside.astype(share.dtype), precision="highest")
    weight = jnp.minimum(counts, MOST_LINES)
    v_z = points.points[:, None, 2]
    to_point = points.points[:, None, :2] - windows.centre * v_z[..., None]
    reach = jnp.sqrt((to_point**2).sum(-1) + 1e-6)
    unit = to_point / reach[..., None]
    measured = (windows.gradient * unit).sum(-1)
    size2 = (windows.gradient**2).sum(-1) + typical
    variance = (gradient_variance(windows) * unit**2).sum(-1) + SIGMA**2 * size2
    # The fit's noise in w, and that of the vanishing point's place.
    odds = IN_PLANE_ODDS * jnp.sqrt(typical / (typical + variance)) * jnp.sqrt(size2 / variance)

    def at(move: jax.Array) -> jax.Array:
        over_slope = INVERSE_DEPTH[space].over_slope(windows.value, move)
        predicted = -over_slope * v_z / reach
        spread = variance + SIGMA**2 * jnp.minimum(predicted**2, 100 * size2)
        fit = jnp.exp(-0.5 * (measured - predicted) ** 2 / spread) * jnp.sqrt(variance / spread)
        return (jnp.log1p(odds * fit) * weight).sum()

    return jax.lax.map(at, moves)
