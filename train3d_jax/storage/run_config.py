"""Runs on disk: what is where, and `config.json`.

<run>/config.json    the settings of training, which inference repeats
<run>/checkpoints/   the latest checkpoint and the one with the lowest validation loss: `checkpoint`
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

from train3d_jax import __version__
from train3d_jax.errors import Argument, ArgumentError, UserError
from train3d_jax.evidence import settings
from train3d_jax.evidence.targets import FOCAL_RANGE
from train3d_jax.files import write_whole
from train3d_jax.geometry.clouds import CloudSettings
from train3d_jax.training.config import TrainingConfig

CONFIG = "config.json"
CHECKPOINTS = "checkpoints"

FIRST_FOCAL_RANGE = (0.33, 4.2)
"""`targets.FOCAL_RANGE` of runs that do not tell it."""


def save_config(run: Path, config: TrainingConfig, facts: dict[str, Any]) -> None:
    """Writes config.json: the configuration, and facts about the run."""
    contents = {
        "version": __version__,
        "focal_range": FOCAL_RANGE,
        "training": dataclasses.asdict(config.resolved()),
        **facts,
    }
    write_whole(run / CONFIG, (json.dumps(contents, indent=2) + "\n").encode())


def load_config(run: Path) -> TrainingConfig:
    """Reads config.json.

    Raises:
      UserError: the folder holds no run, or one of another version of this program.
    """
    path = run / CONFIG
    if not path.is_file():
        raise UserError(f"{run}: is not a run, it has no {CONFIG}; train one with launch.train")
    try:
        whole = json.loads(path.read_text())
        low, high = whole.get("focal_range", FIRST_FOCAL_RANGE)
        contents = whole["training"]
        clouds = CloudSettings(**contents.pop("clouds"))
        evidence = contents.pop("evidence", None)
        if evidence is not None:
            evidence = settings.from_json(evidence)
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in contents.items()
        }
        config = TrainingConfig(**fields, clouds=clouds, evidence=evidence)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: is not a run of this version ({__version__}): {error}") from None
    if (low, high) != FOCAL_RANGE:
        raise UserError(
            f"{path}: estimates focal lengths of {low:g} to {high:g} times the first guess, and "
            f"this version of {FOCAL_RANGE[0]:g} to {FOCAL_RANGE[1]:g}; train it again"
        )
    return config


def load_facts(run: Path) -> dict[str, Any] | None:
    """The facts of config.json, besides the configuration; None where there is no run yet.

    Raises:
      UserError: it is damaged, or of another version of this program.
    """
    if not (run / CONFIG).exists():
        return None
    load_config(run)
    contents = json.loads((run / CONFIG).read_text())
    return {name: value for name, value in contents.items() if name != "training"}


def refuse_other_settings(run: Path, config: TrainingConfig) -> None:
    """Checks that an existing run has the same settings.

    Args:
      run: its folder.
      config: the settings now.

    Raises:
      UserError: it has others; the message shows every difference.
    """
    if not (run / CONFIG).exists():
        return
    before, now = named_settings(load_config(run)), named_settings(config.resolved())
    changed = [f"{name} {before[name]} -> {now[name]}" for name in now if before[name] != now[name]]
    if changed:
        raise ArgumentError(
            f"{run}: was trained with other settings ({'; '.join(changed)}); use another ",
            Argument("run"),
            ", or the same settings to go on with it",
        )


def named_settings(config: TrainingConfig) -> dict[str, Any]:
    """The settings by name, those of the clouds among them."""
    fields = dataclasses.asdict(config)
    return {**fields.pop("clouds"), **fields}
