"""Recovers focal length and shift of depth maps; writes a point cloud, a depth map and a JSON each.

    python -m launch.infer --input DEPTH_MAPS --out OUT --model runs/both --space depth

Reads .npy, .npz, .png (16 bits; a PNG cannot hold 32), .tiff (16 or 32 bits, or float32), .exr and
.pfm.  0 and what is not finite count as missing.  The folder OUT gets the answers under the same
relative paths, index.html to look at them, and summary.csv and summary.json for all.
"""

import math
from pathlib import Path
from typing import cast

from absl import flags

from data.user_maps.depth_files import find_depth_files
from data.user_maps.known_cameras import KnownCamera
from launch import compiled, program
from launch.recovery import reading_flags, space_guess
from launch.recovery.config import METHODS, RecoveryConfig
from launch.recovery.folder import recover_folder
from launch.recovery.notes import closing
from launch.recovery.saving import ENDINGS, SaveSettings
from launch.recovery.shards import shard_of
from train3d_jax.evidence.fusion import Method
from train3d_jax.geometry.affine import Space
from train3d_jax.inference.models import DEFAULT

_INPUT = flags.DEFINE_string(
    "input", None, "A depth map, a folder of them, or a pattern in quotes ('a/**/depth_*.png').",
    required=True,
)  # fmt: skip
_OUT = flags.DEFINE_string("out", None, "Folder for the answers.", required=True)
_SPACE = flags.DEFINE_enum(
    "space", None, ["depth", "disparity", "guess"],
    "What the maps hold, up to scale and shift: depth (metric networks, sensors) or disparity "
    "(MiDaS, DPT, Depth Anything); guess decides by what all maps look like.", required=True,
)  # fmt: skip
_MODEL = flags.DEFINE_list(
    "model",
    [DEFAULT],
    "Runs of launch.train that together cover shift and focal length; default "
    "for the weights that come along.",
)
_METHOD = flags.DEFINE_enum(
    "method", "learned", METHODS, "Networks, geometry alone (needs no --model), or both."
)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 16, "Maps solved at once.", lower_bound=1)

flags.adopt_module_key_flags(reading_flags)
_RAY_DEPTH = flags.DEFINE_bool(
    "ray_depth", False, "Maps hold distances to the camera's centre; needs a known camera."
)

_FOCAL_PX = flags.DEFINE_float("focal_px", None, "Known focal length in pixels.")
_FOV_DEG = flags.DEFINE_float("fov_deg", None, "Known horizontal field of view in degrees.")
_INTRINSICS = flags.DEFINE_string(
    "intrinsics", None,
    "Known intrinsics: a 3x3 .npy or a .json for all maps, or a folder with one for each.",
)  # fmt: skip
_SHIFT_KNOWN = flags.DEFINE_bool(
    "shift_known", False, "The maps' shift is right (b = 0); seek the focal length only."
)
_SHARED_CAMERA = flags.DEFINE_bool(
    "shared_camera", False, "One camera took all maps; find its focal length from all together."
)

_SAVE = flags.DEFINE_list(
    "save", ["ply", "npz"], f"What to write beside the JSON: {', '.join(ENDINGS)}, or none."
)
_RGB = flags.DEFINE_string(
    "rgb", None,
    "Folder of images (.png, .jpg) that colour the clouds; or the image of a single map.",
)  # fmt: skip
_EDGE_FILTER = flags.DEFINE_float(
    "edge_filter", 0.0,
    "Leave points out of clouds where depth jumps by more than this share (0.05) within 3 x 3 "
    "pixels; 0 keeps all.", lower_bound=0.0,
)  # fmt: skip
_RESUME = flags.DEFINE_bool("resume", False, "Skip what an earlier run has done.")
_SHARD = flags.DEFINE_string(
    "shard", None, "2/8: do the second of eight parts, here or elsewhere; then --merge."
)
_MERGE = flags.DEFINE_bool(
    "merge", False, "Write the summaries of answers that shards with the same flags have left."
)


@flags.validator("save", f"give some of {','.join(ENDINGS)}; or an empty list")
def _known_kinds(kinds: list[str]) -> bool:
    return set(kinds) <= ENDINGS.keys()


@flags.multi_flags_validator(
    ["focal_px", "fov_deg", "intrinsics"],
    "give one of --focal_px (over 0), --fov_deg (1 to 179) and --intrinsics, or none",
)
def _one_known_camera(values: dict[str, float | None]) -> bool:
    focal, fov = values["focal_px"], values["fov_deg"]
    return (
        sum(value is not None for value in values.values()) <= 1
        and (focal is None or (math.isfinite(focal) and focal > 0))
        and (fov is None or 1 <= fov <= 179)
    )


def main() -> int:
    """From flags to a folder of answers; the exit status is 1 where a map failed."""
    compiled.start()
    source, out, reading, space = (
        Path(_INPUT.value), Path(_OUT.value), reading_flags.settings(), _SPACE.value,
    )  # fmt: skip
    if space == "guess":
        found = space_guess.guess(find_depth_files(source, leave_out=out), reading)
        space, reading = found.space, found.reading
        print(found.text, flush=True)
    config = RecoveryConfig(
        source,
        out,
        tuple(Path(run) for run in _MODEL.value if _needs_networks()),
        cast(Space, space),
        cast(Method, _METHOD.value),
        _BATCH_SIZE.value,
        KnownCamera(_FOCAL_PX.value, _FOV_DEG.value, _path(_INTRINSICS.value)),
        _SHIFT_KNOWN.value,
        _SHARED_CAMERA.value,
        _RAY_DEPTH.value,
        reading,
        SaveSettings(tuple(_SAVE.value), _EDGE_FILTER.value, _path(_RGB.value)),
        _RESUME.value,
        shard_of(_SHARD.value, _MERGE.value),
        _MERGE.value,
    )
    outcome = recover_folder(config)
    see = "--merge tells of all shards" if config.shard else "see index.html and summary.csv"
    print(f"{config.out}: {closing(outcome)}; {see}")
    return program.EXIT_SOME_FAILED if outcome.counts.failed else 0


def _needs_networks() -> bool:
    """Geometry alone compares itself with networks only where they are asked for."""
    return _METHOD.value != "geometric" or flags.FLAGS["model"].present > 0


def _path(value: str | None) -> Path | None:
    return None if value is None else Path(value)


if __name__ == "__main__":
    program.run(main)
