"""Plots of clouds from above and from the side."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from train3d_jax.files import write_whole
from train3d_jax.pictures.figures import encoded

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
    """Draws clouds from above (x, z) and from the side (z, y), and their depth map.

    Every cloud is scaled so that the median of its distances is 1, and all are drawn over the same
    range, so that shapes can be compared where scales mean nothing.

    Args:
      clouds: points, each (N, 3), in camera axes, by name.
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
    return encoded(figure, file_format)


def _draw_depth(figure: Figure, axes: Axes, depth: np.ndarray) -> None:
    shown = axes.imshow(np.where(depth != 0, depth, np.nan), cmap="viridis")
    axes.set_title("input depth map", fontsize=9)
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
