"""Cameras in JSON: of MoGe, Metric3D, nerfstudio, Record3D, Open3D, and plain forms."""

import json
import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from data.user_maps.camera_files.camera import (
    ESTIMATED_SIGMA,
    Camera,
    Cameras,
    NotACamera,
    bare_name,
    distorted,
    from_corner,
    image_size,
    number,
)
from train3d_jax.errors import DataError
from train3d_jax.geometry.camera import intrinsics_matrix

MOST_BYTES = 1 << 26
"""Of a file; chosen: nerfstudio writes 1 kB a frame, Record3D 0.2 kB."""

_FORMS = (
    "a 3x3 list, the same under the name intrinsics; fx, fy, cx and cy; cam_in; or the form of "
    "MoGe, nerfstudio, Record3D or Open3D"
)

_PINHOLES = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "PERSPECTIVE")
"""Camera models of nerfstudio that are pinholes, but for small distortion."""

_DISTORTION = ("k1", "k2", "k3", "k4", "p1", "p2")

_MATRICES = ("intrinsics", "intrinsic", "camera_matrix", "K")
"""Names of 3x3 lists, which are written by rows."""

_ANSWER = {"focal_interval_px", "canonical_scale"}
"""Names that the answers of launch.infer have, and no camera."""


def read_json(path: Path) -> Cameras:
    """The cameras of a JSON.

    Raises:
      NotACamera: it holds something else, or is no JSON.
      DataError: it cannot be read, or holds a camera that is broken.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror}") from None
    if len(text) > MOST_BYTES:
        raise NotACamera(path, f"is larger than the {MOST_BYTES >> 20} MiB that are read")
    return of_json(path, text)


def of_json(path: Path, text: bytes) -> Cameras:
    """The cameras of a JSON that was read; `path` is for messages.  Raises as `read_json`."""
    try:
        contents: Any = json.loads(text)
    except (ValueError, RecursionError):
        raise NotACamera(path, "holds no intrinsics: it is no JSON") from None
    try:
        for is_form, read in _READERS:
            if is_form(contents):
                return read(contents)
    except ValueError as error:
        raise DataError(path, f"holds no intrinsics: {error}") from None
    except (TypeError, KeyError, IndexError, AttributeError, ArithmeticError, RecursionError):
        raise DataError(path, "holds no intrinsics that are whole") from None
    raise NotACamera(path, f"holds no intrinsics: those are {_FORMS}")


def _has(*names: str, **kinds: type) -> Callable[[Any], bool]:
    """Whether it is an object with these names, some of which have values of a kind."""
    return lambda contents: (
        isinstance(contents, dict)
        and {*names, *kinds} <= contents.keys()
        and all(isinstance(contents[name], kind) for name, kind in kinds.items())
    )


def _is_record3d(contents: Any) -> bool:
    return _has("w", "h", K=list)(contents) and len(contents["K"]) == 9


def _moge(contents: Mapping[str, Any]) -> Cameras:
    """`fov.json`: full angles in degrees; an image of focal length 1 has these sides."""
    angles = [number(contents[name]) for name in ("fov_y", "fov_x")]
    if not all(0 < angle < 180 for angle in angles):
        raise ValueError("its angles are not in 0 to 180 degrees")
    height, width = (2 * math.tan(math.radians(angle) / 2) for angle in angles)
    matrix = from_corner(1, 1, width / 2, height / 2)
    return Cameras("MoGe", Camera(matrix, (height, width), ESTIMATED_SIGMA))


def _metric3d(contents: Mapping[str, Any]) -> Cameras:
    fx, fy, cx, cy = map(number, contents["cam_in"])
    return Cameras("Metric3D", Camera(intrinsics_matrix(fx, fy, cx, cy)))


def _nerfstudio(contents: Mapping[str, Any]) -> Cameras:
    """`transforms.json`: numbers for all frames, or in each frame; a frame's come first."""
    whole = _one_of_nerfstudio(contents) if "fl_x" in contents else None
    named = defaultdict(list)
    for frame in contents["frames"]:
        camera = whole
        if frame.keys() & {"fl_x", "fl_y", "cx", "cy", "w", "h", *_DISTORTION}:
            camera = _one_of_nerfstudio({**contents, **frame})
        if camera is None:
            raise ValueError("a frame has no fl_x")
        for name in ("depth_file_path", "file_path"):
            if isinstance(file := frame.get(name), str):
                named[bare_name(file)].append((file, camera))
    return Cameras("nerfstudio", whole, named)


