"""What the maps of each source come to, in one row of an evaluation."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from launch.evaluation.methods import COLUMNS
from launch.evaluation.run import Measured
from train3d_jax.evaluation.bootstrap import share_of

NO_SOURCE = "no source"
"""Of maps whose row of the manifest names none, where others do."""


def by_source(views: Sequence[Measured], rows: Sequence[np.ndarray]) -> dict[str, dict[str, Any]]:
    """Aggregates of the views of each source, that of most maps first.

    Args:
      views: of one set.
      rows: `COLUMNS` of one method for each of them.

    Returns:
      By source the numbers of its maps and views; mean and median of the error of the horizontal
      field of view, and its mean with its sign, above 0 where views are estimated too wide, in
      degrees; the mean point error; and the shares of intervals that hold the truth.
    """
    sources = np.array([view.source or NO_SOURCE for view in views])
    maps = np.array([view.map_number for view in views])
    true_focal = np.array([view.truth.focal for view in views])
    column = dict(zip(COLUMNS, np.stack(rows).T, strict=True))
    found = {}
    for source in np.unique(sources):
        its = {name: values[sources == source] for name, values in column.items()}
        errors = its["fov_error_deg"]
        too_wide = np.sign(true_focal[sources == source] - its["focal_px"])
        found[str(source)] = {
            "maps": len(np.unique(maps[sources == source])),
            "views": len(errors),
            "fov_error_deg": {"mean": float(errors.mean()), "median": float(np.median(errors))},
            "signed_fov_error_deg": float((too_wide * errors).mean()),
            "point_error": float(its["point_error"].mean()),
            "focal_coverage": share_of(its["focal_held"]),
            "shift_coverage": share_of(its["shift_held"]),
        }
    return dict(sorted(found.items(), key=lambda each: -each[1]["maps"]))
