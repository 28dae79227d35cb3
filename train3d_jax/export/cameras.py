"""A recovered camera and its cloud for other programs: COLMAP's model, nerfstudio's JSON.

Both count pixels from the corner of the image, so that the centre of the first pixel is at 0.5;
here it is at 0.  Each map has a world of its own, with its camera at the origin.

Both stop where a camera and the image that it names differ in size.  Where a photo is larger than
its depth map, they get the camera of the photo: see `camera.resized_intrinsics`.
"""

import json
import os
import struct
from pathlib import Path

import numpy as np

from train3d_jax.files import write_whole
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
"""What `write_colmap` may write."""


def write_colmap(
    folder: Path,
    image: str,
    size: tuple[int, int],
    intrinsics: np.ndarray,
    points: np.ndarray,
    unit: str,
    colours: np.ndarray | None = None,
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
      points: shape (N, 3).
      unit: of the points.
      colours: red, green and blue, uint8, shape (N, 3); None for grey.

    Raises:
      UserError: a file cannot be written.
    """
    step = -(-len(points) // _MOST_POINTS) or 1
    chosen = points[::step]
    paint = np.full((len(chosen), 3), 128, np.uint8) if colours is None else colours[::step]
    files = {
        "cameras": _cameras(size, intrinsics),
        "images": _images(image),
        "points3D": _points(chosen, paint, unit),
    }
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


def _images(image: str) -> tuple[bytes, bytes]:
    name = os.fsencode(image)
    # Number of images; its id, rotation, translation, camera, name; the number of its key points.
    binary = (
        struct.pack("<QI7dI", 1, 1, 1, 0, 0, 0, 0, 0, 0, 1) + name + b"\0" + struct.pack("<Q", 0)
    )
    head = b"# IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME; POINTS2D[]\n"
    # The second line of an image lists its key points: none.
    return binary, head + b"1 1 0 0 0 0 0 0 1 " + name + b"\n\n"


def _points(points: np.ndarray, colours: np.ndarray, unit: str) -> tuple[bytes, bytes]:
    rows = np.zeros(len(points), _POINT)
    rows["id"] = np.arange(1, len(points) + 1)
    rows["position"], rows["colour"] = points, colours
    lines = [
        f"{number} {x:.7g} {y:.7g} {z:.7g} {red} {green} {blue} 0\n"
        for number, ((x, y, z), (red, green, blue)) in enumerate(
            zip(points.tolist(), colours.tolist(), strict=True), start=1
        )
    ]
    head = f"# axes: {AXES}; unit: {unit}\n# POINT3D_ID, X, Y, Z, R, G, B, ERROR, TRACK[]\n"
    return struct.pack("<Q", len(rows)) + rows.tobytes(), (head + "".join(lines)).encode()


def write_nerfstudio(
    path: Path,
    image: str,
    size: tuple[int, int],
    intrinsics: np.ndarray,
    unit: str,
    cloud: str | None = None,
) -> None:
    """Writes nerfstudio's transforms.json of one image.

    The camera looks along -z with y up there (OpenGL); the world keeps the axes of the cloud (x
    right, y down, z forward), so the pose turns about x by half a turn.

    Args:
      path: file to write.
      image: path of the image, relative to the file's folder.
      size: height and width of the image in pixels.
      intrinsics: of the image, (3, 3) in pixels; pixel centres are at integers.
      unit: of the cloud.
      cloud: path of the PLY, relative to the file's folder; None where there is none.

    Raises:
      UserError: the file cannot be written.
    """
    fx, fy, cx, cy = _four(intrinsics)
    contents = {
        "camera_model": "OPENCV",
        "w": size[1],
        "h": size[0],
        "fl_x": fx,
        "fl_y": fy,
        "cx": cx,
        "cy": cy,
        **dict.fromkeys(("k1", "k2", "p1", "p2"), 0.0),
        "frames": [{"file_path": image, "transform_matrix": np.diag([1.0, -1, -1, 1]).tolist()}],
        "world": f"{AXES}; unit: {unit}",
    }
    if cloud is not None:
        contents["ply_file_path"] = cloud
    write_whole(path, (json.dumps(contents, indent=2, allow_nan=False) + "\n").encode())


def _four(intrinsics: np.ndarray) -> tuple[float, float, float, float]:
    """fx, fy, cx, cy, the principal point counted from the corner of the image."""
    fx, fy = float(intrinsics[0, 0]), float(intrinsics[1, 1])
    return fx, fy, float(intrinsics[0, 2]) + _HALF_PIXEL, float(intrinsics[1, 2]) + _HALF_PIXEL
