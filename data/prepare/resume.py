"""Resumes an interrupted run: the manifest and the files show what is done.

Rows are appended in the order of the samples, a task at a time, after their files are in place.  So
after a kill at any moment all samples up to some task are whole, and the later ones are written
again.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from data.prepare import quarantine
from data.prepare.plan import PrepareConfig, Selection, task_start
from data.prepare.quarantine import Rejected
from data.prepared import layout, npz_files, records, writing
from data.protocol import UnsuitableError
from train3d_jax.errors import UserError


def is_finished(config: PrepareConfig) -> bool:
    """Whether the same set is finished.  Raises UserError when --out holds anything else."""
    match layout.state(config.out):
        case layout.State.EMPTY | layout.State.UNFINISHED:
            return False
        case layout.State.OTHER:
            raise UserError(
                f"--out={config.out}: holds files that no prepared set has; give an empty folder"
            )
        case layout.State.FINISHED:
            old, new = layout.settings(config.out), config.settings()
            _refuse_others(config.out, "a finished set", old, new)
            (config.out / layout.UNFINISHED).unlink(missing_ok=True)
            return True


def begin_or_resume(config: PrepareConfig, selections: list[Selection]) -> int:
    """Makes --out ready; returns the number of samples that are done.

    Raises UserError when --out holds an unfinished set of other settings or other raw data.
    """
    wanted = {
        "settings": config.settings(),
        "selection": {each.reader.name: each.facts() for each in selections},
    }
    if layout.state(config.out) is layout.State.UNFINISHED:
        begun = _begun(config.out)
        if begun.get("settings"):
            _refuse_others(
                config.out, "the beginning of a set", begun["settings"], wanted["settings"]
            )
            for name, facts in wanted["selection"].items():
                old = begun.get("selection", {}).get(name)
                if old != facts:
                    raise UserError(
                        f"--out={config.out}: was begun when {name} held other samples (now"
                        f" {facts['samples']} in {facts['scenes']} scenes, then"
                        f" {old and old['samples']} in {old and old['scenes']});"
                        " give another folder"
                    )
            done = task_start(selections, _whole_samples(config))
            if done:
                _cut(config.out, done)
                writing.clean(config.out)
                return done
    writing.begin(config.out, wanted)
    quarantine.append(
        config.out,
        [
            quarantine.reject(
                error,
                quarantine.CHECK if isinstance(error, UnsuitableError) else quarantine.LIST,
                each.reader.name,
                each.reader.root,
            )
            for each in selections
            for error in each.broken
        ],
    )
    return 0


def rejected_before(folder: Path) -> list[Rejected]:
    """What quarantine.jsonl held when the run went on."""
    return [rejected for rejected, _ in quarantine.read(folder)]


def _refuse_others(out: Path, what: str, old: dict[str, Any], new: dict[str, Any]) -> None:
    changed = [key for key in new if old.get(key) != new[key]]
    if changed:
        raise UserError(
            f"--out={out}: holds {what} with other settings ("
            + ", ".join(f"{key} {old.get(key)}, not {new[key]}" for key in changed)
            + "); give another folder"
        )


def _begun(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / layout.UNFINISHED).read_bytes()))
    except (OSError, ValueError, TypeError):
        return {}  # killed while it was begun, or begun by an earlier version


def _whole_samples(config: PrepareConfig) -> int:
    """How many samples, from the first on, have their row and their files."""
    present = _present(config.out, sum(config.num_samples), config.format)
    whole = 0
    for line in _lines(config.out / layout.MANIFEST):
        try:
            identity = json.loads(line)["id"]
        except (ValueError, TypeError, KeyError):
            break
        if identity != f"{whole:06d}" or whole >= len(present) or not present[whole]:
            break
        whole += 1
    return whole


def _present(folder: Path, samples: int, format: str) -> np.ndarray:
    """For each sample whether its files are there: (samples,) boolean."""
    # From a listing of the folders: a look at each file takes hours on shared storage.
    parts = {kind: np.zeros(samples, bool) for kind in (npz_files.DEPTHS, npz_files.INTRINSICS)}
    recorded = np.zeros(samples, bool)
    for file, number in writing.sample_files(folder):
        kind = file.parent.name
        if kind == records.SHARDS:
            recorded[number * records.SAMPLES_PER_SHARD :][: records.SAMPLES_PER_SHARD] = True
        elif number < samples:
            (recorded if kind == records.STAGED else parts[kind])[number] = True
    if format == layout.ARRAY_RECORD:
        return recorded
    return parts[npz_files.DEPTHS] & parts[npz_files.INTRINSICS]


def _cut(folder: Path, done: int) -> None:
    """Takes off manifest and quarantine what is not of the first `done` samples."""
    end = sum(
        len(line) for _, line in zip(range(done), _lines(folder / layout.MANIFEST), strict=False)
    )
    os.truncate(folder / layout.MANIFEST, end)
    end = 0
    for rejected, after in quarantine.read(folder):
        if rejected.id is not None and int(rejected.id) >= done:
            break
        end = after
    os.truncate(folder / layout.QUARANTINE, end)


def _lines(path: Path):
    """The lines of a file, as bytes; none where it is not there."""
    if path.is_file():
        with path.open("rb") as file:
            yield from file
