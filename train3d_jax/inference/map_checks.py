"""Signs that a depth map is not what it is taken for: another form, sentinels, a panorama.

`check` estimates which form the values of each map have (`forms`), and reports whether one extreme
value fills much of it, and whether it shows 360 degrees.  Its flags stand beside those of an
estimate (`recovery.Estimates`).
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from train3d_jax import chunking
from train3d_jax.evidence import forms
from train3d_jax.geometry import clouds
from train3d_jax.geometry.affine import NETWORK_SPACES, Space
from train3d_jax.inference import estimation
from train3d_jax.storage import weights
from train3d_jax.stored_programs import QuickFirst

REPEATED_VALUE, PANORAMA = "repeated_value", "panorama"

FLAGS = (*forms.FLAGS, REPEATED_VALUE, PANORAMA)
"""Those of `forms`; one extreme value fills much of the map, as missing pixels do; the map shows
all directions, which no pinhole camera does."""

REPEATED_SHARE = 0.03
"""Share of a map's pixels that hold one extreme value from which on it is reported.  Chosen: a
sensor's smallest and largest value fill less than 1 % of each of 137 real maps."""

REPEATED_OVER_NEXT = 5.0
"""How many times as common the extreme value has to be as values beside it.  A wall seen from in
front in whole millimetres, or a map of 8 bits, repeats all of its values alike."""

NEXT_VALUES, NEXT_QUANTILE = 8, 0.75
"""Values that it is compared with, and which quantile of how often they occur: two of them may
stand for missing pixels too."""

PANORAMA_ASPECT = (1.98, 2.02)
"""Width over height of a panorama of 360 by 180 degrees, with rounding."""

PANORAMA_ROWS = 16
"""Rows that a map is averaged to before its columns are compared: noise would part them."""

ALIKE_SHARE = 0.1
"""Largest difference of the columns on both sides of the seam of a panorama, over the differences
of columns half a map apart, and over those along the column; means.  Chosen: of 4,026 random 2:1
crops of 137 real maps 0.4 % agree as well, of rendered panoramas 95 %."""


class MapCheck(NamedTuple):
    """The result of `check` for a map.

    Attributes:
      form: probability of each of `forms.FORMS`, shape (4,); None in log space, which is none of
        them, so that no flag of `forms` is raised there.
      negative: every value is below 0.
      repeated: extreme values that fill much of the map.
      flags: names of those of `FLAGS` that are raised.
    """

    form: np.ndarray | None
    negative: bool
    repeated: tuple["Repeated", ...]
    flags: tuple[str, ...]


def check(
    maps: Sequence[np.ndarray], blocks: clouds.Blocks, space: Space, at_once: int | None = None
) -> list[MapCheck]:
    """Checks maps that are said to hold depth, disparity or log depth.

    Args:
      maps: each of shape (H, W) of its own; 0 and what is not finite is missing.
      blocks: the same maps, as `inference.make_blocks` gives them; more may follow.
      space: what they are said to hold.
      at_once: see `recovery.recover_blocks`.
    """
    seen, mask_seen = (np.array(rows[: len(maps)]) for rows in (blocks.values, blocks.mask))
    masks, repeated, negative = [], [], np.zeros(len(maps), bool)
    for number, values in enumerate(maps):
        mask = clouds.valid(values)
        masks.append(mask)
        repeated.append(repeated_extremes(values, mask))
        if repeated[-1]:
            # Were they depth, they would hide the form of all the rest.
            mask = mask & ~np.isin(values, [found.value for found in repeated[-1]])
            rest = clouds.blocks_of(values, mask)
            seen[number], mask_seen[number] = rest.values, rest.mask
        negative[number] = mask.any() and values[mask].max() < 0
    probability, raised = [None] * len(maps), {}
    if space in NETWORK_SPACES:
        evidence = form_evidence(seen, mask_seen, at_once)
        probability = forms.posterior(evidence, space, negative)
        raised = forms.flags(probability, space)
    checks = []
    for number, (values, mask) in enumerate(zip(maps, masks, strict=True)):
        found = {name: bool(flag[number]) for name, flag in raised.items()}
        found |= {REPEATED_VALUE: bool(repeated[number]), PANORAMA: is_panorama(values, mask)}
        names = tuple(name for name in FLAGS if found.get(name))
        checks.append(
            MapCheck(probability[number], bool(negative[number]), repeated[number], names)
        )
    return checks


