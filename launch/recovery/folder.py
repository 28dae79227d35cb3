"""Recovers a folder of depth maps: reads, solves and writes at the same time, map by map in order.

Memory does not depend on how many maps there are: some are being read, a batch is being solved,
some are being written, and all the rest is on disk.
"""

import contextlib
import errno
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from types import MappingProxyType
from typing import Any, NamedTuple

from tqdm import tqdm

from data.parallel.work import run_in_order
from data.user_maps.depth_files import DepthFile
from launch import compiling
from launch.recovery import one_map as recovery
from launch.recovery import saving, shared_camera
from launch.recovery.config import RecoveryConfig
from launch.recovery.notes import Note, notes_of
from launch.recovery.one_map import Map, Solved
from launch.recovery.summary import Outcome, Summary
from train3d_jax.errors import UserError
from train3d_jax.export import answers as export
from train3d_jax.inference.models import Model, check_models, load_model

_READERS = _WRITERS = 2
"""Threads; what they do is mostly done outside of Python's lock."""

_BATCH_PIXELS = 1 << 26
"""A batch of very large maps is closed early: at this many pixels (256 MiB in float32)."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""No other map could be written either."""


_MOST_NOTES = 20
"""Ways out that are named; values that stand for missing pixels could be others in every map."""


class _Failure(NamedTuple):
    """A map that cannot be had, and why."""

    file: DepthFile
    reason: str


class _Row(NamedTuple):
    """What the summary takes: an answer, whether an earlier run gave it, and notes on its flags."""

    file: DepthFile
    answer: dict[str, Any]
    resumed: bool = False
    notes: Mapping[str, Note] = MappingProxyType({})


def recover_folder(config: RecoveryConfig, models: Sequence[Model] | None = None) -> Outcome:
    """Recovers every map and writes its answer; shows progress, and what failed as it fails.

    Args:
      config: what, with what, and where to.
      models: in place of those that `config.runs` names.

    Raises:
      UserError: nothing to read, or networks that do not fit; before any work.  Later only where
        nothing more can be written.
    """
    files, others = recovery.find_maps(config)
    if models is None:
        models = [load_model(run, config.space) for run in config.runs]
    check_models(models, config.space, config.camera.is_known, config.shift_known, config.method)
    with Summary(config.out, config.told(), of_all=config.shard is None) as summary:
        task = _Recovery(config, models)
        if config.shared_camera and not config.merge:
            task.share_camera(files)  # all of them: every shard finds the same
        if config.shard:
            files = config.shard.take(files)
        told = set()
        run, does = (task.merge, "merging") if config.merge else (task.run, "recovering")
        with tqdm(total=len(files), desc=does, unit="map") as bar, compiling.shown_on(bar):
            for row in run(files):
                _tell(row, told)
                bar.update()
                summary.add(row.answer, _links(config, row), row.resumed)
        return summary.finish()._replace(others=others)


def _tell(row: _Row, told: set[str]) -> None:
    """Says why a map failed, and what to do about its flags where that was not said before."""
    if row.answer["error"]:
        tqdm.write(printable(f"{row.file.relative}: {row.answer['error']}"))
    for flag in row.answer["flags"]:
        note = row.notes.get(flag)
        if note is None or note.remedy in told or len(told) == _MOST_NOTES:
            continue
        told.add(note.remedy)
        line = f"{row.file.relative}: {note.problem}; {note.remedy}"
        tqdm.write(printable(f"{line}; summary.json counts all ({flag})"))


