"""From a batch of true depth to what a network sees of it, and the labels."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from train3d_jax.evidence.targets import Target
from train3d_jax.geometry import affine
from train3d_jax.geometry.clouds import Blocks, Observation, observe
from train3d_jax.training import augmentation
from train3d_jax.training.choices import KINDS
from train3d_jax.training.config import TrainingConfig

Batch = dict[str, Any]
"""As the loader makes it; `values` are true metres, or inverse metres in disparity space."""


class Labels(NamedTuple):
    """The truth about a batch, each of shape (B,).

    Attributes:
      shift: canonical shift.
      focal: pixels.
      alpha: focal over the focal length that the rays were made with.
      scale: metres at the canonical value 1 (the far quantile of depth, the near one of disparity)
        over the initial scale.
    """

    shift: jax.Array
    focal: jax.Array
    alpha: jax.Array
    scale: jax.Array

    def quantity(self, target: Target) -> jax.Array:
        """The quantity of a target's posterior, see `targets.RANGES`."""
        match target:
            case "shift":
                return affine.shift_to_ratio(self.shift)
            case "focal":
                return jnp.log(self.alpha)
            case "scale":
                return jnp.log(self.scale)


def make_examples(
    key: jax.Array, batch: Batch, config: TrainingConfig, augmented: bool
) -> tuple[Observation, Labels]:
    """Turns blocks of true depth into what a network would see in inference, and the labels.

    Args:
      key: random key of augmentation and distortion.
      batch: see `Batch`.
      config: of the run.
      augmented: whether to augment and to draw distortions, as in training; otherwise the depth is
        as it is, and the first guess of the camera is that of inference.

    Returns:
      Observations and labels, leading axis B.
    """
    augment_key, shift_key, alpha_key = jax.random.split(key, 4)[:3]
    settings = config.clouds
    blocks = Blocks(batch["pixels"], batch["values"], batch["mask"], batch["size"], batch["centre"])
    added, first_guess = jnp.zeros(len(batch["focal"])), None
    if augmented:
        kinds = tuple(kind for kind in config.augmentation if kind in KINDS)
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
    observation = observe(blocks, canonical, settings, shift, batch["focal"], first_guess)
    # Metres at the canonical far value: the far quantile in depth space, the near in disparity.
    metres = (affine.FAR_VALUE + shift) / canonical.scale
    metres = metres if settings.space == "depth" else 1 / metres
    labels = Labels(
        shift, batch["focal"], batch["focal"] / observation.focal, metres / config.init_scale
    )
    return observation, labels
