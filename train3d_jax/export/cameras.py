"""A recovered camera and its cloud for other programs: COLMAP's model, nerfstudio's JSON.

Both count pixels from the corner of the image, so that the centre of the first pixel is at 0.5;
here it is at 0.  Each map has a world of its own, with its camera at the origin unless a pose is
given.

Both stop where a camera and the image that it names differ in size.  Where a photo is larger than
its depth map, they get the camera of the photo: see `camera.resized_intrinsics`.  Depth keeps the
map's size, since both scale between the two by their sizes: COLMAP's fusion the camera
(mvs/fusion.cc), nerfstudio the depth (data/utils/data_utils.py).
"""

import io
import json
import os
import struct
from pathlib import Path

import numpy as np

from train3d_jax.files import write_whole
from train3d_jax.geometry import poses
from train3d_jax.geometry.camera import AXES

_MOST_POINTS = 20_000
"""Points of a COLMAP model: enough to start programs that refine it, and a text of 1 MB."""

_HALF_PIXEL = 0.5

_PINHOLE = 1
"""Number of the camera model in COLMAP's binary files (its sensor/models.h)."""

_POINT = np.dtype(
    [
        ("id", "<u8"), ("position", "<f8", 3), ("colour", "u1", 3), ("error", "<f8"),
        ("track_length", "<u8"),
    ]
)  # fmt: skip
"""A row of points3D.bin, where no point has a track."""

COLMAP_FILES = tuple(
    f"{name}.{ending}" for ending in ("bin", "txt") for name in ("cameras", "images", "points3D")
)
"""What `write_colmap` may write, beside depth."""

COLMAP_DEPTH = Path("stereo", "depth_maps")
"""Where COLMAP's workspace of a dense reconstruction has depth maps."""

COLMAP_DEPTH_ENDING = ".geometric.bin"
"""Of their names, after that of the image."""

NERFSTUDIO_FILES = ("transforms.json", "depth.npy")
"""What `write_nerfstudio` may write."""

_NERFSTUDIO_UNITS = 1000
"""Of stored depth in one unit of the cloud: nerfstudio multiplies it by 0.001, the default of its
`depth_unit_scale_factor`, which the JSON cannot change."""


