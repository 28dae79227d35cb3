"""From raw datasets to a prepared set: check, plan, read and write in parallel, summarise.

Tasks are independent, write files of their own, and run on a `concurrent.futures.Executor`.  Rows
are collected in the order of the plan, and replacements of broken samples are drawn in that order.
So the result is the same, byte for byte, for any number of workers and interruptions.
"""

import os
import platform
import time
from bisect import bisect_right
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from data import validity
from data.parallel.work import InProcess, Number, at_least_one, run_in_order, workers
from data.prepare import contact_sheet, distributions, quarantine, resume
from data.prepare.plan import READERS, PrepareConfig, Selection, Slot, Task, select, tasks
from data.prepare.quarantine import Rejected, Tally
from data.prepare.sampling import Replacements
from data.prepared import layout, manifest, records, writing
from data.protocol import Reader, UnsuitableError, licence_of
from train3d_jax import __version__, locks
from train3d_jax.errors import DataError, UserError

__all__ = ["READERS", "InProcess", "PrepareConfig", "Summary", "prepare", "prepare_samples"]

_Item = TypeVar("_Item")


@dataclass
class Summary:
    """The numbers of a run.

    taken: samples by dataset.  made: number of them that this run wrote, in `seconds`; an
    interrupted run wrote the others.  broken, unsuitable: rows of quarantine.jsonl.
    already: the set was finished before, and nothing was done.
    """

    taken: dict[str, int] = field(default_factory=dict)
    made: int = 0
    broken: int = 0
    unsuitable: int = 0
    seconds: float = 0.0
    already: bool = False

    def __str__(self) -> str:
        total = sum(self.taken.values())
        parts = ", ".join(f"{count} {name}" for name, count in self.taken.items())
        before = f"{total - self.made} of them before, " if self.made < total else ""
        return (
            f"{total} maps ({parts}) in {self.seconds:.1f} s, {before}"
            f"{self.made / max(self.seconds, 1e-9):.1f} maps/s;"
            f" {self.broken + self.unsuitable} quarantined ({self.broken} broken,"
            f" {self.unsuitable} not suitable)"
        )


def prepare(config: PrepareConfig) -> Summary:
    """Prepares the set that `config` describes; everything that can be checked is checked first.

    A set that was begun with the same settings is completed.  Raises UserError; the samples written
    by then stay, without dataset.json, which marks a finished set.
    """
    start = time.monotonic()
    if resume.is_finished(config):
        return Summary(already=True)
    selections = select(config)
    with locks.hold(config.out, "prepares"):
        if resume.is_finished(config):  # by another process, meanwhile
            return Summary(already=True)
        return _prepare(config, selections, start)


def _prepare(config: PrepareConfig, selections: list[Selection], start: float) -> Summary:
    done = resume.begin_or_resume(config, selections)
    with workers(config.num_workers, config.scheduler) as (executor, number):
        run = _Run(config, executor, number, done)
        first = 0
        for selection in selections:
            run.take(selection, first)
            first += sum(selection.counts)
        shards = run.finish_shards(first)
    distributions.draw(config.out)
    contact_sheet.draw(config.out, config.format)
    facts = {
        "licences": {each.reader.name: licence_of(each.reader) for each in selections},
        "selection": {each.reader.name: each.facts() for each in selections},
        "broken": run.tally.broken,
        "unsuitable": run.tally.unsuitable,
        **({"shards": shards} if shards else {}),
    }
    writing.finish(config.out, config.settings(), __version__, facts)
    return Summary(
        {each.reader.name: sum(each.counts) for each in selections},
        first - done,
        run.tally.broken,
        run.tally.unsuitable,
        time.monotonic() - start,
    )


