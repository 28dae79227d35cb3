"""The results of an evaluation: a report as JSON, every view as CSV, and a table in text."""

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from launch.evaluation.clips import LEAST_MAPS, Pooled
from launch.evaluation.config import EvaluationConfig
from launch.evaluation.methods import (
    BEST,  # fmt: skip
    COLUMNS,
    CONSTANT_FOV,
    CONSTANT_RATIO,
    ERRORS,
    NUM_POINTS,
)
from launch.evaluation.run import EvaluatedSet, Measured
from launch.recovery.folder import printable
from train3d_jax import __version__
from train3d_jax.evaluation.bootstrap import RESAMPLES, Resamples, share_of, spread

_COLUMN = {name: number for number, name in enumerate(COLUMNS)}

_DIGITS = 7
"""Significant digits in JSON and CSV; float32 holds no more."""


def report(
    config: EvaluationConfig,
    rows: Sequence[str],
    models: Sequence[str],
    evaluated: Sequence[EvaluatedSet],
) -> dict[str, Any]:
    """All aggregates, as the JSON holds them."""
    sets = {
        result.name: {
            "maps": result.maps,
            "failed_maps": result.failed,
            "views_left_out": result.left_out,
            "best_constants": result.best._asdict(),
            **_aggregates(rows, [(result.name, view) for view in result.views], config.seed),
            **_of_clips(result.clips, alone=True),
        }
        for result in evaluated
    }
    clips = [clip for result in evaluated for clip in result.clips]
    views = [(result.name, view) for result in evaluated for view in result.views]
    return _rounded(
        {
            "version": __version__,
            "settings": config.to_json(),
            "models": list(models),
            "constant_guess": {"fov": CONSTANT_FOV, "ratio": CONSTANT_RATIO},
            "points_per_view": NUM_POINTS,
            "resamples": RESAMPLES,
            "data": sets,
            "overall": {**_aggregates(rows, views, config.seed), **_of_clips(clips, alone=False)},
        }
    )


def _aggregates(
    rows: Sequence[str], views: Sequence[tuple[str, Measured]], seed: int
) -> dict[str, Any]:
    scenes = [
        f"{name}/scene {view.scene}" if view.scene else f"{name}/map {view.map_number}"
        for name, view in views
    ]
    resamples = Resamples(scenes, seed)
    tables = np.stack([view.table for _, view in views])
    best = tables[:, list(rows).index(BEST), _COLUMN["point_error"]]
    aggregates = {}
    for number, row in enumerate(rows):
        column = {name: tables[:, number, place] for name, place in _COLUMN.items()}
        aggregates[row] = {
            "errors": {name: spread(column[name], resamples)._asdict() for name in ERRORS},
            "focal_coverage": share_of(column["focal_held"]),
            "shift_coverage": share_of(column["shift_held"]),
            "unsolved": int((column["solved"] == 0).sum()),
            "worse_than_best_constants": float((column["point_error"] > best).mean()),
        }
    return {"views": len(views), "scenes": resamples.num_scenes, "rows": aggregates}


def _of_clips(clips: Sequence[Pooled], alone: bool) -> dict[str, Any]:
    """`clips` of a report, with each of them where a set is alone; nothing where there is none."""
    if not clips:
        return {}
    errors = [clip.fov_error for clip in clips]
    part: dict[str, Any] = {
        "views": len(clips),
        "fov_error_deg": {"mean": float(np.mean(errors)), "median": float(np.median(errors))},
        "focal_coverage": float(np.mean([clip.held for clip in clips])),
    }
    if alone:
        part["each"] = [
            {
                "scene": clip.scene,
                "view": clip.view_number,
                "crop_share": clip.share,
                "maps": clip.maps,
                "true_focal_px": clip.true_focal,
                "focal_px": clip.focal,
                "focal_interval_px": clip.interval,
                "true_fov_deg": clip.fov_of(clip.true_focal),
                "fov_deg": clip.fov_of(clip.focal),
                "fov_interval_deg": [clip.fov_of(end) for end in reversed(clip.interval)],
                "fov_error_deg": clip.fov_error,
                "held": clip.held,
            }
            for clip in clips
        ]
    return {"clips": part}


def _rounded(value: Any) -> Any:
    """The same with fewer digits."""
    if isinstance(value, dict):
        return {key: _rounded(value) for key, value in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(value) for value in value]
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value


def as_json(report: dict[str, Any]) -> bytes:
    """The file's contents."""
    return (json.dumps(report, indent=2, allow_nan=False) + "\n").encode()


