"""Notes on the flags of maps for the terminal: the problem and its remedy, each remedy once."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from launch.recovery import pictures, placing
from launch.recovery.summary import Outcome
from train3d_jax.evidence import forms
from train3d_jax.inference import estimates, map_checks
from train3d_jax.inference.map_checks import MapCheck
from train3d_jax.lines import pictures as lines_of_pictures


class Note(NamedTuple):
    """What a flag of a map means.

    Attributes:
      problem: what the map looks like.
      remedy: what the user can do about it.
    """

    problem: str
    remedy: str


_OF_PICTURES = {
    pictures.NO_COLOURS: Note(
        "no image of this name in --rgb", "its cloud has no colours, and depth alone is evidence"
    ),
    pictures.RESIZED_COLOURS: Note("its image in --rgb is of another size", "it is resized"),
    lines_of_pictures.OTHER_ASPECT: Note(
        "its image in --rgb is of another aspect ratio, so one of them was cropped or turned",
        "the image colours the cloud, and its lines do not count",
    ),
    lines_of_pictures.NOT_REGISTERED: Note(
        "the edges of its image in --rgb are elsewhere than the map's",
        "lines of an image that is not registered do not count",
    ),
}

_OF_PLACES = {
    placing.GRAVITY_UNKNOWN: Note(
        "neither its planes nor its lines tell which way is down",
        "it stays in camera axes; a picture in --rgb, or what is known of the camera, may tell",
    ),
    placing.SCALE_UNKNOWN: Note(
        "no fact gives it metres, and it has a scale of its own",
        "its unit is arbitrary; give --known_length or --known_depth with its name too",
    ),
}

_OF_FOCAL = Note(
    "the ends of its focal length's 90 % interval differ by more than a factor of "
    f"{estimates.UNCERTAIN_FACTOR:g}",
    "give what is known of the camera, as --fov_deg=60+-5, or the map's picture in --rgb",
)


def notes_of(check: MapCheck, negated: bool) -> dict[str, Note]:
    """Notes on the flags that a map may have and that its user can remove.

    Args:
      check: of the map as it was read.
      negated: its values were multiplied by -1 when they were read.
    """
    sign = -1 if negated else 1
    numbers = [_number(sign * each.value) for each in check.repeated]
    shares = ", ".join(
        f"{100 * each.share:.0f} % of its pixels are exactly {number}"
        for each, number in zip(check.repeated, numbers, strict=True)
    )
    return {
        **_OF_PICTURES,
        **_OF_PLACES,
        estimates.FOCAL_UNCERTAIN: _OF_FOCAL,
        **_of_form(check, negated),
        map_checks.REPEATED_VALUE: Note(
            shares, f"if they are missing, give --invalid={','.join(numbers)}"
        ),
        map_checks.PANORAMA: Note(
            "it is twice as wide as high and its sides meet, as those of a panorama",
            "only maps of pinhole cameras can be recovered; cut perspective views out of it",
        ),
    }


def _of_form(check: MapCheck, negated: bool) -> dict[str, Note]:
    if check.form is None:
        return {}
    form = forms.FORMS[int(check.form.argmax())]
    likely = f"it looks like {form} ({100 * check.form.max():.0f} %)"
    if check.negative and not negated:
        likely = f"all its values are below 0, as those of OpenGL's z axis; {likely}"
    return dict.fromkeys(forms.FLAGS, Note(likely, f"try {flags_of(form, negated)}"))


def flags_of(form: forms.Form, negated: bool) -> str:
    """The flags with which maps of a form are read correctly.

    Args:
      form: of the values as they were read.
      negated: whether --negate was given.
    """
    if forms.is_inverted(form) != negated:
        return f"--space={forms.space_of(form)} --negate"
    return f"--space={forms.space_of(form)}" + (" without --negate" if negated else "")


def _number(value: float) -> str:
    """The shortest text that a float32 comes back from."""
    return str(np.float32(value)).removesuffix(".0")


def closing(outcome: Outcome) -> str:
    """Such as "27 recovered (4 flagged: 3 solver_disagrees, 1 near_planar), 4 failed"."""
    counts, remarks = outcome.counts, []
    if counts.resumed:
        remarks.append(f"{counts.resumed} by an earlier run")
    if outcome.flagged:
        remarks.append(f"{outcome.flagged} flagged: {_counted(outcome.flags)}")
    recovered = f"{counts.recovered} recovered" + (f" ({'; '.join(remarks)})" if remarks else "")
    line = f"{recovered}, {counts.failed} failed"
    if outcome.others:
        line += f", {sum(outcome.others.values())} files not read: {_counted(outcome.others)}"
    return line


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())
