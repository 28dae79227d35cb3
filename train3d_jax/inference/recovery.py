"""Estimates of shift and focal length for batches of depth maps."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from train3d_jax import chunking
from train3d_jax.evidence import fusion, solver
from train3d_jax.evidence.fusion import INTERVAL, Method, NetworkPosterior
from train3d_jax.evidence.prior import focal_prior
from train3d_jax.evidence.solver import GeometricPosterior
from train3d_jax.evidence.targets import quantiles
from train3d_jax.geometry import affine, camera, clouds
from train3d_jax.inference import predictor
from train3d_jax.inference.models import Model

CAMERA_CORRELATION = 0.1
"""Correlation of the errors of maps of one camera.

Chosen: they often show one room, which misleads a method each time.  n maps then count as
n / (1 + (n - 1) * this), never as more than ten, and an interval does not shrink to nothing over a
large folder."""


class Known(NamedTuple):
    """What the caller knows of a batch.

    Attributes:
      focal: vertical focal lengths in pixels, shape (B,); None where they are estimated.
      shift: True where the input's own shift is right, only its scale is not; or canonical shifts,
        shape (B,); False where they are estimated.
    """

    focal: np.ndarray | None = None
    shift: bool | np.ndarray = False

    def canonical_shift(self, canonical: affine.Canonical) -> jax.Array | None:
        """The known shift in canonical units, shape (B,); None where it is estimated."""
        if isinstance(self.shift, bool | np.bool_):
            return -canonical.offset if self.shift else None
        return jnp.asarray(self.shift, jnp.float32)


class Estimate(NamedTuple):
    """The estimate for one map.

    Attributes:
      focal: vertical focal length in pixels.
      shift: canonical units.
      a: depth (or its inverse, in disparity space) is a * input + b.
      b: see `a`.
      focal_interval: contains the focal length with 90 % probability; pixels.
      shift_interval: the same for the shift.
      flags: names of those of `fusion.FLAGS` that are raised.
    """

    focal: float
    shift: float
    a: float
    b: float
    focal_interval: tuple[float, float]
    shift_interval: tuple[float, float]
    flags: tuple[str, ...]


class Estimates(NamedTuple):
    """Estimates for a batch; all numbers are NaN where `solvable` is False.

    Attributes:
      solvable: the map has enough valid pixels, they differ, and the method has evidence, shape
        (B,).
      shift: canonical units, shape (B,).
      focal: vertical focal length in pixels, shape (B,).
      shift_interval: contains the shift with 90 % probability, shape (B, 2).
      focal_interval: the same for the focal length, shape (B, 2).
      canonical_scale: canonical units per unit of the input, see `affine.Canonical`, shape (B,).
      canonical_offset: canonical units, shape (B,).
      unit: factor on a and b that gives metres (or 1 / metres), shape (B,); 1 without a network for
        the scale, and then the unit is arbitrary.
      flags: for each of `fusion.FLAGS` whether it is raised, shape (B,):
        near_planar: nearly all planes have one direction, or no surface is flat, so the focal
          length is unobservable;
        few_valid_pixels: less than a tenth of the map's pixels hold values;
        out_of_training_range: the estimate lies at the border of the range, or the values are
          spread as in no room;
        solver_disagrees: the intervals of network and geometry exclude each other's median.
    """

    solvable: np.ndarray
    shift: np.ndarray
    focal: np.ndarray
    shift_interval: np.ndarray
    focal_interval: np.ndarray
    canonical_scale: np.ndarray
    canonical_offset: np.ndarray
    unit: np.ndarray
    flags: dict[str, np.ndarray]

    def at(self, index: int) -> Estimate | None:
        """The estimate for one map of the batch; None where it is not solvable."""
        if not self.solvable[index]:
            return None
        unit = self.unit[index]
        focal_low, focal_high = self.focal_interval[index]
        shift_low, shift_high = self.shift_interval[index]
        return Estimate(
            focal=float(self.focal[index]),
            shift=float(self.shift[index]),
            a=float(self.canonical_scale[index] * unit),
            b=float((self.canonical_offset[index] + self.shift[index]) * unit),
            focal_interval=(float(focal_low), float(focal_high)),
            shift_interval=(float(shift_low), float(shift_high)),
            flags=tuple(name for name, raised in self.flags.items() if raised[index]),
        )


def make_blocks(
    maps: Sequence[np.ndarray],
    masks: Sequence[np.ndarray | None] | None = None,
    intrinsics: Sequence[np.ndarray | None] | None = None,
) -> clouds.Blocks:
    """Averages maps of any sizes over blocks; 0 and what is not finite count as missing.

    Args:
      maps: depth or disparity, each of shape (H, W) of its own.
      masks: for each map the pixels that may hold a value, shape (H, W); None for all.
      intrinsics: for each map its (3, 3) matrix in pixels, of which the principal point and the
        ratio of the focal lengths are used; None for the image centre and square pixels.

    Returns:
      A batch, leading axis len(maps).  Pixels are stretched across about the principal point to
      be square, so that focal lengths are vertical ones.
    """
    masks = [None] * len(maps) if masks is None else masks
    intrinsics = [None] * len(maps) if intrinsics is None else intrinsics
    rows = []
    for values, allowed, matrix in zip(maps, masks, intrinsics, strict=True):
        mask = clouds.valid(values)
        if allowed is not None:
            mask &= np.asarray(allowed, bool)
        row = clouds.blocks_of(values, mask)
        if matrix is not None:
            centre = np.asarray(matrix, np.float32)[:2, 2]
            stretch = np.array([matrix[1, 1] / matrix[0, 0], 1.0], np.float32)
            row = row._replace(pixels=centre + (row.pixels - centre) * stretch, centre=centre)
        rows.append(row)
    return clouds.Blocks(*(np.stack(column) for column in zip(*rows, strict=True)))


def recover_blocks(
    models: Sequence[Model],
    blocks: clouds.Blocks,
    known: Known = Known(),  # noqa: B008  # immutable
    method: Method = "learned",
    space: affine.Space | None = None,
) -> Estimates:
    """Estimates shift and focal length of a batch.

    Args:
      models: networks that together cover what is estimated, see `models.check_models`; the
        geometric method needs none.
      blocks: the maps, leading axis B.
      known: what need not be estimated.
      method: "learned": by the networks, and geometry only raises a flag where it disagrees;
        "geometric": by geometry.
      space: of the values; that of the models where there are any.

    Returns:
      The estimates, as numpy arrays.
    """
    space = _space_of(models, space)
    batch, geometry, network, metres = _posteriors(models, blocks, known, space)
    fused = fusion.estimate(
        geometry, network, blocks, batch.canonical, method, space,
        batch.known_shift, batch.known_focal,
    )  # fmt: skip
    shift = fused.shift[:, 1]
    unit = jnp.ones_like(shift)
    if metres is not None:
        unit = metres if space == "depth" else 1 / metres
        unit = unit / (affine.FAR_VALUE + shift)
    solvable = np.asarray(batch.canonical.solvable & fused.has_evidence)

    def on_host(values: jax.Array) -> np.ndarray:
        array = np.array(values, np.float64)
        array[~solvable] = np.nan
        return array

    return Estimates(
        solvable,
        on_host(shift),
        on_host(fused.focal[:, 1]),
        on_host(fused.shift[:, ::2]),
        on_host(fused.focal[:, ::2]),
        on_host(batch.canonical.scale),
        on_host(batch.canonical.offset),
        on_host(unit),
        flags={name: np.asarray(raised) for name, raised in fused.flags.items()},
    )


def focal_evidence(
    models: Sequence[Model],
    blocks: clouds.Blocks,
    method: Method = "learned",
    known: Known = Known(),  # noqa: B008
    space: affine.Space | None = None,
) -> np.ndarray:
    """The evidence of each map on the focal length, for `shared_focal` to add up.

    Args:
      models: as of `recover_blocks`.
      blocks: the maps, leading axis B.
      method: as of `recover_blocks`.
      known: of the shift.
      space: as of `recover_blocks`.

    Returns:
      Log-likelihood, without any prior, at `targets.focal_bins`, which are log(focal / f0) with f0
      of 60 degrees; shape (B, FOCAL_BINS).  0 throughout for a map without an estimate.
    """
    space = _space_of(models, space)
    known = known._replace(focal=None)
    batch, geometry, network, _ = _posteriors(models, blocks, known, space)
    likelihood, has_evidence = fusion.focal_log_likelihood(geometry, network, blocks, method)
    return np.where((batch.canonical.solvable & has_evidence)[:, None], likelihood, 0.0)


def shared_focal(total: np.ndarray, count: int, height: int) -> tuple[float, tuple[float, float]]:
    """The focal length of a camera that took many maps.

    Args:
      total: sum of `focal_evidence` over the maps that could be solved, shape (FOCAL_BINS,).
      count: how many maps those are, at least 1.
      height: of the maps in pixels.

    Returns:
      The vertical focal length and the interval that contains it with 90 % probability, in pixels.
    """
    weight = 1 / (1 + (count - 1) * CAMERA_CORRELATION)
    posterior = jnp.asarray(focal_prior() + weight * np.asarray(total))
    low, middle, high = np.asarray(quantiles(posterior, "focal", INTERVAL))
    first_guess = float(camera.initial_focal(height))
    at = lambda log_alpha: float(first_guess * np.exp(log_alpha))  # noqa: E731
    return at(middle), (at(low), at(high))


def _space_of(models: Sequence[Model], space: affine.Space | None) -> affine.Space:
    if models:
        return models[0].config.clouds.space
    if space is None:
        raise ValueError("space is needed where no model has one")
    return space


def _posteriors(
    models: Sequence[Model], blocks: clouds.Blocks, known: Known, space: affine.Space
) -> tuple[predictor.Batch, GeometricPosterior, NetworkPosterior, jax.Array | None]:
    """The posteriors of geometry and networks, and metres at the far value by the networks."""
    canonical = _canonicalise(blocks.values, blocks.mask)
    known_focal = None if known.focal is None else jnp.asarray(known.focal, jnp.float32)
    batch = predictor.Batch(blocks, canonical, known.canonical_shift(canonical), known_focal)
    geometry = _solve(blocks, canonical, space, batch.known_shift, known_focal)
    network, metres = predictor.predict(models, batch, geometry)
    return batch, geometry, network, metres


_canonicalise = jax.jit(affine.canonicalise)
_solve = jax.jit(solver.solve, static_argnames="space", compiler_options=chunking.COMPILER_OPTIONS)
