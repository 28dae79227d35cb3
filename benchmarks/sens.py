"""Preparing a ScanNet scene, beside the way that common Python readers of `.sens` go.

    python -m benchmarks.sens

A scene of 300 frames, depth 640x480 and colour 1296x968 as the dataset has, of which 60, evenly
spread, are wanted.  The common way reads from the start, unpacks every payload into single bytes,
and saves float64 with `np.savez_compressed`; ours hops from header to header.

The floor is inflating 60 frames and deflating them again at the level that the format uses: what
any reader and writer of these formats must do.  What we take beyond it is reading the file, its
headers, the check of each map, hashing, and renaming files.
"""

import dataclasses
import io
import struct
import tempfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.measuring import Row, in_turns, row
from data.prepared import layout, manifest, npz_files, records, writing
from data.readers.scannet import ScanNet
from data.rooms import views
from data.rooms.raw_writers import write_scannet_scene

FRAMES, WANTED = 300, 60
DEPTH, COLOUR = (480, 640), (968, 1296)
SCENE = "scene0000_00"
LOST_SHARE = 0.08
"""Of 8x8 blocks: holes, and noise, make payloads as large as those of a depth camera."""


def rows() -> list[Row]:
    """Ratios of preparing to both formats, of reading alone, and to the floor."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        sens = write_scene(root / "scannet")
        return _measure(sens, root)


def _measure(sens: Path, root: Path) -> list[Row]:
    payloads = list(depth_payloads(sens))[:: FRAMES // WANTED]
    reader = ScanNet(root / "scannet")
    (scene,) = reader.scenes()
    frames = [frame for place in scene.places for frame in place]
    wanted = [frames[index] for index in range(0, FRAMES, FRAMES // WANTED)]

    def ours(format: str) -> None:
        for index, frame in enumerate(wanted):
            origin = manifest.Origin(reader.name, SCENE, str(frame), index)
            writing.write_sample(root / "ours", index, reader.read(scene, frame), origin, format)
        if format == layout.ARRAY_RECORD:
            records.pack(root / "ours", 0, 0, WANTED)
            records.drop(root / "ours", 0, WANTED)

    def common(save: bool) -> None:
        for index, payload in enumerate(depth_payloads(sens)):
            if index % (FRAMES // WANTED) == 0:
                depth = np.frombuffer(zlib.decompress(payload), np.uint16).reshape(DEPTH) / 1000.0
                if save:
                    np.savez_compressed(root / "common.npz", depth=depth)

    def floor() -> None:
        for payload in payloads:
            depth = np.frombuffer(zlib.decompress(payload), np.uint16).reshape(DEPTH)
            npz_files.pack_npz((depth / 1000).astype(np.float32))

    taken = in_turns(
        {
            "common": lambda: common(save=True),
            "npz": lambda: ours(layout.NPZ),
            "array_record": lambda: ours(layout.ARRAY_RECORD),
            "floor": floor,
            "common reading": lambda: common(save=False),
            "reading": lambda: [reader.read(scene, frame) for frame in wanted],
            "inflating": lambda: [zlib.decompress(payload) for payload in payloads],
        }
    )
    at_best = taken["common"] / taken["floor"], taken["common reading"] / taken["inflating"]
    best = [f"{np.median(ratios):.0f}x" for ratios in at_best]
    return [
        row("prepare .sens to npz, against the common way", taken["common"] / taken["npz"], "x", 7,
            floor=f"{best[0]}: inflate and deflate alone"),
        row("prepare .sens to array_record, against the same",
            taken["common"] / taken["array_record"], "x", 20),
        row("prepare .sens to npz, over inflate and deflate alone", taken["npz"] / taken["floor"],
            "x", 1.5, better="less"),
        row("read .sens alone, against the common way", taken["common reading"] / taken["reading"],
            "x", 25, floor=f"{best[1]}: inflate alone"),
    ]  # fmt: skip


def depth_payloads(path: Path):
    """Compressed depth of every frame, read through from the start, byte by byte unpacked."""
    with path.open("rb") as sens:
        _, length = struct.unpack("<IQ", sens.read(12))
        sens.read(length + 4 * 64 + 8 + 20)
        (count,) = struct.unpack("<Q", sens.read(8))
        for _ in range(count):
            sens.read(64 + 16)
            sizes = struct.unpack("<QQ", sens.read(16))
            _, depth = (b"".join(struct.unpack("c" * size, sens.read(size))) for size in sizes)
            yield depth


def write_scene(root: Path) -> Path:
    """A scene whose payloads are as large as a depth camera's."""
    rng = np.random.default_rng(0)
    smooth = Image.fromarray(rng.integers(0, 256, (121, 162, 3), dtype=np.uint8))
    colour = io.BytesIO()
    smooth.resize(COLOUR[::-1], Image.Resampling.BICUBIC).save(colour, "JPEG")
    camera = [view for seed in range(3) for view in views.random_views(seed, 4, DEPTH)]
    first = camera[0].intrinsics
    seen = []
    for number in range(FRAMES):
        view = camera[number % len(camera)]
        lost = rng.random((DEPTH[0] // 8, DEPTH[1] // 8)) < LOST_SHARE
        noisy = view.depth * rng.normal(1, 0.002, DEPTH)
        kept = np.where(np.kron(lost, np.ones((8, 8), bool)), 0, noisy)
        seen.append(dataclasses.replace(view, depth=kept.astype(np.float32), intrinsics=first))
    return write_scannet_scene(root, SCENE, seen, colour.getvalue())


def main() -> None:
    """Prints the rows."""
    for each in rows():
        print(f"{each.name:60}{each.value:8.1f}{each.unit} (aim {each.aim})  {each.floor}")


if __name__ == "__main__":
    main()
