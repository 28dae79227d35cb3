"""Estimates of shift and focal length for batches of depth maps."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from train3d_jax import chunking
from train3d_jax.evidence.fusion import Method
from train3d_jax.geometry import affine, clouds
from train3d_jax.inference import estimation, predictor
from train3d_jax.inference.models import Model


class Known(NamedTuple):
    """What the caller knows of a batch.

    Attributes:
      focal: vertical focal lengths in pixels, shape (B,) or one for all; None, or NaN for a map,
        where they are estimated.
      focal_sigma: standard deviation of the logarithm of `focal`, of its shape or one for all; 0
        where it is exact.
      shift: True where the input's own shift is right, only its scale is not; or canonical shifts,
        shape (B,), NaN for a map where it is estimated; False where they are estimated.
      offset: in place of `shift`: what is to be added to the inputs, in their unit; shape (B,) or
        one for all; None where they are estimated.
      shift_sigma: standard deviation of the shift over the far quantile of depth (or disparity),
        shape (B,) or one for all; 0 where it is exact.
    """

    focal: np.ndarray | float | None = None
    focal_sigma: np.ndarray | float = 0.0
    shift: bool | np.ndarray = False
    offset: np.ndarray | float | None = None
    shift_sigma: np.ndarray | float = 0.0

    def values(self, count: int) -> estimation.KnownValues:
        """The same for each of so many maps."""
        keeps = isinstance(self.shift, bool | np.bool_)
        shift = np.nan if keeps else self.shift
        focal = np.nan if self.focal is None else self.focal
        offset = 0.0 if keeps and self.shift else np.nan
        offset = offset if self.offset is None else self.offset

        def of_each(values: Any) -> np.ndarray:
            return np.broadcast_to(np.asarray(values, np.float32), count)

        return estimation.KnownValues(
            of_each(focal),
            of_each(self.focal_sigma),
            of_each(shift),
            of_each(self.shift_sigma),
            of_each(offset),
        )


class Estimate(NamedTuple):
    """The estimate for one map.

    Attributes:
      focal: vertical focal length in pixels.
      shift: canonical units.
      a: depth (its inverse in disparity space, its logarithm in log space) is a * input + b.
      b: see `a`.
      focal_interval: contains the focal length with 90 % probability; pixels.
      shift_interval: the same for the shift.
      focal_by_map: low end, median and high end of the focal length by the map alone, pixels.
      flags: names of those of `fusion.FLAGS` that are raised.
    """

    focal: float
    shift: float
    a: float
    b: float
    focal_interval: tuple[float, float]
    shift_interval: tuple[float, float]
    focal_by_map: tuple[float, float, float]
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
      focal_by_map: low end, median and high end of the focal length by the prior and the map alone,
        shape (B, 3).
      map_wins: a hint of the focal length was dropped, see `hint_disagrees`, shape (B,).
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
        solver_disagrees: the intervals of network and geometry exclude each other's median;
        hint_disagrees: the map and what is known of its focal length exclude each other.  Of a
          hint with a width and the map the wider evidence is taken, a known value stays.
    """

    solvable: np.ndarray
    shift: np.ndarray
    focal: np.ndarray
    shift_interval: np.ndarray
    focal_interval: np.ndarray
    focal_by_map: np.ndarray
    map_wins: np.ndarray
    canonical_scale: np.ndarray
    canonical_offset: np.ndarray
    unit: np.ndarray
    flags: dict[str, np.ndarray]

    def coefficients(self, space: affine.Space = "depth") -> tuple[np.ndarray, np.ndarray]:
        """Of each map a and b as of `Estimate`, shape (B,); depth and disparity give the same."""
        return affine.coefficients(
            self.canonical_scale, self.canonical_offset, self.shift, space, self.unit
        )

    def at(self, index: int, space: affine.Space = "depth") -> Estimate | None:
        """The estimate for one map of the batch; None where it is not solvable.

        Args:
          index: of the map.
          space: of its values; depth and disparity give the same.
        """
        if not self.solvable[index]:
            return None
        a, b = affine.coefficients(
            self.canonical_scale[index], self.canonical_offset[index], self.shift[index], space,
            self.unit[index],
        )  # fmt: skip
        focal_low, focal_high = self.focal_interval[index]
        shift_low, shift_high = self.shift_interval[index]
        by_map = self.focal_by_map[index]
        return Estimate(
            focal=float(self.focal[index]),
            shift=float(self.shift[index]),
            a=float(a),
            b=float(b),
            focal_interval=(float(focal_low), float(focal_high)),
            shift_interval=(float(shift_low), float(shift_high)),
            focal_by_map=(float(by_map[0]), float(by_map[1]), float(by_map[2])),
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
            row = row._replace(
                pixels=clouds.in_square_pixels(row.pixels, matrix),
                size=row.size * stretch[::-1],
                centre=centre,
            )
        rows.append(row)
    return clouds.Blocks(*(np.stack(column) for column in zip(*rows, strict=True)))


def recover_blocks(
    models: Sequence[Model],
    blocks: clouds.Blocks,
    known: Known = Known(),  # noqa: B008  # immutable
    method: Method = "learned",
    space: affine.Space | None = None,
    at_once: int | None = None,
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
      at_once: maps that one program computes; None for what suits B.  Last digits depend on it.

    Returns:
      The estimates, as numpy arrays.
    """

    def run(known: Known) -> dict[str, Any]:
        return _run(models, blocks, known, method, space, at_once)

    return _estimates(_without_wrong_hints(run(known), run, known))


def recover_by_each(
    models: Sequence[Model],
    blocks: clouds.Blocks,
    known: Known,
    space: affine.Space,
    level: int,
) -> dict[Method, Estimates]:
    """`recover_blocks` by each method of `estimation.methods_of`, by one program for this B.

    Args:
      models: as of `recover_blocks`.
      blocks: the maps, leading axis B.
      known: what need not be estimated.
      space: of the values.
      level: of `chunking.compiler_options`.  Last digits depend on it.
    """
    estimates = {}
    for method, found in _run_by_each(models, blocks, known, space, level).items():

        def run(known: Known, method: Method = method) -> dict[str, Any]:
            return _run_by_each(models, blocks, known, space, level)[method]

        estimates[method] = _estimates(_without_wrong_hints(found, run, known))
    return estimates


def _estimates(found: dict[str, Any]) -> Estimates:
    """The value of `estimation.estimate` with NaN where a map is not solvable."""
    solvable = found["solvable"]

    def of_solvable(values: np.ndarray) -> np.ndarray:
        return np.where(solvable.reshape(-1, *[1] * (values.ndim - 1)), np.float64(values), np.nan)

    return Estimates(
        solvable,
        of_solvable(found["shift"][:, 1]),
        of_solvable(found["focal"][:, 1]),
        of_solvable(found["shift"][:, ::2]),
        of_solvable(found["focal"][:, ::2]),
        of_solvable(found["focal_by_map"]),
        found["map_wins"],
        of_solvable(found["scale"]),
        of_solvable(found["offset"]),
        of_solvable(found["unit"]),
        found["flags"],
    )


def _without_wrong_hints(
    found: dict[str, Any], run: Callable[[Known], dict[str, Any]], known: Known
) -> dict[str, Any]:
    """What a program found, or finds anew: the shift was estimated with a hint that is wrong.

    Args:
      found: the value of `estimation.estimate`.
      run: the same for other known values.
      known: with which `found` was found.
    """
    wins = found["map_wins"]
    if not wins.any():
        return found
    values = known.values(len(wins))
    anew = run(
        known._replace(
            focal=np.where(wins, np.nan, values.focal),
            focal_sigma=np.where(wins, 0, values.focal_sigma),
        )
    )
    flags = {**anew["flags"], "hint_disagrees": anew["flags"]["hint_disagrees"] | wins}
    return {**anew, "map_wins": wins, "flags": flags}


class Evidence(NamedTuple):
    """What each map of a batch says of focal length and shift, for `clips` to pool.

    Attributes:
      focal: log-likelihood, without any prior, at `targets.focal_bins`, which are log(focal / f0)
        with f0 of 60 degrees; shape (B, FOCAL_BINS).
      shift: at `targets.ratio_bins`, given the focal length that is known; shape (B, SHIFT_BINS).
      scale: of the canonical form, shape (B,).
      offset: the same.
      solvable: whether a map says anything, shape (B,); its rows are 0 where it does not.
      unit: as of `Estimates`, shape (B,).
    """

    focal: np.ndarray
    shift: np.ndarray
    scale: np.ndarray
    offset: np.ndarray
    solvable: np.ndarray
    unit: np.ndarray


def evidence(
    models: Sequence[Model],
    blocks: clouds.Blocks,
    known: Known = Known(),  # noqa: B008
    method: Method = "learned",
    space: affine.Space | None = None,
    at_once: int | None = None,
) -> Evidence:
    """The evidence of each map; arguments as of `recover_blocks`, whose program it runs."""
    return _evidence(_run(models, blocks, known, method, space, at_once))


def evidence_by_each(
    models: Sequence[Model],
    blocks: clouds.Blocks,
    known: Known,
    space: affine.Space,
    level: int,
) -> dict[Method, Evidence]:
    """The evidence of each map; arguments as of `recover_by_each`, whose program it runs."""
    found = _run_by_each(models, blocks, known, space, level)
    return {method: _evidence(values) for method, values in found.items()}


def _evidence(found: dict[str, Any]) -> Evidence:
    return Evidence(
        found["focal_evidence"],
        found["shift_evidence"],
        np.asarray(found["scale"], np.float64),
        np.asarray(found["offset"], np.float64),
        found["solvable"],
        np.asarray(found["unit"], np.float64),
    )


def _space_of(models: Sequence[Model], space: affine.Space | None) -> affine.Space:
    if models:
        return models[0].config.clouds.space
    if space is None:
        raise ValueError("space is needed where no model has one")
    return space


def _setup(models: Sequence[Model], method: Method, space: affine.Space) -> estimation.Setup:
    networks = tuple(
        predictor.Network(model.config, tuple(sorted(model.calibration.items())))
        for model in models
    )
    return estimation.Setup(networks, method, space)


def _run(
    models: Sequence[Model],
    blocks: clouds.Blocks,
    known: Known,
    method: Method,
    space: affine.Space | None,
    at_once: int | None,
) -> Any:
    """The result of `estimation.estimate` for all maps, on the host."""
    setup = _setup(models, method, _space_of(models, space))
    count = len(blocks.values)
    arrays = jax.tree.map(np.asarray, (blocks, known.values(count)))
    at_once = at_once or chunking.maps_at_once(count)
    program = estimation.program(setup, at_once)
    parts = []
    for rows in chunking.rows_of_chunks(count, at_once):
        chosen = jax.tree.map(lambda values, rows=rows: values[rows], arrays)
        parts.append(program([model.params for model in models], *chosen))
    joined = jax.tree.map(lambda *values: np.concatenate(values), *jax.device_get(parts))
    return jax.tree.map(lambda values: values[:count], joined)


def _run_by_each(
    models: Sequence[Model],
    blocks: clouds.Blocks,
    known: Known,
    space: affine.Space,
    level: int,
) -> dict[Method, dict[str, Any]]:
    """The result of `estimation.estimate_by_each`, on the host."""
    arrays = jax.tree.map(np.asarray, (blocks, known.values(len(blocks.values))))
    setup = _setup(models, estimation.methods_of(models)[-1], space)
    program = estimation.program_by_each(setup, level)
    return jax.device_get(program([model.params for model in models], *arrays))
