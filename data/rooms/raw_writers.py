"""Writes small raw datasets in the native layouts of ScanNet, 3D Ken Burns and Taskonomy.

For the demo and the tests: `data.readers` read them as they read the real datasets.  The numbers of
each format are those of its reader.  Every file is written under another name and then renamed, so
that a file under its own name is always whole.
"""

import functools
import json
import math
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from data.parallel import work
from data.protocol import LICENCE
from data.rooms.building import Surroundings
from data.rooms.cameras import HABITS, random_size
from data.rooms.views import View, random_quadruples, random_views
from train3d_jax.errors import UserError
from train3d_jax.files import write_whole
from train3d_jax.geometry.camera import focal_to_fov

# ScanNet: depth in millimetres, and the time between two frames of a 30 Hz sensor.
SENS_VERSION = 4
SENS_DEPTH_SHIFT = 1000.0
SENS_FRAME_US = 33_333
SENS_JPEG, SENS_ZLIB_USHORT = 2, 1
# 3D Ken Burns: depth in centimetres as half floats; the value of the sky.
KENBURNS_UNITS_PER_METRE = 100.0
KENBURNS_SKY = 65280.0
KENBURNS_CORNERS = ("tl", "tr", "bl", "br")
# Taskonomy: depth in 1/512 m.
TASKONOMY_UNITS_PER_METRE = 512.0
TASKONOMY_MISSING = 65535


ROOMS_LICENCE = "rendered rooms, free to use"
"""Rooms contain nothing of the datasets in whose layouts they are written."""


@dataclass(frozen=True)
class RawRooms:
    """The folder of each dataset; None for one without scenes."""

    scannet: Path | None
    kenburns: Path | None
    taskonomy: Path | None


def write_raw_rooms(
    root: str | Path,
    num_scenes: tuple[int, int, int],
    num_views: tuple[int, int, int] = (5, 2, 5),
    *,
    seed: int = 0,
    num_workers: int = 2,
    size: tuple[int, int] = (192, 256),
    surroundings: Surroundings = "homes",
) -> RawRooms:
    """Renders random rooms and writes them as three raw datasets, with progress on the screen.

    The three datasets go to `root/scannet`, `root/kenburns` and `root/taskonomy`.  Every scene is
    a room of its own, a pure function of `seed`, its dataset and its number: adding scenes or
    workers changes none of the others.

    Args:
        root: folder to write to; made if need be, must be empty.
        num_scenes: how many rooms for ScanNet, 3D Ken Burns and Taskonomy; 0 leaves one out.
        num_views: for each room of ScanNet how many frames, of 3D Ken Burns how many ids (of four
            views each), of Taskonomy how many points; all >= 1.
        seed: >= 0.
        num_workers: processes that render, one core each; 0 renders in this process on all cores.
        size: (height, width) of most ScanNet frames; the others have as many pixels in another
            aspect, and the images of the other two datasets are squares of this height.
        surroundings: what the rooms are and how they are seen, as of `views.random_views`.

    Returns:
        The roots of the three datasets, as `launch.prepare` takes them.

    Raises:
        UserError: `root` is not empty, or open3d cannot be loaded.
        ValueError: a count is out of range.
    """
    if min(num_scenes) < 0 or min(num_views) < 1 or num_workers < 0:
        raise ValueError(f"counts out of range: {num_scenes=} {num_views=} {num_workers=}")
    root = Path(root)
    if root.exists() and any(root.iterdir()):
        raise UserError(f"{root}: is not empty; give a new folder or delete this one")
    jobs = [
        _Job(
            dataset,
            scene,
            num_views[index],
            scene_seed(seed, index, scene),
            root,
            size,
            surroundings,
        )
        for index, dataset in enumerate(_WRITERS)
        for scene in range(num_scenes[index])
    ]
    with tqdm(total=sum(job.maps for job in jobs), desc="rendering rooms", unit="map") as progress:
        for job in _run(jobs, num_workers):
            progress.update(job.maps)
    made = [
        root / dataset if count else None
        for dataset, count in zip(_WRITERS, num_scenes, strict=True)
    ]
    for folder in filter(None, made):
        write_whole(folder / LICENCE, f"{ROOMS_LICENCE}\n".encode())
    return RawRooms(*made)


def scene_seed(seed: int, dataset: int, scene: int) -> int:
    """A seed of 64 bits for one scene: unlike every other scene's, of any dataset."""
    return int(np.random.SeedSequence([seed, dataset, scene]).generate_state(1, np.uint64)[0])


