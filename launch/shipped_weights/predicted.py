"""Maps with the errors of a depth network: what it makes of pictures of rendered rooms.

A small network (`networks.picture_depth`) is trained on pictures of rooms.  Its depth of pictures
of other rooms, mixed with the true depth, is a set like any other: the true shift and focal length
of such a map are those under which its own points were seen, as for the maps of users' networks.
"""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import numpy as np
from tqdm import tqdm

from data.protocol import LICENCE
from data.rooms.picture_sets import SIZE, SMALLER, Scene, read_scene, write_scenes
from data.rooms.raw_writers import ROOMS_LICENCE, scene_seed, write_scannet_scene
from launch import compiled
from train3d_jax.files import write_whole
from train3d_jax.storage import weights
from train3d_jax.training import picture_training

TRAINING_SCENES, TRAINING_VIEWS = 900, 5
PREDICTED_SCENES, PREDICTED_VIEWS = 1100, 4
"""Rooms and views of each, to train the network and to apply it.  Chosen."""

STEPS, BATCH = 1700, 16
"""Of the network's training.  Chosen: six passes."""

SHARE = (0.05, 0.6)
"""Of the network's error in the logarithm of depth that a scene's maps have.  Chosen: this network
has an error of 30 % in rooms that it has not seen, so that maps have one of 10 %.  ZoeDepth and
Depth Anything have 7.7 and 5.6 on NYU."""

EDGE_SHARE = 0.5
"""Of the scenes, whose maps have the mean of both inverse depths and not of both logarithms: the
error is then in proportion to the depth, as of networks that predict disparity.  Chosen."""


def write_raw(out: Path, seed: int, share: float, num_workers: int) -> int:
    """Renders, trains and predicts; writes the maps as raw ScanNet scenes.

    Args:
      out: folder for pictures, the network, and `raw`.
      seed: of all.
      share: of the scenes and of the steps, in (0, 1].
      num_workers: processes that render.

    Returns:
      The number of maps.
    """
    scenes = [max(2, round(share * count)) for count in (TRAINING_SCENES, PREDICTED_SCENES)]
    count = scenes[1] * PREDICTED_VIEWS
    licence = out / "raw" / LICENCE  # written last
    if licence.exists():
        return count
    training = write_scenes(out / "training", scenes[0], TRAINING_VIEWS, seed, num_workers)
    applied = write_scenes(out / "applied", scenes[1], PREDICTED_VIEWS, seed + 1, num_workers)
    compiled.start()
    params = _trained(training, max(2, round(share * STEPS)), seed)
    weights.write(out / "network", params, {"steps": STEPS, "seed": seed})
    for number, path in enumerate(tqdm(applied, desc="predicting", unit="scene")):
        scene = read_scene(path)
        rng = np.random.default_rng(scene_seed(seed, 2, number))
        depth = with_errors(scene.depth, _predicted(params, scene), rng)
        write_scannet_scene(out / "raw", f"scene{number:04d}_00", scene.views(depth))
    write_whole(licence, f"{ROOMS_LICENCE}\n".encode())
    return count


def _trained(paths: Sequence[Path], steps: int, seed: int):
    """The weights after so many steps."""
    scenes = [read_scene(path) for path in tqdm(paths, desc="reading", unit="scene")]
    pictures = np.concatenate([scene.pictures for scene in scenes])
    depth = np.concatenate([_thinned(scene.depth, 2 * SMALLER) for scene in scenes])
    key = jax.random.key(seed)
    size = (SIZE[0] // SMALLER, SIZE[1] // SMALLER)
    state = picture_training.initial_state(jax.random.fold_in(key, steps), steps, size)
    losses = []
    with tqdm(total=steps, desc="training", unit="step") as bar:
        for step, chosen in enumerate(itertools.islice(_orders(len(depth), seed), steps)):
            state, value = picture_training.train_step(
                state, jax.random.fold_in(key, step), pictures[chosen], depth[chosen], steps
            )
            losses.append(value)
            bar.update()
            if len(losses) == 100:
                bar.set_postfix(loss=f"{np.mean(losses):.3f}")
                losses = []
    return state.average


def _orders(count: int, seed: int) -> Iterator[np.ndarray]:
    """Batches of numbers, in another order in each pass."""
    rng = np.random.default_rng(seed)
    batch = min(BATCH, count)
    while True:
        order = rng.permutation(count)
        yield from (order[start : start + batch] for start in range(0, count - batch + 1, batch))


def _thinned(depth: np.ndarray, factor: int) -> np.ndarray:
    """The depth at every so many-th pixel, (V, H / factor, W / factor)."""
    return depth[:, factor // 2 :: factor, factor // 2 :: factor]


def _predicted(params, scene: Scene) -> np.ndarray:
    """Log depth of the network at the depth's size, up to a constant for each view."""
    small = picture_training.log_depth(params, scene.pictures)
    return np.asarray(jax.image.resize(small, scene.depth.shape, "cubic"))


def with_errors(depth: np.ndarray, log_depth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """True depth moved towards a network's, each view scaled to the truth first.

    Args:
      depth: metres, 0 where missing, shape (V, H, W).
      log_depth: of the network, up to a constant for each view, shape (V, H, W).
      rng: of how far, for all views alike.

    Returns:
      Metres, 0 where missing, shape (V, H, W).
    """
    mask = depth > 0
    true = np.log(np.where(mask, depth, 1.0))
    off = [np.median((a - b)[m]) if m.any() else 0.0
           for a, b, m in zip(log_depth, true, mask, strict=True)]  # fmt: skip
    error = log_depth - true - np.array(off)[:, None, None]
    share = rng.uniform(*SHARE)
    if rng.random() < EDGE_SHARE:
        inverse = np.exp(-true) * ((1 - share) + share * np.exp(-error))
        moved = 1 / inverse
    else:
        moved = np.exp(true + share * error)
    return np.where(mask, moved, 0.0).astype(np.float32)
