"""Derives the constants that were tuned again: what 90 % intervals of the solver contain.

    python -m benchmarks.tune --data demo/prepared

Views of rendered rooms that nothing was trained on are solved clean and with 1 % of noise, in both
spaces.  Each weight of a likelihood is multiplied by several factors, the others stay: the table
shows the share of 90 % intervals that contain the truth, and the derived value is the one whose
shares are nearest to 90 %.  Then come the constants of `evidence.fusion` that widen intervals
within a bin.

Run it on a set that is as large as the accuracy that is wanted: 200 views determine a share to 2 %.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from data.user_maps.true_maps import TrueMaps
from train3d_jax.evidence import refinement, solver
from train3d_jax.evidence.settings import EvidenceSettings, solver_settings
from train3d_jax.evidence.targets import SHIFT_BINS, quantiles
from train3d_jax.geometry import affine, camera, clouds
from train3d_jax.geometry.affine import Space
from train3d_jax.inference import recovery
from train3d_jax.inference.models import load_model

_DATA = flags.DEFINE_string("data", "demo/prepared", "A prepared set of rendered rooms.")
_MAPS = flags.DEFINE_integer("maps", 200, "How many of its maps, evenly spread.", lower_bound=1)

FACTORS = (0.25, 0.5, 0.7, 1.0, 1.4, 2.0, 4.0)
NOISES = (0.0, 0.01)
LEVELS = (0.05, 0.5, 0.95)
BATCH = 16


class Views(NamedTuple):
    """Maps of one space and noise, and their truth.

    Attributes:
      blocks: the maps, leading axis N, a multiple of `BATCH`.
      ratio: true near/far ratios, shape (N,).
      log_alpha: true log(focal / f0), shape (N,).
    """

    blocks: clouds.Blocks
    ratio: np.ndarray
    log_alpha: np.ndarray


def views_of(maps: TrueMaps, chosen: Sequence[int], space: Space, noise: float) -> Views:
    """Reads maps, adds noise, averages them over blocks."""
    rng = np.random.default_rng(0)
    values, intrinsics = [], []
    for number in chosen:
        one = maps[number]
        depth = one.depth * np.maximum(1 + noise * rng.standard_normal(one.depth.shape), 0.1)
        present = one.depth > 0
        inverse = 1 / np.where(present, depth, 1)
        values.append(np.where(present, depth if space == "depth" else inverse, 0))
        intrinsics.append(one.intrinsics)
    blocks = recovery.make_blocks([np.float32(map_) for map_ in values], intrinsics=intrinsics)
    offset = affine.canonicalise(blocks.values, blocks.mask).offset
    focal = np.array([matrix[1, 1] for matrix in intrinsics])
    return Views(
        blocks,
        np.asarray(affine.shift_to_ratio(-offset)),
        np.log(focal / np.asarray(camera.initial_focal(blocks.size[:, 0]))),
    )


def in_batches(views: Views, function: Callable[[clouds.Blocks], jax.Array]) -> np.ndarray:
    """A function of a batch of blocks for all views."""
    starts = range(0, len(views.ratio), BATCH)
    parts = [
        np.asarray(function(jax.tree.map(lambda x, i=i: x[i : i + BATCH], views.blocks)))
        for i in starts
    ]
    return np.concatenate(parts)


def contained(views: Views, space: Space, settings: EvidenceSettings) -> tuple[float, float]:
    """The shares of 90 % intervals of shift and focal length that contain the truth."""

    @jax.jit
    def intervals(blocks: clouds.Blocks) -> jax.Array:
        canonical = affine.canonicalise(blocks.values, blocks.mask)
        found = solver.solve(blocks, canonical, space, settings=settings)
        of_shift = quantiles(found.shift, "shift", LEVELS)
        return jnp.stack([of_shift, quantiles(found.focal, "focal", LEVELS)], 1)

    ends = in_batches(views, intervals)
    shares = [
        np.mean((ends[:, i, 0] <= true) & (true <= ends[:, i, 2]))
        for i, true in enumerate((views.ratio, views.log_alpha))
    ]
    return float(shares[0]), float(shares[1])


def scaled(settings: EvidenceSettings, part: str, name: str, factor: float) -> EvidenceSettings:
    """The same with one number of one part multiplied."""
    record = getattr(settings, part)
    changed = dataclasses.replace(record, **{name: factor * getattr(record, name)})
    return dataclasses.replace(settings, **{part: changed})


def derive_weights(views: dict[tuple[Space, float], Views]) -> None:
    """Prints the shares under each factor of each weight, and the derived values."""
    for part, name in (
        ("curvature", "temper"), ("parallel", "independent"), ("angles", "independent")
    ):  # fmt: skip
        print(f"\n{part}.{name}: share of 90 % intervals of shift / focal length with the truth")
        keys = [key for key in views if not (part == "curvature" and key[0] == "disparity")]
        print(" " * 8 + "".join(f"{space}, {noise:.0%} noise".rjust(24) for space, noise in keys))
        misses = []
        for factor in FACTORS:
            shares = [
                contained(views[key], key[0], scaled(solver_settings(key[0]), part, name, factor))
                for key in keys
            ]
            # The shift alone depends on curvature and parallel planes, the focal length on angles.
            column = 1 if part == "angles" else 0
            misses.append(np.mean([abs(share[column] - 0.9) for share in shares]))
            cells = "".join(f"{s:.0%} / {f:.0%}".rjust(24) for s, f in shares)
            print(f"x {factor:<6}{cells}", flush=True)
        now = getattr(getattr(solver_settings("depth"), part), name)
        best = FACTORS[int(np.argmin(misses))]
        print(f"  now {now:g}; derived {best * now:g}")


def derive_within_bins(views: Views) -> None:
    """Prints `fusion.VOTES_FINEST` and `fusion.FINEST_WITH_FOCAL` of clean views in depth space."""

    @jax.jit
    def votes(blocks: clouds.Blocks) -> jax.Array:
        canonical = affine.canonicalise(blocks.values, blocks.mask)
        found = solver.solve(blocks, canonical, "depth")
        interval = quantiles(found.shift, "shift", LEVELS)
        finer = refinement.refine_ratio(found, interval[:, 1])
        return jnp.stack([finer.value, finer.sigma, interval[:, 2] - interval[:, 0]], -1)

    value, sigma, width = in_batches(views, votes).T
    narrow = width <= 2 / SHIFT_BINS
    error = np.abs(value - views.ratio)
    if narrow.any():
        finest = np.quantile((error / sigma)[narrow], 0.9)
        print(f"\nfusion.VOTES_FINEST: derived {finest:.2f} of {narrow.sum()} narrow posteriors")
    model = load_model()

    ratios = []
    for start in range(0, len(views.ratio), BATCH):
        part = slice(start, start + BATCH)
        blocks = jax.tree.map(lambda x, part=part: x[part], views.blocks)
        first_guess = np.asarray(camera.initial_focal(blocks.size[:, 0]))
        known = recovery.Known(focal=first_guess * np.exp(views.log_alpha[part]))
        shift = recovery.recover_blocks([model], blocks, known).shift
        ratios.append(np.asarray(affine.shift_to_ratio(shift)))
    ratio = np.concatenate(ratios)
    in_bins = np.quantile(np.abs(ratio - views.ratio) * SHIFT_BINS, 0.9)
    print(f"fusion.FINEST_WITH_FOCAL: derived at most {in_bins:.2f} bins (all posteriors)")


def main(_: list[str]) -> None:
    """Prints the tables."""
    maps = TrueMaps(_DATA.value)
    count = max(min(_MAPS.value, len(maps)) // BATCH, 1) * BATCH
    chosen = np.linspace(0, len(maps) - 1, count).round().astype(int)
    spaces: tuple[Space, ...] = ("depth", "disparity")
    views = {
        (space, noise): views_of(maps, chosen, space, noise) for space in spaces for noise in NOISES
    }
    print(f"{count} views of {_DATA.value}")
    derive_weights(views)
    derive_within_bins(views["depth", 0.0])


if __name__ == "__main__":
    app.run(main)
