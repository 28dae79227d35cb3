"""Captures of the user's own cameras: where they are below a folder, and what all of them share."""

from collections.abc import Callable
from pathlib import Path

from data.readers.listing import folders

NO_LICENCE = "not stated; the first line of a LICENCE.txt beside the data states it"


def find(root: Path, is_capture: Callable[[Path], bool]) -> list[tuple[str, Path]]:
    """Name and folder of each capture: the folder itself, or those one or two levels below it.

    Captures are not entered.  A name is the path below `root`, or the name of `root` itself.
    """
    if is_capture(root):
        return [(root.resolve().name, root)]
    found = []
    for folder in folders(root):
        inner = [folder] if is_capture(folder) else folders(folder)
        found += [(each.relative_to(root).as_posix(), each) for each in inner if is_capture(each)]
    return found
