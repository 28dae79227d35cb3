"""The plan of a preparation: checked settings, the number of frames of each scene, the tasks.

The plan is a pure function of the settings and of the scenes and their sizes.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from data.prepare import sources
from data.prepare.sampling import allocate_scenes, choose
from data.prepare.sources import READERS
from data.prepared import layout
from data.protocol import Frame, Reader, Scene, UnsuitableError
from data.readers.listing import contents
from data.validity import DEFAULT_MIN_VALID
from train3d_jax.errors import DataError, UserError

__all__ = ["READERS", "PrepareConfig", "Selection", "Slot", "Task", "select", "task_start", "tasks"]

_Result = TypeVar("_Result")

DEFAULT_MAX_BAD_FRACTION = 0.01
"""Share of broken samples above which a dataset is taken for a damaged copy; chosen."""

_SAMPLES_PER_TASK = 8  # chosen: hides the cost of a task, and the progress bar stays smooth


@dataclass(frozen=True)
class PrepareConfig:
    """The settings of a preparation.  Raises UserError when values exclude each other.

    roots: the folders, None where one is not given, in the order of `READERS` and `OWN_READERS`;
    the latter may be left off.
    num_samples: counts, see `sources.sources`.  out: folder of the set.
    num_workers: processes; 0 works in this one.  scheduler: address of a Dask scheduler whose
    workers take their place; they must see all folders, by absolute paths.
    format: one of `layout.FORMATS`.
    max_depth_m: depth beyond it, in metres, is missing; None: no limit.
    min_valid: least share of valid pixels, 0 to 1.
    max_bad_fraction: largest share of broken samples, 0 to 1; above it the run stops.
    tum_camera: of the TUM captures; None where they have cameras of their own.
    """

    roots: tuple[Path | None, ...]
    num_samples: tuple[int, ...]
    out: Path
    seed: int = 0
    num_workers: int = 2
    format: str = layout.NPZ
    max_depth_m: float | None = None
    min_valid: float = DEFAULT_MIN_VALID
    max_bad_fraction: float = DEFAULT_MAX_BAD_FRACTION
    scheduler: str | None = None
    tum_camera: sources.Camera | None = None

    def __post_init__(self):
        given = self.given()
        if not any(self.roots):
            raise UserError(f"no dataset is given: give at least one of {sources.flags()}")
        if not any(self.num_samples):
            raise UserError("--num_samples: all counts are 0, there is nothing to prepare")
        if self.num_workers < 0:
            raise UserError(f"--num_workers={self.num_workers}: give 0 or more processes")
        if self.format not in layout.FORMATS:
            raise UserError(f"--format={self.format}: give one of {', '.join(layout.FORMATS)}")
        if self.max_depth_m is not None and not 0 < self.max_depth_m < math.inf:
            raise UserError(f"--max_depth_m={self.max_depth_m:g}: give metres above 0")
        for flag, value in (
            ("min_valid", self.min_valid),
            ("max_bad_fraction", self.max_bad_fraction),
        ):
            if not 0 <= value <= 1:
                raise UserError(f"--{flag}={value:g}: give a share from 0 to 1")
        for name, root, count in given:
            if count and root is None:
                raise UserError(
                    f"--num_samples asks for {count} of {name}, but --{name} is not given:"
                    " give it, or a count of 0"
                )
            if root is not None and not root.is_dir():
                raise UserError(f"--{name}={root}: there is no such folder")

    def given(self) -> list[sources.Source]:
        """The datasets and own captures, each with its folder and count."""
        return sources.sources(self.roots, self.num_samples)

    def settings(self) -> dict[str, Any]:
        """The settings that the result depends on, as dataset.json keeps them."""
        roots = sources.by_name(self.roots)
        own = {"tum_camera": self.tum_camera and list(self.tum_camera)}
        return {
            **{name: None if root is None else str(root.resolve()) for name, root in roots.items()},
            "num_samples": list(self.num_samples),
            "seed": self.seed,
            "format": self.format,
            "max_depth_m": self.max_depth_m,
            "min_valid": self.min_valid,
            **(own if len(roots) > len(sources.READERS) else {}),
        }


class Selection(NamedTuple):
    """The selection from one dataset: scenes, the number of frames of each, unreadable files."""

    reader: Reader
    scenes: list[Scene]
    counts: list[int]
    broken: list[DataError]

    @property
    def available(self) -> int:
        """The number of frames of all scenes."""
        return sum(sum(scene.rounds()) for scene in self.scenes)

    def facts(self) -> dict[str, Any]:
        """Facts by which another run recognises the same raw data."""
        sizes = [(scene.name, scene.rounds()) for scene in self.scenes]
        return {
            "scenes": len(self.scenes),
            "samples": self.available,
            "sha256": hashlib.sha256(json.dumps(sizes).encode()).hexdigest(),
        }

    def __str__(self) -> str:
        by_size = sorted(
            range(len(self.scenes)), key=lambda number: sum(self.scenes[number].rounds())
        )
        extremes = [
            f"{self.counts[number]} of the {sum(self.scenes[number].rounds())} of the {which}"
            f" scene ({self.scenes[number].name})"
            for which, number in (("smallest", by_size[0]), ("largest", by_size[-1]))
        ]
        unreadable = f", {len(self.broken)} more left out" if self.broken else ""
        return (
            f"{self.reader.name}: {len(self.scenes)} scenes{unreadable}, {self.available} samples"
            f" available, {sum(self.counts)} asked for: {', '.join(extremes)}"
        )


class Slot(NamedTuple):
    """A sample to be written: its index in the set, the scene it is of, and the frame to try.

    home, number: of scenes in the selection.  scene: that number, without its places.
    """

    index: int
    home: int
    number: int
    scene: Scene
    frame: Frame


class Task(NamedTuple):
    """Some samples of one dataset, with everything that a worker needs."""

    reader: Reader
    slots: list[Slot]
    config: PrepareConfig


def select(config: PrepareConfig) -> list[Selection]:
    """The number of frames of each scene, from names and headers alone.

    Raises UserError when a dataset has no scene, or fewer frames than are asked for.
    """
    selections = []
    for name, root, count in config.given():
        if root is None or not count:
            continue
        reader = sources.open_reader(name, root, config.tum_camera)
        broken: list[DataError] = []
        scenes = named(root, reader.scenes, broken.append)
        available = sum(sum(scene.rounds()) for scene in scenes)
        unreadable = _left_out(broken)
        if not available:
            searched = ", ".join(reader.patterns)
            what = named(root, contents, root)
            raise UserError(
                f"--{name}={root}: holds no scene of {name}{unreadable}; looked for {searched};"
                f" found {what}"
            )
        if count > available:
            raise UserError(
                f"--num_samples asks for {count} of {name}, but {root} holds {available}"
                f" in {len(scenes)} scenes: ask for {available} at most{unreadable}"
            )
        counts = allocate_scenes(scenes, count, config.seed)
        selections.append(Selection(reader, scenes, counts, broken))
    return selections


def tasks(selection: Selection, first: int, config: PrepareConfig) -> Iterator[Task]:
    """The tasks of one dataset, in the order of its samples, made lazily."""
    for home, (scene, count) in enumerate(zip(selection.scenes, selection.counts, strict=True)):
        frames = choose(scene, count, config.seed)
        light = scene.without_places()
        for start in range(0, count, _SAMPLES_PER_TASK):
            some = enumerate(frames[start : start + _SAMPLES_PER_TASK], start=first + start)
            slots = [Slot(index, home, home, light, frame) for index, frame in some]
            yield Task(selection.reader, slots, config)
        first += count


def task_start(selections: list[Selection], index: int) -> int:
    """The index of the first sample of the task that makes sample `index`."""
    first = 0
    for selection in selections:
        for count in selection.counts:
            if index < first + count:
                return index - (index - first) % _SAMPLES_PER_TASK
            first += count
    return first


def _left_out(errors: list[DataError]) -> str:
    unsuitable = [error for error in errors if isinstance(error, UnsuitableError)]
    broken = [error for error in errors if error not in unsuitable]
    return "".join(
        f"; {len(some)} {what}, such as {some[0]}"
        for some, what in ((broken, "cannot be read"), (unsuitable, "not suitable"))
        if some
    )


def named(file: Path, function: Callable[..., _Result], *args: Any) -> _Result:
    """Calls `function`; an OSError becomes a DataError that names the file."""
    try:
        return function(*args)
    except OSError as error:
        raise DataError(error.filename or file, error.strerror or error) from None
