"""Figures of matplotlib as files and as pixels.  They need no display."""

import io

import numpy as np
from matplotlib.figure import Figure
from PIL import Image


def encoded(figure: Figure, file_format: str = "png") -> bytes:
    """A figure as the contents of a file, "png" or "svg"."""
    picture = io.BytesIO()
    figure.savefig(picture, dpi=100, format=file_format)
    return picture.getvalue()


def pixels(png: bytes) -> np.ndarray:
    """A PNG's pixels, (H, W, 3), uint8."""
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
