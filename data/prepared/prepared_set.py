"""The prepared set on disk: written once by `launch.prepare`, read at random by training.

    depths/000000.npz       key arr_0: (H, W) float32 metres, 0 = missing
    intrinsics/000000.npy   (3, 3) float64 pixels
    focals.npy  scales.npy  float64, one a sample: mean focal length in px, maximum depth in m
    manifest.jsonl          one row a sample, see `Row`; there from the beginning, then it grows
    dataset.json            written last: counts, settings, version, licences
    quarantine.jsonl        what was broken or not suitable, and so is not in the set

In the format array_record shards/ is in place of depths/ and intrinsics/, see `records`.

A folder with a manifest but no dataset.json is not finished; unfinished.json tells what it is to
become.  A folder with neither is a set made by the original's scripts: names without padding,
float64 depth, 4x4 intrinsics; it is read too.

Every file is written beside its place and renamed, so a name stands for whole contents.  The same
sample gives the same bytes: all members of an npz are dated to 1980.
"""

import hashlib
import json
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple, NotRequired, TypedDict

import numpy as np

from data.prepared import npz_files, records
from data.prepared.npz_files import DEPTHS, INTRINSICS
from data.protocol import DepthMap
from data.validity import valid_share
from train3d_jax.errors import DataError, UserError
from train3d_jax.files import own_part, write_whole
from train3d_jax.locks import LOCK

FORMAT_VERSION = 1

MANIFEST, DATASET = "manifest.jsonl", "dataset.json"
QUARANTINE, UNFINISHED = "quarantine.jsonl", "unfinished.json"
FOCALS, SCALES = "focals.npy", "scales.npy"

NPZ, ARRAY_RECORD = FORMATS = ("npz", "array_record")

# Scenes whose names differ in this ending only show the same place: ScanNet's second scan of a
# room, 3D Ken Burns' other way through a town.  Split between training and validation, they leak.
_SAME_PLACE = re.compile(
    r"(?P<place>scannet/scene\d{4})_\d{2}|(?P<set>kenburns/.+)-(?:walking|flying)"
)


class Row(TypedDict):
    """One sample in manifest.jsonl; more may be told, these are always there.

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
    """Where a sample is from, as the manifest tells it."""

    dataset: str
    scene: str
    source: str
    frame: int | str


class State(Enum):
    """What a folder is to someone who wants to prepare a set there."""

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
    others = {file.name for file in _listed(folder)} - {f"{UNFINISHED}.part", LOCK}
    return State.OTHER if others else State.EMPTY


def settings(folder: Path) -> dict[str, Any]:
    """The settings that a finished set was made with.  Raises DataError."""
    return description(folder).get("settings", {})


# Writing.


def begin(folder: Path, made_with: dict[str, Any] | None = None) -> None:
    """Makes the folder ready for a new set: no samples, and what tells that it is not finished.

    What an unfinished set left behind is deleted, by name: nothing else is.

    Args:
      folder: where the set comes to be; made if it is not there.
      made_with: what the set is to become; kept in unfinished.json until it is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # First of all: from here on the folder is known as ours, and as not finished.
    write_whole(folder / UNFINISHED, _json(made_with or {}))
    for name in (MANIFEST, QUARANTINE):
        write_whole(folder / name, b"")
    for file, _ in sample_files(folder):
        file.unlink()
    clean(folder)


def sample_files(folder: Path) -> Iterator[tuple[Path, int]]:
    """Every file that `write_sample` or `records.pack` made, with its number; in no order."""
    kinds = ((DEPTHS, "npz"), (INTRINSICS, "npy"), (records.STAGED, "record"))
    for kind, suffix in (*kinds, (records.SHARDS, records.SUFFIX)):
        for file in _listed(folder / kind):
            if match := re.fullmatch(rf"(\d{{5,}})\.{suffix}", file.name):
                yield file, int(match[1])


def clean(folder: Path) -> None:
    """Deletes what a killed run has begun to write beside its place, and empty folders of ours."""
    for kind in (DEPTHS, INTRINSICS, records.STAGED, records.SHARDS):
        for file in _listed(folder / kind):
            if re.fullmatch(r"\d{5,}\.\w+(\.\w+)?\.part", file.name):
                file.unlink()
        if (folder / kind).is_dir() and not any((folder / kind).iterdir()):
            (folder / kind).rmdir()
    for file in _listed(folder):
        if file.name.endswith((".json.part", ".jsonl.part", ".npy.part", ".png.part")):
            file.unlink()


def drop_staged(folder: Path) -> None:
    """Deletes records that are in their shards already, or shall not come into one."""
    for file in _listed(folder / records.STAGED):
        if re.fullmatch(r"\d{6,}\.record((\.\w+)?\.part)?", file.name):
            file.unlink()
    clean(folder)


