"""How often a map's own picture is called not registered, and how often another one is caught.

    python -m benchmarks.registration --data real/depth,real/more

Each map of a manifest.json that has a picture is compared with its own picture, with that picture
moved by 5, 7.5 and 10 % of the diagonal in eight directions (both are cropped to what they share),
and with pictures of other scenes of the same aspect ratio, as depth and as disparity.
"""

import itertools
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from absl import app, flags

from data.user_maps.true_maps import TrueMaps
from train3d_jax.formats.pictures import read_colours
from train3d_jax.geometry.affine import Space
from train3d_jax.lines import registration
from train3d_jax.lines.pictures import other_aspect

_DATA = flags.DEFINE_list("data", None, "Folders with a manifest.json.", required=True)

MOVES = (0.05, 0.075, 0.1)
"""Over the diagonal of the map."""

DIRECTIONS = tuple(
    (down, right) for down, right in itertools.product((-1, 0, 1), repeat=2) if down or right
)

STRANGERS = 8
"""Pictures of other scenes that each map is compared with."""


def moved(
    depth: np.ndarray, picture: np.ndarray, move: float, towards: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """A map, and its picture as if it were taken with the content that far away.

    The map's window and the picture's are as large and differ by the move.
    """
    height, width = depth.shape
    length = move * np.hypot(height, width) / np.hypot(*towards)
    down, right = (round(length * each) for each in towards)
    rows, columns = height - abs(down), width - abs(right)
    top, left = max(down, 0), max(right, 0)
    window = depth[top : top + rows, left : left + columns]
    y, x = picture.shape[0] / height, picture.shape[1] / width
    top, left = round(y * max(-down, 0)), round(x * max(-right, 0))
    return window, picture[top : top + round(y * rows), left : left + round(x * columns)]


def pairs(folder: Path) -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:
    """Name, scene, depth and picture of each map that has one of its aspect ratio."""
    maps = TrueMaps(folder)
    rows = json.loads((folder / "manifest.json").read_text())
    for number, row in enumerate(rows):
        if not row.get("rgb"):
            continue
        places = (folder / row["rgb"], folder.resolve().parent / row["rgb"])  # as of `ListedMaps`
        picture = read_colours(next((place for place in places if place.is_file()), places[0]))
        depth = maps[number].depth
        if not other_aspect(picture.shape, depth.shape):
            yield row["depth"], row["scene"], depth, picture


def main(_: list[str]) -> None:
    """Prints shares."""
    found = [each for folder in _DATA.value for each in pairs(Path(folder))]
    called: dict[tuple[Space, str], list[bool]] = defaultdict(list)
    few: dict[Space, int] = defaultdict(int)
    rng = np.random.default_rng(0)
    for name, scene, depth, picture in found:
        others = [
            each[3]
            for each in found
            if each[1] != scene and not other_aspect(each[3].shape, depth.shape)
        ]
        chosen = rng.permutation(len(others))[:STRANGERS]
        trials = [("its own", depth, picture)]
        for move, towards in itertools.product(MOVES, DIRECTIONS):
            trials.append((f"moved by {move:.1%}", *moved(depth, picture, move, towards)))
        trials += [("another scene's", depth, others[other]) for other in chosen]
        trials.append(("mirrored", depth, picture[:, ::-1]))
        for space in ("depth", "disparity"):
            for kind, values, seen in trials:
                present = values > 0
                inverse = np.where(present, 1 / np.where(present, values, 1), 0)
                result = registration.measure(
                    values if space == "depth" else inverse, np.ascontiguousarray(seen), space
                )
                called[space, kind].append(not result.is_registered)
                if kind == "its own":
                    few[space] += result.edges < registration.LEAST_EDGES
                    if not result.is_registered:
                        print(f"{space}: {name} ({scene}): {result}")
    for space in few:
        print(f"{space}: {few[space]} of {len(found)} maps have too few edges to tell")
    for (space, kind), values in called.items():
        print(f"{space:10} {kind:16} not registered: {np.mean(values):6.1%} of {len(values)}")


if __name__ == "__main__":
    app.run(main)