@dataclass(frozen=True)
class _Job:
    """One scene to render and write."""

    dataset: str
    scene: int
    num_views: int
    seed: int
    root: Path
    size: tuple[int, int]
    surroundings: Surroundings

    @property
    def maps(self) -> int:
        """How many depth maps the scene has."""
        return self.num_views * (len(KENBURNS_CORNERS) if self.dataset == "kenburns" else 1)

    def how(self, threads: int) -> dict[str, Any]:
        """What every kind of view is rendered with."""
        return {"surroundings": self.surroundings, "threads": threads}


def _run(jobs: list[_Job], num_workers: int) -> Iterator[_Job]:
    """Does every job and yields it when done, in order."""
    write = functools.partial(_render_and_write, threads=0 if num_workers == 0 else 1)
    with work.workers(min(num_workers, len(jobs))) as (executor, count):
        for job, _ in work.run_in_order(executor, write, jobs, count):
            yield job


def _render_and_write(job: _Job, threads: int) -> None:
    _WRITERS[job.dataset](job, threads)


def _scannet_job(job: _Job, threads: int) -> None:
    rng = np.random.default_rng(job.seed)
    size = job.size
    habits = HABITS[job.surroundings]
    if rng.random() < habits.other_aspects:
        size = random_size(rng, math.prod(size), habits.aspects)
    views = random_views(job.seed, job.num_views, size, one_camera=True, **job.how(threads))
    write_scannet_scene(job.root / job.dataset, f"scene{job.scene:04d}_00", views)


def _kenburns_job(job: _Job, threads: int) -> None:
    square = (job.size[0], job.size[0])
    quadruples = random_quadruples(job.seed, job.num_views, square, **job.how(threads))
    write_kenburns_scene(job.root / job.dataset, f"room{job.scene:04d}", quadruples)


def _taskonomy_job(job: _Job, threads: int) -> None:
    square = (job.size[0], job.size[0])
    views = random_views(job.seed, job.num_views, square, centred=True, **job.how(threads))
    write_taskonomy_building(job.root / job.dataset, f"room{job.scene:04d}", views)


_WRITERS = {"scannet": _scannet_job, "kenburns": _kenburns_job, "taskonomy": _taskonomy_job}


def write_scannet_scene(
    root: str | Path, scene: str, views: Sequence[View], colour: bytes | None = None
) -> Path:
    """Writes `root/scans/<scene>/<scene>.sens`, version 4, depth in millimetres under zlib.

    Args:
        root: the dataset's folder; made if need be.
        scene: name of the scene, such as `scene0000_00`.
        views: one frame each, at least one; a `.sens` has room for one camera only.  Depths of
            65.536 m and more become missing.
        colour: a JPEG to stand for every frame's colour image; a blank one where None is given.

    Returns:
        The path of the file.

    Raises:
        ValueError: the views differ in size or intrinsics, or there are none.
    """
    if not views:
        raise ValueError(f"{scene}: no views to write")
    first = views[0]
    for view in views:
        if view.depth.shape != first.depth.shape or (view.intrinsics != first.intrinsics).any():
            raise ValueError(f"{scene}: all views of a .sens share one size and one camera")
    height, width = first.depth.shape
    intrinsics = np.eye(4)
    intrinsics[:3, :3] = first.intrinsics
    name = b"rendered room"
    colour = colour or _grey_jpeg(width, height)
    with Image.open(BytesIO(colour)) as image:
        colour_size = image.size
    chunks = [
        struct.pack("<IQ", SENS_VERSION, len(name)) + name,
        *(_matrix(m) for m in (intrinsics, np.eye(4), intrinsics, np.eye(4))),
        struct.pack("<ii", SENS_JPEG, SENS_ZLIB_USHORT),
        struct.pack("<IIIIf", *colour_size, width, height, SENS_DEPTH_SHIFT),
        struct.pack("<Q", len(views)),
    ]
    for index, view in enumerate(views):
        depth = zlib.compress(_quantised(view.depth, SENS_DEPTH_SHIFT, 0).tobytes())
        time = index * SENS_FRAME_US
        chunks += [
            _matrix(view.camera_to_world),
            struct.pack("<QQQQ", time, time, len(colour), len(depth)),
            colour,
            depth,
        ]
    chunks.append(struct.pack("<Q", 0))
    path = Path(root) / "scans" / scene / f"{scene}.sens"
    write_whole(path, b"".join(chunks))
    return path


def _matrix(matrix: np.ndarray) -> bytes:
    return matrix.astype("<f4").tobytes()


def _grey_jpeg(width: int, height: int) -> bytes:
    """A blank picture, a kilobyte or less, in place of the colour frame that nothing here reads."""
    buffer = BytesIO()
    Image.new("L", (width, height), 128).save(buffer, "JPEG")
    return buffer.getvalue()


