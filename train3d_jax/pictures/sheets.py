"""Pictures of a recovered map: a sheet with its cloud before and after, and a turning pair of them.

Drawn in numpy, so they need no display and take a fraction of a second.
"""

import io
import math
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from train3d_jax.export.answers import cloud_of, fov_degrees
from train3d_jax.files import write_whole

_MOST_POINTS = 80_000
"""Points drawn of each cloud; more change nothing that can be seen."""

_COLUMN = 360
"""Width of a column of the sheet, pixels."""

_MARGIN = 12
_LINE = 20
"""Height of a line of text, pixels."""

_FRAME = 320
"""Edge of each half of a turntable, pixels."""

_FRAMES = 40
_FRAME_MILLISECONDS = 70
_TURN_DEGREES = 50
"""How far a turntable swings to each side; from behind, a cloud of one view shows its holes."""

_NOD_DEGREES = 15
_TURNTABLE_FOV_DEGREES = 45

_PAPER = 255
_INK = (40, 40, 40)
_PALE = (130, 130, 130)
_FAINT = (205, 205, 205)
_MISSING = (235, 235, 235)

_MIDDLE_GREY = 145
_TINT = 90
"""How far the colour of a direction is from grey."""

_MIDDLE = 0.99
"""Share of the points that every view shows; the outermost would make the rest small."""


class Shape(NamedTuple):
    """A depth map with a camera: something to be drawn.

    Attributes:
      depth: shape (H, W), 0 where missing.
      intrinsics: (3, 3) in pixels.
    """

    depth: np.ndarray
    intrinsics: np.ndarray


def draw_sheet(
    path: Path,
    values: np.ndarray,
    before: Shape,
    after: Shape,
    title: str,
    colours: np.ndarray | None = None,
) -> None:
    """Draws a map, and its cloud before and after from above (x, z) and from the side (z, y).

    Every cloud is scaled to a median distance of 1 and drawn over the same range, so that shapes
    can be compared.  Grey lines mark the field of view.  Clouds are transparent: what is seen edge
    on is dark.

    Args:
      path: the picture, a PNG.
      values: the map that came in, shape (H, W), 0 where missing.
      before: without the correction.
      after: with it.
      title: above it all.
      colours: of the pixels, uint8 (H, W, 3); None paints each by the direction that its surface
        faces.

    Raises:
      UserError: the file cannot be written.
    """
    step = _step(values)
    clouds = [_cloud(shape, after, colours, step) for shape in (before, after)]
    low, high = _range_of([cloud.points for cloud in clouds])
    size = high - low
    scale = _COLUMN / max(size[0], size[2])
    left = [_picture_of(values)]
    if colours is not None:
        left.append(Image.fromarray(colours).resize(left[0].size, Image.Resampling.BOX))
    columns = []
    for cloud, shape in zip(clouds, (before, after), strict=True):
        x, y, z = cloud.points.T
        above = _see_through(x, z, cloud, (low[0], low[2]), (high[0], high[2]), scale)
        side = _see_through(z, -y, cloud, (low[2], -high[1]), (high[2], -low[1]), scale)
        (fx, _, cx), (_, fy, cy), _ = shape.intrinsics
        height, width = shape.depth.shape
        rays_x = ((-0.5 - cx) / fx, (width - 0.5 - cx) / fx)
        rays_y = ((-0.5 - cy) / fy, (height - 0.5 - cy) / fy)
        _mark_view(above, [(ray, 1) for ray in rays_x], (low[0], low[2]), scale)
        _mark_view(side, [(1, -ray) for ray in rays_y], (low[2], -high[1]), scale)
        for picture, text in ((above, "from above"), (side, "from the side")):
            place = (picture.width - 4, picture.height - 4)
            ImageDraw.Draw(picture).text(place, text, _PALE, ImageFont.load_default(12), "rs")
        columns.append([above, side])
    heads = ["input", "before", "after"]
    for number, shape in enumerate((before, after), start=1):
        focal = shape.intrinsics[1, 1]
        fov = fov_degrees(focal, shape.depth.shape[0])
        heads[number] += f": focal length {focal:.0f} px, {fov:.1f} degrees high"
    file = io.BytesIO()
    _compose([left, *columns], heads, title).save(file, "PNG")
    write_whole(path, file.getbuffer())


