"""Image files that hold depth: OpenEXR, PNG, TIFF and PFM, read whole or refused with a reason.

A PNG has at most 16 bits a channel; 32-bit integers and floats are TIFF's.  No reader prints: what
a library finds wrong with a file is raised.
"""

import contextlib
import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from data.formats.exr import read_exr
from data.formats.pfm import read_pfm
from data.formats.pixels import MOST_PIXELS, brief, check_size, mute, one_map
from data.formats.tiff import read_tiff
from data.protocol import DataError

__all__ = ["brief", "check_size", "read_colours", "read_exr", "read_pfm", "read_png", "read_tiff"]

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_PNG_START = _PNG_MAGIC + b"\0\0\0\x0dIHDR"
_PNG_KINDS = {0: "grey", 2: "RGB", 3: "palette", 4: "grey and alpha", 6: "RGB and alpha"}
_GREY_MODES = ("L", "LA", "P", "PA", "RGB", "RGBA")

# Pillow warns where it meets oddities; sizes are checked here, and what cannot be read is refused.
warnings.filterwarnings("ignore", module=r"PIL\.")
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


class _PngHead(NamedTuple):
    width: int
    height: int
    bits: int
    kind: int


def read_png(path: Path, allow_8bit: bool = False) -> np.ndarray:
    """A 16-bit PNG, (H, W) uint16; the checksums of all chunks are checked.

    Colour channels that agree are read as one; where alpha is 0 the map is 0.

    Args:
      path: the file.
      allow_8bit: 8-bit grey is read too, as uint8.

    Raises:
      DataError: the file is missing, damaged or too large, has fewer bits, or channels that differ.
    """
    if not path.is_file():
        raise DataError(path, "is missing")
    contents = path.read_bytes()
    head = _png_head(path, contents)
    check_size(path, head.width, head.height)
    if head.bits != 16:
        if not allow_8bit:
            kind = _PNG_KINDS.get(head.kind, "unknown")
            raise DataError(
                path,
                f"is a PNG of {head.bits} bits ({kind}), not 16-bit grey; 8 bits or colours cannot "
                "hold depth",
            )
        return _few_bits(path)
    import imagecodecs  # heavy; Pillow cuts 16-bit colour to 8 bits

    mute("imagecodecs")
    try:
        pixels = imagecodecs.png_decode(contents)
    except Exception as error:
        raise DataError(path, f"is not a readable PNG: {brief(error)}") from None
    channels = list(np.moveaxis(pixels.reshape(head.height, head.width, -1), -1, 0))
    # 2 and 4 channels: the last is alpha, also where the file names one value as transparent.
    alpha = channels.pop() if len(channels) in (2, 4) else None
    return one_map(path, channels, alpha)


def read_colours(path: Path) -> np.ndarray:
    """A picture in colour, such as a PNG or JPEG, (H, W, 3) uint8.

    Raises:
      DataError: it is missing, damaged or too large.
    """
    with _opened(path, None) as image:
        return np.asarray(image.convert("RGB"))


def _png_head(path: Path, contents: bytes) -> _PngHead:
    """What the first chunk says, the checksums of all chunks having been checked."""
    if not contents.startswith(_PNG_START):
        raise DataError(path, "is not a readable PNG: its head is truncated or damaged")
    place, view = len(_PNG_MAGIC), memoryview(contents)
    name = b""
    while name != b"IEND":
        if place + 12 > len(contents):
            raise DataError(path, "is not a readable PNG: it ends too early")
        (length,) = struct.unpack_from(">I", contents, place)
        name, end = contents[place + 4 : place + 8], place + 8 + length
        if end + 4 > len(contents):
            raise DataError(path, "is not a readable PNG: it ends too early")
        if zlib.crc32(view[place + 4 : end]) != struct.unpack_from(">I", contents, end)[0]:
            raise DataError(path, "is not a readable PNG: a checksum is wrong")
        place = end + 4
    return _PngHead(*struct.unpack_from(">IIBB", contents, 16))


def _few_bits(path: Path) -> np.ndarray:
    """A PNG of up to 8 bits, as far as it is grey, (H, W) uint8."""
    with _opened(path, "PNG") as image:
        if image.mode not in _GREY_MODES:
            raise DataError(path, f"is a PNG of mode {image.mode}; it cannot hold depth")
        channels = np.asarray(image.convert("RGB"))
        return one_map(path, list(np.moveaxis(channels, -1, 0)))


@contextlib.contextmanager
def _opened(path: Path, kind: str | None) -> Iterator[Image.Image]:
    """An image whose size has been checked; what goes wrong with it comes out as a DataError."""
    if not path.is_file():
        raise DataError(path, "is missing")
    name = kind or "picture"
    try:
        with Image.open(io.BytesIO(path.read_bytes()), formats=[kind] if kind else None) as image:
            check_size(path, *image.size)
            yield image
    except DataError:
        raise
    except UnidentifiedImageError:
        raise DataError(
            path, f"is not a readable {name}: its head is truncated or damaged"
        ) from None
    except Image.DecompressionBombError:
        raise DataError(path, f"is larger than the {MOST_PIXELS} pixels that are read") from None
    except Exception as error:
        # Pillow has no exception of its own for a damaged file: SyntaxError, OSError, struct.error
        # and others come up.
        raise DataError(path, f"is not a readable {name}: {brief(error)}") from None
