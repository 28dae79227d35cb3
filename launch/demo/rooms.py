"""The test maps of the demo: unseen rooms with their truth, and the errors of their estimates."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
from PIL import Image

from data.rooms.views import random_views
from train3d_jax.geometry import affine, camera, metrics
from train3d_jax.inference.recovery import make_blocks
from train3d_jax.pictures.cloud_plots import draw_clouds

VIEWS_PER_ROOM = 2
"""Chosen."""

FIRST_TEST_SEED = 1_000_000
"""Of the test rooms; chosen above the seeds of all training rooms."""

SCALES = (0.1, 10.0)
SHIFTS = (-0.25, 0.8)
"""Ranges of a test map, scale * (depth / its 98 % quantile + shift): shifts as in LeReS, section
3.2; scales chosen, as they have no effect."""


BEFORE = "before: 60 degrees, shift as it comes in"
AFTER = "after: both recovered"
"""Rows of the table whose clouds are drawn."""


@dataclass(frozen=True)
class TestMap:
    """A distorted depth map and its truth.

    Attributes:
      name: of its file, without the suffix.
      values: the true depth, scaled and shifted, shape (H, W); 0 where missing.
      depth: the true depth in metres, shape (H, W); 0 where missing.
      focal: true mean focal length in pixels.
    """

    name: str
    values: np.ndarray
    depth: np.ndarray
    focal: float


@dataclass(frozen=True)
class Comparison:
    """Errors of one map and its clouds.

    Attributes:
      errors: for each row of the table the relative error of the focal length, the error of the
        vertical field of view in degrees, of the shift, and of the points.
      clouds: points by their label, each (N, 3).
    """

    errors: dict[str, list[float]]
    clouds: dict[str, np.ndarray]


def write_test_maps(folder: Path, rgb: Path, num_rooms: int, seed: int) -> list[TestMap]:
    """Renders rooms; writes their maps as .npy, scaled and shifted at random, and pictures.

    Args:
      folder: of the maps.
      rgb: folder of their pictures, .png of the same names.
      num_rooms: how many rooms.
      seed: of rooms and distortions.
    """
    folder.mkdir(parents=True)
    rgb.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    maps = []
    for room in range(num_rooms):
        views = random_views(FIRST_TEST_SEED + 1000 * seed + room, VIEWS_PER_ROOM, pictures=True)
        for number, view in enumerate(views):
            present = view.depth > 0
            normalised = view.depth / np.quantile(view.depth[present], affine.FAR_QUANTILE)
            scale = math.exp(rng.uniform(*np.log(SCALES)))
            # A depth that comes out as exactly 0 would read as missing.
            values = np.where(present, scale * (normalised + rng.uniform(*SHIFTS)), 0)
            name = f"room{room:03d}_{number}"
            np.save(folder / f"{name}.npy", values.astype(np.float32))
            Image.fromarray(np.asarray(view.picture)).save(rgb / f"{name}.png")
            focal = float((view.intrinsics[0, 0] + view.intrinsics[1, 1]) / 2)
            maps.append(TestMap(name, values.astype(np.float32), view.depth, focal))
    return maps


def compare(test: TestMap, recovered: Path, without_lines: Path) -> Comparison:
    """Reads the answers of `launch.infer` for a map; their errors, and those of simpler estimates.

    Args:
      test: the map.
      recovered: folder of the answers with the evidence of the picture's lines.
      without_lines: the same without it.
    """
    answer, of_depth = (
        json.loads((folder / f"{test.name}.json").read_text())
        for folder in (recovered, without_lines)
    )
    blocks = make_blocks([test.values, test.depth])
    canonical = affine.canonicalise(blocks.values, blocks.mask)
    scale, offset = float(canonical.scale[0]), float(canonical.offset[0])
    true_shift = -float(canonical.offset[1])
    height, width = test.depth.shape
    present = test.depth > 0
    first_guess = float(camera.initial_focal(height))

    def cloud(values: np.ndarray, focal: float) -> np.ndarray:
        intrinsics = camera.centred_intrinsics(focal, height, width)
        return np.asarray(camera.unproject(values, intrinsics)).reshape(-1, 3)

    truth = cloud(test.depth, test.focal)

    def measured(focal: float, shift: float) -> tuple[list[float], np.ndarray]:
        points = cloud(scale * test.values + offset + shift, focal)
        errors = (
            metrics.focal_error(focal, test.focal),
            metrics.fov_error(focal, test.focal, height),
            metrics.shift_error(shift, true_shift),
            _point_error(points, truth, present.ravel()),
        )
        return [float(error) for error in errors], points

    rows = {
        BEFORE: (first_guess, 0.0),
        "fixed 60 degrees, recovered shift": (first_guess, answer["shift"]),
        "both recovered, without lines": (of_depth["focal_px"], of_depth["shift"]),
        AFTER: (answer["focal_px"], answer["shift"]),
    }
    results = {name: measured(*values) for name, values in rows.items()}
    errors = {name: error for name, (error, _) in results.items()}
    clouds = {"distorted": results[BEFORE][1], "corrected": results[AFTER][1], "true": truth}
    return Comparison(errors, {name: points[present.ravel()] for name, points in clouds.items()})


_point_error = jax.jit(metrics.point_error)


def table(comparisons: list[Comparison]) -> str:
    """Mean and median of every error, one row for each correction."""
    heads = ("focal length", "field of view", "shift", "points")
    lines = [
        f"{'error, mean / median':42}" + "".join(f"{head:>18}" for head in heads),
        f"{'':42}" + "".join(f"{unit:>18}" for unit in ("%", "degrees", "% of far", "%")),
    ]
    for row in comparisons[0].errors:
        errors = np.array([comparison.errors[row] for comparison in comparisons])
        errors = errors * (100, 1, 100, 100)
        cells = zip(errors.mean(0), np.median(errors, 0), strict=True)
        lines.append(f"{row:42}" + "".join(f"{f'{m:.1f} / {d:.1f}':>18}" for m, d in cells))
    return "\n".join(lines)


def draw_pictures(
    folder: Path, maps: list[TestMap], comparisons: list[Comparison], count: int
) -> None:
    """Draws some maps, chosen from the best recovered to the worst by their point error."""
    by_error = np.argsort([comparison.errors[AFTER][3] for comparison in comparisons])
    chosen = by_error[np.linspace(0, len(by_error) - 1, count).round().astype(int)]
    for place, index in enumerate(chosen, start=1):
        comparison = comparisons[index]
        errors = [f"{100 * comparison.errors[row][3]:.1f} %" for row in (BEFORE, AFTER)]
        draw_clouds(
            folder / f"{place:02d}_{maps[index].name}.png",
            np.where(maps[index].depth > 0, maps[index].values, 0),
            comparison.clouds,
            f"{maps[index].name}: point error {errors[0]} before, {errors[1]} after",
        )
