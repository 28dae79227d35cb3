"""Folders and files of raw data, and a description of a folder that holds none."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from data.walking import is_added_by_macos
from train3d_jax.errors import DataError

_ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar")

_EXAMPLE_DEPTH = 4
"""Depth below the root to which an example is searched; the layouts have three levels."""


def is_data(name: str) -> bool:
    """Whether a file or folder of this name can be data; macOS leaves others on foreign disks.

    >>> [is_data(name) for name in ("00001-meta.json", "._00001-meta.json", "__MACOSX")]
    [True, False, False]
    """
    return not is_added_by_macos(name)


def folders(path: Path) -> list[Path]:
    """The folders in `path` and links to folders, by name; none where `path` is not there."""
    if not path.is_dir():
        return []
    return sorted(entry for entry in path.iterdir() if is_data(entry.name) and entry.is_dir())


def first_file(candidates: Iterable[Path], why: str) -> Path:
    """The first of the files that is there.  Raises DataError: names the first, and says `why`."""
    candidates = list(candidates)
    for candidate in candidates:
        if candidate.exists():  # what it is shows when it is read
            return candidate
    raise DataError(candidates[0], f"is missing{why}")


def contents(root: Path) -> str:
    """What is in a folder, on one line: `2 archives, such as a.zip: unpack them`."""
    inner = folders(root)
    names = {entry.name for entry in root.iterdir() if not entry.name.startswith(".")}
    files = sorted(map(Path, names - {folder.name for folder in inner} - {"__MACOSX"}))
    archives = [file for file in files if file.suffix.lower() in _ARCHIVES]
    others = Counter(file.suffix.lower() or file.name for file in files)
    for suffix in _ARCHIVES:
        others.pop(suffix, None)
    kinds = []
    if archives:
        such = f"{_some(len(archives), 'archive')}, such as {archives[0].name}"
        kinds.append(f"{such}: unpack {'them' if len(archives) > 1 else 'it'}")
    if inner:
        kinds.append(f"{_some(len(inner), 'folder')}, such as {_example(inner[0], root)}")
    kinds += [f"{_some(count, 'file')} of {suffix}" for suffix, count in others.most_common(3)]
    return "; ".join(kinds) or "nothing"


def _some(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


def _example(folder: Path, root: Path) -> str:
    """The first file below a folder, or the last folder on the way to it, relative to `root`."""
    example = folder
    for _ in range(_EXAMPLE_DEPTH):
        below = min((entry for entry in example.iterdir() if is_data(entry.name)), default=None)
        if below is None:
            break
        example = below
        if not example.is_dir():
            break
    return example.relative_to(root).as_posix()
