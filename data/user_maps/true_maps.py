"""Depth maps with the camera that took them, to evaluate on: prepared sets and manifest.json."""

from pathlib import Path

from data.prepared.layout import DATASET
from data.prepared.prepared_set import PreparedSet
from data.protocol import MAX_FIELD_OF_VIEW_DEG, MIN_FIELD_OF_VIEW_DEG
from data.user_maps.listed_maps import MANIFEST, ListedMaps, TrueMap
from train3d_jax.errors import DataError, UserError
from train3d_jax.geometry.camera import focal_to_degrees


class TrueMaps:
    """The maps of a folder, read when they are asked for.

    Raises UserError when the folder holds neither a prepared set nor a manifest.json that is whole.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if not self.path.is_dir():
            raise UserError(
                f"{path}: is no folder; give a prepared set or a folder with a {MANIFEST}"
            )
        listed = (self.path / MANIFEST).is_file() and not (self.path / DATASET).exists()
        self._source = ListedMaps(self.path / MANIFEST) if listed else PreparedSet(self.path)

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> TrueMap:
        """Raises DataError on a map that cannot be read."""
        if isinstance(self._source, ListedMaps):
            true_map = self._source[index]
        else:
            sample = self._source[index]
            true_map = TrueMap(sample.id, sample.scene, sample.depth, sample.intrinsics)
        self._check_camera(true_map)
        return true_map

    def picture(self, index: int) -> Path | None:
        """The file of a map's picture, which may be missing; None where it has none.

        Raises DataError where the manifest names no file.
        """
        return self._source.picture(index) if isinstance(self._source, ListedMaps) else None

    def _check_camera(self, true_map: TrueMap) -> None:
        (cx, cy), (height, width) = true_map.intrinsics[:2, 2], true_map.depth.shape
        for focal, length in (
            (true_map.intrinsics[0, 0], width),
            (true_map.intrinsics[1, 1], height),
        ):
            degrees = focal_to_degrees(focal, length)
            if not MIN_FIELD_OF_VIEW_DEG <= degrees <= MAX_FIELD_OF_VIEW_DEG:
                raise DataError(
                    self.path / true_map.name,
                    f"its field of view of {degrees:.1f} degrees is not in 1 to 179",
                )
        if not (0 <= cx <= width - 1 and 0 <= cy <= height - 1):
            raise DataError(
                self.path / true_map.name,
                f"its principal point ({cx:g}, {cy:g}) is outside of its {width}x{height} pixels",
            )
