"""TIFF files, read with tifffile and imagecodecs, whose log records are muted."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from train3d_jax.errors import DataError
from train3d_jax.formats.pixels import (
    MOST_PIXELS,
    check_size,
    damage_reported,
    equals,
    mute,
    one_map,
)

_COMPRESSIONS = {1, 5, 8, 32773, 32946, 34925, 34926, 50000}
"""None, LZW, deflate, PackBits, the older deflate, LZMA, the older and the newer Zstandard.  The
others (JPEG and its like) lose detail, or state a size of their own."""

_RGB = 2
_PALETTE = 3
_REDUCED = 1
"""A bit of NewSubfileType: the page is a smaller copy of another, as geographic files have them."""

_GDAL_NODATA = 42113
"""The tag in which geographic files state the value that means missing."""

_MOST_SAMPLES = 4
"""Channels that are read: colour and alpha."""


def read_tiff(path: Path, allow_8bit: bool = False) -> np.ndarray:
    """A TIFF of integers or floats of any width, (H, W), in the type that it is stored in.

    Channels that agree are read as one; where alpha is 0, or the value is the one that the file
    itself calls missing (GDAL_NODATA), the map is 0.

    Args:
      path: the file.
      allow_8bit: 8-bit grey is read too.

    Raises:
      DataError: the file is missing, damaged or too large, has fewer bits, several pages, or
        channels that differ.
    """
    with _opened(path) as file:
        count, page = 0, None
        for found in _pages(path, file):
            count, page = count + 1, page or found
        if page is None:
            raise DataError(path, "is not a readable TIFF: it holds no page that is whole")
        if count != 1:
            raise DataError(path, f"holds {count} pages; save each page as its own file")
        return _values_of(path, file, page, allow_8bit)


def tiff_stack(path: Path) -> tuple[int, int, int]:
    """Number of pages, and height and width, which all of them share.

    Raises:
      DataError: the file is missing or damaged, or its pages differ in size.
    """
    with _opened(path) as file:
        count, first = 0, None
        for page in _pages(path, file):
            count += 1
            first = first or (page.imagelength, page.imagewidth)
            if (page.imagelength, page.imagewidth) != first:
                raise DataError(
                    path,
                    f"holds pages of different sizes: the first is {first[1]} x {first[0]}, page "
                    f"{count} {page.imagewidth} x {page.imagelength}",
                )
        if first is None:
            raise DataError(path, "is not a readable TIFF: it holds no page that is whole")
        return count, *first


def tiff_frames(path: Path, allow_8bit: bool = False) -> Iterator[np.ndarray]:
    """The pages of a TIFF one after another, each as of `read_tiff`."""
    with _opened(path) as file:
        for page in _pages(path, file):
            yield _values_of(path, file, page, allow_8bit)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """An open file; what tifffile and the codecs raise for a damaged one comes out as DataError."""
    import tifffile  # heavy, and needed for this kind of file only

    mute("tifffile")
    mute("imagecodecs")
    if not path.is_file():
        raise DataError(path, "is missing")
    with damage_reported(path, "TIFF"), tifffile.TiffFile(path) as file:
        yield file


def _pages(path: Path, file: Any) -> Iterator[Any]:
    """The pages of a file, smaller copies left out."""
    offsets = set()
    for page in file.pages:
        if page.offset in offsets:  # tifffile would go on for ever
            raise DataError(path, "is not a readable TIFF: its pages form a circle")
        offsets.add(page.offset)
        if not page.subfiletype & _REDUCED:
            yield page


def _values_of(path: Path, file: Any, page: Any, allow_8bit: bool) -> np.ndarray:
    _check(path, page, file.filehandle.size, allow_8bit)
    # (separate channels, 1, height, width, channels side by side)
    samples = page.asarray(squeeze=False, maxworkers=1)
    values = _values(path, page, samples)
    if _GDAL_NODATA in page.tags:
        values = np.where(equals(values, page.nodata), values.dtype.type(0), values)
    return values


def _check(path: Path, page: Any, length: int, allow_8bit: bool) -> None:
    """Raises DataError where a page is not to be decoded; no memory is taken before."""
    check_size(path, page.imagewidth, page.imagelength)
    if page.imagedepth != 1:
        raise DataError(path, f"holds {page.imagedepth} layers; save each as its own file")
    if page.samplesperpixel > _MOST_SAMPLES:
        raise DataError(path, f"holds {page.samplesperpixel} channels; save the depth map alone")
    if page.compression not in _COMPRESSIONS:
        kind = getattr(page.compression, "name", "a method that is not known")
        raise DataError(path, f"is compressed with {kind}; save it with deflate, LZW or none")
    if page.dtype is None or page.dtype.kind not in "fiu":
        raise DataError(path, f"holds {page.dtype or 'values of an unknown type'}, not numbers")
    if (page.dtype.itemsize == 1 or page.photometric == _PALETTE) and not allow_8bit:
        raise DataError(
            path, "is a TIFF of 8 bits, not of 16 or more; 8 bits or colours cannot hold depth"
        )
    if page.is_tiled and page.tilewidth * page.tilelength > MOST_PIXELS:
        raise DataError(path, "is not a readable TIFF: its tiles are too large")
    segments = list(zip(page.dataoffsets, page.databytecounts, strict=False))
    if len(segments) < np.prod(page.chunked):
        raise DataError(path, "is not a readable TIFF: strips or tiles are missing")
    if any(not size or start + size > length for start, size in segments):
        raise DataError(path, "is not a readable TIFF: it ends too early")


def _values(path: Path, page: Any, samples: np.ndarray) -> np.ndarray:
    """The one map that the samples hold, (H, W)."""
    planes = [plane[0, :, :, sample] for plane in samples for sample in range(samples.shape[-1])]
    if page.photometric == _PALETTE:
        # Three channels of as many entries as there are values, 16 bits each.
        colours = page.colormap[:, planes[0]] >> 8
        return one_map(path, list(colours.astype(np.uint8)))
    # Alpha is what the file calls so, and a fourth channel beside three colours in any case.
    is_alpha = page.extrasamples and page.extrasamples[-1] in (1, 2)
    if is_alpha or (page.photometric == _RGB and len(planes) == 4):
        return one_map(path, planes[:-1], planes[-1])
    return one_map(path, planes)
