"""Files that are whole or absent: written beside their place, then renamed."""

import contextlib
import os
from pathlib import Path

from train3d_jax.errors import UserError


def write_whole(path: Path, *contents: bytes | memoryview) -> None:
    """Writes `contents` to `path`, making its folder; no one ever sees half a file under its name.

    Raises:
      UserError: the system refuses, as on a full disk or in a folder that may not be written.
    """
    beside = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with beside.open("wb") as file:
                file.writelines(contents)
            os.replace(beside, path)
        except BaseException:
            with contextlib.suppress(OSError):
                beside.unlink()
            raise
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from None
