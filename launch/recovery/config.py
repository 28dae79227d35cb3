"""The settings of a run of launch.infer, checked."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.user_maps.known_cameras import KnownCamera
from launch.recovery.shards import Shard
from train3d_jax import __version__
from train3d_jax.errors import UserError
from train3d_jax.formats.depth import ReadSettings

if TYPE_CHECKING:  # start-up: flags need these settings before JAX
    from train3d_jax.evidence.fusion import Method
    from train3d_jax.geometry.affine import Space
    from train3d_jax.inference.models import Model

METHODS: "tuple[Method, ...]" = ("learned", "geometric")
"""The network's posterior, or geometry alone, which needs no network."""

REMOVED_METHODS = {
    "hybrid": "was removed, as it was no more accurate than the network alone; use learned"
}
"""Names that earlier versions took, and the way out."""


GUESS = "guess"
"""The value of --space that has `space_guess` choose it."""

NO_NETWORK = "--space=log: no network covers it; geometry alone is used"

ENDINGS = {
    "ply": ".ply",
    "npz": ".npz",
    "glb": ".glb",
    "colmap": ".colmap",
    "nerfstudio": ".nerfstudio",
    "picture": ".png",
    "turntable": ".gif",
}
"""The kinds of files, and the endings of their names; COLMAP's and nerfstudio's are folders."""


@dataclass(frozen=True)
class SaveSettings:
    """What to save, and how.

    Attributes:
      kinds: of `ENDINGS`.
      edge_filter: pixels where depth jumps by more than this share are left out of clouds; 0 leaves
        none out.
      rgb: folder of the images that colour the clouds, under the relative paths of the maps; or the
        image of the only map.
    """

    kinds: tuple[str, ...] = ("ply", "npz")
    edge_filter: float = 0.0
    rgb: Path | None = None


@dataclass(frozen=True)
class RecoveryConfig:
    """What to recover, by which method, and where to write it.

    Attributes:
      input: a depth map, a folder of them, or a pattern.
      out: folder for the answers.
      runs: folders of runs that together cover shift and focal length; none for the geometric
        method.
      space: of the maps.
      method: of `METHODS`.
      batch_size: maps solved at once.
      camera: what is known of the camera.
      shift_known: the maps' own shift is right; only the focal length is estimated.
      shift_sigma: standard deviation of a known shift over the far quantile of depth (or
        disparity); 0 where it is exact.
      shared_camera: one camera took all maps; its focal length is estimated from all together.
      ray_depth: maps hold the distance to the camera's centre, not depth.
      reading: how files are to be read.
      saving: what to write beside the answers.
      resume: keep the answers that an earlier run with the same settings wrote.
      shard: the part of the maps to recover, without summaries; None for all.
      merge: only write the summaries, of answers that are there.
    """

    input: Path
    out: Path
    runs: tuple[Path, ...]
    space: "Space"
    method: "Method" = "learned"
    batch_size: int = 16
    camera: KnownCamera = field(default_factory=KnownCamera)
    shift_known: bool = False
    shift_sigma: float = 0.0
    shared_camera: bool = False
    ray_depth: bool = False
    reading: ReadSettings = field(default_factory=ReadSettings)
    saving: SaveSettings = field(default_factory=SaveSettings)
    resume: bool = False
    shard: Shard | None = None
    merge: bool = False

    def __post_init__(self):
        """Raises UserError where settings exclude each other."""
        known, given = self.camera.is_known, self.camera.is_given
        may_be_found = self.camera.automatic and not self.shared_camera
        for wrong, message in (
            (
                self.method not in METHODS,
                f"--method={self.method}: {REMOVED_METHODS.get(self.method, _ONE_OF_METHODS)}",
            ),
            (
                self.method != "geometric" and not self.runs,
                f"--method={self.method} needs --model; --method=geometric needs none",
            ),
            (
                self.space == "log" and self.method != "geometric",
                "--space=log: no network covers it; leave out --model and --method=learned",
            ),
            (
                self.space == "log" and self.shift_known,
                "--shift_known has no meaning with --space=log, where the unknown is the scale of "
                "the values; leave it out",
            ),
            (
                self.space == "log" and self.ray_depth,
                "--ray_depth needs distances up to scale, and those of --space=log are up to a "
                "power; give depth",
            ),
            (
                self.ray_depth and not known and not may_be_found,
                "--ray_depth needs a known camera: give --focal_px, --fov_deg or --intrinsics",
            ),
            (
                self.shift_is_exact and known,
                "--shift_known and a known camera leave nothing to recover; leave one out",
            ),
            (
                self.shared_camera and given,
                "--shared_camera estimates the focal length; leave out --focal_px, --fov_deg and "
                "--intrinsics",
            ),
        ):
            if wrong:
                raise UserError(message)

    @property
    def shift_is_exact(self) -> bool:
        """Whether the maps' own shift needs no estimate."""
        return self.shift_known and not self.shift_sigma

    def to_json(self) -> dict[str, Any]:
        """The settings as JSON; shards are left out, as they do not change any answer."""
        settings = json.loads(json.dumps(dataclasses.asdict(self), default=str))
        del settings["shard"], settings["merge"]
        return settings

    def digest(self, models: "Sequence[Model]") -> str:
        """A digest of all that an answer depends on but its map: settings, networks, version."""
        settings = self.to_json()
        for name in ("input", "out", "batch_size", "resume", "runs"):
            del settings[name]
        networks = [(model.name, model.digest) for model in models]
        text = json.dumps([settings, networks, __version__], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


_ONE_OF_METHODS = f"give one of {', '.join(METHODS)}"
