"""The prepared set on disk: written once by `launch.prepare`, read at random by training.

    depths/000000.npz       key arr_0: (H, W) float32 metres, 0 = missing
    intrinsics/000000.npy   (3, 3) float64 pixels
    focals.npy  scales.npy  float64, one a sample: mean focal length in px, maximum depth in m
    manifest.jsonl          one row a sample, see `Row`; there from the beginning, then it grows
    dataset.json            written last: counts, settings, version

A folder with a manifest but no dataset.json is not finished.  A folder with neither is a set made
by the original's scripts: names without padding, float64 depth, 4x4 intrinsics; it is read too.

Every file is written beside its place and renamed, so a name stands for whole contents.  The same
sample gives the same bytes: numpy dates all members of an npz to 1980.
"""

import hashlib
import io
import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import numpy as np

from data.protocol import DataError, DepthMap
from train3d_jax.errors import UserError
from train3d_jax.files import write_whole

FORMAT_VERSION = 1

DEPTHS, INTRINSICS = "depths", "intrinsics"
MANIFEST, DATASET = "manifest.jsonl", "dataset.json"
FOCALS, SCALES = "focals.npy", "scales.npy"

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
    sha256, intrinsics_sha256: of the depth file and of the intrinsics file.
    """

    id: str
    dataset: str
    scene: str
    source: str
    frame: int | str
    size: list[int]
    focal: float
    scale: float
    sha256: str
    intrinsics_sha256: str


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
    if (folder / MANIFEST).exists():
        return State.UNFINISHED
    return State.OTHER if folder.is_dir() and any(folder.iterdir()) else State.EMPTY


def settings(folder: Path) -> dict[str, Any]:
    """The settings that a finished set was made with.  Raises DataError."""
    return _dataset(folder).get("settings", {})


# Writing.


def begin(folder: Path) -> None:
    """Makes the folder ready for a new set: no samples, and a manifest to say it is not finished.

    What an unfinished set left behind is deleted, by name: nothing else is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # First of all: from here on the folder is known as ours, and as not finished.
    write_whole(folder / MANIFEST, b"")
    for kind, suffix in ((DEPTHS, ".npz"), (INTRINSICS, ".npy")):
        (folder / kind).mkdir(exist_ok=True)
        for file in (folder / kind).iterdir():
            if re.fullmatch(rf"\d{{6,}}{suffix}(\.part)?", file.name):
                file.unlink()


def write_sample(folder: Path, index: int, depth_map: DepthMap, origin: Origin) -> Row:
    """Writes the two files of one sample; any process may do it, for any index, in any order."""
    depth = np.ascontiguousarray(depth_map.depth, np.float32)
    intrinsics = np.ascontiguousarray(depth_map.intrinsics, np.float64)
    packed_depth, packed_intrinsics = io.BytesIO(), io.BytesIO()
    np.savez_compressed(packed_depth, depth)
    np.save(packed_intrinsics, intrinsics)
    identity = f"{index:06d}"
    write_whole(folder / DEPTHS / f"{identity}.npz", packed_depth.getvalue())
    write_whole(folder / INTRINSICS / f"{identity}.npy", packed_intrinsics.getvalue())
    return Row(
        id=identity,
        dataset=origin.dataset,
        scene=origin.scene,
        source=origin.source,
        frame=origin.frame,
        size=list(depth.shape),
        focal=float((intrinsics[0, 0] + intrinsics[1, 1]) / 2),
        scale=float(depth.max()),
        sha256=hashlib.sha256(packed_depth.getbuffer()).hexdigest(),
        intrinsics_sha256=hashlib.sha256(packed_intrinsics.getbuffer()).hexdigest(),
    )


def append_rows(folder: Path, new: list[Row]) -> None:
    """Adds rows to the manifest; they must come in the order of their ids."""
    with (folder / MANIFEST).open("a", encoding="utf-8") as manifest:
        manifest.writelines(json.dumps(row) + "\n" for row in new)


