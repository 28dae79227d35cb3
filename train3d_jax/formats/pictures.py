"""Pictures read with Pillow, and those that are to colour a cloud."""

import contextlib
import functools
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from train3d_jax.errors import DataError
from train3d_jax.formats.pixels import MOST_PIXELS, brief, check_size

# Pillow warns where it meets oddities; sizes are checked here, and what cannot be read is refused.
warnings.filterwarnings("ignore", module=r"PIL\.")
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def read_colours(path: Path) -> np.ndarray:
    """A picture in colour, such as a PNG or JPEG, (H, W, 3) uint8, turned as its EXIF says.

    Raises:
      DataError: it is missing, damaged, too large or may not be read.
    """
    try:
        if not path.is_file():
            raise DataError(path, "is missing")
        contents = path.read_bytes()
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror or error}") from None
    with opened(path, contents, None) as image:
        image = _upright(image)
        if image.mode.startswith("I"):  # 16 bits, which Pillow cuts off at 255
            image = Image.fromarray(np.clip(np.asarray(image) >> 8, 0, 255).astype(np.uint8))
        return np.asarray(image.convert("RGB"))


def resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A picture at another height and width, uint8 (H, W, 3): means of what each pixel covers."""
    height, width = size
    if pixels.shape[:2] == size:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BOX))


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # Pillow has no exception of its own for broken EXIF either
        return image


@contextlib.contextmanager
def opened(path: Path, contents: bytes | IO[bytes], kind: str | None) -> Iterator[Image.Image]:
    """An image whose size has been checked; what goes wrong with it comes out as a DataError.

    Args:
      path: the file, for messages.
      contents: of the file; or the open file, of which no more is read than is needed.
      kind: that Pillow is to take it for; None for any, HEIC too where pillow-heif is installed.
    """
    name = kind or "picture"
    if kind is None:
        _know_heic()
    file = io.BytesIO(contents) if isinstance(contents, bytes) else contents
    try:
        with Image.open(file, formats=[kind] if kind else None) as image:
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


@functools.cache
def _know_heic() -> None:
    with contextlib.suppress(ImportError):
        import pillow_heif  # pyright: ignore[reportMissingImports]  # an extra

        pillow_heif.register_heif_opener()
