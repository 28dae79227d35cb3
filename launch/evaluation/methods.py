"""The rows of an evaluation: constants and methods, their estimates and the errors of these."""

import functools
from collections.abc import Sequence
from typing import NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np

from launch.evaluation.cases import HINT_SIGMA, Case
from train3d_jax import chunking
from train3d_jax.evaluation.views import Constants
from train3d_jax.evidence.fusion import Method
from train3d_jax.geometry import affine, camera, clouds, metrics
from train3d_jax.inference import estimation, recovery
from train3d_jax.inference.models import Model
from train3d_jax.inference.recovery import Known
from train3d_jax.lines import segments as segments_of_pictures
from train3d_jax.lines.segments import Segments

CONSTANT_FOV = 59.0
"""Horizontal field of view in degrees of the constant guess: the median of 1,200 views that
`launch.weights` renders for training."""

CONSTANT_RATIO = 0.22
"""Near/far ratio of the constant guess: the median of the same views."""

NOTHING, GUESS, BEST = "nothing corrected", "constant guess", "best constants in hindsight"
TRUE_FOCAL, TRUE_SHIFT = "oracle: true focal length", "oracle: true shift"
HINTED = "focal length +-3 %"
"""Row of the best method with a hint as EXIF gives it, behind the method's name."""

LINES = "lines"
"""Row of a method that is also given the lines of pictures, behind the method's name."""

SOLVED_AT_ONCE = 16
"""Views in a call.  Chosen; fixed, because the last digits change with the size of a batch, and
must not depend on how an evaluation is run."""

FEW = 128
"""Views up to which an evaluation is compiled at `chunking.SIMPLE`, see `Methods`.  Chosen: with
more of them the program of `chunking.FULL` saves more than it takes longer to compile."""

LEAST_VALUE = 1e-3
"""Least depth (or disparity) over its far quantile; chosen.  A wrong shift can put points at
infinity or behind the camera, and their errors would hide those of all other views."""

ERRORS = (
    "focal_error", "fov_error_deg", "fov_y_error_deg", "ray_error_deg", "shift_error",
    "ratio_error", "point_error", "points_within",
)  # fmt: skip
COLUMNS = (
    *ERRORS, "focal_px", "shift", "focal_interval_factor", "solved", "focal_held", "shift_held",
)  # fmt: skip
"""Numbers of each view and row.  The factor is the upper over the lower end of the interval of the
focal length.  The last three are 0 or 1.  The factor and the last two are NaN where there is no
interval."""


class _Estimates(NamedTuple):
    """A row's estimates for a batch, (B,) each; intervals (B, 2), None for constants and truths."""

    focal: np.ndarray
    shift: np.ndarray
    focal_interval: np.ndarray | None = None
    shift_interval: np.ndarray | None = None


class Tables(NamedTuple):
    """The numbers of a view.

    Attributes:
      rows: of all rows, (rows, COLUMNS).
      with_lines: of each method with the lines of the picture, (COLUMNS,); empty where no picture
        counts.
    """

    rows: np.ndarray
    with_lines: dict[str, np.ndarray]


