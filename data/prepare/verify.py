"""Checks a finished set against its hashes, and repairs it from the raw datasets."""

from collections.abc import Iterator
from concurrent.futures import Executor
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from data.parallel.work import Number, run_in_order
from data.prepare.sources import open_reader
from data.prepared import layout, manifest, npz_files, records, writing
from data.protocol import DepthMap, Reader, Scene
from train3d_jax import locks
from train3d_jax.errors import DataError, UserError
from train3d_jax.files import write_whole


class Fault(NamedTuple):
    """A missing or changed file of a set.

    file: relative to the set.  problem: `is missing`, `is changed`, or why a repair failed.
    first, count: the samples that it holds; none for a file computed from the manifest.
    """

    file: str
    problem: str
    first: int = 0
    count: int = 0

    def __str__(self) -> str:
        return f"{self.file}: {self.problem}"


class _Promise(NamedTuple):
    """A file, its expected SHA-256, and the samples that it holds."""

    file: Path
    sha256: str
    first: int
    count: int


def verify(folder: Path, executor: Executor, num_workers: Number) -> Iterator[Fault]:
    """Every file of a finished set that is missing or changed, in the order of the samples.

    Raises UserError when there is no finished set, or when its listing itself is damaged, without
    which nothing can be checked.
    """
    _finished(folder)
    for name, contents in manifest.summaries(folder).items():
        if not (folder / name).is_file():
            yield Fault(name, "is missing")
        elif (folder / name).read_bytes() != contents:
            yield Fault(name, "is changed")
    for promise, problem in run_in_order(executor, _problem, _promises(folder), num_workers):
        if problem:
            file = promise.file.relative_to(folder).as_posix()
            yield Fault(file, problem, promise.first, promise.count)


def repair(
    folder: Path, roots: dict[str, Path | None], executor: Executor, num_workers: Number
) -> Iterator[tuple[Fault, bool]]:
    """Writes the files that `verify` names again; yields each, and whether it has its hash again.

    Args:
      folder: the set.
      roots: where the datasets are now, by name; None: where they were.
      executor: hashes the files.
      num_workers: of the executor.

    Raises:
      UserError: as `verify`, or a dataset that is needed is not there.
    """
    raw = _Raw(_finished(folder)["settings"], roots)
    with locks.hold(folder, "repairs"):
        yield from _repair(folder, raw, executor, num_workers)


def _repair(
    folder: Path, raw: "_Raw", executor: Executor, num_workers: Number
) -> Iterator[tuple[Fault, bool]]:
    writing.clean(folder)
    faults = list(verify(folder, executor, num_workers))
    mended: set[tuple[int, int]] = set()  # both files of an npz sample are made at once
    for fault in faults:
        try:
            if fault.count == 0:
                write_whole(folder / fault.file, manifest.summaries(folder)[fault.file])
            elif (fault.first, fault.count) not in mended:
                _make_again(folder, fault, raw)
                mended.add((fault.first, fault.count))
            yield fault, True
        except DataError as error:
            yield fault._replace(problem=f"cannot be made again: {error}"), False
    writing.drop_staged(folder)


def _finished(folder: Path) -> dict[str, Any]:
    match layout.state(folder):
        case layout.State.FINISHED:
            described = layout.description(folder)
        case other:
            raise UserError(f"--out={folder}: is {other.value}, there is no finished set to verify")
    if "manifest_sha256" not in described:
        raise UserError(f"--out={folder}: was made by an earlier version, which kept no hashes")
    listing = folder / layout.MANIFEST
    if not listing.is_file() or writing.hash_file(listing) != described["manifest_sha256"]:
        raise UserError(
            f"{listing}: is missing or changed, and with it what the other files should be;"
            " prepare the set anew in another folder"
        )
    return described


def _promises(folder: Path) -> Iterator[_Promise]:
    described = layout.description(folder)
    if described["settings"].get("format") == layout.ARRAY_RECORD:
        for number, size in enumerate(records.shard_sizes(described["samples"])):
            sha256 = described["shards"][number]
            first = number * records.SAMPLES_PER_SHARD
            yield _Promise(records.shard(folder, number), sha256, first, size)
        return
    for index, row in enumerate(manifest.rows(folder)):
        depth = folder / npz_files.DEPTHS / f"{row['id']}.npz"
        yield _Promise(depth, row["sha256"], index, 1)
        intrinsics = folder / npz_files.INTRINSICS / f"{row['id']}.npy"
        yield _Promise(intrinsics, row.get("intrinsics_sha256", ""), index, 1)


def _problem(promise: _Promise) -> str | None:
    try:
        same = writing.hash_file(promise.file) == promise.sha256
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    return None if same else "is changed"


class _Raw:
    """The raw datasets of a set, opened when they are needed."""

    def __init__(self, settings: dict[str, Any], roots: dict[str, Path | None]):
        self.settings = settings
        self._roots = roots
        self._opened: dict[str, tuple[Reader, dict[str, Scene]]] = {}

    def read(self, row: manifest.Row) -> DepthMap:
        """The depth map of a row, as `launch.prepare` reads it.  Raises DataError."""
        name = row["dataset"]
        if name not in self._opened:
            root = self._roots.get(name) or Path(self.settings.get(name) or "")
            if not root.is_dir():
                raise UserError(f"--{name}={root}: there is no such folder, and it is needed")
            reader = open_reader(name, root, self.settings.get("tum_camera"))
            scenes = reader.scenes(on_broken=lambda error: None)
            self._opened[name] = reader, {scene.name: scene for scene in scenes}
        reader, scenes = self._opened[name]
        if row["scene"] not in scenes:
            raise DataError(reader.root, f"has no scene {row['scene']} any more")
        depth_map = reader.read(scenes[row["scene"]], row["frame"])
        return depth_map.limited(self.settings["max_depth_m"])


def _make_again(folder: Path, fault: Fault, raw: _Raw) -> None:
    """Writes the samples of a file again.  Raises DataError when they are not the same any more."""
    rows = list(islice(manifest.rows(folder), fault.first, fault.first + fault.count))
    for index, row in enumerate(rows, start=fault.first):
        origin = manifest.Origin(row["dataset"], row["scene"], row["source"], row["frame"])
        format = raw.settings["format"]
        again = writing.write_sample(folder, index, raw.read(row), origin, format)
        if again != row:
            raise DataError(row["source"], "gives another sample than it did: it has changed")
    if raw.settings["format"] == layout.ARRAY_RECORD:
        number = fault.first // records.SAMPLES_PER_SHARD
        records.pack(folder, number, fault.first, fault.count)
        records.drop(folder, fault.first, fault.count)
