"""The program of recovery, from blocks to estimates and evidence, as a pure function of arrays."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from train3d_jax import chunking
from train3d_jax.evidence import fusion, solver
from train3d_jax.evidence.fusion import Method, NetworkPosterior
from train3d_jax.evidence.hints import Hints
from train3d_jax.evidence.settings import solver_settings
from train3d_jax.evidence.solver import GeometricPosterior
from train3d_jax.geometry import affine, camera, clouds
from train3d_jax.inference import predictor
from train3d_jax.lines.evidence import LineFrames, LineSettings, line_evidence
from train3d_jax.lines.findings import findings
from train3d_jax.lines.segments import Segments
from train3d_jax.stored_programs import Program, QuickFirst


@dataclass(frozen=True)
class Setup:
    """What a program is compiled for, beside shapes.

    Attributes:
      networks: that together cover what is estimated; may be none.
      method: see `recovery.recover_blocks`.
      space: of the values.
      lines: how lines of pictures are evaluated.
    """

    networks: tuple[predictor.Network, ...]
    method: Method
    space: affine.Space
    lines: LineSettings = LineSettings()  # noqa: RUF009  # immutable


class KnownValues(NamedTuple):
    """What is known of each map of a batch: numbers, so that one program serves all cases.

    Attributes:
      focal: pixels, shape (B,); NaN where it is estimated.
      focal_sigma: standard deviation of its logarithm; 0 where it is exact.
      shift: canonical units, shape (B,); NaN where it is estimated.
      shift_sigma: its standard deviation over the far quantile of depth (or disparity); 0 where it
        is exact.
      offset: to be added to the input, in its unit, in place of `shift`; shape (B,); NaN where the
        shift is estimated, 0 where the input's own is right.
    """

    focal: Any
    focal_sigma: Any
    shift: Any
    shift_sigma: Any
    offset: Any


def estimate(
    setup: Setup,
    params: Sequence[Any],
    blocks: clouds.Blocks,
    known: KnownValues,
    segments: Segments | None = None,
) -> dict[str, Any]:
    """Estimates shift and focal length of a batch.

    Args:
      setup: networks, method and space.
      params: the weights of each network.
      blocks: the maps, leading axis B.
      known: what need not be estimated.
      segments: of the pictures, leading axis B; None where no map has one.

    Returns:
      By name: `shift`, `focal` and `focal_by_map`, low end, median and high end, shape (B, 3);
      `solvable`, `scale`, `offset` and `unit` as of `recovery.Estimates`, `map_wins` as of
      `fusion.Fused`, shape (B,); `focal_evidence` and `shift_evidence` as of `recovery.Evidence`;
      `flags`, a dict; and with segments `lines`, a dict of the fields of `LineFindings`.
    """
    posteriors = _posteriors(setup, params, blocks, known, segments)
    return _estimate(setup.method, setup, blocks, posteriors)


def estimate_by_each(
    setup: Setup,
    params: Sequence[Any],
    blocks: clouds.Blocks,
    known: KnownValues,
    segments: Segments | None = None,
) -> dict[Method, dict[str, Any]]:
    """`estimate` by the geometric method, and by the learned one where there are networks."""
    posteriors = _posteriors(setup, params, blocks, known, segments)
    return {
        method: _estimate(method, setup, blocks, posteriors)
        for method in methods_of(setup.networks)
    }


def methods_of(networks: Sequence[Any]) -> tuple[Method, ...]:
    """The methods that there are with some networks, the best last."""
    return ("geometric", "learned") if networks else ("geometric",)


def _estimate(
    method: Method, setup: Setup, blocks: clouds.Blocks, posteriors: "_Posteriors"
) -> dict[str, Any]:
    batch, geometry, network, metres, frames = posteriors
    fused = fusion.estimate(
        geometry, network, blocks, batch.canonical, method, setup.space,
        batch.known_shift, batch.known_focal, batch.hints, batch.lines,
    )  # fmt: skip
    solvable = batch.canonical.solvable & fused.has_evidence
    evidence = fusion.log_likelihoods(geometry, network, blocks, batch.hints, method, batch.lines)
    unit = jnp.ones_like(fused.shift[:, 1])
    if metres is not None:
        unit = metres if setup.space == "depth" else 1 / metres
        unit = unit / (affine.FAR_VALUE + fused.shift[:, 1])
    found = {
        "solvable": solvable,
        "shift": fused.shift,
        "focal": fused.focal,
        "focal_by_map": fused.focal_by_map,
        "map_wins": fused.map_wins,
        "scale": batch.canonical.scale,
        "offset": batch.canonical.offset,
        "unit": unit,
        "focal_evidence": jnp.where(solvable[:, None], evidence.focal, 0.0),
        "shift_evidence": jnp.where(solvable[:, None], evidence.shift, 0.0),
        "flags": fused.flags,
    }
    if frames is not None:
        found["lines"] = _findings(frames, fused, batch, setup.lines)
    return found


def _findings(
    frames: LineFrames, fused: fusion.Fused, batch: predictor.Batch, settings: LineSettings
) -> dict[str, Any]:
    """The fields of `estimates.LineFindings`."""

    def nats(posterior: jax.Array, factor: jax.Array, known: jax.Array) -> jax.Array:
        without = jax.nn.log_softmax(posterior - factor)
        divergence = (jnp.exp(posterior) * (posterior - without)).sum(-1)
        return jnp.where(jnp.isnan(known), divergence, 0.0)

    log_alpha = jnp.log(fused.focal[:, 1] / camera.initial_focal(batch.blocks.size[..., 0]))
    return {
        "focal_nats": nats(fused.focal_posterior, frames.curves.focal, batch.known_focal),
        "shift_nats": nats(fused.shift_posterior, frames.curves.shift, batch.known_shift),
        **findings(frames, log_alpha, settings)._asdict(),
    }


class _Posteriors(NamedTuple):
    """Of geometry and of networks, metres at the far value by the networks, and lines."""

    batch: predictor.Batch
    geometry: GeometricPosterior
    network: NetworkPosterior
    metres: jax.Array | None
    frames: LineFrames | None


def _posteriors(
    setup: Setup,
    params: Sequence[Any],
    blocks: clouds.Blocks,
    known: KnownValues,
    segments: Segments | None,
) -> _Posteriors:
    canonical = affine.canonicalise(blocks.values, blocks.mask)
    by_offset = canonical.scale * known.offset - canonical.offset
    shift = jnp.where(jnp.isnan(known.offset), known.shift, by_offset)
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
    frames = None
    if segments is not None:
        grids = solver_settings(setup.space).windows.grids
        # By windows alone: networks have not run, and are given what lines say.
        frames = line_evidence(
            segments, blocks, geometry.fit, geometry.shift, batch.known_shift, setup.space, grids,
            setup.lines,
        )  # fmt: skip
        batch = batch._replace(lines=frames.curves)
        geometry = solver.with_lines(geometry, frames.curves)
    network, metres = predictor.predict(setup.networks, params, batch, geometry)
    return _Posteriors(batch, geometry, network, metres, frames)


@functools.cache
def program_by_each(setup: Setup, level: int) -> Program:
    """`estimate_by_each` for a setup, at a level of `chunking.compiler_options`."""

    def run(
        params: Sequence[Any],
        blocks: clouds.Blocks,
        known: KnownValues,
        segments: Segments | None,
    ) -> dict[Method, Any]:
        return estimate_by_each(setup, params, blocks, known, segments)

    return Program(run, f"estimate_by_each {setup}", chunking.compiler_options(level))


@functools.cache
def program(setup: Setup, at_once: int) -> QuickFirst:
    """`estimate` for a setup: of parameters, blocks, `KnownValues` and `Segments` or None.

    A single map is computed by a program that is compiled quickly, until there were many of them.
    """

    def run(
        params: Sequence[Any],
        blocks: clouds.Blocks,
        known: KnownValues,
        segments: Segments | None,
    ) -> dict[str, Any]:
        return estimate(setup, params, blocks, known, segments)

    run.__name__ = estimate.__name__
    described = f"{estimate.__qualname__} {setup}"
    return QuickFirst(run, described, calls=PATIENCE if at_once == 1 else 0)


PATIENCE = 64
"""Single maps that are computed before the program is compiled to run quickly.  Chosen: by then it
would have saved as much as it costs."""
