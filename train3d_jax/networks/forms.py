"""The form of a depth map's values: depth or disparity, and either with near and far swapped.

Maps are known up to scale and shift, so neither the sign nor the size of the values shows it.  Two
cues do:

* Curvature.  Along its own gradient the depth of a plane is convex, its disparity is straight, and
  its negated depth is concave: with 1 / z affine in the image (`surfaces`), z'' / z'^2 = 2 / z > 0.
* Scene layout: the side of an edge that is the object, the place of the ground, the distribution
  of values.

A small convolutional network uses both, on the blocks of `points.BLOCKS`.  Training is on rendered
maps in all four forms (`form_training`).  Its input is the canonical form, so its posterior is the
same for every a * map + b with a > 0.
"""

import functools
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from train3d_jax.geometry import affine, points
from train3d_jax.geometry.affine import Space

Form = Literal["depth", "disparity", "inverted depth", "inverted disparity"]
FORMS: tuple[Form, ...] = ("depth", "disparity", "inverted depth", "inverted disparity")
"""The values are z, 1 / z, -z and -1 / z, each up to scale and shift."""

NEAR_FAR_SWAPPED, OTHER_SPACE = FLAGS = ("near_far_swapped", "other_space")
"""near_far_swapped: near and far are exchanged; other_space: the values are disparity where depth
is expected, or the reverse.  An inverted map of the other space has both."""

CURVATURE_STEPS = (1, 2, 4)
"""Distances of the differences, in blocks: larger ones have less noise.  Chosen."""

CLIP = 3.0
"""Clip of the input against outliers, in half widths of the canonical range.  Chosen."""


class Model(NamedTuple):
    """The trained network.

    Attributes:
      params: its weights.
      temper: factor on its log-likelihoods.
    """

    params: Any
    temper: float


class FormNetwork(nn.Module):
    """Log-likelihoods of `FORMS`, up to a constant, from the channels of `channels_of`.

    Attributes:
      width: channels of the first layer.
    """

    width: int = 12

    @nn.compact
    def __call__(self, channels: jax.Array) -> jax.Array:
        """From (B, rows, columns, C) to (B, 4)."""
        hidden = channels
        for factor, kernel, stride in (
            (1, 5, 2), (1, 3, 1), (2, 3, 2), (2, 3, 1), (3, 3, 2), (3, 3, 1), (4, 3, 2),
        ):  # fmt: skip
            hidden = nn.Conv(factor * self.width, (kernel, kernel), (stride, stride))(hidden)
            hidden = nn.gelu(nn.GroupNorm(num_groups=4)(hidden))
        pooled = jnp.concatenate([hidden.mean((1, 2)), hidden.max((1, 2))], -1)
        hidden = nn.gelu(nn.Dense(64)(pooled))
        return nn.Dense(len(FORMS))(hidden)


def channels_of(values: jax.Array, mask: jax.Array) -> jax.Array:
    """The input of the network: canonical values, mask, curvatures, and the row of each block.

    Args:
      values: blocks in any affine unit, shape (B, P) with P the number of `points.BLOCKS`.
      mask: blocks that hold a value, shape (B, P).

    Returns:
      Shape (B, rows, columns, channels).
    """
    canonical = affine.canonicalise(values, mask)
    image = (canonical.values.reshape(-1, *points.BLOCKS) - _MIDDLE) / _HALF_WIDTH
    mask = canonical.mask.reshape(image.shape)
    image = _filled(jnp.clip(image, -CLIP, CLIP), mask)
    # Without barriers XLA recomputes each channel at every use.
    image = jax.lax.optimization_barrier(image)
    down = jnp.broadcast_to(jnp.linspace(-1.0, 1.0, points.BLOCKS[0])[:, None], image.shape)
    channels = [image, mask.astype(image.dtype)]
    for step in CURVATURE_STEPS:
        channels += _curvature(image, mask, step)
    return jnp.stack(jax.lax.optimization_barrier([*channels, down]), -1)


_MIDDLE = (affine.NEAR_VALUE + affine.FAR_VALUE) / 2
_HALF_WIDTH = (affine.FAR_VALUE - affine.NEAR_VALUE) / 2