def write_sample(
    folder: Path, index: int, depth_map: DepthMap, origin: Origin, format: str = NPZ
) -> Row:
    """Writes one sample; any process may do it, for any index, in any order.

    In the format array_record it is staged, for `records.pack` to put it into its shard.
    """
    depth = np.ascontiguousarray(depth_map.depth, np.float32)
    intrinsics = np.ascontiguousarray(depth_map.intrinsics, np.float64)
    row = Row(
        id=f"{index:06d}",
        dataset=origin.dataset,
        scene=origin.scene,
        source=origin.source,
        frame=origin.frame,
        size=list(depth.shape),
        focal=float((intrinsics[0, 0] + intrinsics[1, 1]) / 2),
        scale=float(depth.max()),
        valid=valid_share(depth),
        sha256="",
    )
    if format == ARRAY_RECORD:
        facts = {key: row[key] for key in ("id", "dataset", "scene", "source", "frame")}
        record = records.encode(depth, intrinsics, facts)
        write_whole(records.staged(folder, index), record, beside=own_part)
        return {**row, "sha256": _sha256(record)}
    packed_depth, packed_intrinsics = npz_files.pack_npz(depth), npz_files.pack_npy(intrinsics)
    write_whole(folder / DEPTHS / f"{row['id']}.npz", packed_depth, beside=own_part)
    write_whole(folder / INTRINSICS / f"{row['id']}.npy", packed_intrinsics, beside=own_part)
    return {
        **row,
        "sha256": _sha256(packed_depth),
        "intrinsics_sha256": _sha256(packed_intrinsics),
    }


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


def finish(
    folder: Path, made_with: dict[str, Any], software: str, more: dict[str, Any] | None = None
) -> None:
    """Writes what sums the manifest up, and dataset.json last of all.

    Args:
      folder: of the set.
      made_with: the settings.
      software: version of this program.
      more: what else dataset.json shall tell.
    """
    counts: dict[str, int] = {}
    for row in rows(folder):
        counts[row["dataset"]] = counts.get(row["dataset"], 0) + 1
    for name, contents in summaries(folder).items():
        write_whole(folder / name, contents)
    dataset = {
        "version": FORMAT_VERSION,
        "software": software,
        "samples": sum(counts.values()),
        "counts": counts,
        "settings": made_with,
        **(more or {}),
        "manifest_sha256": hash_file(folder / MANIFEST),
    }
    clean(folder)
    write_whole(folder / DATASET, _json(dataset))
    (folder / UNFINISHED).unlink(missing_ok=True)


def hash_file(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal; the file is not held in memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sha256(contents: bytes) -> str:
    return hashlib.sha256(contents).hexdigest()


def _json(fields: dict[str, Any]) -> bytes:
    return (json.dumps(fields, indent=2) + "\n").encode()


def _listed(folder: Path) -> Iterator[Path]:
    return folder.iterdir() if folder.is_dir() else iter(())


# Reading.


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
    None where no manifest tells.

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
        """Depth as it is stored, its units in a metre, and intrinsics; raises DataError.

        So (H, W) u16 of an array_record, of which a part can be cut out before it is divided.
        """
        if self._shards is not None:
            return self._shards.read_units(range(len(self))[index])
        depth, intrinsics = npz_files.load(self.path, self.ids[index])
        return depth, 1.0, intrinsics

    def __repr__(self) -> str:
        return f"PreparedSet({str(self.path)!r})"

    def facts(self) -> dict[str, Any]:
        """What a run should remember of its data, as JSON.

        path; sha256, of the manifest, None where there is none; samples, their number; datasets,
        the number from each; licences, what the owners of each allow, as far as dataset.json tells.
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


def _contents(folder: Path) -> tuple[list[str], list[str] | None, records.Shards | None]:
    """Ids and, where known, places of all samples; their shards, if they are in shards."""
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
        raise DataError(folder / MANIFEST, f"has {len(ids)} rows, {DATASET} tells of {promised}")
    if not ids:
        raise UserError(f"{folder}: the prepared set is empty")
    sharded = described.get("settings", {}).get("format") == ARRAY_RECORD
    return ids, places, records.Shards(folder) if sharded else None


def description(folder: Path) -> dict[str, Any]:
    """What dataset.json tells.  Raises DataError."""
    path = folder / DATASET
    try:
        fields = json.loads(path.read_bytes())
        if fields.get("version", FORMAT_VERSION) != FORMAT_VERSION:
            raise ValueError(f"version {fields['version']} is not known, only {FORMAT_VERSION} is")
    except (ValueError, AttributeError) as error:
        raise DataError(path, f"does not describe a prepared set: {error}") from None
    return fields
