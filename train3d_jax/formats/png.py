"""PNG files that hold depth; at most 16 bits a channel, as the format has no more."""

import struct
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from train3d_jax.errors import DataError
from train3d_jax.formats.pixels import brief, check_size, mute, one_map

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_PNG_START = _PNG_MAGIC + b"\0\0\0\x0dIHDR"
_PNG_KINDS = {0: "grey", 2: "RGB", 3: "palette", 4: "grey and alpha", 6: "RGB and alpha"}
_GREY_MODES = ("L", "LA", "P", "PA", "RGB", "RGBA")


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
        return _few_bits(path, contents)
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


def _few_bits(path: Path, contents: bytes) -> np.ndarray:
    """A PNG of up to 8 bits, as far as it is grey, (H, W) uint8."""
    from train3d_jax.formats.pictures import opened  # start-up: 16 bits need no Pillow

    with opened(path, contents, "PNG") as image:
        if image.mode not in _GREY_MODES:
            raise DataError(path, f"is a PNG of mode {image.mode}; it cannot hold depth")
        channels = np.asarray(image.convert("RGB"))
        return one_map(path, list(np.moveaxis(channels, -1, 0)))
