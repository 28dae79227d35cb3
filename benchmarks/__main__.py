"""All that is measured, as one table: `make bench`.

    python -m benchmarks [--only NAMES] [--tables bench]

Prints a table, saves it in the folder of tables, and prints what has changed since the last one of
the same machine by more than the noise of both.  Nothing passes or fails.
"""

import dataclasses
import datetime
import importlib
import json
import os
import re
from pathlib import Path

from absl import app, flags

from benchmarks.measuring import Row
from benchmarks.table import differences, in_words, last_table, machine_in_words
from train3d_jax.files import write_whole

PARTS = ("operations", "sens", "train", "infer", "view", "programs", "sizes", "growth")
_ONLY = flags.DEFINE_list("only", list(PARTS), f"Parts to measure: {', '.join(PARTS)}.")
_TABLES = flags.DEFINE_string("tables", "bench", "Folder of saved tables.")


def main(_: list[str]) -> None:
    """Measures, prints, saves, compares."""
    # Of what is measured nobody wants to see the progress; tqdm reads this when a part imports it.
    os.environ.setdefault("TQDM_DISABLE", "1")
    for part in _ONLY.value:
        if part not in PARTS:
            raise app.UsageError(f"--only={part}: give some of {', '.join(PARTS)}")
    rows: list[Row] = []
    for part in _ONLY.value:
        print(f"measuring {part} ...", flush=True)
        measured = importlib.import_module(f"benchmarks.{part}").rows()
        for row in measured:  # now: what a later part breaks is not lost
            print(in_words(row), flush=True)
        rows += measured
    folder, machine = Path(_TABLES.value), machine_in_words()
    before = last_table(folder, machine)
    now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    table = {"machine": machine, "time": now, "rows": [dataclasses.asdict(row) for row in rows]}
    path = folder / f"{re.sub('[^0-9]', '', now[:19])}.json"
    write_whole(path, (json.dumps(table, indent=2) + "\n").encode())
    print(f"\n{machine}; saved as {path}")
    if before:
        moved = differences([Row(**each) for each in before["rows"]], rows)
        print(f"against {before['time']}: {'; '.join(moved) or 'nothing moved beyond the noise'}")


if __name__ == "__main__":
    app.run(main)
