"""Who writes depth maps, and what their files hold: the table behind --from.

From the public code of each project.  What a file does not tell (space, unit, missing values,
whether the shift is right) is in the table; flags of the user win over it.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from train3d_jax.formats.depth import suffix_of

_NOTHING: Mapping[str, float] = MappingProxyType({})


class Producer(NamedTuple):
    """What a program, a network or a dataset writes.

    Attributes:
      name: of it, for people.
      space: of its maps, "depth", "disparity" or "log" (affine in log depth); None where it writes
        several.
      keys: arrays that hold depth in its .npz, .h5 or .mat, the likeliest first.
      metres: of one stored unit, by suffix, "" for all others; empty where the unit is unknown.
      shift_known: the shift is right: depth is the stored value times the unit.
      invalid: values that mean missing, besides 0 and what is not finite.
      ray_depth: distances to the camera's centre, not depth.
      allow_8bit: its files have 8 bits.
      affine: "clip" where all frames of a clip have one scale and one shift, else "frame".
      files: patterns of its depth files in a folder of its output; the first that fits any file
        leaves the others out.
      camera: the file that holds its camera.
      advice: how to get what can be read, where a file cannot be.
    """

    name: str
    space: str | None
    keys: tuple[str, ...] = ()
    metres: Mapping[str, float] = _NOTHING
    shift_known: bool = False
    invalid: tuple[float, ...] = ()
    ray_depth: bool = False
    allow_8bit: bool = False
    affine: str = "frame"
    files: tuple[str, ...] = ()
    camera: str = ""
    advice: str = ""

    def metres_of(self, path: Path) -> float | None:
        """Metres of one unit that a file stores; None where that is unknown."""
        return self.metres.get(suffix_of(path.name).lower(), self.metres.get(""))


_METRES = MappingProxyType({"": 1.0})

PRODUCERS: Mapping[str, Producer] = MappingProxyType({
    "marigold": Producer("Marigold", "depth", files=("depth_npy/*.npy",)),
    "depth-anything-v2": Producer(
        "Depth Anything V2", "disparity", allow_8bit=True,
        advice="its run.py writes depth alone with --pred-only --grayscale",
    ),
    "depth-anything-3": Producer(
        "Depth Anything 3", "depth", ("depth",), files=("results.npz",), camera="in the file",
    ),
    "video-depth-anything": Producer(
        "Video Depth Anything", "disparity", ("depths",), affine="clip",
        files=("*_depths.npz", "*_depths_exr/*.exr"),
    ),
    "depthcrafter": Producer(
        "DepthCrafter", "disparity", ("depth",), affine="clip", files=("*.npz",)
    ),
    "depth-pro": Producer(
        "Depth Pro", "depth", ("depth",), _METRES, shift_known=True, files=("*.npz",)
    ),
    "moge": Producer("MoGe", "depth", files=("depth.exr",), camera="fov.json"),
    "metric3d": Producer(
        # save_raw_imgs multiplies by 200 where it is not told otherwise.
        "Metric3D", "depth", metres={"": 1.0, ".png": 1 / 200}, shift_known=True,
        files=("*.npy", "*_d.png"), camera="cam_in in a .json",
    ),
    "zoedepth": Producer(
        "ZoeDepth", "depth", metres={"": 1.0, ".png": 1 / 256}, shift_known=True,
    ),
    "midas": Producer("MiDaS", "disparity", files=("*.pfm",)),
    "pixel-perfect-depth": Producer("Pixel-Perfect Depth", "log", files=("*.npy",)),
    "dust3r": Producer(
        "DUSt3R", "depth", ("depth", "depths", "depthmaps"), shift_known=True,
        camera="in the file",
        advice="depth is read from the array depth, depths or depthmaps, not from pts3d",
    ),
    "record3d": Producer(
        "Record3D", "depth", metres=_METRES, shift_known=True,
        files=("*.r3d", "*.depth"), camera="metadata",
    ),
    "stray-scanner": Producer(
        "Stray Scanner", "depth", metres={"": 1.0, ".png": 0.001}, shift_known=True,
        files=("depth/*.png", "depth/*.npy"), camera="camera_matrix.csv",
    ),
    "hypersim": Producer(
        "Hypersim", "depth", ("dataset",), _METRES, shift_known=True, ray_depth=True,
        files=("*.depth_meters.hdf5",),
        advice="most scenes of Hypersim have --fov_deg 60",
    ),
    "nyu": Producer(
        "NYU Depth V2", "depth", ("depths", "rawDepths"), _METRES, shift_known=True,
        files=("*.mat",),
    ),
    "colmap": Producer(
        "COLMAP", "depth", shift_known=True, camera="cameras.txt or cameras.bin",
        files=("depth_maps/*.geometric.bin", "*.geometric.bin", "*.photometric.bin"),
    ),
    "kitti": Producer("KITTI", "depth", metres={"": 1.0, ".png": 1 / 256}, shift_known=True),
    "blender": Producer(
        # Its background; half floats hold 65504 at most.
        "Blender", "depth", metres=_METRES, shift_known=True, invalid=(1e10, 65504.0),
        files=("*.exr",),
    ),
    "comfyui": Producer("ComfyUI", None, allow_8bit=True),
})  # fmt: skip
"""By the value of --from."""