def _filled(image: jax.Array, mask: jax.Array) -> jax.Array:
    """Fills holes with the mean of the smallest square of 2, 4, 8 ... blocks that is not empty."""
    rows, columns = image.shape[-2:]
    known = jnp.where(mask, image, 0.0)
    filled, have = known, mask
    side = 2
    while side <= min(rows, columns):
        squares = (-1, rows // side, side, columns // side, side)
        total = known.reshape(squares).sum((2, 4))
        count = mask.astype(image.dtype).reshape(squares).sum((2, 4))
        spread = lambda x, n=side: jnp.repeat(jnp.repeat(x, n, -1), n, -2)  # noqa: E731
        filled = jnp.where(have, filled, spread(total / jnp.maximum(count, 1.0)))
        have = have | spread(count > 0)
        side *= 2
    return filled


def _curvature(image: jax.Array, mask: jax.Array, step: int) -> list[jax.Array]:
    """The second derivative along the gradient, over the slope and over its square.

    Both bounded to (-1, 1), and 0 where a neighbour is missing; shapes as `image`.
    """
    rows, columns = image.shape[-2:]
    pad = lambda x: jnp.pad(x, ((0, 0), (step, step), (step, step)), mode="edge")  # noqa: E731
    padded, valid = pad(image), pad(mask)

    def moved(x: jax.Array, down: int, right: int) -> jax.Array:
        top, left = step * (1 + down), step * (1 + right)
        return x[:, top : top + rows, left : left + columns]

    at = functools.partial(moved, padded)
    along_u, along_v = (at(0, 1) - at(0, -1)) / 2, (at(1, 0) - at(-1, 0)) / 2
    uu = at(0, 1) + at(0, -1) - 2 * image
    vv = at(1, 0) + at(-1, 0) - 2 * image
    uv = (at(1, 1) + at(-1, -1) - at(1, -1) - at(-1, 1)) / 4
    whole = functools.reduce(
        jnp.logical_and, [moved(valid, i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    )
    slope2 = along_u**2 + along_v**2
    along = along_u**2 * uu + 2 * along_u * along_v * uv + along_v**2 * vv
    along = along / (slope2 + 1e-6)
    over_slope = jnp.tanh(2 * along / (jnp.sqrt(slope2) + _LEAST_SLOPE * step))
    over_square = jnp.tanh(along / (slope2 + _LEAST_SQUARED_SLOPE) / 4)
    return [jnp.where(whole, over_slope, 0.0), jnp.where(whole, over_square, 0.0)]


_LEAST_SLOPE, _LEAST_SQUARED_SLOPE = 0.004, 0.02**2
"""Half widths of the canonical range per block, and its square: on flatter surfaces noise decides
the curvature, which fades to 0 there.  Chosen."""


@jax.jit
def log_likelihood(model: Model, values: jax.Array, mask: jax.Array) -> jax.Array:
    """Log-likelihood of each of `FORMS`, up to a constant for each map.

    Args:
      model: the network.
      values: blocks of maps, shape (B, P).
      mask: blocks that hold a value, shape (B, P).

    Returns:
      Shape (B, 4); all 0 for a map without spread.
    """
    channels = channels_of(values, mask)
    logits: Any = FormNetwork().apply(model.params, channels)
    log_probability = jax.nn.log_softmax(logits)
    has_spread = (channels[..., 1].sum((1, 2)) > 0)[:, None]
    return jnp.where(has_spread, model.temper * log_probability, 0.0)


CLAIM_PRIOR = 0.9
"""Prior probability of the form that the caller gives, or, where all values of the map are below 0,
as of OpenGL's z axis, of that form inverted; the other three share the rest.  Chosen: of 137 real
maps 2 % are flagged in their own form."""

SURE = 0.5
"""A map is flagged where the form that the caller gives has a lower posterior probability."""


def posterior(log_likelihood: np.ndarray, space: Space, negative: np.ndarray) -> np.ndarray:
    """Posterior probability of each of `FORMS`, given the space that the caller names.

    Args:
      log_likelihood: shape (..., 4).
      space: depth or disparity, from the caller.
      negative: whether every value of the map is below 0, shape (...).
    """
    upright, inverted = (FORMS.index(form) for form in forms_of(space))
    expected = np.where(negative, inverted, upright)[..., None] == np.arange(len(FORMS))
    prior = np.where(expected, CLAIM_PRIOR, (1 - CLAIM_PRIOR) / (len(FORMS) - 1))
    weight = prior * np.exp(log_likelihood - log_likelihood.max(-1, keepdims=True))
    return weight / weight.sum(-1, keepdims=True)


def pooled(log_likelihood: np.ndarray, negative: bool) -> np.ndarray:
    """Posterior probability of each of `FORMS` for maps of one kind, whose space is not given.

    Errors of maps of one kind are alike, so n maps count as n / (1 + (n - 1) * `CORRELATION`).

    Args:
      log_likelihood: of the maps, shape (N, 4), N > 0.
      negative: whether all values of all maps are below 0.

    Returns:
      Shape (4,).
    """
    count = len(log_likelihood)
    inverted = np.array([is_inverted(form) for form in FORMS])
    chance = 1 - INVERTED_PRIOR if negative else INVERTED_PRIOR
    prior = np.where(inverted, chance, 1 - chance) / 2
    weight = 1 / (1 + (count - 1) * CORRELATION)
    evidence = weight * log_likelihood.sum(0) + np.log(prior)
    probability = np.exp(evidence - evidence.max())
    return probability / probability.sum()


INVERTED_PRIOR = 0.1
"""Prior probability that near and far are swapped, where the space is not given and some values are
above 0; where all are below, that they are not swapped.  Chosen."""

CORRELATION = 0.1
"""Of the errors of maps of one kind: as `inference.CAMERA_CORRELATION`."""


def flags(probability: np.ndarray, space: Space) -> dict[str, np.ndarray]:
    """Whether a map has each of `FLAGS`, shape (...), from `posterior` of the same space."""
    likeliest = probability.argmax(-1)
    wrong = probability[..., FORMS.index(space)] < SURE
    swapped, other = np.array([[is_inverted(form), space_of(form) != space] for form in FORMS]).T
    return {NEAR_FAR_SWAPPED: wrong & swapped[likeliest], OTHER_SPACE: wrong & other[likeliest]}


def forms_of(space: Space) -> tuple[Form, Form]:
    """The form of values of a space, and the form of the same values times -1."""
    return ("depth", "inverted depth") if space == "depth" else ("disparity", "inverted disparity")


def is_inverted(form: Form) -> bool:
    """Whether near and far are swapped."""
    return form not in ("depth", "disparity")


def space_of(form: Form) -> Space:
    """The space of the values, inverted or not."""
    return "depth" if form in forms_of("depth") else "disparity"