def form_evidence(values: np.ndarray, mask: np.ndarray, at_once: int | None = None) -> np.ndarray:
    """`networks.forms.log_likelihood` by the network that comes with the package.

    Args:
      values: blocks of maps, shape (B, P).
      mask: blocks that hold a value, shape (B, P).
      at_once: see `recovery.recover_blocks`.

    Returns:
      Shape (B, 4).
    """
    at_once = at_once or chunking.maps_at_once(len(values))
    program, model = _form_program(at_once), weights.form_model()
    model = model._replace(temper=np.float32(model.temper))
    parts = []
    for rows in chunking.rows_of_chunks(len(values), at_once):
        parts.append(program(model, values[rows], mask[rows])[0])
    return np.concatenate(parts)[: len(values)]


@functools.cache
def _form_program(at_once: int) -> QuickFirst:
    def run(*arguments: Any) -> list[jax.Array]:
        from train3d_jax.networks.forms import log_likelihood  # start-up: it imports flax

        return [log_likelihood(*arguments)]

    return QuickFirst(run, "forms.log_likelihood", estimation.PATIENCE if at_once == 1 else 0)


class Repeated(NamedTuple):
    """An extreme value that fills much of a map, as values do that stand for missing pixels.

    Attributes:
      value: as it is stored.
      share: of the map's pixels, in (0, 1].
    """

    value: float
    share: float


def repeated_extremes(values: np.ndarray, mask: np.ndarray) -> tuple[Repeated, ...]:
    """The smallest and the largest values that fill a map as missing pixels do.

    Args:
      values: shape (H, W).
      mask: pixels that count as valid, shape (H, W).

    Returns:
      At either end any number, mostly none; the smallest first.  A map of a single value has none.
    """
    valid = values[mask]
    found = []
    for extreme in (np.min, np.max):
        while valid.size:
            value = extreme(valid)
            count = np.count_nonzero(valid == value)
            if count < REPEATED_SHARE * values.size:
                break
            rest = valid[valid != value]
            if not rest.size or count < REPEATED_OVER_NEXT * _count_beside(rest, extreme):
                break
            found.append(Repeated(float(value), count / values.size))
            valid = rest
    return tuple(sorted(found))


def _count_beside(values: np.ndarray, extreme: Callable[[np.ndarray], np.generic]) -> float:
    """How often one of the `NEXT_VALUES` most extreme values occurs: their `NEXT_QUANTILE`."""
    counts = []
    while values.size and len(counts) < NEXT_VALUES:
        value = extreme(values)
        counts.append(np.count_nonzero(values == value))
        values = values[values != value]
    return float(np.quantile(counts, NEXT_QUANTILE))


def is_panorama(values: np.ndarray, mask: np.ndarray) -> bool:
    """Whether a map closes upon itself, as a view of 360 degrees in equirectangular projection.

    It is twice as wide as high, and its first and last columns agree.  So they do in a view
    straight along a corridor, which differs in two ways: it is its own mirror image, and its first
    and last rows are no single points as the poles of a panorama are.

    Args:
      values: shape (H, W).
      mask: pixels that count as valid, shape (H, W).
    """
    height, width = values.shape
    if not PANORAMA_ASPECT[0] <= width / height <= PANORAMA_ASPECT[1] or width < 8:
        return False

    rows = np.arange(PANORAMA_ROWS) * height // PANORAMA_ROWS
    count = np.add.reduceat(mask, rows, 0, dtype=np.float64)
    total = np.add.reduceat(np.where(mask, values, 0), rows, 0, dtype=np.float64)
    means = np.where(count > 0, total / np.maximum(count, 1), np.nan)

    def apart(one: np.ndarray, other: np.ndarray | np.floating) -> float:
        """Mean difference; infinite where few pairs are valid."""
        differences = np.abs(one - other)
        differences = differences[np.isfinite(differences)]
        return float(differences.mean()) if 4 * differences.size >= one.size else np.inf

    first, last = means[:, 0], means[:, -1]
    if not np.isfinite(first).any():
        return False
    spread = min(apart(first, means[:, width // 2]), apart(first, np.nanmean(first)))
    alike = ALIKE_SHARE * spread
    if not (0 < alike < np.inf and apart(first, last) <= alike):
        return False
    eighth = width // 8
    if apart(means[:, eighth], means[:, width - 1 - eighth]) > alike:
        return True
    half = width // 2
    return all(apart(means[row, :half], means[row, half : 2 * half]) <= alike for row in (0, -1))
