"""The two programs of recovery, from blocks to estimates, as pure functions of arrays."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from train3d_jax.evidence import fusion, solver
from train3d_jax.evidence.fusion import Method, NetworkPosterior
from train3d_jax.evidence.hints import Hints
from train3d_jax.evidence.solver import GeometricPosterior
from train3d_jax.geometry import affine, clouds
from train3d_jax.inference import predictor
from train3d_jax.stored_programs import QuickFirst


@dataclass(frozen=True)
class Setup:
    """What a program is compiled for, beside shapes.

    Attributes:
      networks: that together cover what is estimated; may be none.
      method: see `recovery.recover_blocks`.
      space: of the values.
    """

    networks: tuple[predictor.Network, ...]
    method: Method
    space: affine.Space


class KnownValues(NamedTuple):
    """What is known of each map of a batch: numbers, so that one program serves all cases.

    Attributes:
      focal: pixels, shape (B,); NaN where it is estimated.
      focal_sigma: standard deviation of its logarithm; 0 where it is exact.
      shift: canonical units, shape (B,); NaN where it is estimated.
      shift_sigma: its standard deviation over the far quantile of depth (or disparity); 0 where it
        is exact.
      keeps_shift: the input's own shift is right, in place of `shift`; shape (B,).
    """

    focal: Any
    focal_sigma: Any
    shift: Any
    shift_sigma: Any
    keeps_shift: Any


def estimate(
    setup: Setup, params: Sequence[Any], blocks: clouds.Blocks, known: KnownValues
) -> dict[str, Any]:
    """Estimates shift and focal length of a batch.

    Args:
      setup: networks, method and space.
      params: the weights of each network.
      blocks: the maps, leading axis B.
      known: what need not be estimated.

    Returns:
      By name: `shift`, `focal` and `focal_by_map`, low end, median and high end, shape (B, 3);
      `solvable`, `scale`, `offset` and `unit` as of `recovery.Estimates`, `map_wins` as of
      `fusion.Fused`, shape (B,); and `flags`, a dict.
    """
    batch, geometry, network, metres = _posteriors(setup, params, blocks, known)
    fused = fusion.estimate(
        geometry, network, blocks, batch.canonical, setup.method, setup.space,
        batch.known_shift, batch.known_focal, batch.hints,
    )  # fmt: skip
    unit = jnp.ones_like(fused.shift[:, 1])
    if metres is not None:
        unit = metres if setup.space == "depth" else 1 / metres
        unit = unit / (affine.FAR_VALUE + fused.shift[:, 1])
    return {
        "solvable": batch.canonical.solvable & fused.has_evidence,
        "shift": fused.shift,
        "focal": fused.focal,
        "focal_by_map": fused.focal_by_map,
        "map_wins": fused.map_wins,
        "scale": batch.canonical.scale,
        "offset": batch.canonical.offset,
        "unit": unit,
        "flags": fused.flags,
    }


def focal_evidence(
    setup: Setup, params: Sequence[Any], blocks: clouds.Blocks, known: KnownValues
) -> dict[str, Any]:
    """`log_likelihood` of each focal length by each map, see `recovery.focal_evidence`."""
    batch, geometry, network, _ = _posteriors(setup, params, blocks, known)
    likelihood, has_evidence = fusion.focal_log_likelihood(geometry, network, blocks, setup.method)
    usable = (batch.canonical.solvable & has_evidence)[:, None]
    return {"log_likelihood": jnp.where(usable, likelihood, 0.0)}


def _posteriors(
    setup: Setup, params: Sequence[Any], blocks: clouds.Blocks, known: KnownValues
) -> tuple[predictor.Batch, GeometricPosterior, NetworkPosterior, jax.Array | None]:
    """The posteriors of geometry and networks, and metres at the far value by the networks."""
    canonical = affine.canonicalise(blocks.values, blocks.mask)
    shift = jnp.where(known.keeps_shift, -canonical.offset, known.shift)
    batch = predictor.Batch(
        blocks,
        canonical,
        jnp.where(known.shift_sigma > 0, jnp.nan, shift),
        jnp.where(known.focal_sigma > 0, jnp.nan, known.focal),
        Hints(
            jnp.where(known.focal_sigma > 0, known.focal, jnp.nan),
            known.focal_sigma,
            jnp.where(known.shift_sigma > 0, shift, jnp.nan),
            known.shift_sigma,
        ),
    )
    geometry = solver.solve(
        blocks, canonical, setup.space, batch.known_shift, batch.known_focal, hints=batch.hints
    )
    network, metres = predictor.predict(setup.networks, params, batch, geometry)
    return batch, geometry, network, metres


@functools.cache
def program(function: Callable[..., dict[str, Any]], setup: Setup, at_once: int) -> QuickFirst:
    """`estimate` or `focal_evidence` for a setup: of parameters, blocks and `KnownValues`.

    A single map is computed by a program that is compiled quickly, until there were many of them.
    """

    def run(params: Sequence[Any], blocks: clouds.Blocks, known: KnownValues) -> dict[str, Any]:
        return function(setup, params, blocks, known)

    run.__name__ = function.__name__
    described = f"{function.__qualname__} {setup}"
    return QuickFirst(run, described, calls=PATIENCE if at_once == 1 else 0)


PATIENCE = 64
"""Single maps that are computed before the program is compiled to run quickly.  Chosen: by then it
would have saved as much as it costs."""