def draw_turntable(
    path: Path, before: Shape, after: Shape, colours: np.ndarray | None = None
) -> None:
    """Draws the cloud before, turning beside the cloud after, as a GIF that runs for ever.

    Args: see `draw_sheet`.

    Raises:
      UserError: the file cannot be written.
    """
    step = _step(before.depth)
    clouds = [_cloud(shape, after, colours, step) for shape in (before, after)]
    half = _FRAMES // 2
    # A swing there and back: the second half shows the frames of the first again.
    angles = [_TURN_DEGREES * math.cos(math.pi * (frame + 0.5) / half) for frame in range(half)]
    stages = [(cloud, *_middle_of(cloud.points)) for cloud in clouds]
    frames = []
    for angle in angles:
        sides = [_turned(*stage, math.radians(angle)) for stage in stages]
        image = Image.fromarray(np.concatenate(sides, 1))
        draw = ImageDraw.Draw(image)
        for number, text in enumerate(("before", "after")):
            draw.text((number * _FRAME + 8, 6), text, _INK, ImageFont.load_default(14))
        frames.append(image)
    palette = frames[half // 2].quantize(255)
    frames = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    frames += frames[::-1]
    file = io.BytesIO()
    frames[0].save(
        file, "GIF", save_all=True, append_images=frames[1:], duration=_FRAME_MILLISECONDS, loop=0
    )
    write_whole(path, file.getbuffer())


class _Cloud(NamedTuple):
    """Points scaled to a median distance of 1, (N, 3); colours, uint8 (N, 3); areas, (N,)."""

    points: np.ndarray
    colours: np.ndarray
    areas: np.ndarray


def _step(values: np.ndarray) -> int:
    """Every how many rows and columns are drawn."""
    return max(1, math.ceil(math.sqrt(values.size / _MOST_POINTS)))


def _cloud(shape: Shape, after: Shape, colours: np.ndarray | None, step: int) -> _Cloud:
    """The cloud of a shape; painted the same before and after, so that parts can be found again."""
    depth = shape.depth[::step, ::step]
    paint = _facing(_thinned(after, step)) if colours is None else colours[::step, ::step]
    present = depth > 0
    points = cloud_of(depth, _thinned(shape, step).intrinsics).astype(np.float64)
    if not len(points):
        return _Cloud(np.zeros((1, 3), np.float32), np.zeros((1, 3), np.uint8), np.ones(1))
    points = points / (np.median(np.linalg.norm(points, axis=-1)) or 1)
    return _Cloud(points, paint[present], points[:, 2] ** 2)


def _thinned(shape: Shape, step: int) -> Shape:
    """Every so many rows and columns of a shape."""
    intrinsics = shape.intrinsics.copy()
    intrinsics[:2] /= step
    return Shape(shape.depth[::step, ::step], intrinsics)


def _facing(shape: Shape) -> np.ndarray:
    """Colours by the direction that the surface faces, uint8 (H, W, 3).

    Red tells left from right, green up from down, blue what faces the camera.
    """
    height, width = shape.depth.shape
    points = cloud_of(np.where(shape.depth > 0, shape.depth, np.nan), shape.intrinsics)
    points = points.reshape(height, width, 3)
    if min(height, width) < 2:
        return np.full((height, width, 3), _MIDDLE_GREY, np.uint8)
    with np.errstate(all="ignore"):
        normals = np.cross(np.gradient(points, axis=0), np.gradient(points, axis=1))
        normals = normals / np.linalg.norm(normals, axis=-1, keepdims=True)
        away = (normals * points).sum(-1, keepdims=True) > 0
    normals = np.nan_to_num(np.where(away, -normals, normals), nan=0.0)
    return np.round(_MIDDLE_GREY + _TINT * normals * [1, -1, -1]).astype(np.uint8)


def _range_of(clouds: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The box that holds the middle of all clouds, and the camera."""
    edge = (1 - _MIDDLE) / 2
    ends = [np.quantile(points, (edge, 1 - edge), axis=0) for points in clouds]
    low = np.minimum(np.min([end[0] for end in ends], 0), 0)
    high = np.maximum(np.max([end[1] for end in ends], 0), 0)
    border = 0.04 * (high - low).max() + 1e-6
    return low - border, high + border


def _see_through(
    right: np.ndarray,
    up: np.ndarray,
    cloud: _Cloud,
    low: tuple[float, float],
    high: tuple[float, float],
    scale: float,
) -> Image.Image:
    """A parallel projection in which colours add up, so that walls seen edge on stand out."""
    width, height = (max(1, math.ceil((h - lo) * scale)) for lo, h in zip(low, high, strict=True))
    # Held near the picture, since far outliers fit no integer.
    column = np.floor(np.clip((right - low[0]) * scale, -1, width)).astype(int)
    row = height - 1 - np.floor(np.clip((up - low[1]) * scale, -1, height)).astype(int)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    place = (row * width + column)[inside]
    areas = cloud.areas[inside]
    count = width * height
    # A sum of areas and of colours for each pixel, spread so that a surface has no gaps.
    weights = [areas, *(areas * part for part in cloud.colours[inside].T)]
    sums = [np.bincount(place, part, count).reshape(height, width) for part in weights]
    weight, *paint = (_spread(part, 1 if place.size > _MOST_POINTS // 2 else 2) for part in sums)
    paint = np.stack(paint, -1) / np.maximum(weight, 1e-12)[..., None]
    filled = weight[weight > 0]
    typical = np.median(filled) if filled.size else 1.0
    opacity = np.where(weight > 0, 1 - 0.6 * np.exp(-weight / (3 * typical)), 0)[..., None]
    # What lies edge on is darkened, too: that is where shape shows.
    picture = opacity * paint * (1 - 0.4 * opacity) + (1 - opacity) * _PAPER
    return Image.fromarray(picture.astype(np.uint8))


def _spread(values: np.ndarray, times: int) -> np.ndarray:
    """Sums over 2 x 2 pixels, again and again."""
    for _ in range(times):
        values = values[:-1] + values[1:] if len(values) > 1 else values
        values = values[:, :-1] + values[:, 1:] if values.shape[1] > 1 else values
        values = np.pad(values, ((0, 1), (0, 1)))
    return values


def _mark_view(
    image: Image.Image,
    rays: list[tuple[float, float]],
    low: tuple[float, float],
    scale: float,
) -> None:
    """Draws the camera, and the two rays that bound what it sees, (right, up) per unit of depth."""
    draw = ImageDraw.Draw(image)

    def at(right: float, up: float) -> tuple[float, float]:
        return (right - low[0]) * scale, image.height - 1 - (up - low[1]) * scale

    x, y = at(0, 0)
    for right, up in rays:
        draw.line([(x, y), at(100 * right, 100 * up)], fill=_FAINT, width=1)
    draw.ellipse([x - 3, y - 3, x + 3, y + 3], fill=_INK)


def in_colours(values: np.ndarray) -> np.ndarray:
    """The colours of a map, by its values from the near to the far ones; grey where missing.

    Args:
      values: finite, 0 where missing, shape (H, W).

    Returns:
      uint8, shape (H, W, 3).
    """
    present = values != 0
    painted = np.full((*values.shape, 3), _MISSING, np.uint8)
    if present.any():
        near, far = np.quantile(values[present][::17], (0.01, 0.99))
        shade = np.clip((values.astype(np.float64) - near) / ((far - near) or 1), 0, 1)
        table = matplotlib.colormaps["viridis"](np.arange(256), bytes=True)[:, :3]
        painted[present] = table[np.round(255 * shade[present]).astype(int)]
    return painted


def _picture_of(values: np.ndarray) -> Image.Image:
    """A map in colours, the width of a column."""
    height = max(1, round(values.shape[0] * _COLUMN / values.shape[1]))
    painted = Image.fromarray(in_colours(values))
    return painted.resize((_COLUMN, min(height, 2 * _COLUMN)), _filter(values))


def _filter(values: np.ndarray) -> Image.Resampling:
    small = values.shape[1] < _COLUMN
    return Image.Resampling.NEAREST if small else Image.Resampling.BOX


def _compose(columns: list[list[Image.Image]], heads: list[str], title: str) -> Image.Image:
    """Columns of pictures side by side, each under its head, all under the title."""
    top = _MARGIN + 2 * _LINE
    tallest = max(sum(image.height + _MARGIN for image in column) for column in columns)
    width = sum(max(_COLUMN, *(i.width for i in column)) + _MARGIN for column in columns) + _MARGIN
    sheet = Image.new("RGB", (width, top + tallest), (_PAPER,) * 3)
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN, 8), title, _INK, ImageFont.load_default(15))
    x = _MARGIN
    for column, head in zip(columns, heads, strict=True):
        draw.text((x, top - _LINE - 2), head, _INK, ImageFont.load_default(13))
        y = top
        for image in column:
            sheet.paste(image, (x, y))
            y += image.height + _MARGIN
        x += max(_COLUMN, *(i.width for i in column)) + _MARGIN
    return sheet


def _middle_of(points: np.ndarray) -> tuple[np.ndarray, float]:
    """The middle of a cloud, and the radius about it that holds nearly all of it."""
    edge = (1 - _MIDDLE) / 2
    low, high = np.quantile(points, (edge, 1 - edge), axis=0)
    return (low + high) / 2, float(np.linalg.norm(high - low)) / 2 or 1.0


def _turned(cloud: _Cloud, middle: np.ndarray, reach: float, angle: float) -> np.ndarray:
    """A cloud as seen by a camera that has gone about its middle, uint8 (_FRAME, _FRAME, 3)."""
    nod = math.radians(_NOD_DEGREES)
    turn = np.array(
        [[math.cos(angle), 0, -math.sin(angle)], [0, 1, 0], [math.sin(angle), 0, math.cos(angle)]]
    )
    tilt = np.array(
        [[1, 0, 0], [0, math.cos(nod), -math.sin(nod)], [0, math.sin(nod), math.cos(nod)]]
    )
    distance = 0.9 * reach / math.sin(math.radians(_TURNTABLE_FOV_DEGREES / 2))
    x, y, z = ((cloud.points - middle) @ (tilt @ turn).T).T
    z = z + distance
    focal = _FRAME / 2 / math.tan(math.radians(_TURNTABLE_FOV_DEGREES / 2))
    seen = z > 0.1 * reach
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
    # 2 x 2 pixels a point, or surfaces have gaps; what comes later, that is nearer, stays.
    covered = place[:, None] + np.array([0, 1, _FRAME, _FRAME + 1])
    picture[covered.ravel()] = np.repeat(paint, 4)
    return picture.view(np.uint8).reshape(_FRAME, _FRAME, 4)[..., :3]
