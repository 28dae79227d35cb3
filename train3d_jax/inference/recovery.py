"""Recovers shift and focal length of batches of depth maps: with networks, by geometry, or both.

Networks for different targets work together as in LeReS (section 3.2): the focal length is
estimated, then the shift, then the focal length again where its network wants to know the shift.
A network that covers several targets answers them in one pass.

What they say is weighed, beside what geometry says, in `weighing`.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from train3d_jax import chunking
from train3d_jax.evidence import fusion, joint_posterior, solver
from train3d_jax.evidence.calibration import Calibration
from train3d_jax.evidence.fusion import INTERVAL, Learned, Method
from train3d_jax.evidence.joint_posterior import Beliefs
from train3d_jax.evidence.targets import Posterior, Target, median
from train3d_jax.geometry import affine, camera, clouds
from train3d_jax.inference.models import DEFAULT as DEFAULT
from train3d_jax.inference.models import Model as Model
from train3d_jax.inference.models import check_models as check_models
from train3d_jax.inference.models import is_metric as is_metric
from train3d_jax.inference.models import load_model as load_model
from train3d_jax.networks.encoder import encode
from train3d_jax.networks.surface_encoder import MORE_PAIRS, SurfaceEncoder
from train3d_jax.training.trainer import TrainingConfig, build_encoder
from train3d_jax.windows import quadrics

_SAMPLE_SEED = 0
"""Of the points that are drawn; the same for every map, so an answer does not depend on others."""

CAMERA_CORRELATION = 0.1
"""Correlation of the errors of maps of one camera: they often show one room, and a method that is
misled by it is misled each time.  n maps then count as n / (1 + (n - 1) * this), never as more than
ten, and an interval does not shrink to nothing over a large folder."""


class Known(NamedTuple):
    """What the caller knows of a batch.

    Attributes:
      focal: vertical focal lengths in pixels, shape (B,); None where they are sought.
      shift: True where the input's own shift is right, only its scale is not; or canonical shifts,
        shape (B,); False where they are sought.
    """

    focal: np.ndarray | None = None
    shift: bool | np.ndarray = False

    def canonical_shift(self, canonical: affine.Canonical) -> jax.Array | None:
        """What is known of the shift in canonical units, shape (B,); None where it is sought."""
        if isinstance(self.shift, bool | np.bool_):
            return -canonical.offset if self.shift else None
        return jnp.asarray(self.shift, jnp.float32)


class Solution(NamedTuple):
    """The answer for one map.

    Attributes:
      focal: vertical focal length in pixels.
      shift: canonical units.
      a: depth (or its inverse, in disparity space) is a * input + b.
      b: see `a`.
      focal_interval: holds the focal length with 90 % probability; pixels.
      shift_interval: the same for the shift.
      flags: names of those of `fusion.FLAGS` that are raised.
    """

    focal: float
    shift: float
    a: float
    b: float
    focal_interval: tuple[float, float]
    shift_interval: tuple[float, float]
    flags: tuple[str, ...]


class Recovery(NamedTuple):
    """Answers for a batch; all numbers are NaN where `solvable` is False.

    Attributes:
      solvable: the map has enough valid pixels, they differ, and the method found something to
        judge by, shape (B,).
      shift: canonical units, shape (B,).
      focal: vertical focal length in pixels, shape (B,).
      shift_interval: holds the shift with 90 % probability, shape (B, 2).
      focal_interval: the same for the focal length, shape (B, 2).
      canonical_scale: canonical units per unit of the input, see `affine.Canonical`, shape (B,).
      canonical_offset: canonical units, shape (B,).
      unit: what a and b are multiplied with to come out in metres (or 1 / metres), shape (B,); 1
        without a network for the scale, and then the unit is arbitrary.
      flags: for each of `fusion.FLAGS` whether it is raised, shape (B,):
        near_planar: nearly all planes have one direction, or no surface is flat, so nothing tells
          of a focal length;
        few_valid_pixels: less than a tenth of the map's pixels hold values;
        out_of_training_range: the answer lies at the border of what can be answered, or the values
          are spread as in no room;
        solver_disagrees: network and geometry exclude each other's answer by their intervals.
    """

    solvable: np.ndarray
    shift: np.ndarray
    focal: np.ndarray
    shift_interval: np.ndarray
    focal_interval: np.ndarray
    canonical_scale: np.ndarray
    canonical_offset: np.ndarray
    unit: np.ndarray
    flags: dict[str, np.ndarray]

    def at(self, index: int) -> Solution | None:
        """The answer for one map of the batch; None where it is not solvable."""
        if not self.solvable[index]:
            return None
        unit = self.unit[index]
        focal_low, focal_high = self.focal_interval[index]
        shift_low, shift_high = self.shift_interval[index]
        return Solution(
            focal=float(self.focal[index]),
            shift=float(self.shift[index]),
            a=float(self.canonical_scale[index] * unit),
            b=float((self.canonical_offset[index] + self.shift[index]) * unit),
            focal_interval=(float(focal_low), float(focal_high)),
            shift_interval=(float(shift_low), float(shift_high)),
            flags=tuple(name for name, raised in self.flags.items() if raised[index]),
        )


def make_blocks(
    maps: Sequence[np.ndarray],
    masks: Sequence[np.ndarray | None] | None = None,
    intrinsics: Sequence[np.ndarray | None] | None = None,
) -> clouds.Blocks:
    """Averages maps of any sizes over blocks; 0 and what is not finite count as missing.

    Args:
      maps: depth or disparity, each of shape (H, W) of its own.
      masks: for each map the pixels that may hold a value, shape (H, W); None for all.
      intrinsics: for each map its (3, 3) matrix in pixels, of which the principal point and the
        ratio of the focal lengths are used; None for the image centre and square pixels.

    Returns:
      A batch, leading axis len(maps).  Pixels are stretched across about the principal point to
      be square, so that focal lengths are vertical ones.
    """
    masks = [None] * len(maps) if masks is None else masks
    intrinsics = [None] * len(maps) if intrinsics is None else intrinsics
    rows = []
    for values, allowed, matrix in zip(maps, masks, intrinsics, strict=True):
        mask = clouds.valid(values)
        if allowed is not None:
            mask &= np.asarray(allowed, bool)
        row = clouds.blocks_of(values, mask)
        if matrix is not None:
            centre = np.asarray(matrix, np.float32)[:2, 2]
            stretch = np.array([matrix[1, 1] / matrix[0, 0], 1.0], np.float32)
            row = row._replace(pixels=centre + (row.pixels - centre) * stretch, centre=centre)
        rows.append(row)
    return clouds.Blocks(*(np.stack(column) for column in zip(*rows, strict=True)))


def recover_blocks(
    models: Sequence[Model],
    blocks: clouds.Blocks,
    known: Known = Known(),  # noqa: B008  # immutable
    method: Method = "learned",
    space: affine.Space | None = None,
) -> Recovery:
    """Recovers a batch.

    Args:
      models: networks that together cover what is asked for, see `check_models`; none are needed
        for the geometric method.
      blocks: the maps, leading axis B.
      known: what need not be found.
      method: "learned": the networks answer, and geometry only says whether it agrees;
        "geometric": geometry answers; "hybrid": both, each weighing as much as it is sure.
      space: of the values; that of the models where there are any.

    Returns:
      The answers, as numpy arrays.
    """
    space = _space_of(models, space)
    canonical = _canonical(blocks.values, blocks.mask)
    own_shift = known.canonical_shift(canonical)
    focal = None if known.focal is None else jnp.asarray(known.focal, jnp.float32)
    geometry = _solve(blocks, space, own_shift, focal)
    learned, metres = _ask_networks(models, blocks, geometry, own_shift, focal)
    answers = fusion.answer(geometry, learned, blocks, canonical, method, space, own_shift, focal)
    shift = answers.shift[:, 1]
    unit = jnp.ones_like(shift)
    if metres is not None:
        unit = metres if space == "depth" else 1 / metres
        unit = unit / (affine.FAR_VALUE + shift)
    solvable = np.asarray(canonical.solvable & answers.judged)

    def known_nowhere_else(values) -> np.ndarray:
        values = np.array(values, np.float64)
        values[~solvable] = np.nan
        return values

    return Recovery(
        solvable,
        *(
            known_nowhere_else(values)
            for values in (
                shift, answers.focal[:, 1], answers.shift[:, ::2], answers.focal[:, ::2],
                canonical.scale, canonical.offset, unit,
            )
        ),
        flags={name: np.asarray(raised) for name, raised in answers.flags.items()},
    )  # fmt: skip


def focal_evidence(
    models: Sequence[Model],
    blocks: clouds.Blocks,
    method: Method = "learned",
    known: Known = Known(),  # noqa: B008
    space: affine.Space | None = None,
) -> np.ndarray:
    """What each map says about the focal length, for `shared_focal` to add up.

    Args:
      models: as of `recover_blocks`.
      blocks: the maps, leading axis B.
      method: as of `recover_blocks`.
      known: of the shift.
      space: as of `recover_blocks`.

    Returns:
      Log-likelihood, without any prior, at `joint_posterior.focal_bins`, which are log(focal / f0)
      with f0 of 60 degrees; shape (B, FOCAL_BINS).  0 throughout for a map that cannot be solved.
    """
    space = _space_of(models, space)
    canonical = _canonical(blocks.values, blocks.mask)
    own_shift = known.canonical_shift(canonical)
    geometry = _solve(blocks, space, own_shift, None)
    learned, _ = _ask_networks(models, blocks, geometry, own_shift, None)
    evidence, judged = fusion.focal_evidence(geometry, learned, blocks, method)
    return np.where((canonical.solvable & judged)[:, None], evidence, 0.0)


def shared_focal(total: np.ndarray, count: int, height: int) -> tuple[float, tuple[float, float]]:
    """The focal length of a camera that took many maps.

    Args:
      total: sum of `focal_evidence` over the maps that could be solved, shape (FOCAL_BINS,).
      count: how many maps those are, at least 1.
      height: of the maps in pixels.

    Returns:
      The vertical focal length and the interval that holds it with 90 % probability, in pixels.
    """
    weight = 1 / (1 + (count - 1) * CAMERA_CORRELATION)
    posterior = jnp.asarray(joint_posterior.focal_prior() + weight * np.asarray(total))
    low, middle, high = np.asarray(
        joint_posterior.quantiles(posterior, joint_posterior.focal_bins(), INTERVAL)
    )
    first_guess = float(camera.initial_focal(height))
    at = lambda log_alpha: float(first_guess * np.exp(log_alpha))  # noqa: E731
    return at(middle), (at(low), at(high))


class _Prediction(NamedTuple):
    """What a network says of a batch.

    Medians and log-probabilities by target, the focal length that clouds were made with, metres at
    the far value.
    """

    medians: dict[Target, jax.Array]
    log_probability: dict[Target, jax.Array]
    focal: jax.Array
    metres: jax.Array | None


def _space_of(models: Sequence[Model], space: affine.Space | None) -> affine.Space:
    if models:
        return models[0].config.clouds.space
    if space is None:
        raise ValueError("space has to be told where no model tells it")
    return space


def _ask_networks(
    models: Sequence[Model],
    blocks: clouds.Blocks,
    geometry: solver.Solution,
    own_shift: jax.Array | None,
    known_focal: jax.Array | None,
) -> tuple[Learned, jax.Array | None]:
    """Posteriors of the networks in LeReS' order, and metres at the far value, where one tells."""
    shift = jnp.zeros(len(blocks.size)) if own_shift is None else own_shift
    focal = known_focal
    answered: dict[int, _Prediction] = {}
    learned = Learned()

    def predict(target: Target) -> tuple[_Prediction | None, Calibration]:
        covering = [i for i, model in enumerate(models) if target in model.config.heads]
        if not covering:
            return None, Calibration()
        number, model = covering[0], models[covering[0]]
        settings = model.config.clouds
        # A network that is shown neither shift nor focal length says the same each time.
        if number not in answered or settings.shift_known or settings.focal_known:
            run = _predictor(model.config, settings.focal_known and focal is not None)
            answered[number] = run(
                model.params, blocks, geometry.fit, shift, focal, own_shift, known_focal
            )
        return answered[number], model.calibration.get(target, Calibration())

    for target in ("focal", "shift", "focal"):
        if (known_focal if target == "focal" else own_shift) is not None:
            continue
        prediction, calibration = predict(target)
        if prediction is None:
            continue
        posterior = calibration.factor * prediction.log_probability[target]
        if target == "shift":
            shift = affine.ratio_to_shift(prediction.medians["shift"])
            learned = learned._replace(shift=posterior, finest_shift=calibration.finest)
        else:
            focal = jnp.exp(prediction.medians["focal"]) * prediction.focal
            learned = learned._replace(
                focal=posterior, assumed=prediction.focal, finest_focal=calibration.finest
            )
    scale, _ = predict("scale")
    return learned, None if scale is None else scale.metres