def _one_of_nerfstudio(values: Mapping[str, Any]) -> Camera:
    model = values.get("camera_model", "OPENCV")
    if model not in _PINHOLES:
        raise ValueError(f"its camera model {model!r:.40} is not that of a pinhole")
    size = image_size(values["h"], values["w"])
    fx = number(values["fl_x"])
    fy = number(values.get("fl_y", fx))
    cx, cy = number(values.get("cx", size[1] / 2)), number(values.get("cy", size[0] / 2))
    k1, k2, k3, k4, p1, p2 = (number(values.get(name, 0)) for name in _DISTORTION)
    return distorted(Camera(from_corner(fx, fy, cx, cy), size), (k1, k2, k3, k4), (p1, p2))


def _record3d(contents: Mapping[str, Any]) -> Cameras:
    """`metadata`: K by columns, and fx, fy, cx, cy of each frame; of the photo, w x h."""
    size = image_size(contents["h"], contents["w"])
    rows = contents.get("perFrameIntrinsicCoeffs") or ()
    frames = [Camera(intrinsics_matrix(*map(number, row[:4])), size) for row in rows]
    named = {str(place): [("", camera)] for place, camera in enumerate(frames)}
    return Cameras("Record3D", Camera(_by_columns(contents["K"]), size), named, frames)


def _open3d(contents: Mapping[str, Any]) -> Cameras:
    size = image_size(contents["height"], contents["width"])
    return Cameras("Open3D", Camera(_by_columns(contents["intrinsic_matrix"]), size))


def _open3d_trajectory(contents: Mapping[str, Any]) -> Cameras:
    cameras = [_open3d(each["intrinsic"]).shared for each in contents["parameters"]]
    return Cameras("Open3D", numbered=[camera for camera in cameras if camera is not None])


def _four_numbers(contents: Mapping[str, Any]) -> Cameras:
    fx, fy, cx, cy = (number(contents[name]) for name in ("fx", "fy", "cx", "cy"))
    return Cameras("fx, fy, cx, cy", Camera(intrinsics_matrix(fx, fy, cx, cy), _size_of(contents)))


def _matrix(contents: Any) -> Cameras:
    size, is_answer = None, False
    if isinstance(contents, dict):
        size, is_answer = _size_of(contents), contents.keys() >= _ANSWER
        contents = next(contents[name] for name in _MATRICES if name in contents)
    try:
        matrix = np.array(contents, np.float64)
    except ValueError:
        raise ValueError("its matrix is not 3x3") from None
    if matrix.shape != (3, 3):
        raise ValueError(f"an array of shape {matrix.shape}, not 3x3")
    return Cameras("3x3 matrix", Camera(matrix, size), is_answer=is_answer)


def _size_of(contents: Mapping[str, Any]) -> tuple[float, float] | None:
    for height, width in (("height", "width"), ("h", "w")):
        if height in contents and width in contents:
            return image_size(contents[height], contents[width])
    return None


def _by_columns(values: Any) -> np.ndarray:
    return np.array([number(value) for value in values], np.float64).reshape(3, 3).T


_READERS: tuple[tuple[Callable[[Any], bool], Callable[[Any], Cameras]], ...] = (
    (_has("fov_x", "fov_y"), _moge),
    (_has("cam_in"), _metric3d),
    (_has(frames=list), _nerfstudio),
    (_has("fl_x"), lambda contents: _nerfstudio({**contents, "frames": []})),
    (_is_record3d, _record3d),
    (_has("intrinsic_matrix", "width", "height"), _open3d),
    (_has(intrinsic=dict), lambda contents: _open3d(contents["intrinsic"])),
    (_has(parameters=list), _open3d_trajectory),
    (_has("fx", "fy", "cx", "cy"), _four_numbers),
    *((_has(name), _matrix) for name in _MATRICES),
    (lambda contents: isinstance(contents, list), _matrix),
)
