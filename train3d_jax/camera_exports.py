"""A recovered camera and its cloud for other programs: COLMAP's text model, nerfstudio's JSON.

Both count pixels from the corner of the image, so that the centre of the first pixel is at 0.5;
here it is at 0.  Each map stands alone, so its camera is the origin of its world.
"""

import json
from pathlib import Path

import numpy as np

from train3d_jax.files import write_whole

_MOST_POINTS = 20_000
"""Points of a COLMAP model; it is text, and a start for programs that refine it."""

_HALF_PIXEL = 0.5


def write_colmap(
    folder: Path,
    image: str,
    size: tuple[int, int],
    intrinsics: np.ndarray,
    points: np.ndarray,
    unit: str,
    colours: np.ndarray | None = None,
) -> None:
    """Writes cameras.txt, images.txt and points3D.txt, COLMAP's text model, of one image.

    COLMAP's axes are ours: x right, y down, z forward.  Points have no tracks, and of many an even
    share is written.

    Args:
      folder: where to.
      image: the image's name in the model.
      size: height and width in pixels.
      intrinsics: (3, 3) in pixels; pixel centres are at integers.
      points: shape (N, 3).
      unit: of the points.
      colours: red, green and blue, uint8, shape (N, 3); None for grey.

    Raises:
      UserError: a file cannot be written.
    """
    fx, fy, cx, cy = _four(intrinsics)
    height, width = size
    note = f"# axes: x right, y down, z forward; unit: {unit}\n"
    write_whole(
        folder / "cameras.txt",
        f"# CAMERA_ID, MODEL, WIDTH, HEIGHT, fx, fy, cx, cy\n1 PINHOLE {width} {height} "
        f"{fx:.9g} {fy:.9g} {cx:.9g} {cy:.9g}\n".encode(),
    )
    # The second line of an image lists its key points: none.
    write_whole(
        folder / "images.txt",
        f"# IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME; POINTS2D[]\n"
        f"1 1 0 0 0 0 0 0 1 {image}\n\n".encode(errors="surrogateescape"),
    )
    every = -(-len(points) // _MOST_POINTS) or 1
    chosen = points[::every]
    paint = np.full((len(chosen), 3), 128) if colours is None else colours[::every]
    lines = [
        f"{number} {x:.7g} {y:.7g} {z:.7g} {red} {green} {blue} 0\n"
        for number, ((x, y, z), (red, green, blue)) in enumerate(
            zip(chosen.tolist(), paint.tolist(), strict=True), start=1
        )
    ]
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
      size: height and width in pixels.
      intrinsics: (3, 3) in pixels; pixel centres are at integers.
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
