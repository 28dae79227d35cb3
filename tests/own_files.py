"""Writes captures of users' cameras as their programs write them, with nothing of the project."""

import io
import json
import zipfile

import imagecodecs
import numpy as np
from camera_files import SIZE, record3d, transforms
from raw_files import depth_units, exr, png16, put


def put_tum(root, capture, frames=3, calibration=None, size=(6, 8), **options):
    """Depth of TUM RGB-D: 5000 units a metre, listed in depth.txt."""
    names = [f"depth/{1305031102 + number / 30:.6f}.png" for number in range(frames)]
    lines = ["# depth maps", "# file: 'x.bag'", "# timestamp filename"]
    lines += [f"{name[6:-4]} {name}" for name in names]
    put(root / capture / "depth.txt", ("\n".join(lines) + "\n").encode())
    put(root / capture / "rgb.txt", b"# color images\n")
    for number, name in enumerate(names):
        put(root / capture / name, png16(depth_units(*size, base=5000, seed=number)))
    if calibration is not None:
        put(root / capture / "calibration.txt", calibration.encode())
    return root / capture


def manifest_row(depth, **fields):
    """A row of a manifest.json for maps of 6 x 8 pixels in millimetres."""
    camera = {"fx": 9.0, "fy": 9.5, "cx": 3.5, "cy": 2.5}
    return {"depth": depth, "metres_per_unit": 0.001, **camera, **fields}


def put_maps(root, scenes=("kitchen", "hall"), frames=3):
    """A manifest.json, and its maps in `depth/`."""
    rows = []
    for scene in scenes:
        for number in range(frames):
            name = f"depth/{scene}_{number}.png"
            put(root / name, png16(depth_units(6, 8, seed=number)))
            rows.append(manifest_row(name, scene=scene))
    put(root / "manifest.json", rows)
    return rows


def put_nerfstudio(root, capture, frames=3, **camera):
    """transforms.json of photos, and depth in millimetres of a third of their size."""
    names = [f"frame_{number:05d}" for number in range(1, frames + 1)]
    contents = json.loads(transforms([f"images/{name}.jpg" for name in names], **camera))
    for number, (name, frame) in enumerate(zip(names, contents["frames"], strict=True), start=1):
        frame["depth_file_path"] = f"depth/{name}.png"
        put(root / capture / "depth" / f"{name}.png", png16(depth_units(*SIZE, seed=number)))
    put(root / capture / "transforms.json", contents)
    return root / capture


def put_record3d(root, capture, frames=3):
    """metadata.json of photos, and depth in metres of a third of their size."""
    put(root / capture / "metadata.json", record3d(frames))
    for number in range(frames):
        metres = np.float16(depth_units(*SIZE, seed=number) / 1000)
        put(root / capture / "rgb" / f"{number}.jpg", b"no reader looks at it")
        put(root / capture / "depth" / f"{number}.exr", exr(metres))
    return root / capture


def put_r3d(root, capture, frames=3, metadata=None):
    """The same as an .r3d, with LZFSE."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as held:
        held.writestr("metadata", record3d(frames) if metadata is None else metadata)
        for number in range(frames):
            metres = np.float32(depth_units(*SIZE, seed=number)) / np.float32(1000)
            packed = imagecodecs.lzfse_encode(metres.tobytes())
            held.writestr(f"rgbd/{number}.jpg", b"no reader looks at it")
            held.writestr(f"rgbd/{number}.depth", packed)
    return put(root / f"{capture}.r3d", file.getvalue())
