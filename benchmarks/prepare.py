"""Speed of preparing, and of reading back, beside what decoding and packing alone must take.

    python -m benchmarks.prepare [--scannet FOLDER] [--kenburns FOLDER] [--taskonomy FOLDER]

One core.  Of each dataset that is given, or of rendered rooms where none is, some maps are read by
our reader and by the bare decoder (zlib, OpenEXR, PNG) from the same bytes in memory; then written
in both formats, beside `np.savez_compressed` of float32; then read back.  All are run in turns,
medians are printed, and ratios are of the same run.
"""

import dataclasses
import io
import statistics
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import OpenEXR
from absl import app, flags
from PIL import Image

from data.prepare import plan
from data.prepared import layout, manifest, npz_files, prepared_set, records, writing
from data.protocol import DepthMap, Frame, Reader, Scene
from data.readers import scannet
from data.rooms.raw_writers import write_raw_rooms

_ROOTS = {name: flags.DEFINE_string(name, None, f"Folder of {name}.") for name in plan.READERS}
_MAPS = flags.DEFINE_integer("maps", 12, "How many maps of each dataset.")
_ROUNDS = flags.DEFINE_integer("rounds", 7, "How often each is run; the median is printed.")


def main(_: list[str]) -> None:
    """Prints a table for each dataset."""
    with tempfile.TemporaryDirectory() as folder:
        roots = {name: Path(flag.value) for name, flag in _ROOTS.items() if flag.value}
        if not roots:
            raw = write_raw_rooms(Path(folder) / "raw", (1, 1, 1), (_MAPS.value, 3, _MAPS.value))
            roots = {name: path for name, path in dataclasses.asdict(raw).items() if path}
        for name, root in roots.items():
            _measure(plan.READERS[name](root), Path(folder) / name)


def _measure(reader: Reader, out: Path) -> None:
    frames = [
        (scene, view) for scene in reader.scenes() for place in scene.places for view in place
    ]
    frames = frames[:: max(len(frames) // _MAPS.value, 1)][: _MAPS.value]
    maps = [reader.read(*frame) for frame in frames]
    decoders = [_decoder(reader, *frame) for frame in frames]
    sets = {format: _prepared(out / format, maps, format) for format in layout.FORMATS}
    order = np.random.default_rng(0).permutation(len(maps))

    def write(format: str) -> None:
        for index, depth_map in enumerate(maps):
            origin = manifest.Origin(reader.name, "scene", "source", index)
            writing.write_sample(out / "again", index, depth_map, origin, format)
        if format == layout.ARRAY_RECORD:
            records.pack(out / "again", 0, 0, len(maps))
            records.drop(out / "again", 0, len(maps))

    seconds = _in_turns(
        {
            "decoding alone": lambda: [decode() for decode in decoders],
            "reading": lambda: [reader.read(*frame) for frame in frames],
            "np.savez_compressed": lambda: [
                np.savez_compressed(io.BytesIO(), depth) for depth, _ in maps
            ],
            "packing npz alone": lambda: [npz_files.pack_npz(depth) for depth, _ in maps],
            "writing npz": lambda: write(layout.NPZ),
            "writing array_record": lambda: write(layout.ARRAY_RECORD),
            "reading npz back": lambda: [sets[layout.NPZ][index] for index in order],
            "reading array_record back": lambda: [
                sets[layout.ARRAY_RECORD][index] for index in order
            ],
        },
        len(maps),
    )
    reading, saving = seconds["reading"], seconds["np.savez_compressed"]
    size = "x".join(map(str, maps[0].depth.shape[::-1]))
    print(f"{reader.name}, {len(maps)} maps of {size}")
    print(f"  {'':28}{'ms a map':>10}{'maps/s':>10}")
    for what, taken in seconds.items():
        print(f"  {what:28}{1e3 * taken:10.2f}{1 / taken:10.0f}")
    for format in layout.FORMATS:
        rate = 1 / (reading + seconds[f"writing {format}"])
        print(f"  {f'preparing {format}':28}{1e3 / rate:10.2f}{rate:10.0f}")
    print(f"  reading takes {reading / seconds['decoding alone']:.2f} times the decoding alone")
    print(f"  packing npz is {saving / seconds['packing npz alone']:.2f} times as fast as numpy's")


def _decoder(reader: Reader, scene: Scene, frame: Frame) -> Callable[[], object]:
    """Decodes the bytes of one map, which are in memory (EXR: in the page cache)."""
    path = reader.file(scene, frame)
    if path.suffix == ".sens":
        header = scannet._read_header(path)
        with path.open("rb") as sens:
            payload = scannet._depth_payload(sens, path, header, int(frame))
        return lambda: zlib.decompress(payload)
    if path.suffix == ".png":
        contents = path.read_bytes()
        return lambda: np.asarray(Image.open(io.BytesIO(contents)))

    def decode_exr() -> object:
        with OpenEXR.File(str(path), separate_channels=True) as image:
            return image.channels()["Y"].pixels

    return decode_exr


def _prepared(out: Path, maps: list[DepthMap], format: str) -> prepared_set.PreparedSet:
    writing.begin(out)
    for index, depth_map in enumerate(maps):
        origin = manifest.Origin("benchmark", "scene", "source", index)
        manifest.append_rows(out, [writing.write_sample(out, index, depth_map, origin, format)])
    if format == layout.ARRAY_RECORD:
        records.pack(out, 0, 0, len(maps))
        records.drop(out, 0, len(maps))
    writing.finish(out, {"format": format}, software="benchmark")
    return prepared_set.PreparedSet(out)


def _in_turns(work: dict[str, Callable[[], object]], maps: int) -> dict[str, float]:
    """The median time of each, in seconds a map; the first round is not counted."""
    taken: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(_ROUNDS.value + 1):
        for name, run in work.items():
            start = time.perf_counter()
            run()
            taken[name].append((time.perf_counter() - start) / maps)
    return {name: statistics.median(seconds[1:]) for name, seconds in taken.items()}


if __name__ == "__main__":
    app.run(main)
