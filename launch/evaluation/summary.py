"""The results of an evaluation: a report as JSON, and every view as CSV."""

import csv
import io
import itertools
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from launch.evaluation.cases import NUM_POINTS
from launch.evaluation.clips import Pooled
from launch.evaluation.config import EvaluationConfig
from launch.evaluation.methods import (
    BEST,  # fmt: skip
    COLUMNS,
    CONSTANT_FOV,
    CONSTANT_RATIO,
    ERRORS,
    best_method,
    with_lines,
)
from launch.evaluation.pictures import STATES, UNREADABLE
from launch.evaluation.run import EvaluatedSet, Measured
from launch.evaluation.sources import by_source
from train3d_jax import __version__
from train3d_jax.evaluation.bootstrap import RESAMPLES, Resamples, share_of, spread
from train3d_jax.evaluation.ranking import (
    AUC_FLOOR_DEG,
    AUC_THRESHOLDS_DEG,
    flagged,
    recall_auc,
)
from train3d_jax.inference.estimates import FOCAL_UNCERTAIN, UNCERTAIN_FACTOR

_COLUMN = {name: number for number, name in enumerate(COLUMNS)}

ANGLES = ("fov_error_deg", "fov_y_error_deg")
"""Errors whose recall is reported: of the horizontal and of the vertical field of view."""

MUCH_WORSE_DEG = 2.0
"""Error of the field of view that lines add to a view, above which it is counted.  Chosen."""

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
            **_aggregates(rows, _views([result]), config.seed),
            **_of_sources(rows, result.views),
            **_of_clips(result.clips, alone=True),
            **_of_lines(rows, _views([result]), result.clips, config.seed, alone=True),
        }
        for result in evaluated
    }
    clips = [clip for result in evaluated for clip in result.clips]
    views = _views(evaluated)
    return _rounded(
        {
            "version": __version__,
            "settings": config.to_json(),
            "models": list(models),
            "constant_guess": {"fov": CONSTANT_FOV, "ratio": CONSTANT_RATIO},
            "points_per_view": NUM_POINTS,
            "resamples": RESAMPLES,
            "uncertain_factor": UNCERTAIN_FACTOR,
            "data": sets,
            "overall": {
                **_aggregates(rows, views, config.seed),
                **_of_clips(clips, alone=False),
                **_of_lines(rows, views, clips, config.seed, alone=False),
            },
        }
    )


_Views = Sequence[tuple[str, Measured]]
"""Views, each behind the name of its set."""


def _views(evaluated: Sequence[EvaluatedSet]) -> _Views:
    return [(result.name, view) for result in evaluated for view in result.views]


def _resamples(views: _Views, seed: int) -> Resamples:
    scenes = [
        f"{name}/scene {view.scene}" if view.scene else f"{name}/map {view.map_number}"
        for name, view in views
    ]
    return Resamples(scenes, seed)


def _aggregates(rows: Sequence[str], views: _Views, seed: int) -> dict[str, Any]:
    resamples = _resamples(views, seed)
    tables = np.stack([view.table for _, view in views])
    best = tables[:, list(rows).index(BEST), _COLUMN["point_error"]]
    aggregates = {}
    for number, row in enumerate(rows):
        column = {name: tables[:, number, place] for name, place in _COLUMN.items()}
        aggregates[row] = {
            "errors": {name: spread(column[name], resamples)._asdict() for name in ERRORS},
            "auc_percent": {name: _auc(column[name]) for name in ANGLES},
            "focal_coverage": share_of(column["focal_held"]),
            "shift_coverage": share_of(column["shift_held"]),
            FOCAL_UNCERTAIN: _flagged(column),
            "unsolved": int((column["solved"] == 0).sum()),
            "worse_than_best_constants": float((column["point_error"] > best).mean()),
        }
    return {"views": len(views), "scenes": resamples.num_scenes, "rows": aggregates}


def _auc(errors: np.ndarray) -> dict[str, float]:
    """GeoCalib's area under the recall curve, per cent, by threshold in degrees."""
    areas = recall_auc(errors, AUC_THRESHOLDS_DEG, AUC_FLOOR_DEG)
    return {f"{degrees:g}": area for degrees, area in zip(AUC_THRESHOLDS_DEG, areas, strict=True)}


def _flagged(column: dict[str, np.ndarray]) -> dict[str, Any] | None:
    """Shares of the views with an interval whose focal length is uncertain; None without any."""
    has_interval = ~np.isnan(column["focal_interval_factor"])
    if not has_interval.any():
        return None
    raised = column["focal_interval_factor"][has_interval] > UNCERTAIN_FACTOR
    return flagged(column["fov_error_deg"][has_interval], raised)._asdict()


