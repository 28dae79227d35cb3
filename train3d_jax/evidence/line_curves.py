"""What lines of a picture say, as factors of the posterior."""

from typing import NamedTuple

from jaxtyping import Array, Float


class LineCurves(NamedTuple):
    """Log-likelihoods by lines, tempered and doubted; 0 where a map has no picture.

    Attributes:
      focal: at `focal_bins` over the first guess of 60 degrees, shape (B, FOCAL_BINS).
      shift: at `ratio_bins`, shape (B, SHIFT_BINS).
    """

    focal: Float[Array, "b n"]
    shift: Float[Array, "b n"]
