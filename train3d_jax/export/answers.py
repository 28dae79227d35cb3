"""What recovery leaves on disk: the answer as JSON, clouds as PLY and GLB, depth as .npz."""

import io
import json
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np

from train3d_jax import __version__
from train3d_jax.files import write_whole
from train3d_jax.geometry.affine import Space
from train3d_jax.inference.recovery import Estimate

AXES = "x right, y down, z forward"
"""Of every cloud and camera (OpenCV's), but where a format has axes of its own."""

FARTHEST = 1e30
"""What comes out farther is no depth; its x and y would not fit float32 either."""

_PLY_COLOURS = ("red", "green", "blue")


def recovered_depth(values: np.ndarray, a: float, b: float, space: Space) -> np.ndarray:
    """Depth of a map once it is solved: a * input + b, or its inverse in disparity space.

    Args:
      values: the input map, shape (H, W).
      a: of the answer.
      b: of the answer.
      space: of the input.

    Returns:
      float64, shape (H, W); 0 where the input is missing (0 or not finite), or its depth is not
      positive or over `FARTHEST`.
    """
    present = np.isfinite(values) & (values != 0)
    affine = a * np.where(present, values, 0).astype(np.float64) + b
    present &= affine > 0
    affine = np.where(present, affine, 1)
    depth = affine if space == "depth" else 1 / np.maximum(affine, 1 / (2 * FARTHEST))
    return np.where(present & (depth <= FARTHEST), depth, 0.0)


def edges(depth: np.ndarray, threshold: float) -> np.ndarray:
    """Pixels where depth jumps, so that sensors and networks put points into the empty space.

    Args:
      depth: shape (H, W), 0 where missing.
      threshold: the least jump, relative to the nearer depth: 0.1 finds what is next to something
        10 % further or nearer.

    Returns:
      Shape (H, W): True where in the 3 x 3 pixels about a pixel the largest depth is more than
      (1 + threshold) times the smallest; missing pixels do not count.
    """
    present = depth > 0
    far = _over_neighbours(np.maximum, np.where(present, depth, -np.inf))
    near = _over_neighbours(np.minimum, np.where(present, depth, np.inf))
    return present & (far > (1 + threshold) * near)


def _over_neighbours(extreme: np.ufunc, values: np.ndarray) -> np.ndarray:
    for axis in (0, 1):
        padded = np.pad(values, [(1, 1) if axis == a else (0, 0) for a in (0, 1)], mode="edge")
        first, middle, last = (
            np.take(padded, range(start, start + values.shape[axis]), axis) for start in range(3)
        )
        values = extreme(extreme(first, middle), last)
    return values


def cloud_of(depth: np.ndarray, camera: float | np.ndarray) -> np.ndarray:
    """The points of a depth map.

    Args:
      depth: shape (H, W), 0 where missing.
      camera: intrinsics, (3, 3) in pixels; or a focal length in pixels, for a camera with its
        principal point in the image centre.

    Returns:
      float32, one row for each pixel that is not missing, shape (N, 3).
    """
    height, width = depth.shape
    if isinstance(camera, np.ndarray):
        (fx, _, cx), (_, fy, cy), _ = camera.tolist()
    else:
        fx = fy = camera
        cx, cy = (width - 1) / 2, (height - 1) / 2
    points = np.empty((height, width, 3), np.float32)
    np.multiply(depth, (np.arange(width) - cx) / fx, out=points[..., 0], casting="same_kind")
    np.multiply(
        depth, ((np.arange(height) - cy) / fy)[:, None], out=points[..., 1], casting="same_kind"
    )
    points[..., 2] = depth
    present = depth != 0
    return points.reshape(-1, 3) if present.all() else points[present]


