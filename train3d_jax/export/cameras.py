"""A recovered camera and its cloud for other programs: COLMAP's model, nerfstudio's JSON.

Both count pixels from the corner of the image, so that the centre of the first pixel is at 0.5;
here it is at 0.  Each map stands alone, so its camera is the origin of its world.

Both stop where a camera and the image that it names differ in size.  Where a photo is larger than
its depth map, they get the camera of the photo: see `resized_camera`.
"""

import json
import os
import struct
from pathlib import Path

import numpy as np

from train3d_jax.files import write_whole

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


def resized_camera(
    intrinsics: np.ndarray, size: tuple[int, int], to_size: tuple[int, int]
) -> np.ndarray:
    """Intrinsics of the same view in an image of another size.

    The corners of both images coincide.  Pixel centres are at integers, so that the corner is at
    -0.5: u' = (u + 0.5) * scale - 0.5.

    Args:
      intrinsics: (3, 3) in pixels of the first image.
      size: its height and width in pixels.
      to_size: height and width of the other image; the two ratios may differ.

    Returns:
      (3, 3) float64 in pixels of the other image.
    """
    y_scale, x_scale = (new / old for new, old in zip(to_size, size, strict=True))
    fx, fy, cx, cy = _four(intrinsics)
    return np.array(
        [
            [fx * x_scale, 0, cx * x_scale - _HALF_PIXEL],
            [0, fy * y_scale, cy * y_scale - _HALF_PIXEL],
            [0, 0, 1],
        ]
    )


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

    Text ends a name at its first space, and COLMAP would look for another image; COLMAP reads the
    binary files where both are there.  COLMAP's axes are ours: x right, y down, z forward.  Points
    have no tracks, and of many an even share is written.

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
    every = -(-len(points) // _MOST_POINTS) or 1
    chosen = points[::every]
    paint = np.full((len(chosen), 3), 128, np.uint8) if colours is None else colours[::every]
    _write_binary(folder, image, size, intrinsics, chosen, paint)
    if image.split() == [image]:
        _write_text(folder, image, size, intrinsics, chosen, paint, unit)


def _write_binary(
    folder: Path,
    image: str,
    size: tuple[int, int],
    intrinsics: np.ndarray,
    points: np.ndarray,
    colours: np.ndarray,
) -> None:
    height, width = size
    camera = struct.pack("<QIiQQ4d", 1, 1, _PINHOLE, width, height, *_four(intrinsics))
    write_whole(folder / "cameras.bin", camera)
    # Number of images; its id, rotation, translation, camera, name; the number of its key points.
    pose = struct.pack("<QI7dI", 1, 1, 1, 0, 0, 0, 0, 0, 0, 1)
    write_whole(folder / "images.bin", pose, os.fsencode(image) + b"\0", struct.pack("<Q", 0))
    rows = np.zeros(len(points), _POINT)
    rows["id"] = np.arange(1, len(points) + 1)
    rows["position"], rows["colour"] = points, colours
    write_whole(folder / "points3D.bin", struct.pack("<Q", len(points)), rows.tobytes())


def _write_text(
    folder: Path,
    image: str,
    size: tuple[int, int],
    intrinsics: np.ndarray,
    points: np.ndarray,
    colours: np.ndarray,
    unit: str,
) -> None:
    fx, fy, cx, cy = _four(intrinsics)
    height, width = size
    write_whole(
        folder / "cameras.txt",
        f"# CAMERA_ID, MODEL, WIDTH, HEIGHT, fx, fy, cx, cy\n1 PINHOLE {width} {height} "
        f"{fx:.9g} {fy:.9g} {cx:.9g} {cy:.9g}\n".encode(),
    )
    # The second line of an image lists its key points: none.
    write_whole(
        folder / "images.txt",
        b"# IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME; POINTS2D[]\n",
        b"1 1 0 0 0 0 0 0 1 " + os.fsencode(image) + b"\n\n",
    )
    lines = [
        f"{number} {x:.7g} {y:.7g} {z:.7g} {red} {green} {blue} 0\n"
        for number, ((x, y, z), (red, green, blue)) in enumerate(
            zip(points.tolist(), colours.tolist(), strict=True), start=1
        )
    ]
    note = f"# axes: x right, y down, z forward; unit: {unit}\n"
    text = note + "# POINT3D_ID, X, Y, Z, R, G, B, ERROR, TRACK[]\n" + "".join(lines)
    write_whole(folder / "points3D.txt", text.encode())


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
        "world": f"x right, y down, z forward; unit: {unit}",
    }
    if cloud is not None:
        contents["ply_file_path"] = cloud
    write_whole(path, (json.dumps(contents, indent=2, allow_nan=False) + "\n").encode())


def _four(intrinsics: np.ndarray) -> tuple[float, float, float, float]:
    """fx, fy, cx, cy, the principal point counted from the corner of the image."""
    fx, fy = float(intrinsics[0, 0]), float(intrinsics[1, 1])
    return fx, fy, float(intrinsics[0, 2]) + _HALF_PIXEL, float(intrinsics[1, 2]) + _HALF_PIXEL