_canonical = jax.jit(affine.canonicalise)
_solve = jax.jit(solver.solve, static_argnames="space", compiler_options=chunking.COMPILER_OPTIONS)


@functools.lru_cache
def _predictor(config: TrainingConfig, focal_given: bool) -> Callable[..., _Prediction]:
    """The compiled function of a network; compiled once for each configuration and batch size."""
    encoder, settings = build_encoder(config), config.clouds
    weighs_together = isinstance(encoder, SurfaceEncoder)
    if weighs_together:
        encoder = encoder.clone(pairs=MORE_PAIRS)
    # Shown just what the solver has looked at, it need not fit windows once more.
    sees_as_solver = weighs_together and not (
        settings.shift_known
        or settings.focal_known
        or settings.init_fov != camera.INITIAL_FOV_DEGREES
    )

    def encode_clouds(params, blocks, shift, focal, beliefs_about):
        key = jax.random.key(_SAMPLE_SEED)
        # Maps and their mirror images in one batch: traced and compiled once.
        seen = _twice(blocks, clouds.mirrored(blocks))
        # One map at a time through the sampling, or the points drawn would depend on the batch.
        cloud = jax.vmap(
            lambda block, s, f: clouds.make_clouds(key, block, settings, s, f),
            in_axes=(0, 0, 0 if focal_given else None),
        )(seen, _twice(shift, shift), _twice(focal, focal) if focal_given else focal)
        assumed = cloud.focal[: len(shift)]
        beliefs = beliefs_about(assumed)
        both = None if beliefs is None else _twice(beliefs, beliefs)
        found = encode(encoder, params, cloud.points, cloud.mask, both)
        return found, assumed, beliefs

    def encode_windows(params, blocks, fit, beliefs_about):
        assumed = camera.initial_focal(blocks.size[..., 0])
        beliefs = beliefs_about(assumed)
        windows = _twice(fit.windows, quadrics.mirrored(fit.windows, solver.GRIDS))
        rest = (fit.bending, fit.base, beliefs)
        bending, base, both = _twice(rest, rest)
        found: Any = encoder.apply(params, bending, windows, base, both, method="judge")
        return found, assumed, beliefs

    def run(params, blocks, fit, shift, focal, own_shift, known_focal) -> _Prediction:
        def beliefs_about(assumed: jax.Array) -> Beliefs | None:
            known = None if settings.shift_known else own_shift
            first_guess = camera.initial_focal(blocks.size[..., 0])
            return _beliefs(assumed, first_guess, known, known_focal) if weighs_together else None

        if sees_as_solver:
            found, assumed, beliefs = encode_windows(params, blocks, fit, beliefs_about)
        else:
            found, assumed, beliefs = encode_clouds(params, blocks, shift, focal, beliefs_about)
        posteriors: dict[Target, Posterior] = {
            target: _agreed(posterior, len(shift)) for target, posterior in found.items()
        }
        medians: dict[Target, jax.Array] = {
            target: median(posterior, target) for target, posterior in posteriors.items()
        }
        logs: dict[Target, jax.Array] = {
            target: posterior.log_probability for target, posterior in posteriors.items()
        }
        if beliefs is not None and "focal" in logs:
            # As every network's: the prior is put on where answers are weighed.
            logs["focal"] = logs["focal"] - beliefs.focal
        metres = None
        if "scale" in medians:
            metres = jnp.exp(medians["scale"]) * config.init_scale
        return _Prediction(medians, logs, assumed, metres)

    return jax.jit(run, compiler_options=chunking.COMPILER_OPTIONS)


def _twice(rows: Any, others: Any) -> Any:
    return jax.tree.map(lambda one, other: jnp.concatenate([one, other]), rows, others)


def _beliefs(
    assumed: jax.Array,
    first_guess: jax.Array,
    own_shift: jax.Array | None,
    known_focal: jax.Array | None,
) -> Beliefs:
    """What is known, or else the prior of focal lengths, for a network that was shown `assumed`."""
    shift = jnp.zeros((len(assumed), joint_posterior.SHIFT_BINS))
    if own_shift is not None:
        shift = joint_posterior.point_mass(
            affine.shift_to_ratio(own_shift), joint_posterior.ratio_bins()
        )
    focal = joint_posterior.focal_prior(
        joint_posterior.focal_bins() + jnp.log(assumed / first_guess)[:, None]
    )
    if known_focal is not None:
        focal = joint_posterior.point_mass(
            jnp.log(known_focal / assumed), joint_posterior.focal_bins()
        )
    return Beliefs(shift, focal)


def _agreed(posterior: Posterior, maps: int) -> Posterior:
    """What a network says of maps and of their mirror images, which must be the same."""
    one, other = posterior.log_probability[:maps], posterior.log_probability[maps:]
    return Posterior(jax.nn.log_softmax((one + other) / 2))
