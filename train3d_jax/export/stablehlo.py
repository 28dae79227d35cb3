"""Recovery as one program that needs JAX and numpy alone, serialised by `jax.export`.

The program is StableHLO with the weights inside, for maps of one size.  `jax.export.deserialize`
reads it, in processes that do not have this package.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from train3d_jax.errors import Argument, ArgumentError
from train3d_jax.evidence import fusion
from train3d_jax.geometry import affine, clouds, depth_maps
from train3d_jax.geometry.affine import Space
from train3d_jax.inference import estimation, recovery
from train3d_jax.inference.estimates import FOCAL_UNCERTAIN, UNCERTAIN_FACTOR
from train3d_jax.inference.models import Model, check_models

if TYPE_CHECKING:
    from train3d_jax.evidence.fusion import Method

PLATFORMS = ("cpu", "cuda")
"""Platforms that a program is lowered for."""

FLAGS = (*(name for name in fusion.FLAGS if name != "hint_disagrees"), FOCAL_UNCERTAIN)
"""Those of `estimates.FLAGS` that a map without hints can have."""

LEAST_SIDE = 32
"""Pixels of a map's shorter side.  Chosen: a corner of a rendered room is estimated right from 32
pixels on, with 24 it is `focal_uncertain`, with 16 `near_planar`."""

OUTPUTS: Mapping[str, str] = {
    "focal_px": "vertical focal length in pixels, (B,)",
    "focal_interval_px": "central 90 % of its posterior, (B, 2)",
    "shift": "in canonical units, (B,)",
    "shift_interval": "central 90 % of its posterior, (B, 2)",
    "a": "a * input + b is depth, its inverse or its logarithm, (B,)",
    "b": "see a, (B,)",
    "depth": "straight depth, (B, H, W); 0 where missing",
    "solvable": "whether there is an answer, (B,)",
    "flags": "for each of FLAGS whether it is raised, a dict of (B,)",
}
"""What a program returns, by name; float32 but for the booleans of `solvable` and `flags`."""


def export_recovery(
    networks: Sequence[Model],
    space: Space,
    size: tuple[int, int],
    batch: int = 1,
    report: Callable[[str], None] = lambda _: None,
) -> bytes:
    """The program of `api.Model.recover` for maps of one size, of which nothing is known.

    Its argument is a batch of maps, float32 (B, H, W), with 0 and what is not finite missing.  It
    returns a dict, see `OUTPUTS`; numbers are NaN, and depth is 0, where `solvable` is False.  The
    numbers are those of `Model.recover` up to rounding.  Checks of the input (`map_checks.FLAGS`)
    are not part of it.

    Args:
      networks: that together cover shift and focal length; none for geometry alone.
      space: of the maps.
      size: height and width of a map in pixels.
      batch: B, maps at once.
      report: takes the name of each step before it is done.

    Returns:
      The bytes that `jax.export.deserialize` reads.

    Raises:
      UserError: the networks do not fit, or the size is too small.
    """
    height, width = size
    if min(size) < LEAST_SIDE:
        raise ArgumentError(
            Argument("size"),
            f": {height} x {width} pixels are too few; give {LEAST_SIDE} or more for each side",
        )
    method = "learned" if networks else "geometric"
    check_models(networks, space, focal_known=False, method=method)
    run = jax.jit(_program(networks, space, method))
    maps = jax.ShapeDtypeStruct((batch, height, width), np.float32)
    report("tracing")
    run.trace(maps)  # kept, for the export
    report(f"lowering for {', '.join(PLATFORMS)}")
    return bytes(export.export(run, platforms=PLATFORMS)(maps).serialize())


def _program(
    networks: Sequence[Model], space: Space, method: "Method"
) -> Callable[[jax.Array], dict[str, Any]]:
    setup = recovery.setup_of(networks, method, space)
    params = [jax.tree.map(np.asarray, model.params) for model in networks]

    def recover(maps: jax.Array) -> dict[str, Any]:
        nothing = recovery.Known().values(len(maps))
        found = estimation.estimate(setup, params, clouds.blocks_on_device(maps), nothing)
        solvable = found["solvable"]

        def of_solvable(values: jax.Array) -> jax.Array:
            there = solvable.reshape(-1, *[1] * (values.ndim - 1))
            return jnp.where(there, values, jnp.nan)

        a, b = affine.coefficients(
            found["scale"], found["offset"], found["shift"][:, 1], space, found["unit"]
        )
        uncertain = found["focal"][:, 2] > UNCERTAIN_FACTOR * found["focal"][:, 0]
        flags = {**found["flags"], FOCAL_UNCERTAIN: solvable & uncertain}
        return {
            "focal_px": of_solvable(found["focal"][:, 1]),
            "focal_interval_px": of_solvable(found["focal"][:, ::2]),
            "shift": of_solvable(found["shift"][:, 1]),
            "shift_interval": of_solvable(found["shift"][:, ::2]),
            "a": of_solvable(a),
            "b": of_solvable(b),
            "depth": _straight_depth(maps, a, b, solvable, space),
            "solvable": solvable,
            "flags": {name: flags[name] for name in FLAGS},
        }

    return recover


def _straight_depth(
    maps: jax.Array, a: jax.Array, b: jax.Array, solvable: jax.Array, space: Space
) -> jax.Array:
    """As `depth_maps.recovered_depth`, of a batch, in float32."""
    present = jnp.isfinite(maps) & (maps != 0) & solvable[:, None, None]
    values = a[:, None, None] * jnp.where(present, maps, 0) + b[:, None, None]
    return jnp.asarray(depth_maps.depth_of(values, present, space))
