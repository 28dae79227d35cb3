"""--space guess: the space of a folder's maps, from the statistics of all of them together."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from data.user_maps.clips import read_map
from data.user_maps.depth_files import DepthFile
from launch import program
from launch.recovery.notes import flags_of
from train3d_jax.errors import UserError
from train3d_jax.evidence import forms
from train3d_jax.formats.depth import ReadSettings
from train3d_jax.geometry import clouds
from train3d_jax.geometry.affine import Space
from train3d_jax.inference import map_checks

MOST_MAPS = 64
"""Maps that are classified; of more, an even share of the folder.  Chosen for its time."""

LEAST_PROBABILITY = 0.95
"""Of the likeliest form, below which the guess is an error; chosen."""


class Guess(NamedTuple):
    """The form of a folder's maps.

    Attributes:
      space: of the values, once they are negated where `reading` says so.
      reading: the settings to read the maps with.
      text: a line for the user: the decision and its reason.
    """

    space: Space
    reading: ReadSettings
    text: str


def guess(files: Sequence[DepthFile], reading: ReadSettings) -> Guess:
    """Classifies up to `MOST_MAPS` maps and decides for all.

    Raises:
      UserError: no map can be read, or no form is likely enough.
    """
    chosen = np.unique(np.linspace(0, len(files) - 1, min(len(files), MOST_MAPS)).round())
    seen, negative = [], True
    reason = "all are empty"
    for index in tqdm(chosen, desc="space", unit="map", leave=False):
        try:
            values = read_map(files[int(index)], reading)
        except UserError as error:
            reason = program.message(error)
            continue
        mask = clouds.valid(values)
        if not mask.any():
            continue
        seen.append(clouds.blocks_of(values, mask))
        negative &= bool(values[mask].max() < 0)
    if not seen:
        raise UserError(f"--space=guess: no map can be used: {reason}")
    evidence = map_checks.form_evidence(
        np.stack([blocks.values for blocks in seen]), np.stack([blocks.mask for blocks in seen])
    )
    probability = forms.pooled(evidence, negative)
    best = int(probability.argmax())
    form = forms.FORMS[best]
    likeliest = evidence.argmax(-1)
    looks = ", ".join(
        f"{(likeliest == number).sum()} like {name}" for number, name in enumerate(forms.FORMS)
        if (likeliest == number).any()
    )  # fmt: skip
    reason = f"of {len(evidence)} maps {looks}"
    likely = f"{form} ({100 * probability[best]:.1f} %; {reason})"
    if probability[best] < LEAST_PROBABILITY:
        raise UserError(
            f"--space=guess: is not sure: most likely {likely}; give --space=depth or "
            "--space=disparity, with --negate where near and far are swapped"
        )
    negate = reading.negate != forms.is_inverted(form)
    text = f"--space=guess: the maps hold {likely}: read with {flags_of(form, reading.negate)}"
    return Guess(forms.space_of(form), replace(reading, negate=negate), text)
