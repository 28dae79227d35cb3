"""Pictures: clouds from above and from the side, and how a training went.  They need no display."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from train3d_jax.files import write_whole

_MOST_POINTS = 30_000
"""Points drawn of each cloud; more only make the picture slower and darker."""

_COLUMN_INCHES = 3.0

_BORDER = 0.06
"""White space about a cloud, relative to its size."""


def draw_clouds(
    path: Path, depth: np.ndarray, clouds: dict[str, np.ndarray], title: str = ""
) -> None:
    """Draws a depth map and clouds into a file, .png or .svg; see `render_clouds`."""
    write_whole(path, render_clouds(clouds, depth, title, path.suffix[1:]))


def render_clouds(
    clouds: dict[str, np.ndarray],
    depth: np.ndarray | None = None,
    title: str = "",
    file_format: str = "png",
) -> bytes:
    """Draws clouds from above (x, z) and from the side (z, y), and the depth map that they are of.

    Every cloud is scaled so that the median of its distances is 1, and all are drawn over the same
    range, so that shapes can be compared where scales mean nothing.

    Args:
      clouds: points, each (N, 3), camera axes, by what to call them.
      depth: shape (H, W), 0 where missing.
      title: above it all.
      file_format: "png" or "svg".

    Returns:
      The file's contents.
    """
    scaled = {name: points / _typical_distance(points) for name, points in clouds.items()}
    # x, y, z of all clouds together, without the outermost half per cent.
    low, high = np.quantile(np.concatenate(list(scaled.values())), (0.005, 0.995), axis=0)
    border = _BORDER * (high - low).max()
    low, high = low - border, high + border
    width, height, length = high - low
    ratios = [length / width, height / length]
    # Room for titles and ticks on top of what the clouds need at their true proportions.
    inches = min(max(_COLUMN_INCHES * sum(ratios) + 1.8, 5.0), 10.0)
    maps = 0 if depth is None else 1
    columns = maps + len(scaled)
    figure = Figure(figsize=(_COLUMN_INCHES * columns, inches), layout="constrained")
    grid = figure.add_gridspec(2, columns, height_ratios=ratios)
    if depth is not None:
        _draw_depth(figure, figure.add_subplot(grid[:, 0]), depth)
    for column, (name, points) in enumerate(scaled.items(), start=maps):
        x, y, z = points[:: -(-len(points) // _MOST_POINTS)].T
        above, side = (figure.add_subplot(grid[row, column]) for row in (0, 1))
        _scatter(above, x, z, y, (low[0], high[0]), (low[2], high[2]), f"{name}, from above")
        _scatter(side, z, -y, x, (low[2], high[2]), (-high[1], -low[1]), f"{name}, from the side")
    figure.suptitle(title, fontsize=10)
    return _saved(figure, file_format)


_UNITS = {"shift": "near/far ratio", "focal": "log(focal / f0)", "scale": "log(metres / unit)"}
"""What `targets.RANGES` is over, for axes of pictures."""


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
    return pixels(_saved(figure))


_CURVES = {
    "loss": ("loss", 1.0),
    "fov_error_deg": ("error of the field of view, degrees", 1.0),
    "focal_error": ("error of the focal length, %", 100.0),
    "shift_error": ("error of the shift, % of the far depth", 100.0),
    "scale_error": ("error of the scale, %", 100.0),
}
"""What is drawn of a run: a column of metrics, its title, and the factor to the title's unit."""


def render_curves(rows: list[dict[str, Any]]) -> bytes:
    """Draws how losses and errors fell over a run; the medians of validations too.

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
    return _saved(figure)


_ERROR_PANELS = (
    ("error of the field of view, degrees", 1.0, (0.1, 100.0)),
    ("error of the points, %", 100.0, (0.1, 100.0)),
)
"""Title, factor to its unit, and range of the two panels of `render_error_curves`."""


def render_error_curves(errors: dict[str, dict[str, list[tuple[float, float]]]]) -> bytes:
    """Draws which share of the views has no larger error, a curve for every row of an evaluation.

    Args:
      errors: for each data set (a column of panels) and each row the errors of all views: of the
        field of view in degrees, and of the points.

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
    return _saved(figure)


def pixels(png: bytes) -> np.ndarray:
    """A PNG's pixels, (H, W, 3), uint8."""
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def _has(row: dict[str, Any], split: str, column: str) -> bool:
    return row["split"] == split and column in row


def _saved(figure: Figure, file_format: str = "png") -> bytes:
    picture = io.BytesIO()
    figure.savefig(picture, dpi=100, format=file_format)
    return picture.getvalue()


def _draw_depth(figure: Figure, axes: Axes, depth: np.ndarray) -> None:
    shown = axes.imshow(np.where(depth != 0, depth, np.nan), cmap="viridis")
    axes.set_title("depth map that comes in", fontsize=9)
    axes.set_xticks([])
    axes.set_yticks([])
    figure.colorbar(shown, ax=axes, orientation="horizontal", fraction=0.05)


def _scatter(
    axes: Axes,
    right: np.ndarray,
    up: np.ndarray,
    tint: np.ndarray,
    right_range: tuple[float, float],
    up_range: tuple[float, float],
    title: str,
) -> None:
    axes.scatter(right, up, c=tint, s=0.25, cmap="viridis", linewidths=0, rasterized=True)
    axes.set_aspect("equal")
    axes.set_xlim(*right_range)
    axes.set_ylim(*up_range)
    axes.set_title(title, fontsize=9)
    axes.tick_params(labelsize=6)


def _typical_distance(points: np.ndarray) -> float:
    return float(np.median(np.linalg.norm(points, axis=-1))) or 1.0
