"""The depth that a .heic holds beside its picture, as portraits of iPhones do."""

from pathlib import Path

import numpy as np

from train3d_jax.errors import Argument, DataError
from train3d_jax.formats.pixels import check_size, damage_reported


def read_heic(path: Path, allow_8bit: bool = False) -> np.ndarray:
    """The auxiliary depth image of a .heic, (H, W), in the type that it is stored in.

    iPhones store disparity, of 8 bits.

    Args:
      path: the file.
      allow_8bit: depth of 8 bits is read.

    Raises:
      DataError: pillow-heif is not installed; the file is damaged, too large, or holds no depth, or
        depth of 8 bits.
      OSError: it cannot be read.
    """
    with path.open("rb"):  # raises OSError where the system refuses
        pass
    try:
        import pillow_heif  # an extra, and needed for this kind of file only
    except ImportError:
        raise DataError(path, "needs pillow-heif: pip install 'train3d-jax[heic]'") from None
    with damage_reported(path, "HEIC"):
        file = pillow_heif.open_heif(path, convert_hdr_to_8bit=False)
        found = file.info.get("depth_images") or []
        if not found:
            raise DataError(path, "is a picture without a depth map beside it")
        depth = found[0]
        check_size(path, *depth.size)
        values = np.array(depth)
    if values.ndim != 2:
        raise DataError(path, f"holds depth of {values.shape[-1]} channels")
    if values.dtype.itemsize == 1 and not allow_8bit:
        raise DataError(
            path, "holds disparity of 8 bits, which bend every surface; read it all the same with ",
            Argument("allow_8bit"),
        )  # fmt: skip
    return values
