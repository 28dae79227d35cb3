"""Two clouds of one map, as given and as recovered, as a small script that a page draws.

A page that was opened as a file may run the scripts beside it, but not read other files.  So the
points are in a script, which calls `document.currentScript.receive` with them.  Both clouds show
the same pixels, so that each pixel and colour is stored once: a cloud is a depth and a camera.
"""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np

from train3d_jax.files import write_whole
from train3d_jax.pictures.shapes import Shape, averaged, centre_and_radius, direction_colours

MOST_POINTS = 50_000
"""Of a map; more do not show in a view of some hundred pixels, and make the file larger."""

NEAREST, FARTHEST = 1e-3, 20.0
"""Medians of the depth between which points are kept.  Chosen: what lies beyond (sky, outliers)
would make the room small, and 16 bits for the logarithm between them are steps of 0.015 %."""

_PAINTED = 200
"""Pixels along the longer edge whose directions are computed: as fine as the views show them."""


def write_browser_clouds(
    path: Path, before: Shape, after: Shape, colours: np.ndarray | None = None
) -> None:
    """Writes the clouds of a map without and with its correction.

    Args:
      path: the script.
      before: without the correction.
      after: with it; its pixels are those that are taken, at most `MOST_POINTS`, evenly and at each
        call the same ones.
      colours: of the pixels, uint8 (H, W, 3); None paints each by the direction that its surface
        faces.

    Raises:
      UserError: the file cannot be written.
    """
    height, width = after.depth.shape
    there = np.flatnonzero(after.depth > 0)
    count = min(len(there), MOST_POINTS)
    # One of each of so many equal parts of the map's pixels.
    parts = np.arange(count) + np.random.default_rng(0).random(count)
    chosen = there[(parts * (len(there) / max(count, 1))).astype(np.int64)]
    rows, columns = np.divmod(chosen, width)
    if colours is None:
        step = -(-max(height, width) // _PAINTED)
        painted = direction_colours(averaged(after, step))
        last = np.array(painted.shape[:2]) - 1
        paint = painted[np.minimum(rows // step, last[0]), np.minimum(columns // step, last[1])]
    else:
        paint = colours[rows, columns]
    data = {
        "size": (width, height),
        "spacing": float(np.sqrt(len(there) / max(count, 1))),
        "pixels": _text(chosen, "<u4"),
        "colours": _text(paint, "u1"),
        "clouds": [_cloud(shape, rows, columns) for shape in (before, after)],
    }
    write_whole(path, f"document.currentScript.receive({json.dumps(data)});\n".encode())


def _cloud(shape: Shape, rows: np.ndarray, columns: np.ndarray) -> dict[str, Any]:
    """A cloud of some pixels: its depth in 16 bits, 0 where there is none, and how to place it."""
    (fx, _, cx), (_, fy, cy), _ = shape.intrinsics.tolist()
    depth = shape.depth[rows, columns]
    kept = depth > 0
    if kept.any():
        typical = np.median(depth[kept])
        kept &= (depth >= NEAREST * typical) & (depth <= FARTHEST * typical)
    z = depth[kept]
    points = np.stack([(columns[kept] - cx) / fx * z, (rows[kept] - cy) / fy * z, z], -1)
    centre, radius = centre_and_radius(points) if len(z) else (np.zeros(3), 1.0)
    logs = np.log(z)
    low, high = (float(logs.min()), float(logs.max())) if len(z) else (0.0, 0.0)
    step = (high - low) / 65534 or 1.0
    codes = np.zeros(len(depth))
    codes[kept] = 1 + np.round((logs - low) / step)
    return {
        "camera": (fx, fy, cx, cy),
        "depth": _text(codes, "<u2"),
        "low": low,
        "step": step,
        "centre": centre.tolist(),
        "radius": radius,
    }


def _text(values: np.ndarray, kind: str) -> str:
    return base64.b64encode(values.astype(kind).tobytes()).decode("ascii")
