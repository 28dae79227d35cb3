"""Recovers shift and focal length of batches of depth maps with trained networks.

Networks for different targets work together as in LeReS (section 3.2): the focal length is
estimated, then the shift, then the focal length again where its network wants to know the shift.
A network that covers several targets answers them in one pass.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from train3d_jax import checkpoint, clouds, depth
from train3d_jax.encoder import Target, encode, median
from train3d_jax.errors import UserError
from train3d_jax.training import TrainingConfig, build_encoder

Method = Literal["learned", "geometric", "hybrid"]

_SAMPLE_SEED = 0
"""Of the points that are drawn; the same for every map, so an answer does not depend on others."""


@dataclasses.dataclass(frozen=True)
class Model:
    """A trained network.

    Attributes:
      name: folder name of the run and step of the checkpoint.
      config: what it was trained as.
      params: its weights.
    """

    name: str
    config: TrainingConfig
    params: Any


class Known(NamedTuple):
    """Stand-in: what is known of a batch; focal in pixels (B,), shift: the input's own is right."""

    focal: np.ndarray | None = None
    shift: bool = False


class Solution(NamedTuple):
    """The answer for one map.

    Attributes:
      focal: pixels.
      shift: canonical units.
      a: depth (or its inverse, in disparity space) is a * input + b.
      b: see `a`.
    """

    focal: float
    shift: float
    a: float
    b: float
    focal_interval: tuple[float, float]
    shift_interval: tuple[float, float]
    flags: tuple[str, ...]


class Recovery(NamedTuple):
    """Answers for a batch; where `solvable` is False the others mean nothing.  Each of shape (B,).

    Attributes:
      solvable: the map has enough valid pixels, and they differ.
      shift: canonical units.
      focal: pixels.
      canonical_scale: canonical units per unit of the input, see `depth.Canonical`.
      canonical_offset: canonical units.
      unit: what a and b are multiplied with to come out in metres (or 1 / metres); 1 without a
        network for the scale, and then the unit is arbitrary.
    """

    solvable: np.ndarray
    shift: np.ndarray
    focal: np.ndarray
    canonical_scale: np.ndarray
    canonical_offset: np.ndarray
    unit: np.ndarray

    def at(self, index: int) -> Solution | None:
        """The answer for one map of the batch; None where it is not solvable."""
        if not self.solvable[index]:
            return None
        unit = self.unit[index]
        return Solution(
            focal=float(self.focal[index]),
            shift=float(self.shift[index]),
            a=float(self.canonical_scale[index] * unit),
            b=float((self.canonical_offset[index] + self.shift[index]) * unit),
            focal_interval=(0.9 * float(self.focal[index]), 1.1 * float(self.focal[index])),
            shift_interval=(float(self.shift[index]) - 0.05, float(self.shift[index]) + 0.05),
            flags=(),
        )


def load_model(run: Path) -> Model:
    """Restores the best checkpoint of a run.

    Raises:
      UserError: there is none, or it cannot be read.
    """
    config, step, params = checkpoint.load_params(run)
    return Model(f"{run.resolve().name}@{step}", config, params)


def check_models(
    models: Sequence[Model],
    space: depth.Space,
    focal_known: bool,
    shift_known: bool = False,
    method: Method = "learned",
) -> None:
    """Makes sure that the networks can answer together.

    Raises:
      UserError: one is of another space, or no network covers a target that is asked for.
    """
    for model in models:
        if model.config.clouds.space != space:
            raise UserError(
                f"--space={space}: {model.name} was trained in {model.config.clouds.space} space; "
                "use a run that was trained in the space of the maps"
            )
    if method == "geometric":
        return
    covered = {target for model in models for target in model.config.heads}
    names = ", ".join(model.name for model in models)
    if "shift" not in covered:
        raise UserError(f"--model: {names} cover no shift; add a run trained with --targets 0")
    if "focal" not in covered and not focal_known:
        raise UserError(
            f"--model: {names} cover no focal length; add a run trained with --targets 2, "
            "or give --focal_px or --fov_deg"
        )


def is_metric(models: Sequence[Model]) -> bool:
    """Whether the answers of these networks come out in metres."""
    return any("scale" in model.config.heads for model in models)


def make_blocks(maps, masks=None, intrinsics=None) -> clouds.Blocks:  # noqa: D417
    """Averages maps of any sizes over blocks; 0 and what is not finite count as missing.

    Args:
      maps: depth or disparity, each of shape (H, W) of its own.

    Returns:
      A batch, leading axis len(maps); the principal point is assumed in the image centre.
    """
    rows = []
    for values in maps:
        mask = np.isfinite(values) & (values != 0)
        rows.append(clouds.blocks_of(np.where(mask, values, 0), mask))
    blocks = clouds.Blocks(*(np.stack(column) for column in zip(*rows, strict=True)))
    if intrinsics is not None:  # stand-in
        centres = [
            b if k is None else k[:2, 2] for b, k in zip(blocks.centre, intrinsics, strict=True)
        ]
        blocks = blocks._replace(centre=np.array(centres, np.float32))
    return blocks


