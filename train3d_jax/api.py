"""The library as a researcher uses it: a model, and the shape that it recovers of a depth map."""

import functools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import jax
import numpy as np
from jaxtyping import Float32
from numpy.typing import ArrayLike

from train3d_jax import chunking, compilation
from train3d_jax.errors import Argument, ArgumentError
from train3d_jax.formats import depth as depth_formats
from train3d_jax.geometry import clouds
from train3d_jax.geometry.affine import Space
from train3d_jax.inference import clip_recovery, map_checks
from train3d_jax.inference import models as inference_models
from train3d_jax.inference import recovery as inference
from train3d_jax.inference.arrays import depth_maps, masks_of
from train3d_jax.inference.known import (
    Clip,
    checked_clip,
    checked_focals,
    checked_intrinsics,
    checked_shift,
    checked_sigma,
)
from train3d_jax.inference.models import check_models
from train3d_jax.inference.rgb import lines_of, pictures_of
from train3d_jax.shape import Shape, shape_of
from train3d_jax.storage import run_config, weights

BATCH = 16
"""Maps solved at once at most; smaller batches are filled up to a power of two, so that only five
sizes are ever compiled."""

_BUNDLED: dict[str, Space] = {"depth": "depth", "disparity": "disparity"}
"""Names of the weights that come with the package; `inference_models.DEFAULT` names one of them."""

Run = str | os.PathLike[str]
"""Names weights that come with the package, or the folder of a run or of weights."""


@dataclass(frozen=True)
class Model:
    """Networks that recover shapes, or geometry alone where there are none; see `load_model`.

    Attributes:
      space: what the maps hold, up to scale and shift: "depth", "disparity" or "log".
      networks: that together answer.
    """

    space: Space
    networks: tuple[inference_models.Model, ...] = ()

    def recover(
        self,
        depth: ArrayLike | Iterable[ArrayLike],
        mask: ArrayLike | Iterable[ArrayLike] | None = None,
        *,
        focal_px: ArrayLike | None = None,
        focal_sigma: float = 0.0,
        intrinsics: ArrayLike | None = None,
        shift_known: bool | np.bool_ | float = False,
        clip: Clip | None = None,
        rgb: Any = None,
        lines: bool = True,
    ) -> Shape:
        """Recovers the focal length and the shift of depth maps, and what they make straight.

        The first call compiles programs: one for up to four maps, in a few seconds, and one for
        any larger number.  Later processes read them from the cache that the command line has too,
        see `compilation.keep_programs`; the environment variable TRAIN3D_JAX_CACHE=0 switches it
        off.

        Args:
          depth: one map, shape (H, W), (H, W, 1) or (1, H, W); a batch, (B, H, W), (B, H, W, 1) or
            (B, 1, H, W); or a list of single maps of any sizes.  Arrays of numpy, JAX, PyTorch and
            whatever else offers `__array__` or DLPack; images of Pillow with 16 bits or more.
            Values in any affine unit of `space`; 0, what is not finite and what a numpy masked
            array masks are missing.
          mask: for each map the pixels that count, of the shape of the maps; bool, True where a
            value counts, or integers.
          focal_px: vertical focal length in pixels where it is known, one for all or one for each.
          focal_sigma: relative error of the known focal length, such as 0.03 for one of EXIF; maps
            then narrow it down, and `hint_disagrees` is flagged where one excludes it.  0 is exact.
          intrinsics: (3, 3) in pixels of the map, or (B, 3, 3), where the camera is known; in place
            of `focal_px`.  Pixel centres are at integers.
          shift_known: the input's shift is right already, as that of a sensor; or the share of the
            depth that it may be off by, such as 0.05 for a metric network, which maps then refine.
          clip: the maps, all of one size, are the frames of a clip in their order, and have one
            camera: with "clip" one scale and one shift for all, as Video-Depth-Anything and
            DepthCrafter write them, with "frame" shifts of their own that follow each other.
          rgb: the picture of a single map, or one for each map, as an array or a list, None where
            there is none: their straight lines are evidence of focal length and shift, and tell
            which way is down.  (H, W, 3), (3, H, W) or grey (H, W) of any library, uint8 or floats
            from 0 to 1, or images of Pillow; of any size, and the aspect ratio of the map.  One of
            another aspect ratio, or whose edges are elsewhere than the map's, does not count, and
            is flagged.
          lines: False: pictures do not count, as without `rgb`.

        Returns:
          The shapes; each map's is independent of the others unless `clip` is given.

        Raises:
          UserError: an argument does not fit, and the message names it.
        """
        maps, form = depth_maps(depth)
        if mask is not None:
            masks = masks_of(mask, maps)
            maps = [np.where(one, values, 0) for one, values in zip(masks, maps, strict=True)]
        keeps_shift, shift_sigma = checked_shift(shift_known)
        if keeps_shift and self.space == "log":
            raise ArgumentError(
                Argument("shift_known", shift_known),
                ": has no meaning in log space, where the scale of the values is unknown; "
                "leave it out",
            )
        matrices = checked_intrinsics(intrinsics, maps)
        focals = checked_focals(focal_px, matrices, maps)
        pictures = pictures_of(rgb, maps)
        sigma = checked_sigma(focal_sigma, focals is not None)
        method = "learned" if self.networks else "geometric"
        check_models(
            self.networks,
            self.space,
            focals is not None and not sigma,
            keeps_shift and not shift_sigma,
            method,
        )
        clip = checked_clip(clip, focals, matrices, maps)
        if clip == "clip" and self.space == "log":
            raise ArgumentError(
                Argument("clip", clip), ": log depth has no shift that frames could share; 'frame'"
            )
        if not lines:
            pictures = [None] * len(maps)
        of_pictures = lines_of(pictures, maps, self.space, matrices)
        at_once = chunking.maps_at_once(len(maps))
        pooled, shift = None, inference.Known(shift=keeps_shift, shift_sigma=shift_sigma)
        if clip is not None:

            def evidence_of(frames: Sequence[int], known: inference.Known):
                for part in _parts(frames):
                    blocks = _blocks_of(maps, matrices, part)
                    yield inference.evidence(
                        self.networks, blocks, known, method, self.space, at_once,
                        of_pictures.segments(part),
                    )  # fmt: skip

            hint = None if focals is None else (float(focals[0]), sigma)
            height, width = maps[0].shape
            pooled = clip_recovery.pool(evidence_of, len(maps), (height, width), clip, hint, shift)
        parts, checks = [], []
        for chosen in _parts(range(len(maps))):
            blocks = _blocks_of(maps, matrices, chosen)
            focal = None if focals is None else focals[list(chosen)]
            known = shift._replace(focal=focal, focal_sigma=sigma)
            if pooled is not None:
                known = pooled.known(chosen)
            found = inference.recover_blocks(
                self.networks, blocks, known, method, self.space, at_once,
                of_pictures.segments(chosen),
            )  # fmt: skip
            parts.append(found)
            checks += map_checks.check([maps[i] for i in chosen], blocks, self.space, at_once)
        found = jax.tree.map(lambda *values: np.concatenate(values), *parts)
        flags = [(*c.flags, *of_pictures.flags(number)) for number, c in enumerate(checks)]
        unit = "metres" if inference_models.is_metric(self.networks) else "arbitrary"
        return shape_of(maps, form, self.space, matrices, found, flags, pooled, unit)


