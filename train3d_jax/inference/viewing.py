"""What an interactive viewer computes again and again, of static shape so that it is fast.

A sample of its pixels is taken once.  Then every shift and every camera is one compiled call that
unprojects the sample, and one look into a table of scores.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from train3d_jax import chunking
from train3d_jax.evidence import solver, targets
from train3d_jax.geometry import affine, camera, metrics
from train3d_jax.geometry.clouds import Blocks

MOST_POINTS = 100_000
"""Points of a cloud; more do not show, and a browser takes longer to move them."""

COMPARED_POINTS = 4096
"""Points of which an error is computed: as many as an evaluation takes."""

FARTHEST = 20.0
"""Far quantiles: what lies behind (sky, outliers) would make the room small."""


class Sample(NamedTuple):
    """Pixels of a map, in random order: the first few are a sample of the map, too.

    Attributes:
      pixels: (u, v), shape (MOST_POINTS, 2).
      values: canonical depth or disparity, shape (MOST_POINTS,).
      mask: which of them there are; the first of all, shape (MOST_POINTS,).
    """

    pixels: np.ndarray | jax.Array
    values: np.ndarray | jax.Array
    mask: np.ndarray | jax.Array


def take_sample(values: np.ndarray, canonical: tuple[float, float]) -> tuple[Sample, np.ndarray]:
    """Draws pixels that hold a value, the same ones each time.

    Args:
      values: depth or disparity, shape (H, W); 0 and what is not finite is missing.
      canonical: scale and offset of the map's canonical form.

    Returns:
      The sample, and (row, column) of each of its points that there are, shape (N, 2).
    """
    rows, columns = np.nonzero(np.isfinite(values) & (values != 0))
    rng = np.random.default_rng(0)
    chosen = rng.choice(len(rows), min(len(rows), MOST_POINTS), replace=False)
    rows, columns = rows[chosen], columns[chosen]
    scale, offset = canonical
    padding = [(0, MOST_POINTS - len(chosen)), (0, 0)]
    sample = Sample(
        np.pad(np.stack([columns, rows], -1), padding).astype(np.float32),
        np.pad(scale * values[rows, columns].astype(np.float64) + offset, padding[0]).astype(
            np.float32
        ),
        np.arange(MOST_POINTS) < len(chosen),
    )
    return jax.device_put(sample), np.stack([rows, columns], -1)


@functools.partial(jax.jit, static_argnames="space")
def unproject(
    sample: Sample, shift: jax.Array, intrinsics: jax.Array, space: affine.Space
) -> jax.Array:
    """The cloud of a sample under a shift and a camera.

    Args:
      sample: of a map.
      shift: canonical units, shape ().
      intrinsics: pixels, shape (3, 3).
      space: of the map.

    Returns:
      Points in units of the far quantile of depth, so that clouds of any shift are alike in size,
      shape (MOST_POINTS, 3).  Those that are missing, behind the camera or beyond `FARTHEST` are in
      the camera's centre.
    """
    far = affine.NEAR_VALUE if space == "disparity" else affine.FAR_VALUE
    z = affine.to_depth(sample.values, shift, space) / affine.to_depth(
        jnp.full(1, far), shift, space
    )
    seen = sample.mask & (z > 0) & (z < FARTHEST)
    return camera.unproject_pixels(sample.pixels, jnp.where(seen, z, 0.0), intrinsics)


@functools.partial(jax.jit, static_argnames="count")
def compare(points: jax.Array, true_points: jax.Array, count: int = COMPARED_POINTS) -> jax.Array:
    """Mean error of the first points of a cloud, see `metrics.point_error`, shape ()."""
    points, true_points = points[:count], true_points[:count]
    mask = (points[:, 2] > 0) & (true_points[:, 2] > 0)
    return metrics.point_error(points, true_points, mask)


class Scores(NamedTuple):
    """`solver.scores` of one map over their maximum: in [0, 1], on the host.

    Attributes:
      flat: at each of `targets.ratio_bins`, shape (targets.SHIFT_BINS,).
      right: at each of `solver.score_ratios` and `targets.focal_bins`, shape
        (solver.SCORE_RATIOS, targets.FOCAL_BINS).
    """

    flat: np.ndarray
    right: np.ndarray

    def flat_at(self, shift: np.ndarray | float) -> np.ndarray:
        """How flat planes are under canonical shifts of any shape."""
        return np.interp(affine.shift_to_ratio(shift), targets.ratio_bins(), self.flat)

    def right_at(self, shift: float, focal_ratio: np.ndarray | float) -> np.ndarray:
        """How right angles are under a canonical shift and focal lengths over f0, of any shape."""
        ratios, place = solver.score_ratios(), affine.shift_to_ratio(shift)
        below = int(np.clip(np.searchsorted(ratios, place) - 1, 0, len(ratios) - 2))
        part = np.clip((place - ratios[below]) / (ratios[below + 1] - ratios[below]), 0, 1)
        curve = (1 - part) * self.right[below] + part * self.right[below + 1]
        return np.interp(np.log(focal_ratio), targets.focal_bins(), curve)


def scores(blocks: Blocks, space: affine.Space) -> Scores:
    """Scores of every shift and focal length for a map; blocks of a batch of one."""
    flat, right = (np.asarray(part)[0] for part in _scores()(blocks, space))
    return Scores(flat / (flat.max() or 1), right / (right.max() or 1))


@functools.cache
def _scores() -> Callable[..., solver.Scores]:
    # Not at the top: which options there are depends on the device.
    options = chunking.compiler_options()
    return jax.jit(solver.scores, static_argnames="space", compiler_options=options)
