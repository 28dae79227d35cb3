"""Trained networks: loaded, identified by a digest, and checked for what they are to estimate."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from train3d_jax.errors import Argument, ArgumentError

if TYPE_CHECKING:  # start-up: flags need `DEFAULT` before JAX
    from train3d_jax.evidence.calibration import Calibration
    from train3d_jax.evidence.fusion import Method
    from train3d_jax.evidence.targets import Target
    from train3d_jax.geometry.affine import Space
    from train3d_jax.training.config import TrainingConfig

DEFAULT = "default"
"""Name of the weights of the package."""


@dataclasses.dataclass(frozen=True)
class Model:
    """A trained network.

    Attributes:
      name: folder name of the run and step of the checkpoint.
      config: of its training.
      params: its weights.
      calibration: of a target's posterior; none where it is unknown.
    """

    name: str
    config: "TrainingConfig"
    params: Any
    calibration: "Mapping[Target, Calibration]" = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256, in hex, of all that its answers depend on: not of its name.

        A run and the weights that `weights.pack` makes of it have the same digest.
        """
        import jax  # start-up, see above

        described = {
            "config": dataclasses.asdict(self.config),
            "calibration": {name: self.calibration[name] for name in sorted(self.calibration)},
        }
        digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
        leaves, _ = jax.tree_util.tree_flatten_with_path(jax.device_get(self.params))
        for path, values in sorted(leaves, key=lambda leaf: jax.tree_util.keystr(leaf[0])):
            values = np.ascontiguousarray(values)
            digest.update(f"{jax.tree_util.keystr(path)} {values.dtype} {values.shape} ".encode())
            digest.update(values.tobytes())
        return digest.hexdigest()


def load_model(run: str | Path = DEFAULT, space: "Space" = "depth") -> Model:
    """Loads the best checkpoint of a run, or the weights of the package.

    Args:
      run: a folder of `launch.train` or of weights; "default" for those of the package.
      space: of the maps, which chooses between the weights of the package.

    Raises:
      UserError: there is none, or it cannot be read.
    """
    from train3d_jax.storage import weights  # start-up, see above

    name = str(run) if str(run) == DEFAULT and not Path(run).exists() else None
    run = Path(run) if name is None else weights.bundled(space)
    if (run / weights.WEIGHTS).is_file():
        config, step, params, factors = weights.load(run)
    else:
        from train3d_jax.storage import checkpoint  # start-up: it imports Orbax

        config, step, params, factors = checkpoint.load_params(run)
    return Model(f"{name or run.resolve().name}@{step}", config, params, factors)


def begin_with(init_from: str | Path, config: "TrainingConfig") -> "tuple[TrainingConfig, Any]":
    """The weights of a network that another training begins with.

    Args:
      init_from: as `run` of `load_model`.
      config: of the new training.

    Returns:
      The configuration with the settings of the evidence that the weights were trained with; the
      weights, on the host.

    Raises:
      UserError: it cannot be read, or is another network; the message shows every difference.
    """
    import jax  # start-up, see above

    from train3d_jax.storage.run_config import named_settings

    model = load_model(init_from, config.clouds.space)
    shaping = ("targets", "encoder", "width", "space", "input_channels", "shift_known")
    before, now = named_settings(model.config), named_settings(config)
    changed = [
        f"{name} {before[name]} -> {now[name]}" for name in shaping if before[name] != now[name]
    ]
    if changed:
        raise ArgumentError(
            Argument("init_from", init_from),
            f": is another network ({'; '.join(changed)}); give the same settings",
        )
    if config.resolved().evidence != model.config.evidence:  # the same keeps its compiled step
        config = dataclasses.replace(config, evidence=model.config.evidence)
    return config, jax.device_get(model.params)


def check_models(
    models: Sequence[Model],
    space: "Space",
    focal_known: bool,
    shift_known: bool = False,
    method: "Method" = "learned",
) -> None:
    """Checks that the networks can estimate together what is unknown.

    Raises:
      UserError: one is of another space, or no network covers a target that is unknown.
    """
    for model in models:
        if model.config.clouds.space != space:
            raise ArgumentError(
                Argument("space", space),
                f": {model.name} was trained in {model.config.clouds.space} space; "
                "use a run that was trained in the space of the maps",
            )
    if method == "geometric":
        return
    if not models:
        raise ArgumentError(
            Argument("method", method),
            ": needs a ",
            Argument("model"),
            "; without one use ",
            Argument("method", "geometric"),
        )
    covered = {target for model in models for target in model.config.heads}
    names = ", ".join(model.name for model in models)
    if "shift" not in covered and not shift_known:
        raise ArgumentError(
            Argument("model"),
            f": {names} cover no shift; add a run trained with ",
            Argument("targets", 0),
        )
    if "focal" not in covered and not focal_known:
        raise ArgumentError(
            Argument("model"),
            f": {names} cover no focal length; add a run trained with ",
            Argument("targets", 2),
            ", or give ",
            Argument("focal_px"),
            " or ",
            Argument("intrinsics"),
        )


def is_metric(models: Sequence[Model]) -> bool:
    """Whether the estimates of these networks are in metres."""
    return any("scale" in model.config.heads for model in models)
