"""Writes the raw formats byte by byte, after their descriptions, with nothing of the project."""

import json
import struct
import zlib

import numpy as np

RAW, ZLIB, OCCI = 0, 1, 2


def scannet_camera(height, width):
    """A depth camera of ScanNet, whose images are 640x480, in images of another size."""
    camera = np.array([[577.59, 0, 318.9], [0, 578.73, 242.7], [0, 0, 1]])
    return np.diag([width / 640, height / 480, 1]) @ camera


def sens(
    frames,
    *,
    intrinsics=None,
    compression=ZLIB,
    units_per_metre=1000.0,
    version=4,
    imu_records=0,
    poses=None,
    colors=None,
    sensor=b"StructureSensor",
):
    """A `.sens` of (H, W) uint16 frames; `imu_records` None leaves the block out."""
    height, width = frames[0].shape if frames else (4, 6)
    intrinsics = scannet_camera(height, width) if intrinsics is None else intrinsics
    colors = colors or [b"\xff\xd8" + bytes(3 * index) for index in range(len(frames))]
    poses = poses or [np.eye(4)] * len(frames)
    depth_camera = np.eye(4, dtype="<f4")
    depth_camera[:3, :3] = intrinsics
    other = np.full((4, 4), 7, "<f4")  # no reader may take this for the depth camera
    parts = [struct.pack("<IQ", version, len(sensor)), sensor]
    parts += [matrix.astype("<f4").tobytes() for matrix in (other, other, depth_camera, other)]
    parts.append(struct.pack("<ii", 2, compression))
    parts.append(struct.pack("<IIIIfQ", 1296, 968, width, height, units_per_metre, len(frames)))
    for frame, pose, color in zip(frames, poses, colors, strict=True):
        depth = np.asarray(frame, "<u2").tobytes()
        payload = zlib.compress(depth) if compression == ZLIB else depth
        parts.append(np.asarray(pose, "<f4").tobytes())
        parts.append(struct.pack("<QQQQ", 123, 456, len(color), len(payload)))
        parts += [color, payload]
    if imu_records is not None:
        parts.append(struct.pack("<Q", imu_records) + bytes(128 * imu_records))
    return b"".join(parts)


def png16(values):
    """A 16-bit grey PNG, as few chunks as there can be."""
    height, width = values.shape
    header = struct.pack(">IIBBBBB", width, height, 16, 0, 0, 0, 0)
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in values)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


def exr(values, channel=b"Y"):
    """An OpenEXR scan-line file of one half-float channel, ZIP in blocks of 16 lines."""
    height, width = values.shape
    window = struct.pack("<4i", 0, 0, width - 1, height - 1)
    channels = channel + b"\0" + struct.pack("<iB3xii", 1, 0, 1, 1) + b"\0"
    attributes = (
        (b"channels", b"chlist", channels),
        (b"compression", b"compression", b"\x03"),
        (b"dataWindow", b"box2i", window),
        (b"displayWindow", b"box2i", window),
        (b"lineOrder", b"lineOrder", b"\0"),
        (b"pixelAspectRatio", b"float", struct.pack("<f", 1)),
        (b"screenWindowCenter", b"v2f", struct.pack("<2f", 0, 0)),
        (b"screenWindowWidth", b"float", struct.pack("<f", 1)),
    )
    header = struct.pack("<ii", 20000630, 2) + b"".join(
        name + b"\0" + kind + b"\0" + struct.pack("<i", len(value)) + value
        for name, kind, value in attributes
    )
    header += b"\0"
    blocks = []
    for top in range(0, height, 16):
        plain = np.frombuffer(values[top : top + 16].astype("<f2").tobytes(), np.uint8)
        # All low bytes, then all high bytes; then each as the difference to the one before it.
        halves = np.concatenate([plain[::2], plain[1::2]]).astype(np.int16)
        differences = np.diff(halves, prepend=halves[:1]) + 128
        differences[0] = halves[0]
        packed = zlib.compress(differences.astype(np.uint8).tobytes())
        if len(packed) >= len(plain):
            packed = plain.tobytes()
        blocks.append(struct.pack("<ii", top, len(packed)) + packed)
    offsets, position = [], len(header) + 8 * len(blocks)
    for block in blocks:
        offsets.append(position)
        position += len(block)
    return header + struct.pack(f"<{len(offsets)}Q", *offsets) + b"".join(blocks)


def put(path, contents):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(contents if isinstance(contents, bytes) else json.dumps(contents).encode())
    return path


def depth_units(height=6, width=6, *, base=1000, seed=0):
    """(H, W) uint16 like a sensor's, nowhere missing."""
    return np.random.default_rng(seed).integers(base, 2 * base, (height, width), dtype=np.uint16)


def put_sens(root, scene, frames=3, **options):
    units = [depth_units(4, 6, seed=index) for index in range(frames)]
    return put(root / scene / f"{scene}.sens", sens(units, **options))


def put_scannet_frames(
    root, scene, names=("0", "1", "2"), camera="intrinsic/intrinsic_depth.txt", intrinsics=None
):
    """Frames as SensReader exports them, the same as those of `put_sens`."""
    matrix = np.eye(4)
    matrix[:3, :3] = scannet_camera(4, 6) if intrinsics is None else intrinsics
    text = "".join(" ".join(f"{number:f}" for number in row) + "\n" for row in matrix)
    put(root / scene / camera, text.encode())
    for index, name in enumerate(names):
        put(root / scene / "depth" / f"{name}.png", png16(depth_units(4, 6, seed=index)))
        put(root / scene / "color" / f"{name}.jpg", b"no reader looks at it")
        put(root / scene / "pose" / f"{name}.txt", b"no reader looks at it")


def put_kenburns(
    root,
    scene,
    ids=("00001",),
    views=("tl", "tr", "bl", "br"),
    folder=None,
    layout=("rgb/{}", "depths/{}-depth"),
):
    meta, depths = (root / part.format(scene) for part in layout)
    for identity in ids:
        put(meta / f"{identity}-meta.json", {"intSample": 1, "fltFov": 90.0})
        for view in views:
            name = f"{identity}-{view}-depth.exr"
            units = depth_units(base=300).astype(np.float16)
            put(depths.with_name(folder or depths.name) / name, exr(units))


def put_taskonomy(
    root, building, points=(0, 1), views=(0,), *, fov_rads=1.0, size=6, layout="{kind}/taskonomy/{}"
):
    images, infos = (
        root / layout.format(building, kind=kind) for kind in ("depth_zbuffer", "point_info")
    )
    for point in points:
        for view in views:
            stem = f"point_{point}_view_{view}_domain_"
            put(images / f"{stem}depth_zbuffer.png", png16(depth_units(size, size, seed=point)))
            info = {"field_of_view_rads": fov_rads, "resolution": size}
            put(infos / f"{stem}point_info.json", info)