def printable(text: str) -> str:
    """Text on one line that no terminal takes for a command; file names can hold anything."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _links(config: RecoveryConfig, row: _Row) -> dict[str, str]:
    links = {"json": f"{row.file.name}.json"}
    if row.answer["error"] is None:
        for kind in config.saving.kinds:
            links[kind] = f"{row.file.name}{saving.ENDINGS[kind]}"
    return links


class _Recovery:
    """One run over a folder."""

    def __init__(self, config: RecoveryConfig, models: Sequence[Model]):
        self._config, self._models = config, models
        self._origin = recovery.origin_of(config, models)
        self._shared: shared_camera.Shared | None = None

    def share_camera(self, files: Sequence[DepthFile]) -> None:
        """Finds the one focal length of all maps, before any of them is recovered."""
        self._shared = shared_camera.find(files, self._config, self._models)
        tqdm.write(self._shared.told())

    def merge(self, files: Sequence[DepthFile]) -> Iterator[_Row]:
        """A row for each file from the answer that a shard has left.

        Raises:
          UserError: a file has none, or shards found different cameras for `shared_camera`.
        """
        first: _Row | None = None
        for file in files:
            answer = self._answered(file)
            if answer is None:
                raise UserError(
                    f"--merge: {printable(file.relative)} has no answer of these settings in "
                    f"{self._config.out}; run the shard that it is in, with the same flags and "
                    "networks"
                )
            row = _Row(file, answer)
            if self._config.shared_camera and answer["error"] is None:
                first = first or row
                shared_camera.refuse_other_camera(file, answer, first.file, first.answer)
            yield row

    def run(self, files: Sequence[DepthFile]) -> Iterator[_Row]:
        """Recovers and writes; gives a row for each file, in their order."""
        with _threads(_READERS) as readers, _threads(_WRITERS) as writers:
            ahead = -(-self._config.batch_size // 3)  # run_in_order takes three tasks a worker
            read = run_in_order(readers, self._read, files, ahead)
            pending: deque[Future[_Row]] = deque()
            for batch in self._batches(result for _, result in read):
                pending.extend(self._recover(batch, writers))
                while len(pending) > self._config.batch_size:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()

    def _read(self, file: DepthFile) -> Map | _Failure | _Row:
        config = self._config
        try:
            answer = self._answered(file) if config.resume else None
            if answer is not None and answer["error"] is None:
                return _Row(file, answer, resumed=True)
            return recovery.read_map(file, config)
        except (UserError, MemoryError) as error:
            return _Failure(file, recovery.reason(file, error))

    def _answered(self, file: DepthFile) -> dict[str, Any] | None:
        """The answer of another run, where it came out of this file and these settings."""
        path = self._config.out / f"{file.name}.json"
        answer = export.read_answer(path)
        if answer is None or answer["input"] != file.relative:
            return None
        if answer["settings"] != self._origin.settings:
            return None
        if self._shared is not None and not self._shared.took(answer):
            return None
        try:
            sources = [file.path, *self._config.camera.sources(file)]
            newest = max(source.stat().st_mtime for source in sources)
            return answer if path.stat().st_mtime >= newest else None
        except OSError:
            return None

    def _batches(
        self, read: Iterator[Map | _Failure | _Row]
    ) -> Iterator[list[Map | _Failure | _Row]]:
        """Groups with as many maps as are solved at once, and what failed between them."""
        batch, maps, pixels = [], 0, 0
        for result in read:
            batch.append(result)
            if isinstance(result, Map):
                maps, pixels = maps + 1, pixels + result.values.size
            full = maps == self._config.batch_size or len(batch) >= 4 * self._config.batch_size
            if full or pixels >= _BATCH_PIXELS:
                yield batch
                batch, maps, pixels = [], 0, 0
        if batch:
            yield batch

    def _recover(
        self, batch: list[Map | _Failure | _Row], writers: Executor
    ) -> Iterator[Future[_Row]]:
        """Solves the maps of a batch, and hands all of it to the writers in its order."""
        maps = [result for result in batch if isinstance(result, Map)]
        solutions = iter(
            recovery.solve(maps, self._config, self._models, self._shared) if maps else ()
        )
        for result in batch:
            if isinstance(result, Map):
                yield writers.submit(self._write, result, next(solutions))
            elif isinstance(result, _Failure):
                yield writers.submit(self._write_failure, result)
            else:
                yield writers.submit(lambda row: row, result)

    def _write(self, found: Map, solved: Solved | str) -> _Row:
        """Writes what is asked for of one map, its answer last; or why it has none."""
        if isinstance(solved, str):
            return self._write_failure(_Failure(found.file, solved), found)
        try:
            answer = recovery.write(found, solved, self._config, self._origin)
        except (UserError, OSError, MemoryError) as error:
            if _is_full(error):
                raise
            reason = recovery.reason(found.file, error)
            return self._write_failure(_Failure(found.file, reason), found)
        notes = notes_of(solved.check, self._config.reading.negate)
        return _Row(found.file, answer, notes=notes)

    def _write_failure(self, failure: _Failure, found: Map | None = None) -> _Row:
        answer = recovery.answer_of(
            failure.file, self._config, self._origin, found, error=failure.reason
        )
        # Where not even this can be written, the summary still tells it.
        try:
            saving.remove(self._config.out, failure.file.name)
            export.write_answer(self._config.out / f"{failure.file.name}.json", answer)
        except (UserError, OSError) as error:
            if _is_full(error):
                raise
        return _Row(failure.file, answer)


@contextlib.contextmanager
def _threads(count: int) -> Iterator[Executor]:
    """Threads that end with the block; where it ends in an error, after what they are at."""
    pool = ThreadPoolExecutor(count)
    try:
        yield pool
    except BaseException:
        pool.shutdown(cancel_futures=True)
        raise
    pool.shutdown()


def _is_full(error: BaseException) -> bool:
    cause = error if isinstance(error, OSError) else error.__context__
    return isinstance(cause, OSError) and cause.errno in _FULL