class Methods:
    """All rows of an evaluation with some networks.

    Attributes:
      rows: their labels, in order.
      pictured: number of the row that is drawn: the networks', or geometry's without networks.
    """

    def __init__(self, models: Sequence[Model], space: affine.Space, count: int):
        """Compiles nothing yet.

        Args:
          models: networks that together cover shift and focal length; none for geometry alone.
          space: of the maps that methods get.
          count: views of the whole evaluation, of all sets and shards, at most.  Up to `FEW` are
            computed by a program that compiles faster; last digits depend on it.
        """
        self._models = models
        self._level = chunking.SIMPLE if count <= FEW else chunking.FULL
        self._space: affine.Space = space
        self._methods = estimation.methods_of(models)
        self._best_method: Method = self._methods[-1]
        self._hinted = f"{self._best_method}, {HINTED}"
        self.rows = (
            NOTHING, GUESS, BEST, *self._methods, self._hinted, TRUE_FOCAL, TRUE_SHIFT,
        )  # fmt: skip
        self.pictured = self.rows.index(self._best_method)

    def measure(self, cases: Sequence[Case], best: Constants) -> list[Tables]:
        """Solves up to `SOLVED_AT_ONCE` views by every row.

        Args:
          cases: the views.
          best: the constants in hindsight of their set.

        Returns:
          The numbers of each view.
        """
        # Always a full batch: another size would be compiled anew.
        full = [*cases, *[cases[0]] * (SOLVED_AT_ONCE - len(cases))]
        estimates = self._estimates(full, best)
        guess = estimates[GUESS]
        of_lines = self._with_lines(full)
        tables = []
        for number, case in enumerate(cases):
            counted = of_lines if case.seen.segments is not None else {}
            further = self._table(case, number, [*counted.values()], guess) if counted else ()
            tables.append(
                Tables(
                    self._table(case, number, [*estimates.values()], guess),
                    dict(zip(counted, further, strict=True)),
                )
            )
        return tables

    def _table(
        self, case: Case, number: int, estimates: Sequence[_Estimates], guess: _Estimates
    ) -> np.ndarray:
        """`COLUMNS` of some rows for the view of this number in its batch, (rows, COLUMNS)."""
        true = case.truth
        rows = []
        for row in estimates:
            solved = np.isfinite(row.focal[number]) and np.isfinite(row.shift[number])
            taken = row if solved else guess
            held = [
                _holds(interval, number, value) if solved else np.nan
                for interval, value in (
                    (row.focal_interval, true.focal),
                    (row.shift_interval, true.shift),
                )
            ]
            factor = _factor(row.focal_interval, number) if solved else np.nan
            rows.append([taken.focal[number], taken.shift[number], factor, solved, *held])
        values = np.array(rows, np.float64)
        errors = errors_of(
            values[:, 0], values[:, 1], case.pixels, case.values, case.points, case.mask,
            case.size, case.intrinsics, true.focal, true.shift, space=self._space,
        )  # fmt: skip
        return np.c_[np.asarray(errors, np.float64), values]

    def focal_evidence(
        self, blocks: Sequence[clouds.Blocks], segments: Sequence[Segments | None] | None = None
    ) -> tuple[np.ndarray, int]:
        """The evidence of up to `SOLVED_AT_ONCE` maps on the focal length, by the best method.

        Args:
          blocks: the maps.
          segments: of the pictures that count; None, or no picture at all, for depth alone.

        Returns:
          The sum of `Evidence.focal`, shape (FOCAL_BINS,), and of how many maps it is.
        """
        count = len(blocks)
        full = [*blocks, *[blocks[0]] * (SOLVED_AT_ONCE - count)]
        lines = [*(segments or ()), *[None] * (SOLVED_AT_ONCE - len(segments or ()))]
        found = recovery.evidence_by_each(
            self._models, _stacked(full), Known(), self._space, self._level,
            segments_of_pictures.stacked(lines),
        )[self._best_method]  # fmt: skip
        return found.focal[:count].sum(0), int(found.solvable[:count].sum())

    def _with_lines(self, full: Sequence[Case]) -> dict[str, _Estimates]:
        """Of each method; empty where no picture counts, as lines have a program of their own."""
        segments = segments_of_pictures.stacked([case.seen.segments for case in full])
        if segments is None:
            return {}
        by_each = self._recover(_stacked([case.blocks for case in full]), Known(), segments)
        return {method: _estimates_of(by_each[method]) for method in self._methods}

    def _estimates(self, full: Sequence[Case], best: Constants) -> dict[str, _Estimates]:
        blocks = _stacked([case.blocks for case in full])
        first_guess = [float(camera.initial_focal(case.size[0])) for case in full]
        estimates = {
            NOTHING: _Estimates(np.array(first_guess), np.zeros(len(full))),
            GUESS: _constant(full, Constants(CONSTANT_FOV, CONSTANT_RATIO)),
            BEST: _constant(full, best),
        }
        by_each = self._recover(blocks, Known())
        estimates |= {method: _estimates_of(by_each[method]) for method in self._methods}
        hinted = Known(np.array([case.hinted_focal for case in full]), HINT_SIGMA)
        estimates[self._hinted] = _estimates_of(self._recover(blocks, hinted)[self._best_method])
        true_focal = Known(focal=np.array([case.truth.focal for case in full]))
        batch = self._recover(blocks, true_focal)[self._best_method]
        estimates[TRUE_FOCAL] = _estimates_of(batch)._replace(focal_interval=None)
        true_blocks = _stacked([case.true_blocks for case in full])
        # Log depth with its true offset does not tell its true scale.
        true_shift = np.array([case.truth.shift for case in full]) if self._space == "log" else True
        batch = self._recover(true_blocks, Known(shift=true_shift))[self._best_method]
        estimates[TRUE_SHIFT] = _estimates_of(batch)._replace(shift_interval=None)
        return estimates

    def _recover(
        self, blocks: clouds.Blocks, known: Known, segments: Segments | None = None
    ) -> dict[Method, recovery.Estimates]:
        return recovery.recover_by_each(
            self._models, blocks, known, self._space, self._level, segments
        )


