"""Arrays of any library as numpy arrays, and what callers give as depth maps as a list of them."""

from collections.abc import Iterable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from train3d_jax.errors import Argument, ArgumentError, one_line

_MOST_CHANNELS = 4
"""Of a picture; a depth map that is so narrow has no surface to measure."""

_PROTOCOLS = ("__array__", "__array_interface__", "__dlpack__")


def numbers(values: Any, name: str, place: str = "") -> np.ndarray:
    """Real numbers of an array of any library, of nested lists, or of a single number.

    Args:
      values: offers `__array__`, `__array_interface__` or DLPack, as arrays of JAX and tensors of
        PyTorch do; or lists of numbers.  Masked elements of a numpy masked array become 0.
      name: of the argument, for messages.
      place: which part of the argument, for messages, such as "map 3 ".

    Returns:
      An array on the host, of the type and shape of `values`; formats that numpy lacks, such as
      bfloat16, become float32.

    Raises:
      ArgumentError: these are no real numbers, or cannot be read from where they are.
    """
    if hasattr(values, "getbands"):  # an image of Pillow
        _refuse_coarse(values, name, place)
    try:
        array = _on_host(values)
    except Exception as error:  # each library has its own, for another device or type
        reason = one_line(f"{type(error).__name__}: {error}")
        raise ArgumentError(
            Argument(name), f": {place}cannot be read as a numpy array ({reason})"
        ) from None
    if array.dtype.kind in "fiu":
        return array
    if jnp.issubdtype(array.dtype, jnp.floating):
        return array.astype(np.float32)
    is_array = isinstance(values, np.ndarray) or array.dtype.kind not in "OUS"
    kind = array.dtype if is_array else type(values).__name__
    raise ArgumentError(Argument(name), f": {place}holds {kind}; give real numbers")


def depth_maps(depth: Any) -> tuple[list[np.ndarray], bool]:
    """The maps of `api.recover`'s argument of this name, and whether it is a single map.

    Returns:
      Arrays of shape (H, W); what float32 cannot hold is infinite, that is, missing.

    Raises:
      ArgumentError: these are no maps.
    """
    depth, name = _opened(depth), "depth"
    if isinstance(depth, list):
        maps = [
            _one_map(numbers(values, name, f"map {number} "), f"map {number} ")
            for number, values in enumerate(depth)
        ]
        single = False
    else:
        values = numbers(depth, name)
        if values.ndim == 3 and 1 not in values.shape and values.shape[-1] <= _MOST_CHANNELS:
            raise ArgumentError(
                Argument(name),
                f": has the shape {values.shape}, as a picture with channels; "
                "a depth map has one channel",
            )
        if values.ndim == 4 and 1 in (values.shape[1], values.shape[-1]):
            values = values.squeeze(1 if values.shape[1] == 1 else -1)
            single = False
        else:
            single = values.ndim != 3 or 1 in values.shape
        maps = [_one_map(values)] if single else list(values)
    if not maps:
        raise ArgumentError(Argument(name), ": holds no map; give at least one")
    for number, values in enumerate(maps):
        if values.size == 0:
            raise _not_a_map(values, f"map {number} ")
    return [_within_float32(values) for values in maps], single


def _opened(depth: Any) -> Any:
    """A list of maps as a list, and what is one array as it is."""
    if isinstance(depth, np.ndarray) and depth.dtype == object and depth.ndim == 1:
        return list(depth)  # numpy's way to hold maps of several sizes
    if isinstance(depth, str | bytes | Mapping) or not isinstance(depth, Iterable):
        return depth
    if any(hasattr(depth, protocol) for protocol in _PROTOCOLS):
        return depth
    maps = list(depth)
    if maps and isinstance(maps[0], list | tuple) and np.isscalar(next(iter(maps[0]), None)):
        return np.asarray(maps) if len({len(row) for row in maps}) == 1 else maps
    return maps


def _on_host(values: Any) -> np.ndarray:
    """The array; without its gradient and from a GPU, where it is a tensor of PyTorch."""
    if isinstance(values, np.ma.MaskedArray):
        return values.filled(0)
    for step in ("detach", "cpu"):
        if callable(getattr(values, step, None)):
            values = getattr(values, step)()
    if hasattr(values, "__dlpack__") and not hasattr(values, "__array__"):
        return np.from_dlpack(values)
    return np.asarray(values)


def _refuse_coarse(image: Any, name: str, place: str) -> None:
    """Refuses images whose pixels are colours, indices into a palette, or 256 steps."""
    if image.mode not in ("F", "I") and not image.mode.startswith("I;16"):
        raise ArgumentError(
            Argument(name),
            f": {place}is an image of mode {image.mode}; depth needs one channel of 16 bits or "
            "more (to take 8 bits all the same, give numpy.asarray(image))",
        )


def _one_map(values: np.ndarray, place: str = "map 0 ") -> np.ndarray:
    """One map without the axis of length 1 that stands for a batch or for channels."""
    if values.ndim == 3 and 1 in values.shape:
        values = values.squeeze(values.shape.index(1))
    if values.ndim != 2:
        raise _not_a_map(values, place)
    return values


def _within_float32(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind != "f" or values.dtype.itemsize <= np.dtype(np.float32).itemsize:
        return values
    return np.where(np.abs(values) <= np.finfo(np.float32).max, values, np.inf)


def _not_a_map(values: np.ndarray, place: str) -> ArgumentError:
    return ArgumentError(
        Argument("depth"),
        f": {place}has the shape {values.shape}; give (H, W), (B, H, W) or a list of (H, W)",
    )
