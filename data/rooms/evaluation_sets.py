"""A folder of rendered views with pictures, as `launch.evaluate` reads it: manifest.json."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from data.rooms.building import Surroundings
from data.rooms.views import random_views
from train3d_jax.files import write_whole


def write_evaluation_set(
    folder: Path,
    rooms: int,
    views: int = 2,
    size: tuple[int, int] = (480, 640),
    *,
    first_seed: int = 0,
    noise: float = 0.0,
    surroundings: Surroundings = "homes",
    threads: int = 0,
) -> Path:
    """Writes depth/*.npy in metres, rgb/*.png and manifest.json; returns the folder.

    Args:
        folder: made if it is not there.
        rooms: how many; each is a scene, and needs a seed of its own.
        views: of each room.
        size: (height, width) in pixels, of depth and picture.
        first_seed: of the rooms.
        noise: standard deviation of the depth over the depth; the views and pictures do not
            depend on it.
        surroundings: what the rooms are among.
        threads: that cast rays; 0 takes every core.

    Raises:
        UserError: no ray caster can be loaded.
    """
    rows = []
    for kind in ("depth", "rgb"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for seed in range(first_seed, first_seed + rooms):
        rng = np.random.default_rng([seed, 4])
        seen = random_views(
            seed, views, size, surroundings=surroundings, threads=threads, pictures=True
        )
        for number, view in enumerate(seen):
            name = f"room{seed:05d}_{number}"
            depth = view.depth * (1 + noise * rng.standard_normal(size, np.float32))
            np.save(folder / "depth" / f"{name}.npy", depth.astype(np.float32))
            Image.fromarray(np.asarray(view.picture)).save(folder / "rgb" / f"{name}.png")
            (fx, _, cx), (_, fy, cy), _ = view.intrinsics.tolist()
            rows.append(
                {
                    "depth": f"depth/{name}.npy",
                    "rgb": f"rgb/{name}.png",
                    "fx": fx,
                    "fy": fy,
                    "cx": cx,
                    "cy": cy,
                    "metres_per_unit": 1.0,
                    "scene": f"room{seed:05d}",
                }
            )
    write_whole(folder / "manifest.json", json.dumps(rows, indent=1).encode())
    return folder