def _parts(maps: Sequence[int]) -> Iterator[Sequence[int]]:
    """Numbers of maps in parts that are solved at once."""
    for start in range(0, len(maps), BATCH):
        yield maps[start : start + BATCH]


def _blocks_of(
    maps: Sequence[np.ndarray], matrices: Sequence[np.ndarray | None], chosen: Sequence[int]
) -> clouds.Blocks:
    return inference.make_blocks(
        [maps[i] for i in chosen], intrinsics=[matrices[i] for i in chosen]
    )


def load_model(
    run: Run | Sequence[Run] | None = inference_models.DEFAULT, space: Space | None = None
) -> Model:
    """Loads networks, each once a process.

    Args:
      run: "depth" or "disparity" for the weights that come with the package, by what the maps hold
        up to scale and shift: depth (metric networks, sensors) or disparity (MiDaS, DPT, Depth
        Anything).  "default" is "depth".  Or the folder of a run of `train` or of weights; or
        several that together cover shift and focal length.  None for geometry alone, which needs
        `space`.  A folder that has one of the names is given as a `Path` or with its parent.
      space: of the maps; needed for geometry alone, else that of the networks.  "log", for log
        depth, needs None: no network covers it.

    Raises:
      UserError: there is no such run, it cannot be read, or it was trained in another space.
    """
    return _load(run, space, "run")


