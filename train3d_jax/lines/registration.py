"""Whether a picture is registered with a depth map: whether their edges meet.

Both are made small, and a field is computed of each: at an edge the square of the unit gradient as
a complex number, which is the same for steps up and down, weighted by how steep the edge is beside
its neighbourhood, which is the same for any affine unit, and nearly so for depth, disparity and log
depth.  The correlation of the two fields at all offsets (by FFT) has a peak where edges meet.  Its
height is measured in standard deviations of the correlation at other offsets.  A picture is not
registered where edges meet clearly better elsewhere than here, or nowhere.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Complex, Float, Real, UInt8

from train3d_jax.geometry import clouds
from train3d_jax.geometry.affine import Space
from train3d_jax.lines.segments import grey_of

LONGEST = 192
"""Longer side in pixels that both are made small to.  This and the numbers below, but for the
last, were chosen by a random search on the maps that `docs/decisions/lines.md` lists."""

WINDOW = 121
"""Side in pixels of the neighbourhood of an edge."""

FLOOR = 0.03
"""Share of the mean gradient of all pixels that is added to that of the neighbourhood."""

STEEPNESS = (1.5, 3.5)
"""Gradients over those of the neighbourhood, at which an edge begins and at which it is whole."""

FILLED = 2
"""Pixels that holes are filled from their far side: sensors miss what is beside a near edge."""

SMOOTH = 0.18
"""Side over the diagonal of the window whose mean is taken off the correlation: common directions
of edges are no match."""

HERE, ELSEWHERE, REACH = 0.01, 0.015, 0.1
"""Offsets over the diagonal: up to where edges meet here (8 pixels at 640 x 480), from where on
they meet elsewhere, and up to where it is tried."""

WEIGHT, THRESHOLD = 1.5, 1.0
"""A picture is not registered where `elsewhere` exceeds `here` times the first by the second."""

LEAST_EDGES = 1.0
"""Whole edge pixels of the map over its diagonal, below which a picture counts as registered."""


_NOTHING = -9.0
"""Below every normalised value, which are within 2 of 0."""


class Registration(NamedTuple):
    """How well the edges of a map and a picture meet.

    Attributes:
      here: the highest correlation at offsets up to `HERE`, standard deviations.
      elsewhere: the highest beyond `ELSEWHERE`.
      offset: of the picture to the right and down where `elsewhere` is, over the diagonal.
      edges: whole edge pixels of the map, over its diagonal.
    """

    here: float
    elsewhere: float
    offset: tuple[float, float]
    edges: float

    @property
    def is_registered(self) -> bool:
        """False where edges meet clearly better elsewhere; True where there are few."""
        few = self.edges < LEAST_EDGES
        return few or self.elsewhere - WEIGHT * self.here <= THRESHOLD


def measure(
    values: Real[np.ndarray, "h w"], picture: UInt8[np.ndarray, "_ _ *c"], space: Space
) -> Registration:
    """Correlates the edges of a map and a picture of the same aspect ratio.

    Args:
      values: of the map, any affine unit, shape (H, W); 0 and what is not finite is missing.
      picture: grey or RGB, of any size.
      space: of the values.
    """
    import cv2  # start-up: few runs have pictures

    mask = clouds.valid(values)
    if not mask.any():
        return Registration(0.0, 0.0, (0.0, 0.0), 0.0)
    shrink = min(1.0, LONGEST / max(values.shape))
    height, width = (max(2, round(shrink * side)) for side in values.shape)

    def small(image: np.ndarray) -> np.ndarray:
        image = image.astype(np.float32)
        return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)

    low, high = np.quantile(values[mask], (0.02, 0.98))
    normalised = (np.where(mask, values, low) - low) / max(high - low, 1e-30)
    share = small(mask)
    seen = share > 0.5
    depth = small(np.where(mask, np.clip(normalised, -1, 2), 0)) / np.maximum(share, 1e-6)
    depth, seen = _filled(-depth if space == "disparity" else depth, seen)
    of_map, of_picture = _field(depth, seen), _field(small(grey_of(picture)), np.ones_like(seen))
    diagonal = float(np.hypot(height, width))
    reach = int(REACH * diagonal)
    correlation = _correlation(of_map, of_picture, reach)
    side = int(SMOOTH * diagonal) | 1
    correlation -= cv2.blur(correlation, (side, side))
    down, right = np.mgrid[-reach : reach + 1, -reach : reach + 1] / diagonal
    distance = np.hypot(down, right)
    away = distance > ELSEWHERE
    if not away.any():  # a map of a few pixels
        return Registration(0.0, 0.0, (0.0, 0.0), 0.0)
    correlation /= np.sqrt(np.mean(correlation[away] ** 2)) + 1e-12
    place = int(np.where(away, correlation, -np.inf).argmax())
    return Registration(
        float(correlation[distance <= HERE].max()),
        float(correlation.flat[place]),
        (float(right.flat[place]), float(down.flat[place])),
        float(np.abs(of_map).sum() / diagonal),
    )


def _filled(
    depth: Float[np.ndarray, "h w"], seen: np.ndarray
) -> tuple[Float[np.ndarray, "h w"], np.ndarray]:
    """Holes filled with the farthest neighbour, pixel by pixel; what is seen then."""
    import cv2

    for _ in range(FILLED):
        farthest = cv2.dilate(np.where(seen, depth, _NOTHING).astype(np.float32), np.ones((3, 3)))
        new = ~seen & (farthest > _NOTHING)
        depth, seen = np.where(new, farthest, depth), seen | new
    return depth, seen


def _field(image: Float[np.ndarray, "h w"], seen: np.ndarray) -> Complex[np.ndarray, "h w"]:
    """Edges as complex numbers, see above; 0 beside what is not seen."""
    import cv2

    image = np.where(seen, image, 0).astype(np.float32)
    whole = cv2.erode(np.pad(seen, 1).astype(np.uint8), np.ones((3, 3)))[1:-1, 1:-1] > 0
    gradient = np.zeros(image.shape, np.complex64)
    gradient[:, 1:-1] = image[:, 2:] - image[:, :-2]
    gradient[1:-1] += 1j * (image[2:] - image[:-2])
    gradient[~whole] = 0
    size = np.abs(gradient)
    count = cv2.boxFilter(whole.astype(np.float32), -1, (WINDOW, WINDOW))
    around = cv2.boxFilter(size, -1, (WINDOW, WINDOW)) / np.maximum(count, 1e-3)
    typical = size.sum() / max(np.count_nonzero(whole), 1)
    begin, end = STEEPNESS
    steep = np.clip((size / (around + FLOOR * typical + 1e-12) - begin) / (end - begin), 0, 1)
    return steep * gradient**2 / np.maximum(size**2, 1e-20)


def _correlation(
    one: Complex[np.ndarray, "h w"], other: Complex[np.ndarray, "h w"], reach: int
) -> Float[np.ndarray, "n n"]:
    """At all offsets of the second up to `reach` pixels down and right, float32 (2 reach + 1)^2."""
    import cv2

    height, width = (cv2.getOptimalDFTSize(side + reach) for side in one.shape)
    transformed = [np.fft.fft2(field, (height, width)) for field in (one, other)]
    full = np.fft.ifft2(np.conj(transformed[0]) * transformed[1]).real
    around = np.arange(-reach, reach + 1)
    return np.ascontiguousarray(full[np.ix_(around, around)], np.float32)
