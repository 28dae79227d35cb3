"""What the lines of pictures say of focal length and shift, beside the planes of their maps.

Three likelihoods.  Each is tempered, because segments share walls and windows share planes.
Each is doubted, because a picture's lines may follow no frame and lie in no plane:

  lines alone     log of the mean over frames of exp L
  lines, given    log of the mean over frames of exp(t L + t W), less that of exp(t W): what windows
  windows         say by themselves is not counted again
  lines in        see `plane_lines`; of the shift
  planes
"""

# JAX types many of its functions in part only, hence what is switched off.
# pyright: strict, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from train3d_jax.evidence.fusion import doubted
from train3d_jax.evidence.likelihoods import mean_square_gradient
from train3d_jax.evidence.line_curves import LineCurves
from train3d_jax.evidence.targets import (
    SAFE_RATIO,
    at_focal_bins,
    at_ratio_bins,
    bin_centres,
    quantiles,
)
from train3d_jax.evidence.window_fit import WindowFit
from train3d_jax.geometry import camera
from train3d_jax.geometry.affine import Space, ratio_to_shift
from train3d_jax.geometry.clouds import Blocks
from train3d_jax.lines import plane_lines
from train3d_jax.lines.frames import Frames, Planes, frame_likelihoods
from train3d_jax.lines.segments import Segments
from train3d_jax.lines.vanishing import Lines, VanishingPoints, lines_of, vanishing_points
from train3d_jax.windows import planes
from train3d_jax.windows.block_windows import Grid
from train3d_jax.windows.quadrics import Windows
from train3d_jax.windows.spaces import INVERSE_DEPTH


@dataclass(frozen=True)
class LineSettings:
    """How lines are evaluated; weights and doubts were chosen on 304 crops of real pictures.

    Attributes:
      alone: weight of the likelihood of lines alone.
      given: of that of lines given windows.
      focal_doubt: probability that both are wrong.
      in_planes: weight of the likelihood of lines in planes.
      shift_doubt: probability that it is wrong.
      frame_temper: t of lines and windows together.  From experiments on pictures of depth cameras.
      focal_bins: focal lengths that are evaluated, a divisor of `targets.FOCAL_BINS`.
      shift_bins: shifts that are evaluated.
      frame_grids: numbers of the grids whose windows are compared with frames.
      plane_grid: of the one whose planes are continued to vanishing points.
    """

    alone: float = 0.05
    given: float = 0.1
    focal_doubt: float = 0.4
    in_planes: float = 0.1
    shift_doubt: float = 0.2
    frame_temper: float = 0.3
    focal_bins: int = 48
    shift_bins: int = 64
    frame_grids: tuple[int, ...] = (2, 3)
    plane_grid: int = 1


class LineFrames(NamedTuple):
    """Lines of maps and their frames, leading axis B.

    Attributes:
      curves: what lines say.
      lines: the segments in ray units.
      frames: of each focal ratio, by lines and windows together: the best frame, shape (B, F, 3,
        3), and the information on its turns, of the same shape.
      information: see `frames.Frames`.
    """

    curves: LineCurves
    lines: Lines
    frames: jax.Array
    information: jax.Array


def line_evidence(
    segments: Segments,
    blocks: Blocks,
    fit: WindowFit,
    shift: jax.Array,
    known_shift: jax.Array,
    space: Space,
    grids: tuple[Grid, ...],
    settings: LineSettings,
) -> LineFrames:
    """Evaluates the lines of a batch of B maps.

    Args:
      segments: of their pictures, none where a map has no picture.
      blocks: the maps.
      fit: their windows, with rays of the first guess of 60 degrees.
      shift: log-posterior by windows, shape (B, SHIFT_BINS).  Frames assume its median, lines in
        planes counted.
      known_shift: that frames assume instead, canonical units, shape (B,); NaN where there is none.
      space: of the maps' values.
      grids: that windows were fitted in.
      settings: see there.
    """
    first_guess = jnp.asarray(camera.initial_focal(blocks.size[..., 0]))
    lines = lines_of(segments, blocks.centre, first_guess)
    has_lines = jnp.asarray(segments.mask).any(-1)[:, None]
    points, by_planes = jax.lax.map(
        lambda one: _in_planes(*one, space=space, grids=grids, settings=settings),
        (lines, fit.windows, fit.base),
    )
    of_shift = doubted(at_ratio_bins(settings.in_planes * by_planes), settings.shift_doubt)
    of_shift = jnp.where(has_lines, of_shift, 0.0)
    assumed = jnp.clip(quantiles(shift + of_shift, "shift", (0.5,))[:, 0], *SAFE_RATIO)
    assumed = jnp.where(jnp.isnan(known_shift), ratio_to_shift(assumed), known_shift)
    frames = jax.lax.map(
        lambda one: _frames(*one, space=space, grids=grids, settings=settings),
        (lines, points, fit.windows, fit.base, assumed),
    )
    likelihood = frames.log_likelihood
    focal = settings.alone * likelihood[..., 0]
    focal += settings.given * (likelihood[..., 1] - likelihood[..., 2])
    focal = doubted(at_focal_bins(focal), settings.focal_doubt)
    curves = LineCurves(jnp.where(has_lines, focal, 0.0), of_shift)
    return LineFrames(curves, lines, frames.best[:, :, 1], frames.information[:, :, 1])


def focal_ratios(settings: LineSettings) -> np.ndarray:
    """Focal ratios at which frames are evaluated, shape (focal_bins,)."""
    return np.exp(bin_centres("focal", settings.focal_bins)).astype(np.float32)


def _in_planes(
    lines: Lines,
    windows: Windows,
    base: jax.Array,
    *,
    space: Space,
    grids: tuple[Grid, ...],
    settings: LineSettings,
) -> tuple[VanishingPoints, jax.Array]:
    """Of one map its vanishing points, and the log-likelihood of shifts, (shift_bins,)."""
    points = vanishing_points(lines)
    part = _rows(grids, (settings.plane_grid,))
    continued = jax.tree.map(lambda of_windows: of_windows[part], windows)
    shifts = ratio_to_shift(bin_centres("shift", settings.shift_bins))
    typical = mean_square_gradient(windows)[0]
    moves = INVERSE_DEPTH[space].move(jnp.asarray(shifts, base.dtype), base)
    likelihood = plane_lines.shift_likelihood(lines, points, continued, typical, moves, space)
    return points, likelihood


def _frames(
    lines: Lines,
    points: VanishingPoints,
    windows: Windows,
    base: jax.Array,
    shift: jax.Array,
    *,
    space: Space,
    grids: tuple[Grid, ...],
    settings: LineSettings,
) -> Frames:
    """The frames of one map by lines alone, by lines and windows, and by windows alone."""
    move = INVERSE_DEPTH[space].move(shift, base)
    gradient, offset = planes.plane_normals(windows, move, space)
    variance = planes.gradient_variance(windows)
    weight = jnp.asarray(windows.mask, offset.dtype)
    part = _rows(grids, settings.frame_grids)
    compared = Planes(*(x[part] for x in (gradient, offset, variance, windows.centre, weight)))
    temper = settings.frame_temper
    tempers = jnp.array([[1, 0], [temper, temper], [0, temper]], jnp.float32)
    return frame_likelihoods(lines, points, compared, focal_ratios(settings), tempers)


def _rows(grids: tuple[Grid, ...], chosen: tuple[int, ...]) -> np.ndarray:
    """Numbers of the windows of some grids."""
    starts = np.cumsum([0, *(across * down for across, down in grids)])
    return np.concatenate([np.arange(starts[i], starts[i + 1]) for i in chosen])
