"""The configuration of a run, and the encoder that it describes."""

import dataclasses
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from train3d_jax import chunking
from train3d_jax.errors import Argument, ArgumentError
from train3d_jax.evidence.settings import EvidenceSettings, network_settings
from train3d_jax.evidence.targets import TARGETS, Target
from train3d_jax.geometry import affine, points
from train3d_jax.geometry.clouds import CloudSettings, Observation
from train3d_jax.stored_programs import Program
from train3d_jax.training.choices import (
    AUGMENTATIONS,
    EncoderName,
    Loss,
    Optimizer,
    Precision,
    Range,
    Schedule,
)

if TYPE_CHECKING:
    from train3d_jax.networks.encoder import Encoder


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """Everything that determines a run besides its data; defaults are those of `launch.train`.

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
      augmentation: names out of `choices.AUGMENTATIONS`.
      augmentation_strength: factor on all amplitudes.
      epochs: passes over the training part.
      init_scale: metres that a scale of 1 stands for.
      seed: of weights, order, crops, augmentation and samples.
      encoder: "surfaces", `surface_encoder.SurfaceEncoder`, which sees all blocks, no sample and no
        voxels; "points", `point_set_encoder.PointSetEncoder`; or "serial",
        `serial_encoder.SerialEncoder`.
      width: channels of the encoder's hidden layers.
      precision: that the encoder computes with in training; parameters are always float32.
      evidence: settings of the likelihoods of "surfaces"; None for
        `settings.network_settings` of the space, and for other encoders.
    """

    targets: tuple[int, ...] = (0, 2)
    clouds: CloudSettings = dataclasses.field(default_factory=CloudSettings)
    batch_size: int = 20
    optimizer: Optimizer = "adamw"
    learning_rate: float = 0.003
    learning_rate_decay: float = 0.1
    schedule: Schedule = "linear"
    warmup_steps: int = 50
    clip_norm: float = 1.0
    average_decay: float = 0.99
    loss: Loss = "posterior"
    target_weights: tuple[float, ...] = ()
    shift_range: Range | None = None
    alpha_range: Range | None = None
    augmentation: tuple[str, ...] = AUGMENTATIONS
    augmentation_strength: float = 1.0
    epochs: int = 5
    init_scale: float = 1.0
    seed: int = 0
    encoder: EncoderName = "surfaces"
    width: int = 64
    precision: Precision = "float32"
    evidence: EvidenceSettings | None = None

    def resolved(self) -> "TrainingConfig":
        """The same with the settings of the evidence, as they are stored with a run.

        A later default then does not change what the run was trained with.
        """
        if self.encoder != "surfaces" or self.evidence is not None:
            return self
        return dataclasses.replace(self, evidence=network_settings(self.clouds.space))

    @property
    def heads(self) -> tuple[Target, ...]:
        """The targets by name."""
        return tuple(TARGETS[number] for number in self.targets)

    def weight_of(self, target: Target) -> float:
        """Weight of a target's loss; 1 for a shift that is estimated although it is no target."""
        weights = self.target_weights or (1.0,) * len(self.targets)
        return dict(zip(self.heads, weights, strict=True)).get(target, 1.0)

    def total_steps(self, samples: int) -> int:
        """Steps of a training on so many samples; a rest that fills no batch is left out."""
        return self.epochs * (samples // self.batch_size)


def build_encoder(
    config: TrainingConfig, precision: Precision = "float32", inference: bool = False
) -> "Encoder":
    """The encoder of a configuration.

    Args:
      config: of the run.
      precision: that it computes with.
      inference: whether it evaluates the pairs of inference, not those of training.

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
    clouds = config.clouds
    shared = (config.heads, clouds.space, clouds.shift_known, config.width, dtype)
    # Imported here for start-up: they import flax, which a compiled network does not need.
    if config.encoder == "points":
        from train3d_jax.networks.point_set_encoder import PointSetEncoder

        return PointSetEncoder(*shared)
    if config.encoder == "serial":
        from train3d_jax.networks.serial_encoder import SerialEncoder

        return SerialEncoder(*shared)
    from train3d_jax.networks.surface_encoder import SurfaceEncoder

    evidence = config.resolved().evidence
    assert evidence is not None
    if inference and evidence.inference_pairs is not None:
        evidence = evidence.with_pairs(evidence.inference_pairs)
    return SurfaceEncoder(*shared, evidence)


def initial_params(config: TrainingConfig) -> Any:
    """Fresh weights; a pure function of the configuration."""
    return _initialise(config)(np.uint32(config.seed))


def abstract_params(config: TrainingConfig) -> Any:
    """Shapes and types of `initial_params`, without computing any."""
    return jax.eval_shape(_initialising(config), np.uint32(config.seed))


@functools.cache
def _initialise(config: TrainingConfig) -> Program:
    """The program of fresh weights, from a seed; it runs once, so it is compiled quickly."""
    options = chunking.compiler_options(chunking.QUICK)
    return Program(_initialising(config), f"initial_params {config}", options)


def _initialising(config: TrainingConfig) -> Callable[[Any], Any]:
    blocks = points.BLOCKS[0] * points.BLOCKS[1]

    def initialise(seed: jax.Array) -> Any:
        encoder, key = build_encoder(config), jax.random.key(seed)
        ones, mask = jnp.ones((1, blocks)), jnp.ones((1, blocks), bool)
        one = jnp.ones(1)
        canonical = affine.Canonical(ones, mask, one, one, one > 0)
        observation = Observation(jnp.ones((1, blocks, 2)), ones, mask, one, one, canonical)
        return encoder.init(key, *encoder.inputs(key, observation, config.clouds))

    return initialise
