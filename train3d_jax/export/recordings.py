"""A recovered map as a recording of Rerun (.rrd), written by its own library, an extra."""

from pathlib import Path
from typing import Any

import numpy as np

from train3d_jax.errors import UserError
from train3d_jax.files import write_whole
from train3d_jax.geometry import poses
from train3d_jax.geometry.camera import AXES


def write_rrd(
    path: Path,
    depth: np.ndarray,
    intrinsics: np.ndarray,
    points: np.ndarray,
    unit: str,
    colours: np.ndarray | None = None,
    pictured: np.ndarray | None = None,
    pose: np.ndarray | None = None,
    axes: str = AXES,
) -> None:
    """Writes camera, depth, picture and points, none of which changes with time (static).

    Entities: `world/points`, and below `world/camera`, which has the pose, `image/depth` and
    `image/rgb`; `image` has the intrinsics.  Rerun unprojects depth with pixel centres at integers
    (its depth_cloud.wgsl), as here, so that its cloud lies on `world/points`.

    Args:
      path: file to write.
      depth: z, shape (H, W), 0 where missing.
      intrinsics: (3, 3) in pixels; pixel centres are at integers.
      points: in camera axes, shape (N, 3).
      unit: of points and depth.
      colours: of the points, uint8, shape (N, 3); None for a cloud without.
      pictured: the picture at the map's size, uint8, shape (H, W, 3); None where there is none.
      pose: from camera axes to the world, see `poses.rigid_pose`; None for the camera's own.
      axes: what to call those of the world; Rerun gets them where each is one of its directions.

    Raises:
      ArgumentError: the pose is not rigid.
      UserError: rerun-sdk is not installed, or the file cannot be written.
    """
    try:
        import rerun as rr
    except ImportError:
        raise UserError(f"{path}: needs rerun-sdk: pip install 'train3d-jax[rerun]'") from None
    pose = poses.rigid_pose(pose)
    height, width = depth.shape
    # The names of axes start with those of Rerun's constants, as RDF.
    letters = "".join(part.split()[-1][0].upper() for part in axes.split(", "))
    directions = getattr(rr.ViewCoordinates, letters, None)
    contents: dict[str, list[Any]] = {
        "world": [rr.AnyValues(unit=unit), *([] if directions is None else [directions])],
        "world/points": [rr.Points3D(poses.moved(points, pose), colors=colours)],
        "world/camera": [rr.Transform3D(translation=pose[:3, 3], mat3x3=pose[:3, :3])],
        "world/camera/image": [
            rr.Pinhole(
                image_from_camera=intrinsics,
                resolution=[width, height],
                camera_xyz=rr.ViewCoordinates.RDF,
            )
        ],
        "world/camera/image/depth": [rr.DepthImage(depth.astype(np.float32), meter=1.0)],
    }
    if pictured is not None:
        contents["world/camera/image/rgb"] = [rr.Image(pictured)]
    recording = rr.RecordingStream("train3d")
    memory = recording.memory_recording()
    recording.send_recording_name(path.stem)
    for entity, parts in contents.items():
        recording.log(entity, *parts, static=True)
    write_whole(path, memory.drain_as_bytes())