def _of_sources(rows: Sequence[str], views: Sequence[Measured]) -> dict[str, Any]:
    """`sources` of a report: the best method by source; nothing where no map has one."""
    if not any(view.source for view in views):
        return {}
    best = best_method(rows)
    place = list(rows).index(best)
    return {"sources": {best: by_source(views, [view.table[place] for view in views])}}


def _of_lines(
    rows: Sequence[str], views: _Views, clips: Sequence[Pooled], seed: int, alone: bool
) -> dict[str, Any]:
    """`lines` of a report: methods without and with them, on the views whose picture counts.

    Nothing where no map has a picture.
    """
    states = Counter(view.picture for _, view in views if view.picture)
    if not states:
        return {}
    counted = [(name, view) for name, view in views if view.with_lines]
    unread = {(name, view.map_number) for name, view in views if view.picture == UNREADABLE}
    part: dict[str, Any] = {
        "views": len(counted),
        "maps": len({(name, view.map_number) for name, view in counted}),
        "scenes": 0,
        "views_left_out": {state: states[state] for state in STATES[1:] if states[state]},
        "unreadable_pictures": len(unread),
        "rows": {},
        "differences": {},
    }
    if counted:
        methods = [*counted[0][1].with_lines]
        joined = [
            (name, view._replace(table=np.stack([*view.table, *view.with_lines.values()])))
            for name, view in counted
        ]
        names = [*rows, *(with_lines(method) for method in methods)]
        found = _aggregates(names, joined, seed)
        shown = [name for method in methods for name in (method, with_lines(method))]
        part["scenes"] = found["scenes"]
        part["rows"] = {name: found["rows"][name] for name in shown}
        resamples = _resamples(counted, seed)
        for method in methods:
            without = np.stack([view.table[list(rows).index(method)] for _, view in counted])
            given = np.stack([view.with_lines[method] for _, view in counted])
            part["differences"][method] = _difference(given - without, resamples)
        part |= _of_sources_with_lines(rows, [view for _, view in counted], alone)
    return {"lines": part | _of_clips(clips, alone, lines=True)}


def _of_sources_with_lines(
    rows: Sequence[str], counted: Sequence[Measured], alone: bool
) -> dict[str, Any]:
    """`sources` of the views whose picture counts, with the best method without and with lines."""
    part = _of_sources(rows, counted) if alone else {}
    if part:
        best = best_method(rows)
        given = [view.with_lines[best] for view in counted]
        part["sources"][with_lines(best)] = by_source(counted, given)
    return part


def _difference(change: np.ndarray, resamples: Resamples) -> dict[str, Any]:
    """Of errors with lines minus those without, paired by view: (views, COLUMNS)."""
    part: dict[str, Any] = {}
    for name in ("fov_error_deg", "point_error"):
        found = spread(change[:, _COLUMN[name]], resamples)
        part[name] = {"mean": found.mean, "mean_interval": found.mean_interval}
    part["worse"] = float((change[:, _COLUMN["fov_error_deg"]] > MUCH_WORSE_DEG).mean())
    return part


def _of_clips(clips: Sequence[Pooled], alone: bool, lines: bool = False) -> dict[str, Any]:
    """`clips` of a report, with each of them where a set is alone; nothing where there is none.

    Args:
      clips: each without lines, and then with them where a picture counts.
      alone: of one set.
      lines: those with lines.
    """
    before = [one for one, other in itertools.pairwise(clips) if other.pictures]
    clips = [clip for clip in clips if (clip.pictures > 0) == lines]
    if not clips:
        return {}
    errors = [clip.fov_error for clip in clips]
    part: dict[str, Any] = {
        "views": len(clips),
        "fov_error_deg": {"mean": float(np.mean(errors)), "median": float(np.median(errors))},
        "focal_coverage": float(np.mean([clip.held for clip in clips])),
    }
    if lines:
        errors = [clip.fov_error for clip in before]
        part["without_lines"] = {"mean": float(np.mean(errors)), "median": float(np.median(errors))}
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
            | ({"pictures": clip.pictures} if lines else {})
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
        ("data", "map", "scene", "source", "view", "crop_share", "true_focal_px", "true_fov_deg",
         "true_ratio", "row", *COLUMNS)
    )  # fmt: skip
    for result in evaluated:
        for view in result.views:
            truth = view.truth
            numbers = (view.share, truth.focal, truth.fov, truth.ratio)
            named = (result.name, view.name, view.scene, view.source, view.view_number)
            head = (*named, *map(_short, numbers))
            further = [(with_lines(method), row) for method, row in view.with_lines.items()]
            for row, values in (*zip(rows, view.table, strict=True), *further):
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
