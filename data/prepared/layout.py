"""The layout of a prepared set on disk: names, states, and its description.

    depths/000000.npz       key arr_0: (H, W) float32 metres, 0 = missing
    intrinsics/000000.npy   (3, 3) float64 pixels
    focals.npy  scales.npy  float64, one a sample: mean focal length in px, maximum depth in m
    manifest.jsonl          one row a sample, see `manifest.Row`; written first, appended to
    dataset.json            written last: counts, settings, version, licences
    quarantine.jsonl        broken and unsuitable maps, which are not in the set

The format array_record has shards/ in place of depths/ and intrinsics/, see `records`.

A folder with a manifest but no dataset.json is unfinished; unfinished.json holds the settings of
the set.  A folder with neither is a set made by the original's scripts (names without padding,
float64 depth, 4x4 intrinsics), which is read too.

Every file is written under another name and renamed, so a name stands for whole contents.  The
same sample gives the same bytes: all members of an npz are dated to 1980.
"""

import json
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

from train3d_jax.errors import DataError, UserError
from train3d_jax.locks import LOCK

FORMAT_VERSION = 1


MANIFEST, DATASET = "manifest.jsonl", "dataset.json"


QUARANTINE, UNFINISHED = "quarantine.jsonl", "unfinished.json"


FOCALS, SCALES = "focals.npy", "scales.npy"


NPZ, ARRAY_RECORD = FORMATS = ("npz", "array_record")


class State(Enum):
    """The states of a folder for a prepared set."""

    EMPTY = "not there, or empty"
    UNFINISHED = "the beginning of a set"
    FINISHED = "a finished set"
    OTHER = "something else"


def state(folder: Path) -> State:
    """Looks at names only.  Raises UserError when `folder` is a file."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file, not a folder for a prepared set")
    if (folder / DATASET).exists():
        return State.FINISHED
    if (folder / MANIFEST).exists() or (folder / UNFINISHED).exists():
        return State.UNFINISHED
    # Killed at its very first write, a run leaves no more than that behind.
    others = {file.name for file in listed(folder)} - {f"{UNFINISHED}.part", LOCK}
    return State.OTHER if others else State.EMPTY


def settings(folder: Path) -> dict[str, Any]:
    """The settings that a finished set was made with.  Raises DataError."""
    return description(folder).get("settings", {})


def description(folder: Path) -> dict[str, Any]:
    """The contents of dataset.json.  Raises DataError."""
    path = folder / DATASET
    try:
        fields = json.loads(path.read_bytes())
        if fields.get("version", FORMAT_VERSION) != FORMAT_VERSION:
            raise ValueError(f"version {fields['version']} is not known, only {FORMAT_VERSION} is")
    except (ValueError, AttributeError) as error:
        raise DataError(path, f"does not describe a prepared set: {error}") from None
    return fields


def to_json(fields: dict[str, Any]) -> bytes:
    """The contents of a JSON file of the set."""
    return (json.dumps(fields, indent=2) + "\n").encode()


def listed(folder: Path) -> Iterator[Path]:
    """The entries of a folder, in no order; none where there is no such folder."""
    return folder.iterdir() if folder.is_dir() else iter(())