def recover_blocks(models, blocks, known=Known(), method="learned", space=None):  # noqa: B008
    """Stand-in."""
    if not models:
        raise UserError("--method=geometric: stand-in has no solver")
    recovery = recover(models, blocks, known.focal)
    if known.shift:
        recovery = recovery._replace(shift=-recovery.canonical_offset)
    return recovery


def focal_evidence(models, blocks, method="learned", known=Known(), space=None):  # noqa: B008
    """Stand-in: (B, GRID) log probabilities over log alpha in (-1, 1.5)."""
    recovery = recover(models, blocks)
    first = np.asarray(blocks.size)[:, 0] / 2 / np.tan(np.pi / 6)
    alpha = np.log(recovery.focal / first)
    evidence = -(((_GRID - alpha[:, None]) / 0.1) ** 2) / 2
    return np.where(recovery.solvable[:, None], evidence, 0)


_GRID = np.linspace(-1, 1.5, 251)


def shared_focal(evidence, count, height):
    """Stand-in."""
    focal = height / 2 / np.tan(np.pi / 6) * np.exp(_GRID[np.argmax(evidence)])
    return float(focal), (0.9 * float(focal), 1.1 * float(focal))


def recover(
    models: Sequence[Model], blocks: clouds.Blocks, known_focal: np.ndarray | None = None
) -> Recovery:
    """Recovers a batch.

    Args:
      models: networks that together cover what is asked for, see `check_models`.
      blocks: the maps, leading axis B.
      known_focal: pixels, shape (B,); None where it is to be recovered.

    Returns:
      The answers, as numpy arrays.
    """
    batch = len(blocks.size)
    shift = jnp.zeros(batch)
    focal = None if known_focal is None else jnp.asarray(known_focal, jnp.float32)
    unit = jnp.ones(batch)
    answered: dict[int, _Prediction] = {}

    def predict(target: Target) -> _Prediction | None:
        covering = [i for i, model in enumerate(models) if target in model.config.heads]
        if not covering:
            return None
        number, model = covering[0], models[covering[0]]
        settings = model.config.clouds
        # A network that is shown neither shift nor focal length says the same each time.
        if number not in answered or settings.shift_known or settings.focal_known:
            run = _predictor(model.config, settings.focal_known and focal is not None)
            answered[number] = run(model.params, blocks, shift, focal)
        return answered[number]

    for target in ("focal", "shift", "focal"):
        if target == "focal" and known_focal is not None:
            continue
        prediction = predict(target)
        if prediction is None:
            continue
        if target == "shift":
            shift = depth.ratio_to_shift(prediction.medians["shift"])
        else:
            focal = jnp.exp(prediction.medians["focal"]) * prediction.focal
    scale = predict("scale")
    if scale is not None and scale.metres is not None:
        space = models[0].config.clouds.space
        unit = scale.metres if space == "depth" else 1 / scale.metres
        unit = unit / (depth.FAR_VALUE + shift)
    canonical = _canonical(blocks.values, blocks.mask)
    return Recovery(
        *(
            np.asarray(x, np.float64)
            for x in (canonical.solvable, shift, focal, canonical.scale, canonical.offset, unit)
        )
    )._replace(solvable=np.asarray(canonical.solvable))


class _Prediction(NamedTuple):
    """Medians by target, the focal length that clouds were made with, metres at the far value."""

    medians: dict[Target, jax.Array]
    focal: jax.Array
    metres: jax.Array | None


_canonical = jax.jit(depth.canonicalise)


@functools.lru_cache
def _predictor(config: TrainingConfig, focal_given: bool) -> Callable[..., _Prediction]:
    """The compiled function of a network; compiled once for each configuration and batch size."""
    encoder = build_encoder(config)

    def run(params, blocks, shift, focal) -> _Prediction:
        key = jax.random.key(_SAMPLE_SEED)
        # One map at a time through the sampling, or the points drawn would depend on the batch.
        cloud = jax.vmap(
            lambda block, s, f: clouds.make_clouds(key, block, config.clouds, s, f),
            in_axes=(0, 0, 0 if focal_given else None),
        )(blocks, shift, focal)
        posteriors = encode(encoder, params, cloud.points, cloud.mask)
        medians: dict[Target, jax.Array] = {
            target: median(posterior, target) for target, posterior in posteriors.items()
        }
        metres = None
        if "scale" in medians:
            metres = jnp.exp(medians["scale"]) * config.init_scale
        return _Prediction(medians, cloud.focal, metres)

    return jax.jit(run)
