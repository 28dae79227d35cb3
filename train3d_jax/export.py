"""What recovery leaves on disk: point clouds as PLY, and a JSON beside each."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from train3d_jax import __version__
from train3d_jax.depth import Space
from train3d_jax.files import write_whole
from train3d_jax.inference import Solution


def write_ply(path: Path, points: np.ndarray, comments: tuple[str, ...] = ()) -> None:
    """Writes a point cloud as binary little-endian PLY with float32 x, y, z.

    Args:
      path: file to write.
      points: shape (N, 3).
      comments: lines for the header; axes and units belong there.

    Raises:
      UserError: the file cannot be written.
    """
    header = ["ply", "format binary_little_endian 1.0", *(f"comment {line}" for line in comments)]
    header += [f"element vertex {len(points)}", *(f"property float {axis}" for axis in "xyz")]
    header += ["end_header", ""]
    write_whole(path, "\n".join(header).encode() + np.ascontiguousarray(points, "<f4").tobytes())


def read_ply(path: Path) -> np.ndarray:
    """Reads back what `write_ply` wrote, shape (N, 3) float32."""
    header, _, body = path.read_bytes().partition(b"end_header\n")
    count = int(header.split(b"element vertex ")[1].split()[0])
    return np.frombuffer(body, "<f4", 3 * count).reshape(-1, 3)


def recovered_depth(values: np.ndarray, a: float, b: float, space: Space) -> np.ndarray:
    """Depth of a map once it is solved: a * input + b, or its inverse in disparity space.

    Args:
      values: the input map, shape (H, W).
      a: of the answer.
      b: of the answer.
      space: of the input.

    Returns:
      float64, shape (H, W); 0 where the input is missing (0 or not finite) or its depth not
      positive.
    """
    present = np.isfinite(values) & (values != 0)
    affine = a * np.where(present, values, 0).astype(np.float64) + b
    present &= affine > 0
    affine = np.where(present, affine, 1)
    return np.where(present, affine if space == "depth" else 1 / affine, 0.0)


def cloud_of(depth: np.ndarray, focal: float) -> np.ndarray:
    """The points of a depth map under a camera with its principal point in the image centre.

    Args:
      depth: shape (H, W), 0 where missing.
      focal: pixels.

    Returns:
      float32, one row for each pixel that is not missing, shape (N, 3).
    """
    height, width = depth.shape
    v, u = np.nonzero(depth)
    z = depth[v, u]
    x, y = (u - (width - 1) / 2) * z / focal, (v - (height - 1) / 2) * z / focal
    return np.stack([x, y, z], -1).astype(np.float32)


ANSWER_FIELDS = (
    "input", "space", "width", "height", "focal_px", "fov_x_deg", "fov_y_deg", "cx", "cy",
    "shift", "a", "b", "unit", "model", "version", "error",
)  # fmt: skip
"""What the JSON beside a cloud holds, and the columns of the summary of a folder."""


def answer(
    *,
    input_name: str,
    space: Space,
    size: tuple[int, int],
    solution: Solution | None,
    metric: bool,
    model: str,
    error: str | None = None,
) -> dict[str, Any]:
    """The contents of the JSON beside a cloud; numbers that could not be found are None.

    Args:
      input_name: the input file, relative to the input folder.
      space: of the input.
      size: height and width in pixels.
      solution: None where there is none.
      metric: depth is in metres, not in an arbitrary unit.
      model: names of the networks.
      error: why there is no answer.

    Returns:
      A value for each of `ANSWER_FIELDS`.
    """
    height, width = size
    focal, shift, a, b = solution[:4] if solution else (None, None, None, None)

    def fov_degrees(pixels: int) -> float | None:
        return None if focal is None else math.degrees(2 * math.atan(pixels / 2 / focal))

    centre = (width - 1) / 2, (height - 1) / 2
    unit = "metres" if metric else "arbitrary"
    values = (
        input_name, space, width, height, focal, fov_degrees(width), fov_degrees(height), *centre,
        shift, a, b, unit, model, __version__, error,
    )  # fmt: skip
    return dict(zip(ANSWER_FIELDS, values, strict=True))


def write_answer(path: Path, contents: dict[str, Any]) -> None:
    """Writes an `answer` as JSON.  Raises UserError where it cannot be written."""
    write_whole(path, (json.dumps(contents, indent=2, allow_nan=False) + "\n").encode())