def recover(
    depth: ArrayLike | Iterable[ArrayLike],
    model: Model | Run | Sequence[Run] | None = inference_models.DEFAULT,
    mask: ArrayLike | Iterable[ArrayLike] | None = None,
    *,
    space: Space | None = None,
    focal_px: ArrayLike | None = None,
    focal_sigma: float = 0.0,
    intrinsics: ArrayLike | None = None,
    shift_known: bool | np.bool_ | float = False,
    clip: Clip | None = None,
    rgb: Any = None,
    lines: bool = True,
) -> Shape:
    """Short for `load_model(model, space).recover(depth, mask, ...)`.

    A corner of a room, its depth scaled and shifted, is straightened by geometry alone:

    >>> import numpy as np
    >>> from train3d_jax import recover
    >>> height, width, focal = 96, 128, 100.0
    >>> v, u = np.mgrid[:height, :width]
    >>> rays = np.stack([(u - 63.5) / focal, (v - 47.5) / focal, np.ones((height, width))], -1)
    >>> turn = np.array([[0.8, 0.2, -0.5657], [0.0, 0.9428, 0.3333], [0.6, -0.2667, 0.7543]])
    >>> directions = rays @ turn.T
    >>> walls = np.where(directions > 0, [2.0, 1.5, 3.0], [-1.0, -1.2, -2.0]) / directions
    >>> true_depth = walls.min(-1)
    >>> shape = recover(0.1 * true_depth + 0.3, model=None, space="depth")
    >>> print(f"{shape.focal_px:.0f} pixels")
    100 pixels
    >>> ratio = shape.depth / true_depth
    >>> bool(np.ptp(ratio) < 0.01 * ratio.mean())
    True
    >>> shape.points.shape
    (96, 128, 3)

    Args:
      depth: see `Model.recover`, as all that follow.
      model: what `load_model` returns, or its first argument.
      mask: pixels that count.
      space: of the maps, see `load_model`.
      focal_px: known focal length.
      focal_sigma: relative error of the known focal length.
      intrinsics: known camera.
      shift_known: the input's shift is right, or how far off it may be.
      clip: the maps are the frames of a clip.
      rgb: the picture of each map.
      lines: their straight lines count.

    Raises:
      UserError: as `load_model` and `Model.recover`.
    """
    if not isinstance(model, Model):
        model = _load(model, space, "model")
    elif space not in (None, model.space):
        raise ArgumentError(Argument("space", space), f": the model's is {model.space!r}")
    return model.recover(
        depth,
        mask,
        focal_px=focal_px,
        focal_sigma=focal_sigma,
        intrinsics=intrinsics,
        shift_known=shift_known,
        clip=clip,
        rgb=rgb,
        lines=lines,
    )


def read_depth(
    path: Run,
    *,
    key: str | None = None,
    channel: str | None = None,
    allow_8bit: bool = False,
    invalid: Sequence[float] = (),
    negate: bool = False,
) -> Float32[np.ndarray, "h w"]:
    """Reads a file of depth, as the programs do.

    .npy, .npy.gz, .npz, .png, .tif, .tiff, .exr, .pfm, .h5, .hdf5, .mat, .depth and .r3d of
    Record3D, .geometric.bin of COLMAP, and .heic.

    Args:
      path: the file.
      key: array to take from an .npz, .h5 or .mat that holds several.
      channel: channel to take from an .exr where it is not clear which one holds depth.
      allow_8bit: 8-bit grey images are read too; 256 steps bend every surface.
      invalid: values that stand for missing, besides 0 and what is not finite.
      negate: values are multiplied by -1: near and far are swapped in the file.

    Returns:
      The values as they are stored, 0 where `invalid`; not scaled to metres.

    Raises:
      UserError: the file cannot be read, or holds not one map of numbers; the message says why.
    """
    settings = depth_formats.ReadSettings(key, channel, allow_8bit, tuple(invalid), negate)
    return depth_formats.read_depth_file(Path(path), settings)


def _load(run: Any, space: Any, name: str) -> Model:
    """A model; `name` is the argument that `run` was given as."""
    if space not in (None, *get_args(Space)):
        raise ArgumentError(Argument("space", space), ": give 'depth', 'disparity' or 'log'")
    if run is None:
        if space is None:
            raise ArgumentError(
                Argument("space"),
                ": give 'depth', 'disparity' or 'log'; no network says what maps hold",
            )
        compilation.keep_programs()
        return Model(space)
    if space == "log":
        raise ArgumentError(
            Argument("space", space), ": no network covers it; give None as ", Argument(name)
        )
    runs = list(run) if isinstance(run, Sequence) and not isinstance(run, str) else [run]
    if not runs or not all(isinstance(one, str | os.PathLike) for one in runs):
        raise ArgumentError(
            Argument(name, run), ": give 'depth', 'disparity', a run's folder, or several of them"
        )
    compilation.keep_programs()
    networks = tuple(_network(one, space) for one in runs)
    space = space or networks[0].config.clouds.space
    check_models(networks, space, focal_known=True, shift_known=True)
    return Model(space, networks)


def _network(run: Run, space: Space | None) -> inference_models.Model:
    if run == inference_models.DEFAULT:
        return _load_once(weights.bundled(space or "depth"), ())
    if isinstance(run, str) and run in _BUNDLED:
        return _load_once(weights.bundled(_BUNDLED[run]), ())
    folder = Path(run)
    parts = (folder, folder / run_config.CHECKPOINTS, folder / weights.WEIGHTS)
    # A run that was trained further since is loaded anew.
    changed = tuple(part.stat().st_mtime_ns for part in parts if part.exists())
    return _load_once(folder.absolute(), changed)


@functools.lru_cache
def _load_once(folder: Path, _changed: tuple[int, ...]) -> inference_models.Model:
    return inference_models.load_model(folder)
