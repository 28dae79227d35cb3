"""Recovered depth maps as .npz."""

import io
from pathlib import Path

import numpy as np

from train3d_jax.files import write_whole
from train3d_jax.geometry.camera import AXES


def write_depth(path: Path, depth: np.ndarray, intrinsics: np.ndarray, unit: str) -> None:
    """Writes a recovered depth map as .npz: `depth`, `intrinsics`, `unit` and `axes`.

    Args:
      path: file to write.
      depth: z, shape (H, W), 0 where missing; stored in float32.
      intrinsics: (3, 3) in pixels; pixel centres are at integers.
      unit: of the depth.

    Raises:
      UserError: the file cannot be written.
    """
    file = io.BytesIO()
    # Not compressed: deflating takes longer than all the rest of a map's recovery.
    np.savez(
        file,
        depth=depth.astype(np.float32, copy=False),
        intrinsics=intrinsics,
        unit=np.array(unit),
        axes=np.array(f"{AXES}; depth is z; 0 is missing"),
    )
    write_whole(path, file.getbuffer())
