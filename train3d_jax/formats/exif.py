"""The focal length that a camera has written into its picture: EXIF, read with Pillow.

EXIF defines the 35 mm equivalent by the diagonal of 36 x 24 mm.  A picture keeps its tags when it
is resized, which does not change what the diagonal sees, and when it is cropped, which does: a crop
widens the answer.
"""

import math
import os
from pathlib import Path
from typing import Any, NamedTuple

from PIL import ExifTags, Image

from train3d_jax.errors import DataError
from train3d_jax.formats.pictures import opened

_DIAGONAL_35MM = math.hypot(36, 24)
"""Millimetres, 43.267: of the frame that 35 mm equivalents refer to (CIPA DCG-001)."""

_SHORTEST, _LONGEST = (_DIAGONAL_35MM / 2 / math.tan(math.radians(fov / 2)) for fov in (165, 1))
"""35 mm equivalents, 2.8 and 2479 mm: of the fields of view that `geometry.intrinsics` takes."""

_SIGMA = 0.03
"""Of log focal length where all fits.  Chosen: makers round, take the width for the diagonal (4 %
on a 4:3 sensor), and cut some per cent off for stabilisation and against distortion."""

_ROUNDING_MM = 1 / math.sqrt(12)
"""Standard deviation of a rounded number of millimetres, as the tag of the 35 mm equivalent is."""

_NOT_OF_A_SENSOR = 0.05
"""Of log focal length, for a picture that is as large as its tags say, but neither 4:3 nor 3:2.
The camera cut it, and its tag is of the picture or of the sensor: 9 % apart for 16:9 of 4:3."""

_CROPPED = 0.2
"""Of log focal length, for a crop: one that keeps half to all of the diagonal (log 2, uniform)."""

_RESIZED_SENSOR = 0.2
"""Of log focal length, for resolutions per millimetre that may be of another number of pixels."""

_SENSOR_RATIOS = (4 / 3, 3 / 2)
_SAME_RATIO = 0.02
"""Relative: networks round sides to multiples of 14 pixels, 7 of 518."""

_SENSOR_MM = (2.0, 90.0)
"""Diagonals of sensors: a phone's smallest has 3 mm, medium format 70 mm; chosen with a margin."""

_MOST_ZOOM = 100.0
"""Digital zoom ratio; phones reach 100."""

_MILLIMETRES = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}
"""Of the units of the focal plane's resolution: inch, cm, and two that cameras use besides."""

_TURNED = (5, 6, 7, 8)
"""Orientations that exchange width and height."""


class ExifFocal(NamedTuple):
    """A focal length from EXIF.

    Attributes:
      focal_px: in pixels of the map that was asked for.
      sigma: standard deviation of its logarithm.
    """

    focal_px: float
    sigma: float


def exif_focal(path: str | os.PathLike[str], size: tuple[int, int]) -> ExifFocal | None:
    """The focal length of a picture, in pixels of a depth map that shows the same.

    A map of another aspect ratio, and a picture whose EXIF states another one, are taken as the
    largest crop of that shape, and sigma is 0.2.

    Args:
      path: a picture with EXIF: JPEG, PNG, TIFF; HEIC where pillow-heif is installed.
      size: height and width of the depth map in pixels.

    Returns:
      Focal length and sigma; None where the picture says nothing of them.

    Raises:
      UserError: the picture cannot be read, or what it says is not possible, such as 0 mm.
    """
    path = Path(path)
    try:
        with path.open("rb") as file, opened(path, file, None) as image:
            tags = _tags(image)
            own_size = image.size
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror or error}") from None
    return None if tags is None else _focal(path, tags, own_size, size)


def _tags(image: Image.Image) -> dict[int, Any] | None:
    """Tags of both directories; None where there is no EXIF."""
    # Pillow would decode a whole PNG to look for EXIF behind the pixels.
    if image.format == "PNG" and not {"exif", "Raw profile type exif"} & image.info.keys():
        return None
    exif = image.getexif()
    return {**exif, **exif.get_ifd(ExifTags.IFD.Exif)} or None


