"""Arrays of any library as numpy arrays, and what callers give as depth maps as a list of them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Shaped

from train3d_jax.errors import Argument, ArgumentError, one_line

_MOST_CHANNELS = 4
"""Of a picture; a depth map that is so narrow has no surface to measure."""

_PROTOCOLS = ("__array__", "__array_interface__", "__dlpack__")


def numbers(values: Any, name: str, place: str = "") -> Shaped[np.ndarray, "..."]:
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
    array = read(values, name, place)
    if array.dtype.kind in "fiu":
        return array
    if jnp.issubdtype(array.dtype, jnp.floating):
        return array.astype(np.float32)
    is_array = isinstance(values, np.ndarray) or array.dtype.kind not in "OUS"
    kind = array.dtype if is_array else type(values).__name__
    raise ArgumentError(Argument(name), f": {place}holds {kind}; give real numbers")


class Maps(NamedTuple):
    """Maps as a list, and how they were given.

    Attributes:
      values: arrays of shape (H, W) each.
      form: "one" for a single map, "batch" for an array of maps, "list" for a list of them.
    """

    values: list[Shaped[np.ndarray, "_ _"]]
    form: Literal["one", "batch", "list"]


def depth_maps(depth: Any) -> Maps:
    """The maps of `api.Model.recover`'s argument of this name.

    Returns:
      Arrays of shape (H, W); what float32 cannot hold is infinite, that is, missing.

    Raises:
      ArgumentError: these are no maps.
    """
    maps = _maps(depth, "depth", numbers)
    return Maps([_within_float32(values) for values in maps.values], maps.form)


def masks_of(mask: Any, maps: Sequence[Shaped[np.ndarray, "_ _"]]) -> list[Bool[np.ndarray, "_ _"]]:
    """The masks of `api.Model.recover`'s argument of this name.

    Args:
      mask: one for each map, in the forms that `depth_maps` takes; bool, or integers that are not 0
        where True.
      maps: that they are for.

    Raises:
      ArgumentError: these are no masks, or not those of the maps.
    """
    name = Argument("mask")
    masks = _maps(mask, name.name, _truths).values
    if len(masks) != len(maps):
        raise ArgumentError(name, f": holds {len(masks)} masks for {len(maps)} maps")
    for number, (one, values) in enumerate(zip(masks, maps, strict=True)):
        if one.shape != values.shape:
            raise ArgumentError(
                name, f": that of map {number} has the shape {one.shape}, the map {values.shape}"
            )
    return masks


def _maps(given: Any, name: str, read: Callable[[Any, str, str], np.ndarray]) -> Maps:
    """Maps of any form, each read as `numbers` or `_truths` do."""
    given = opened(given)
    if isinstance(given, list):
        maps = [
            _one_map(read(values, name, f"map {number} "), name, f"map {number} ")
            for number, values in enumerate(given)
        ]
        form = "list"
    else:
        values = read(given, name, "")
        if values.ndim == 3 and 1 not in values.shape and values.shape[-1] <= _MOST_CHANNELS:
            raise ArgumentError(
                Argument(name),
                f": has the shape {values.shape}, as a picture with channels; give one channel",
            )
        if values.ndim == 4 and 1 in (values.shape[1], values.shape[-1]):
            values = values.squeeze(1 if values.shape[1] == 1 else -1)
            form = "batch"
        else:
            form = "one" if values.ndim != 3 or 1 in values.shape else "batch"
        maps = [_one_map(values, name)] if form == "one" else list(values)
    if not maps:
        raise ArgumentError(Argument(name), ": holds no map; give at least one")
    for number, values in enumerate(maps):
        if values.size == 0:
            raise _not_a_map(values, name, f"map {number} ")
    return Maps(maps, form)


def _truths(values: Any, name: str, place: str = "") -> np.ndarray:
    """Truth values of an array of any library; True where integers are not 0."""
    array = read(values, name, place)
    if array.dtype.kind not in "biu":
        raise ArgumentError(
            Argument(name), f": {place}holds {array.dtype}; give bool, True where a pixel counts"
        )
    return array.astype(bool)


def opened(depth: Any) -> Any:
    """A list of maps (or pictures) as a list, and what is one array as it is."""
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


def read(values: Any, name: str, place: str) -> np.ndarray:
    """What `numbers` reads, of any type; arguments as there, and the same error."""
    try:
        return _on_host(values)
    except Exception as error:  # each library has its own, for another device or type
        reason = one_line(f"{type(error).__name__}: {error}")
        raise ArgumentError(
            Argument(name), f": {place}cannot be read as a numpy array ({reason})"
        ) from None


def _on_host(values: Any) -> np.ndarray:
    """The array; without its gradient and from a GPU, where it is a tensor of PyTorch."""
    if isinstance(values, np.ma.MaskedArray):
        return values.filled(0)
    for step in ("detach", "cpu"):
        if callable(getattr(values, step, None)):
            values = getattr(values, step)()
    if str(getattr(values, "dtype", "")) == "torch.bfloat16":  # numpy has none
        values = values.float()
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


def _one_map(values: np.ndarray, name: str, place: str = "map 0 ") -> np.ndarray:
    """One map without the axis of length 1 that stands for a batch or for channels."""
    if values.ndim == 3 and 1 in values.shape:
        values = values.squeeze(values.shape.index(1))
    if values.ndim != 2:
        raise _not_a_map(values, name, place)
    return values


def _within_float32(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind != "f" or values.dtype.itemsize <= np.dtype(np.float32).itemsize:
        return values
    return np.where(np.abs(values) <= np.finfo(np.float32).max, values, np.inf)


def _not_a_map(values: np.ndarray, name: str, place: str) -> ArgumentError:
    return ArgumentError(
        Argument(name),
        f": {place}has the shape {values.shape}; give (H, W), (B, H, W) or a list of (H, W)",
    )
