"""The estimates of a map with their 90 % intervals, over those of the prior."""

from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from train3d_jax.geometry.affine import shift_to_ratio
from train3d_jax.geometry.camera import degrees_to_focal, focal_to_degrees

_FOVS = (5, 10, 20, 40, 60, 90, 120)
"""Vertical fields of view that are marked, degrees."""

_SHIFTS = (-0.4, -0.2, 0.0, 0.5, 1.0, 3.0)
"""Canonical shifts that are marked."""

_PRIOR_RATIOS = (0.05, 0.95)
"""The central 90 % of the near/far ratio before a map is looked at: all are equally likely."""

_LINE, _BAR = 18, 12
"""Heights of a line of text and of a bar, pixels."""

_INK, _PALE, _PRIOR, _FOUND, _WARNING = (
    (40, 40, 40), (130, 130, 130), (222, 222, 222), (70, 130, 200), (180, 30, 30),
)  # fmt: skip


class Intervals(NamedTuple):
    """Estimates and their central 90 % intervals.

    Attributes:
      height: of the map, pixels.
      focal: vertical focal length, pixels.
      focal_interval: pixels; of no width where it is known.
      focal_prior: the interval by the prior alone, pixels.
      shift: canonical units.
      shift_interval: likewise.
      flags: that the answer has.
    """

    height: int
    focal: float
    focal_interval: tuple[float, float]
    focal_prior: tuple[float, float]
    shift: float
    shift_interval: tuple[float, float]
    flags: tuple[str, ...]


def draw_intervals(shown: Intervals, width: int) -> Image.Image:
    """Draws focal length and shift as points in their intervals, over those of the prior.

    The axis of the focal length is logarithmic; that of the shift is the ratio of near to far
    depth, over which the prior is uniform.

    Args:
      shown: what to draw.
      width: of the drawing, pixels.
    """
    flags = _wrapped(f"flags: {', '.join(shown.flags) or 'none'}", width)
    last = 5 * _LINE + 2 * _BAR + 18
    image = Image.new("RGB", (width, last + (1 + len(flags)) * _LINE), (255,) * 3)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(13)
    ends = np.log([*shown.focal_interval, *shown.focal_prior])
    fovs = {f"{fov:g}°": float(np.log(degrees_to_focal(fov, shown.height))) for fov in _FOVS}
    fov = focal_to_degrees(shown.focal, shown.height)
    border = 0.06 * (ends.max() - ends.min()) + 0.02
    marks = {text: at for text, at in fovs.items() if ends.min() <= at <= ends.max()}
    _bar(
        image, 0, f"focal length {shown.focal:.4g} px, {fov:.1f}° high",
        _said(shown.focal_interval, ".4g"),
        (ends.min() - border, ends.max() + border), np.log(shown.focal_prior),
        np.log(shown.focal_interval), float(np.log(shown.focal)), marks,
    )  # fmt: skip
    ratios, ratio = shift_to_ratio(np.array(shown.shift_interval)), shift_to_ratio(shown.shift)
    _bar(
        image, 2 * _LINE + _BAR + 14, f"shift {shown.shift:.3f}",
        _said(shown.shift_interval, ".3f"),
        (0.0, 1.0), np.array(_PRIOR_RATIOS), np.asarray(ratios), float(ratio),
        {f"{shift:g}": float(shift_to_ratio(shift)) for shift in _SHIFTS},
    )  # fmt: skip
    x = 0.0
    for text, colour in (("90 % interval", _FOUND), ("90 % of the prior", _PRIOR)):
        draw.rectangle([x, last + 3, x + 11, last + 14], colour)
        draw.text((x + 17, last), text, _PALE, font)
        x += 17 + draw.textlength(text, font) + 18
    for number, line in enumerate(flags, start=1):
        colour = _WARNING if shown.flags else _PALE
        draw.text((0, last + number * _LINE), line, colour, font)
    return image


def _said(interval: tuple[float, float], digits: str) -> str:
    low, high = interval
    return "given" if low == high else f"{low:{digits}} to {high:{digits}}"


def _bar(
    image: Image.Image,
    top: int,
    name: str,
    interval: str,
    axis: tuple[float, float],
    prior: np.ndarray,
    found: np.ndarray,
    value: float,
    marks: dict[str, float],
) -> None:
    """An estimate as a point in its interval, over the prior's, with the names of some places."""
    draw, font, small = (
        ImageDraw.Draw(image),
        ImageFont.load_default(13),
        ImageFont.load_default(11),
    )
    low, high = axis

    def at(place: float) -> float:
        return float(np.clip((place - low) / (high - low), 0, 1)) * (image.width - 1)

    draw.text((0, top), name, _INK, font)
    draw.text((image.width, top), interval, _INK, font, "ra")
    y = top + _LINE + 2
    draw.rectangle([at(prior[0]), y, at(prior[1]), y + _BAR], _PRIOR)
    draw.rectangle([at(found[0]) - 1, y + 3, at(found[1]) + 1, y + _BAR - 3], _FOUND)
    x = at(value)
    draw.ellipse([x - 4, y + _BAR / 2 - 4, x + 4, y + _BAR / 2 + 4], _INK)
    for text, place in marks.items():
        draw.line([at(place), y + _BAR + 1, at(place), y + _BAR + 4], _PALE)
        half = draw.textlength(text, small) / 2
        x = float(np.clip(at(place), half, image.width - half))
        draw.text((x, y + _BAR + 5), text, _PALE, small, "ma")


def _wrapped(text: str, width: int) -> list[str]:
    """Text in lines of at most a width in pixels, broken at spaces."""
    font, lines = ImageFont.load_default(13), [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
