"""The head of a file in numpy's format .npy, read by one thread at a time."""

import threading
from typing import IO

import numpy as np

_LOCK = threading.Lock()


def read_head(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether columns come first, and type of the array that follows.

    A head is a Python literal, and CPython 3.11 loses count of its depth when two threads parse
    literals at once ("AST constructor recursion depth mismatch"): a sound file would be refused.

    Raises ValueError on a head that is damaged or not known, and others that numpy raises.
    """
    with _LOCK:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            return np.lib.format.read_array_header_1_0(file)
        if version == (2, 0):
            return np.lib.format.read_array_header_2_0(file)
    raise ValueError(f"format version {version} is not known")
