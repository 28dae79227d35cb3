"""A small network from a picture to depth, for its errors.

Its maps are not meant to be good.  Where a picture does not determine depth, a network predicts the
mean of its training data, and its errors are of a kind: far ranges flattened, corners rounded,
edges smeared, walls turned towards the mean.  Maps with such errors are training data, see
`launch.shipped_weights.predicted`.

A U-Net (Ronneberger et al., arXiv 1505.04597) with group normalisation.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

CHANNELS = (16, 32, 64, 128)
"""At a half, a quarter, an eighth and a sixteenth of the picture's size.  Chosen."""


class PictureNetwork(nn.Module):
    """The logarithm of depth, up to a constant, at half of the picture's size."""

    @nn.compact
    def __call__(self, pictures: jax.Array) -> jax.Array:
        """Maps pictures (B, H, W, 3), 0 to 1, to (B, H / 2, W / 2); sides are multiples of 16."""
        hidden = (pictures - 0.5) / 0.25
        height, width = hidden.shape[1:3]
        # Depth depends on a pixel's place in the picture, which convolutions do not see.
        down = jnp.broadcast_to(jnp.linspace(-1, 1, height)[:, None, None], (height, width, 1))
        across = jnp.broadcast_to(jnp.linspace(-1, 1, width)[None, :, None], (height, width, 1))
        place = jnp.broadcast_to(jnp.concatenate([down, across], -1), (*hidden.shape[:3], 2))
        hidden = jnp.concatenate([hidden, place], -1)
        seen = []
        for number, channels in enumerate(CHANNELS):
            hidden = _layer(hidden, channels, 5 if number == 0 else 3, stride=2)
            hidden = hidden + _layer(hidden, channels)
            seen.append(hidden)
        whole = nn.gelu(nn.Dense(CHANNELS[-1])(hidden.mean((1, 2))))
        hidden = hidden + nn.Dense(CHANNELS[-1])(whole)[:, None, None]
        hidden = hidden + _layer(hidden, CHANNELS[-1])
        for beside in seen[-2::-1]:
            hidden = jax.image.resize(
                nn.Conv(beside.shape[-1], (1, 1))(hidden), beside.shape, "linear"
            )
            hidden = _layer(jnp.concatenate([hidden, beside], -1), beside.shape[-1])
            hidden = hidden + _layer(hidden, beside.shape[-1])
        return nn.Conv(1, (3, 3))(hidden)[..., 0]


def _layer(hidden: jax.Array, channels: int, kernel: int = 3, stride: int = 1) -> jax.Array:
    hidden = nn.Conv(channels, (kernel, kernel), (stride, stride), use_bias=False)(hidden)
    return nn.gelu(nn.GroupNorm(num_groups=8)(hidden))
