"""What a shard of an evaluation leaves, and all shards taken together."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

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
    """Writes what a shard has measured, every digit of it; where to.

    Args:
      config: of the evaluation.
      shard: which part.
      models: what tells networks apart: names and digests.
      evaluated: what was measured.
    """
    told = {**_vouched(config, models), "sets": [_as_json(result) for result in evaluated]}
    path = _path(config.out, shard)
    write_whole(path, json.dumps(told).encode())
    return path


def load(config: EvaluationConfig, models: Sequence[str]) -> list[EvaluatedSet]:
    """What one evaluation of everything would have measured.

    Raises:
      UserError: shards are missing, or of other settings or models.
    """
    paths = sorted((config.out / SHARDS).glob("*-of-*.json"))
    counts = sorted({path.stem.split("-of-")[1] for path in paths})
    if len(counts) != 1:
        found = "no shards" if not paths else f"shards of different counts ({', '.join(counts)})"
        raise UserError(f"--merge: {config.out / SHARDS} holds {found}; run all with one --out")
    count = int(counts[0])
    parts = []
    for number in range(1, count + 1):
        path = _path(config.out, Shard(number, count))
        try:
            part = json.loads(path.read_bytes())
        except FileNotFoundError:
            raise UserError(f"--merge: shard {number}/{count} is missing; run it first") from None
        vouched = _vouched(config, models)
        if {name: part.get(name) for name in vouched} != vouched:
            raise UserError(
                f"--merge: {path} was made with other settings or models, or by another version; "
                "run it again"
            )
        parts.append([_from_json(told) for told in part["sets"]])
    return [_together(results) for results in zip(*parts, strict=True)]


def _vouched(config: EvaluationConfig, models: Sequence[str]) -> dict[str, Any]:
    return {"settings": config.told(), "models": list(models), "version": __version__}


def _path(out: Path, shard: Shard) -> Path:
    return out / SHARDS / f"{shard.number}-of-{shard.count}.json"


def _as_json(result: EvaluatedSet) -> dict[str, Any]:
    views = [
        {**view._asdict(), "truth": _numbers(view.truth), "table": view.table.tolist()}
        for view in result.views
    ]
    return {**result._asdict(), "best": _numbers(result.best), "views": views}


def _numbers(values: Sequence[float]) -> list[float]:
    return [float(value) for value in values]


def _from_json(told: dict[str, Any]) -> EvaluatedSet:
    views = [
        Measured(**{**view, "truth": Truth(*view["truth"]), "table": np.array(view["table"])})
        for view in told["views"]
    ]
    return EvaluatedSet(**{**told, "best": Constants(*told["best"]), "views": views})


def _together(results: Sequence[EvaluatedSet]) -> EvaluatedSet:
    """One set of its shards; what is true of all maps, every shard has found alike."""
    views = [view for result in results for view in result.views]
    views.sort(key=lambda view: (view.map_number, view.view_number))
    return results[0]._replace(views=views)
