"""Evaluates sets of true maps in two passes: the truth of every view, then the errors of every row.

A third reads the maps of clips, see `clips`, once more.

Maps are read and distorted in threads while others are solved.  Memory grows by a few numbers a
view; everything else is made again from its seeds.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from typing import NamedTuple, TypeVar

import numpy as np
from tqdm import tqdm

from data.parallel.work import run_in_order
from data.user_maps.true_maps import TrueMap, TrueMaps
from launch import compiling
from launch.evaluation import clips
from launch.evaluation.cases import Case, make_case
from launch.evaluation.clips import Camera, Clip, Member, Pool, Pooled
from launch.evaluation.config import EvaluationConfig
from launch.evaluation.methods import SOLVED_AT_ONCE, Methods
from launch.evaluation.pictures import read_picture
from launch.recovery.folder import printable
from train3d_jax.errors import DataError, UserError
from train3d_jax.evaluation import views
from train3d_jax.evaluation.views import Constants, Truth

_Result = TypeVar("_Result")

_READERS = 2
"""Threads; chosen, as most of their work releases Python's lock."""


class Measured(NamedTuple):
    """A view and the errors of every row.

    Attributes:
      map_number: of the map in its set.
      view_number: of the view among those of its map.
      name: of the map.
      scene: that it shows; empty where it is not known.
      share: of the largest window about the principal point that was kept.
      truth: what was to be estimated.
      table: shape (rows, `methods.COLUMNS`).
      with_lines: as of `methods.Tables`.
      picture: what became of it, one of `pictures.STATES`; empty where there is none.
      source: where the map is from; empty where it is not known.
    """

    map_number: int
    view_number: int
    name: str
    scene: str
    share: float
    truth: Truth
    table: np.ndarray
    with_lines: Mapping[str, np.ndarray] = MappingProxyType({})
    picture: str = ""
    source: str = ""


class EvaluatedSet(NamedTuple):
    """A data set and all of its views.

    Attributes:
      name: in reports.
      maps: number of maps that were to be evaluated.
      failed: number of these that could not be read.
      left_out: number of views with too few pixels to compute the truth.
      best: the best constants in hindsight.
      views: in their order.
      clips: of each clip its views; empty where no scene has `clips.LEAST_MAPS` maps of one camera.
    """

    name: str
    maps: int
    failed: int
    left_out: int
    best: Constants
    views: list[Measured]
    clips: Sequence[Pooled] = ()


def evaluate(
    config: EvaluationConfig, sets: Sequence[TrueMaps], methods: Methods
) -> Iterator[EvaluatedSet]:
    """Evaluates one set after the other; prints progress, and each failure as it happens.

    Raises:
      UserError: nothing of a set can be evaluated.
    """
    names = [maps.path.resolve().name for maps in sets]
    for maps, name in zip(sets, names, strict=True):
        yield _Run(config, maps, methods).evaluate(
            name if names.count(name) == 1 else maps.path.as_posix()
        )


