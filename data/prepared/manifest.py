"""manifest.jsonl: one row a sample, and what follows from all rows."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np

from data.prepared import npz_files
from data.prepared.layout import FOCALS, MANIFEST, SCALES
from train3d_jax.errors import DataError

# Scenes whose names differ in this ending only show the same place: ScanNet's second scan of a
# room, 3D Ken Burns' other route through a town.  Training and validation must not share one.
_SAME_PLACE = re.compile(
    r"(?P<place>scannet/scene\d{4})_\d{2}|(?P<set>kenburns/.+)-(?:walking|flying)"
)


class Row(TypedDict):
    """One sample in manifest.jsonl; there may be further fields.

    id: the name of its files without their suffix.  dataset, scene: where it is from.
    source: the raw file, relative to the dataset's folder.  frame: which one of the scene.
    size: [height, width].  focal: pixels, mean of both axes.  scale: metres, maximum depth.
    valid: share of the pixels that have a depth.
    sha256, intrinsics_sha256: of the depth file and of the intrinsics file; in the format
    array_record the first is of the record, and the second is not there.
    """

    id: str
    dataset: str
    scene: str
    source: str
    frame: int | str
    size: list[int]
    focal: float
    scale: float
    valid: float
    sha256: str
    intrinsics_sha256: NotRequired[str]


@dataclass(frozen=True)
class Origin:
    """Where a sample is from, as fields of its row."""

    dataset: str
    scene: str
    source: str
    frame: int | str


def rows(folder: Path) -> Iterator[Row]:
    """The manifest, row by row.  Raises DataError on a row that is not whole."""
    path = folder / MANIFEST
    with path.open(encoding="utf-8") as manifest:
        for number, line in enumerate(manifest, start=1):
            try:
                row = json.loads(line)
                if not row.keys() >= {"id", "dataset", "scene"}:
                    raise ValueError("a row needs at least id, dataset and scene")
            except (ValueError, AttributeError) as error:
                raise DataError(
                    path, f"line {number} is not a row of a manifest: {error}"
                ) from None
            yield row


def place(dataset: str, scene: str) -> str:
    """The key by which to split: scenes that show the same place have the same.

    >>> place("scannet", "scene0707_01")
    'scannet/scene0707'
    """
    key = f"{dataset}/{scene}"
    same = _SAME_PLACE.fullmatch(key)
    return key if same is None else same["place"] or same["set"]


def append_lines(path: Path, new: Iterable[Any]) -> None:
    """Adds rows, each as JSON on a line of its own."""
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(json.dumps(row) + "\n" for row in new))


def append_rows(folder: Path, new: list[Row]) -> None:
    """Adds rows to the manifest; they must come in the order of their ids."""
    append_lines(folder / MANIFEST, new)


def summaries(folder: Path) -> dict[str, bytes]:
    """focals.npy and scales.npy, by name, as they follow from the manifest."""
    pairs = ((row["focal"], row["scale"]) for row in rows(folder))
    values = np.fromiter(pairs, np.dtype((np.float64, 2)))
    return {
        name: npz_files.pack_npy(values[:, column].copy())
        for column, name in enumerate((FOCALS, SCALES))
    }
