"""The state of a training and its compiled step.

The loader supplies blocks of true depth (`data.loading`).  Augmentation, distortion and labels are
made on the device by the step itself, with randomness from `fold_in(seed, step)`.
"""

import dataclasses
import functools
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
    return _begin(config, total_steps)(initial_params(config) if params is None else params)


@functools.cache
def _begin(config: TrainingConfig, total_steps: int) -> Program:
    """From weights to the state; one program, as each array by itself is compiled anew."""

    def begin(params: Any) -> TrainState:
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            average=params,  # an array of its own, or donating it would be refused
            optimizer=recipe.build_optimizer(config, total_steps).init(params),
            sums=no_sums(config),
        )

    described = f"initial_state {config} {total_steps}"
    return Program(begin, described, chunking.compiler_options(chunking.QUICK))


def no_sums(config: TrainingConfig) -> dict[str, jax.Array]:
    """Sums of no steps."""
    estimated = build_encoder(config).estimated
    names = ["steps", "loss", *(f"loss_{target}" for target in estimated)]
    for target in estimated:
        names += ERRORS[target]
    return {name: jnp.zeros((), jnp.float32) for name in names}


class Truth(NamedTuple):
    """What is known of a batch's maps, each of shape (B,); the size (B, 2).

    Attributes:
      labels: what is to be estimated.
      focal: focal length in pixels that rays are made with.
      size: height and width in pixels.
      weight: 1 for maps that count, 0 for others.
    """

    labels: Labels
    focal: jax.Array
    size: jax.Array
    weight: jax.Array


@dataclasses.dataclass(frozen=True)
class Parts:
    """A training step as pure functions; each is a program of its own, see `make_train_step`.

    Attributes:
      show: from (step, batch) to the encoder's inputs and the truth.
      prepare: what the encoder makes of its inputs without weights.
      learn: from (params, prepared, truth) to the gradient and what was estimated: the losses, and
        the posteriors as log-probabilities.
      finish: from (state, gradient, estimated, truth) to the next state and what was measured.
    """

    show: Callable[..., Any]
    prepare: Callable[..., Any]
    learn: Callable[..., Any]
    finish: Callable[..., Any]

    def __call__(self, state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, jax.Array]]:
        """A whole step: from state and batch to the next state and what was measured."""
        inputs, truth = self.show(state.step, batch)
        gradient, estimated = self.learn(state.params, self.prepare(inputs), truth)
        return self.finish(state, gradient, estimated, truth)


def train_step(config: TrainingConfig, total_steps: int) -> Parts:
    """A step as a pure function: (state, batch) to the next state and what it measured."""
    encoder = build_encoder(config, config.precision)
    optimizer = recipe.build_optimizer(config, total_steps)

    def show(step: jax.Array, batch: Batch):
        key = jax.random.fold_in(jax.random.key(config.seed), step)
        observation, labels = make_examples(key, batch, config, augmented=True)
        inputs = encoder.inputs(sample_key(key), observation, config.clouds)
        weight = observation.canonical.solvable.astype(jnp.float32)
        return inputs, Truth(labels, observation.focal, batch["size"], weight)

    def prepare(inputs):
        return encoder.prepared(*inputs)

    def loss_of(params, prepared, truth: Truth):
        posteriors: Any = encoder.apply(params, prepared, method="from_prepared")
        parts = {
            f"loss_{target}": _mean(
                losses.posterior_loss(
                    posterior, truth.labels.quantity(target), target, config.loss
                ),
                truth.weight,
            )
            for target, posterior in posteriors.items()
        }
        loss = sum(config.weight_of(target) * parts[f"loss_{target}"] for target in posteriors)
        return loss, ({"loss": loss, **parts}, posteriors)

    def finish(state: TrainState, gradient, estimated, truth: Truth):
        row, posteriors = estimated
        errors = errors_of(posteriors, truth.labels, truth.focal, truth.size)
        row |= {name: _mean(error, truth.weight) for name, error in errors.items()}
        done = state.step + 1
        before = recipe.Weights(state.params, state.average, state.optimizer)
        after = recipe.take_step(optimizer, gradient, before, done, config.average_decay)
        counted = {**row, "steps": jnp.ones(())}
        sums = {name: total + counted[name] for name, total in state.sums.items()}
        return TrainState(done, after.params, after.average, after.memory, sums), row

    return Parts(show, prepare, jax.grad(loss_of, has_aux=True), finish)


def make_train_step(
    config: TrainingConfig, total_steps: int, mesh: Mesh | None = None
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]:
    """`train_step`, compiled: each part by itself, with the options that suit it.

    The old state is donated.  On a mesh (`device_mesh`) the state is replicated and the batch
    divided, and the step is one program; the result is the same but for rounding.
    """
    parts = train_step(config, total_steps)
    if jax.device_count() > 1:
        options = chunking.compiler_options(derivatives=True)
        return jax.jit(
            parts,
            donate_argnums=0,
            out_shardings=everywhere(mesh),
            compiler_options=options,
        )

    def program(name: str, donates: bool = False, **options: Any) -> Program:
        described = f"train_step {name} {config} {total_steps}"
        options = chunking.compiler_options(**options)
        return Program(getattr(parts, name), described, options, donates)

    return Parts(
        show=program("show", level=chunking.SIMPLE),
        prepare=program("prepare"),
        learn=program("learn", derivatives=True),
        finish=program("finish", donates=True, level=chunking.QUICK),
    )


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
    posteriors: dict[Target, Posterior], labels: Labels, focal: jax.Array, size: jax.Array
) -> dict[str, jax.Array]:
    """The errors of `ERRORS` by the medians of posteriors, each of shape (B,).

    Args:
      posteriors: by target.
      labels: the truth.
      focal: focal lengths in pixels that rays were made with, shape (B,).
      size: height and width in pixels, shape (B, 2).
    """
    errors = {}
    if "shift" in posteriors:
        shift = affine.ratio_to_shift(median(posteriors["shift"], "shift"))
        errors["shift_error"] = metrics.shift_error(shift, labels.shift)
    if "focal" in posteriors:
        found = jnp.exp(median(posteriors["focal"], "focal")) * focal
        errors["focal_error"] = metrics.focal_error(found, labels.focal)
        errors["fov_error_deg"] = metrics.fov_error(found, labels.focal, size[:, 0])
    if "scale" in posteriors:
        scale = jnp.exp(median(posteriors["scale"], "scale"))
        errors["scale_error"] = jnp.abs(scale - labels.scale) / labels.scale
    return errors


def _mean(values: jax.Array, weight: jax.Array) -> jax.Array:
    return (values * weight).sum() / jnp.maximum(weight.sum(), 1)