class _Run:
    """One data set."""

    def __init__(self, config: EvaluationConfig, maps: TrueMaps, methods: Methods):
        self._config, self._maps, self._methods = config, maps, methods

    def evaluate(self, name: str) -> EvaluatedSet:
        count = self._config.maps_of(self._maps)
        chosen = [*map(int, np.linspace(0, len(self._maps) - 1, count).round())]
        truths: list[Truth] = []
        cameras: dict[int, Camera] = {}  # of the maps that can be evaluated
        left_out = 0
        for number, result in self._each(self._camera_and_truths, chosen, f"{name}, truth"):
            if isinstance(result, DataError):
                tqdm.write(printable(f"{name}, map {number}: {result}"))
                continue
            camera, of_views = result
            known = [truth for truth in of_views if truth is not None]
            left_out += len(of_views) - len(known)
            truths += known
            if known:
                cameras[number] = camera
            else:
                tqdm.write(f"{name}, map {number}: too few valid pixels to compute the truth")
        if not truths:
            raise UserError(f"{self._maps.path}: none of its {len(chosen)} maps can be evaluated")
        failed = len(chosen) - len(cameras)
        best = views.best_constants(truths)
        numbers, found = list(cameras), clips.clips_of(cameras)
        if shard := self._config.shard:  # `best` is of all maps, the same in every shard
            numbers, found = list(shard.take(numbers)), list(shard.take(found))
        measured = list(self._measured(numbers, best, name))
        pooled = list(self._pooled(found, name))
        return EvaluatedSet(name, len(chosen), failed, left_out, best, measured, pooled)

    def _measured(self, numbers: list[int], best: Constants, name: str) -> Iterator[Measured]:
        group: list[Case] = []
        for number, result in self._each(self._cases, numbers, f"{name}, rows"):
            if isinstance(result, DataError):  # the first pass has read it
                raise result
            cases, problem = result
            if problem:
                tqdm.write(printable(f"{name}, map {number}, without its picture: {problem}"))
            group += [case for case in cases if case is not None]
            while len(group) >= SOLVED_AT_ONCE:
                yield from self._solved(group[:SOLVED_AT_ONCE], best)
                group = group[SOLVED_AT_ONCE:]
        if group:
            yield from self._solved(group, best)

    def _solved(self, group: list[Case], best: Constants) -> Iterator[Measured]:
        for case, tables in zip(group, self._methods.measure(group, best), strict=True):
            yield Measured(
                case.map_number, case.view_number, case.name, case.scene, case.share, case.truth,
                *tables, case.seen.state, case.source,
            )  # fmt: skip

    def _pooled(self, found: Sequence[Clip], name: str) -> Iterator[Pooled]:
        clip_of = {number: clip for clip in found for number in clip.maps}

        def members(number: int) -> list[Member]:
            true_map = self._maps[number]
            picture = read_picture(self._config, self._maps, number, true_map)
            return clips.members_of(self._config, clip_of[number], true_map, number, picture)

        pools: list[Pool] = []
        numbers = list(clip_of)
        for number, result in self._each(members, numbers, f"{name}, clips") if numbers else ():
            if isinstance(result, DataError):  # the first pass has read it
                raise result
            clip = clip_of[number]
            if number == clip.maps[0]:
                views = range(self._config.views)
                pools = [Pool(self._config, clip, view, self._methods) for view in views]
            for pool, of_view in zip(pools, result, strict=True):
                pool.add(of_view)
            if number == clip.maps[-1]:
                yield from (pooled for pool in pools for pooled in pool.results())

    def _each(
        self, function: Callable[[int], _Result], numbers: list[int], title: str
    ) -> Iterator[tuple[int, _Result | DataError]]:
        """The result of a function for each map, or why the map cannot be read."""

        def tried(number: int) -> _Result | DataError:
            try:
                return function(number)
            except DataError as error:
                return error

        ahead = -(-self._config.batch_size // (3 * self._config.views))  # maps, three a worker
        with (
            ThreadPoolExecutor(_READERS) as readers,
            tqdm(total=len(numbers), desc=title, unit="map") as bar,
            compiling.shown_on(bar),
        ):
            for number, result in run_in_order(readers, tried, numbers, ahead):
                yield number, result
                bar.update()

    def _camera_and_truths(self, number: int) -> tuple[Camera, list[Truth | None]]:
        space = self._config.space
        true_map = self._maps[number]
        return clips.camera_of(true_map), [
            views.truth_of(view_of(self._config, true_map, number, view), space)
            for view in range(self._config.views)
        ]

    def _cases(self, number: int) -> tuple[list[Case | None], str]:
        """The views of a map, and a line on what is wrong with its picture."""
        config, true_map = self._config, self._maps[number]
        picture = read_picture(config, self._maps, number, true_map)
        cases = [
            make_case(
                true_map,
                view_of(config, true_map, number, view),
                config.space,
                (config.seed, number, view),
                picture,
            )
            for view in range(config.views)
        ]
        return cases, picture.problem


def view_of(config: EvaluationConfig, true_map: TrueMap, number: int, view: int) -> views.View:
    """A view of a map, the same each time."""
    seeds = (config.seed, number, view)
    return views.make_view(
        true_map.depth, true_map.intrinsics, config.space, seeds, config.crop, config.noise
    )
