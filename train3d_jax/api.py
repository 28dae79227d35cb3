"""Recovery for programs of others: arrays in, arrays out."""

from __future__ import annotations  # help(recover) shows short types

import os
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from train3d_jax.errors import Argument, ArgumentError
from train3d_jax.evidence import fusion
from train3d_jax.evidence.fusion import Method
from train3d_jax.geometry.affine import Space
from train3d_jax.geometry.intrinsics import form_problem, size_problem
from train3d_jax.inference import map_checks
from train3d_jax.inference import recovery as inference
from train3d_jax.inference.arrays import depth_maps, numbers
from train3d_jax.inference.models import Model, check_models, load_model
from train3d_jax.inference.recovery import Known

BATCH = 16
"""Maps solved at once at most; smaller batches are filled up to a power of two, so that only five
sizes are ever compiled."""


class Recovered(NamedTuple):
    """Cameras and shifts of maps; every array has the leading axis B, or none for a single map.

    A single map is one that was given as (H, W), (H, W, 1) or (1, H, W).

    Numbers are NaN where a map could not be solved.  The straight depth is `a * depth + b`, up to
    scale, and in disparity space the inverse of it; unprojected with `focal_px` and the principal
    point that was given, or the image centre, it is the straight cloud.

    Attributes:
      solvable: whether there is an answer, bool.
      focal_px: vertical focal length in pixels.
      a: > 0; in units of the answer per unit of the input.
      b: units of the answer: metres (or 1 / metres) if a network for the scale took part.
      shift: canonical units (2 % quantile of the input at 0.5, 98 % quantile at 1).
      focal_interval: holds the focal length with 90 % probability, pixels, shape (..., 2).
      shift_interval: the same for the shift, shape (..., 2).
      flags: for each of `fusion.FLAGS` and `map_checks.FLAGS` whether it is raised, bool;
        `inference.Estimates` and `map_checks.check` say what they mean.
    """

    solvable: np.ndarray
    focal_px: np.ndarray
    a: np.ndarray
    b: np.ndarray
    shift: np.ndarray
    focal_interval: np.ndarray
    shift_interval: np.ndarray
    flags: dict[str, np.ndarray]


def recover(
    depth: ArrayLike | Iterable[ArrayLike],
    model: Model | str | os.PathLike[str] | Sequence[Model | str | os.PathLike[str]] | None = None,
    space: Space = "depth",
    focal_px: ArrayLike | None = None,
    *,
    intrinsics: ArrayLike | None = None,
    shift_known: bool | np.bool_ = False,
    method: Method | None = None,
) -> Recovered:
    """Recovers the focal length and the shift of depth maps that have lost them.

    A corner of a room, its depth scaled and shifted, is straightened without any network:

    >>> import numpy as np
    >>> from train3d_jax import recover
    >>> height, width, focal = 96, 128, 100.0
    >>> v, u = np.mgrid[:height, :width]
    >>> rays = np.stack([(u - 63.5) / focal, (v - 47.5) / focal, np.ones((height, width))], -1)
    >>> turn = np.array([[0.8, 0.2, -0.5657], [0.0, 0.9428, 0.3333], [0.6, -0.2667, 0.7543]])
    >>> directions = rays @ turn.T
    >>> walls = np.where(directions > 0, [2.0, 1.5, 3.0], [-1.0, -1.2, -2.0]) / directions
    >>> true_depth = walls.min(-1)
    >>> found = recover(0.1 * true_depth + 0.3, method="geometric")
    >>> print(f"{found.focal_px:.0f} pixels")
    100 pixels
    >>> straight = found.a * (0.1 * true_depth + 0.3) + found.b
    >>> bool(np.ptp(straight / true_depth) < 0.01 * np.mean(straight / true_depth))
    True

    The first call with another number of maps (1, 2, 4, 8 or 16 at once), method, or set of known
    values compiles programs, which takes ten seconds to a minute; every process compiles anew.  Set
    the environment variable JAX_COMPILATION_CACHE_DIR to a folder before JAX is imported, and
    later processes load from there what this one compiles.

    Args:
      depth: one map, shape (H, W), (H, W, 1) or (1, H, W); a batch, (B, H, W), (B, H, W, 1) or
        (B, 1, H, W); or a list of single maps of any sizes.  Arrays of numpy, JAX, PyTorch and
        whatever else offers `__array__` or DLPack; images of Pillow with 16 bits or more.  Values
        in any affine unit; 0, what is not finite and what a numpy masked array masks are missing.
      model: of `load_model`, or what it loads in this space: "default" or a run's folder; several
        that together cover shift and focal length; or None.
      space: what the maps hold, up to scale and shift: "depth" or "disparity".
      focal_px: vertical focal length in pixels where it is known, one for all or one for each map.
      intrinsics: (3, 3) in pixels of the map, or (B, 3, 3), where the camera is known; in place of
        `focal_px`.  Pixel centres are at integers.
      shift_known: the input's shift is right already, as that of a metric network or a sensor.
      method: "learned", "geometric" or "hybrid"; None for "learned" with a model, else "geometric".

    Returns:
      The answers; each map's is independent of the others.

    Raises:
      UserError: an argument does not fit, and the message names it; or a model cannot be loaded.
    """
    maps, single = depth_maps(depth)
    if space not in ("depth", "disparity"):
        raise ArgumentError(Argument("space", space), ": give 'depth' or 'disparity'")
    if method not in (None, "learned", "geometric", "hybrid"):
        raise ArgumentError(Argument("method", method), ": give 'learned', 'geometric' or 'hybrid'")
    shift_known = _checked_bool(shift_known)
    matrices = _checked_intrinsics(intrinsics, maps)
    focals = _checked_focals(focal_px, matrices, maps)
    models = _loaded(model, space)
    method = method or ("learned" if models else "geometric")
    check_models(models, space, focals is not None, shift_known, method)
    parts, checks = [], []
    for start in range(0, len(maps), BATCH):
        chosen = np.arange(start, min(start + BATCH, len(maps)))
        filled = np.resize(chosen, 1 << int(np.ceil(np.log2(len(chosen)))))
        blocks = inference.make_blocks(
            [maps[i] for i in filled], intrinsics=[matrices[i] for i in filled]
        )
        known = Known(None if focals is None else focals[filled], shift_known)
        parts.append((inference.recover_blocks(models, blocks, known, method, space), len(chosen)))
        checks += map_checks.check([maps[i] for i in chosen], blocks, space)
    return _collect(parts, checks, single)