def write_colmap(
    folder: Path,
    image: str,
    size: tuple[int, int],
    intrinsics: np.ndarray,
    points: np.ndarray,
    unit: str,
    colours: np.ndarray | None = None,
    depth: np.ndarray | None = None,
    pose: np.ndarray | None = None,
    axes: str = AXES,
) -> None:
    """Writes COLMAP's model of one image, in binary, and in text where the image's name allows it.

    In text a name ends at its first space, and COLMAP would miss the image; COLMAP prefers the
    binary files where both exist.  COLMAP's axes are ours: x right, y down, z forward.  Points have
    no tracks, and an even share of at most `_MOST_POINTS` is written.

    The formats: https://colmap.github.io/format.html.

    Args:
      folder: where to.
      image: the image's name in the model.
      size: height and width of the image in pixels.
      intrinsics: of the image, (3, 3) in pixels; pixel centres are at integers.
      points: in camera axes, shape (N, 3).
      unit: of the points.
      colours: red, green and blue, uint8, shape (N, 3); None for grey.
      depth: z, shape (H, W), 0 where missing, for a map in `COLMAP_DEPTH`; None for none.
      pose: from camera axes to the world, see `poses.rigid_pose`; None for the camera's own.
      axes: what to call those of the world.

    Raises:
      ArgumentError: the pose is not rigid.
      UserError: a file cannot be written.
    """
    pose = poses.rigid_pose(pose)
    step = -(-len(points) // _MOST_POINTS) or 1
    chosen = poses.moved(points[::step], pose)
    paint = np.full((len(chosen), 3), 128, np.uint8) if colours is None else colours[::step]
    files = {
        "cameras": _cameras(size, intrinsics),
        "images": _images(image, pose),
        "points3D": _points(chosen, paint, f"axes: {axes}; unit: {unit}"),
    }
    if depth is not None:
        head = f"{depth.shape[1]}&{depth.shape[0]}&1&".encode()
        path = folder / COLMAP_DEPTH / f"{image}{COLMAP_DEPTH_ENDING}"
        write_whole(path, head, np.ascontiguousarray(depth, "<f4").tobytes())
    for name, (binary, text) in files.items():
        write_whole(folder / f"{name}.bin", binary)
        if image.split() == [image]:
            write_whole(folder / f"{name}.txt", text)


def _cameras(size: tuple[int, int], intrinsics: np.ndarray) -> tuple[bytes, bytes]:
    """The file of cameras, in binary and in text, as the two functions below."""
    four = _four(intrinsics)
    height, width = size
    binary = struct.pack("<QIiQQ4d", 1, 1, _PINHOLE, width, height, *four)
    head = "# CAMERA_ID, MODEL, WIDTH, HEIGHT, fx, fy, cx, cy\n"
    row = " ".join(["1 PINHOLE", str(width), str(height), *(f"{value:.9g}" for value in four)])
    return binary, f"{head}{row}\n".encode()


def _images(image: str, pose: np.ndarray) -> tuple[bytes, bytes]:
    from scipy.spatial.transform import Rotation  # a third of a second, and few runs write COLMAP

    name = os.fsencode(image)
    world_to_camera = np.linalg.inv(pose)
    quaternion = Rotation.from_matrix(world_to_camera[:3, :3]).as_quat(True, scalar_first=True)
    seven = [*quaternion.tolist(), *world_to_camera[:3, 3].tolist()]
    # Number of images; its id, rotation, translation, camera, name; the number of its key points.
    binary = struct.pack("<QI7dI", 1, 1, *seven, 1) + name + b"\0" + struct.pack("<Q", 0)
    head = b"# IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME; POINTS2D[]\n"
    # The second line of an image lists its key points: none.
    row = " ".join(["1", *(f"{value + 0.0:.12g}" for value in seven), "1 "])
    return binary, head + row.encode() + name + b"\n\n"


def _points(points: np.ndarray, colours: np.ndarray, comment: str) -> tuple[bytes, bytes]:
    rows = np.zeros(len(points), _POINT)
    rows["id"] = np.arange(1, len(points) + 1)
    rows["position"], rows["colour"] = points, colours
    lines = [
        f"{number} {x:.7g} {y:.7g} {z:.7g} {red} {green} {blue} 0\n"
        for number, ((x, y, z), (red, green, blue)) in enumerate(
            zip(points.tolist(), colours.tolist(), strict=True), start=1
        )
    ]
    head = f"# {comment}\n# POINT3D_ID, X, Y, Z, R, G, B, ERROR, TRACK[]\n"
    return struct.pack("<Q", len(rows)) + rows.tobytes(), (head + "".join(lines)).encode()


def write_nerfstudio(
    folder: Path,
    image: str,
    size: tuple[int, int],
    intrinsics: np.ndarray,
    unit: str,
    cloud: str | None = None,
    depth: np.ndarray | None = None,
    pose: np.ndarray | None = None,
    axes: str = AXES,
) -> None:
    """Writes nerfstudio's transforms.json of one image, and its depth as depth.npy.

    The camera looks along -z with y up there (OpenGL); without a pose the world keeps the axes of
    the cloud (x right, y down, z forward), so that the camera's turns about x by half a turn.

    Depth is float32, not a PNG of 16 bits, whose thousandths of an arbitrary unit may be coarse.

    Args:
      folder: where to.
      image: path of the image, relative to the folder.
      size: height and width of the image in pixels.
      intrinsics: of the image, (3, 3) in pixels; pixel centres are at integers.
      unit: of the cloud.
      cloud: path of the PLY, relative to the folder; None where there is none.
      depth: z, shape (H, W), 0 where missing; None for none.
      pose: from camera axes to the world, see `poses.rigid_pose`; None for the camera's own.
      axes: what to call those of the world.

    Raises:
      ArgumentError: the pose is not rigid.
      UserError: a file cannot be written.
    """
    fx, fy, cx, cy = _four(intrinsics)
    to_world = poses.rigid_pose(pose) @ poses.OPENGL_FROM_OPENCV
    frame = {"file_path": image, "transform_matrix": to_world.tolist()}
    transforms, stored = NERFSTUDIO_FILES
    if depth is not None:
        frame["depth_file_path"] = stored
        file = io.BytesIO()
        np.save(file, (depth * _NERFSTUDIO_UNITS).astype(np.float32))
        write_whole(folder / stored, file.getbuffer())
    contents = {
        "camera_model": "OPENCV",
        "w": size[1],
        "h": size[0],
        "fl_x": fx,
        "fl_y": fy,
        "cx": cx,
        "cy": cy,
        **dict.fromkeys(("k1", "k2", "p1", "p2"), 0.0),
        "frames": [frame],
        "world": f"{axes}; unit: {unit}",
    }
    if cloud is not None:
        contents["ply_file_path"] = cloud
    text = json.dumps(contents, indent=2, allow_nan=False) + "\n"
    write_whole(folder / transforms, text.encode())


def _four(intrinsics: np.ndarray) -> tuple[float, float, float, float]:
    """fx, fy, cx, cy, the principal point counted from the corner of the image."""
    fx, fy = float(intrinsics[0, 0]), float(intrinsics[1, 1])
    return fx, fy, float(intrinsics[0, 2]) + _HALF_PIXEL, float(intrinsics[1, 2]) + _HALF_PIXEL
