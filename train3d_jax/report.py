"""Pictures: clouds from above and from the side, before and after.  matplotlib, no display."""

from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

_MOST_POINTS = 30_000
"""Points drawn of each cloud; more only make the picture slower and darker."""

_BORDER = 0.06
"""White space about a cloud, relative to its size."""


def draw_clouds(
    path: Path, depth: np.ndarray, clouds: dict[str, np.ndarray], title: str = ""
) -> None:
    """Draws a depth map, and clouds from above (x, z) and from the side (z, y).

    The clouds of one map are drawn at the scale that brings the median of their distances to 1, so
    that shapes can be compared where scales mean nothing.

    Args:
      path: the picture, by its suffix .png or .svg.
      depth: shape (H, W), 0 where missing.
      clouds: points, each (N, 3), camera axes, by what to call them.
      title: above it all.
    """
    scaled = {name: points / _typical_distance(points) for name, points in clouds.items()}
    figure = plt.figure(figsize=(3.3 * (1 + len(scaled)), 5.6), layout="constrained")
    grid = figure.add_gridspec(2, 1 + len(scaled))
    _draw_depth(figure, figure.add_subplot(grid[:, 0]), depth)
    for column, (name, points) in enumerate(scaled.items(), start=1):
        step = -(-len(points) // _MOST_POINTS)
        points = points[::step]
        above, side = (figure.add_subplot(grid[row, column]) for row in (0, 1))
        _scatter(above, points[:, 0], points[:, 2], points[:, 1])
        _scatter(side, points[:, 2], -points[:, 1], points[:, 0])
        above.set_title(f"{name}, from above", fontsize=9)
        side.set_title(f"{name}, from the side", fontsize=9)
    figure.suptitle(title, fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw_depth(figure: Figure, axes: Axes, depth: np.ndarray) -> None:
    shown = axes.imshow(np.where(depth > 0, depth, np.nan), cmap="viridis")
    axes.set_title("depth map that comes in", fontsize=9)
    axes.set_xticks([])
    axes.set_yticks([])
    figure.colorbar(shown, ax=axes, orientation="horizontal", fraction=0.05)


def _scatter(axes: Axes, right: np.ndarray, up: np.ndarray, tint: np.ndarray) -> None:
    axes.scatter(right, up, c=tint, s=0.25, cmap="viridis", linewidths=0, rasterized=True)
    axes.set_aspect("equal")
    for low, high, limit in (
        (*np.quantile(right, (0.005, 0.995)), axes.set_xlim),
        (*np.quantile(up, (0.005, 0.995)), axes.set_ylim),
    ):
        border = _BORDER * (high - low) + 1e-6
        limit(low - border, high + border)
    axes.tick_params(labelsize=6)


def _typical_distance(points: np.ndarray) -> float:
    return float(np.median(np.linalg.norm(points, axis=-1))) or 1.0
