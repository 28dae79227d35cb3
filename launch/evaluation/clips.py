"""Clips: the maps of one camera in one scene, which give one focal length together."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from data.user_maps.true_maps import TrueMap
from launch.evaluation.cases import without_batch
from launch.evaluation.config import EvaluationConfig
from launch.evaluation.methods import SOLVED_AT_ONCE, Methods
from launch.evaluation.pictures import Picture, Seen, seen_in
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
    """The focal length that the maps of a clip give together, without or with lines of pictures.

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
      pictures: how many maps gave lines too; 0 without lines.
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
    pictures: int = 0

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


class Member(NamedTuple):
    """A map of a clip in one view.

    Attributes:
      blocks: of the distorted map, without a batch axis.
      seen: what of its picture counts.
    """

    blocks: clouds.Blocks
    seen: Seen


def members_of(
    config: EvaluationConfig, clip: Clip, true_map: TrueMap, number: int, picture: Picture
) -> list[Member]:
    """A map of a clip in each view: a crop that all of its maps share, and distortions of its own.

    Returns:
      The map in each view.
    """
    made = []
    for view_number in range(config.views):
        share = _share(config, clip, view_number)
        view = views.make_view(
            true_map.depth, clip.camera.intrinsics, config.space,
            (config.seed, number, view_number), config.crop, config.noise, share,
        )  # fmt: skip
        seen = seen_in(picture, view, true_map.size, config.space)
        made.append(Member(without_batch(recovery.make_blocks([view.values])), seen))
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
        self._waiting: list[Member] = []
        self._total, self._with_lines = np.zeros(()), np.zeros(())
        self._used, self._pictures = 0, 0
        self._size = 0, 0

    def add(self, member: Member) -> None:
        """Takes one map."""
        self._waiting.append(member)
        if len(self._waiting) == SOLVED_AT_ONCE:
            self._sum_up()

    def _sum_up(self) -> None:
        blocks = [member.blocks for member in self._waiting]
        segments = [member.seen.segments for member in self._waiting]
        pictures = sum(each is not None for each in segments)
        total, used = self._methods.focal_evidence(blocks)
        with_lines, _ = self._methods.focal_evidence(blocks, segments) if pictures else (total, 0)
        self._total, self._with_lines = self._total + total, self._with_lines + with_lines
        self._used, self._pictures = self._used + used, self._pictures + pictures
        height, width = blocks[0].size
        self._size = int(height), int(width)
        self._waiting.clear()

    def results(self) -> list[Pooled]:
        """The focal length, once all maps were added; and with lines, where a picture counts."""
        if self._waiting:
            self._sum_up()
        found = [self._pooled(self._total, 0)]
        if self._pictures:
            found.append(self._pooled(self._with_lines, self._pictures))
        return found

    def _pooled(self, total: np.ndarray, pictures: int) -> Pooled:
        clip = self._clip
        focal, interval = shared_focal(total, max(self._used, 1), self._size)
        return Pooled(
            clip.camera.scene, clip.maps[0], self._view_number, self._share, self._used,
            self._size[1], float(np.diag(clip.camera.intrinsics)[:2].mean()), focal, interval,
            pictures,
        )  # fmt: skip