def write_kenburns_scene(
    root: str | Path, scene: str, quadruples: Sequence[Sequence[View]]
) -> list[Path]:
    """Writes `root/rgb/<scene>/<id>-meta.json` and `root/depths/<scene>-depth/<id>-*-depth.exr`.

    Args:
        root: the dataset's folder; made if need be.
        scene: name of the scene, such as `victorian` or `town-walking`.
        quadruples: one id each: its views top left, top right, bottom left, bottom right.

    Returns:
        The paths of the depth maps, four for each id.

    Raises:
        ValueError: a view is not square with a centred principal point, which the format cannot
            say, or the views of an id differ in field of view.
    """
    paths = []
    for number, quadruple in enumerate(quadruples, start=1):
        angles = {field_of_view(view) for view in quadruple}
        if len(quadruple) != len(KENBURNS_CORNERS) or len(angles) != 1:
            raise ValueError(f"{scene}: id {number} wants four views of one field of view")
        meta = {"intSample": 1, "fltFov": math.degrees(angles.pop())}
        meta_path = Path(root) / "rgb" / scene / f"{number:05d}-meta.json"
        write_whole(meta_path, json.dumps(meta).encode())
        for corner, view in zip(KENBURNS_CORNERS, quadruple, strict=True):
            folder = Path(root) / "depths" / f"{scene}-depth"
            paths.append(folder / f"{number:05d}-{corner}-depth.exr")
            _write_exr(paths[-1], view.depth)
    return paths


def _write_exr(path: Path, depth: np.ndarray) -> None:
    # Here, because OpenEXR is heavy and the other two datasets do without.
    import OpenEXR

    units = depth * np.float32(KENBURNS_UNITS_PER_METRE)
    # From 60000 up readers take a value for the sky.
    units = np.where((depth > 0) & (units < 60000), units, KENBURNS_SKY).astype(np.float16)
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with OpenEXR.File(header, {"Y": units}) as file:
        file.write(str(partial))
    os.replace(partial, path)


def write_taskonomy_building(root: str | Path, building: str, views: Sequence[View]) -> list[Path]:
    """Writes the depth PNGs and the point_info JSONs of one building.

    Args:
        root: the dataset's folder; made if need be.
        building: name of the building, such as `allensville`.
        views: one point each.  Depths of 128 m and more become missing.

    Returns:
        The paths of the depth maps.

    Raises:
        ValueError: a view is not square with a centred principal point, which the format cannot
            say.
    """
    paths = []
    for point, view in enumerate(views):
        info = {
            "field_of_view_rads": field_of_view(view),
            "resolution": view.depth.shape[0],
            "point_uuid": str(point),
            "view_id": 0,
            "camera_location": view.camera_to_world[:3, 3].tolist(),
        }
        stem = f"point_{point}_view_0_domain"
        folders = [Path(root) / kind / "taskonomy" / building for kind in _TASKONOMY_KINDS]
        write_whole(folders[1] / f"{stem}_point_info.json", json.dumps(info).encode())
        buffer = BytesIO()
        units = _quantised(view.depth, TASKONOMY_UNITS_PER_METRE, TASKONOMY_MISSING)
        Image.fromarray(units).save(buffer, "PNG")
        paths.append(folders[0] / f"{stem}_depth_zbuffer.png")
        write_whole(paths[-1], buffer.getvalue())
    return paths


_TASKONOMY_KINDS = ("depth_zbuffer", "point_info")


def field_of_view(view: View) -> float:
    """The full field of view of a square, centred view, radians.

    Raises:
        ValueError: the image or its pixels are not square, or the principal point is off centre.
    """
    height, width = view.depth.shape
    focal_x, focal_y = view.intrinsics[0, 0], view.intrinsics[1, 1]
    centre = [(width - 1) / 2, (height - 1) / 2]
    if height != width or focal_x != focal_y or view.intrinsics[:2, 2].tolist() != centre:
        raise ValueError(
            f"{height}x{width}, {view.intrinsics.tolist()}: this format holds square images with "
            "the principal point at the centre only"
        )
    return float(focal_to_fov(focal_x, width))


def _quantised(depth: np.ndarray, units_per_metre: float, missing: int) -> np.ndarray:
    """`depth` in 16-bit units, `missing` where there is none or it does not fit."""
    units = np.rint(depth.astype(np.float64) * units_per_metre)
    fits = (depth > 0) & (units > 0) & (units < 65535)
    return np.where(fits, units, missing).astype("<u2")
