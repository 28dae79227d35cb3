"""Training: settings, state, one step, validation, and the loop over them.

The loader hands over blocks of true depth (`data.pipeline`); clouds and labels are made on the
device by the step itself, with randomness from `fold_in(seed, step)`.
"""

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax

from train3d_jax import augmentation, depth, losses, metrics
from train3d_jax.clouds import Blocks, Clouds, CloudSettings, make_clouds
from train3d_jax.encoder import TARGETS, PointSetEncoder, Posterior, Target, encode, median
from train3d_jax.errors import UserError

WARMUP_STEPS = 50
CLIP_NORM = 1.0
WEIGHT_DECAY = 1e-4

Batch = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """Everything that decides what a run becomes, besides its data.

    Attributes:
      targets: numbers of the targets, 0 shift, 1 scale, 2 focal length.
      clouds: how maps become clouds.
      batch_size: samples in a step.
      learning_rate: of AdamW, after the warm-up.
      learning_rate_decay: the factor that it has linearly fallen to at the end.
      epochs: passes over the training part.
      noise: largest relative noise put on the depth, see `augmentation.add_noise`.
      init_scale: metres that a scale of 1 stands for.
      seed: of weights, order, crops, noise and samples.
      width: channels of the encoder's hidden layers.
    """

    targets: tuple[int, ...]
    clouds: CloudSettings = dataclasses.field(default_factory=CloudSettings)
    batch_size: int = 20
    learning_rate: float = 0.003
    learning_rate_decay: float = 0.1
    epochs: int = 5
    noise: float = 0.006
    init_scale: float = 1.0
    seed: int = 0
    width: int = 64

    @property
    def heads(self) -> tuple[Target, ...]:
        """The targets by name."""
        return tuple(TARGETS[number] for number in self.targets)


class TrainState(NamedTuple):
    """What training changes: step (int32, ()), parameters, and the optimiser's memory."""

    step: jax.Array
    params: Any
    optimizer: optax.OptState


class Labels(NamedTuple):
    """The truth about a batch, each of shape (B,).

    Attributes:
      shift: canonical shift.
      focal: pixels.
      alpha: focal over the focal length that the cloud was made with.
      scale: metres at the canonical value 1 (the far quantile of depth, the near one of disparity)
        over the initial scale.
    """

    shift: jax.Array
    focal: jax.Array
    alpha: jax.Array
    scale: jax.Array

    def quantity(self, target: Target) -> jax.Array:
        """What the posterior of a target is over, see `encoder.RANGES`."""
        match target:
            case "shift":
                return depth.shift_to_ratio(self.shift)
            case "focal":
                return jnp.log(self.alpha)
            case "scale":
                return jnp.log(self.scale)


class CheckpointStore(Protocol):
    """Where the loop saves to; `checkpoint.Checkpoints` is one."""

    def save(self, step: int, state: TrainState, batches: Iterator[Batch], loss: float) -> None:
        """Keeps everything that going on from `step` needs."""
        ...


def build_encoder(config: TrainingConfig) -> PointSetEncoder:
    """The encoder that a configuration means."""
    return PointSetEncoder(
        config.heads, config.clouds.space, config.clouds.shift_known, config.width
    )


