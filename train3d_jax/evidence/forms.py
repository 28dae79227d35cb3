"""The form of a depth map's values: depth or disparity, and either with near and far swapped.

Names, prior and posterior; the likelihood is that of `networks.forms`.
"""

# JAX types many of its functions in part only, hence what is switched off.
# pyright: strict, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from train3d_jax.geometry.affine import Space

Form = Literal["depth", "disparity", "inverted depth", "inverted disparity"]
FORMS: tuple[Form, ...] = ("depth", "disparity", "inverted depth", "inverted disparity")
"""The values are z, 1 / z, -z and -1 / z, each up to scale and shift."""

NEAR_FAR_SWAPPED, OTHER_SPACE = FLAGS = ("near_far_swapped", "other_space")
"""near_far_swapped: near and far are exchanged; other_space: the values are disparity where depth
is expected, or the reverse.  An inverted map of the other space has both."""


class Model(NamedTuple):
    """The trained `networks.forms.FormNetwork`.

    Attributes:
      params: its weights.
      temper: factor on its log-likelihoods.
    """

    params: Any
    temper: float


CLAIM_PRIOR = 0.9
"""Prior probability of the form that the caller gives, or, where all values of the map are below 0,
as of OpenGL's z axis, of that form inverted; the other three share the rest.  Chosen: of 137 real
maps 2 % are flagged in their own form."""

SURE = 0.5
"""A map is flagged where the form that the caller gives has a lower posterior probability."""


def posterior(
    log_likelihood: Float[np.ndarray, "*b 4"], space: Space, negative: Bool[np.ndarray, "*b"]
) -> Float[np.ndarray, "*b 4"]:
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


def pooled(log_likelihood: Float[np.ndarray, "n 4"], negative: bool) -> Float[np.ndarray, "4"]:
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


def flags(
    probability: Float[np.ndarray, "*b 4"], space: Space
) -> dict[str, Bool[np.ndarray, "*b"]]:
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
