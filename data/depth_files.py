"""Depth maps as people have them: .npy, .npz, 16-bit .png and .exr, alone or in folders."""

from collections import Counter
from pathlib import Path

import numpy as np

from data.images import read_exr, read_png
from data.protocol import DataError
from train3d_jax.errors import UserError

SUFFIXES = (".npy", ".npz", ".png", ".exr")


def find_depth_files(path: Path) -> list[tuple[Path, str]]:
    """The depth maps of a file or of a folder and all folders in it, in the order of their names.

    Args:
      path: a file, or a folder.

    Returns:
      For each its path and the name that its answers get: the path relative to `path` without the
      suffix, or with it where that would not be a name of its own.

    Raises:
      UserError: there is nothing to read.
    """
    if path.is_file():
        if path.suffix.lower() not in SUFFIXES:
            raise UserError(f"{path}: is not a depth map; readable are {', '.join(SUFFIXES)}")
        return [(path, path.stem)]
    if not path.is_dir():
        raise UserError(f"{path}: is not there; --input takes a depth map or a folder of them")
    files = sorted(
        file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file()
    )
    if not files:
        raise UserError(f"{path}: holds no depth map; readable are {', '.join(SUFFIXES)}")
    full = [file.relative_to(path).as_posix() for file in files]
    bare = [file.relative_to(path).with_suffix("").as_posix() for file in files]
    # A bare name is taken where two files share it, and where another file is called that in full,
    # as a.npy is beside a.npy.png.
    uses = Counter([*bare, *full])
    return [
        (file, stem if uses[stem] == 1 else name)
        for file, name, stem in zip(files, full, bare, strict=True)
    ]


def read_depth_file(path: Path) -> np.ndarray:
    """The values of a depth map as they are stored, in float32, shape (H, W).

    What 0 or a value that is not finite means is left to the caller.

    Raises:
      DataError: the file cannot be read, or does not hold one two-dimensional map of numbers.
    """
    match path.suffix.lower():
        case ".npy" | ".npz":
            values = _read_numpy(path)
        case ".png":
            values = read_png(path)
        case ".exr":
            values = read_exr(path)
        case _:
            raise DataError(path, f"is not a depth map; readable are {', '.join(SUFFIXES)}")
    if values.dtype.kind not in "fiu":
        raise DataError(path, f"holds {values.dtype}, not numbers")
    # (1, H, W) and (H, W, 1) are one map too; a map that is 1 pixel wide stays one.
    extra = [axis for axis, length in enumerate(values.shape) if length == 1]
    values = values.squeeze(tuple(extra[: max(values.ndim - 2, 0)]))
    if values.ndim != 2 or not values.size:
        raise DataError(path, f"holds an array of shape {values.shape}, not one (H, W) map")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, that is, missing
        return values.astype(np.float32)


def _read_numpy(path: Path) -> np.ndarray:
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            if len(loaded.files) == 1:
                return loaded[loaded.files[0]]
            keys = ", ".join(loaded.files) or "nothing"
    except Exception as error:  # numpy and zipfile have many for a damaged file
        reason = str(error) or type(error).__name__
        raise DataError(path, f"is not a readable numpy file: {reason}") from None
    raise DataError(path, f"holds {keys}; a depth map's .npz holds one array")
