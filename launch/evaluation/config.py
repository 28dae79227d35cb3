"""The settings of a run of launch.evaluate, checked, and its folder of results."""

import re
from collections.abc import Sized
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launch.recovery.shards import Shard
from train3d_jax.errors import UserError

if TYPE_CHECKING:  # start-up: flags need these settings before JAX
    from train3d_jax.geometry.affine import Space

REPORT, VIEWS, TABLE, CURVES = "evaluation.json", "views.csv", "table.txt", "errors.png"
WORST = "worst"
SHARDS = "shards"

_WORST_PICTURE = re.compile(r"\d{2,}_.*\.png(\.part)?")


@dataclass(frozen=True)
class EvaluationConfig:
    """What to evaluate, on which data, and where to write it.

    Attributes:
      data: folders of true maps.
      out: folder for the results.
      runs: folders of runs that together cover shift and focal length; none for geometry alone.
      space: of the maps that methods get.
      crop: each view is a crop; otherwise one view of each map is whole.
      crops: views of each map, where they are crops.
      noise: standard deviation of white noise on each pixel's depth, relative.
      lines: those of pictures that a manifest names are evidence, in rows of their own.
      seed: of crops, distortions, points and resamples.
      max_maps: of each data set, evenly spread; 0 for all.
      batch_size: views that are made ahead.
      worst: pictures of the worst views.
      shard: the part of the maps to measure; None for all.
      merge: only report on what all shards have measured.
    """

    data: tuple[Path, ...]
    out: Path
    runs: tuple[Path, ...] = ()
    space: "Space" = "depth"
    crop: bool = True
    crops: int = 4
    noise: float = 0.0
    lines: bool = True
    seed: int = 0
    max_maps: int = 0
    batch_size: int = 16
    worst: int = 10
    shard: Shard | None = None
    merge: bool = False

    def __post_init__(self):
        """Raises UserError where nothing is to be evaluated."""
        if not self.data:
            raise UserError("--data: give at least one folder of depth maps with their cameras")
        if len({path.resolve() for path in self.data}) < len(self.data):
            raise UserError("--data: names a folder twice")

    @property
    def views(self) -> int:
        """Views of each map."""
        return self.crops if self.crop else 1

    def maps_of(self, maps: Sized) -> int:
        """How many maps of a set are evaluated."""
        return min(len(maps), self.max_maps or len(maps))

    def to_json(self) -> dict[str, Any]:
        """All settings that the numbers depend on."""
        return {
            "data": [str(path) for path in self.data],
            "space": self.space,
            "crop": self.crop,
            "views_per_map": self.views,
            "noise": self.noise,
            "lines": self.lines,
            "seed": self.seed,
            "max_maps": self.max_maps,
        }

    def check_out(self) -> None:
        """Raises UserError where `out` holds anything but an evaluation."""
        if self.out.exists() and not self.out.is_dir():
            raise UserError(f"--out={self.out}: is a file; give a folder")
        if not self.out.is_dir() or (self.out / REPORT).is_file():
            return
        own = {REPORT, VIEWS, TABLE, CURVES, WORST, SHARDS}
        for path in sorted(self.out.iterdir()):
            if path.name.removesuffix(".part") not in own:
                raise UserError(
                    f"--out={self.out}: holds {path.name}, which no evaluation left there; "
                    "give a new or empty folder"
                )

    def make_out(self) -> None:
        """Makes `out`, before hours are spent on what could then not be written."""
        try:
            self.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{self.out}: cannot be made: {error.strerror or error}") from None

    def clear_out(self) -> None:
        """Deletes the files of an earlier evaluation, first the report, which vouches for them."""
        try:
            for name in (REPORT, VIEWS, TABLE, CURVES):
                (self.out / name).unlink(missing_ok=True)
            if (self.out / WORST).is_dir():
                for path in (self.out / WORST).iterdir():
                    if _WORST_PICTURE.fullmatch(path.name):
                        path.unlink()
        except OSError as error:
            raise UserError(f"{self.out}: cannot be written: {error.strerror or error}") from None
