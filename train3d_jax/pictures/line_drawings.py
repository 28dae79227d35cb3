"""A picture with its segments in the colours of their directions, vanishing points and gravity.

Directions are named after the camera's axis that they are nearest to, so that colours mean the same
in every picture: left and right, up and down, ahead.
"""

import itertools
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from train3d_jax.geometry.camera import project, roll_and_pitch

NAMES = ("left-right", "up-down", "ahead")
"""Of directions, in the order of the camera's axes."""

COLOURS = ((255, 70, 30), (150, 250, 255), (200, 80, 255))
"""Of the directions of `NAMES`.  Computed: 60 apart in CIELAB, and for each kind of colour
blindness (Machado et al. 2009) as well; 30 and more from `OTHER` and from dark greys."""

OTHER = (160, 160, 160)
"""Of segments of no direction."""

MOST_BEYOND = 0.25
"""Distance of a vanishing point from the picture over the picture's size, up to which it is drawn.
Chosen; farther ones would make the picture small."""

_FINER = 3
"""Pixels are drawn so many times as fine, then averaged: lines without steps."""

_DIMMED = 0.5
"""Brightness of the picture under the lines, over its own."""

_WIDTH, _THIN = 1.6, 0.8
"""Widths of lines, pixels."""

_CROSS, _BORDER = 7, 12
"""Half the size of a cross; the least paper about the outermost one; pixels."""

_DIAL = 0.043
"""Radius of the dial that holds gravity's arrow, over the width of the drawing."""

_BESIDE = (236, 236, 236)
"""Of the paper beside the picture, where vanishing points lie."""


class PictureLines(NamedTuple):
    """A picture, and what its lines say.

    Attributes:
      pixels: the picture, of any size, uint8 (H', W', 3).
      size: height and width of the depth map that it belongs to.
      intrinsics: the recovered ones, (3, 3) in pixels of the map.
      ends: (u, v) of both ends of segments in pixels of the map, shape (S, 2, 2).
      directions: in camera axes, rows of unit length, shape (3, 3); NaN where there are none.
      axis: of each segment the row of `directions`, -1 where none, shape (S,).
      gravity: down in camera axes, of unit length, shape (3,); NaN where unknown.
      gravity_sigma: standard deviation of its angle, degrees; NaN where unknown.
      focal_nats: what lines added to the focal length; NaN before an estimate.
      shift_nats: the same for the shift.
    """

    pixels: np.ndarray
    size: tuple[int, int]
    intrinsics: np.ndarray
    ends: np.ndarray
    directions: np.ndarray
    axis: np.ndarray
    gravity: np.ndarray
    gravity_sigma: float
    focal_nats: float
    shift_nats: float

    def told(self) -> str:
        """What lines added to the estimate, as text; empty before an estimate."""
        if np.isnan(self.focal_nats):
            return ""
        return (
            f"lines: {self.focal_nats:.2f} nats of the focal length, "
            f"{self.shift_nats:.2f} of the shift"
        )

    def held(self) -> str:
        """How the camera is held, as text; empty where gravity is unknown."""
        if np.isnan(self.gravity).any():
            return ""
        # Adding 0.0 leaves no "-0.0".
        roll, pitch = (round(float(angle), 1) + 0.0 for angle in roll_and_pitch(self.gravity))
        return f"roll {roll:.1f}, pitch {pitch:.1f} degrees (sigma {self.gravity_sigma:.1f})"

    def counts(self) -> list[tuple[str, tuple[int, int, int], int]]:
        """Names, colours and numbers of segments, of directions that have any and of the rest."""
        names = names_of(self.directions)
        named = [
            (NAMES[name], COLOURS[name], int((self.axis == row).sum()))
            for name, row in sorted((name, row) for row, name in enumerate(names))
        ]
        found = [each for each in named if each[2]]
        others = ("other" if found else "segments", OTHER, int((self.axis < 0).sum()))
        return [*found, others] if others[2] else found


def names_of(directions: np.ndarray) -> tuple[int, ...]:
    """For each direction the number of its name: of the camera's axis that it is nearest to.

    Args:
      directions: shape (3, 3); no two get the same name.
    """
    nearness = np.nan_to_num(np.abs(directions))
    orders = list(itertools.permutations(range(3)))
    return max(orders, key=lambda order: sum(nearness[row, order[row]] for row in range(3)))


def vanishing_points(lines: PictureLines) -> np.ndarray:
    """Where lines of each direction meet, (u, v) in pixels of the map, shape (3, 2); may be NaN."""
    with np.errstate(all="ignore"):
        return np.asarray(project(lines.directions, lines.intrinsics)[0])


