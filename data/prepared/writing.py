"""Writes a prepared set: begun, then sample by sample in any order, then finished."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from data.prepared import npz_files, records
from data.prepared.layout import (
    ARRAY_RECORD,
    DATASET,
    FORMAT_VERSION,
    MANIFEST,
    NPZ,
    QUARANTINE,
    UNFINISHED,
    listed,
    to_json,
)
from data.prepared.manifest import Origin, Row, rows, summaries
from data.prepared.npz_files import DEPTHS, INTRINSICS
from data.protocol import DepthMap
from data.validity import valid_share
from train3d_jax.files import own_part, write_whole


def begin(folder: Path, made_with: dict[str, Any] | None = None) -> None:
    """Makes the folder ready for a new set: no samples, and a file that marks it as unfinished.

    The files of an unfinished set are deleted by their names; others are not touched.

    Args:
      folder: of the set; made if it is not there.
      made_with: settings of the set, kept in unfinished.json until it is finished.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # First of all: from here on the folder is an unfinished set.
    write_whole(folder / UNFINISHED, to_json(made_with or {}))
    for name in (MANIFEST, QUARANTINE):
        write_whole(folder / name, b"")
    for file, _ in sample_files(folder):
        file.unlink()
    clean(folder)


def sample_files(folder: Path) -> Iterator[tuple[Path, int]]:
    """Every file that `write_sample` or `records.pack` made, with its number; in no order."""
    kinds = ((DEPTHS, "npz"), (INTRINSICS, "npy"), (records.STAGED, "record"))
    for kind, suffix in (*kinds, (records.SHARDS, records.SUFFIX)):
        for file in listed(folder / kind):
            if match := re.fullmatch(rf"(\d{{5,}})\.{suffix}", file.name):
                yield file, int(match[1])


def clean(folder: Path) -> None:
    """Deletes half-written files of a killed run, and empty folders of the set."""
    for kind in (DEPTHS, INTRINSICS, records.STAGED, records.SHARDS):
        for file in listed(folder / kind):
            if re.fullmatch(r"\d{5,}\.\w+(\.\w+)?\.part", file.name):
                file.unlink()
        if (folder / kind).is_dir() and not any((folder / kind).iterdir()):
            (folder / kind).rmdir()
    for file in listed(folder):
        if file.name.endswith((".json.part", ".jsonl.part", ".npy.part", ".png.part")):
            file.unlink()


def drop_staged(folder: Path) -> None:
    """Deletes staged records: those that are packed already, and those of a killed run."""
    for file in listed(folder / records.STAGED):
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
        record = records.encode(DepthMap(depth, intrinsics, depth_map.stored), facts)
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


def finish(
    folder: Path, made_with: dict[str, Any], software: str, more: dict[str, Any] | None = None
) -> None:
    """Writes the summaries of the manifest, and dataset.json last of all.

    Args:
      folder: of the set.
      made_with: the settings.
      software: version of this program.
      more: further fields of dataset.json.
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
    write_whole(folder / DATASET, to_json(dataset))
    (folder / UNFINISHED).unlink(missing_ok=True)


def hash_file(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal; the file is not held in memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sha256(contents: bytes) -> str:
    return hashlib.sha256(contents).hexdigest()
