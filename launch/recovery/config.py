"""The settings of a run of launch.infer, checked."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from data.user_maps.depth_files import DepthFile
from data.user_maps.known_cameras import KnownCamera
from data.user_maps.producers import PRODUCERS
from launch.recovery.shards import Shard
from train3d_jax import __version__
from train3d_jax.errors import UserError
from train3d_jax.formats.depth import ReadSettings
from train3d_jax.placement.facts import CameraHeight, Fact

if TYPE_CHECKING:  # start-up: flags need these settings before JAX
    from train3d_jax.evidence.fusion import Method
    from train3d_jax.geometry.affine import Space
    from train3d_jax.inference.models import Model
    from train3d_jax.placement.upright import Up

METHODS: "tuple[Method, ...]" = ("learned", "geometric")
"""The network's posterior, or geometry alone, which needs no network."""

REMOVED_METHODS = {
    "hybrid": "was removed, as it was no more accurate than the network alone; use learned"
}
"""Names that earlier versions took, and the way out."""


Affine = Literal["frame", "clip"]
"""What has one scale and one shift: each frame of a clip, or all of them."""

GUESS = "guess"
"""The value of --space that has `space_guess` choose it."""

NO_NETWORK = "--space=log: no network covers it; geometry alone is used"

LINES_HELP = "Take the straight lines of pictures as evidence; or let them colour clouds only."
"""Of --lines, which several programs have."""

ENDINGS = {
    "ply": ".ply",
    "npz": ".npz",
    "glb": ".glb",
    "mesh": ".mesh.glb",
    "obj": ".mesh",
    "colmap": ".colmap",
    "nerfstudio": ".nerfstudio",
    "rrd": ".rrd",
    "picture": ".png",
    "turntable": ".gif",
    "view": ".view.js",
}
"""The kinds of files, and the endings of their names; OBJ, COLMAP and nerfstudio get folders."""

DEFAULT_KINDS = ("ply", "npz", "view")
"""Of files that are saved where nothing is said."""


@dataclass(frozen=True)
class SaveSettings:
    """What to save, and how.

    Attributes:
      kinds: of `ENDINGS`.
      edge_filter: pixels where depth jumps by more than this share are left out of clouds and
        meshes; 0 leaves none out, and meshes are cut where `normals.grazing_edge` says.
      rgb: folder of the images that colour the clouds and whose lines are evidence, under the
        relative paths of the maps; or the image of the only map.
      normals: the points of PLY have normals.
      simplify: triangles that meshes are simplified to; None for all.
    """

    kinds: tuple[str, ...] = DEFAULT_KINDS
    edge_filter: float = 0.0
    rgb: Path | None = None
    normals: bool = False
    simplify: int | None = None

    def __post_init__(self):
        """Raises UserError where a setting has nothing to act on."""
        if self.normals and "ply" not in self.kinds:
            raise UserError("--normals: adds normals to PLY; add ply to --save, or leave it out")
        if self.simplify is not None and not {"mesh", "obj"} & set(self.kinds):
            raise UserError(
                f"--simplify={self.simplify}: there is no mesh to simplify; add mesh or obj to "
                "--save, or leave it out"
            )


@dataclass(frozen=True)
class NamedFact:
    """A fact, and the map that it is of.

    Attributes:
      fact: gives metres.
      map: its name, with or without the ending of its file; None for the only map, or for each.
    """

    fact: Fact
    map: str | None = None

    def __str__(self) -> str:
        return f"{self.map}:{self.fact}" if self.map else str(self.fact)


@dataclass(frozen=True)
class PlacementSettings:
    """Where clouds are to lie.

    Attributes:
      upright: turned by gravity, with the origin on the floor.
      up: the axis that points up then.
      facts: that give metres.
    """

    upright: bool = False
    up: "Up" = "z"
    facts: tuple[NamedFact, ...] = ()

    def facts_of(self, file: DepthFile) -> tuple[Fact, ...]:
        """The facts on a map."""
        names = (None, file.name, file.label)
        return tuple(each.fact for each in self.facts if each.map in names)

    def names(self, file: DepthFile) -> bool:
        """Whether a fact is of this map alone."""
        return any(each.map in (file.name, file.label) for each in self.facts)

    def check(self, files: Sequence[DepthFile]) -> None:
        """Raises UserError where a fact names no map, or does not say which of several."""
        for each in self.facts:
            if isinstance(each.fact, CameraHeight):
                continue
            found = [file for file in files if each.map in (file.name, file.label)]
            flag, count = f'--{each.fact.name}="{each}"', len(files)
            if each.map is None and count > 1:
                raise UserError(
                    f"{flag}: there are {count} maps; put the name of the one with these pixels "
                    f'before them, as in "{files[0].label}:{each.fact}"'
                )
            if each.map is not None and not found:
                raise UserError(f"{flag}: no map has this name; the first is {files[0].label}")


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
      clip: all maps are the frames of one clip, in the order of the numbers in their names.
      affine: the frames of a clip have one scale and one shift ("clip"), or each has its own.
      ray_depth: maps hold the distance to the camera's centre, not depth.
      reading: how files are to be read.
      saving: what to write beside the answers.
      placing: where clouds are to lie.
      lines: the lines of images are evidence.
      resume: keep the answers that an earlier run with the same settings wrote.
      shard: the part of the maps to recover, without summaries; None for all.
      merge: only write the summaries, of answers that are there.
      producer: the value of --from, whose table says the unit and which files hold depth; None
        where it is not given.
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
    clip: bool = False
    affine: "Affine" = "frame"
    ray_depth: bool = False
    reading: ReadSettings = field(default_factory=ReadSettings)
    saving: SaveSettings = field(default_factory=SaveSettings)
    placing: PlacementSettings = field(default_factory=PlacementSettings)
    lines: bool = True
    resume: bool = False
    shard: Shard | None = None
    merge: bool = False
    producer: str | None = None

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
                self.space == "log" and self.affine == "clip",
                "--affine=clip has no meaning with --space=log, where the unknown is the scale of "
                "log depth; leave it out",
            ),
            (
                self.space == "log" and self.ray_depth,
                "--ray_depth needs distances up to scale, and those of --space=log are up to a "
                "power; give depth",
            ),
            (
                self.ray_depth and not known and not may_be_found,
                "--ray_depth needs a known camera: give --focal_px, --fov_deg or --intrinsics"
                + self.advice,
            ),
            (
                # With the unit of a producer, what is known makes a cloud in metres.
                self.shift_is_exact and known and self.producer is None,
                "--shift_known and a known camera leave nothing to recover; leave one out",
            ),
            (
                self.shared_camera and self.clip,
                "--clip has one camera for all maps; leave out --shared_camera",
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

    @property
    def counts_pictures(self) -> bool:
        """Whether maps may have images whose lines are evidence."""
        return self.lines and self.saving.rgb is not None

    @property
    def advice(self) -> str:
        """What the producer's table adds to an error."""
        advice = PRODUCERS[self.producer].advice if self.producer is not None else ""
        return f"; {advice}" if advice else ""

    def metres_of(self, path: Path) -> float | None:
        """Metres of one unit of a map, where that and its shift are known."""
        if self.producer is None or not self.shift_known:
            return None
        producer = PRODUCERS[self.producer]
        return producer.metres_of(path) if producer.space == self.space else None

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
