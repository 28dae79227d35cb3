"""Recovery for programs of others: arrays in, arrays out."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from train3d_jax import inference, weighing
from train3d_jax.depth import Space
from train3d_jax.errors import UserError
from train3d_jax.inference import Known, Model
from train3d_jax.weighing import Method

BATCH = 16
"""Maps solved at once at most; smaller batches are filled up to a power of two, so that only five
sizes are ever compiled."""


class Recovered(NamedTuple):
    """Cameras and shifts of maps; every array has the leading axis B, or none for a single map.

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
      flags: for each of `weighing.FLAGS` whether it is raised, bool; `inference.Recovery` says
        what they mean.
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
    depth: np.ndarray | Sequence[np.ndarray],
    model: Model | Sequence[Model] | None = None,
    space: Space = "depth",
    focal_px: float | Sequence[float] | np.ndarray | None = None,
    *,
    intrinsics: np.ndarray | None = None,
    shift_known: bool = False,
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

    Args:
      depth: one map, shape (H, W); a batch, (B, H, W); or a list of maps of any sizes.  Values in
        any affine unit; 0 and what is not finite are missing.
      model: of `load_model`; several that together cover shift and focal length; or None.
      space: what the maps hold, up to scale and shift: "depth" or "disparity".
      focal_px: vertical focal length in pixels where it is known, one for all or one for each map.
      intrinsics: (3, 3) in pixels, or (B, 3, 3), where the camera is known; in place of `focal_px`.
      shift_known: the input's shift is right already, as that of a metric network or a sensor.
      method: "learned", "geometric" or "hybrid"; "learned" with a model unless told.

    Returns:
      The answers; each map's is independent of the others.

    Raises:
      UserError: an argument does not fit; the message names it.
    """
    single = isinstance(depth, np.ndarray) and depth.ndim == 2
    maps = _checked_maps([depth] if single else depth)
    models = [] if model is None else [model] if isinstance(model, Model) else list(model)
    method = method or ("learned" if models else "geometric")
    if space not in ("depth", "disparity"):
        raise UserError(f"space={space!r}: give 'depth' or 'disparity'")
    if method not in ("learned", "geometric", "hybrid"):
        raise UserError(f"method={method!r}: give 'learned', 'geometric' or 'hybrid'")
    matrices = _checked_intrinsics(intrinsics, len(maps))
    focals = _checked_focals(focal_px, matrices, len(maps))
    inference.check_models(models, space, focals is not None, shift_known, method)
    parts = []
    for start in range(0, len(maps), BATCH):
        chosen = np.arange(start, min(start + BATCH, len(maps)))
        filled = np.resize(chosen, 1 << int(np.ceil(np.log2(len(chosen)))))
        blocks = inference.make_blocks(
            [maps[i] for i in filled], intrinsics=[matrices[i] for i in filled]
        )
        known = Known(None if focals is None else focals[filled], shift_known)
        parts.append((inference.recover_blocks(models, blocks, known, method, space), len(chosen)))
    return _collect(parts, single)


def _checked_maps(depth) -> list[np.ndarray]:
    maps = [np.asarray(values) for values in depth]
    for number, values in enumerate(maps):
        if values.ndim != 2 or values.size == 0:
            raise UserError(
                f"depth: map {number} has the shape {values.shape}; give (H, W), (B, H, W) or a "
                "list of (H, W)"
            )
        if values.dtype.kind not in "fiu":
            raise UserError(f"depth: map {number} holds {values.dtype}; give real numbers")
    if not maps:
        raise UserError("depth: holds no map; give at least one")
    return maps


def _checked_intrinsics(intrinsics, count: int) -> list[np.ndarray | None]:
    if intrinsics is None:
        return [None] * count
    matrices = np.asarray(intrinsics, np.float64)
    if matrices.shape not in ((3, 3), (count, 3, 3)):
        raise UserError(
            f"intrinsics: has the shape {matrices.shape}; give (3, 3) or ({count}, 3, 3)"
        )
    if not np.isfinite(matrices).all() or (matrices[..., (0, 1), (0, 1)] <= 0).any():
        raise UserError("intrinsics: focal lengths have to be above 0 and all numbers finite")
    return list(np.broadcast_to(matrices, (count, 3, 3)))


def _checked_focals(focal_px, matrices, count: int) -> np.ndarray | None:
    if focal_px is None:
        return None if matrices[0] is None else np.array([matrix[1, 1] for matrix in matrices])
    if matrices[0] is not None:
        raise UserError(f"focal_px={focal_px}: is part of intrinsics; give one of them")
    focals = np.asarray(focal_px, np.float64)
    if focals.shape not in ((), (count,)) or not (np.isfinite(focals) & (focals > 0)).all():
        raise UserError(f"focal_px={focal_px}: give pixels above 0, one for all or {count}")
    return np.broadcast_to(focals, (count,))


def _collect(parts: list[tuple[inference.Recovery, int]], single: bool) -> Recovered:
    def joined(get) -> np.ndarray:
        values = np.concatenate([get(recovery)[:count] for recovery, count in parts])
        return values[0] if single else values

    return Recovered(
        solvable=joined(lambda r: r.solvable),
        focal_px=joined(lambda r: r.focal),
        a=joined(lambda r: r.canonical_scale * r.unit),
        b=joined(lambda r: (r.canonical_offset + r.shift) * r.unit),
        shift=joined(lambda r: r.shift),
        focal_interval=joined(lambda r: r.focal_interval),
        shift_interval=joined(lambda r: r.shift_interval),
        flags={name: joined(lambda r, n=name: r.flags[n]) for name in weighing.FLAGS},
    )
