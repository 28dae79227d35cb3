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
from data.user_maps.clips import frames_by_clip
from data.user_maps.depth_files import DepthFile, Listing
from launch import compiling, program
from launch.recovery import one_map, pictures, shared_camera
from launch.recovery.config import ENDINGS, RecoveryConfig
from launch.recovery.notes import Note, notes_of
from launch.recovery.recovered import Map, Recovered
from launch.recovery.summary import Outcome, Summary
from train3d_jax import chunking
from train3d_jax.errors import UserError
from train3d_jax.export import answers
from train3d_jax.inference import models as networks
from train3d_jax.inference.models import Model

_READERS = _WRITERS = 2
"""Threads of each kind; chosen, as most of their work releases Python's lock."""

_BATCH_PIXELS = 1 << 26
"""Pixels at which a batch of very large maps is closed early (256 MiB in float32); chosen."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Errors after which no other map could be written either."""

_MOST_NOTES = 20
"""Notes that are printed; chosen, as values that stand for missing may differ in every map."""


class _Row(NamedTuple):
    """What the summary takes of a map.

    Attributes:
      file: the map's.
      answer: the contents of its JSON.
      resumed: an earlier run wrote the answer.
      notes: on flags that the map may have.
      camera: lines on what is known of its camera.
    """

    file: DepthFile
    answer: dict[str, Any]
    resumed: bool = False
    notes: Mapping[str, Note] = MappingProxyType({})
    camera: tuple[str, ...] = ()


def recover_folder(
    config: RecoveryConfig, models: Sequence[Model] | None = None, listing: Listing | None = None
) -> Outcome:
    """Recovers every map and writes its answer; prints progress, and each failure as it happens.

    Args:
      config: settings.
      models: in place of those that `config.runs` names.
      listing: the result of `one_map.find_maps`, where it was called already.

    Raises:
      UserError: there is no map, or networks do not fit, before any work; later only where no other
        map could be written either.
    """
    files, others, clips = one_map.find_maps(config) if listing is None else listing
    if models is None:
        models = [networks.load_model(run, config.space) for run in config.runs]
    networks.check_models(
        models, config.space, config.camera.is_known, config.shift_is_exact, config.method
    )
    with Summary(config.out, config.to_json(), of_all=config.shard is None) as summary:
        task = _Recovery(config, models, chunking.maps_at_once(len(files)))
        if not config.merge:
            task.share_cameras(files, clips)  # from all maps: every shard gets the same ones
        if config.shard:
            files = config.shard.take(files)
        printed: set[str] = set()
        run, does = (task.merge, "merging") if config.merge else (task.run, "recovering")
        with tqdm(total=len(files), desc=does, unit="map") as bar, compiling.shown_on(bar):
            for row in run(files):
                _print(row, printed)
                bar.update()
                summary.add(row.answer, _links(config, row), row.resumed)
        outcome = summary.finish()._replace(others=others)
    if clips and config.saving.kinds and config.shard is None:
        from launch.recovery import films  # it imports matplotlib

        for path in films.draw_films(files, clips, config):
            print(f"{path}: the clip as given beside recovered")
    return outcome


def _print(row: _Row, printed: set[str]) -> None:
    """Prints what is known of a map's camera, why it failed, and notes on its flags.

    Lines on the camera, and notes of one remedy, are printed once.
    """
    for line in row.camera:
        if line not in printed and len(printed) < _MOST_NOTES:
            printed.add(line)
            tqdm.write(printable(line))
    if row.answer["error"]:
        tqdm.write(printable(f"{row.file.label}: {row.answer['error']}"))
    for flag in row.answer["flags"]:
        note = row.notes.get(flag)
        if note is None or note.remedy in printed or len(printed) == _MOST_NOTES:
            continue
        printed.add(note.remedy)
        line = f"{row.file.label}: {note.problem}; {note.remedy}"
        tqdm.write(printable(f"{line}; summary.json counts all ({flag})"))


