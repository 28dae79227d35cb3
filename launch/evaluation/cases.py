"""Views of an evaluation as they are solved and measured."""

import math
from typing import NamedTuple

import numpy as np

from data.user_maps.true_maps import TrueMap
from launch.evaluation.pictures import Picture, Seen, seen_in
from train3d_jax.evaluation import views
from train3d_jax.evaluation.views import Truth, View
from train3d_jax.geometry import affine, camera, clouds
from train3d_jax.inference import recovery

HINT_SIGMA = 0.03
"""Standard deviation of the logarithm of hinted focal lengths; that of the best EXIF tags."""

NUM_POINTS = 4096
"""Pixels of each view at which point errors are measured.  Chosen; fixed, so that nothing is
compiled twice."""


class Case(NamedTuple):
    """A view, ready to be solved and measured, without its map.

    Attributes:
      map_number: of the map in its set.
      view_number: of the view among those of its map.
      name: of the map.
      scene: that it shows; empty where it is not known.
      source: where the map is from; empty where it is not known.
      share: of the largest window about the principal point that was kept.
      size: height and width in pixels.
      intrinsics: true ones, (3, 3) in pixels.
      truth: what is to be estimated.
      hinted_focal: the true focal length with an error of `HINT_SIGMA`, pixels.
      blocks: of the distorted map, without a batch axis.
      true_blocks: of the map with its true shift.
      pixels: drawn (u, v), relative to the image centre, (NUM_POINTS, 2).
      values: canonical values there, (NUM_POINTS,).
      points: true points there, (NUM_POINTS, 3).
      mask: which of the drawn pixels exist, (NUM_POINTS,).
      seen: what of the map's picture counts.
    """

    map_number: int
    view_number: int
    name: str
    scene: str
    source: str
    share: float
    size: tuple[int, int]
    intrinsics: np.ndarray
    truth: Truth
    hinted_focal: float
    blocks: clouds.Blocks
    true_blocks: clouds.Blocks
    pixels: np.ndarray
    values: np.ndarray
    points: np.ndarray
    mask: np.ndarray
    seen: Seen


def make_case(
    true_map: TrueMap,
    view: View,
    space: affine.Space,
    seeds: tuple[int, int, int],
    picture: Picture = Picture(),  # noqa: B008  # immutable
) -> Case | None:
    """A view as it is solved and measured; None where too few of its pixels are valid."""
    truth = views.truth_of(view, space)
    canonical = views.canonical_form(view.values)
    if truth is None or canonical is None:
        return None
    height, width = view.depth.shape
    drawn, mask = views.draw_pixels(view, seeds, NUM_POINTS)
    rows, columns = drawn.T
    pixels = drawn[:, ::-1].astype(np.float64)
    z = view.depth[rows, columns].astype(np.float64)
    points = camera.unproject_pixels(pixels, z, view.intrinsics)
    scale, offset = canonical
    hint_error = HINT_SIGMA * np.random.default_rng((*seeds, 2)).standard_normal()
    return Case(
        *seeds[1:],
        name=true_map.name,
        scene=true_map.scene,
        source=true_map.source,
        share=view.share,
        size=(height, width),
        intrinsics=view.intrinsics,
        truth=truth,
        hinted_focal=truth.focal * math.exp(hint_error),
        blocks=without_batch(recovery.make_blocks([view.values])),
        true_blocks=without_batch(recovery.make_blocks([views.true_values(view, space)])),
        pixels=pixels - ((width - 1) / 2, (height - 1) / 2),
        values=scale * view.values[rows, columns].astype(np.float64) + offset,
        points=points,
        mask=mask,
        seen=seen_in(picture, view, true_map.size, space),
    )


def without_batch(blocks: clouds.Blocks) -> clouds.Blocks:
    """The only map of a batch of one."""
    return clouds.Blocks(*(np.asarray(column)[0] for column in blocks))
