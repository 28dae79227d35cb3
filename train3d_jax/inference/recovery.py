"""Estimates of shift and focal length for batches of depth maps."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from train3d_jax import chunking
from train3d_jax.evidence.fusion import Method
from train3d_jax.geometry import affine, clouds
from train3d_jax.inference import estimation, predictor
from train3d_jax.inference.estimates import Estimates, LineFindings
from train3d_jax.inference.models import Model
from train3d_jax.lines.segments import Segments


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
    segments: Segments | None = None,
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
      segments: of the pictures, leading axis B, `segments.none` where a map has none; None where no
        map has a picture: another program, which knows no lines.

    Returns:
      The estimates, as numpy arrays.
    """

    def run(known: Known) -> dict[str, Any]:
        return _run(models, blocks, known, method, space, at_once, segments)

    return _estimates(_without_wrong_hints(run(known), run, known))


def recover_by_each(
    models: Sequence[Model],
    blocks: clouds.Blocks,
    known: Known,
    space: affine.Space,
    level: int,
    segments: Segments | None = None,
) -> dict[Method, Estimates]:
    """`recover_blocks` by each method of `estimation.methods_of`, by one program for this B.

    Args:
      models: as of `recover_blocks`.
      blocks: the maps, leading axis B.
      known: what need not be estimated.
      space: of the values.
      level: of `chunking.compiler_options`.  Last digits depend on it.
      segments: as of `recover_blocks`.
    """
    estimates = {}
    for method, found in _run_by_each(models, blocks, known, space, level, segments).items():

        def run(known: Known, method: Method = method) -> dict[str, Any]:
            return _run_by_each(models, blocks, known, space, level, segments)[method]

        estimates[method] = _estimates(_without_wrong_hints(found, run, known))
    return estimates


def _estimates(found: dict[str, Any]) -> Estimates:
    """The value of `estimation.estimate` with NaN where a map is not solvable."""
    solvable = found["solvable"]

    def of_solvable(values: np.ndarray) -> np.ndarray:
        return np.where(solvable.reshape(-1, *[1] * (values.ndim - 1)), np.float64(values), np.nan)

    focal_interval = of_solvable(found["focal"][:, ::2])
    return Estimates(
        solvable,
        of_solvable(found["shift"][:, 1]),
        of_solvable(found["focal"][:, 1]),
        of_solvable(found["shift"][:, ::2]),
        focal_interval,
        of_solvable(found["focal_by_map"]),
        found["map_wins"],
        of_solvable(found["scale"]),
        of_solvable(found["offset"]),
        of_solvable(found["unit"]),
        found["flags"],
        _lines_of(found.get("lines"), solvable),
    ).with_focal_interval(focal_interval)


def _lines_of(found: dict[str, np.ndarray] | None, solvable: np.ndarray) -> LineFindings | None:
    if found is None:
        return None
    directions, axis = found["directions"], found["axis"]
    return LineFindings(
        np.where(solvable, np.maximum(found["focal_nats"], 0), 0),
        np.where(solvable, np.maximum(found["shift_nats"], 0), 0),
        np.where(solvable[:, None, None], directions, np.nan),
        np.where(solvable[:, None], axis, -1),
        np.where(solvable[:, None], found["gravity"], np.nan),
        np.where(solvable, found["gravity_sigma"], np.nan),
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
    segments: Segments | None = None,
) -> Evidence:
    """The evidence of each map; arguments as of `recover_blocks`, whose program it runs."""
    return _evidence(_run(models, blocks, known, method, space, at_once, segments))


def evidence_by_each(
    models: Sequence[Model],
    blocks: clouds.Blocks,
    known: Known,
    space: affine.Space,
    level: int,
    segments: Segments | None = None,
) -> dict[Method, Evidence]:
    """The evidence of each map; arguments as of `recover_by_each`, whose program it runs."""
    found = _run_by_each(models, blocks, known, space, level, segments)
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


def setup_of(models: Sequence[Model], method: Method, space: affine.Space) -> estimation.Setup:
    """What the program of some networks is compiled for; arguments as of `recover_blocks`."""
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
    segments: Segments | None,
) -> Any:
    """The result of `estimation.estimate` for all maps, on the host."""
    setup = setup_of(models, method, _space_of(models, space))
    count = len(blocks.values)
    arrays = jax.tree.map(np.asarray, (blocks, known.values(count), segments))
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
    segments: Segments | None,
) -> dict[Method, dict[str, Any]]:
    """The result of `estimation.estimate_by_each`, on the host."""
    arrays = jax.tree.map(np.asarray, (blocks, known.values(len(blocks.values)), segments))
    setup = setup_of(models, estimation.methods_of(models)[-1], space)
    program = estimation.program_by_each(setup, level)
    return jax.device_get(program([model.params for model in models], *arrays))