def write_ply(
    path: Path,
    points: np.ndarray,
    comments: tuple[str, ...] = (),
    colours: np.ndarray | None = None,
) -> None:
    """Writes a point cloud as binary little-endian PLY with float32 x, y, z.

    Args:
      path: file to write.
      points: shape (N, 3).
      comments: lines for the header; axes and units belong there.
      colours: red, green and blue, uint8, shape (N, 3); None for a cloud without.

    Raises:
      UserError: the file cannot be written.
    """
    lines = ["ply", "format binary_little_endian 1.0", *(f"comment {line}" for line in comments)]
    lines += [f"element vertex {len(points)}", *(f"property float {axis}" for axis in "xyz")]
    if colours is not None:
        lines += [f"property uchar {name}" for name in _PLY_COLOURS]
    head = "\n".join([*lines, "end_header", ""]).encode("ascii", "backslashreplace")
    vertices = np.ascontiguousarray(points, "<f4")
    if colours is not None:
        both = np.empty((len(points), 15), np.uint8)
        both[:, :12] = vertices.view(np.uint8).reshape(-1, 12)
        both[:, 12:] = colours
        vertices = both
    write_whole(path, head, vertices.data if vertices.size else b"")


def read_ply(path: Path) -> np.ndarray:
    """Reads back the points that `write_ply` wrote, shape (N, 3) float32, without their colours."""
    header, _, body = path.read_bytes().partition(b"end_header\n")
    count = int(header.split(b"element vertex ")[1].split()[0])
    size = 15 if b"property uchar red" in header else 12
    rows = np.frombuffer(body, np.uint8, count * size).reshape(-1, size)
    return np.ascontiguousarray(rows[:, :12]).view("<f4").reshape(-1, 3)


def write_glb(path: Path, points: np.ndarray, unit: str, colours: np.ndarray | None = None) -> None:
    """Writes a point cloud as binary glTF 2.0 (GLB), one primitive of points.

    glTF's axes are x right, y up and z backward, so y and z change their signs.

    Args:
      path: file to write.
      points: x right, y down, z forward, shape (N, 3).
      unit: of the points, for `asset.extras`; glTF itself means metres.
      colours: red, green and blue, uint8 as a screen shows them, shape (N, 3).

    Raises:
      UserError: the file cannot be written.
    """
    vertices = np.ascontiguousarray(points * np.array([1, -1, -1], np.float32), "<f4")
    parts, views = [vertices.tobytes()], []
    extremes = {} if not len(points) else {
        "min": vertices.min(0).tolist(), "max": vertices.max(0).tolist(),
    }  # fmt: skip
    accessors: list[dict[str, Any]] = [{"componentType": 5126, "type": "VEC3", **extremes}]
    attributes = {"POSITION": 0}
    if colours is not None:
        # Four bytes a colour keep it aligned; the standard wants it linear, not as on a screen.
        linear = np.full((len(points), 4), 255, np.uint8)
        linear[:, :3] = _LINEAR[colours]
        parts.append(linear.tobytes())
        accessors.append({"componentType": 5121, "type": "VEC4", "normalized": True})
        attributes["COLOR_0"] = 1
    start = 0
    for number, part in enumerate(parts):
        accessors[number] |= {"bufferView": number, "count": len(points)}
        views.append({"buffer": 0, "byteOffset": start, "byteLength": len(part)})
        start += len(part)
    scene = {
        "asset": {
            "version": "2.0",
            "generator": f"train3d-jax {__version__}",
            "extras": {"unit": unit, "axes": "x right, y up, z backward"},
        },
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": attributes, "mode": 0}]}],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": start}],
    }
    if not len(points):  # a buffer may not be empty
        scene = {name: scene[name] for name in ("asset", "scene")} | {"scenes": [{}]}
    text = json.dumps(scene).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<II", len(text), 0x4E4F534A) + text  # "JSON"
    if start:
        chunks += struct.pack("<II", start, 0x004E4942) + b"".join(parts)  # "BIN"
    write_whole(path, struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)), chunks)


def _linear_from_screen() -> np.ndarray:
    """The linear value of each of the 256 values of an sRGB screen (IEC 61966-2-1)."""
    screen = np.arange(256) / 255
    linear = np.where(screen <= 0.04045, screen / 12.92, ((screen + 0.055) / 1.055) ** 2.4)
    return np.round(255 * linear).astype(np.uint8)


_LINEAR = _linear_from_screen()


