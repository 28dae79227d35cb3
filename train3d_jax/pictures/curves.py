"""Plots of errors: over a training, of predictions, and over the views of an evaluation."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from train3d_jax.pictures.figures import encoded, pixels

_UNITS = {"shift": "near/far ratio", "focal": "log(focal / f0)", "scale": "log(metres / unit)"}
"""Quantities of `targets.RANGES`, as labels of axes."""


def render_predictions(target: str, true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Draws predictions over the truth, as points about the diagonal; pixels (H, W, 3), uint8."""
    figure = Figure(figsize=(4, 4), layout="constrained")
    axes = figure.add_subplot()
    ends = [min(true.min(), predicted.min()), max(true.max(), predicted.max())]
    axes.plot(ends, ends, color="0.7", linewidth=1)
    axes.scatter(true, predicted, s=4, linewidths=0, alpha=0.6)
    axes.set_xlabel(f"true {_UNITS[target]}")
    axes.set_ylabel("predicted")
    axes.set_aspect("equal")
    return pixels(encoded(figure))


_CURVES = {
    "loss": ("loss", 1.0),
    "fov_error_deg": ("error of the field of view, degrees", 1.0),
    "focal_error": ("error of the focal length, %", 100.0),
    "shift_error": ("error of the shift, % of the far depth", 100.0),
    "scale_error": ("error of the scale, %", 100.0),
}
"""Columns of metrics that are drawn: title, and factor to the unit of the title."""


def render_curves(rows: list[dict[str, Any]]) -> bytes:
    """Draws losses and errors over the steps of a run, and the medians of validations.

    Args:
      rows: metrics.jsonl, each with `step` and `split`.

    Returns:
      A PNG.
    """
    shown = [name for name in _CURVES if any(name in row for row in rows)]
    figure = Figure(figsize=(4.5 * len(shown), 3.6), layout="constrained")
    for place, name in enumerate(shown, start=1):
        title, factor = _CURVES[name]
        axes = figure.add_subplot(1, len(shown), place)
        for column, split, label, style in (
            (name, "train", "training", "-"),
            (name, "validation", "validation, mean", "o-"),
            (f"median_{name}", "validation", "validation, median", "o--"),
        ):
            pairs = [(r["step"], factor * r[column]) for r in rows if _has(r, split, column)]
            if pairs:
                axes.plot(*zip(*pairs, strict=True), style, label=label, markersize=3)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("step", fontsize=9)
        axes.tick_params(labelsize=8)
        if min(line.get_ydata().min() for line in axes.lines) > 0:  # pyright: ignore
            axes.set_yscale("log")
            for formatted in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
                formatted("{x:g}")
        axes.legend(fontsize=8)
    return encoded(figure)


_ERROR_PANELS = (
    ("error of the field of view, degrees", 1.0, (0.1, 100.0)),
    ("error of the points, %", 100.0, (0.1, 100.0)),
)
"""Title, factor to its unit, and range of the two panels of `render_error_curves`."""


def render_error_curves(errors: dict[str, dict[str, list[tuple[float, float]]]]) -> bytes:
    """Draws the cumulative distributions of errors over views, one curve a row of an evaluation.

    Args:
      errors: by data set (a column of panels) and row, the errors of every view: of the field of
        view in degrees, and of the points.

    Returns:
      A PNG.
    """
    figure = Figure(figsize=(4.5 * len(errors) + 2.5, 7), layout="constrained")
    grid = figure.subplots(len(_ERROR_PANELS), len(errors), squeeze=False, sharey=True)
    for column, (name, rows) in enumerate(errors.items()):
        for panel, (title, factor, ends) in enumerate(_ERROR_PANELS):
            axes = grid[panel, column]
            for number, (row, values) in enumerate(rows.items()):
                ordered = np.sort([factor * pair[panel] for pair in values])
                share = np.arange(1, len(ordered) + 1) / len(ordered)
                style = ("-", "--", ":")[number // 3 % 3]
                axes.step(np.maximum(ordered, ends[0]), share, style, where="post", label=row)
            axes.set_xscale("log")
            axes.set_xlim(*ends)
            axes.set_ylim(0, 1)
            axes.xaxis.set_major_formatter("{x:g}")
            axes.set_xlabel(title, fontsize=9)
            axes.grid(alpha=0.3)
            axes.tick_params(labelsize=8)
        grid[0, column].set_title(name, fontsize=10)
    for axes in grid[:, 0]:
        axes.set_ylabel("share of the views", fontsize=9)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize=8)
    return encoded(figure)


def _has(row: dict[str, Any], split: str, column: str) -> bool:
    return row["split"] == split and column in row
