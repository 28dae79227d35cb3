"""Depth maps of any format with their cameras, as a manifest.json lists them.

The format of manifest.json is that of `data.user_maps.listed_maps`.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from data.protocol import DepthMap, Frame, Scene, SingleViews, refuse
from data.readers.captures import NO_LICENCE
from data.user_maps.listed_maps import MANIFEST, ListedMaps
from train3d_jax.errors import DataError
from train3d_jax.files import kept_until_rewritten


@dataclass(frozen=True)
class Maps:
    """Reads the maps of a folder with a manifest.json."""

    root: Path
    name: ClassVar[str] = "maps"
    patterns: ClassVar[tuple[str, ...]] = (MANIFEST,)
    licence: ClassVar[str] = NO_LICENCE

    def scenes(self, on_broken: Callable[[DataError], None] = refuse) -> list[Scene]:
        """One scene for each that the rows name; a map whose row names none is a scene of its own.

        A frame is the number of a row, from 1.  Raises DataError when the manifest is no list of
        rows; what is wrong with one row shows when that is read.
        """
        if not self._manifest.is_file():
            return []
        rows = defaultdict(list)
        listed = _listed_maps(self._manifest)
        for index in range(len(listed)):
            rows[listed.scene(index) or listed.name(index)].append(index + 1)
        return [Scene(name, self._manifest, SingleViews(rows[name])) for name in sorted(rows)]

    def file(self, scene: Scene, frame: Frame) -> Path:
        """The file of a row's depth; the manifest where the row names none."""
        return _listed_maps(self._manifest).file(int(frame) - 1)

    def read(self, scene: Scene, frame: Frame) -> DepthMap:
        """The depth of one row, with the camera of that row."""
        true_map = _listed_maps(self._manifest)[int(frame) - 1]
        return DepthMap(true_map.depth, true_map.intrinsics)

    @property
    def _manifest(self) -> Path:
        return self.root / MANIFEST


@kept_until_rewritten(files=2)
def _listed_maps(manifest: Path) -> ListedMaps:
    """A manifest, parsed once for all of its rows."""
    return ListedMaps(manifest)