class _Run:
    """One run over all datasets, from sample `done` on."""

    def __init__(self, config: PrepareConfig, executor: Executor, num_workers: Number, done: int):
        self._config, self._executor, self._done = config, executor, done
        self._num_workers = num_workers
        self._before = resume.rejected_before(config.out)
        self._packing: list[tuple[Future, int, int]] = []
        self._next_shard = 0
        self.tally = Tally(config.out, sum(config.num_samples), config.max_bad_fraction)
        for rejected in self._before:
            self.tally.add(rejected)
        self.tally.check()

    def take(self, selection: Selection, first: int) -> None:
        """Writes the samples of one dataset that are not done; `first` is its first index."""
        name, total = selection.reader.name, sum(selection.counts)
        replacements = Replacements(selection.scenes, selection.counts, self._config.seed)
        self._draw_again(replacements, selection, first)
        before = min(max(self._done - first, 0), total)
        todo = _not_done(tasks(selection, first, self._config), self._done)
        results = run_in_order(self._executor, prepare_samples, todo, self._num_workers)
        with tqdm(total=total, initial=before, desc=name, unit="map") as progress:
            for task, outcomes in results:
                rows = self._complete(task, outcomes, selection, replacements)
                manifest.append_rows(self._config.out, rows)
                self._pack_shards(task.slots[-1].index + 1)
                progress.update(len(rows))
                if self.tally.broken or self.tally.unsuitable:
                    progress.set_postfix_str(f"{self.tally.broken} broken", refresh=False)

    def finish_shards(self, total: int) -> list[str]:
        """Packs the remaining shards; returns the SHA-256 of every shard, none in other formats."""
        if self._config.format != layout.ARRAY_RECORD:
            return []
        self._pack_shards(total, last=True)
        self._await_packing(0)
        out = self._config.out
        writing.drop_staged(out)  # left by a run that was killed while it deleted them
        files = (records.shard(out, number) for number in range(self._next_shard))
        hashes = run_in_order(self._executor, writing.hash_file, files, self._num_workers)
        return [sha256 for _, sha256 in hashes]

    def _complete(
        self,
        task: Task,
        outcomes: list[manifest.Row | Rejected],
        selection: Selection,
        replacements: Replacements,
    ) -> list[manifest.Row]:
        """The rows of a task, after rejected frames were replaced."""
        rows: dict[int, manifest.Row] = {}
        while True:
            others = []
            rejected = [each for each in outcomes if isinstance(each, Rejected)]
            quarantine.append(self._config.out, rejected)
            for each in rejected:
                self.tally.add(each)
            self.tally.check()
            for slot, outcome in zip(task.slots, outcomes, strict=True):
                if not isinstance(outcome, Rejected):
                    rows[slot.index] = outcome
                    continue
                replacement = replacements.replace(slot.home, slot.number, slot.frame)
                if replacement is None:
                    raise self._too_few(selection)
                number, frame = replacement
                scene = selection.scenes[number].without_places()
                others.append(Slot(slot.index, slot.home, number, scene, frame))
            if not others:
                return [rows[index] for index in sorted(rows)]
            task = task._replace(slots=others)
            outcomes = self._executor.submit(prepare_samples, task).result()

    def _too_few(self, selection: Selection) -> UserError:
        name = selection.reader.name
        lost = sum(
            rejected.dataset == name and rejected.id is not None
            for rejected in resume.rejected_before(self._config.out)
        )
        usable = selection.available - lost
        return UserError(
            f"--num_samples asks for {sum(selection.counts)} of {name}, but only {usable} of the"
            f" {selection.available} in {selection.reader.root} can be used; the others are in"
            f" {self._config.out / layout.QUARANTINE}. Ask for {usable} at most, in another --out"
        )

    def _draw_again(self, replacements: Replacements, selection: Selection, first: int) -> None:
        """Restores the state of `replacements` at the interruption of the run."""
        numbers = {scene.name: number for number, scene in enumerate(selection.scenes)}
        ends = list(accumulate(selection.counts))
        for rejected in self._before:
            if rejected.dataset != selection.reader.name or rejected.id is None:
                continue
            assert rejected.scene is not None and rejected.frame is not None
            home = bisect_right(ends, int(rejected.id) - first)
            replacements.replace(home, numbers[rejected.scene], rejected.frame)

    def _pack_shards(self, complete: int, last: bool = False) -> None:
        """Starts to pack the shards whose samples are complete; with `last` the partial one too."""
        if self._config.format != layout.ARRAY_RECORD:
            return
        while (first := self._next_shard * records.SAMPLES_PER_SHARD) < complete:
            number, size = self._next_shard, min(records.SAMPLES_PER_SHARD, complete - first)
            if size < records.SAMPLES_PER_SHARD and not last:
                break
            self._next_shard += 1
            if records.staged(self._config.out, first).exists():  # else packed before
                arguments = (self._config.out, number, first, size)
                packing = self._executor.submit(records.pack, *arguments)
                self._packing.append((packing, first, size))
        if self._packing:
            self._await_packing(at_least_one(self._num_workers))

    def _await_packing(self, left: int) -> None:
        """Waits until at most `left` shards are being packed; drops the records of the others."""
        while len(self._packing) > left:
            future, first, size = self._packing.pop(0)
            future.result()
            records.drop(self._config.out, first, size)


def prepare_samples(task: Task) -> list[manifest.Row | Rejected]:
    """Reads and writes the samples of one task; runs in a worker.

    It may run twice, even at once, after a worker was lost or seemed to be.  The same task writes
    the same bytes, and each process under a name of its own until they are whole.

    Raises UserError where the worker does not see the folders.
    """
    for seen in (task.reader.root, task.config.out / layout.MANIFEST):
        if not seen.exists():
            raise UserError(
                f"{seen}: is not there for the worker on {platform.node()}; all workers must see"
                " the same folders, under the same names"
            )
    return [_prepare_sample(task.reader, slot, task.config) for slot in task.slots]


def _prepare_sample(reader: Reader, slot: Slot, config: PrepareConfig) -> manifest.Row | Rejected:
    file = reader.file(slot.scene, slot.frame)
    sample = (f"{slot.index:06d}", slot.scene.name, slot.frame)
    stage = quarantine.READ
    try:
        depth_map = reader.read(slot.scene, slot.frame).limited(config.max_depth_m)
        stage = quarantine.CHECK
        unfit = validity.unfit_camera(depth_map.intrinsics, *depth_map.depth.shape)
        if reason := unfit or validity.unsuitable(depth_map.depth, config.min_valid):
            raise DataError(file, reason)
    except DataError as error:
        rejected = error
        stage = quarantine.CHECK if isinstance(error, UnsuitableError) else stage
    except OSError as error:
        rejected = DataError(error.filename or file, error.strerror or error)
    except Exception as error:
        # A damaged file can bring up anything in a decoder; a run of days does not end with it.
        rejected = DataError(file, f"{type(error).__name__}: {error}")
    else:
        # A manifest's maps may lie beside its folder.
        source = Path(os.path.relpath(file, reader.root)).as_posix()
        origin = manifest.Origin(reader.name, slot.scene.name, source, slot.frame)
        return writing.write_sample(config.out, slot.index, depth_map, origin, config.format)
    return quarantine.reject(rejected, stage, reader.name, reader.root, sample)


def _not_done(planned: Iterator[Task], done: int) -> Iterator[Task]:
    return (task for task in planned if task.slots[0].index >= done)
