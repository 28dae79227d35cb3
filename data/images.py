"""Image files that hold depth: OpenEXR, PNG, TIFF and PFM, read whole or refused with a reason.

A PNG has at most 16 bits a channel; 32-bit integers and floats are TIFF's.
"""

import contextlib
import io
import os
import re
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from data.protocol import DataError

MOST_PIXELS = 1 << 26
"""A larger map (67 million pixels, 8192 x 8192) is refused before memory is taken for it: its head
is damaged or meant to do harm."""

SILENCED = threading.RLock()
"""Held while a library is silenced, which silences all threads: whoever prints from another one
takes it."""

_LONGEST_REASON = 120
"""Characters; some libraries quote half the file."""

_SIXTEEN_BIT_MODES = ("I;16", "I;16B", "I;16L")
_EIGHT_BIT_MODES = ("L", "LA", "P", "PA", "RGB", "RGBA")
_UNSIGNED = 1
_SAMPLE_FORMAT = 339
"""TIFF tag 339 tells whether integers are unsigned (1, also where it is left out) or signed (2)."""

# Pillow warns where it meets oddities; sizes are checked here, and what cannot be read is refused.
warnings.filterwarnings("ignore", module=r"PIL\.")
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def brief(error: Exception) -> str:
    """What a library says about a damaged file, cut to what fits in a line."""
    return (str(error) or type(error).__name__)[:_LONGEST_REASON]


def check_size(path: Path, width: int, height: int) -> None:
    """Raises DataError where a map of this size is empty or larger than `MOST_PIXELS`."""
    if width < 1 or height < 1:
        raise DataError(path, f"says that it is {width} x {height} pixels: there is no map in it")
    if width * height > MOST_PIXELS:
        raise DataError(
            path,
            f"says that it is {width} x {height} pixels; more than {MOST_PIXELS} are not read: "
            "damaged, or to be made smaller first",
        )


def read_exr(path: Path, channel: str | None = None) -> np.ndarray:
    """One channel of an OpenEXR file, (H, W), in the type that it is stored in.

    Args:
      path: the file.
      channel: its name; None takes the file's only channel.

    Raises:
      DataError: the file is missing, damaged or too large, or the channel is not there or not
        clear.
    """
    import OpenEXR  # heavy, and needed for this kind of file only

    if not path.is_file():
        raise DataError(path, "is missing")
    try:
        with _silence():
            with OpenEXR.File(str(path), header_only=True) as image:
                low, high = image.header()["dataWindow"]
            width, height = (
                int(last) - int(first) + 1 for first, last in zip(low, high, strict=True)
            )
            check_size(path, width, height)
            with OpenEXR.File(str(path), separate_channels=True) as image:
                pixels = {name: np.array(held.pixels) for name, held in image.channels().items()}
    except DataError:
        raise
    except Exception:
        # The binding raises whatever comes up first; its own text tells of parts, not of the file.
        raise DataError(path, "is not a readable OpenEXR file: truncated or damaged") from None
    names = ", ".join(sorted(pixels))
    if channel is None:
        if len(pixels) != 1:
            raise DataError(
                path,
                f"has the channels {names}: depth has one; name it (--channel), or save it alone",
            )
        channel = next(iter(pixels))
    if channel not in pixels:
        raise DataError(path, f"has no channel {channel}, only {names}")
    return pixels[channel]


def read_png(path: Path, allow_8bit: bool = False) -> np.ndarray:
    """A 16-bit grey PNG, (H, W) uint16; every checksum of the file is checked.

    Args:
      path: the file.
      allow_8bit: 8-bit grey is read too, as uint8.

    Raises:
      DataError: the file is missing, damaged or too large, or is not grey of such depth.
    """
    with _opened(path, "PNG") as image:
        # Decoding alone does not check the checksums; and a file that was verified has to be
        # opened again.
        image.verify()
    with _opened(path, "PNG") as image:
        if image.mode in _SIXTEEN_BIT_MODES:
            return np.asarray(image).astype(np.uint16, copy=False)
        return _eight_bits(path, image, allow_8bit, "16-bit grey")


