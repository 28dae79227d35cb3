"""Training: settings, state, one compiled step, one compiled evaluation.

The loader hands over blocks of true depth (`data.loading`); augmentation, distortion, clouds and
labels are made on the device by the step itself, with randomness from `fold_in(seed, step)`.
"""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from train3d_jax import chunking
from train3d_jax.errors import Argument, ArgumentError, UserError
from train3d_jax.evidence.calibration import calibrate
from train3d_jax.evidence.targets import TARGETS, Posterior, Target, median
from train3d_jax.geometry import affine, metrics
from train3d_jax.geometry.clouds import Blocks, Clouds, CloudSettings, make_clouds
from train3d_jax.networks.encoder import Encoder, PointSetEncoder, encode
from train3d_jax.networks.serial_encoder import SerialEncoder
from train3d_jax.networks.surface_encoder import SurfaceEncoder
from train3d_jax.training import augmentation, losses, recipe

Batch = dict[str, Any]
"""As the loader makes it; `values` are true metres, or inverse metres in disparity space."""

Range = tuple[float, float]

EncoderName = Literal["surfaces", "points", "serial"]


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """Everything that decides what a run becomes, besides its data.

    Attributes:
      targets: numbers of the targets, 0 shift, 1 scale, 2 focal length.
      clouds: how maps become clouds.
      batch_size: samples in a step.
      optimizer: "adamw", or "sgd" as the original.
      learning_rate: after the warm-up.
      learning_rate_decay: share of it that is left at the end.
      schedule: how it falls, along a line or a half cosine.
      warmup_steps: steps in which it rises from 0.
      clip_norm: longest gradient; 0 for any.
      average_decay: of the moving average of the weights that validation and inference use; 0 for
        the weights themselves.
      loss: "posterior" or "l1", see `losses.posterior_loss`.
      target_weights: of the targets' losses, in the order of `targets`; empty for 1 each.
      shift_range: the true depth comes in with a shift drawn from it, in units of its 98 % quantile
        (LeReS, section 3.2); None for no shift.  The canonical form undoes it.
      alpha_range: clouds are made with the true focal length over an alpha drawn log-uniformly from
        it; None for the first guess f0, from which inference starts.
      augmentation: names out of `augmentation.KINDS`, and "crop" and "mirror", which the loader
        does.
      augmentation_strength: factor on all amplitudes.
      epochs: passes over the training part.
      init_scale: metres that a scale of 1 stands for.
      seed: of weights, order, crops, augmentation and samples.
      encoder: "surfaces", `surface_encoder.SurfaceEncoder`, which wants all points, no sample, no
        voxels; "points", `encoder.PointSetEncoder`; or "serial", `serial_encoder.SerialEncoder`.
      width: channels of the encoder's hidden layers.
      precision: that the encoder computes with in training; parameters are float32 always.
    """

    targets: tuple[int, ...]
    clouds: CloudSettings = dataclasses.field(default_factory=CloudSettings)
    batch_size: int = 20
    optimizer: recipe.Optimizer = "adamw"
    learning_rate: float = 0.003
    learning_rate_decay: float = 0.1
    schedule: recipe.Schedule = "linear"
    warmup_steps: int = 50
    clip_norm: float = 1.0
    average_decay: float = 0.99
    loss: losses.Loss = "posterior"
    target_weights: tuple[float, ...] = ()
    shift_range: Range | None = None
    alpha_range: Range | None = None
    augmentation: tuple[str, ...] = ("crop", "mirror", *augmentation.KINDS)
    augmentation_strength: float = 1.0
    epochs: int = 5
    init_scale: float = 1.0
    seed: int = 0
    encoder: EncoderName = "points"
    width: int = 64
    precision: Literal["float32", "bfloat16"] = "float32"

    @property
    def heads(self) -> tuple[Target, ...]:
        """The targets by name."""
        return tuple(TARGETS[number] for number in self.targets)

    def weight_of(self, target: Target) -> float:
        """Of a target's loss; 1 for the shift that a network has to find although no target."""
        weights = self.target_weights or (1.0,) * len(self.targets)
        return dict(zip(self.heads, weights, strict=True)).get(target, 1.0)

    def total_steps(self, samples: int) -> int:
        """Of a training on so many samples; what fills no batch in a pass is left to the next."""
        return self.epochs * (samples // self.batch_size)


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
        """What the posterior of a target is over, see `targets.RANGES`."""
        match target:
            case "shift":
                return affine.shift_to_ratio(self.shift)
            case "focal":
                return jnp.log(self.alpha)
            case "scale":
                return jnp.log(self.scale)


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


def build_encoder(
    config: TrainingConfig, precision: Literal["float32", "bfloat16"] = "float32"
) -> Encoder:
    """The encoder that a configuration means, computing in `precision`.

    Raises:
      UserError: "surfaces" with a sample of the points, or with one point a voxel.
    """
    dtype = jnp.bfloat16 if precision == "bfloat16" else None
    if config.encoder == "surfaces" and (config.clouds.num_points or config.clouds.voxel_size):
        raise ArgumentError(
            Argument("encoder", "surfaces"),
            ": sees all points; leave out ",
            Argument("num_points", config.clouds.num_points),
            " and ",
            Argument("voxel_size", config.clouds.voxel_size),
            ", or use ",
            Argument("encoder", "points"),
        )
    kinds = {"surfaces": SurfaceEncoder, "points": PointSetEncoder, "serial": SerialEncoder}
    kind: type[Encoder] = kinds[config.encoder]
    return kind(config.heads, config.clouds.space, config.clouds.shift_known, config.width, dtype)


def initial_params(config: TrainingConfig) -> Any:
    """Fresh weights; a pure function of the configuration."""
    points = jnp.ones((1, config.clouds.size, config.clouds.input_channels))
    return jax.jit(build_encoder(config).init)(
        jax.random.key(config.seed), points, jnp.ones(points.shape[:2], bool)
    )


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
    found = build_encoder(config).found
    names = ["steps", "loss", *(f"loss_{target}" for target in found)]
    for target in found:
        names += _ERRORS[target]
    return {name: jnp.zeros((), jnp.float32) for name in names}


def make_examples(
    key: jax.Array, batch: Batch, config: TrainingConfig, augmented: bool
) -> tuple[Clouds, Labels]:
    """Turns blocks of true depth into clouds as inference would see them, and the answers.

    Args:
      key: random key of augmentation, distortion and samples.
      batch: see `Batch`.
      config: how.
      augmented: whether to augment and to draw distortions, as in training; otherwise the depth is
        as it is, and the first guess of the camera is that of inference.

    Returns:
      Clouds and labels, leading axis B.
    """
    augment_key, shift_key, alpha_key, sample_key = jax.random.split(key, 4)
    settings = config.clouds
    blocks = Blocks(batch["pixels"], batch["values"], batch["mask"], batch["size"], batch["centre"])
    added, first_guess = jnp.zeros(len(batch["focal"])), None
    if augmented:
        kinds = tuple(kind for kind in config.augmentation if kind in augmentation.KINDS)
        blocks = augmentation.augment(
            augment_key, blocks, kinds, config.augmentation_strength, settings.space
        )
        if config.shift_range is not None:
            values, mask = jnp.asarray(blocks.values), jnp.asarray(blocks.mask)
            (far,) = affine.masked_quantiles(values, mask, (affine.FAR_QUANTILE,))
            low, high = config.shift_range
            added = far * jax.random.uniform(shift_key, far.shape, minval=low, maxval=high)
            blocks = blocks._replace(values=values + added[:, None])
        if config.alpha_range is not None:
            low, high = np.log(config.alpha_range)
            drawn = jax.random.uniform(alpha_key, added.shape, minval=low, maxval=high)
            first_guess = batch["focal"] / jnp.exp(drawn)
    canonical = affine.canonicalise(blocks.values, blocks.mask)
    # The canonical value of a true 0, which is what a canonical map lacks.
    shift = -(canonical.offset + canonical.scale * added)
    clouds = make_clouds(sample_key, blocks, settings, shift, batch["focal"], first_guess)
    # Metres at the canonical far value: the far quantile in depth space, the near in disparity.
    metres = (affine.FAR_VALUE + shift) / canonical.scale
    metres = metres if settings.space == "depth" else 1 / metres
    labels = Labels(
        shift, batch["focal"], batch["focal"] / clouds.focal, metres / config.init_scale
    )
    return clouds, labels


def make_train_step(
    config: TrainingConfig, total_steps: int, mesh: Mesh | None = None
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]:
    """A compiled step: (state, batch) to the next state and what it measured.

    The old state is donated.  On a mesh (`device_mesh`) the state is replicated and the batch
    divided; the result is the same but for rounding.
    """
    encoder = build_encoder(config, config.precision)
    optimizer = recipe.build_optimizer(config, total_steps)

    def loss_of(params, key, batch):
        clouds, labels = make_examples(key, batch, config, augmented=True)
        posteriors = encode(encoder, params, clouds.points, clouds.mask)
        weight = clouds.canonical.solvable.astype(jnp.float32)
        parts = {
            f"loss_{target}": _mean(
                losses.posterior_loss(posterior, labels.quantity(target), target, config.loss),
                weight,
            )
            for target, posterior in posteriors.items()
        }
        loss = sum(config.weight_of(target) * parts[f"loss_{target}"] for target in posteriors)
        errors = _errors(posteriors, labels, clouds, batch["size"])
        row = {"loss": loss, **parts} | {
            name: _mean(error, weight) for name, error in errors.items()
        }
        return loss, row

    def step(state: TrainState, batch: Batch):
        key = jax.random.fold_in(jax.random.key(config.seed), state.step)
        gradient, row = jax.grad(loss_of, has_aux=True)(state.params, key, batch)
        updates, memory = optimizer.update(gradient, state.optimizer, state.params)
        params = optax.apply_updates(state.params, updates)
        done = state.step + 1
        average = recipe.move_average(state.average, params, done, config.average_decay)
        counted = {**row, "steps": jnp.ones(())}
        sums = {name: total + counted[name] for name, total in state.sums.items()}
        return TrainState(done, params, average, memory, sums), row

    return jax.jit(
        step,
        donate_argnums=0,
        out_shardings=_everywhere(mesh),
        compiler_options=chunking.COMPILER_OPTIONS,
    )


def _everywhere(mesh: Mesh | None) -> NamedSharding | None:
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
    return jax.device_put(state, _everywhere(mesh))


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
        clouds, labels = make_examples(key, batch, config, augmented=False)
        posteriors = encode(encoder, params, clouds.points, clouds.mask)
        errors = {
            f"loss_{target}": losses.posterior_loss(
                posterior, labels.quantity(target), target, config.loss
            )
            for target, posterior in posteriors.items()
        }
        weighted = [config.weight_of(target) * errors[f"loss_{target}"] for target in posteriors]
        loss = jnp.stack(weighted).sum(0)
        return Evaluation(
            errors={"loss": loss, **errors, **_errors(posteriors, labels, clouds, batch["size"])},
            weight=batch["weight"] * clouds.canonical.solvable,
            predicted={target: median(found, target) for target, found in posteriors.items()},
            true={target: labels.quantity(target) for target in posteriors},
            log_probability={target: found.log_probability for target, found in posteriors.items()},
            points=clouds.points[0, :, :3],
            mask=clouds.mask[0],
        )

    return jax.jit(
        evaluate, out_shardings=_everywhere(mesh), compiler_options=chunking.COMPILER_OPTIONS
    )


_ERRORS: dict[Target, tuple[str, ...]] = {
    "shift": ("shift_error",),
    "focal": ("focal_error", "fov_error_deg"),
    "scale": ("scale_error",),
}


def _errors(
    posteriors: dict[Target, Posterior], labels: Labels, clouds: Clouds, size: jax.Array
) -> dict[str, jax.Array]:
    """The errors of `_ERRORS`, each of shape (B,)."""
    errors = {}
    if "shift" in posteriors:
        shift = affine.ratio_to_shift(median(posteriors["shift"], "shift"))
        errors["shift_error"] = metrics.shift_error(shift, labels.shift)
    if "focal" in posteriors:
        focal = jnp.exp(median(posteriors["focal"], "focal")) * clouds.focal
        errors["focal_error"] = metrics.focal_error(focal, labels.focal)
        errors["fov_error_deg"] = metrics.fov_error(focal, labels.focal, size[:, 0])
    if "scale" in posteriors:
        scale = jnp.exp(median(posteriors["scale"], "scale"))
        errors["scale_error"] = jnp.abs(scale - labels.scale) / labels.scale
    return errors


class Validation(NamedTuple):
    """What was measured of the validation part.

    Attributes:
      summary: mean of every loss and error, and median of every error, over the samples that count;
        and what `calibration.calibrate` finds of each target.
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
    # Losses first, for whoever reads the file: jax has sorted the names.
    names = sorted(errors, key=lambda name: (not name.startswith("loss"), name))
    summary = {name: float(errors[name].mean()) for name in names}
    summary |= {
        f"median_{name}": float(np.median(errors[name])) for name in names if "error" in name
    }
    true, log_probability = gathered("true"), gathered("log_probability")
    for target in true:
        found = calibrate(log_probability[target], true[target], target)
        summary[f"calibration_{target}"] = found.factor
        if found.finest is not None:
            summary[f"finest_{target}"] = found.finest
    return Validation(
        summary,
        gathered("predicted"),
        true,
        parts[0].points[parts[0].mask] if counted[0] else np.zeros((0, 3), np.float32),
    )


def _mean(values: jax.Array, weight: jax.Array) -> jax.Array:
    return (values * weight).sum() / jnp.maximum(weight.sum(), 1)