def best_method(rows: Sequence[str]) -> str:
    """The row of the best method: the networks', or geometry's without networks."""
    return next(row for row in reversed(rows) if row in get_args(Method))


def with_lines(method: str) -> str:
    """The row of a method that is also given lines."""
    return f"{method}, {LINES}"


def _stacked(blocks: Sequence[clouds.Blocks]) -> clouds.Blocks:
    return clouds.Blocks(*(np.stack(column) for column in zip(*blocks, strict=True)))


def _constant(cases: Sequence[Case], constants: Constants) -> _Estimates:
    focals = camera.degrees_to_focal(constants.fov, np.array([case.size[1] for case in cases]))
    shift = affine.ratio_to_shift(constants.ratio)
    return _Estimates(focals, np.full(len(cases), shift))


def _estimates_of(batch: recovery.Estimates) -> _Estimates:
    return _Estimates(batch.focal, batch.shift, batch.focal_interval, batch.shift_interval)


def _holds(interval: np.ndarray | None, number: int, value: float) -> float:
    if interval is None:
        return np.nan
    low, high = interval[number]
    return float(low <= value <= high)


def _factor(interval: np.ndarray | None, number: int) -> float:
    if interval is None:
        return np.nan
    low, high = interval[number]
    return float(high / low)


@functools.partial(jax.jit, static_argnames="space")
def errors_of(
    focal: jax.Array,
    shift: jax.Array,
    pixels: jax.Array,
    values: jax.Array,
    true_points: jax.Array,
    mask: jax.Array,
    size: tuple[int, int],
    intrinsics: jax.Array,
    true_focal: float,
    true_shift: float,
    space: affine.Space,
) -> jax.Array:
    """`ERRORS` of the estimates of all rows for one view, (rows, len(ERRORS))."""
    height, width = size
    cameras = camera.centred_intrinsics(focal, height, width)
    points = straight_points(focal, shift, pixels, values, space)
    off = metrics.point_errors(points, true_points, mask)
    ratio, true_ratio = affine.shift_to_ratio(shift), affine.shift_to_ratio(true_shift)
    return jnp.stack(
        [
            metrics.focal_error(focal, true_focal),
            metrics.fov_error(focal, true_focal, width),
            metrics.fov_error(focal, true_focal, height),
            metrics.ray_error(cameras, intrinsics, size),
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
    """The points that estimates make of canonical values.

    Args:
      focal: pixels, shape (R,).
      shift: canonical units, shape (R,).
      pixels: (u, v) from the image centre, shape (N, 2).
      values: canonical depth, disparity or log depth, shape (N,).
      space: of `values`.

    Returns:
      Shape (R, N, 3); nothing is nearer (in disparity space farther) than `LEAST_VALUE` allows.
    """
    if space != "log":  # where nothing is behind the camera
        least = LEAST_VALUE * (affine.FAR_VALUE + shift) - shift
        values = jnp.maximum(values, least[:, None])
    z = affine.to_depth(values, shift, space)
    return jnp.concatenate([pixels / focal[:, None, None] * z[..., None], z[..., None]], -1)
