"""Pictures read with Pillow, and those that are to colour a cloud."""

import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from train3d_jax.errors import DataError
from train3d_jax.formats.pixels import MOST_PIXELS, brief, check_size

# Pillow warns where it meets oddities; sizes are checked here, and what cannot be read is refused.
warnings.filterwarnings("ignore", module=r"PIL\.")
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def read_colours(path: Path) -> np.ndarray:
    """A picture in colour, such as a PNG or JPEG, (H, W, 3) uint8.

    Raises:
      DataError: it is missing, damaged or too large.
    """
    if not path.is_file():
        raise DataError(path, "is missing")
    with opened(path, path.read_bytes(), None) as image:
        return np.asarray(image.convert("RGB"))


@contextlib.contextmanager
def opened(path: Path, contents: bytes, kind: str | None) -> Iterator[Image.Image]:
    """An image whose size has been checked; what goes wrong with it comes out as a DataError."""
    name = kind or "picture"
    try:
        with Image.open(io.BytesIO(contents), formats=[kind] if kind else None) as image:
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
