"""Recovers focal length and shift of depth maps, and writes a point cloud and a JSON for each.

    python -m launch.infer --input DEPTH_MAPS --out OUT --model runs/both --space depth

Reads .npy, .npz, 16-bit .png and .exr; 0 and what is not finite count as missing.  For every map
the folder OUT gets, under the same relative path, a PLY and a JSON; and one summary.csv for all.
"""

import math
from pathlib import Path
from typing import cast

from absl import flags

from launch import program
from launch.folder import SUMMARY, RecoveryConfig, recover_folder
from train3d_jax.depth import Space

_INPUT = flags.DEFINE_string("input", None, "A depth map, or a folder of them.", required=True)
_OUT = flags.DEFINE_string("out", None, "Folder for the answers.", required=True)
_MODEL = flags.DEFINE_list(
    "model", None, "Runs of launch.train that together cover shift and focal length.", required=True
)
_SPACE = flags.DEFINE_enum(
    "space", None, ["depth", "disparity"],
    "What the maps hold, up to scale and shift: depth (metric networks, sensors) or disparity "
    "(MiDaS, DPT, Depth Anything).", required=True,
)  # fmt: skip
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 16, "Maps solved at once.", lower_bound=1)
_FOCAL_PX = flags.DEFINE_float("focal_px", None, "Focal length in pixels, where it is known.")
_FOV_DEG = flags.DEFINE_float(
    "fov_deg", None, "Horizontal field of view in degrees, where it is known."
)


@flags.multi_flags_validator(
    ["focal_px", "fov_deg"],
    "give one of --focal_px (over 0) and --fov_deg (1 to 179), or neither",
)
def _one_known_camera(values: dict[str, float | None]) -> bool:
    focal, fov = values["focal_px"], values["fov_deg"]
    if focal is not None and fov is not None:
        return False
    return (focal is None or (math.isfinite(focal) and focal > 0)) and (
        fov is None or 1 <= fov <= 179
    )


def main() -> int:
    """From flags to a folder of answers; the exit status is 1 where a map failed."""
    config = RecoveryConfig(
        Path(_INPUT.value),
        Path(_OUT.value),
        tuple(Path(run) for run in _MODEL.value),
        cast(Space, _SPACE.value),
        _BATCH_SIZE.value,
        _FOCAL_PX.value,
        _FOV_DEG.value,
    )
    answers = recover_folder(config)
    failed = sum(answer["error"] is not None for answer in answers)
    print(f"{config.out}: {len(answers) - failed} recovered, {failed} failed; see {SUMMARY}")
    return program.EXIT_SOME_FAILED if failed else 0


if __name__ == "__main__":
    program.run(main)
