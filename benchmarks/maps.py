"""Rendered maps as a depth camera gives them, and prepared sets of them, for benchmarks."""

from pathlib import Path

import numpy as np

from data.prepared import layout, manifest, records, writing
from data.protocol import DepthMap
from data.rooms import views

SIZE = (480, 640)


VIEWS_OF_A_ROOM = 4


NOISY_COPIES = 8  # of each view: rendering takes longer than all the rest


# A structured light camera: focal length times baseline, its steps of disparity, and its noise.
DISPARITY_PIXEL_METRES, STEP_PIXELS, NOISE_PIXELS = 575 * 0.075, 1 / 8, 0.05


HOLES = 0.08  # share of the 8x8 blocks that have no depth


def render_maps(count: int, seen_by_a_camera: bool = True) -> list[DepthMap]:
    """Rooms as a depth camera gives them, or as they are, 640x480."""
    rng = np.random.default_rng(0)
    clean = [
        view
        for seed in range(count // (VIEWS_OF_A_ROOM * NOISY_COPIES))
        for view in views.random_views(seed, VIEWS_OF_A_ROOM, SIZE)
    ]
    return [
        DepthMap(
            _as_a_camera_sees(view.depth, rng) if seen_by_a_camera else view.depth, view.intrinsics
        )
        for _ in range(NOISY_COPIES)
        for view in clean
    ]


def _as_a_camera_sees(depth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Whole millimetres, with noise and steps of disparity, and holes."""
    holes = rng.random((SIZE[0] // 8, SIZE[1] // 8)) < HOLES
    seen = (depth > 0) & ~np.kron(holes, np.ones((8, 8), bool))
    disparity = DISPARITY_PIXEL_METRES / np.where(seen, depth, 1)
    disparity += rng.normal(0, NOISE_PIXELS, SIZE)
    disparity = np.maximum(np.rint(disparity / STEP_PIXELS), 1) * STEP_PIXELS
    millimetres = np.rint(1000 * DISPARITY_PIXEL_METRES / disparity).clip(1, 65535)
    return np.divide(np.where(seen, millimetres, 0), 1000, dtype=np.float32)


def write_set(folder: Path, maps: list[DepthMap], format: str) -> Path:
    """A prepared set of maps; its folder."""
    writing.begin(folder)
    for index, depth_map in enumerate(maps):
        origin = manifest.Origin("rooms", f"room{index % 16}", "rendered", index)
        row = writing.write_sample(folder, index, depth_map, origin, format)
        manifest.append_rows(folder, [row])
    if format == layout.ARRAY_RECORD:
        first = 0
        for number, size in enumerate(records.shard_sizes(len(maps))):
            records.pack(folder, number, first, size)
            records.drop(folder, first, size)
            first += size
    writing.finish(folder, {"format": format}, software="benchmark")
    return folder
