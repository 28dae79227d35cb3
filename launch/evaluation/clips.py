"""Clips: the maps of one camera in one scene, which give one focal length together."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from data.user_maps.true_maps import TrueMap
from launch.evaluation.config import EvaluationConfig
from launch.evaluation.methods import SOLVED_AT_ONCE, Methods, without_batch
from train3d_jax.evaluation import views
from train3d_jax.geometry import camera, clouds
from train3d_jax.inference import recovery
from train3d_jax.inference.clips import shared_focal

LEAST_MAPS = 5
"""Maps of a clip at least.  Chosen."""

_ROUNDING = 1e-3
"""Relative difference of intrinsics up to which two maps have one camera.  Chosen: some datasets
store them with four digits."""


class Camera(NamedTuple):
    """What tells clips apart: scene, height and width in pixels, and (3, 3) intrinsics."""

    scene: str
    size: tuple[int, int]
    intrinsics: np.ndarray


class Clip(NamedTuple):
    """Maps of one camera in one scene: the camera, and the numbers of the maps in their set."""

    camera: Camera
    maps: tuple[int, ...]


class Pooled(NamedTuple):
    """The focal length that the maps of a clip give together.

    Attributes:
      scene: that all maps show.
      first_map: number of the first map in its set.
      view_number: of the crop, which all maps share.
      share: of the largest window about the principal point that was kept.
      maps: how many gave evidence.
      width: of the crop in pixels.
      true_focal: pixels, mean of both axes.
      focal: the estimate, pixels; the prior's median where no map gave evidence.
      interval: contains the focal length with 90 % probability, pixels.
    """

    scene: str
    first_map: int
    view_number: int
    share: float
    maps: int
    width: int
    true_focal: float
    focal: float
    interval: tuple[float, float]

    @property
    def held(self) -> bool:
        """Whether the interval holds the truth."""
        return self.interval[0] <= self.true_focal <= self.interval[1]

    @property
    def fov_error(self) -> float:
        """Degrees."""
        return abs(self.fov_of(self.focal) - self.fov_of(self.true_focal))

    def fov_of(self, focal: float) -> float:
        """The horizontal field of view in degrees of a focal length in pixels."""
        return float(camera.focal_to_degrees(focal, self.width))


def camera_of(true_map: TrueMap) -> Camera:
    """The camera that took a map."""
    height, width = true_map.depth.shape
    return Camera(true_map.scene, (height, width), true_map.intrinsics)


def clips_of(cameras: Mapping[int, Camera]) -> list[Clip]:
    """The clips among maps, by the number of each map; a map without a scene is in none."""
    clips: dict[tuple[str, tuple[int, int]], list[Clip]] = {}
    for number, found in cameras.items():
        if not found.scene:
            continue
        alike = clips.setdefault((found.scene, found.size), [])
        for place, clip in enumerate(alike):
            if np.allclose(found.intrinsics, clip.camera.intrinsics, rtol=_ROUNDING, atol=0):
                alike[place] = clip._replace(maps=(*clip.maps, number))
                break
        else:
            alike.append(Clip(found, (number,)))
    whole = [clip for alike in clips.values() for clip in alike if len(clip.maps) >= LEAST_MAPS]
    return sorted(whole, key=lambda clip: clip.maps)


def blocks_of(
    config: EvaluationConfig, clip: Clip, true_map: TrueMap, number: int
) -> list[clouds.Blocks]:
    """A map of a clip in each view: a crop that all of its maps share, and distortions of its own.

    Returns:
      The distorted map of each view, without a batch axis.
    """
    made = []
    for view_number in range(config.views):
        share = _share(config, clip, view_number)
        view = views.make_view(
            true_map.depth, clip.camera.intrinsics, config.space,
            (config.seed, number, view_number), config.crop, config.noise, share,
        )  # fmt: skip
        made.append(without_batch(recovery.make_blocks([view.values])))
    return made


def _share(config: EvaluationConfig, clip: Clip, view_number: int) -> float:
    if not config.crop:
        return 1.0
    return views.drawn_share((config.seed, clip.maps[0], view_number))


class Pool:
    """The evidence of the maps of a clip in one view, summed a batch at a time."""

    def __init__(self, config: EvaluationConfig, clip: Clip, view_number: int, methods: Methods):
        self._clip, self._view_number, self._methods = clip, view_number, methods
        self._share = _share(config, clip, view_number)
        self._waiting: list[clouds.Blocks] = []
        self._total, self._used = np.zeros(()), 0
        self._size = 0, 0

    def add(self, blocks: clouds.Blocks) -> None:
        """Takes one map, see `blocks_of`."""
        self._waiting.append(blocks)
        if len(self._waiting) == SOLVED_AT_ONCE:
            self._sum_up()

    def _sum_up(self) -> None:
        total, used = self._methods.focal_evidence(self._waiting)
        self._total, self._used = self._total + total, self._used + used
        height, width = self._waiting[0].size
        self._size = int(height), int(width)
        self._waiting.clear()

    def result(self) -> Pooled:
        """The focal length, once all maps were added."""
        if self._waiting:
            self._sum_up()
        clip = self._clip
        focal, interval = shared_focal(self._total, max(self._used, 1), self._size)
        return Pooled(
            clip.camera.scene, clip.maps[0], self._view_number, self._share, self._used,
            self._size[1], float(np.diag(clip.camera.intrinsics)[:2].mean()), focal, interval,
        )  # fmt: skip
