"""A picture of some depth maps of a prepared set, to be checked by eye.

All numbers are chosen for a sheet that fits a screen.
"""

import io
from pathlib import Path

import numpy as np

from data.prepared import layout, manifest, npz_files, records
from train3d_jax.errors import DataError
from train3d_jax.files import write_whole

PICTURE = "contact_sheet.png"

_MAPS_PER_DATASET = 12
_COLUMNS = 6
_INCHES = (2.4, 2.2)  # of one map and its title
_TITLE_INCHES = 0.4  # of two lines
_GAP = 0.05  # between maps, of their width
_DOTS_PER_INCH = 90
_LARGEST_SIDE = 240  # pixels; the sheet shows no more
_FAR_QUANTILE = 0.98  # of the last colour, so that a few far pixels do not flatten the others


def draw(folder: Path, format: str) -> None:
    """Writes contact_sheet.png: maps spread over each dataset, in colour, titled by their scene."""
    from matplotlib.figure import Figure  # heavy, and not needed by the workers

    chosen = _spread(folder)
    shards = records.Shards(folder) if format == layout.ARRAY_RECORD else None
    lines = -(-len(chosen) // _COLUMNS)
    size = (_INCHES[0] * min(len(chosen), _COLUMNS), _INCHES[1] * lines)
    figure = Figure(figsize=size)
    bare = {"xticks": [], "yticks": []}
    grid = figure.subplots(lines, min(len(chosen), _COLUMNS), squeeze=False, subplot_kw=bare)
    # Not "constrained": measuring what fits takes longer than to draw it all.
    part = _TITLE_INCHES / _INCHES[1]
    figure.subplots_adjust(0, 0, 1, 1 - part / lines, wspace=_GAP, hspace=part / (1 - part))
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, (index, row) in zip(grid.flat, chosen, strict=False):
        try:
            depth, _ = npz_files.load(folder, row["id"]) if shards is None else shards.read(index)
        except DataError as error:
            axes.set_title(f"{row['id']}: {error.reason}", fontsize=6)
            continue
        step = -(-max(depth.shape) // _LARGEST_SIDE)
        depth = depth[::step, ::step]
        seen = depth[depth > 0]
        far = float(np.quantile(seen, _FAR_QUANTILE)) if seen.size else 1.0
        axes.imshow(np.where(depth > 0, depth, np.nan), "turbo", vmin=0, vmax=far)
        axes.set_title(f"{row['dataset']} {row['scene']}\n0 to {far:.3g} m", fontsize=7)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=_DOTS_PER_INCH)
    write_whole(folder / PICTURE, picture.getvalue())


def _spread(folder: Path) -> list[tuple[int, manifest.Row]]:
    """Index and row of samples at even distances in each dataset, grouped by dataset."""
    counts: dict[str, int] = {}
    for row in manifest.rows(folder):
        counts[row["dataset"]] = counts.get(row["dataset"], 0) + 1
    wanted = {
        name: {k * count // _MAPS_PER_DATASET for k in range(_MAPS_PER_DATASET)}
        for name, count in counts.items()
    }
    seen = dict.fromkeys(counts, 0)
    chosen = []
    for index, row in enumerate(manifest.rows(folder)):
        if seen[row["dataset"]] in wanted[row["dataset"]]:
            chosen.append((index, row))
        seen[row["dataset"]] += 1
    return chosen