def draw_lines(lines: PictureLines, width: int, most_height: int | None = None) -> Image.Image:
    """Draws the dimmed picture with its segments, vanishing points near it, and gravity.

    Args:
      lines: what to draw.
      width: of the drawing, pixels.
      most_height: the drawing is less wide where it would be higher; None for any height.
    """
    size = np.array(lines.size[::-1], float)
    points = vanishing_points(lines)
    beyond = MOST_BEYOND * size
    near = ((points > -0.5 - beyond) & (points < size - 0.5 + beyond)).all(-1)
    low, high = np.zeros(2), size
    if near.any():
        # The border is in pixels of the drawing.
        border = _BORDER * size[0] / width
        outside = ((points[near] < -0.5) | (points[near] > size - 0.5)).any(-1)
        for point in points[near][outside] + 0.5:
            low, high = np.minimum(low, point - border), np.maximum(high, point + border)
    if most_height is not None:
        width = max(1, min(width, round(most_height * (high - low)[0] / (high - low)[1])))
    scale = _FINER * width / (high - low)[0]
    canvas = Image.new("RGB", _whole((high - low) * scale), _BESIDE)
    shown = Image.fromarray(_dimmed(lines.pixels)).resize(_whole(size * scale))
    canvas.paste(shown, (round(-low[0] * scale), round(-low[1] * scale)))
    draw = ImageDraw.Draw(canvas)

    def at(places: np.ndarray) -> list[tuple[float, float]]:
        """Places of the map in the drawing; both count from the centre of their first pixel."""
        return [tuple(place) for place in (places + 0.5 - low) * scale - 0.5]

    names = names_of(lines.directions)
    for row in (-1, 0, 1, 2):
        colour, line = (OTHER, _THIN) if row < 0 else (COLOURS[names[row]], _WIDTH)
        for ends in lines.ends[lines.axis == row]:
            draw.line(at(ends), colour, round(line * _FINER))
    for row in np.flatnonzero(near):
        _cross(draw, at(points[row : row + 1])[0], COLOURS[names[row]])
    if np.isfinite(lines.gravity).all():
        _dial(draw, canvas.size, lines.gravity, lines.gravity_sigma)
    return canvas.reduce(_FINER)


def _whole(size: np.ndarray) -> tuple[int, int]:
    """A size (width, height) in whole pixels of the drawing, at least one."""
    width, height = (max(1, round(float(part) / _FINER)) * _FINER for part in size)
    return width, height


def _dimmed(pixels: np.ndarray) -> np.ndarray:
    """A picture in dark greys."""
    grey = pixels @ np.array([0.299, 0.587, 0.114])
    return np.repeat((_DIMMED * grey).astype(np.uint8)[..., None], 3, -1)


def _cross(
    draw: ImageDraw.ImageDraw, at: tuple[float, float], colour: tuple[int, int, int]
) -> None:
    """A vanishing point: a cross with a dark edge, which stands out on any ground."""
    (x, y), half = at, _CROSS * _FINER
    for paint, line in (((20, 20, 20), 5.0), (colour, 2.6)):
        longer = half + (_FINER if line == 5.0 else 0)
        for up in (-1, 1):
            ends = [(x - longer, y - up * longer), (x + longer, y + up * longer)]
            draw.line(ends, paint, round(line * _FINER))


def _dial(
    draw: ImageDraw.ImageDraw, size: tuple[int, int], gravity: np.ndarray, sigma: float
) -> None:
    """Gravity as an arrow in the corner, foreshortened, in the wedge of its two sigmas."""
    radius = _DIAL * size[0]
    x, y = size[0] - 1.4 * radius, size[1] - 1.4 * radius
    draw.ellipse([x - radius, y - radius, x + radius, y + radius], (20, 20, 20), OTHER, _FINER)
    along = np.array(gravity[:2], float)
    turn = np.degrees(np.arctan2(along[1], along[0]))
    box = [x - radius, y - radius, x + radius, y + radius]
    draw.pieslice(box, turn - 2 * sigma, turn + 2 * sigma, (95, 95, 95))
    tip = np.array([x, y]) + 0.9 * radius * along
    start = np.array([x, y]) - 0.5 * radius * along
    across = np.array([-along[1], along[0]]) / max(float(np.linalg.norm(along)), 1e-6)
    ahead = along / max(float(np.linalg.norm(along)), 1e-6)
    head = 0.38 * radius
    white = (255, 255, 255)
    draw.line([tuple(start), tuple(tip - 0.5 * head * ahead)], white, 2 * _FINER)
    back = tip - head * ahead
    draw.polygon(
        [tuple(tip), tuple(back + 0.55 * head * across), tuple(back - 0.55 * head * across)], white
    )
