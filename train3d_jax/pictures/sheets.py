"""A sheet of one map: the input, its cloud before and after the correction, surfaces and intervals.

Clouds are drawn from two sides.  Where the lines of the map's picture are evidence, they are drawn
beside it.

Drawn in numpy, so it needs no display and takes a fraction of a second.
"""

import io
import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from train3d_jax.files import write_whole
from train3d_jax.geometry.camera import focal_to_degrees
from train3d_jax.pictures.interval_drawings import Intervals, draw_intervals
from train3d_jax.pictures.line_drawings import PictureLines, draw_lines
from train3d_jax.pictures.plane_drawings import PaintedPlanes, paint_planes
from train3d_jax.pictures.shapes import (
    MIDDLE,
    MOST_POINTS,
    ColouredCloud,
    Shape,
    coloured_cloud,
    step_of,
    value_colours,
)

_COLUMN = 360
"""Width of a column of the sheet, pixels."""

_LINES_COLUMN = 540
"""Width of the column of lines, pixels: segments of rooms are too short for a narrower one."""

_MARGIN = 12
_LINE = 20
"""Height of a line of text, pixels."""

_PAPER = 255
_INK = (40, 40, 40)
_PALE = (130, 130, 130)
_FAINT = (205, 205, 205)


def draw_sheet(
    path: Path,
    values: np.ndarray,
    before: Shape,
    after: Shape,
    title: str,
    colours: np.ndarray | None = None,
    lines: PictureLines | None = None,
    intervals: Intervals | None = None,
) -> None:
    """Draws a map, and its cloud before and after from above (x, z) and from the side (z, y).

    Every cloud is scaled to a median distance of 1 and drawn over the same range, so that shapes
    are comparable.  Grey lines mark the field of view.  Clouds are transparent: surfaces seen edge
    on are dark.  Surfaces are painted by the direction that they face, see `paint_planes`.

    Args:
      path: the picture, a PNG.
      values: the input map, shape (H, W), 0 where missing.
      before: without the correction.
      after: with it.
      title: above it all.
      colours: of the pixels, uint8 (H, W, 3); None paints each by the direction that its surface
        faces.
      lines: of its picture, drawn in one more column; None where they are no evidence.
      intervals: of the estimates, drawn under the surfaces; None for none.

    Raises:
      UserError: the file cannot be written.
    """
    step = step_of(values)
    clouds = [coloured_cloud(shape, after, colours, step) for shape in (before, after)]
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
            font, halo = ImageFont.load_default(12), (_PAPER,) * 3
            ImageDraw.Draw(picture).text(
                place, text, _PALE, font, "rs", stroke_width=2, stroke_fill=halo
            )
        columns.append([above, side])
    heads = ["input", "before", "after"]
    for number, shape in enumerate((before, after), start=1):
        focal = shape.intrinsics[1, 1]
        fov = focal_to_degrees(focal, shape.depth.shape[0])
        heads[number] += f": focal length {focal:.0f} px, {fov:.1f} degrees high"
    planes = paint_planes(after, None if lines is None else lines.directions)
    columns.append([_fitted(planes.pixels), _legend_of_planes(planes)])
    heads.append("surfaces by the direction they face, %")
    if intervals is not None:
        columns[-1].append(draw_intervals(intervals, _COLUMN))
    if lines is not None:
        columns.append([draw_lines(lines, _LINES_COLUMN, 2 * _COLUMN), _legend(lines)])
        heads.append(lines.told())
    file = io.BytesIO()
    _compose([left, *columns], heads, title).save(file, "PNG")
    write_whole(path, file.getbuffer())