def _loaded(model: Any, space: Space) -> list[Model]:
    if model is None:
        return []
    several = isinstance(model, Sequence) and not isinstance(model, str)
    models = []
    for one in model if several else [model]:
        if isinstance(one, str | os.PathLike):
            one = load_model(os.fspath(one), space)
        if not isinstance(one, Model):
            raise ArgumentError(
                Argument("model", one),
                ": give what load_model returns, a run's folder or 'default'",
            )
        models.append(one)
    return models


def _checked_bool(shift_known: Any) -> bool:
    value = np.asarray(shift_known)
    if value.shape or value.dtype.kind != "b":
        raise ArgumentError(Argument("shift_known", shift_known), ": give True or False")
    return bool(value)


def _checked_intrinsics(intrinsics: Any, maps: Sequence[np.ndarray]) -> list[np.ndarray | None]:
    count = len(maps)
    if intrinsics is None:
        return [None] * count
    name = Argument("intrinsics")
    matrices = numbers(intrinsics, name.name).astype(np.float64)
    if matrices.shape not in ((3, 3), (count, 3, 3)):
        raise ArgumentError(
            name, f": has the shape {matrices.shape}; give (3, 3) or ({count}, 3, 3)"
        )
    if not np.isfinite(matrices).all() or (matrices[..., (0, 1), (0, 1)] <= 0).any():
        raise ArgumentError(name, ": focal lengths have to be above 0 and all numbers finite")
    matrices = list(np.broadcast_to(matrices, (count, 3, 3)))
    for number, (matrix, values) in enumerate(zip(matrices, maps, strict=True)):
        if problem := form_problem(matrix) or size_problem(matrix, *values.shape):
            raise ArgumentError(name, f": that of map {number} {problem}")
    return matrices


def _checked_focals(
    focal_px: Any, matrices: Sequence[np.ndarray | None], maps: Sequence[np.ndarray]
) -> np.ndarray | None:
    count = len(maps)
    if focal_px is None:
        known = [matrix[1, 1] for matrix in matrices if matrix is not None]
        return np.array(known) if known else None
    name = Argument("focal_px", focal_px)
    if matrices[0] is not None:
        raise ArgumentError(name, ": is part of ", Argument("intrinsics"), "; give one of them")
    focals = numbers(focal_px, name.name).astype(np.float64)
    if focals.shape not in ((), (count,)) or not (np.isfinite(focals) & (focals > 0)).all():
        raise ArgumentError(name, f": give pixels above 0, one for all or {count}")
    focals = np.broadcast_to(focals, (count,))
    for number, (focal, values) in enumerate(zip(focals, maps, strict=True)):
        height, width = values.shape
        centred = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
        if problem := size_problem(centred, height, width):
            raise ArgumentError(name, f": that of map {number} {problem}")
    return focals


def _collect(
    parts: list[tuple[inference.Estimates, int]],
    checks: list[map_checks.MapCheck],
    single: bool,
) -> Recovered:
    def joined(get) -> np.ndarray:
        values = np.concatenate([get(recovery)[:count] for recovery, count in parts])
        return values[0] if single else values

    def raised(name: str) -> np.ndarray:
        values = np.array([name in check.flags for check in checks])
        return values[0] if single else values

    return Recovered(
        solvable=joined(lambda r: r.solvable),
        focal_px=joined(lambda r: r.focal),
        a=joined(lambda r: r.canonical_scale * r.unit),
        b=joined(lambda r: (r.canonical_offset + r.shift) * r.unit),
        shift=joined(lambda r: r.shift),
        focal_interval=joined(lambda r: r.focal_interval),
        shift_interval=joined(lambda r: r.shift_interval),
        flags={name: joined(lambda r, n=name: r.flags[n]) for name in fusion.FLAGS}
        | {name: raised(name) for name in map_checks.FLAGS},
    )
