"""The report on a whole folder: summary.csv, summary.json and index.html, written row by row.

Memory grows by four numbers a map, for the medians.
"""

import csv
import json
import os
import statistics
import time
from array import array
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Self, TextIO

from launch.recovery import index_page
from train3d_jax import __version__
from train3d_jax.errors import UserError
from train3d_jax.files import write_whole

NAME = "summary"

COLUMNS = (
    "input", "space", "width", "height", "focal_px", "focal_low_px", "focal_high_px",
    "normalised_focal", "fov_x_deg", "fov_y_deg", "cx", "cy", "shift", "shift_low", "shift_high",
    "a", "b", "unit", "canonical_scale", "canonical_offset", "lines_focal_nats", "lines_shift_nats",
    "roll_deg", "pitch_deg", "gravity_sigma_deg", "camera_height", "scale_source", "scale_sigma",
    "method", "flags", "model", "version", "error",
)  # fmt: skip
"""Of summary.csv: intervals as two columns each; empty where there is no value."""

_MEDIANS = ("focal_px", "fov_x_deg", "fov_y_deg", "shift")

_MOST_REASONS = 100
"""Reasons for failures that are counted one by one; chosen, as reasons can quote a file."""

_OTHER = "other reasons"


class Counts(NamedTuple):
    """Numbers of maps.

    Attributes:
      recovered: maps with an estimate, those of earlier runs included.
      failed: maps without.
      resumed: maps whose answers an earlier run wrote.
    """

    recovered: int
    failed: int
    resumed: int


class Outcome(NamedTuple):
    """The report on a folder, in numbers.

    Attributes:
      counts: of maps.
      flagged: recovered maps with a flag.
      flags: number of maps with each flag, the commonest first.
      others: number of files that may hold depth but are not read, by suffix.
    """

    counts: Counts
    flagged: int
    flags: Mapping[str, int]
    others: Mapping[str, int] = MappingProxyType({})


class Summary:
    """Written while maps are recovered; the files get their names when all are.

    with Summary(out, settings) as summary:
        summary.add(answer, links, resumed=False)

    A part of a folder is only counted: `of_all` False writes no file.
    """

    def __init__(self, out: Path, settings: Mapping[str, Any], of_all: bool = True):
        self._out, self._settings, self._of_all = out, settings, of_all
        self._began = time.monotonic()
        self._recovered = self._failed = self._resumed = self._flagged = 0
        self._reasons: Counter[str] = Counter()
        self._flags: Counter[str] = Counter()
        self._values = {name: array("d") for name in _MEDIANS}
        self._open = ExitStack()

    def __enter__(self) -> Self:
        """Opens the files, under other names."""
        self._table = self._begin(f"{NAME}.csv")
        self._page = self._begin("index.html")
        self._rows = csv.writer(self._table, lineterminator="\n")
        self._rows.writerow(COLUMNS)
        self._page.write(index_page.HEAD)
        return self

    def __exit__(self, kind, error, trace) -> None:
        """Gives the files their names, or removes them where the run ended early."""
        self._open.close()
        if not self._of_all:
            return
        for name in (f"{NAME}.csv", "index.html"):
            part = self._part(name)
            if kind is None:
                part.replace(self._out / name)
            else:
                part.unlink(missing_ok=True)

    def add(self, answer: Mapping[str, Any], links: Mapping[str, str], resumed: bool) -> None:
        """Adds a map.

        Args:
          answer: what its JSON holds.
          links: what was saved, as paths relative to the folder.
          resumed: an earlier run wrote the answer.
        """
        if answer["error"] is None:
            self._recovered += 1
            self._resumed += resumed
            self._flagged += bool(answer["flags"])
            for name, values in self._values.items():
                values.append(answer[name])
        else:
            self._failed += 1
            known = answer["error"] in self._reasons or len(self._reasons) < _MOST_REASONS
            self._reasons[answer["error"] if known else _OTHER] += 1
        self._flags.update(answer["flags"])
        focal_low, focal_high = answer["focal_interval_px"] or (None, None)
        shift_low, shift_high = answer["shift_interval"] or (None, None)
        lines = answer["lines"] or {}
        row = {
            **answer,
            "flags": " ".join(answer["flags"]),
            "focal_low_px": focal_low,
            "focal_high_px": focal_high,
            "shift_low": shift_low,
            "shift_high": shift_high,
            "lines_focal_nats": lines.get("focal_nats"),
            "lines_shift_nats": lines.get("shift_nats"),
        }
        self._rows.writerow([row[column] for column in COLUMNS])
        self._page.write(index_page.row(answer, links))

    def finish(self) -> Outcome:
        """Writes summary.json and the end of the page."""
        flags = dict(self._flags.most_common())
        counts = Counts(self._recovered, self._failed, self._resumed)
        outcome = Outcome(counts, self._flagged, flags)
        if not self._of_all:
            return outcome
        self._page.write(index_page.TAIL)
        contents = {
            **counts._asdict(),
            "flagged": self._flagged,
            "failures": dict(self._reasons.most_common()),
            "flags": flags,
            "medians": {
                name: statistics.median(values) if values else None
                for name, values in self._values.items()
            },
            "seconds": round(time.monotonic() - self._began, 3),
            "settings": self._settings,
            "version": __version__,
        }
        text = json.dumps(contents, indent=2) + "\n"
        write_whole(self._out / f"{NAME}.json", text.encode())
        return outcome

    def _begin(self, name: str) -> TextIO:
        part = self._part(name) if self._of_all else Path(os.devnull)
        try:
            self._out.mkdir(parents=True, exist_ok=True)
            # File names need not be valid text.
            file = part.open("w", encoding="utf-8", errors="backslashreplace", newline="")
        except OSError as error:
            raise UserError(f"--out={self._out}: cannot be written: {error.strerror}") from None
        return self._open.enter_context(file)

    def _part(self, name: str) -> Path:
        return self._out / f"{name}.part"