def _range_of(clouds: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The box that holds the middle of all clouds, and the camera."""
    edge = (1 - MIDDLE) / 2
    ends = [np.quantile(points, (edge, 1 - edge), axis=0) for points in clouds]
    low = np.minimum(np.min([end[0] for end in ends], 0), 0)
    high = np.maximum(np.max([end[1] for end in ends], 0), 0)
    border = 0.04 * (high - low).max() + 1e-6
    return low - border, high + border


def _see_through(
    right: np.ndarray,
    up: np.ndarray,
    cloud: ColouredCloud,
    low: tuple[float, float],
    high: tuple[float, float],
    scale: float,
) -> Image.Image:
    """A parallel projection that adds up colours, so that walls seen edge on stand out."""
    width, height = (max(1, math.ceil((h - lo) * scale)) for lo, h in zip(low, high, strict=True))
    # Clipped near the picture: far outliers fit no integer.
    column = np.floor(np.clip((right - low[0]) * scale, -1, width)).astype(int)
    row = height - 1 - np.floor(np.clip((up - low[1]) * scale, -1, height)).astype(int)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    place = (row * width + column)[inside]
    areas = cloud.areas[inside]
    count = width * height
    # Sums of areas and colours for each pixel, spread so that surfaces have no gaps.
    weights = [areas, *(areas * part for part in cloud.colours[inside].T)]
    sums = [np.bincount(place, part, count).reshape(height, width) for part in weights]
    weight, *paint = (_spread(part, 1 if place.size > MOST_POINTS // 2 else 2) for part in sums)
    paint = np.stack(paint, -1) / np.maximum(weight, 1e-12)[..., None]
    filled = weight[weight > 0]
    typical = np.median(filled) if filled.size else 1.0
    opacity = np.where(weight > 0, 1 - 0.6 * np.exp(-weight / (3 * typical)), 0)[..., None]
    # Surfaces seen edge on are darkened too, because shape shows there.
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
    """Draws the camera and the two rays that bound its view, (right, up) per unit of depth."""
    draw = ImageDraw.Draw(image)

    def at(right: float, up: float) -> tuple[float, float]:
        return (right - low[0]) * scale, image.height - 1 - (up - low[1]) * scale

    x, y = at(0, 0)
    for right, up in rays:
        draw.line([(x, y), at(100 * right, 100 * up)], fill=_FAINT, width=1)
    draw.ellipse([x - 3, y - 3, x + 3, y + 3], fill=_INK)


def _legend(lines: PictureLines) -> Image.Image:
    """The directions in their colours, how many segments each has, and how the camera is held."""
    legend = Image.new("RGB", (_LINES_COLUMN, 2 * _LINE), (_PAPER,) * 3)
    _name_colours(legend, [(f"{name} {count}", colour) for name, colour, count in lines.counts()])
    draw = ImageDraw.Draw(legend)
    draw.text((0, _LINE + 2), lines.held(), _INK, ImageFont.load_default(13))
    return legend


def _legend_of_planes(planes: PaintedPlanes) -> Image.Image:
    """The directions in their colours, and the share of the surfaces that face each."""
    legend = Image.new("RGB", (_COLUMN, _LINE), (_PAPER,) * 3)
    named = [(f"{name} {share:.0f}", colour) for name, colour, share in planes.legend]
    _name_colours(legend, named, gap=11)
    if not named:
        text = "no right angles: red to the right, green up, blue to the camera"
        ImageDraw.Draw(legend).text((0, 2), text, _INK, ImageFont.load_default(12))
    return legend


def _name_colours(
    legend: Image.Image, named: list[tuple[str, tuple[int, int, int]]], gap: int = 18
) -> None:
    """Colours with their names, in the first line."""
    draw, font, x = ImageDraw.Draw(legend), ImageFont.load_default(13), 0.0
    for text, colour in named:
        draw.rectangle([x, 4, x + 11, 15], colour)
        draw.text((x + 17, 2), text, _INK, font)
        x += 17 + draw.textlength(text, font) + gap


def _picture_of(values: np.ndarray) -> Image.Image:
    """A map in colours, the width of a column."""
    return _fitted(value_colours(values))


def _fitted(pixels: np.ndarray) -> Image.Image:
    """Pixels of a map, the width of a column."""
    height = max(1, round(pixels.shape[0] * _COLUMN / pixels.shape[1]))
    return Image.fromarray(pixels).resize((_COLUMN, min(height, 2 * _COLUMN)), _filter(pixels))


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
