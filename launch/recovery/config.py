"""What a run of launch.infer is asked to do: checked settings."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from data.user_maps.depth_files import ReadSettings
from data.user_maps.known_cameras import KnownCamera
from launch.recovery.saving import SaveSettings
from launch.recovery.shards import Shard
from train3d_jax import __version__
from train3d_jax.errors import UserError
from train3d_jax.evidence.fusion import Method
from train3d_jax.geometry.affine import Space
from train3d_jax.inference.models import Model

METHODS = get_args(Method)


@dataclass(frozen=True)
class RecoveryConfig:
    """What to recover, with what, and where to.

    Attributes:
      input: a depth map, a folder of them, or a pattern.
      out: folder for the answers.
      runs: folders of runs that together cover what is asked for; none for the geometric method.
      space: of the maps.
      method: of `METHODS`.
      batch_size: maps solved at once.
      camera: what is known of the camera.
      shift_known: the maps' own shift is right, and only the focal length is sought.
      shared_camera: one camera took all maps, and its focal length is found from all together.
      ray_depth: maps hold the distance to the camera's centre, not depth.
      reading: what files do not tell.
      saving: what to write beside the answers.
      resume: maps that an earlier run of the same settings has done are left as they are.
      shard: the part of the maps to do, without summaries; None for all.
      merge: nothing is done but the summaries of answers that are there.
    """

    input: Path
    out: Path
    runs: tuple[Path, ...]
    space: Space
    method: Method = "learned"
    batch_size: int = 16
    camera: KnownCamera = field(default_factory=KnownCamera)
    shift_known: bool = False
    shared_camera: bool = False
    ray_depth: bool = False
    reading: ReadSettings = field(default_factory=ReadSettings)
    saving: SaveSettings = field(default_factory=SaveSettings)
    resume: bool = False
    shard: Shard | None = None
    merge: bool = False

    def __post_init__(self):
        """Raises UserError where settings exclude each other."""
        known = self.camera.is_known
        for wrong, message in (
            (self.method not in METHODS, f"--method={self.method}: give one of {METHODS}"),
            (
                self.method != "geometric" and not self.runs,
                f"--method={self.method} needs --model; --method=geometric needs none",
            ),
            (
                self.ray_depth and not known,
                "--ray_depth needs to know the camera: give --focal_px, --fov_deg or --intrinsics",
            ),
            (
                self.shift_known and known,
                "--shift_known and a known camera leave nothing to recover; leave one out",
            ),
            (
                self.shared_camera and known,
                "--shared_camera seeks the focal length; leave out what makes the camera known",
            ),
        ):
            if wrong:
                raise UserError(message)

    def told(self) -> dict[str, Any]:
        """The settings as JSON holds them; who did which part of the work is none."""
        told = json.loads(json.dumps(dataclasses.asdict(self), default=str))
        del told["shard"], told["merge"]
        return told

    def digest(self, models: Sequence[Model]) -> str:
        """Tells apart runs whose answers may differ: in settings, networks or version."""
        told = self.told()
        for name in ("input", "out", "batch_size", "resume", "runs"):
            del told[name]
        networks = [(model.name, model.digest) for model in models]
        text = json.dumps([told, networks, __version__], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]
