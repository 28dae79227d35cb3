"""Pictures of the views with the largest errors."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data.user_maps.true_maps import TrueMaps
from launch.evaluation.config import WORST, EvaluationConfig
from launch.evaluation.methods import COLUMNS, Methods
from launch.evaluation.run import EvaluatedSet, view_of
from launch.recovery.folder import printable
from train3d_jax.evaluation import views
from train3d_jax.geometry import affine, camera, depth_maps
from train3d_jax.pictures.shapes import Shape
from train3d_jax.pictures.sheets import draw_sheet


def draw_worst(
    config: EvaluationConfig,
    sets: Sequence[TrueMaps],
    evaluated: Sequence[EvaluatedSet],
    methods: Methods,
) -> list[Path]:
    """Draws the views with the largest point errors: as given, and as estimated."""
    point_error = COLUMNS.index("point_error")
    measured_views = [
        (maps, result.name, view)
        for maps, result in zip(sets, evaluated, strict=True)
        for view in result.views
    ]
    measured_views.sort(key=lambda each: -each[2].table[methods.pictured, point_error])
    drawn = []
    for place, (maps, name, measured) in enumerate(measured_views[: config.worst], start=1):
        view = view_of(config, maps[measured.map_number], measured.map_number, measured.view_number)
        row = dict(zip(COLUMNS, measured.table[methods.pictured], strict=True))
        height, width = view.values.shape
        label = f"{measured.name.replace('/', '_')}_{measured.view_number}"
        path = config.out / WORST / f"{place:02d}_{printable(name).replace('/', '_')}_{label}.png"
        before, after = (
            _shape(view.values, focal, shift, config)
            for focal, shift in (
                (float(camera.initial_focal(height)), 0.0),
                (row["focal_px"], row["shift"]),
            )
        )
        true_fov = camera.focal_to_degrees(measured.truth.focal, width)
        draw_sheet(
            path,
            view.values,
            before,
            after,
            f"{label}, {methods.rows[methods.pictured]}: points {100 * row['point_error']:.1f} %, "
            f"field of view {row['fov_error_deg']:.1f} degrees, shift "
            f"{100 * row['shift_error']:.1f} %; true focal length {measured.truth.focal:.0f} px "
            f"({true_fov:.1f} degrees wide)",
        )
        drawn.append(path)
    return drawn


def _shape(values: np.ndarray, focal: float, shift: float, config: EvaluationConfig) -> Shape:
    canonical = views.canonical_form(values) or (1.0, 0.0)
    straight = depth_maps.recovered_depth(
        values, *affine.coefficients(*canonical, shift, config.space), config.space
    )
    height, width = values.shape
    return Shape(straight, camera.centred_intrinsics(focal, height, width))
