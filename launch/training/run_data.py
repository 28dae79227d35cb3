"""The samples that a run trains and validates on, as config.json keeps them; others are refused."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data.loading.splits import Subset
from train3d_jax.errors import UserError
from train3d_jax.storage import run_config


def describe(
    training: Sequence[Subset],
    validation: Sequence[Subset],
    train_split: float,
    mix: Sequence[float],
) -> dict[str, Any]:
    """The description of the data in config.json.

    Args:
      training: the training part of each set.
      validation: the validation part of each, in the same order.
      train_split: share of the samples for training, as given.
      mix: share of each set in a batch; empty where sizes decide.

    Returns:
      data, `PreparedSet.facts` of each set except its path, which may change; paths; samples, of
      both parts; split, with a digest of the samples of each part.
    """
    facts = [subset.samples.facts() for subset in training]
    parts = [
        [[subset.samples.ids[index] for index in subset.indices] for subset in part]
        for part in (training, validation)
    ]
    return {
        "data": [{k: v for k, v in fact.items() if k != "path"} for fact in facts],
        "paths": [fact["path"] for fact in facts],
        "samples": [sum(map(len, part)) for part in parts],
        "split": {
            "train_split": train_split,
            "mix": list(mix),
            "sha256": hashlib.sha256(json.dumps(parts).encode()).hexdigest(),
        },
    }


def refuse_other(run: Path, described: dict[str, Any]) -> None:
    """Checks that an existing run was begun with the same data and split.

    Runs of earlier versions have no digest of the split; the sizes of both parts are compared.

    Raises:
      UserError: it was not; the message names the sets and the flags.
    """
    before = run_config.load_facts(run)
    if before is None:
        return
    differences = _of_data(before, described) or _of_split(before, described)
    if differences:
        raise UserError(
            f"{run}: was trained {'; '.join(differences)}; use another --model_name, or the same "
            "data and flags to go on with it"
        )


def _of_data(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    old, new = before.get("data") or [], now["data"]
    old_paths, new_paths = before.get("paths") or ["other sets"], now["paths"]
    changed = [
        f"{path} ({then.get('samples')} samples then, {there['samples']} now)"
        for path, then, there in zip(new_paths, old, new, strict=False)
        if any(then.get(key) != there[key] for key in ("sha256", "samples"))
    ]
    if len(old) == len(new) and not changed:
        return []
    if old_paths != new_paths:
        return [f"on --data={','.join(old_paths)}, and {','.join(new_paths)} is other data"]
    return [f"on --data={','.join(new_paths)} before it changed: {', '.join(changed)}"]


def _of_split(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    sets, new = ",".join(now["paths"]), now["split"]
    old = before.get("split")
    parts = "{} samples to train on and {} to validate".format
    divided = f"on {parts(*before['samples'])}" if before.get("samples") else "on other samples"
    if old is None:
        if before.get("samples") in (None, now["samples"]):
            return []
        return [f"{divided} of {sets}, not {parts(*now['samples'])}: give its --train_split"]
    differences = []
    if old["sha256"] != new["sha256"]:
        flags = [f"--train_split={each['train_split']:g}" for each in (old, new)]
        if flags[0] != flags[1]:
            differences.append(f"with {flags[0]} of {sets}, not {flags[1]}")
        else:
            differences.append(f"with {flags[0]} {divided} of {sets}, now other samples")
    if old["mix"] != new["mix"]:
        differences.append(f"with {_mix(old)} of {sets}, not {_mix(new)}")
    return differences


def _mix(split: dict[str, Any]) -> str:
    given = ",".join(f"{share:g}" for share in split["mix"])
    return f"--mix={given}" if given else "shares by size (no --mix)"