def write_depth(path: Path, depth: np.ndarray, intrinsics: np.ndarray, unit: str) -> None:
    """Writes a straightened depth map as .npz: `depth`, `intrinsics`, `unit` and `axes`.

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


ANSWER_FIELDS = (
    "input", "space", "width", "height", "focal_px", "normalised_focal", "fov_x_deg", "fov_y_deg",
    "cx", "cy", "intrinsics", "shift", "a", "b", "unit", "focal_interval_px", "shift_interval",
    "canonical_scale", "canonical_offset", "method", "flags", "model", "version",
    "settings", "error",
)  # fmt: skip
"""What the JSON beside a cloud holds."""


def answer(
    *,
    input_name: str,
    space: Space,
    size: tuple[int, int] | None,
    solution: Estimate | None,
    metric: bool,
    model: str,
    method: str = "learned",
    intrinsics: np.ndarray | None = None,
    canonical: tuple[float, float] | None = None,
    flags: tuple[str, ...] = (),
    settings: str = "",
    error: str | None = None,
) -> dict[str, Any]:
    """The contents of the JSON beside a cloud; numbers that could not be found are None.

    Args:
      input_name: the input file, relative to the input folder.
      space: of the input.
      size: height and width in pixels; None where the file could not be read.
      solution: None where there is none.
      metric: depth is in metres, not in an arbitrary unit.
      model: names of the networks.
      method: "learned", "geometric" or "hybrid".
      intrinsics: what is known of the camera, (3, 3) in pixels: its principal point and the ratio
        of its focal lengths are kept; None for the image centre and square pixels.
      canonical: scale and offset of the canonical form: canonical = scale * input + offset.
      flags: what else is to be said about the map, besides the flags of the solution.
      settings: a digest of all that the answer depends on besides the input.
      error: why there is no answer.

    Returns:
      A value for each of `ANSWER_FIELDS`.
    """
    values: dict[str, Any] = dict.fromkeys(ANSWER_FIELDS)
    values |= {
        "input": input_name,
        "space": space,
        "unit": "metres" if metric else "arbitrary",
        "method": method,
        "flags": [*(solution.flags if solution else ()), *flags],
        "model": model,
        "version": __version__,
        "settings": settings,
        "error": error,
    }
    if size is not None:
        height, width = size
        centre = ((width - 1) / 2, (height - 1) / 2) if intrinsics is None else intrinsics[:2, 2]
        values |= {"width": width, "height": height, "cx": float(centre[0]), "cy": float(centre[1])}
    if solution is not None and size is not None:
        camera = camera_of(solution.focal, size, intrinsics)
        values |= {
            "focal_px": solution.focal,
            "normalised_focal": solution.focal / size[0],
            "fov_x_deg": fov_degrees(camera[0, 0], size[1]),
            "fov_y_deg": fov_degrees(camera[1, 1], size[0]),
            "intrinsics": camera.tolist(),
            "shift": solution.shift,
            "a": solution.a,
            "b": solution.b,
            "focal_interval_px": _finite(solution.focal_interval),
            "shift_interval": _finite(solution.shift_interval),
        }
    if solution is not None and canonical is not None:
        values |= {"canonical_scale": canonical[0], "canonical_offset": canonical[1]}
    return values


def camera_of(
    focal: float, size: tuple[int, int], intrinsics: np.ndarray | None = None
) -> np.ndarray:
    """Intrinsics of a recovered vertical focal length.

    Args:
      focal: fy in pixels.
      size: height and width in pixels.
      intrinsics: see `answer`.

    Returns:
      (3, 3) float64 in pixels.
    """
    if intrinsics is None:
        height, width = size
        return np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1.0]])
    camera = np.array(intrinsics, np.float64)
    camera[0, 0], camera[1, 1] = focal * camera[0, 0] / camera[1, 1], focal
    return camera


def fov_degrees(focal: float, pixels: int) -> float:
    """Full field of view across so many pixels; `camera.focal_to_fov` without JAX, in float64."""
    return math.degrees(2 * math.atan(pixels / 2 / focal))


def _finite(interval: tuple[float, float]) -> list[float] | None:
    """JSON has no word for an end that is not finite."""
    return [*map(float, interval)] if np.isfinite(interval).all() else None


def write_answer(path: Path, contents: dict[str, Any]) -> None:
    """Writes an `answer` as JSON.  Raises UserError where it cannot be written."""
    write_whole(path, (json.dumps(contents, indent=2, allow_nan=False) + "\n").encode())


def read_answer(path: Path) -> dict[str, Any] | None:
    """What `write_answer` wrote; None where there is no such file, or something else is in it."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.keys() == set(ANSWER_FIELDS) else None