def _focal(
    path: Path, tags: dict[int, Any], own_size: tuple[int, int], size: tuple[int, int]
) -> ExifFocal | None:
    """The focal length by the tags of a picture; `own_size` is (W, H), the map's `size` (H, W)."""
    recorded = (
        _number(tags.get(ExifTags.Base.ExifImageWidth)),
        _number(tags.get(ExifTags.Base.ExifImageHeight)),
    )
    is_recorded = all(length is not None and length >= 1 for length in recorded)
    width, height = recorded if is_recorded else own_size
    assert width is not None and height is not None
    equivalent = _equivalent(path, tags, (width, height), is_recorded)
    if equivalent is None:
        return None
    millimetres, sigmas = equivalent
    if not _SHORTEST <= millimetres <= _LONGEST:
        raise DataError(
            path,
            f"its EXIF gives a focal length of {millimetres:g} mm (35 mm equivalent), not "
            f"{_SHORTEST:.1f} to {_LONGEST:.0f}",
        )
    # Pictures are turned as their tag says; readers that ignore it give maps that are not.
    ways = [(width, height)]
    if _number(tags.get(ExifTags.Base.Orientation)) in _TURNED:
        ways.append((height, width))
    map_ratio = size[1] / size[0]
    width, height = min(ways, key=lambda way: abs(math.log(way[0] / way[1] / map_ratio)))
    long, short = max(own_size), min(own_size)
    whole = _alike(max(width, height) / min(width, height), long / short)
    if not (whole and _alike(width / height, map_ratio)):
        sigmas.append(_CROPPED)
    elif not any(_alike(long / short, ratio) for ratio in _SENSOR_RATIOS):
        sigmas.append(_NOT_OF_A_SENSOR)
    # Pixels of the map on the diagonal of the picture that the tags describe.
    scale = max(size[1] / width, size[0] / height)
    focal = millimetres / _DIAGONAL_35MM * scale * math.hypot(width, height)
    return ExifFocal(focal, math.hypot(*sigmas))


def _equivalent(
    path: Path, tags: dict[int, Any], pixels: tuple[float, float], is_recorded: bool
) -> tuple[float, list[float]] | None:
    """The 35 mm equivalent in millimetres, and sigmas of its logarithm; None without tags.

    Raises DataError where there are tags, but no focal length among them.
    """
    given, optical = (
        tags.get(tag) for tag in (ExifTags.Base.FocalLengthIn35mmFilm, ExifTags.Base.FocalLength)
    )
    by_tag, millimetres = _positive(given), _positive(optical)  # 0 says that it is unknown
    diagonal = _sensor_diagonal(tags, pixels)
    zoom = _number(tags.get(ExifTags.Base.DigitalZoomRatio)) or 1.0
    if zoom > _MOST_ZOOM:
        raise DataError(path, f"its EXIF gives a digital zoom of {zoom:g}")
    zoom = max(zoom, 1.0)  # 0 says that there was none
    by_sensor = None
    if millimetres is not None and diagonal is not None:
        by_sensor = millimetres * _DIAGONAL_35MM / diagonal
    if by_tag is not None:
        sigmas = [_SIGMA, _ROUNDING_MM / by_tag]
        if zoom > 1 and by_sensor is not None:
            # Whichever is nearer: the tag contains the zoom, or it is the lens alone.
            contained = abs(math.log(by_tag / by_sensor / zoom)) < abs(math.log(by_tag / by_sensor))
            return (by_tag if contained else by_tag * zoom), sigmas
        if zoom > 1:
            return by_tag * math.sqrt(zoom), [*sigmas, math.log(zoom) / 2]
        return by_tag, sigmas
    if by_sensor is not None:
        return by_sensor * zoom, [_SIGMA] if is_recorded else [_SIGMA, _RESIZED_SENSOR]
    if given is None and (optical is None or millimetres is not None):
        return None  # millimetres without the size of the sensor
    said = _number(given if given is not None else optical)
    length = "that is no number" if said is None else f"of {said:g} mm"
    raise DataError(path, f"its EXIF gives a focal length {length}")


def _sensor_diagonal(tags: dict[int, Any], pixels: tuple[float, float]) -> float | None:
    """Of the focal plane in millimetres; None where the tags do not tell, or impossible ones."""
    x, y = (
        _positive(tags.get(tag))
        for tag in (ExifTags.Base.FocalPlaneXResolution, ExifTags.Base.FocalPlaneYResolution)
    )
    unit = _number(tags.get(ExifTags.Base.FocalPlaneResolutionUnit, 2))
    if unit not in _MILLIMETRES or (x is None and y is None):
        return None
    per_unit = (x or y or 1.0), (y or x or 1.0)
    lengths = [
        count / per * _MILLIMETRES[int(unit)] for count, per in zip(pixels, per_unit, strict=True)
    ]
    diagonal = math.hypot(*lengths)
    return diagonal if _SENSOR_MM[0] <= diagonal <= _SENSOR_MM[1] else None


def _alike(ratio: float, other: float) -> bool:
    return abs(math.log(ratio / other)) <= _SAME_RATIO


def _positive(value: Any) -> float | None:
    number = _number(value)
    return number if number is not None and number > 0 else None


def _number(value: Any) -> float | None:
    """A tag's value; None where it is absent, no number, or not finite, as 0/0 is."""
    try:
        number = float(value[0] if isinstance(value, tuple) else value)
    except (TypeError, ValueError, ArithmeticError, IndexError):
        return None
    return number if math.isfinite(number) else None
