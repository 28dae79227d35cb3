"""Files of cameras as their producers write them: test input.

Each is the camera `MATRIX` of photos of 192 x 144 pixels, so that a depth map of 64 x 48 shows the
same at a third: `THIRD`.
"""

import io
import json
import struct
import zipfile

import numpy as np

WIDTH, HEIGHT = 192, 144
FX, FY, CX, CY = 150.0, 151.0, 95.0, 70.0
MATRIX = np.array([[FX, 0, CX], [0, FY, CY], [0, 0, 1]])
THIRD = np.array([[50, 0, 95.5 / 3 - 0.5], [0, 151 / 3, 70.5 / 3 - 0.5], [0, 0, 1]])
SIZE = (48, 64)

BY_COLUMNS = MATRIX.T.ravel().tolist()


def text_of(matrix, between=" "):
    return "".join(between.join(f"{value:.18e}" for value in row) + "\n" for row in matrix).encode()


def npy_of(values):
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


def npz_of(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def zip_of(**entries):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as held:
        for name, contents in entries.items():
            held.writestr(name, contents)
    return file.getvalue()


def transforms(frames=("images/frame_00001.png",), whole=True, **values):
    """nerfstudio's transforms.json; a pixel's corner is at an integer."""
    camera = {"fl_x": FX, "fl_y": FY, "cx": CX + 0.5, "cy": CY + 0.5, "w": WIDTH, "h": HEIGHT}
    camera |= {"k1": 0.0, "k2": 0.0, "p1": 0.0, "p2": 0.0} | values
    rows = [
        {"file_path": name, "transform_matrix": np.eye(4).tolist(), **({} if whole else camera)}
        for name in frames
    ]
    head = {"camera_model": "OPENCV", **(camera if whole else {})}
    return json.dumps({**head, "frames": rows}).encode()


def record3d(frames=0, **values):
    metadata = {"w": WIDTH, "h": HEIGHT, "fps": 60, "K": BY_COLUMNS, "dw": 64, "dh": 48}
    metadata["perFrameIntrinsicCoeffs"] = [[FX + 3 * n, FY + 3 * n, CX, CY] for n in range(frames)]
    return json.dumps(metadata | values).encode()


def open3d(**values):
    camera = {"height": HEIGHT, "intrinsic_matrix": BY_COLUMNS, "width": WIDTH} | values
    return json.dumps(camera).encode()


def cameras_txt(*rows):
    rows = rows or (f"1 PINHOLE {WIDTH} {HEIGHT} {FX} {FY} {CX + 0.5} {CY + 0.5}",)
    head = "# Camera list with one line of data per camera:\n#   CAMERA_ID, MODEL, ...\n"
    return (head + "# Number of cameras: 1\n" + "".join(f"{row}\n" for row in rows)).encode()


def cameras_bin(*cameras):
    """Each camera is (id, model, numbers)."""
    cameras = cameras or ((1, 1, (FX, FY, CX + 0.5, CY + 0.5)),)
    rows = (
        struct.pack(f"<IiQQ{len(numbers)}d", key, model, WIDTH, HEIGHT, *numbers)
        for key, model, numbers in cameras
    )
    return struct.pack("<Q", len(cameras)) + b"".join(rows)


def images_txt(**cameras):
    """The camera of each image by its name without the ending."""
    lines = ["# IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME", "#   POINTS2D[]"]
    for place, (name, camera) in enumerate(cameras.items(), start=1):
        lines += [f"{place} 1 0 0 0 0 0 0 {camera} a b/{name}.jpg", "" if place % 2 else "1 2 -1"]
    return "\n".join(lines).encode()


def images_bin(**cameras):
    rows = [struct.pack("<Q", len(cameras))]
    for place, (name, camera) in enumerate(cameras.items(), start=1):
        rows.append(struct.pack("<I7dI", place, 1, 0, 0, 0, 0, 0, 0, camera))
        rows.append(
            f"a b/{name}.jpg".encode() + b"\0" + struct.pack("<Q", place) + bytes(24 * place)
        )
    return b"".join(rows)


FOV = json.dumps(
    {
        "fov_x": float(np.degrees(2 * np.arctan(WIDTH / 2 / FX))),
        "fov_y": float(np.degrees(2 * np.arctan(HEIGHT / 2 / FX))),
    }
).encode()
"""MoGe's; its pixels are square, and its principal point is in the centre."""

WHOLE = {
    "fov.json": FOV,
    "list.json": json.dumps(THIRD.tolist()).encode(),
    "object.json": json.dumps({"intrinsics": THIRD.tolist()}).encode(),
    "cam_in.json": json.dumps(
        {"cam_in": [THIRD[0, 0], THIRD[1, 1], THIRD[0, 2], THIRD[1, 2]]}
    ).encode(),
    "four.json": json.dumps(
        {"fx": FX, "fy": FY, "cx": CX, "cy": CY, "width": WIDTH, "height": HEIGHT}
    ).encode(),
    "transforms.json": transforms(),
    "frames.json": transforms(whole=False),
    "metadata": record3d(),
    "frame_numbers.json": record3d(frames=1),
    "open3d.json": open3d(),
    "parameters.json": json.dumps(
        {"class_name": "PinholeCameraParameters", "intrinsic": json.loads(open3d())}
    ).encode(),
    "trajectory.json": json.dumps(
        {"parameters": [{"intrinsic": json.loads(open3d())} for _ in range(2)]}
    ).encode(),
    "cameras.txt": cameras_txt(),
    "cameras.bin": cameras_bin(),
    "matrix.txt": text_of(THIRD),
    "matrix.csv": text_of(THIRD, ", "),
    "scannet.txt": text_of(np.block([[THIRD, np.zeros((3, 1))], [np.array([[0, 0, 0, 1]])]])),
    "line.txt": text_of(THIRD.reshape(1, 9)),
    "matrix.npy": npy_of(THIRD),
    "frames.npy": npy_of(np.stack([THIRD, THIRD])),
    "intrinsics.npz": npz_of(depth=np.ones(SIZE), intrinsics=THIRD),
    "recording.r3d": zip_of(metadata=record3d(frames=1)),
    "clip.npz": npz_of(depth=np.ones((2, *SIZE)), intrinsics=np.stack([THIRD, THIRD])),
}
"""A whole file of each kind."""