def as_csv(rows: Sequence[str], evaluated: Sequence[EvaluatedSet]) -> bytes:
    """A line for each view and row; empty where there is no value."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(
        ("data", "map", "scene", "view", "crop_share", "true_focal_px", "true_fov_deg",
         "true_ratio", "row", *COLUMNS)
    )  # fmt: skip
    for result in evaluated:
        for view in result.views:
            truth = view.truth
            numbers = (view.share, truth.focal, truth.fov, truth.ratio)
            head = (result.name, view.name, view.scene, view.view_number, *map(_short, numbers))
            for row, values in zip(rows, view.table, strict=True):
                writer.writerow((*head, row, *map(_short, values)))
    return file.getvalue().encode()


def _short(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.{_DIGITS}g}"


def curves(
    rows: Sequence[str], evaluated: Sequence[EvaluatedSet]
) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """The data of `plots.render_error_curves`."""
    shown = [_COLUMN["fov_error_deg"], _COLUMN["point_error"]]
    return {
        result.name: {
            row: [
                (view.table[number, shown[0]], view.table[number, shown[1]])
                for view in result.views
            ]
            for number, row in enumerate(rows)
        }
        for result in evaluated
    }


_HEADS = (
    ("field of view, degrees", 24), ("focal", 7), ("shift", 7), ("ratio", 7), ("points", 8),
    ("< 25 %", 8), ("worse", 7), ("held, %", 13), ("unsolved", 10),
)  # fmt: skip
_UNITS = (
    ("mean / median / 90 %", 24), ("%", 7), ("%", 7), ("", 7), ("%", 8), ("%", 8), ("%", 7),
    ("focal/shift", 13), ("", 10),
)  # fmt: skip


_CLIP = "{:>4}{:>7}{:>8}{:>8}{:>17}{:>8}{:>6}"
_MOST_CLIPS = 40
"""Lines of a table of clips; chosen, a screen."""


def as_table(report: dict[str, Any]) -> str:
    """A table for each data set, and one of all where there are several."""
    parts = [*report["data"].items()]
    if len(parts) > 1:
        parts.append(("all", report["overall"]))
    tables = []
    for name, part in parts:
        tables.append(_table(name, part))
        if "clips" in part:
            tables.append(_table_of_clips(name, part["clips"]))
    return "\n\n".join(tables)


def _table(name: str, part: dict[str, Any]) -> str:
    title = f"{name}: {part['views']} views, {part['scenes']} scenes"
    if "best_constants" in part:
        best = part["best_constants"]
        title += f"; best constants {best['fov']:.1f} degrees, near/far {best['ratio']:.3f}"
    lines = [title]
    for first, cells in (("mean errors", _HEADS), ("", _UNITS)):
        lines.append(f"{first:30}" + "".join(f"{text:>{width}}" for text, width in cells))
    for row, aggregates in part["rows"].items():
        errors = aggregates["errors"]
        fov = errors["fov_error_deg"]
        held = [aggregates["focal_coverage"], aggregates["shift_coverage"]]
        texts = (
            f"{fov['mean']:.1f} / {fov['median']:.1f} / {fov['p90']:.1f}",
            f"{100 * errors['focal_error']['mean']:.1f}",
            f"{100 * errors['shift_error']['mean']:.1f}",
            f"{errors['ratio_error']['mean']:.3f}",
            f"{100 * errors['point_error']['mean']:.1f}",
            f"{100 * errors['points_within']['mean']:.1f}",
            f"{100 * aggregates['worse_than_best_constants']:.0f}",
            "" if held == [None, None] else "/".join(_percent(share) for share in held),
            str(aggregates["unsolved"] or ""),
        )
        cells = zip(texts, _HEADS, strict=True)
        lines.append(f"{row:30}" + "".join(f"{text:>{width}}" for text, (_, width) in cells))
    return "\n".join(line.rstrip() for line in lines)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f}"


def _table_of_clips(name: str, part: dict[str, Any]) -> str:
    clips = part.get("each", [])
    lines = [
        f"{name}, clips: {part['views']} fields of view from at least {LEAST_MAPS} maps of one "
        "camera each, pooled"
    ]
    if clips:
        scenes = [printable(clip["scene"]) for clip in clips]
        width = 2 + max(len("horizontal, degrees"), *map(len, scenes))
        heads = ("view", "maps", "truth", "pooled", "90 % interval", "error", "held")
        lines.append(f"{'horizontal, degrees':{width}}" + _CLIP.format(*heads))
        for scene, clip in zip(scenes[:_MOST_CLIPS], clips, strict=False):
            low, high = clip["fov_interval_deg"]
            cells = _CLIP.format(
                clip["view"],
                clip["maps"],
                f"{clip['true_fov_deg']:.1f}",
                f"{clip['fov_deg']:.1f}",
                f"{low:.1f} to {high:.1f}",
                f"{clip['fov_error_deg']:.1f}",
                "yes" if clip["held"] else "no",
            )
            lines.append(f"{scene:{width}}{cells}")
        if len(clips) > _MOST_CLIPS:
            lines.append(f"and {len(clips) - _MOST_CLIPS} more in the JSON")
    errors = part["fov_error_deg"]
    lines.append(
        f"error, mean / median: {errors['mean']:.1f} / {errors['median']:.1f} degrees; "
        f"{_percent(part['focal_coverage'])} % held"
    )
    return "\n".join(lines)