def build_optimizer(config: TrainingConfig, total_steps: int) -> optax.GradientTransformation:
    """AdamW with clipped gradients, a short warm-up and a linear decay."""
    warmup = min(WARMUP_STEPS, total_steps // 2)
    end = config.learning_rate * config.learning_rate_decay
    schedule = optax.join_schedules(
        [
            optax.linear_schedule(0.0, config.learning_rate, warmup),
            optax.linear_schedule(config.learning_rate, end, max(total_steps - warmup, 1)),
        ],
        [warmup],
    )
    return optax.chain(
        optax.clip_by_global_norm(CLIP_NORM),
        optax.adamw(schedule, b2=0.98, weight_decay=WEIGHT_DECAY),
    )


def initial_state(config: TrainingConfig, total_steps: int) -> TrainState:
    """Fresh weights; a pure function of the configuration."""
    channels = config.clouds.input_channels
    points = jnp.ones((1, config.clouds.num_points, channels))
    params = jax.jit(build_encoder(config).init)(
        jax.random.key(config.seed), points, jnp.ones(points.shape[:2], bool)
    )
    return TrainState(
        jnp.zeros((), jnp.int32), params, build_optimizer(config, total_steps).init(params)
    )


def make_examples(
    key: jax.Array, batch: Batch, config: TrainingConfig, noise: float
) -> tuple[Clouds, Labels]:
    """Turns blocks of true depth into clouds as inference would see them, and the answers.

    Args:
      key: random key of noise and samples.
      batch: as `data.pipeline` makes it; `values` are true metres or inverse metres.
      config: how.
      noise: largest relative noise.

    Returns:
      Clouds and labels, leading axis B.
    """
    noise_key, sample_key = jax.random.split(key)
    values = batch["values"]
    if noise > 0:
        values = augmentation.add_noise(noise_key, values, noise)
    blocks = Blocks(batch["pixels"], values, batch["mask"], batch["size"], batch["centre"])
    canonical = depth.canonicalise(values, batch["mask"])
    # The input was true, so the offset of its canonical form is what a canonical map lacks.
    shift = -canonical.offset
    clouds = make_clouds(sample_key, blocks, config.clouds, shift, batch["focal"])
    # Metres at the canonical far value: the far quantile in depth space, the near in disparity.
    metres = (depth.FAR_VALUE + shift) / canonical.scale
    metres = metres if config.clouds.space == "depth" else 1 / metres
    labels = Labels(
        shift, batch["focal"], batch["focal"] / clouds.focal, metres / config.init_scale
    )
    return clouds, labels


def make_train_step(
    config: TrainingConfig, total_steps: int
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]:
    """A compiled step: (state, batch) to the next state and losses; the old state is donated."""
    encoder, optimizer = build_encoder(config), build_optimizer(config, total_steps)

    def loss_of(params, key, batch):
        clouds, labels = make_examples(key, batch, config, config.noise)
        posteriors = encode(encoder, params, clouds.points, clouds.mask)
        weight = clouds.canonical.solvable.astype(jnp.float32)
        parts = {
            f"loss_{target}": _mean(
                losses.posterior_loss(posterior, labels.quantity(target), target), weight
            )
            for target, posterior in posteriors.items()
        }
        return sum(parts.values()), parts

    def step(state: TrainState, batch: Batch):
        key = jax.random.fold_in(jax.random.key(config.seed), state.step)
        (loss, parts), gradient = jax.value_and_grad(loss_of, has_aux=True)(
            state.params, key, batch
        )
        updates, memory = optimizer.update(gradient, state.optimizer, state.params)
        params = optax.apply_updates(state.params, updates)
        return TrainState(state.step + 1, params, memory), {"loss": loss, **parts}

    return jax.jit(step, donate_argnums=0)


def make_evaluation(config: TrainingConfig) -> Callable[[Any, Batch], dict[str, jax.Array]]:
    """A compiled function from (params, batch) to losses and errors of each sample, shape (B,).

    Without noise, and with the same points each time it is called.
    """
    encoder = build_encoder(config)

    def evaluate(params, batch: Batch) -> dict[str, jax.Array]:
        key = jax.random.key(config.seed)
        clouds, labels = make_examples(key, batch, config, noise=0.0)
        posteriors = encode(encoder, params, clouds.points, clouds.mask)
        results = {
            f"loss_{target}": losses.posterior_loss(posterior, labels.quantity(target), target)
            for target, posterior in posteriors.items()
        }
        results["loss"] = jnp.stack(list(results.values())).sum(0)
        results |= _errors(posteriors, labels, clouds, batch["size"])
        results["weight"] = batch["weight"] * clouds.canonical.solvable
        return results

    return jax.jit(evaluate)


def _errors(
    posteriors: dict[Target, Posterior], labels: Labels, clouds: Clouds, size: jax.Array
) -> dict[str, jax.Array]:
    errors = {}
    if "shift" in posteriors:
        shift = depth.ratio_to_shift(median(posteriors["shift"], "shift"))
        errors["shift_error"] = metrics.shift_error(shift, labels.shift)
    if "focal" in posteriors:
        focal = jnp.exp(median(posteriors["focal"], "focal")) * clouds.focal
        errors["focal_error"] = metrics.focal_error(focal, labels.focal)
        errors["fov_error_deg"] = metrics.fov_error(focal, labels.focal, size[:, 0])
    if "scale" in posteriors:
        scale = jnp.exp(median(posteriors["scale"], "scale"))
        errors["scale_error"] = jnp.abs(scale - labels.scale) / labels.scale
    return errors


def validate(
    evaluate: Callable[[Any, Batch], dict[str, jax.Array]], params: Any, batches: Iterable[Batch]
) -> dict[str, float]:
    """Mean of losses and errors over the samples that count, and the errors' medians."""
    parts = [jax.device_get(evaluate(params, batch)) for batch in batches]
    results = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    counted = results.pop("weight") > 0
    if not counted.any():
        raise UserError("validation: no sample has enough valid depth; look at the prepared set")
    summary = {name: float(value[counted].mean()) for name, value in results.items()}
    for name, value in results.items():
        if "error" in name:
            summary[f"median_{name}"] = float(np.median(value[counted]))
    return summary


def run_training(
    config: TrainingConfig,
    state: TrainState,
    batches: Iterator[Batch],
    validation: Callable[[], Iterable[Batch]] | None,
    steps_per_epoch: int,
    store: CheckpointStore,
    record: Callable[[dict[str, Any]], None],
    record_every: int,
    progress: Callable[[range], Iterable[int]] = iter,
) -> TrainState:
    """Trains to the end: step, record, and after each epoch validate and save.

    Args:
      config: what to train.
      state: where to begin; its step says how far an earlier run came.
      batches: endless; saved with the state, so it must be where `state` left it.
      validation: gives the validation batches anew at each call; None for no validation.
      steps_per_epoch: training steps between validations.
      store: where checkpoints go.
      record: called with one row of metrics at a time.
      record_every: steps between rows about training.
      progress: wraps the range of steps, to show how far it is.

    Returns:
      The last state.

    Raises:
      UserError: the loss stopped being finite; the last good checkpoint is kept.
    """
    total_steps = config.epochs * steps_per_epoch
    train_step, evaluate = make_train_step(config, total_steps), make_evaluation(config)
    recent: list[dict[str, jax.Array]] = []
    since = time.perf_counter()
    for done in progress(range(int(state.step) + 1, total_steps + 1)):
        state, losses_now = train_step(state, next(batches))
        # One step ahead keeps the device busy; further ahead only the progress would run.
        jax.block_until_ready(recent[-1:])
        recent.append(losses_now)
        epoch_ends = done % steps_per_epoch == 0
        if done % record_every and not epoch_ends:
            continue
        means = _means(jax.device_get(recent))
        if not np.isfinite(means["loss"]):
            raise UserError(
                f"the loss was not finite at step {done} or up to {len(recent) - 1} steps before; "
                "the last checkpoint is kept; try a smaller --learning_rate"
            )
        elapsed = time.perf_counter() - since
        rate = len(recent) * config.batch_size / elapsed
        record({"step": done, "split": "train", **means, "samples_per_second": rate})
        recent = []
        if epoch_ends:
            loss = means["loss"]
            if validation is not None:
                row = validate(evaluate, state.params, validation())
                record({"step": done, "split": "validation", **row})
                loss = row["loss"]
            store.save(done, state, batches, loss)
        since = time.perf_counter()
    return state


def _mean(values: jax.Array, weight: jax.Array) -> jax.Array:
    return (values * weight).sum() / jnp.maximum(weight.sum(), 1)


def _means(rows: list[dict[str, np.ndarray]]) -> dict[str, float]:
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
