"""The rows of an evaluation: constants and methods, what they answer and how wrong that is."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from data.user_maps.true_maps import TrueMap
from train3d_jax.evaluation import views as evaluation
from train3d_jax.evaluation.views import Constants, Truth, View
from train3d_jax.evidence.fusion import Method
from train3d_jax.geometry import affine, camera, clouds, metrics
from train3d_jax.inference import recovery as inference
from train3d_jax.inference.recovery import Known

CONSTANT_FOV = 66.0
"""Horizontal field of view in degrees that a constant guess takes: the median of the views that the
training recipe renders."""

CONSTANT_RATIO = 0.21
"""Near/far ratio of a constant guess: the median of the same views."""

NOTHING, GUESS, BEST = "nothing corrected", "constant guess", "best constants in hindsight"
TRUE_FOCAL, TRUE_SHIFT = "oracle: true focal length", "oracle: true shift"

NUM_POINTS = 4096
"""Pixels of each view that point errors are measured at: a fixed number, so that nothing is
compiled twice."""

SOLVED_AT_ONCE = 16
"""Views in a call.  Always as many, because numbers change in their last digits with the size of a
batch, and must not depend on how an evaluation is run."""

LEAST_VALUE = 1e-3
"""Depth (or disparity) over its far quantile below which an answer is not followed: a shift that is
wrong can put points at infinity or behind the camera."""

ERRORS = (
    "focal_error", "fov_error_deg", "shift_error", "ratio_error", "point_error", "points_within",
)  # fmt: skip
COLUMNS = (*ERRORS, "focal_px", "shift", "solved", "focal_held", "shift_held")
"""Of what is known of a view and row.  The last three are 0 or 1, the last two NaN where
there is no interval."""


class Case(NamedTuple):
    """A view made ready to be solved and measured; it holds no map.

    Attributes:
      map_number: of the map in its set.
      view_number: of the view among those of its map.
      name: of the map.
      scene: that it shows; empty where it is not known.
      share: of the largest window about the principal point that was kept.
      size: height and width in pixels.
      truth: what is to be found.
      blocks: what comes in, without a batch axis.
      true_blocks: the same with its shift right.
      pixels: drawn (u, v), seen from the image centre, (NUM_POINTS, 2).
      values: canonical values there, (NUM_POINTS,).
      points: true points there, (NUM_POINTS, 3).
      mask: which of them there are, (NUM_POINTS,).
    """

    map_number: int
    view_number: int
    name: str
    scene: str
    share: float
    size: tuple[int, int]
    truth: Truth
    blocks: clouds.Blocks
    true_blocks: clouds.Blocks
    pixels: np.ndarray
    values: np.ndarray
    points: np.ndarray
    mask: np.ndarray


def make_case(
    found: TrueMap, view: View, space: affine.Space, seeds: tuple[int, int, int]
) -> Case | None:
    """A view of a map as it is solved and measured; None where too little of the map is left."""
    truth = evaluation.truth_of(view, space)
    canonical = evaluation.canonical_form(view.values)
    if truth is None or canonical is None:
        return None
    height, width = view.depth.shape
    drawn, mask = evaluation.draw_pixels(view, seeds, NUM_POINTS)
    rows, columns = drawn.T
    pixels = drawn[:, ::-1].astype(np.float64)
    z = view.depth[rows, columns].astype(np.float64)
    points = camera.unproject_pixels(pixels, z, view.intrinsics)
    scale, offset = canonical
    return Case(
        *seeds[1:],
        name=found.name,
        scene=found.scene,
        share=view.share,
        size=(height, width),
        truth=truth,
        blocks=_without_batch(inference.make_blocks([view.values])),
        true_blocks=_without_batch(inference.make_blocks([evaluation.true_values(view, space)])),
        pixels=pixels - ((width - 1) / 2, (height - 1) / 2),
        values=scale * view.values[rows, columns].astype(np.float64) + offset,
        points=points,
        mask=mask,
    )


def _without_batch(blocks: clouds.Blocks) -> clouds.Blocks:
    return clouds.Blocks(*(np.asarray(column)[0] for column in blocks))


class _Answers(NamedTuple):
    """What a row says of a batch; (B,) each, intervals (B, 2), None where nothing was sought."""

    focal: np.ndarray
    shift: np.ndarray
    focal_interval: np.ndarray | None = None
    shift_interval: np.ndarray | None = None


class Methods:
    """All rows that these networks allow.

    Attributes:
      rows: their labels, in order.
      pictured: number of the row that is pictured: the networks' own, or else geometry's.
    """

    def __init__(self, models: Sequence[inference.Model], space: affine.Space):
        self._models = models
        self._space: affine.Space = space
        self._asked: Method = "learned" if models else "geometric"
        self._sought: tuple[Method, ...] = (
            ("geometric", "learned", "hybrid") if models else ("geometric",)
        )
        self.rows = (NOTHING, GUESS, BEST, *self._sought, TRUE_FOCAL, TRUE_SHIFT)
        self.pictured = self.rows.index(self._asked)

    def measure(self, cases: Sequence[Case], best: Constants) -> list[np.ndarray]:
        """Solves up to `SOLVED_AT_ONCE` views by every row.

        Args:
          cases: the views.
          best: the constants in hindsight of their set.

        Returns:
          For each view a table, (rows, COLUMNS).
        """
        answers = self._answers(cases, best)
        guess = answers[GUESS]
        tables = []
        for number, case in enumerate(cases):
            true = case.truth
            told = []
            for found in answers.values():
                solved = np.isfinite(found.focal[number]) and np.isfinite(found.shift[number])
                taken = found if solved else guess
                held = [
                    _holds(interval, number, value) if solved else np.nan
                    for interval, value in (
                        (found.focal_interval, true.focal),
                        (found.shift_interval, true.shift),
                    )
                ]
                told.append([taken.focal[number], taken.shift[number], solved, *held])
            told = np.array(told, np.float64)
            errors = errors_of(
                told[:, 0], told[:, 1], case.pixels, case.values, case.points, case.mask,
                case.size[1], true.focal, true.shift, space=self._space,
            )  # fmt: skip
            tables.append(np.c_[np.asarray(errors, np.float64), told])
        return tables

    def _answers(self, cases: Sequence[Case], best: Constants) -> dict[str, _Answers]:
        # Always a full batch: another size would be compiled anew.
        full = [*cases, *[cases[0]] * (SOLVED_AT_ONCE - len(cases))]
        blocks = _stacked([case.blocks for case in full])
        first_guess = [float(camera.initial_focal(case.size[0])) for case in full]
        answers = {
            NOTHING: _Answers(np.array(first_guess), np.zeros(len(full))),
            GUESS: _constant(full, Constants(CONSTANT_FOV, CONSTANT_RATIO)),
            BEST: _constant(full, best),
        }
        for method in self._sought:
            answers[method] = _sought(self._recover(blocks, Known(), method))
        true_focal = Known(focal=np.array([case.truth.focal for case in full]))
        found = self._recover(blocks, true_focal, self._asked)
        answers[TRUE_FOCAL] = _sought(found)._replace(focal_interval=None)
        true_blocks = _stacked([case.true_blocks for case in full])
        found = self._recover(true_blocks, Known(shift=True), self._asked)
        answers[TRUE_SHIFT] = _sought(found)._replace(shift_interval=None)
        return answers

    def _recover(self, blocks: clouds.Blocks, known: Known, method: Method) -> inference.Recovery:
        return inference.recover_blocks(self._models, blocks, known, method, self._space)


def _stacked(blocks: Sequence[clouds.Blocks]) -> clouds.Blocks:
    return clouds.Blocks(*(np.stack(column) for column in zip(*blocks, strict=True)))


def _constant(cases: Sequence[Case], constants: Constants) -> _Answers:
    focals = camera.degrees_to_focal(constants.fov, np.array([case.size[1] for case in cases]))
    shift = affine.ratio_to_shift(constants.ratio)
    return _Answers(focals, np.full(len(cases), shift))


def _sought(found: inference.Recovery) -> _Answers:
    return _Answers(found.focal, found.shift, found.focal_interval, found.shift_interval)


def _holds(interval: np.ndarray | None, number: int, value: float) -> float:
    if interval is None:
        return np.nan
    low, high = interval[number]
    return float(low <= value <= high)


@functools.partial(jax.jit, static_argnames="space")
def errors_of(
    focal: jax.Array,
    shift: jax.Array,
    pixels: jax.Array,
    values: jax.Array,
    true_points: jax.Array,
    mask: jax.Array,
    width: int,
    true_focal: float,
    true_shift: float,
    space: affine.Space,
) -> jax.Array:
    """`ERRORS` of the answers of all rows for one view, (rows, len(ERRORS))."""
    points = straight_points(focal, shift, pixels, values, space)
    off = metrics.point_errors(points, true_points, mask)
    ratio, true_ratio = affine.shift_to_ratio(shift), affine.shift_to_ratio(true_shift)
    return jnp.stack(
        [
            metrics.focal_error(focal, true_focal),
            metrics.fov_error(focal, true_focal, width),
            metrics.shift_error(shift, true_shift),
            jnp.abs(ratio - true_ratio),
            off.mean,
            off.within,
        ],
        -1,
    )


def straight_points(
    focal: jax.Array, shift: jax.Array, pixels: jax.Array, values: jax.Array, space: affine.Space
) -> jax.Array:
    """The points that answers make of canonical values.

    Args:
      focal: pixels, shape (R,).
      shift: canonical units, shape (R,).
      pixels: (u, v) from the image centre, shape (N, 2).
      values: canonical depth or disparity, shape (N,).
      space: of `values`.

    Returns:
      Shape (R, N, 3); nothing is nearer (in disparity space farther) than `LEAST_VALUE` allows.
    """
    least = LEAST_VALUE * (affine.FAR_VALUE + shift) - shift
    bounded = jnp.maximum(values, least[:, None])
    z = affine.to_depth(bounded, shift, space)
    return jnp.concatenate([pixels / focal[:, None, None] * z[..., None], z[..., None]], -1)
