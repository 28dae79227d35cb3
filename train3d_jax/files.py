"""Files that are whole or absent: written beside their place, then renamed; and read once."""

import contextlib
import functools
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from train3d_jax.errors import UserError

_Contents = TypeVar("_Contents")


def kept_until_rewritten(
    files: int,
) -> Callable[[Callable[[Path], _Contents]], Callable[[Path], _Contents]]:
    """Has what a function reads of a file kept in memory, for so many files.

    A file is read anew where its size or its time has changed.  The function made raises OSError
    where the file is not there, and what the one given raises; then nothing is kept.
    """

    def keeping(read: Callable[[Path], _Contents]) -> Callable[[Path], _Contents]:
        @functools.lru_cache(files)
        def kept(path: Path, _size: int, _modified_ns: int) -> _Contents:
            return read(path)

        @functools.wraps(read)
        def current(path: Path) -> _Contents:
            status = path.stat()
            return kept(path, status.st_size, status.st_mtime_ns)

        return current

    return keeping


def _part(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


_PROCESS = uuid.uuid4().hex[:8]


def own_part(path: Path) -> Path:
    """A name beside `path` that no other process writes to, on no machine."""
    return path.with_name(f"{path.name}.{_PROCESS}.part")


def write_whole(
    path: Path, *contents: bytes | memoryview, beside: Callable[[Path], Path] = _part
) -> None:
    """Writes `contents` to `path`, making its folder; no one ever sees half a file under its name.

    Args:
      path: the file.
      *contents: one after the other.
      beside: gives the name that is written to first; `own_part` where another process may write
        the same file at the same time.

    Raises:
      UserError: the system refuses, as on a full disk or in a folder that may not be written.
    """
    part = beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("wb") as file:
                file.writelines(contents)
            os.replace(part, path)
        except BaseException:
            with contextlib.suppress(OSError):
                part.unlink()
            raise
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from None
