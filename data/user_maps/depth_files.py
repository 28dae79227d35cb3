"""Depth maps of users: a file, those of a folder, or those that match a pattern."""

import glob
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import NamedTuple

from data.walking import files_below, files_matching
from train3d_jax.errors import UserError
from train3d_jax.formats.depth import PICTURES, READABLE, SUFFIXES, suffix_of

_MOST_NAMES = 8
"""Kinds of files that a message lists; chosen."""

# fmt: off
_COMPANIONS = frozenset((
    # pictures and films
    ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".svg", ".mp4", ".mov", ".avi", ".webm",
    # text, tables and notes
    ".json", ".jsonl", ".txt", ".csv", ".tsv", ".yaml", ".yml", ".xml", ".toml", ".ini", ".cfg",
    ".md", ".rst", ".log", ".html", ".pdf", ".py",
    # clouds and meshes
    ".ply", ".pcd", ".xyz", ".obj", ".mtl", ".stl", ".glb", ".gltf", ".las", ".laz",
))
# fmt: on
"""Suffixes of files that commonly lie beside depth maps.  Files of other kinds may hold depth."""

_PACKED = (".gz", ".bz2", ".xz", ".zst")
_SUFFIX = re.compile(r"\.[a-z][a-z0-9_]{0,11}|\.7z|\.3g[p2]")


class DepthFile(NamedTuple):
    """A file that may hold a depth map.

    Attributes:
      root: the folder that names are relative to.
      relative: path below `root`, with slashes.
      name: of its answer: the relative path, without the suffix where that is unique.
      frame: number of the map in a file that holds a clip; None in one that holds one map.
    """

    root: Path
    relative: str
    name: str
    frame: int | None = None

    @property
    def label(self) -> str:
        """How reports name the map: the path below `root`, and the number of the frame."""
        return self.relative if self.frame is None else f"{self.relative}[{self.frame}]"

    @property
    def path(self) -> Path:
        """Where the file is."""
        return self.root / self.relative

    @property
    def bare(self) -> Path:
        """The relative path without its suffix, which may have two parts (`.npy.gz`)."""
        return Path(bare_name(self.relative))


class Listing(NamedTuple):
    """The files below a folder, or those that a pattern matches.

    Attributes:
      files: the depth maps, in the order of their paths.
      others: how many files of other kinds may hold depth but are not read, by suffix (`.raw`,
        `.npz.gz`).  Pictures, text, clouds, and hidden files are not counted.
      clips: the clip of each map that is a frame, by the map's name; see `clips.with_frames`.
    """

    files: list[DepthFile]
    others: Counter[str]
    clips: Mapping[str, str] = MappingProxyType({})


def find_depth_files(
    source: Path, leave_out: Path | None = None, reserved: tuple[str, ...] = ()
) -> list[DepthFile]:
    """The depth maps of `search`."""
    return search(source, leave_out, reserved).files


def search(
    source: Path,
    leave_out: Path | None = None,
    reserved: tuple[str, ...] = (),
    wanted: Sequence[str] = (),
) -> Listing:
    """The depth maps of a file, of a folder and all folders in it, or of a pattern.

    Links to folders and files are followed, each folder once; `._*` files and `__MACOSX` folders,
    which macOS adds, are left out.  `.heic` are depth maps where there are no others.

    Args:
      source: a file, a folder, or a pattern with *, ?, [] or ** for any folders.
      leave_out: a folder whose files are left out, as they are the output of an earlier run.
      reserved: names that no map gets without its suffix.
      wanted: patterns of paths; the first that fits some maps leaves the other maps out.

    Returns:
      Depth maps and others.  Names are relative to the folder, or to the part of the pattern that
      holds no wildcard.

    Raises:
      UserError: there is nothing to read.
    """
    if source.is_file():
        if not suffix_of(source.name):
            raise UserError(f"{source}: is not a depth map; readable are {READABLE}")
        name = bare_name(source.name)
        name = source.name if name in reserved else name
        return Listing([DepthFile(source.parent, source.name, name)], Counter())
    if source.is_dir():
        root, paths = source, files_below(source, leave_out)
    elif glob.has_magic(str(source)):
        root, paths = files_matching(source, leave_out)
    else:
        raise UserError(
            f"{source}: is not there; --input takes a depth map, a folder of them or a pattern"
        )
    paths = [path.replace(os.sep, "/") for path in paths]
    outside, kinds = [], ()
    for kinds in (SUFFIXES, PICTURES):
        outside = [path for path in paths if suffix_of(path).lower() in kinds]
        if outside:
            break
    others = Counter(
        _suffix(path)
        for path in paths
        if suffix_of(path).lower() not in kinds and not f"/{path}".count("/.")
    )
    if not outside:
        raise UserError(f"{source}: holds no depth map; readable are {READABLE}; {_listed(others)}")
    for pattern in wanted:
        if fitting := [path for path in outside if PurePosixPath(path).match(pattern)]:
            outside = fitting
            break
    stems = [bare_name(path) for path in outside]
    # A bare name is taken where two files share it, and where another file is called that in full,
    # as a.npy is beside a.npy.png.
    uses = Counter([*stems, *outside, *reserved])
    files = [
        DepthFile(root, path, stem if uses[stem] == 1 else path)
        for path, stem in zip(outside, stems, strict=True)
    ]
    for suffix in ("", *_COMPANIONS):
        others.pop(suffix, None)
    return Listing(files, others)


def bare_name(name: str) -> str:
    """A name without the suffix that says what a file holds, or else without its last one."""
    suffix = suffix_of(name)
    return name[: -len(suffix)] if suffix else os.path.splitext(name)[0]


def _suffix(path: str) -> str:
    """The suffix in lower case, `.npy.gz` for packed files, "" where what follows a dot is none."""
    stem, suffix = os.path.splitext(path.lower())
    if suffix in _PACKED:
        return os.path.splitext(stem)[1] + suffix
    return suffix if _SUFFIX.fullmatch(suffix) else ""


def _listed(others: Counter[str]) -> str:
    """`there are 12 .raw, 3 .dat`: the most frequent kinds of files."""
    if not others:
        return "nothing else is there"
    kinds = [f"{count} {suffix or 'without a suffix'}" for suffix, count in others.most_common()]
    more = len(kinds) - _MOST_NAMES
    return f"there are {', '.join(kinds[:_MOST_NAMES])}{f' and {more} more kinds' * (more > 0)}"
