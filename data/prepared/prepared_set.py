"""A prepared set as training reads it: at random, by index, from many threads and processes."""

import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data.prepared import npz_files, records
from data.prepared.layout import ARRAY_RECORD, DATASET, MANIFEST, State, description, state
from data.prepared.manifest import place, rows
from data.prepared.writing import hash_file
from train3d_jax.errors import DataError, UserError


class Sample(NamedTuple):
    """A depth map of a prepared set.

    depth: (H, W) float32 metres, 0 = missing.  intrinsics: (3, 3) float64 pixels.
    id: the name of its files.  scene: see `PreparedSet.scenes`; empty where it is not known.
    """

    depth: np.ndarray
    intrinsics: np.ndarray
    id: str
    scene: str


class PreparedSet:
    """A prepared set as a random-access source for grain: `len`, `[index]`, pickle, a stable repr.

    scenes: for each sample the place that it shows, such as `scannet/scene0000`, to split by;
    None without a manifest.

    Raises UserError when the folder holds no set, or one that is not finished.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.ids, self.scenes, self._shards = _contents(self.path)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        """Raises DataError on a file that is missing or damaged."""
        identity = self.ids[index]
        depth, intrinsics = (
            npz_files.load(self.path, identity)
            if self._shards is None
            else self._shards.read(range(len(self))[index])
        )
        return Sample(depth, intrinsics, identity, self.scenes[index] if self.scenes else "")

    def stored(self, index: int) -> tuple[np.ndarray, float, np.ndarray]:
        """Depth as it is stored, its units per metre, and intrinsics; raises DataError.

        (H, W) u16 for array_record, of which a crop is cut out before it is divided.
        """
        if self._shards is not None:
            return self._shards.read_units(range(len(self))[index])
        depth, intrinsics = npz_files.load(self.path, self.ids[index])
        return depth, 1.0, intrinsics

    def __repr__(self) -> str:
        return f"PreparedSet({str(self.path)!r})"

    def facts(self) -> dict[str, Any]:
        """The facts that a run keeps of its data, as JSON.

        path; sha256, of the manifest, None where there is none; samples, their number; datasets,
        the number from each; licences, of each dataset, `unknown` where dataset.json has none.
        """
        known = self.scenes is not None
        described = description(self.path) if known else {}
        counts = described.get("counts", {"unknown": len(self)})
        licences = described.get("licences", {})
        return {
            "path": str(self.path),
            "sha256": hash_file(self.path / MANIFEST) if known else None,
            "samples": len(self),
            "datasets": counts,
            "licences": {name: licences.get(name, "unknown") for name in counts},
        }


def _contents(folder: Path) -> tuple[list[str], list[str] | None, records.Shards | None]:
    """Ids and, with a manifest, places of all samples; the shards of an array_record."""
    again = "run launch.prepare again with the same flags"
    match state(folder):
        case State.EMPTY:
            raise UserError(f"{folder}: there is no prepared set; make one with launch.prepare")
        case State.UNFINISHED:
            raise UserError(f"{folder}: not finished, it has no {DATASET}; {again}")
        case State.OTHER:
            return npz_files.unlisted_ids(folder), None, None
        case State.FINISHED:
            described = description(folder)
            promised = described.get("samples")
    if not (folder / MANIFEST).is_file():
        raise UserError(f"{folder}: has a {DATASET} but no {MANIFEST}; {again} and another --out")
    ids, places = [], []
    for row in rows(folder):
        ids.append(row["id"])
        places.append(sys.intern(place(row["dataset"], row["scene"])))
    if promised not in (None, len(ids)):
        raise DataError(folder / MANIFEST, f"has {len(ids)} rows, {DATASET} counts {promised}")
    if not ids:
        raise UserError(f"{folder}: the prepared set is empty")
    sharded = described.get("settings", {}).get("format") == ARRAY_RECORD
    return ids, places, records.Shards(folder) if sharded else None
