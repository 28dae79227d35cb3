"""Shards of an evaluation: one file each, and all of them merged."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from launch.evaluation.clips import Pooled
from launch.evaluation.config import SHARDS, EvaluationConfig
from launch.evaluation.run import EvaluatedSet, Measured
from launch.recovery.shards import Shard
from train3d_jax import __version__
from train3d_jax.errors import UserError
from train3d_jax.evaluation.views import Constants, Truth
from train3d_jax.files import write_whole


def save(
    config: EvaluationConfig, shard: Shard, models: Sequence[str], evaluated: Sequence[EvaluatedSet]
) -> Path:
    """Writes what a shard has measured, with all digits; returns the file.

    Args:
      config: of the evaluation.
      shard: which part.
      models: names and digests of the networks.
      evaluated: what was measured.
    """
    contents = {**_settings(config, models), "sets": [_as_json(result) for result in evaluated]}
    path = _path(config.out, shard)
    write_whole(path, json.dumps(contents).encode())
    return path


def load(config: EvaluationConfig, models: Sequence[str]) -> list[EvaluatedSet]:
    """The measurements of all shards, as one evaluation of everything makes them.

    Raises:
      UserError: shards are missing, or of other settings or models.
    """
    paths = sorted((config.out / SHARDS).glob("*-of-*.json"))
    counts = sorted({path.stem.split("-of-")[1] for path in paths})
    if len(counts) != 1:
        held = "no shards" if not paths else f"shards of different counts ({', '.join(counts)})"
        raise UserError(f"--merge: {config.out / SHARDS} holds {held}; run all with one --out")
    count = int(counts[0])
    parts = []
    for number in range(1, count + 1):
        path = _path(config.out, Shard(number, count))
        try:
            part = json.loads(path.read_bytes())
        except FileNotFoundError:
            raise UserError(f"--merge: shard {number}/{count} is missing; run it first") from None
        settings = _settings(config, models)
        if {name: part.get(name) for name in settings} != settings:
            raise UserError(
                f"--merge: {path} was made with other settings or models, or by another version; "
                "run it again"
            )
        parts.append([_from_json(fields) for fields in part["sets"]])
    return [_together(results) for results in zip(*parts, strict=True)]


def _settings(config: EvaluationConfig, models: Sequence[str]) -> dict[str, Any]:
    return {"settings": config.to_json(), "models": list(models), "version": __version__}


def _path(out: Path, shard: Shard) -> Path:
    return out / SHARDS / f"{shard.number}-of-{shard.count}.json"


def _as_json(result: EvaluatedSet) -> dict[str, Any]:
    views = [
        {
            **view._asdict(),
            "truth": _numbers(view.truth),
            "table": view.table.tolist(),
            "with_lines": {method: row.tolist() for method, row in view.with_lines.items()},
        }
        for view in result.views
    ]
    clips = [clip._asdict() for clip in result.clips]
    return {**result._asdict(), "best": _numbers(result.best), "views": views, "clips": clips}


def _numbers(values: Sequence[float]) -> list[float]:
    return [float(value) for value in values]


def _from_json(fields: dict[str, Any]) -> EvaluatedSet:
    views = [
        Measured(
            **{
                **view,
                "truth": Truth(*view["truth"]),
                "table": np.array(view["table"]),
                "with_lines": {method: np.array(row) for method, row in view["with_lines"].items()},
            }
        )
        for view in fields["views"]
    ]
    clips = [Pooled(**{**clip, "interval": tuple(clip["interval"])}) for clip in fields["clips"]]
    return EvaluatedSet(
        **{**fields, "best": Constants(*fields["best"]), "views": views, "clips": clips}
    )


def _together(results: Sequence[EvaluatedSet]) -> EvaluatedSet:
    """One set from its shards; truths and counts are of all maps, the same in every shard."""
    views = [view for result in results for view in result.views]
    views.sort(key=lambda view: (view.map_number, view.view_number))
    clips = [clip for result in results for clip in result.clips]
    clips.sort(key=lambda clip: (clip.first_map, clip.view_number, clip.pictures > 0))
    return results[0]._replace(views=views, clips=clips)
