"""Depth maps to rows of a batch: averaged over blocks, then stacked."""

from typing import Any

import numpy as np

from train3d_jax.geometry import clouds
from train3d_jax.geometry.affine import Space

Batch = dict[str, np.ndarray]
"""The fields of `to_blocks`, stacked: pixels (B, P, 2), values (B, P), mask (B, P), size (B, 2),
centre (B, 2), focal (B,), weight (B,); and sample (B,) int32, see `splits.sample_names`."""


def to_blocks(
    depth: np.ndarray, intrinsics: np.ndarray, space: Space, units_per_metre: float = 1.0
) -> dict[str, Any]:
    """One row of a batch: the map averaged over blocks, and its focal length.

    Args:
      depth: 0 where missing, shape (H, W), floats or unsigned integers.
      intrinsics: pixels, shape (3, 3).
      space: of the values returned: "depth" in metres or "disparity" in 1 / metres.
      units_per_metre: of `depth`.

    Returns:
      The fields of `clouds.blocks_of` except `valid_share`; focal, the mean focal length in
      pixels; weight 1.
    """
    if space == "depth":
        blocks = clouds.blocks_of(depth, depth > 0)  # integers are summed faster than floats
        blocks = blocks._replace(values=np.divide(blocks.values, units_per_metre, dtype=np.float32))
    else:
        with np.errstate(divide="ignore"):
            blocks = clouds.blocks_of(np.float32(units_per_metre) / depth, depth > 0)
    fields = blocks._asdict()
    del fields["valid_share"]
    return {
        **fields,
        "focal": np.float32((intrinsics[0, 0] + intrinsics[1, 1]) / 2),
        "weight": np.float32(1),
    }


def stack(rows: list[dict[str, Any]]) -> Batch:
    """Stacks the outputs of `to_blocks` along a new leading axis."""
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}
