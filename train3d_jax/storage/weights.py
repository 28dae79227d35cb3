"""Weights that the package ships: a folder for each space, and one for `forms`; without Orbax.

weights/<space>/config.json    settings of the training, calibration, SHA-256 of the weights
weights/<space>/weights.npz    float32 arrays by their path in the network, as params/Dense_0/kernel
weights/<space>/CARD.md        data, licence, figures, date and command, for people
"""

import functools
import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import numpy as np

from train3d_jax.errors import Argument, ArgumentError, UserError
from train3d_jax.evidence import forms
from train3d_jax.evidence.calibration import Calibration
from train3d_jax.evidence.targets import TARGETS, Target
from train3d_jax.files import write_whole
from train3d_jax.geometry.affine import Space
from train3d_jax.storage import run_config
from train3d_jax.training.config import TrainingConfig

FOLDER = Path(__file__).parents[1] / "weights"
WEIGHTS = "weights.npz"


def pack(run: Path, folder: Path, factors: Mapping[Target, float] = MappingProxyType({})) -> None:
    """Writes the best checkpoint of a run as a folder of weights.

    Args:
      run: of `launch.train`.
      folder: of the new `config.json` and `weights.npz`; the same run gives the same bytes.
      factors: on log-posteriors, beside those of the run's own calibration; 1 where not given.

    Raises:
      UserError: the run cannot be read or is not finished, or the folder cannot be written.
    """
    from train3d_jax.storage import checkpoint  # start-up: it imports Orbax

    config, step, params, calibration = checkpoint.load_params(run)
    contents = json.loads((run / run_config.CONFIG).read_text())
    total = config.total_steps(contents["samples"][0])
    with checkpoint.Checkpoints(run) as saved:
        if (last := saved.last_step or 0) < total:
            raise UserError(
                f"{run}: was stopped at step {last} of {total}; launch.train with the same "
                "settings goes on from there"
            )
    names = ("version", "focal_range", "data", "samples", "training")
    kept = {name: contents[name] for name in names}
    calibrated = {}
    for target in TARGETS:
        if target in calibration or target in factors:
            each = calibration.get(target, Calibration())
            factor = each.factor * factors.get(target, 1.0)
            calibrated[target] = each._replace(factor=factor)._asdict()
    write(folder, params, kept | {"step": step, "calibration": calibrated})


def write(folder: Path, params: Any, contents: dict[str, Any]) -> None:
    """Writes weights and their description; the same weights give the same bytes.

    Raises:
      UserError: the folder cannot be written.
    """
    flat = _flat(jax.device_get(params))
    file = io.BytesIO()
    arrays: dict[str, Any] = {name: np.asarray(flat[name], np.float32) for name in sorted(flat)}
    np.savez(file, **arrays)
    contents = {**contents, "sha256": hashlib.sha256(file.getvalue()).hexdigest()}
    write_whole(folder / WEIGHTS, file.getbuffer())
    write_whole(folder / run_config.CONFIG, (json.dumps(contents, indent=2) + "\n").encode())


def load(folder: Path) -> tuple[TrainingConfig, int, Any, dict[Target, Calibration]]:
    """Configuration, step, weights and calibration, as `checkpoint.load_params` gives them.

    Raises:
      UserError: a file is missing, or the weights do not have the hash of config.json.
    """
    config = run_config.load_config(folder)
    params, about = read(folder)
    calibration = {name: Calibration(**factors) for name, factors in about["calibration"].items()}
    return config, about["step"], params, calibration


def read(folder: Path) -> tuple[Any, dict[str, Any]]:
    """Weights and their description, as written by `write`.

    Raises:
      UserError: a file is missing, or the weights do not have the hash of config.json.
    """
    try:
        contents = (folder / WEIGHTS).read_bytes()
        about = json.loads((folder / run_config.CONFIG).read_text())
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read: {error.strerror}") from None
    if hashlib.sha256(contents).hexdigest() != about["sha256"]:
        raise UserError(
            f"{folder / WEIGHTS}: is damaged; install the package again, or pack the run again"
        )
    with np.load(io.BytesIO(contents)) as arrays:
        return _nested(arrays), about


def _flat(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The leaves of a nested dictionary by their path."""
    flat = {}
    for name, value in tree.items():
        inner = _flat(value) if isinstance(value, Mapping) else {"": value}
        flat |= {f"{name}/{path}".rstrip("/"): leaf for path, leaf in inner.items()}
    return flat


def _nested(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """The nested dictionary of leaves by their path."""
    tree: dict[str, Any] = {}
    for path, leaf in leaves.items():
        *parents, name = path.split("/")
        inner = tree
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[name] = leaf
    return tree


@functools.cache
def form_model() -> forms.Model:
    """The network of `forms` that the package ships.

    Raises:
      UserError: its weights are missing or damaged.
    """
    params, about = read(FOLDER / "form")
    return forms.Model(params, about["temper"])


def bundled(space: Space) -> Path:
    """The folder of the weights for a space.

    Raises:
      UserError: this version ships none for it.
    """
    folder = FOLDER / space
    if not (folder / WEIGHTS).is_file():
        raise ArgumentError(
            Argument("model", "default"),
            f": no weights for {space} come with this version; train a network with launch.train, "
            "or use ",
            Argument("method", "geometric"),
        )
    return folder
