"""Rejected maps and the reasons, in quarantine.jsonl; and the limit of broken ones."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from data.prepared import layout, manifest
from data.protocol import Frame
from train3d_jax.errors import DataError, UserError

LIST, READ, CHECK = "list", "read", "check"
"""Stages: a scene that cannot be listed, a sample that cannot be read (both are broken), and a map
or a scene that is whole but not suitable."""

_MOST_NAMED = 3  # broken files in the message of a run that stops; chosen


class Rejected(NamedTuple):
    """A row of quarantine.jsonl.

    id: of the sample that it was tried for; None for a scene.  dataset, scene, frame: what it is;
    a scene that cannot be listed has neither name nor frame.
    file: relative to the dataset's folder where it is in it.  stage, reason: what went wrong.
    """

    id: str | None
    dataset: str
    scene: str | None
    frame: Frame | None
    file: str
    stage: str
    reason: str

    @property
    def broken(self) -> bool:
        """Whether it counts as bad input."""
        return self.stage != CHECK


def reject(
    error: DataError,
    stage: str,
    dataset: str,
    root: Path,
    sample: tuple[str, str, Frame] | None = None,
) -> Rejected:
    """The row for an error; `sample` is (id, scene, frame)."""
    file = Path(error.file)
    shown = file.relative_to(root).as_posix() if file.is_relative_to(root) else error.file
    identity, scene, frame = sample or (None, None, None)
    # An address in memory is another one in every run.
    reason = re.sub(r" at 0x[0-9a-f]+", "", error.reason)
    return Rejected(identity, dataset, scene, frame, shown, stage, reason)


def read(folder: Path) -> Iterator[tuple[Rejected, int]]:
    """The rows of quarantine.jsonl and where each ends in the file, up to one that is not whole."""
    end = 0
    with (folder / layout.QUARANTINE).open("rb") as file:
        for line in file:
            end += len(line)
            try:
                yield Rejected(**json.loads(line)), end
            except (ValueError, TypeError):
                return


def append(folder: Path, rejected: list[Rejected]) -> None:
    """Adds rows to quarantine.jsonl."""
    manifest.append_lines(folder / layout.QUARANTINE, (each._asdict() for each in rejected))


class Tally:
    """Counts what is rejected.

    broken, unsuitable: how many so far.
    """

    def __init__(self, out: Path, asked: int, max_bad_fraction: float):
        self._out, self._asked, self._max_bad_fraction = out, asked, max_bad_fraction
        self._named: list[str] = []
        self.broken = self.unsuitable = 0

    def add(self, rejected: Rejected) -> None:
        """Counts one."""
        if not rejected.broken:
            self.unsuitable += 1
            return
        self.broken += 1
        if len(self._named) < _MOST_NAMED:
            self._named.append(f"{rejected.dataset} {rejected.file}: {rejected.reason}")

    def check(self) -> None:
        """Raises UserError when more than `max_bad_fraction` of all that is tried is broken."""
        if self.broken > self._max_bad_fraction * (self._asked + self.broken):
            more = f"; and {self.broken - _MOST_NAMED} more" if self.broken > _MOST_NAMED else ""
            raise UserError(
                f"{self.broken} broken for {self._asked} samples, more than"
                f" --max_bad_fraction={self._max_bad_fraction:g} ({'; '.join(self._named)}{more});"
                f" see {self._out / layout.QUARANTINE}. What is done stays: mend the files or"
                " give a larger --max_bad_fraction, and the same command goes on"
            )
