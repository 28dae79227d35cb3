"""Scenes with pictures for a depth network: pictures, depth and cameras in a file for each scene.

The files are of this project alone: `pictures` (V, 96, 128, 3) uint8, `depth` (V, 192, 256)
float32 metres with 0 for missing, `intrinsics` (3, 3) of the depth, `poses` (V, 4, 4).
"""

import functools
import io
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from data.parallel import work
from data.rooms.building import Surroundings
from data.rooms.raw_writers import scene_seed
from data.rooms.views import View, random_views
from train3d_jax.files import write_whole

SIZE = (192, 256)
"""Height and width of the depth, pixels."""

SMALLER = 2
"""By how much pictures are smaller; chosen: they take ten times as long to render as depth."""

SURROUNDINGS: dict[Surroundings, float] = {
    "homes": 0.45, "halls": 0.2, "streets": 0.15, "tables": 0.2,
}  # fmt: skip
"""Shares of the scenes; chosen."""


class Scene(NamedTuple):
    """The views of a scene.

    Attributes:
        pictures: (V, H / SMALLER, W / SMALLER, 3) uint8.
        depth: (V, H, W) float32, metres; 0 = missing.
        intrinsics: (3, 3) of the depth, pixels.
        poses: (V, 4, 4) camera to world.
    """

    pictures: np.ndarray
    depth: np.ndarray
    intrinsics: np.ndarray
    poses: np.ndarray

    def views(self, depth: np.ndarray) -> list[View]:
        """The views with other depth, without pictures."""
        return [
            View(one, self.intrinsics, pose) for one, pose in zip(depth, self.poses, strict=True)
        ]


def write_scenes(folder: Path, scenes: int, views: int, seed: int, num_workers: int) -> list[Path]:
    """Renders scenes, those that are not there; shows progress.

    Args:
        folder: of the files; made if need be.
        scenes: how many; each is a pure function of the seed and its number.
        views: of each.
        seed: >= 0.
        num_workers: processes that render; 0 renders here on all cores.

    Returns:
        The files in order.

    Raises:
        UserError: no ray caster can be loaded.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"scene{number:06d}.npz" for number in range(scenes)]
    tasks = [(path, scene_seed(seed, 0, number)) for number, path in enumerate(paths)]
    tasks = [task for task in tasks if not task[0].exists()]
    write = functools.partial(_write, views=views, threads=0 if num_workers == 0 else 1)
    with (
        tqdm(total=len(tasks), desc="rendering pictures", unit="scene") as progress,
        work.workers(min(num_workers, max(len(tasks), 1))) as (executor, count),
    ):
        for _ in work.run_in_order(executor, write, tasks, count):
            progress.update()
    return paths


def read_scene(path: Path) -> Scene:
    """The views of a file."""
    with np.load(path) as arrays:
        contents: Mapping[str, np.ndarray] = dict(arrays)
    return Scene(**contents)


def _write(task: tuple[Path, int], views: int, threads: int) -> None:
    path, seed = task
    names = list(SURROUNDINGS)
    chosen = np.random.default_rng([seed, 5]).choice(len(names), p=list(SURROUNDINGS.values()))
    seen = random_views(
        seed, views, SIZE, one_camera=True, surroundings=names[chosen], threads=threads,
        pictures=SMALLER,
    )  # fmt: skip
    scene = Scene(
        np.stack([np.asarray(view.picture) for view in seen]),
        np.stack([view.depth for view in seen]),
        seen[0].intrinsics,
        np.stack([view.camera_to_world for view in seen]),
    )
    buffer = io.BytesIO()
    np.savez(buffer, **scene._asdict())
    write_whole(path, buffer.getbuffer())
