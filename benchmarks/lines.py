"""Derives how much lines of pictures count: `lines.evidence.LineSettings`.

    python -m benchmarks.lines --rendered 40 --real FOLDERS

Views of rendered rooms that nothing was trained on, clean and with 1 % of noise, and crops of the
maps of folders with a manifest that have a picture, are recovered without lines and with them.  One
weight, doubt or temper is changed at a time, the others stay.  The table shows, for each set, the
mean and median error of the field of view, by how much lines change the mean, with its 95 %
interval over scenes, the share of views that they make worse by more than 2 degrees, the share of
90 % intervals of the focal length that contain the truth, and the mean error of the near/far ratio.
A value is a good one where the change is lowest, fewer than 8 % of the views get worse, and
intervals still hold.
"""

import contextlib
import dataclasses
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import app, flags

from data.rooms.evaluation_sets import write_evaluation_set
from data.user_maps.true_maps import TrueMaps
from launch.evaluation.cases import Case, make_case
from launch.evaluation.pictures import Picture
from train3d_jax.evaluation import bootstrap, views
from train3d_jax.formats.pictures import read_colours
from train3d_jax.geometry import affine, camera, clouds
from train3d_jax.geometry.affine import Space
from train3d_jax.inference import estimation, recovery
from train3d_jax.inference.models import load_model
from train3d_jax.lines.evidence import LineSettings
from train3d_jax.lines.segments import stacked

_RENDERED = flags.DEFINE_integer("rendered", 40, "Rendered rooms, two views each; 0 for none.")
_REAL = flags.DEFINE_list("real", [], "Folders with a manifest.json of real maps with pictures.")
_SPACES = flags.DEFINE_list("spaces", ["depth", "disparity"], "Spaces to measure.")
_CROPS = flags.DEFINE_integer("crops", 4, "Crops of each real map.", lower_bound=1)

CHOICES: dict[str, tuple[float, ...]] = {
    "alone": (0.0, 0.1, 0.2),
    "given": (0.0, 0.05, 0.2),
    "focal_doubt": (0.1, 0.5),
    "in_planes": (0.0, 0.05, 0.2),
    "shift_doubt": (0.05, 0.4),
    "frame_temper": (0.15, 0.6),
}
"""Values of each setting that are tried beside the one in use."""

FIRST_SEED = 880_000
"""Of rooms that no run of training has drawn."""

NOISES = (0.0, 0.01)
BATCH = 16
MUCH = 2.0
"""Degrees of field of view by which a view is clearly worse."""


class Recovered(NamedTuple):
    """Errors of all views of a set.

    Attributes:
      fov: of the field of view, degrees, shape (N,).
      ratio: of the near/far ratio, shape (N,).
      holds: whether the interval of the focal length contains the truth, shape (N,).
    """

    fov: np.ndarray
    ratio: np.ndarray
    holds: np.ndarray


def cases_of(maps: TrueMaps, space: Space, crops: int) -> Iterator[Case]:
    """Crops of the maps of a set whose picture counts; of one crop a map, the whole map."""
    for number in range(len(maps)):
        file = maps.picture(number)
        if file is None:
            continue
        one, picture = maps[number], Picture(read_colours(file))
        for view in range(crops):
            seeds = (0, number, view)
            seen = views.make_view(one.depth, one.intrinsics, space, seeds, crops > 1, 0.0)
            case = make_case(one, seen, space, seeds, picture)
            if case is not None and case.seen.segments is not None:
                yield case


class Recovery:
    """Recovers the views of a space, with any settings by two programs: with lines and without."""

    def __init__(self, space: Space):
        model = load_model(space=space)
        setup = recovery.setup_of([model], "learned", space)
        self._params = [model.params]

        @jax.jit
        def run(
            params: Any, blocks: clouds.Blocks, known: Any, segments: Any, values: dict[str, Any]
        ) -> dict[str, Any]:
            lines = dataclasses.replace(setup.lines, **values)
            changed = dataclasses.replace(setup, lines=lines)
            return estimation.estimate(changed, params, blocks, known, segments)

        self._run = run

    def __call__(self, cases: Sequence[Case], values: dict[str, float] | None) -> Recovered:
        """Recovers cases, in batches.

        Args:
          cases: views with pictures.
          values: of the settings in `CHOICES`; None: without the pictures.
        """
        known = recovery.Known().values(BATCH)
        parts: list[Any] = []
        for start in range(0, len(cases), BATCH):
            part = cases[start : start + BATCH]
            part = [*part, *[part[-1]] * (BATCH - len(part))]
            blocks = clouds.Blocks(
                *(np.stack(x) for x in zip(*(c.blocks for c in part), strict=True))
            )
            segments = None if values is None else stacked([case.seen.segments for case in part])
            found = self._run(self._params, blocks, known, segments, values or {})
            parts.append(jax.device_get((found["focal"], found["shift"])))
        focal, shift = (np.concatenate(x)[: len(cases)] for x in zip(*parts, strict=True))
        truth = np.array([case.truth.focal for case in cases])
        width = np.array([case.size[1] for case in cases])
        fov = camera.focal_to_degrees(focal[:, 1], width)
        ratio = np.asarray(affine.shift_to_ratio(shift[:, 1]))
        return Recovered(
            np.abs(fov - [case.truth.fov for case in cases]),
            np.abs(ratio - [case.truth.ratio for case in cases]),
            (focal[:, 0] <= truth) & (truth <= focal[:, 2]),
        )


def row(name: str, now: Recovered, before: Recovered, resamples: bootstrap.Resamples) -> str:
    """A line of the table."""
    change = now.fov - before.fov
    low, high = np.quantile(resamples.means(change), bootstrap.CONFIDENCE)
    return (
        f"{name:22}{now.fov.mean():6.2f} /{np.median(now.fov):6.2f}"
        f"{change.mean():+8.2f} ({low:+.2f} to {high:+.2f}){np.mean(change > MUCH):8.0%}"
        f"{now.holds.mean():8.0%}{now.ratio.mean():9.4f}"
    )


def measure(name: str, cases: Sequence[Case], space: Space, recover: Recovery) -> None:
    """Prints the table of a set in a space."""
    print(f"\n{name}, {space}: {len(cases)} views with pictures")
    print(
        f"{'':22}{'field of view':>14}{'change, interval':>26}{'worse':>8}{'hold':>8}{'ratio':>9}"
    )
    if not cases:
        return
    resamples = bootstrap.Resamples([case.scene for case in cases], seed=0)
    settings = LineSettings()
    now = {name: getattr(settings, name) for name in CHOICES}
    before = recover(cases, None)
    print(row("without lines", before, before, resamples), flush=True)
    print(row("with lines", recover(cases, now), before, resamples), flush=True)
    for field, values in CHOICES.items():
        for value in values:
            changed = recover(cases, {**now, field: value})
            print(row(f"{field} {value:g}", changed, before, resamples), flush=True)


def main(_: list[str]) -> None:
    """Prints the tables."""
    with contextlib.ExitStack() as folders:
        sets = [(folder, folder, _CROPS.value) for folder in _REAL.value]
        for noise in NOISES if _RENDERED.value else ():
            folder = folders.enter_context(tempfile.TemporaryDirectory())
            write_evaluation_set(Path(folder), _RENDERED.value, first_seed=FIRST_SEED, noise=noise)
            sets.append((f"rendered, {noise:.0%} noise", folder, 1))
        for space in _SPACES.value:
            recover = Recovery(space)
            for name, place, crops in sets:
                measure(name, [*cases_of(TrueMaps(place), space, crops)], space, recover)


if __name__ == "__main__":
    app.run(main)
