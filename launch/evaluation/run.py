"""Evaluates sets of true maps in two passes: what is true, then what every row makes of it.

Maps are read and distorted in threads while others are solved.  Memory grows by a few numbers a
view: everything else is made again from its seeds where it is needed again.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from tqdm import tqdm

from data.parallel.work import run_in_order
from data.user_maps.true_maps import TrueMap, TrueMaps
from launch import compiling
from launch.evaluation.config import WORST, EvaluationConfig
from launch.evaluation.methods import COLUMNS, SOLVED_AT_ONCE, Case, Methods, make_case
from launch.recovery.folder import printable
from train3d_jax.errors import DataError, UserError
from train3d_jax.evaluation import views as evaluation
from train3d_jax.evaluation.views import Constants, Truth
from train3d_jax.geometry import camera, depth_maps
from train3d_jax.pictures.shapes import Shape
from train3d_jax.pictures.sheets import draw_sheet

_Found = TypeVar("_Found")

_READERS = 2
"""Threads; what they do is mostly done outside of Python's lock."""


class Measured(NamedTuple):
    """A view and how wrong every row is about it.

    Attributes:
      map_number: of the map in its set.
      view_number: of the view among those of its map.
      name: of the map.
      scene: that it shows; empty where it is not known.
      share: of the largest window about the principal point that was kept.
      truth: what was to be found.
      table: shape (rows, `evaluation_methods.COLUMNS`).
    """

    map_number: int
    view_number: int
    name: str
    scene: str
    share: float
    truth: Truth
    table: np.ndarray


class EvaluatedSet(NamedTuple):
    """A data set and all of its views.

    Attributes:
      name: what to call it.
      maps: that were to be evaluated.
      failed: of these, could not be read.
      left_out: views of which too little was left to say what is true.
      best: the best constants in hindsight.
      views: in their order.
    """

    name: str
    maps: int
    failed: int
    left_out: int
    best: Constants
    views: list[Measured]


def evaluate(
    config: EvaluationConfig, sets: Sequence[TrueMaps], methods: Methods
) -> Iterator[EvaluatedSet]:
    """Evaluates one set after the other; shows progress, and what failed as it fails.

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
        most = self._config.max_maps or len(self._maps)
        chosen = np.linspace(0, len(self._maps) - 1, min(len(self._maps), most)).round()
        truths: list[Truth] = []
        readable: list[int] = []
        left_out = 0
        for number, found in self._each(self._truths, [*map(int, chosen)], f"{name}, truth"):
            if isinstance(found, DataError):
                tqdm.write(printable(f"{name}, map {number}: {found}"))
                continue
            known = [truth for truth in found if truth is not None]
            left_out += len(found) - len(known)
            truths += known
            if known:
                readable.append(number)
            else:
                tqdm.write(f"{name}, map {number}: too few valid pixels to say what is true")
        if not truths:
            raise UserError(f"{self._maps.path}: none of its {len(chosen)} maps can be evaluated")
        failed = len(chosen) - len(readable)
        best = evaluation.best_constants(truths)
        if self._config.shard:  # what is true of all maps, every shard finds alike
            readable = list(self._config.shard.take(readable))
        views = list(self._measured(readable, best, name))
        return EvaluatedSet(name, len(chosen), failed, left_out, best, views)

    def _measured(self, numbers: list[int], best: Constants, name: str) -> Iterator[Measured]:
        group: list[Case] = []
        for _, found in self._each(self._cases, numbers, f"{name}, rows"):
            if isinstance(found, DataError):  # it was whole a moment ago
                raise found
            group += [case for case in found if case is not None]
            while len(group) >= SOLVED_AT_ONCE:
                yield from self._solved(group[:SOLVED_AT_ONCE], best)
                group = group[SOLVED_AT_ONCE:]
        if group:
            yield from self._solved(group, best)

    def _solved(self, group: list[Case], best: Constants) -> Iterator[Measured]:
        for case, table in zip(group, self._methods.measure(group, best), strict=True):
            yield Measured(
                case.map_number, case.view_number, case.name, case.scene, case.share, case.truth,
                table,
            )  # fmt: skip

    def _each(
        self, function: Callable[[int], _Found], numbers: list[int], title: str
    ) -> Iterator[tuple[int, _Found | DataError]]:
        """What a function makes of the views of each map, or why the map cannot be had."""

        def tried(number: int) -> _Found | DataError:
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
            for number, found in run_in_order(readers, tried, numbers, ahead):
                yield number, found
                bar.update()

    def _truths(self, number: int) -> list[Truth | None]:
        space = self._config.space
        found = self._maps[number]
        views = (view_of(self._config, found, number, view) for view in range(self._config.views))
        return [evaluation.truth_of(view, space) for view in views]

    def _cases(self, number: int) -> list[Case | None]:
        config, found = self._config, self._maps[number]
        return [
            make_case(
                found,
                view_of(config, found, number, view),
                config.space,
                (config.seed, number, view),
            )
            for view in range(config.views)
        ]


def view_of(config: EvaluationConfig, found: TrueMap, number: int, view: int) -> evaluation.View:
    """A view of a map, the same each time."""
    seeds = (config.seed, number, view)
    return evaluation.make_view(
        found.depth, found.intrinsics, config.space, seeds, config.crop, config.noise
    )


def draw_worst(
    config: EvaluationConfig,
    sets: Sequence[TrueMaps],
    evaluated: Sequence[EvaluatedSet],
    methods: Methods,
) -> list[Path]:
    """Draws the views with the largest point errors: nothing corrected, and the method's answer."""
    point_error = COLUMNS.index("point_error")
    views = [
        (maps, result.name, view)
        for maps, result in zip(sets, evaluated, strict=True)
        for view in result.views
    ]
    views.sort(key=lambda each: -each[2].table[methods.pictured, point_error])
    drawn = []
    for place, (maps, name, measured) in enumerate(views[: config.worst], start=1):
        found = maps[measured.map_number]
        view = view_of(config, found, measured.map_number, measured.view_number)
        row = dict(zip(COLUMNS, measured.table[methods.pictured], strict=True))
        height, width = view.values.shape
        label = f"{measured.name.replace('/', '_')}_{measured.view_number}"
        path = config.out / WORST / f"{place:02d}_{printable(name).replace('/', '_')}_{label}.png"
        before, after = (
            _shape(view.values, focal, shift, config)
            for focal, shift in (
                (float(camera.initial_focal(height)), 0.0),
                (row["focal_px"], row["shift"]),
            )
        )
        true_fov = camera.focal_to_degrees(measured.truth.focal, width)
        draw_sheet(
            path,
            view.values,
            before,
            after,
            f"{label}, {methods.rows[methods.pictured]}: points {100 * row['point_error']:.1f} %, "
            f"field of view {row['fov_error_deg']:.1f} degrees, shift "
            f"{100 * row['shift_error']:.1f} %; true focal length {measured.truth.focal:.0f} px "
            f"({true_fov:.1f} degrees wide)",
        )
        drawn.append(path)
    return drawn


def _shape(values: np.ndarray, focal: float, shift: float, config: EvaluationConfig) -> Shape:
    scale, offset = evaluation.canonical_form(values) or (1.0, 0.0)
    straight = depth_maps.recovered_depth(values, scale, offset + shift, config.space)
    height, width = values.shape
    return Shape(straight, camera.centred_intrinsics(focal, height, width))
