"""Films of clouds before and after the correction, side by side: of one map turning, of a clip.

Drawn in numpy, so it needs no display and takes a fraction of a second.
"""

import io
import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from train3d_jax.files import write_whole
from train3d_jax.geometry.camera import degrees_to_focal
from train3d_jax.pictures.shapes import (
    ColouredCloud,
    Shape,
    centre_and_radius,
    coloured_cloud,
    step_of,
)

_FRAME = 320
"""Edge of each half of a frame, pixels."""

_FRAMES = 40
_FRAME_MILLISECONDS = 70
_TURN_DEGREES = 50
"""How far the camera swings to each side; from behind, a cloud of one view shows its holes."""

_FILM_DEGREES = 25
"""How far to the side a clip is seen from."""

_NOD_DEGREES = 15
_FOV_DEGREES = 45

_PAPER = 255
_INK = (40, 40, 40)


def draw_turntable(
    path: Path, before: Shape, after: Shape, colours: np.ndarray | None = None
) -> None:
    """Draws the clouds before and after side by side, as an endless GIF.

    Args:
      path: the picture, a GIF.
      before: without the correction.
      after: with it.
      colours: of the pixels, uint8 (H, W, 3); None paints each by the direction that its surface
        faces.

    Raises:
      UserError: the file cannot be written.
    """
    step = step_of(before.depth)
    clouds = [coloured_cloud(shape, after, colours, step) for shape in (before, after)]
    half = _FRAMES // 2
    # A swing there and back: the second half shows the frames of the first again.
    angles = [_TURN_DEGREES * math.cos(math.pi * (frame + 0.5) / half) for frame in range(half)]
    stages = [(cloud, *centre_and_radius(cloud.points)) for cloud in clouds]
    frames = [
        _side_by_side([turned(*stage, math.radians(angle)) for stage in stages]) for angle in angles
    ]
    _write(path, [*frames, *frames[::-1]], _FRAME_MILLISECONDS)


def draw_film(
    path: Path, shapes: Iterable[tuple[Shape, Shape, np.ndarray | None]], milliseconds: int = 120
) -> None:
    """Draws the clouds of a clip before and after side by side, from one place, as an endless GIF.

    Args:
      path: the picture, a GIF.
      shapes: of each frame without and with the correction, and the colours of its pixels, as of
        `draw_turntable`; at least one.
      milliseconds: that each is shown for.

    Raises:
      UserError: the file cannot be written.
    """
    views: list[tuple[np.ndarray, float]] = []
    frames = []
    for before, after, colours in shapes:
        step = step_of(before.depth)
        clouds = [coloured_cloud(shape, after, colours, step) for shape in (before, after)]
        # The first frame's place for all: what moves is the scene.
        views = views or [centre_and_radius(cloud.points) for cloud in clouds]
        angle = math.radians(_FILM_DEGREES)
        sides = [turned(cloud, *view, angle) for cloud, view in zip(clouds, views, strict=True)]
        frames.append(_side_by_side(sides))
    _write(path, frames, milliseconds)


def _side_by_side(sides: list[np.ndarray]) -> Image.Image:
    image = Image.fromarray(np.concatenate(sides, 1))
    draw = ImageDraw.Draw(image)
    for number, text in enumerate(("before", "after")):
        draw.text((number * _FRAME + 8, 6), text, _INK, ImageFont.load_default(14))
    return image


def _write(path: Path, frames: list[Image.Image], milliseconds: int) -> None:
    """Writes frames as a GIF, in the colours of the one in the middle of the first half."""
    palette = frames[len(frames) // 4].quantize(255)
    frames = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    file = io.BytesIO()
    frames[0].save(
        file, "GIF", save_all=True, append_images=frames[1:], duration=milliseconds, loop=0
    )
    write_whole(path, file.getbuffer())


def turned(cloud: ColouredCloud, centre: np.ndarray, radius: float, angle: float) -> np.ndarray:
    """A cloud as a camera on a circle about its centre sees it, uint8 (_FRAME, _FRAME, 3)."""
    nod = math.radians(_NOD_DEGREES)
    turn = np.array(
        [[math.cos(angle), 0, -math.sin(angle)], [0, 1, 0], [math.sin(angle), 0, math.cos(angle)]]
    )
    tilt = np.array(
        [[1, 0, 0], [0, math.cos(nod), -math.sin(nod)], [0, math.sin(nod), math.cos(nod)]]
    )
    distance = 0.9 * radius / math.sin(math.radians(_FOV_DEGREES / 2))
    x, y, z = ((cloud.points - centre) @ (tilt @ turn).T).T
    z = z + distance
    focal = degrees_to_focal(_FOV_DEGREES, _FRAME)
    seen = z > 0.1 * radius
    z = np.where(seen, z, 1)
    column, row = (
        np.clip(axis * focal / z + _FRAME / 2, -1, _FRAME).astype(int) for axis in (x, y)
    )
    seen &= (column >= 0) & (column < _FRAME - 1) & (row >= 0) & (row < _FRAME - 1)
    order = np.flatnonzero(seen)
    order = order[np.argsort(-z[order])]  # far first, so that near points cover them
    place = (row * _FRAME + column)[order]
    # One integer a colour, so that a pixel is one assignment.
    paint = np.full((len(order), 4), _PAPER, np.uint8)
    paint[:, :3] = cloud.colours[order]
    paint = paint.view(np.uint32)[:, 0]
    picture = np.full(_FRAME * _FRAME, 0xFFFFFFFF, np.uint32)
    # 2 x 2 pixels a point, or surfaces have gaps.  Nearer points come later and stay.
    covered = place[:, None] + np.array([0, 1, _FRAME, _FRAME + 1])
    picture[covered.ravel()] = np.repeat(paint, 4)
    return picture.view(np.uint8).reshape(_FRAME, _FRAME, 4)[..., :3]
