"""The state of a training and its compiled step.

The loader supplies blocks of true depth (`data.loading`).  Augmentation, distortion and labels are
made on the device by the step itself, with randomness from `fold_in(seed, step)`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from train3d_jax import chunking
from train3d_jax.evidence.targets import Posterior, Target, median
from train3d_jax.geometry import affine, metrics
from train3d_jax.geometry.clouds import Observation
from train3d_jax.networks.encoder import encode
from train3d_jax.stored_programs import Program
from train3d_jax.training import losses, recipe
from train3d_jax.training.config import TrainingConfig, build_encoder, initial_params
from train3d_jax.training.examples import Batch, Labels, make_examples


class TrainState(NamedTuple):
    """What training changes; saved together, and enough to go on to the bit.

    Randomness needs no state: keys are folded from the seed and the step, and so is the place in
    the data.

    Attributes:
      step: steps done, int32, shape ().
      params: the weights.
      average: their moving average.
      optimizer: the optimiser's memory.
      sums: of what steps measured since the last row of metrics, by name; and the number of steps.
    """

    step: jax.Array
    params: Any
    average: Any
    optimizer: optax.OptState
    sums: dict[str, jax.Array]


def initial_state(config: TrainingConfig, total_steps: int, params: Any = None) -> TrainState:
    """The state before the first step, from given weights or fresh ones."""
    params = initial_params(config) if params is None else params
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        # Copies: a buffer that is donated twice is refused.
        average=jax.tree.map(jnp.copy, params),
        optimizer=recipe.build_optimizer(config, total_steps).init(params),
        sums=no_sums(config),
    )


def no_sums(config: TrainingConfig) -> dict[str, jax.Array]:
    """Sums of no steps."""
    estimated = build_encoder(config).estimated
    names = ["steps", "loss", *(f"loss_{target}" for target in estimated)]
    for target in estimated:
        names += ERRORS[target]
    return {name: jnp.zeros((), jnp.float32) for name in names}


def train_step(
    config: TrainingConfig, total_steps: int
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]:
    """A step as a pure function: (state, batch) to the next state and what it measured."""
    encoder = build_encoder(config, config.precision)
    optimizer = recipe.build_optimizer(config, total_steps)

    def loss_of(params, key, batch):
        observation, labels = make_examples(key, batch, config, augmented=True)
        inputs = encoder.inputs(sample_key(key), observation, config.clouds)
        posteriors = encode(encoder, params, inputs)
        weight = observation.canonical.solvable.astype(jnp.float32)
        parts = {
            f"loss_{target}": _mean(
                losses.posterior_loss(posterior, labels.quantity(target), target, config.loss),
                weight,
            )
            for target, posterior in posteriors.items()
        }
        loss = sum(config.weight_of(target) * parts[f"loss_{target}"] for target in posteriors)
        errors = errors_of(posteriors, labels, observation, batch["size"])
        row = {"loss": loss, **parts} | {
            name: _mean(error, weight) for name, error in errors.items()
        }
        return loss, row

    def step(state: TrainState, batch: Batch):
        key = jax.random.fold_in(jax.random.key(config.seed), state.step)
        gradient, row = jax.grad(loss_of, has_aux=True)(state.params, key, batch)
        done = state.step + 1
        before = recipe.Weights(state.params, state.average, state.optimizer)
        after = recipe.take_step(optimizer, gradient, before, done, config.average_decay)
        counted = {**row, "steps": jnp.ones(())}
        sums = {name: total + counted[name] for name, total in state.sums.items()}
        return TrainState(done, after.params, after.average, after.memory, sums), row

    return step


def make_train_step(
    config: TrainingConfig, total_steps: int, mesh: Mesh | None = None
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]:
    """`train_step`, compiled.

    The old state is donated.  On a mesh (`device_mesh`) the state is replicated and the batch
    divided; the result is the same but for rounding.
    """
    step, options = train_step(config, total_steps), chunking.compiler_options(derivatives=True)
    if jax.device_count() > 1:
        return jax.jit(
            step, donate_argnums=0, out_shardings=everywhere(mesh), compiler_options=options
        )

    def flat_step(state: TrainState, batch: Batch) -> tuple[list[jax.Array], dict[str, jax.Array]]:
        after, row = step(state, batch)
        return jax.tree.leaves(after), row

    program = Program(flat_step, f"train_step {config} {total_steps}", options, donates=True)

    def kept_step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, jax.Array]]:
        leaves, row = program(state, batch)
        return jax.tree.unflatten(jax.tree.structure(state), leaves), row

    return kept_step


def everywhere(mesh: Mesh | None) -> NamedSharding | None:
    """The sharding of what every device has whole."""
    return None if mesh is None else NamedSharding(mesh, PartitionSpec())


def device_mesh(batch_size: int) -> Mesh:
    """As many devices of each process as divide a batch evenly, in one row.

    Raises:
      ValueError: the processes do not divide it.
    """
    share, rest = divmod(batch_size, jax.process_count())
    if rest:
        raise ValueError(f"{jax.process_count()} processes do not divide a batch of {batch_size}")
    counts = range(1, jax.local_device_count() + 1)
    each = max(count for count in counts if share % count == 0)
    devices = [jax.local_devices(number)[:each] for number in range(jax.process_count())]
    return Mesh(np.concatenate(devices), ("batch",))


def place_state(state: TrainState, mesh: Mesh) -> TrainState:
    """The same on every device."""
    return jax.device_put(state, everywhere(mesh))


def place_batch(batch: Batch, mesh: Mesh) -> Batch:
    """Divided among the devices along its leading axis; `sample` stays on the host.

    Each process has read its part of the batch, in the order of their numbers.
    """
    divided = NamedSharding(mesh, PartitionSpec("batch"))
    with jax.transfer_guard("allow"):  # this is asked for, though it is not a device_put
        return {
            name: jax.make_array_from_process_local_data(divided, value)
            for name, value in batch.items()
            if name != "sample"
        }


def sample_key(key: jax.Array) -> jax.Array:
    """The key of the samples of points, of the key of a step."""
    return jax.random.split(key, 4)[3]


ERRORS: dict[Target, tuple[str, ...]] = {
    "shift": ("shift_error",),
    "focal": ("focal_error", "fov_error_deg"),
    "scale": ("scale_error",),
}


def errors_of(
    posteriors: dict[Target, Posterior], labels: Labels, observation: Observation, size: jax.Array
) -> dict[str, jax.Array]:
    """The errors of `ERRORS` by the medians of posteriors, each of shape (B,)."""
    errors = {}
    if "shift" in posteriors:
        shift = affine.ratio_to_shift(median(posteriors["shift"], "shift"))
        errors["shift_error"] = metrics.shift_error(shift, labels.shift)
    if "focal" in posteriors:
        focal = jnp.exp(median(posteriors["focal"], "focal")) * observation.focal
        errors["focal_error"] = metrics.focal_error(focal, labels.focal)
        errors["fov_error_deg"] = metrics.fov_error(focal, labels.focal, size[:, 0])
    if "scale" in posteriors:
        scale = jnp.exp(median(posteriors["scale"], "scale"))
        errors["scale_error"] = jnp.abs(scale - labels.scale) / labels.scale
    return errors


def _mean(values: jax.Array, weight: jax.Array) -> jax.Array:
    return (values * weight).sum() / jnp.maximum(weight.sum(), 1)