def finish(folder: Path, made_with: dict[str, Any], software: str) -> None:
    """Writes what sums the manifest up, and dataset.json last of all."""
    counts: dict[str, int] = {}
    focals, scales = [], []
    for row in rows(folder):
        counts[row["dataset"]] = counts.get(row["dataset"], 0) + 1
        focals.append(row["focal"])
        scales.append(row["scale"])
    for name, values in ((FOCALS, focals), (SCALES, scales)):
        packed = io.BytesIO()
        np.save(packed, np.array(values, np.float64))
        write_whole(folder / name, packed.getvalue())
    dataset = {
        "version": FORMAT_VERSION,
        "software": software,
        "samples": len(focals),
        "counts": counts,
        "settings": made_with,
    }
    write_whole(folder / DATASET, (json.dumps(dataset, indent=2) + "\n").encode())


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
        self.ids, self.scenes = _contents(self.path)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        """Raises DataError on a file that is missing or damaged."""
        identity = self.ids[index]
        return Sample(
            _load_depth(self.path / DEPTHS / f"{identity}.npz"),
            _load_intrinsics(self.path / INTRINSICS / f"{identity}.npy"),
            identity,
            self.scenes[index] if self.scenes else "",
        )

    def __repr__(self) -> str:
        return f"PreparedSet({str(self.path)!r})"


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


def _contents(folder: Path) -> tuple[list[str], list[str] | None]:
    """Ids and, where known, places of all samples."""
    again = "run launch.prepare again with the same flags"
    match state(folder):
        case State.EMPTY:
            raise UserError(f"{folder}: there is no prepared set; make one with launch.prepare")
        case State.UNFINISHED:
            raise UserError(f"{folder}: not finished, it has no {DATASET}; {again}")
        case State.OTHER:
            return _unlisted_ids(folder), None
        case State.FINISHED:
            promised = _dataset(folder).get("samples")
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
    return ids, places


def _dataset(folder: Path) -> dict[str, Any]:
    path = folder / DATASET
    try:
        fields = json.loads(path.read_bytes())
        if fields.get("version", FORMAT_VERSION) != FORMAT_VERSION:
            raise ValueError(f"version {fields['version']} is not known, only {FORMAT_VERSION} is")
    except (ValueError, AttributeError) as error:
        raise DataError(path, f"does not describe a prepared set: {error}") from None
    return fields


def _unlisted_ids(folder: Path) -> list[str]:
    """The samples of a set without a manifest, numbers in the order of numbers."""
    names = {}
    for kind, suffix in ((DEPTHS, ".npz"), (INTRINSICS, ".npy")):
        files = os.listdir(folder / kind) if (folder / kind).is_dir() else []
        names[kind] = {file.removesuffix(suffix) for file in files if file.endswith(suffix)}
    if not names[DEPTHS]:
        raise UserError(f"{folder}: there is no prepared set: no {DEPTHS}/*.npz")
    for alone in sorted(names[DEPTHS] ^ names[INTRINSICS])[:1]:
        other = f"{INTRINSICS}/{alone}.npy" if alone in names[DEPTHS] else f"{DEPTHS}/{alone}.npz"
        raise DataError(folder / other, "is missing")
    return sorted(
        names[DEPTHS],
        key=lambda name: [
            (int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)
        ],
    )


def _load_depth(path: Path) -> np.ndarray:
    """(H, W) float32, whatever float it was written in; what is not finite or negative is 0."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            depth = np.asarray(archive["arr_0"], np.float32)
    except Exception as error:  # numpy and zipfile have many for a damaged file
        raise DataError(path, f"is not a depth map: {error}") from None
    if depth.ndim != 2 or not depth.size:
        raise DataError(path, f"holds an array of shape {depth.shape}, not one depth map")
    return np.where(np.isfinite(depth) & (depth > 0), depth, np.float32(0))


def _load_intrinsics(path: Path) -> np.ndarray:
    """(3, 3) float64, from 3x3 or 4x4."""
    try:
        matrix = np.asarray(np.load(path, allow_pickle=False), np.float64)
    except Exception as error:
        raise DataError(path, f"is not a matrix of intrinsics: {error}") from None
    if matrix.shape not in ((3, 3), (4, 4)) or not np.isfinite(matrix).all():
        raise DataError(path, f"holds shape {matrix.shape}, not 3x3 or 4x4 finite intrinsics")
    if matrix[0, 0] <= 0 or matrix[1, 1] <= 0:
        raise DataError(path, f"has focal lengths {matrix[0, 0]:g}, {matrix[1, 1]:g}: not positive")
    return matrix[:3, :3].copy()
