"""What all encoders share: targets, observations, and features of windows."""

from collections.abc import Sequence
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from train3d_jax.evidence.prior import Prior
from train3d_jax.evidence.targets import TARGETS, Posterior, Target
from train3d_jax.geometry.affine import Space
from train3d_jax.geometry.clouds import CloudSettings, Observation, make_clouds
from train3d_jax.windows import planes, quadrics


class Encoder(nn.Module):
    """The attributes of all encoders.

    Attributes:
      heads: the targets that it gives posteriors for.
      space: of the canonical values: in "depth" space planes constrain the shift, in "disparity"
        space they do not.
      shift_known: the observation has its true shift, so no shift is estimated before angles are
        evaluated.
      width: channels of the hidden layers.
      dtype: that layers compute with, None for that of the parameters; geometry, sums over sets and
        posteriors are never less than float32.
    """

    heads: tuple[Target, ...]
    space: Space = "depth"
    shift_known: bool = False
    width: int = 64
    dtype: Any = None

    @property
    def estimated(self) -> tuple[Target, ...]:
        """The targets that it gives posteriors for: its heads, and the shift unless it is known."""
        return tuple(
            target
            for target in TARGETS
            if target in self.heads or (target == "shift" and not self.shift_known)
        )

    def inputs(
        self, key: jax.Array, observation: Observation, settings: CloudSettings
    ) -> Sequence[jax.Array]:
        """The arguments of a call: here the clouds of a point set and their mask.

        Args:
          key: random key of the samples of points.
          observation: the maps, leading axis B.
          settings: of the clouds.
        """
        clouds = make_clouds(key, observation, settings)
        return clouds.points, clouds.mask

    def prepared(self, *inputs: jax.Array) -> Any:
        """What an encoder makes of `inputs` without weights; the argument of `from_prepared`."""
        return inputs

    def from_prepared(self, prepared: Any) -> dict[Target, Posterior]:
        """The value of a call for what is prepared."""
        return self(*prepared)


def encode(
    encoder: Encoder, params: Any, inputs: Sequence[jax.Array], prior: Prior | None = None
) -> dict[Target, Posterior]:
    """Applies an encoder with its weights to `Encoder.inputs`.

    The prior is for `surface_encoder.SurfaceEncoder`, which has a joint posterior.
    """
    more = () if prior is None else (prior,)
    return cast(dict[Target, Posterior], encoder.apply(params, *inputs, *more))


def pool(features: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean and maximum over the set: (B, N, C) with mask (B, N) to (B, 2 C)."""
    features = features.astype(jnp.promote_types(features.dtype, jnp.float32))
    weight = mask[..., None].astype(features.dtype)
    mean = (features * weight).sum(-2) / jnp.maximum(weight.sum(-2), 1)
    largest = jnp.where(mask[..., None], features, -jnp.inf).max(-2)
    return jnp.concatenate([mean, jnp.where(jnp.isfinite(largest), largest, 0.0)], -1)


def window_features(windows: quadrics.Windows) -> jax.Array:
    """Features of windows, each of order one; shape (..., M, 14)."""
    q, q_sigma, misfit = planes.curvature(windows)
    size = jnp.sqrt(windows.extent.prod(-1))
    slope = jnp.sqrt((windows.gradient**2).sum(-1))
    features = [
        windows.centre,
        jnp.log(windows.extent) + 3,
        windows.value[..., None] - 1.4,
        windows.gradient / 3,
        jnp.log(slope + 1e-3)[..., None],
        (jnp.log(windows.residual + planes.RESIDUAL_FLOOR) + 8)[..., None] / 3,
        (jnp.log(windows.residual + planes.RESIDUAL_FLOOR) - jnp.log(slope * size + 1e-3))[
            ..., None
        ]
        / 3,
        jnp.tanh(q / 4)[..., None],
        (jnp.log(q_sigma + 1e-3))[..., None] / 3,
        (jnp.log(misfit + 0.1))[..., None],
        (jnp.log(windows.count + 1) - 3)[..., None],
    ]
    return jnp.where(windows.mask[..., None], jnp.concatenate(features, -1), 0.0)
