"""Histograms of a prepared set, to check at a glance that units and angles are right."""

import io
from array import array
from collections import defaultdict
from pathlib import Path

import numpy as np

from data.prepared import manifest
from train3d_jax.files import write_whole
from train3d_jax.geometry.camera import focal_to_degrees

PICTURE = "distributions.png"

_BINS = 40
_INCHES = (15.0, 3.6)  # width and height; chosen, as the numbers beside it
_DOTS_PER_INCH = 110


def draw(folder: Path) -> None:
    """Writes distributions.png: focal length, field of view, scale and valid share by dataset."""
    from matplotlib.figure import Figure  # heavy, and not needed by the workers

    quantities = (
        "focal length (px)",
        "vertical field of view (degrees)",
        "maximum depth (m)",
        "valid share of the pixels",
    )
    values: dict[str, array] = defaultdict(lambda: array("d"))  # millions of rows fit
    for row in manifest.rows(folder):
        field_of_view = focal_to_degrees(row["focal"], row["size"][0])
        values[row["dataset"]].extend((row["focal"], field_of_view, row["scale"], row["valid"]))
    figure = Figure(figsize=_INCHES, layout="constrained")
    for column, (axes, quantity) in enumerate(
        zip(figure.subplots(1, len(quantities)), quantities, strict=True)
    ):
        columns = {
            name: np.array(flat).reshape(-1, len(quantities))[:, column]
            for name, flat in values.items()
        }
        edges = np.histogram_bin_edges(np.concatenate(list(columns.values())), _BINS)
        for name, column_values in columns.items():
            label = f"{name} ({len(column_values)})"
            axes.hist(column_values, edges, histtype="stepfilled", alpha=0.5, label=label)
        axes.set_xlabel(quantity)
        axes.set_ylabel("maps")
        axes.locator_params(axis="y", integer=True)
    figure.axes[0].legend()
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=_DOTS_PER_INCH)
    write_whole(folder / PICTURE, picture.getvalue())
