"""An estimate of one map as JSON."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from train3d_jax import __version__
from train3d_jax.files import write_whole
from train3d_jax.geometry import camera
from train3d_jax.geometry.affine import Space
from train3d_jax.inference.estimates import Estimate, LineFindings
from train3d_jax.placement.upright import Upright

ANSWER_FIELDS = (
    "input", "space", "width", "height", "focal_px", "normalised_focal", "fov_x_deg", "fov_y_deg",
    "cx", "cy", "intrinsics", "shift", "a", "b", "unit", "focal_interval_px", "shift_interval",
    "scale_source", "scale_sigma", "focal_source", "focal_sources", "lines", "gravity",
    "gravity_sigma_deg", "roll_deg", "roll_interval_deg", "pitch_deg", "pitch_interval_deg",
    "camera_height", "transform",
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
    focal_source: str = "map",
    hints: Sequence[tuple[str, str, float, float]] = (),
    segments: int | None = None,
    findings: LineFindings | None = None,
    upright: Upright | None = None,
    pose: np.ndarray | None = None,
    metres: tuple[str, float] | None = None,
    canonical: tuple[float, float] | None = None,
    flags: tuple[str, ...] = (),
    settings: str = "",
    error: str | None = None,
) -> dict[str, Any]:
    """The contents of the JSON beside a cloud; numbers without an estimate are None.

    Args:
      input_name: the input file, relative to the input folder.
      space: of the input.
      size: height and width in pixels; None where the file could not be read.
      solution: None where there is none.
      metric: depth is in metres, not in an arbitrary unit.
      model: names of the networks.
      method: "learned" or "geometric".
      intrinsics: see `camera.recovered_intrinsics`.
      focal_source: where the focal length is from: "flag", "file", "exif", "map" or "maps", all
        maps of one camera.
      hints: what each source said: its kind, where it is from, a focal length in pixels, and the
        standard deviation of its logarithm, 0 where it is exact.
      segments: that were detected in the picture of the map; None where it has no picture, or where
        pictures are no evidence.
      findings: of this map, what they say; None where its picture does not count.
      upright: gravity and the floor; None where they were not estimated.
      pose: that was applied to clouds, shape (4, 4); None where there is none.
      metres: name of the fact that gives metres, and the standard deviation of the logarithm of
        metric depths; None without.
      canonical: scale and offset of the canonical form: canonical = scale * input + offset.
      flags: of the map, besides those of the solution.
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
        matrix = camera.recovered_intrinsics(solution.focal, size, intrinsics)
        values |= {
            "focal_px": solution.focal,
            "normalised_focal": solution.focal / size[0],
            "fov_x_deg": float(camera.focal_to_degrees(matrix[0, 0], size[1])),
            "fov_y_deg": float(camera.focal_to_degrees(matrix[1, 1], size[0])),
            "intrinsics": matrix.tolist(),
            "shift": solution.shift,
            "a": solution.a,
            "b": solution.b,
            "focal_interval_px": _finite(solution.focal_interval),
            "shift_interval": _finite(solution.shift_interval),
            "focal_source": focal_source,
            "focal_sources": _sources(solution, hints),
            "lines": None if segments is None else _lines(segments, findings),
            **_upright(upright),
            "transform": None if pose is None else pose.tolist(),
        }
        if metres is not None:
            source, sigma = metres
            values |= {"scale_source": source, "scale_sigma": sigma if np.isfinite(sigma) else None}
    if solution is not None and canonical is not None:
        values |= {"canonical_scale": canonical[0], "canonical_offset": canonical[1]}
    return values


def _sources(
    solution: Estimate, hints: Sequence[tuple[str, str, float, float]]
) -> list[dict[str, Any]]:
    """What each source says of the focal length, the most trusted first, the map last."""
    low, middle, high = solution.focal_by_map
    interval = _finite((low, high))
    by_map = {"source": "map", "focal_px": middle, "focal_interval_px": interval}
    return [
        *(
            {"source": kind, "origin": origin, "focal_px": float(focal), "sigma": float(sigma)}
            for kind, origin, focal, sigma in hints
        ),
        *([by_map] if interval else []),
    ]


def _lines(segments: int, findings: LineFindings | None) -> dict[str, Any]:
    """How many there are, and by how many nats they changed each posterior."""
    used = findings is not None
    return {
        "segments": segments,
        "used": used,
        "focal_nats": float(findings.focal_nats) if used else 0.0,
        "shift_nats": float(findings.shift_nats) if used else 0.0,
    }


def _upright(upright: Upright | None) -> dict[str, Any]:
    """Which way is down, and how the camera is held; nothing where the map does not tell."""
    if upright is None or not upright.gravity.is_known:
        return {}
    gravity, height = upright.gravity, upright.camera_height
    roll, pitch = camera.roll_and_pitch(gravity.down)
    return {
        "gravity": gravity.down.tolist(),
        "gravity_sigma_deg": gravity.sigma_deg,
        "roll_deg": float(roll),
        "roll_interval_deg": gravity.roll_interval_deg.tolist(),
        "pitch_deg": float(pitch),
        "pitch_interval_deg": gravity.pitch_interval_deg.tolist(),
        "camera_height": height if np.isfinite(height) else None,
    }


def _finite(interval: tuple[float, float]) -> list[float] | None:
    """JSON has no number for an end that is not finite."""
    return [*map(float, interval)] if np.isfinite(interval).all() else None


def write_answer(path: Path, contents: dict[str, Any]) -> None:
    """Writes an `answer` as JSON.  Raises UserError where it cannot be written."""
    write_whole(path, (json.dumps(contents, indent=2, allow_nan=False) + "\n").encode())


def read_answer(path: Path) -> dict[str, Any] | None:
    """What `write_answer` wrote; None where there is no such file, or something else is in it."""
    try:
        contents = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    is_answer = isinstance(contents, dict) and contents.keys() == set(ANSWER_FIELDS)
    return contents if is_answer else None
