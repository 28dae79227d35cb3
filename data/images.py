"""Image files that hold depth: OpenEXR and 16-bit PNG, read whole or refused with a reason."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from data.protocol import DataError

_SIXTEEN_BIT_MODES = ("I;16", "I;16B", "I;16L", "I")


def read_exr(path: Path, channel: str | None = None) -> np.ndarray:
    """One channel of an OpenEXR file, (H, W), in the type that it is stored in.

    Args:
      path: the file.
      channel: its name; None takes the file's only channel.

    Raises:
      DataError: the file is missing or damaged, or the channel is not there or not clear.
    """
    import OpenEXR  # heavy, and needed for this kind of file only

    if not path.is_file():
        raise DataError(path, "is missing")
    try:
        with _silence(), OpenEXR.File(str(path), separate_channels=True) as image:
            pixels = {name: np.array(held.pixels) for name, held in image.channels().items()}
    except Exception:
        # The binding raises whatever comes up first; its own text tells of parts, not of the file.
        raise DataError(path, "is not a readable OpenEXR file: truncated or damaged") from None
    names = ", ".join(sorted(pixels))
    if channel is None:
        if len(pixels) != 1:
            raise DataError(path, f"has the channels {names}: depth has one; save it alone")
        channel = next(iter(pixels))
    if channel not in pixels:
        raise DataError(path, f"has no channel {channel}, only {names}")
    return pixels[channel]


def read_png(path: Path) -> np.ndarray:
    """A 16-bit grey PNG, (H, W) uint16; every checksum of the file is checked.

    Raises:
      DataError: the file is missing or damaged, or is not 16-bit grey.
    """
    if not path.is_file():
        raise DataError(path, "is missing")
    png = path.read_bytes()
    try:
        # Decoding alone does not check the checksums.
        Image.open(io.BytesIO(png), formats=["PNG"]).verify()
        image = Image.open(io.BytesIO(png), formats=["PNG"])
        values = np.asarray(image)
    except UnidentifiedImageError:
        raise DataError(path, "is not a readable PNG: its head is truncated or damaged") from None
    except Exception as error:
        # Pillow has no exception of its own for a damaged file: SyntaxError, OSError, struct.error
        # and others come up.
        raise DataError(path, f"is not a readable PNG: {error}") from None
    if image.mode not in _SIXTEEN_BIT_MODES:
        raise DataError(
            path,
            f"is a PNG of mode {image.mode}, not 16-bit grey; 8 bits or colours cannot hold depth",
        )
    return values.astype(np.uint16, copy=False)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keeps OpenEXR from printing into the middle of the program's own output.

    On a damaged file the binding prints to Python's standard output, and the library beneath it to
    the process's standard error.
    """
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
