"""The files below a folder, and those that match a pattern, with linked folders.

Each folder is entered once, under its own path where that lies below the start, else under a link;
so circular links end.  The `._*` files and `__MACOSX` folders that macOS adds to archives and
foreign disks are left out.
"""

import glob
import os
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

_ANY_FOLDERS = "**"


def is_added_by_macos(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a `._*` file or lies in a `__MACOSX` folder."""
    parts = Path(path).parts
    return "__MACOSX" in parts or (bool(parts) and parts[-1].startswith("._"))


def files_below(folder: Path, leave_out: Path | None = None) -> list[str]:
    """The files in a folder and in all folders in it, relative to it, in the order of their paths.

    Args:
      folder: the start.
      leave_out: a folder that is not entered, whichever path leads to it; `folder` itself is.
    """
    entered = set()
    if leave_out is not None and leave_out.is_dir() and not leave_out.samefile(folder):
        entered.add(_identity(leave_out))
    listed = []
    roots = [str(folder)]
    for root in roots:  # grows by the links that are met
        for place, folders, files in os.walk(root):
            if (identity := _identity(place)) in entered:
                folders.clear()
                continue
            entered.add(identity)
            folders.sort()
            roots += [path for name in folders if os.path.islink(path := os.path.join(place, name))]
            paths = (os.path.join(place, name) for name in files)
            listed += [os.path.relpath(path, folder) for path in paths if os.path.isfile(path)]
    listed = [path for path in listed if not is_added_by_macos(path)]
    return sorted(listed, key=lambda path: path.split(os.sep))


def files_matching(pattern: Path, leave_out: Path | None = None) -> tuple[Path, list[str]]:
    """The files that match a pattern with *, ?, [] or ** for any folders.

    As a shell does, wildcards leave out names that begin with a dot.

    Args:
      pattern: the pattern.
      leave_out: a folder whose files are left out.

    Returns:
      The part of the pattern before its first wildcard, and the files relative to it, in the order
      of their paths.
    """
    parts = pattern.parts
    root = Path(*parts[: next(place for place, part in enumerate(parts) if glob.has_magic(part))])
    wanted = parts[len(root.parts) :]
    if _ANY_FOLDERS in wanted:
        # The glob module follows links in circles.
        first = wanted.index(_ANY_FOLDERS)
        start = os.path.join(*wanted[:first]) if first else ""
        folders = glob.glob(os.path.join(start, ""), root_dir=root) if start else [""]
        listed = [
            os.path.join(folder, path)
            for folder in folders
            for path in files_below(root / folder, leave_out)
            if _matches(path.split(os.sep), wanted[first:])
        ]
    else:
        listed = glob.glob(os.path.join(*wanted), root_dir=root)
    listed = [path for path in listed if not is_added_by_macos(path) and (root / path).is_file()]
    return root, _each_once(root, listed, leave_out)


def _each_once(root: Path, listed: Iterable[str], leave_out: Path | None) -> list[str]:
    """Paths in order; of those that lead to one folder, the path that does so without a link."""
    real: dict[str, Path] = {}
    chosen: dict[tuple[Path, str], str] = {}
    base, left_out = root.resolve(), leave_out.resolve() if leave_out else None
    for path in sorted(listed, key=lambda path: path.split(os.sep)):
        folder, name = os.path.split(path)
        if folder not in real:
            real[folder] = (root / folder).resolve()
        place = real[folder]
        if left_out and left_out != base and place.is_relative_to(left_out):
            continue
        if (place, name) not in chosen or place == base / folder:
            chosen[place, name] = path
    return sorted(chosen.values(), key=lambda path: path.split(os.sep))


def _matches(names: list[str], wanted: tuple[str, ...]) -> bool:
    if not names or not wanted:
        return not names and not wanted
    name, first = names[0], wanted[0]
    if first == _ANY_FOLDERS:
        # Last in a pattern it stands for files too.
        return (
            _matches(names, wanted[1:])
            or (not name.startswith(".") and _matches(names[1:], wanted))
            or (len(wanted) == 1 and len(names) == 1 and not name.startswith("."))
        )
    shown = first.startswith(".") or not name.startswith(".")
    same = fnmatchcase(os.path.normcase(name), os.path.normcase(first))
    return shown and same and _matches(names[1:], wanted[1:])


def _identity(folder: str | os.PathLike[str]) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino
