"""What all readers of image files share: limits, and how several channels become one map."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from train3d_jax.errors import DataError

MOST_PIXELS = 1 << 26
"""A larger map (67 million pixels, 8192 x 8192) is refused before memory is taken for it: its head
is damaged or meant to do harm."""

_LONGEST_REASON = 120
"""Characters; some libraries quote half the file."""


def brief(error: Exception) -> str:
    """What a library says about a damaged file, on one line, cut to what fits in it."""
    return (" ".join(str(error).split()) or type(error).__name__)[:_LONGEST_REASON]


@contextlib.contextmanager
def damage_reported(
    path: Path, kind: str, is_of_system: Callable[[Exception], bool] = lambda _: False
) -> Iterator[None]:
    """Has whatever a library raises for a damaged file come out as DataError.

    Args:
      path: the file.
      kind: what it is said to be no readable one of, as "TIFF".
      is_of_system: tells errors of the system, which are raised as they are.
    """
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        if is_of_system(error):
            raise
        raise DataError(path, f"is not a readable {kind}: {brief(error)}") from None


def exactly(file: IO[bytes], size: int) -> bytes:
    """So many bytes of a file.  Raises ValueError where it ends before."""
    body = file.read(size)
    if len(body) < size:
        raise ValueError("it ends too early")
    return body


def mute(library: str) -> None:
    """Lets no log record of a library out: what no handler takes is printed to standard error."""
    logger = logging.getLogger(library)
    if logger.propagate:
        logger.addHandler(logging.NullHandler())
        logger.propagate = False


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


def one_map(
    path: Path, planes: Sequence[np.ndarray], alpha: np.ndarray | None = None
) -> np.ndarray:
    """The map that several channels hold alike.

    Args:
      path: the file, for messages.
      planes: at least one channel, (H, W) each.
      alpha: opacity, (H, W), integers up to the largest of their type or floats up to 1.  Where it
        is 0 the map is missing; an alpha of 0 everywhere says nothing and is ignored.

    Returns:
      (H, W), 0 where missing.

    Raises:
      DataError: the channels differ, or a pixel is partly transparent: its depth is a mixture.
    """
    values, *others = planes
    for other in others:
        if not np.array_equal(values, other, equal_nan=values.dtype.kind == "f"):
            raise DataError(
                path,
                f"is in colour: its {8 * values.dtype.itemsize}-bit channels differ; which depth a "
                "colour stands for is unknown",
            )
    if alpha is None:
        return values
    opaque = np.iinfo(alpha.dtype).max if alpha.dtype.kind in "iu" else 1
    transparent = alpha == 0
    if transparent.all():
        return values
    if not (transparent | (alpha == opaque)).all():
        raise DataError(path, "is partly transparent; save the depth without an alpha channel")
    return np.where(transparent, values.dtype.type(0), values)


def equals(values: np.ndarray, number: float) -> np.ndarray:
    """Where an array holds a number, as far as the array's type can hold it; bool.

    A float is compared with the nearest value of its type: 0.001 in a float16 file is 0.0010004.
    In float64 the nearest float32 counts too: such files are often widened float32.  Integers
    are compared exactly.
    """
    if values.dtype.kind != "f":
        limits = np.iinfo(values.dtype)
        if not limits.min <= number <= limits.max or number != int(number):
            return np.zeros(values.shape, bool)
        return values == values.dtype.type(int(number))
    if number != number:
        return np.isnan(values)
    with np.errstate(over="ignore"):
        found = values == values.dtype.type(number)
        if values.dtype.itemsize > 4:
            found |= values == np.float32(number)
    return found
