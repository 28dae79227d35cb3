"""What is measured of the validation part: losses, errors, calibration."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from train3d_jax import chunking
from train3d_jax.errors import UserError
from train3d_jax.evidence.calibration import calibrate
from train3d_jax.evidence.targets import Target, median
from train3d_jax.geometry.clouds import make_clouds
from train3d_jax.networks.encoder import encode
from train3d_jax.training import losses
from train3d_jax.training.config import TrainingConfig, build_encoder
from train3d_jax.training.examples import Batch, make_examples
from train3d_jax.training.trainer import errors_of, everywhere, sample_key


class Evaluation(NamedTuple):
    """What `make_evaluation` measures of a batch.

    Attributes:
      errors: losses and errors of each sample, (B,), by name.
      weight: 1 for samples that count, shape (B,).
      predicted: the median of the posterior of each target, (B,), see `targets.RANGES`.
      true: the true quantity of each target, (B,).
      log_probability: of each target's posterior, (B, BINS).
      points: the cloud of the batch's first sample, (N, 3); mask: (N,).
    """

    errors: dict[str, jax.Array]
    weight: jax.Array
    predicted: dict[Target, jax.Array]
    true: dict[Target, jax.Array]
    log_probability: dict[Target, jax.Array]
    points: jax.Array
    mask: jax.Array


def make_evaluation(
    config: TrainingConfig, mesh: Mesh | None = None
) -> Callable[[Any, Batch], Evaluation]:
    """A compiled function from (params, batch) to what it measures of each sample.

    Without augmentation, and with the same points each time it is called.  On a mesh every process
    gets all of it.
    """
    encoder = build_encoder(config)

    def evaluate(params, batch: Batch) -> Evaluation:
        key = jax.random.key(config.seed)
        observation, labels = make_examples(key, batch, config, augmented=False)
        inputs = encoder.inputs(sample_key(key), observation, config.clouds)
        posteriors = encode(encoder, params, inputs)
        shown = make_clouds(sample_key(key), observation, config.clouds)
        errors = {
            f"loss_{target}": losses.posterior_loss(
                posterior, labels.quantity(target), target, config.loss
            )
            for target, posterior in posteriors.items()
        }
        weighted = [config.weight_of(target) * errors[f"loss_{target}"] for target in posteriors]
        loss = jnp.stack(weighted).sum(0)
        return Evaluation(
            errors={
                "loss": loss,
                **errors,
                **errors_of(posteriors, labels, observation.focal, batch["size"]),
            },
            weight=batch["weight"] * observation.canonical.solvable,
            predicted={target: median(found, target) for target, found in posteriors.items()},
            true={target: labels.quantity(target) for target in posteriors},
            log_probability={target: found.log_probability for target, found in posteriors.items()},
            points=shown.points[0, :, :3],
            mask=shown.mask[0],
        )

    return jax.jit(
        evaluate, out_shardings=everywhere(mesh), compiler_options=chunking.compiler_options()
    )


class Validation(NamedTuple):
    """What was measured of the validation part.

    Attributes:
      summary: mean of every loss and error, and median of every error, over the samples that count;
        and the calibration of each target by `calibration.calibrate`.
      predicted, true: as in `Evaluation`, of the samples that count.
      points: the cloud of the first sample that counts, (N, 3); empty where it is not the first of
        its batch.
    """

    summary: dict[str, float]
    predicted: dict[Target, np.ndarray]
    true: dict[Target, np.ndarray]
    points: np.ndarray


def validate(
    evaluate: Callable[[Any, Batch], Evaluation], params: Any, batches: Iterable[Batch]
) -> Validation:
    """Evaluates every batch.

    Raises:
      UserError: no sample counts.
    """
    parts = [jax.device_get(evaluate(params, batch)) for batch in batches]
    counted = np.concatenate([part.weight for part in parts]) > 0
    if not counted.any():
        raise UserError("validation: no sample has enough valid depth; look at the prepared set")

    def gathered(field: str) -> dict[Any, np.ndarray]:
        rows = [getattr(part, field) for part in parts]
        return {name: np.concatenate([row[name] for row in rows])[counted] for name in rows[0]}

    errors = gathered("errors")
    # Losses first, for readers of the file: JAX has sorted the names.
    names = sorted(errors, key=lambda name: (not name.startswith("loss"), name))
    summary = {name: float(errors[name].mean()) for name in names}
    summary |= {
        f"median_{name}": float(np.median(errors[name])) for name in names if "error" in name
    }
    true, log_probability = gathered("true"), gathered("log_probability")
    for target in true:
        calibration = calibrate(log_probability[target], true[target], target)
        summary[f"calibration_{target}"] = calibration.factor
        if calibration.finest is not None:
            summary[f"finest_{target}"] = calibration.finest
    return Validation(
        summary,
        gathered("predicted"),
        true,
        parts[0].points[parts[0].mask] if counted[0] else np.zeros((0, 3), np.float32),
    )
