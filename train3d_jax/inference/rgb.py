"""The pictures of `api.Model.recover`'s argument rgb: their pixels, and their lines as evidence."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Shaped, UInt8

from train3d_jax.errors import Argument, ArgumentError
from train3d_jax.geometry.affine import Space
from train3d_jax.inference.arrays import opened, read
from train3d_jax.lines.pictures import PictureEvidence, evidence_of
from train3d_jax.lines.segments import Segments, stacked

_NAME = "rgb"

_CHANNELS = (1, 3, 4)
"""Of grey, of colours, and of colours with an alpha, which does not count."""

_COARSE = ("I", "F")
"""How modes of Pillow begin whose pixels are no bytes."""


def pictures_of(rgb: Any, maps: Sequence[Shaped[np.ndarray, "_ _"]]) -> list[np.ndarray | None]:
    """The pictures of `api.Model.recover`'s argument of this name.

    Args:
      rgb: None; a picture of a single map; or one for each, as one array or a list, None where a
        map has none.  A picture is (H, W), (H, W, C) or (C, H, W) of 1, 3 or 4 channels, uint8 or
        floats from 0 to 1, of any library that `arrays.numbers` takes; or an image of Pillow.
      maps: that they are for.

    Returns:
      For each map grey (H, W) or RGB (H, W, 3), uint8; None where it has no picture.

    Raises:
      ArgumentError: these are no pictures, or not those of the maps.
    """
    if rgb is None:
        return [None] * len(maps)
    given = opened(rgb)
    if not isinstance(given, list):
        given = _separate(given, len(maps))
    if len(given) != len(maps):
        raise ArgumentError(
            Argument(_NAME),
            f": holds {len(given)} pictures for {len(maps)} maps; give one for each, None where "
            "there is none",
        )
    places = [f"picture {number} " if len(given) > 1 else "" for number in range(len(given))]
    return [
        None if each is None else _picture(each, place)
        for each, place in zip(given, places, strict=True)
    ]


def _separate(given: Any, count: int) -> list[Any]:
    """What is no list, as the pictures of so many maps."""
    if hasattr(given, "getbands") or isinstance(given, str | os.PathLike):
        return [given]
    array = read(given, _NAME, "")
    one_for_each = array.ndim == 4 or (array.ndim == 3 and len(array) == count > 1)
    return list(array) if one_for_each else [array]


def _picture(given: Any, place: str) -> UInt8[np.ndarray, "_ _ *c"]:
    if isinstance(given, str | os.PathLike):
        raise _refused(place, "is a path; give pixels, as numpy.asarray(PIL.Image.open(path))")
    if hasattr(given, "getbands"):  # an image of Pillow
        if given.mode.startswith(_COARSE):
            raise _refused(place, f"is an image of mode {given.mode}; give RGB, or grey of 8 bits")
        given = given if given.mode in ("L", "RGB") else given.convert("RGB")
    array = read(given, _NAME, place)
    if array.ndim == 4 and array.shape[0] == 1:
        array = array[0]
    shape = array.shape
    if array.ndim == 3 and shape[-1] not in _CHANNELS and shape[0] in _CHANNELS:
        array = np.moveaxis(array, 0, -1)
    channels = array.shape[-1] if array.ndim == 3 else 1
    if array.ndim not in (2, 3) or channels not in _CHANNELS or not array.size:
        raise _refused(place, f"has the shape {shape}; give (H, W, 3), (3, H, W) or (H, W)")
    if array.ndim == 3:
        array = array[..., 0] if channels == 1 else array[..., :3]
    return np.ascontiguousarray(_bytes(array, given, place))


def _bytes(array: np.ndarray, given: Any, place: str) -> UInt8[np.ndarray, "..."]:
    if array.dtype == np.uint8:
        return array
    if not jnp.issubdtype(array.dtype, jnp.floating):
        is_array = isinstance(given, np.ndarray) or array.dtype.kind not in "OUS"
        kind = array.dtype if is_array else type(given).__name__
        raise _refused(place, f"holds {kind}; give uint8, or floats from 0 to 1")
    array = array.astype(np.float32)
    low, high = float(array.min()), float(array.max())
    if not (low >= 0 and high <= 1):  # NaN too
        raise _refused(
            place, f"holds floats from {low:.4g} to {high:.4g}; give uint8, or floats from 0 to 1"
        )
    return np.rint(255 * array).astype(np.uint8)


def _refused(place: str, reason: str) -> ArgumentError:
    return ArgumentError(Argument(_NAME), f": {place}{reason}")


class PictureLines(NamedTuple):
    """What of the pictures of all maps counts.

    Attributes:
      of_maps: for each its segments, or why they do not count.
    """

    of_maps: tuple[PictureEvidence, ...]

    def segments(self, chosen: Sequence[int]) -> Segments | None:
        """Those of some maps, by their numbers; None where no map at all has a picture that counts.

        All parts of a call run one program.
        """
        some = any(each.segments is not None for each in self.of_maps)
        return stacked([self.of_maps[number].segments for number in chosen], always=some)

    def flags(self, number: int) -> tuple[str, ...]:
        """Of a map, those of `lines.pictures.FLAGS`."""
        return self.of_maps[number].flags


def lines_of(
    pictures: Sequence[np.ndarray | None],
    maps: Sequence[Shaped[np.ndarray, "_ _"]],
    space: Space,
    matrices: Sequence[Float[np.ndarray, "3 3"] | None],
) -> PictureLines:
    """The lines of pictures, see `lines.pictures.evidence_of`.

    Args:
      pictures: as `pictures_of` returns them.
      maps: that they are for.
      space: of the maps.
      matrices: their cameras, where they are known.
    """

    def of_map(number: int) -> PictureEvidence:
        picture = pictures[number]
        if picture is None:
            return PictureEvidence(None)
        return evidence_of(picture, maps[number], space, matrices[number])

    if all(picture is None for picture in pictures):
        return PictureLines((PictureEvidence(None),) * len(maps))
    # OpenCV releases Python's lock.
    with ThreadPoolExecutor() as threads:
        return PictureLines(tuple(threads.map(of_map, range(len(maps)))))
