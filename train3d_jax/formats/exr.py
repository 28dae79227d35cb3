"""OpenEXR files.

They are read with OpenImageIO, which reports what is wrong with a file as text.  OpenEXR's own
binding takes half the time, but prints it to the process's standard output and error, and to keep
it from that would silence all threads.
"""

import contextlib
import functools
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from train3d_jax.errors import Argument, DataError
from train3d_jax.formats.pixels import check_size, one_map

_MAGIC = b"\x76\x2f\x31\x01"
_DAMAGED = "is not a readable OpenEXR file: truncated or damaged"

_DEPTH_NAMES = {"z", "depth"}
_ALPHA_NAMES = ("a", "alpha")
_COLOURS = ({"r", "g", "b"}, {"red", "green", "blue"})


class _Place(NamedTuple):
    """Where a channel is: part of the file, and number in it."""

    part: int
    index: int


class Choice(NamedTuple):
    """The channels that make up one map: they must agree; `alpha` may lie beside them."""

    channels: list[str]
    alpha: str | None = None


def read_exr(path: Path, channel: str | None = None) -> np.ndarray:
    """One channel of an OpenEXR file, (H, W), in the type that it is stored in.

    Args:
      path: the file.
      channel: its name; None takes the depth channel where it is clear, see `depth_channels`.

    Raises:
      DataError: the file is missing, damaged or too large, or the channel is not there or not
        clear.
    """
    if not path.is_file():
        raise DataError(path, "is missing")
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise DataError(path, "has a name that is not UTF-8, which OpenImageIO needs") from None
    try:
        with path.open("rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                raise DataError(path, _DAMAGED)
        return _read(path, channel)
    except DataError:
        raise
    except Exception:
        # The binding raises whatever comes up first, also where a damaged name is not UTF-8.
        raise DataError(path, _DAMAGED) from None


def depth_channels(names: list[str]) -> Choice | None:
    """The channels of a depth map among all channels of a file; None where that is not clear.

    Names are `layer.channel`.  Clear is, in this order:

    1. the only channel, alone or beside an alpha channel;
    2. red, green and blue of the only layer, alone or beside an alpha channel;
    3. what 1 or 2 describe in the only layer called depth or Z;
    4. the only channel called depth or Z in any layer.  It is no depth where X or Y lie in the same
       layer (a position or a normal), or where the layer is Blender's Mist (a share from 0 to 1).
    """
    layers: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for name in names:
        layer, _, last = name.lower().rpartition(".")
        layers[layer][last] = name
    if sum(map(len, layers.values())) < len(names):
        return None  # names that differ in their case alone
    if len(layers) == 1 and (choice := _whole_layer(*layers.values())):
        return choice
    called_depth = {
        layer: held for layer, held in layers.items() if layer.rpartition(".")[2] in _DEPTH_NAMES
    }
    found = [choice for held in called_depth.values() if (choice := _whole_layer(held))]
    if not found:
        found = [
            Choice([held[name]])
            for layer, held in layers.items()
            if not held.keys() & {"x", "y"} and not layer.endswith("mist")
            for name in _DEPTH_NAMES & held.keys()
        ]
    return found[0] if len(found) == 1 else None


def _whole_layer(held: dict[str, str]) -> Choice | None:
    alpha = next((name for name in _ALPHA_NAMES if name in held), None) if len(held) > 1 else None
    others = [name for name in held if name != alpha]
    if len(others) == 1 or set(others) in _COLOURS:
        return Choice([held[name] for name in others], held[alpha] if alpha else None)
    return None


@functools.cache
def _library() -> Any:
    import OpenImageIO  # heavy, and needed for this kind of file only

    # What reads maps has threads or processes of its own.
    OpenImageIO.attribute("threads", 1)
    # A damaged OpenEXR file is not tried as each other kind of image.
    OpenImageIO.attribute("try_all_formats", 0)
    return OpenImageIO


def _read(path: Path, channel: str | None) -> np.ndarray:
    library = _library()
    image = library.ImageInput.open(str(path))
    if image is None:
        _take_error(library)
        raise DataError(path, _DAMAGED)
    _take_error(image)  # an attribute that does not matter to the pixels
    try:
        parts = _parts(path, image)
        places = _places(parts)
        names = ", ".join(sorted(places))
        if channel is not None:
            if channel not in places:
                raise DataError(path, f"has no channel {channel}, only {names}")
            choice = Choice([channel])
        elif (choice := depth_channels(list(places))) is None:
            raise DataError(
                path,
                f"has the channels {names}: depth has one; name it (",
                Argument("channel"),
                "), or save it alone",
            )
        planes = [
            _plane(path, image, parts, places[name])
            for name in (*choice.channels, *([choice.alpha] if choice.alpha else []))
        ]
    finally:
        _take_error(image)
        image.close()
    count = len(choice.channels)
    return one_map(path, planes[:count], planes[count] if choice.alpha else None)


def _take_error(source: Any) -> None:
    """Drops an error; one that nobody fetches would be printed."""
    with contextlib.suppress(UnicodeDecodeError):  # it quotes a damaged name
        source.geterror()


def _parts(path: Path, image: Any) -> list[Any]:
    """The specification of each part of a file."""
    count = image.spec().getattribute("oiio:subimages") or 1
    parts = []
    for number in range(count):
        if not image.seek_subimage(number, 0):
            raise DataError(path, _DAMAGED)
        parts.append(image.spec())
    return parts


def _places(parts: list[Any]) -> dict[str, _Place]:
    """Where each channel is; names that several parts share have the part's name before them."""
    uses = Counter(name for part in parts for name in part.channelnames)
    places = {}
    for number, part in enumerate(parts):
        for index, name in enumerate(part.channelnames):
            if uses[name] > 1:
                name = f"{part.getattribute('oiio:subimagename') or number}.{name}"
            places[name] = _Place(number, index)
    return places


def _plane(path: Path, image: Any, parts: list[Any], place: _Place) -> np.ndarray:
    part = parts[place.part]
    if part.deep:
        raise DataError(path, "holds deep data; flatten it to one depth a pixel")
    check_size(path, part.width, part.height)
    kind = part.channelformat(place.index)
    values = image.read_image(place.part, 0, place.index, place.index + 1, kind)
    if values is None or image.has_error:
        raise DataError(path, _DAMAGED)
    return values[..., 0]
