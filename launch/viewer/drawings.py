"""Parts of the viewer's page that are drawn as HTML: strips under sliders, tables, thumbnails."""

import html
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from launch.viewer import maps
from launch.viewer.maps import Errors
from train3d_jax.inference.estimates import Estimate
from train3d_jax.pictures.line_drawings import PictureLines, draw_lines

INK, PALE, BAND = "#333", "#888", "#f6c344"
FLAT, RIGHT, TRUE = "#1971c2", "#c2410c", "#2f9e44"
"""Colours of the score of planes, of that of angles, and of the truth."""

FLAG_TEXTS = {
    "near_planar": "nearly all planes face one way, so the focal length is unobservable",
    "few_valid_pixels": "less than a tenth of the map's pixels hold values",
    "out_of_training_range": "the estimate is at the border of its range, or the values have a "
    "spread beyond that of any training map",
    "solver_disagrees": "the intervals of network and geometry exclude each other's estimate",
    "focal_uncertain": "the ends of the focal length's 90 % interval differ by more than a factor "
    "of two",
    "near_far_swapped": "near and far look swapped: try --negate",
    "other_space": "depth looks like disparity, or the reverse: try the other --space",
    "repeated_value": "one extreme value fills much of the map: missing pixels? see --invalid",
    "panorama": "it looks like a panorama; only maps of pinhole cameras can be recovered",
    "rgb_missing": "no image of this name in --rgb",
    "rgb_resized": "its image in --rgb is of another size, and is resized",
    "rgb_other_aspect": "its image in --rgb has other proportions: its lines do not count",
    "rgb_not_registered": "its image in --rgb does not fit the depth: its lines do not count",
}

LINES_WIDTH = 344
"""Most width and height of the picture with its lines, pixels; chosen: as wide as the panel."""

HEIGHT = 44
"""Of a strip, pixels; chosen."""

_TRACK = "margin:0 4.5rem 0.5rem 7.486rem"
"""Where viser (1.1) draws the track of a slider whose label is beside it, in a folder."""

_BOX = "margin:0 0.8em 0.5em;font-size:0.8em;line-height:1.35"


class Curve(NamedTuple):
    """A score along a slider.

    Attributes:
      label: what it measures.
      colour: of its line and label.
      values: at places spread evenly over the slider, in [0, 1].
      now: at the slider's place.
    """

    label: str
    colour: str
    values: np.ndarray
    now: float


def strip(
    limits: tuple[float, float],
    at: float,
    curves: Sequence[Curve],
    interval: tuple[float, float] | None,
    truth: float | None,
) -> str:
    """The drawing on and under a slider: scores, the 90 % interval, the truth.

    Args:
      limits: of the slider.
      at: its place.
      curves: what to draw.
      interval: its ends; None where there is none.
      truth: None where it is not known.
    """

    def percent(value: float) -> float:
        return 100 * float(np.clip((value - limits[0]) / (limits[1] - limits[0]), 0, 1))

    parts = []
    if interval is not None:
        low, high = map(percent, interval)
        # Reaches up over the slider's own track.
        parts.append(
            f'<div class="interval" title="90 %: {interval[0]:.4g} to {interval[1]:.4g}" style="'
            f"position:absolute;left:{low:.2f}%;width:max(2px,{high - low:.2f}%);top:-1.95rem;"
            f'bottom:0;background:{BAND};opacity:0.45;border-radius:2px"></div>'
        )
    lines = "".join(
        f'<polyline fill="none" stroke="{curve.colour}" stroke-width="1.5" '
        f'vector-effect="non-scaling-stroke" points="{_points(curve.values)}"/>'
        for curve in curves
    )
    parts.append(
        f'<svg viewBox="0 0 100 {HEIGHT}" preserveAspectRatio="none" style="position:absolute;'
        f'width:100%;height:100%;overflow:visible">{lines}</svg>'
    )
    if truth is not None:
        parts.append(_tick(percent(truth), TRUE))
    parts.append(_tick(percent(at), PALE))
    parts += [
        f'<div style="position:absolute;left:calc({percent(at):.2f}% - 4px);width:8px;height:8px;'
        f"bottom:calc({100 * float(np.clip(curve.now, 0, 1)):.1f}% - 4px);border-radius:4px;"
        f'background:{curve.colour}"></div>'
        for curve in curves
    ]
    scores = " &emsp; ".join(
        f'<span class="score" style="color:{curve.colour}">{curve.label}: '
        f"{100 * curve.now:.0f} % of the best</span>"
        for curve in curves
    )
    return (
        f'<div style="{_BOX};{_TRACK};pointer-events:none"><div style="position:relative;'
        f'height:{HEIGHT}px;border-bottom:1px solid #ccc">{"".join(parts)}</div>{scores}</div>'
    )


def _points(values: np.ndarray) -> str:
    across = np.linspace(0, 100, len(values))
    down = HEIGHT * (1 - np.clip(np.nan_to_num(values), 0, 1))
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, down, strict=True))


def _tick(percent: float, colour: str) -> str:
    return (
        f'<div style="position:absolute;left:{percent:.2f}%;top:0;bottom:0;width:1px;'
        f'background:{colour}"></div>'
    )


class Line(NamedTuple):
    """A number of the table.

    Attributes:
      name: as it is shown.
      key: of the answer's JSON.
      value: the number.
      digits: after the point; a tooltip shows all.
      unit: may be empty.
      interval: None where there is none.
      error: as text; empty where the truth is not known.
    """

    name: str
    key: str
    value: float
    digits: int
    unit: str = ""
    interval: tuple[float, float] | None = None
    error: str = ""