def read_tiff(path: Path, allow_8bit: bool = False) -> np.ndarray:
    """A grey TIFF of 16- or 32-bit integers or float32, (H, W), in the type that it is stored in.

    Args:
      path: the file.
      allow_8bit: 8-bit grey is read too, as uint8.

    Raises:
      DataError: the file is missing, damaged or too large, is not grey of such depth, or has
        several pages.
    """
    with _silence(), _opened(path, "TIFF") as image:  # libtiff tells of faults on its own
        pages = getattr(image, "n_frames", 1)
        if pages != 1:
            raise DataError(path, f"holds {pages} pages; save the depth map alone")
        if image.mode in _SIXTEEN_BIT_MODES:
            return np.asarray(image).astype(np.uint16, copy=False)
        if image.mode == "F":
            return np.asarray(image)
        if image.mode == "I":
            values = np.asarray(image)
            # Pillow hands unsigned 32-bit integers out as signed ones.
            sample_format = image.tag_v2.get(_SAMPLE_FORMAT, (_UNSIGNED,))  # pyright: ignore
            return values.view(np.uint32) if sample_format[0] == _UNSIGNED else values
        return _eight_bits(path, image, allow_8bit, "grey of 16 or 32 bits")


def read_pfm(path: Path) -> np.ndarray:
    """A grey PFM (portable float map), (H, W) float32.

    "Pf", width, height and a scale in text, then float32, the lowest row first; a negative scale
    means little-endian.  The size of the scale is left alone, as most programs do.

    Raises:
      DataError: the file is missing, damaged or too large, or is in colour.
    """
    try:
        with path.open("rb") as file:
            head = file.read(128)
            found = re.match(rb"(P[fF])\s+(\d{1,9})\s+(\d{1,9})\s+([-+.\deE]{1,32})\s", head)
            if found is None:
                raise DataError(path, "is not a readable PFM: its head is truncated or damaged")
            kind, width, height = found[1], int(found[2]), int(found[3])
            if kind == b"PF":
                raise DataError(path, "is a PFM in colour (PF); depth is grey (Pf)")
            check_size(path, width, height)
            scale = float(found[4])
            file.seek(found.end())
            body = file.read(4 * width * height)
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror}") from None
    except ValueError:
        raise DataError(path, "is not a readable PFM: its scale is not a number") from None
    if len(body) < 4 * width * height:
        raise DataError(path, "is not a readable PFM: it ends too early")
    order = "<" if scale < 0 else ">"
    return np.frombuffer(body, f"{order}f4").reshape(height, width)[::-1]


def read_colours(path: Path) -> np.ndarray:
    """A picture in colour, such as a PNG or JPEG, (H, W, 3) uint8.

    Raises:
      DataError: it is missing, damaged or too large.
    """
    with _opened(path, None) as image:
        return np.asarray(image.convert("RGB"))


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


def _eight_bits(path: Path, image: Image.Image, allowed: bool, wanted: str) -> np.ndarray:
    """What an image of few bits holds where that is allowed, as far as it is grey."""
    if not allowed or image.mode not in _EIGHT_BIT_MODES:
        raise DataError(
            path,
            f"is a {image.format} of mode {image.mode}, not {wanted}; 8 bits or colours cannot "
            "hold depth",
        )
    channels = np.asarray(image.convert("RGB"))
    grey = channels[..., 0]
    if (channels != grey[..., None]).any():
        raise DataError(path, "is in colour; which depth a colour stands for cannot be told")
    return grey


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keeps libraries from printing into the middle of the program's own output.

    On a damaged file OpenEXR's binding prints to Python's standard output, and the library beneath
    it, as libtiff does, to the process's standard error.
    """
    with SILENCED:
        sys.stderr.flush()
        kept = os.dup(2)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            os.close(nowhere)
