"""Pictures as the textures of meshes."""

import io

import numpy as np
from jaxtyping import UInt8

_MOST_PIXELS = 8192
"""Of a side: what browsers take on computers with a graphics card; chosen."""

_QUALITY = 95
"""Of JPEG, from which on steps are not to be seen; chosen."""


def texture(pixels: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """A picture as a JPEG, smaller where a side has more than `_MOST_PIXELS`.

    A JPEG is encoded anew: its own bytes may be turned by EXIF, and tell where it was taken.

    Args:
      pixels: red, green and blue as a screen shows them, shape (H, W, 3).
    """
    from PIL import Image  # start-up

    image = Image.fromarray(pixels)
    image.thumbnail((_MOST_PIXELS, _MOST_PIXELS))  # keeps a smaller one as it is
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()