def table(source: str, lines: Sequence[Line], errors: Errors | None, flags: Sequence[str]) -> str:
    """The values in figures, their errors where the truth is known, and flags as text.

    Args:
      source: where the values are from.
      lines: the values.
      errors: None where the truth is not known.
      flags: of the answer.
    """
    rows = "".join(
        f'<tr><td>{line.name}</td><td data-key="{line.key}" data-value="{line.value!r}" '
        f'title="{line.value!r}" style="text-align:right;padding-right:0.8em">'
        f"<b>{line.value:.{line.digits}f}</b> {line.unit}</td><td>{_between(line)}</td>"
        f'<td style="color:{TRUE}">{line.error}</td></tr>'
        for line in lines
    )
    heads = ("", "", "90 % interval", "" if errors is None else "off by")
    head = "".join(f'<th style="text-align:left;color:{PALE}">{text}</th>' for text in heads)
    off = "" if errors is None else f"points are off by {_percent(errors.points)}"
    warned = "".join(f"<li>{html.escape(FLAG_TEXTS.get(flag, flag))}</li>" for flag in flags)
    return (
        f'<div style="{_BOX}"><div class="source" style="color:{PALE}">{html.escape(source)}</div>'
        f'<table style="width:100%;border-spacing:0"><tr>{head}</tr>{rows}</table>'
        f'<div class="points" style="color:{TRUE}">{off}</div>'
        f'<ul class="flags" style="margin:0.3em 0;padding-left:1.2em">{warned}</ul></div>'
    )


def _between(line: Line) -> str:
    if line.interval is None:
        return ""
    low, high = line.interval
    if low == high:
        return "known"
    return f"{low:.{line.digits}f} to {high:.{line.digits}f}"


def _percent(part: float) -> str:
    return f"{100 * part:.1f} %"


def error_texts(errors: Errors | None) -> tuple[str, str]:
    """Errors of the field of view and of the shift; empty where the truth is not known."""
    if errors is None:
        return "", ""
    return f"{errors.fov:.1f} degrees", f"{_percent(errors.shift)} of far"


class Thumbnail(NamedTuple):
    """A map of the list: its name, and the address of its picture, empty where it has none."""

    name: str
    picture: str


def thumbnails(shown: Sequence[Thumbnail], chosen: int, place: str) -> str:
    """A page of the list; a click on a picture is the press of its number's key.

    Args:
      shown: the maps of the page.
      chosen: which of them the window shows.
      place: which part of the whole list this is.
    """
    cells = []
    for number, each in enumerate(shown):
        name, key = html.escape(each.name, quote=True), number + 1
        box = "height:5.5rem;width:100%;object-fit:cover"
        picture = f'<img src="{each.picture}" alt="" style="{box}">'
        if not each.picture:
            picture = f'<div style="{box};text-align:center">no picture</div>'
        edge = BAND if number == chosen else "transparent"
        press = f"new KeyboardEvent('keydown',{{key:'{key}',code:'Digit{key}',bubbles:true}})"
        cells.append(
            f'<div class="thumbnail" title="{name}" style="cursor:pointer;border:2px solid {edge};'
            f'overflow:hidden" onclick="document.documentElement.dispatchEvent({press})">{picture}'
            f'<div style="white-space:nowrap;overflow:hidden;text-overflow:ellipsis">'
            f"{key} &middot; {name}</div></div>"
        )
    return (
        f'<div style="{_BOX}"><div style="display:grid;gap:4px;'
        f'grid-template-columns:repeat(3,minmax(0,1fr))">{"".join(cells)}</div>'
        f'<div style="color:{PALE}">{html.escape(place)}</div></div>'
    )


def lines_picture(lines: PictureLines) -> str:
    """The picture of a map with its segments, the names of their colours, and what they say."""
    picture = maps.address_of(draw_lines(lines, LINES_WIDTH, LINES_WIDTH))
    names = " &ensp; ".join(
        f'<span style="white-space:nowrap"><span style="display:inline-block;width:0.8em;'
        f'height:0.8em;background:rgb{colour}"></span> {name} {count}</span>'
        for name, colour, count in lines.counts()
    )
    texts = [lines.told() or "Recover finds directions and gravity", lines.held()]
    below = "".join(f"<div>{html.escape(text)}</div>" for text in texts if text)
    return (
        f'<div class="lines" style="{_BOX}"><img src="{picture}" alt="the picture with its '
        f'segments" style="max-width:100%;display:block;margin:0 auto 0.3em">{names}{below}</div>'
    )


def message(text: str, refused: bool = False) -> str:
    """A line on what is being done, or on what could not be done."""
    colour, kind = ("#c92a2a", "alert") if refused else (INK, "status")
    return f'<div role="{kind}" style="{_BOX};color:{colour}">{html.escape(text)}</div>'


def lines_of(
    estimate: Estimate, fov: Callable[[float], float], texts: tuple[str, str], recovered: bool
) -> list[Line]:
    """The numbers that the page shows.

    Args:
      estimate: the values of the sliders.
      fov: the field of view of a focal length, degrees.
      texts: `error_texts`.
      recovered: whether they are an estimate, which has intervals.
    """
    focals = estimate.focal_interval if recovered else None
    shifts = estimate.shift_interval if recovered else None
    fovs = None if focals is None else (fov(focals[1]), fov(focals[0]))
    return [
        Line("field of view", "fov_x_deg", fov(estimate.focal), 2, "&deg;", fovs, texts[0]),
        Line("focal length", "focal_px", estimate.focal, 1, "px", focals),
        Line("shift", "shift", estimate.shift, 4, "", shifts, texts[1]),
        Line("a", "a", estimate.a, 6),
        Line("b", "b", estimate.b, 6),
    ]
