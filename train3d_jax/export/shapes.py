"""One recovered map as the file that its name asks for: a cloud, or a mesh with its camera."""

from pathlib import Path

import numpy as np
from jaxtyping import Real, UInt8

from train3d_jax.errors import Argument, ArgumentError
from train3d_jax.export import glb, meshes, point_clouds
from train3d_jax.export.textures import texture
from train3d_jax.geometry import camera, depth_maps
from train3d_jax.geometry.normals import depth_normals, grazing_edge
from train3d_jax.placement.upright import AXES, Up, Upright

SUFFIXES = (".ply", ".glb")
"""Of files that `save_shape` writes."""


def save_shape(
    path: Path,
    depth: Real[np.ndarray, "h w"],
    intrinsics: Real[np.ndarray, "3 3"],
    unit: str,
    picture: UInt8[np.ndarray, "h2 w2 3"] | None = None,
    upright: Upright | None = None,
    up: Up | None = None,
) -> None:
    """Writes a map as a point cloud (.ply) or a textured mesh (.glb), as `launch.infer` does.

    Args:
      path: file to write, of `SUFFIXES`.
      depth: z, shape (H, W), 0 where missing.
      intrinsics: (3, 3) in pixels.
      unit: of the depth, for the file.
      picture: of any size and the map's aspect ratio; None for a cloud without colours.
      upright: how the camera is held; needed where `up` is given.
      up: the axis that is to point up, in a GLB y in any case; None for the axes of the camera.

    Raises:
      ArgumentError: the name has another ending, or gravity is unknown.
      UserError: the file cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ArgumentError(Argument("path", str(path)), ": give a name that ends in .ply or .glb")
    pose = None if up is None or upright is None else upright.pose("y" if suffix == ".glb" else up)
    if up is not None and pose is None:
        raise ArgumentError(
            Argument("up", up), ": the map does not tell which way is down; leave it out"
        )
    size = (depth.shape[0], depth.shape[1])
    if suffix == ".ply":
        axes = camera.AXES if up is None else AXES[up]
        colours = None
        if picture is not None:
            from train3d_jax.formats.pictures import resized  # start-up: it imports Pillow

            colours = resized(picture, size)[depth > 0]
        points = depth_maps.point_cloud(depth, intrinsics)
        comments = (f"axes: {axes}", f"unit: {unit}")
        point_clouds.write_ply(path, points, comments, colours, pose=pose)
        return
    edge = grazing_edge(float(intrinsics[1, 1]))
    mesh = meshes.depth_mesh(depth, intrinsics, depth_normals(depth, intrinsics, edge), edge)
    view = glb.View(intrinsics, size, pose)
    glb.write_mesh(path, mesh, view, unit, None if picture is None else texture(picture))
