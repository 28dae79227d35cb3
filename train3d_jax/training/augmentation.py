"""Augmentation: makes rendered and clean depth resemble the depth of real sensors and networks.

`augment` applies kinds of errors (`network_errors`, `sensor_errors`) to blocks of true depth, each
map with random amplitudes of its own.  Nearly clean maps remain among them: a network trained on
noisy maps alone loses accuracy on clean ones.

The recipe comes from this project's experiments: trained with it on rendered rooms, tested on the
maps of five depth cameras and of a depth network.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from train3d_jax.geometry import points
from train3d_jax.geometry.affine import Space
from train3d_jax.geometry.clouds import Blocks
from train3d_jax.training import network_errors, sensor_errors
from train3d_jax.training.choices import KINDS

UNTOUCHED_SHARE = 0.15
"""Share of the maps that stay as they are."""

NETWORK_SHARE = 0.35
"""Share of the maps with the errors of a depth network; the others have those of a sensor."""
NETWORK_STRENGTH = {"bias": 2.0, "ripple": 1.5, "noise": 0.2, "quantisation": 0.2, "outliers": 0.0,
                    "holes": 0.0, "reach": 0.0}  # fmt: skip
"""Factors of the amplitudes of a kind in such maps, 1 for the others.  In the maps of a network
planes are smooth but curved: by 3 % of their depth over 16 blocks and 9 % over 32 in the flattest
quarter of the windows, where those of sensors are curved by 2 and 8 %; and there are no holes."""


def augment(
    key: jax.Array, blocks: Blocks, kinds: tuple[str, ...], strength: ArrayLike, space: Space
) -> Blocks:
    """Applies the chosen kinds to a batch of maps, each map with its own random amplitudes.

    The random numbers of a kind do not depend on the other kinds.

    Args:
      key: random key.
      blocks: true depth or inverse depth, up to scale, > 0 where valid; P as in `points.BLOCKS`.
      kinds: names out of `choices.KINDS`, in any order.
      strength: multiplies every amplitude, shape (); 0 changes nothing, 1 is the recipe.
      space: of the values; the result is the same map in either.

    Returns:
      Blocks of the same shapes; values are finite, > 0 where valid and 0 elsewhere, what was masked
      stays so, and at least half of a map's valid blocks stay valid.

    Raises:
      ValueError: a kind that does not exist, or blocks on another grid.
    """
    if unknown := set(kinds) - set(KINDS):
        raise ValueError(f"no kind of augmentation: {', '.join(sorted(unknown))}; of {KINDS}")
    lead = blocks.values.shape[:-1]
    if blocks.values.shape[-1] != points.BLOCKS[0] * points.BLOCKS[1]:
        raise ValueError(f"{blocks.values.shape[-1]} blocks a map, not a grid of {points.BLOCKS}")
    mask = jnp.reshape(jnp.asarray(blocks.mask), (*lead, *points.BLOCKS))
    values = jnp.where(mask, jnp.reshape(jnp.asarray(blocks.values), mask.shape), 1.0)
    pixels = jnp.asarray(blocks.pixels)
    z = values if space == "depth" else 1 / values
    far = far_depth(z, mask)[..., None, None]
    true = w = far / z
    kept = mask
    clean_key, *keys = jax.random.split(key, len(KINDS) + 1)
    drawn = jax.random.uniform(clean_key, (*lead, 1, 1))
    untouched = drawn < UNTOUCHED_SHARE
    of_network = drawn > 1 - NETWORK_SHARE
    for kind, kind_key in zip(KINDS, keys, strict=True):
        if kind not in kinds:
            continue
        amplitude = strength * jnp.where(of_network, NETWORK_STRENGTH.get(kind, 1.0), 1.0)
        match kind:
            case "bias":
                w = network_errors.add_bias(kind_key, w, amplitude)
            case "ripple":
                w = network_errors.add_ripple(kind_key, w, amplitude)
            case "blur":
                w = network_errors.blur_edges(kind_key, w, mask, amplitude)
            case "lens":
                pixels = network_errors.distort_rays(
                    kind_key, pixels, blocks.size, blocks.centre, strength
                )
            case "noise":
                w = sensor_errors.add_sensor_noise(kind_key, w, amplitude)
            case "quantisation":
                w = sensor_errors.quantise(kind_key, w, mask, amplitude)
            case "outliers":
                w = sensor_errors.add_outliers(kind_key, w, mask, amplitude)
            case "holes":
                kept = sensor_errors.cut_holes(kind_key, true, mask, amplitude)
            case "reach":
                reached = sensor_errors.limit_reach(kind_key, true, mask, amplitude)
                kept = sensor_errors.without(mask, kept, ~reached)
    changed = far / w if space == "depth" else w / far
    untouched |= jnp.asarray(strength) <= 0
    kept = jnp.where(untouched, mask, kept)
    # Chosen, not multiplied by 0: to inverse depth and back would round.
    changed = jnp.where(kept, jnp.where(untouched, values, changed), 0.0)
    return Blocks(
        jnp.where(untouched, blocks.pixels, pixels),
        changed.reshape(blocks.values.shape),
        kept.reshape(blocks.mask.shape),
        blocks.size,
        blocks.centre,
        blocks.valid_share,
    )


def far_depth(z: jax.Array, mask: jax.Array, cell: int = 8) -> jax.Array:
    """The far depth of a map, without sorting: the mean depth of the farthest square of blocks.

    Args:
      z: depth, shape (..., rows, columns), multiples of `cell`.
      mask: shape (..., rows, columns).
      cell: blocks along a square's side; a block too far by a mistake counts little in it.

    Returns:
      Shape (...); 1 where nothing is valid.
    """
    *lead, rows, columns = z.shape

    def total(image: jax.Array) -> jax.Array:
        return image.reshape(*lead, rows // cell, cell, columns // cell, cell).sum((-3, -1))

    far = total(jnp.where(mask, z, 0.0)) / jnp.maximum(total(mask.astype(z.dtype)), 1.0)
    far = far.max((-2, -1))
    return jnp.where(far > 0, far, 1.0)
