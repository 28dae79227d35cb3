"""What --from and the look of files tell the user: on errors, and where flags contradict them."""

from pathlib import Path

from data.user_maps.depth_files import Listing
from data.user_maps.producers import PRODUCERS
from data.user_maps.recognition import is_beside_its_photo, recognised
from launch.recovery.config import RecoveryConfig
from train3d_jax.errors import DataError


def explained(error: DataError, path: Path, producer: str | None) -> DataError:
    """An error of a depth file, with the way out that its producer has.

    Args:
      error: of the file.
      path: of the file.
      producer: the value of --from; without one, the one that the file looks like is named.
    """
    looks_like = recognised(path) if producer is None else None
    lines = [f"; {_looks_like(looks_like)}"] if looks_like else []
    known = producer or looks_like
    if known and (advice := PRODUCERS[known].advice):
        lines.append(f"; {advice}")
    return DataError(error.file, *error.args[1:], *lines)


def refuse_photo(path: Path, producer: str | None) -> None:
    """Raises DataError where a grey photo lies beside the depth of Depth Anything's run.py.

    A photo in colours is refused as such.
    """
    is_png = path.suffix.lower() == ".png"
    if producer == "depth-anything-v2" and is_png and is_beside_its_photo(path):
        raise DataError(path, "holds a photo beside its depth")


def contradiction(listing: Listing, config: RecoveryConfig) -> str | None:
    """A line where the first map looks like one of a producer that the flags contradict."""
    first = listing.files[0]
    name = recognised(first.path) if config.producer is None else None
    if name is None:
        return None
    producer = PRODUCERS[name]
    if producer.space not in (None, config.space):
        why = f"its maps hold {producer.space}, not {config.space}"
    elif producer.ray_depth and not config.ray_depth:
        why = "its maps hold distances to the camera's centre, not depth"
    else:
        return None
    return f"{first.label}: {_looks_like(name)}; {why}"


def _looks_like(name: str) -> str:
    owner = PRODUCERS[name].name
    return f"this looks like {owner}'s: try --from {name}"
