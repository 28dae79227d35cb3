"""Pictures of evaluated maps: read once a map, cropped as it is, and their lines as evidence."""

from typing import NamedTuple

import numpy as np

from data.user_maps.true_maps import TrueMap, TrueMaps
from launch.evaluation.config import EvaluationConfig
from train3d_jax.errors import DataError
from train3d_jax.evaluation import views
from train3d_jax.evaluation.views import View
from train3d_jax.geometry.affine import Space
from train3d_jax.lines.pictures import FLAGS, OTHER_ASPECT, evidence_of, other_aspect
from train3d_jax.lines.segments import Segments

COUNTS, UNREADABLE = "rgb_counts", "rgb_unreadable"
"""Of views: segments of their picture are evidence; the picture is missing or damaged."""

STATES = (COUNTS, UNREADABLE, *FLAGS)
"""What becomes of a picture; a view without one has the state ""."""


class Picture(NamedTuple):
    """The picture of a whole map.

    Attributes:
      pixels: grey or RGB, uint8; None where there is none that can be used.
      state: "" or one of `STATES`; of crops it is decided later where there are pixels.
      problem: a line that says why it cannot be used; empty where it can, or there is none.
    """

    pixels: np.ndarray | None = None
    state: str = ""
    problem: str = ""


class Seen(NamedTuple):
    """What of a picture counts in a view: segments, None where none do, and one of `STATES`."""

    segments: Segments | None = None
    state: str = ""


def read_picture(
    config: EvaluationConfig, maps: TrueMaps, number: int, true_map: TrueMap
) -> Picture:
    """The picture of a map; nothing where lines are no evidence."""
    if not config.lines:
        return Picture()
    try:
        file = maps.picture(number)
        if file is None:
            return Picture()
        from train3d_jax.formats.pictures import read_colours  # start-up: it imports Pillow

        pixels = read_colours(file)
    except DataError as error:
        return Picture(state=UNREADABLE, problem=str(error))
    except OSError as error:  # a folder without permission, a name that is too long
        problem = f"{true_map.name}: its rgb cannot be read: {error.strerror or error}"
        return Picture(state=UNREADABLE, problem=problem)
    if other_aspect(pixels.shape, true_map.depth.shape):
        shown = [f"{size[1]}x{size[0]}" for size in (pixels.shape, true_map.depth.shape)]
        problem = f"{file}: of {shown[0]} pixels, has another aspect ratio than its map, {shown[1]}"
        return Picture(state=OTHER_ASPECT, problem=problem)
    return Picture(pixels)


def seen_in(picture: Picture, view: View, size: tuple[int, int], space: Space) -> Seen:
    """The segments of a picture in a view, detected in its crop.

    Args:
      picture: of the whole map.
      view: of the map.
      size: height and width of the whole map in pixels.
      space: of the view's values.
    """
    if picture.pixels is None:
        return Seen(state=picture.state)
    cropped = views.crop_picture(picture.pixels, size, view.window)
    # Methods know no camera, so that pixels count as square and the map's blocks are as they are.
    segments, flags = evidence_of(np.ascontiguousarray(cropped), view.values, space)
    return Seen(segments, flags[0] if flags else COUNTS)
