"""The report of an evaluation as tables in text."""

from typing import Any

from launch.evaluation.clips import LEAST_MAPS
from launch.evaluation.methods import LINES, with_lines
from launch.evaluation.summary import ANGLES, MUCH_WORSE_DEG
from launch.recovery.folder import printable
from train3d_jax.evaluation.ranking import AUC_THRESHOLDS_DEG
from train3d_jax.inference.estimates import FOCAL_UNCERTAIN

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

_FLAGGED = ("worst_tenth", "better_half")
_ANGLES = "{:>20}{:>16}{:>17}{:>16}"

_SOURCE = "{:>5}{:>7}{:>15}{:>9}{:>8}{:>13}"
_MOST_SOURCES = 40
"""Sources in a table; chosen, a screen."""


def as_table(report: dict[str, Any]) -> str:
    """A table for each data set, and one of all where there are several."""
    parts = [*report["data"].items()]
    if len(parts) > 1:
        parts.append(("all", report["overall"]))
    tables = []
    for name, part in parts:
        title = f"{name}: {part['views']} views, {part['scenes']} scenes"
        if "best_constants" in part:
            best = part["best_constants"]
            title += f"; best constants {best['fov']:.1f} degrees, near/far {best['ratio']:.3f}"
        tables.append(_table(title, part["rows"]))
        tables.append(_table_of_angles(name, part["rows"]))
        if "sources" in part:
            tables.append(_table_of_sources(name, part["sources"]))
        if "clips" in part:
            tables.append(_table_of_clips(f"{name}, clips", part["clips"]))
        if "lines" in part:
            tables.append(_table_of_lines(name, part["lines"]))
            if part["lines"]["rows"]:
                tables.append(_table_of_angles(f"{name}, {LINES}", part["lines"]["rows"]))
            if "sources" in part["lines"]:
                tables.append(_table_of_sources(f"{name}, {LINES}", part["lines"]["sources"]))
            if "clips" in part["lines"]:
                tables.append(_table_of_clips(f"{name}, clips, {LINES}", part["lines"]["clips"]))
    return "\n\n".join(tables)


def _table(title: str, rows: dict[str, Any]) -> str:
    lines = [title]
    for first, cells in (("mean errors", _HEADS), ("", _UNITS)):
        lines.append(f"{first:30}" + "".join(f"{text:>{width}}" for text, width in cells))
    for row, aggregates in rows.items():
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


def _table_of_angles(name: str, rows: dict[str, Any]) -> str:
    at = "/".join(f"{degrees:g}" for degrees in AUC_THRESHOLDS_DEG)
    heads = ("horizontal, %", "vertical, %", "rays, degrees", "flagged, %")
    lines = [
        f"{name}: AUC of the field of view, angle of viewing rays, and {FOCAL_UNCERTAIN}",
        f"{'':30}" + _ANGLES.format(*heads),
        f"{'':30}" + _ANGLES.format(at, at, "mean / median", "worst/better"),
    ]
    for row, aggregates in rows.items():
        rays, flags = aggregates["errors"]["ray_error_deg"], aggregates[FOCAL_UNCERTAIN]
        cells = _ANGLES.format(
            *(
                "/".join(f"{area:.0f}" for area in aggregates["auc_percent"][name].values())
                for name in ANGLES
            ),
            f"{rays['mean']:.1f} / {rays['median']:.1f}",
            "/".join(_percent(flags[part]) for part in _FLAGGED) if flags else "",
        )
        lines.append(f"{row:30}{cells}")
    return "\n".join(line.rstrip() for line in lines)


def _table_of_sources(name: str, by_row: dict[str, dict[str, Any]]) -> str:
    """A line for each source; two where the best method is given with lines, too."""
    first, *further = by_row
    sources = [*by_row[first]]
    width = 2 + max(len("mean errors"), *(len(printable(source)) for source in sources))
    lines = [
        f"{name}, {first} by source" + "".join(f"; below it {row}" for row in further),
        f"{'mean errors':{width}}"
        + _SOURCE.format("maps", "views", "field of view", "signed", "points", "held, %"),
        f"{'':{width}}" + _SOURCE.format("", "", "mean / median", "degrees", "%", "focal/shift"),
    ]
    for source in sources[:_MOST_SOURCES]:
        for row, found in by_row.items():
            part, fov = found[source], found[source]["fov_error_deg"]
            held = (_percent(part[name]) for name in ("focal_coverage", "shift_coverage"))
            cells = _SOURCE.format(
                part["maps"],
                part["views"],
                f"{fov['mean']:.1f} / {fov['median']:.1f}",
                f"{part['signed_fov_error_deg']:+.1f}",
                f"{100 * part['point_error']:.1f}",
                "/".join(held),
            )
            label = printable(source) if row == first else f"  {LINES}"
            lines.append(f"{label:{width}}{cells}")
    if len(sources) > _MOST_SOURCES:
        lines.append(f"and {len(sources) - _MOST_SOURCES} more sources in the JSON")
    return "\n".join(line.rstrip() for line in lines)


def _table_of_lines(name: str, part: dict[str, Any]) -> str:
    title = f"{name}, {LINES}: {part['views']} views of {part['maps']} maps whose picture counts"
    texts = [_table(f"{title}, {part['scenes']} scenes", part["rows"])] if part["rows"] else [title]
    for method, change in part["differences"].items():
        degrees, points = change["fov_error_deg"], change["point_error"]
        texts.append(
            f"{with_lines(method)}: field of view {_change(degrees, 1, 2)} degrees, points "
            f"{_change(points, 100, 1)} %; worse by more than {MUCH_WORSE_DEG:g} degrees in "
            f"{_percent(change['worse'])} % of the views"
        )
    left_out = [f"{count} {state}" for state, count in part["views_left_out"].items()]
    if left_out:
        texts.append(f"views whose picture does not count: {', '.join(left_out)}")
    return "\n".join(texts)


def _change(found: dict[str, Any], factor: float, digits: int) -> str:
    """A mean difference with its 95 % interval."""
    text = f"{factor * found['mean']:+.{digits}f}"
    if found["mean_interval"] is None:
        return text
    low, high = (f"{factor * end:+.{digits}f}" for end in found["mean_interval"])
    return f"{text} ({low} to {high})"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f}"


def _table_of_clips(name: str, part: dict[str, Any]) -> str:
    clips = part.get("each", [])
    lines = [
        f"{name}: {part['views']} fields of view from at least {LEAST_MAPS} maps of one "
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
    if "without_lines" in part:
        errors = part["without_lines"]
        lines.append(f"the same without lines: {errors['mean']:.1f} / {errors['median']:.1f}")
    return "\n".join(lines)