def printable(text: str) -> str:
    """Text on one line without control characters; names of files can hold anything."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _links(config: RecoveryConfig, row: _Row) -> dict[str, str]:
    links = {"json": f"{row.file.name}.json"}
    if row.answer["error"] is None:
        for kind in config.saving.kinds:
            links[kind] = f"{row.file.name}{ENDINGS[kind]}"
    return links


class _Recovery:
    """One run over a folder."""

    def __init__(self, config: RecoveryConfig, models: Sequence[Model], at_once: int):
        self._config, self._models, self._at_once = config, models, at_once
        self._origin = one_map.origin_of(config, models)
        self._clips: Mapping[str, str] = {}
        self._shared: dict[str, shared_camera.SharedCamera] = {}

    def share_cameras(self, files: Sequence[DepthFile], clips: Mapping[str, str]) -> None:
        """Estimates the camera of each clip, or of the folder, before any map is recovered.

        Args:
          files: all maps.
          clips: the clip of each that is a frame, by its name.
        """
        config = self._config
        self._clips = dict.fromkeys((f.name for f in files), "") if config.shared_camera else clips
        for clip, frames in frames_by_clip(files, self._clips).items():
            try:
                shared = one_map.pooled(frames, clip, config, self._models)
                self._shared[clip] = shared
                tqdm.write(str(shared))
                self._shared[clip] = one_map.in_metres(frames, shared, config, self._models)
            except UserError as error:
                if len(frames) == len(files):
                    raise
                # Each frame tells what is wrong with it; other maps are recovered.
                tqdm.write(printable(program.message(error)))

    def _shared_of(self, file: DepthFile) -> shared_camera.SharedCamera | None:
        clip = self._clips.get(file.name)
        return None if clip is None else self._shared.get(clip)

    def merge(self, files: Sequence[DepthFile]) -> Iterator[_Row]:
        """A row for each file from the answer that a shard has left.

        Raises:
          UserError: a file has none, or shards estimated different cameras for `shared_camera`.
        """
        first: _Row | None = None
        for file in files:
            answer = self._answered(file)
            if answer is None:
                raise UserError(
                    f"--merge: {printable(file.label)} has no answer of these settings in "
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

    def _read(self, file: DepthFile) -> Map | Recovered | _Row:
        """The map of a file; its row where an earlier run has its answer; or why it has no map."""
        config = self._config
        try:
            answer = self._answered(file) if config.resume else None
            if answer is not None and answer["error"] is None:
                return _Row(file, answer, resumed=True)
            return one_map.read_map(file, config)._replace(shared=self._shared_of(file))
        except (UserError, MemoryError) as error:
            return Recovered(file, error=one_map.reason(file, error))

    def _answered(self, file: DepthFile) -> dict[str, Any] | None:
        """The answer of an earlier run, if it is for this file and these settings."""
        path = self._config.out / f"{file.name}.json"
        answer = answers.read_answer(path)
        if answer is None or answer["input"] != file.label:
            return None
        if answer["settings"] != self._origin.settings:
            return None
        shared = self._shared_of(file)
        if shared is not None and not shared.is_of(file, answer):
            return None
        try:
            rgb = self._config.saving.rgb
            picture = pictures.image_of(file, rgb)
            had_none = pictures.NO_COLOURS in answer["flags"]
            if rgb is not None and had_none != (picture is None):
                return None  # it came, or went; a copy may keep an older time
            sources = [file.path, *self._config.camera.sources(file, picture)]
            sources += [] if picture is None else [picture]
            newest = max(source.stat().st_mtime for source in sources)
            return answer if path.stat().st_mtime >= newest else None
        except OSError:
            return None

    def _batches(
        self, read: Iterator[Map | Recovered | _Row]
    ) -> Iterator[list[Map | Recovered | _Row]]:
        """Groups with as many maps as are solved at once, failures and earlier answers between."""
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
        self, batch: list[Map | Recovered | _Row], writers: Executor
    ) -> Iterator[Future[_Row]]:
        """Solves the maps of a batch, and hands the batch to the writers in its order."""
        maps = [result for result in batch if isinstance(result, Map)]
        solved = iter(self._solve(maps) if maps else ())
        for result in batch:
            if isinstance(result, _Row):
                yield writers.submit(lambda row: row, result)
            else:
                recovered = next(solved) if isinstance(result, Map) else result
                yield writers.submit(self._write, recovered)

    def _solve(self, maps: list[Map]) -> list[Recovered]:
        # As many at once as in any shard of the folder, or when it is resumed: the same digits.
        return one_map.solve(maps, self._config, self._models, at_once=self._at_once)

    def _write(self, recovered: Recovered) -> _Row:
        """Writes the files of a map; where that fails, an answer that says why."""
        config, origin = self._config, self._origin
        try:
            answer = one_map.write(recovered, config, origin)
        except (UserError, OSError, MemoryError) as error:
            if _is_full(error):
                raise
            recovered = recovered.failed(recovered.error or one_map.reason(recovered.file, error))
            answer = self._write_failure(recovered)
        negated = config.reading.negate
        notes = notes_of(recovered.check, negated) if recovered.check else {}
        camera = () if recovered.map is None else recovered.map.notes
        return _Row(recovered.file, answer, notes=notes, camera=camera)

    def _write_failure(self, recovered: Recovered) -> dict[str, Any]:
        """The answer of a map that failed; the summary has it even where it cannot be written."""
        try:
            return one_map.write(recovered, self._config, self._origin)
        except (UserError, OSError) as error:
            if _is_full(error):
                raise
            return one_map.answer_of(recovered, self._config, self._origin)


@contextlib.contextmanager
def _threads(count: int) -> Iterator[Executor]:
    """Threads that end with the block; after an error they drop the tasks that have not begun."""
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
