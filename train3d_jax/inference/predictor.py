"""The posteriors of networks for a batch of maps.

Networks for different targets work together as in LeReS (section 3.2): the focal length is
estimated, then the shift, then the focal length again where its network is shown the shift.  A
network that covers several targets estimates them in one pass.

Each map and its mirror image are encoded, and their log-probabilities averaged.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from train3d_jax.evidence.calibration import Calibration
from train3d_jax.evidence.fusion import NetworkPosterior
from train3d_jax.evidence.hints import Hints
from train3d_jax.evidence.joint_posterior import interpolate
from train3d_jax.evidence.line_curves import LineCurves
from train3d_jax.evidence.prior import Prior, focal_prior, or_known
from train3d_jax.evidence.settings import solver_settings
from train3d_jax.evidence.solver import GeometricPosterior
from train3d_jax.evidence.targets import (
    Posterior,
    Target,
    focal_bins,
    median,
    ratio_bins,
)
from train3d_jax.evidence.window_fit import WindowFit
from train3d_jax.geometry import affine, camera, clouds
from train3d_jax.training.config import TrainingConfig, build_encoder
from train3d_jax.windows import block_windows

if TYPE_CHECKING:
    from train3d_jax.networks.surface_encoder import SurfaceEncoder

_SAMPLE_SEED = 0
"""Of the points of point sets; the same for every map, so estimates do not depend on the batch."""


@dataclasses.dataclass(frozen=True)
class Network:
    """A trained network without its weights.

    Attributes:
      config: of its training.
      calibration: of a target's posterior; none where it is unknown.
    """

    config: TrainingConfig
    calibration: tuple[tuple[Target, Calibration], ...] = ()


class Batch(NamedTuple):
    """A batch of maps and what is known of them.

    Attributes:
      blocks: the maps, leading axis B.
      canonical: their canonical form.
      known_shift: canonical units, shape (B,); NaN where it is estimated.
      known_focal: pixels, shape (B,); the same.
      hints: what is known up to a width.
      lines: what lines of pictures say; None where no map has a picture.
    """

    blocks: clouds.Blocks
    canonical: affine.Canonical
    known_shift: jax.Array
    known_focal: jax.Array
    hints: Hints
    lines: LineCurves | None = None


class _Prediction(NamedTuple):
    """Posteriors of one network for a batch.

    Attributes:
      medians: by target, (B,) each.
      log_probability: by target, (B, bins) each; without the priors and hints that a network was
        given.
      first_guess: focal length in pixels that the rays were made with, (B,).
      metres: at the far value, (B,); None where the network does not cover the scale.
    """

    medians: dict[Target, jax.Array]
    log_probability: dict[Target, jax.Array]
    first_guess: jax.Array
    metres: jax.Array | None


def predict(
    networks: Sequence[Network],
    params: Sequence[Any],
    batch: Batch,
    geometry: GeometricPosterior,
) -> tuple[NetworkPosterior, jax.Array | None]:
    """Evaluates the networks in LeReS' order.

    Args:
      networks: that together cover what is estimated; may be none.
      params: the weights of each.
      batch: the maps.
      geometry: of the solver, whose windows the default network shares.

    Returns:
      The posteriors, and metres at the far value, (B,), where a network covers the scale.
    """
    unknown_shift, unknown_focal = jnp.isnan(batch.known_shift), jnp.isnan(batch.known_focal)
    shift = jnp.where(unknown_shift, 0.0, batch.known_shift)
    # Without a network for the focal length it is known.
    estimates_focal = any("focal" in network.config.heads for network in networks)
    focal = None if estimates_focal else batch.known_focal
    predictions: dict[int, _Prediction] = {}
    posterior = NetworkPosterior()

    def of(target: Target) -> tuple[_Prediction | None, Calibration]:
        covering = [i for i, each in enumerate(networks) if target in each.config.heads]
        if not covering:
            return None, Calibration()
        number, network = covering[0], networks[covering[0]]
        settings = network.config.clouds
        # A network that is shown neither shift nor focal length predicts the same each time.
        if number not in predictions or settings.shift_known or settings.focal_known:
            run = _predictor(network.config, settings.focal_known and focal is not None)
            predictions[number] = run(params[number], batch, geometry.fit, shift, focal)
        return predictions[number], dict(network.calibration).get(target, Calibration())

    targets: tuple[Target, ...] = ("focal", "shift", "focal")
    for target in targets:
        prediction, calibration = of(target)
        if prediction is None:
            continue
        calibrated = calibration.factor * prediction.log_probability[target]
        if target == "shift":
            found = affine.ratio_to_shift(prediction.medians["shift"])
            shift = jnp.where(unknown_shift, found, batch.known_shift)
            posterior = posterior._replace(shift=calibrated, finest_shift=calibration.finest)
        else:
            found = jnp.exp(prediction.medians["focal"]) * prediction.first_guess
            focal = jnp.where(unknown_focal, found, batch.known_focal)
            posterior = posterior._replace(
                focal=calibrated,
                first_guess=prediction.first_guess,
                finest_focal=calibration.finest,
            )
    scale, _ = of("scale")
    return posterior, None if scale is None else scale.metres


@functools.lru_cache
def _predictor(config: TrainingConfig, focal_shown: bool) -> Callable[..., _Prediction]:
    """The function of a network."""
    from train3d_jax.networks.surface_encoder import SurfaceEncoder  # start-up: it imports flax

    encoder = build_encoder(config, inference=True)
    encode_batch = (
        _windows_encoder(encoder, config, focal_shown)
        if isinstance(encoder, SurfaceEncoder)
        else _clouds_encoder(encoder, config, focal_shown)
    )

    def run(params, batch: Batch, fit: WindowFit, shift, focal) -> _Prediction:
        posteriors, first_guess, prior = encode_batch(params, batch, fit, shift, focal)
        averaged: dict[Target, Posterior] = {
            target: _averaged(posterior, len(shift)) for target, posterior in posteriors.items()
        }
        medians: dict[Target, jax.Array] = {
            target: median(posterior, target) for target, posterior in averaged.items()
        }
        logs: dict[Target, jax.Array] = {
            target: posterior.log_probability for target, posterior in averaged.items()
        }
        if prior is not None:
            # As of every network: priors and hints are multiplied in `fusion`.
            if "focal" in logs:
                logs["focal"] = logs["focal"] - prior.focal
            if "shift" in logs:
                logs["shift"] = logs["shift"] - _soft_shift(batch)
        metres = None
        if "scale" in medians:
            metres = jnp.exp(medians["scale"]) * config.init_scale
        return _Prediction(medians, logs, first_guess, metres)

    return run


def _windows_encoder(encoder: "SurfaceEncoder", config: TrainingConfig, focal_shown: bool):
    """Encodes windows, with the prior in the joint posterior."""
    settings = config.clouds
    # The solver's windows, where the network would fit the same.
    shares_windows = encoder.settings.fits_as(solver_settings(settings.space)) and not (
        settings.shift_known
        or settings.focal_known
        or settings.init_fov != camera.INITIAL_FOV_DEGREES
    )

    def encode_batch(params, batch: Batch, fit: WindowFit, shift, focal):
        seen = clouds.observe(
            batch.blocks, batch.canonical, settings, shift, focal if focal_shown else None
        )
        if not shares_windows:
            fit = encoder.fit(seen.rays, seen.values, seen.mask)
        known_shift = None if settings.shift_known else batch.known_shift
        prior = _prior(batch, seen.focal, known_shift)
        mirrored = fit._replace(
            windows=block_windows.mirrored(fit.windows, encoder.settings.windows.grids)
        )
        posteriors: Any = encoder.apply(
            params, _both(fit, mirrored), _both(prior, prior), method="from_windows"
        )
        return posteriors, seen.focal, prior

    return encode_batch


def _clouds_encoder(encoder, config: TrainingConfig, focal_shown: bool):
    """Encodes clouds of point sets."""
    from train3d_jax.networks.encoder import encode  # start-up: it imports flax

    settings = config.clouds

    def encode_batch(params, batch: Batch, fit: WindowFit, shift, focal):
        key = jax.random.key(_SAMPLE_SEED)
        # Maps and their mirror images in one batch: traced and compiled once.
        blocks = _both(batch.blocks, clouds.mirrored(batch.blocks))
        canonical = _both(batch.canonical, _mirrored(batch.canonical))
        shown = _both(focal, focal) if focal_shown else None
        seen = clouds.observe(blocks, canonical, settings, _both(shift, shift), shown)
        # One map at a time through the sampling, or the points would depend on the batch.
        inputs = jax.vmap(lambda one: encoder.inputs(key, one, settings))(seen)
        return encode(encoder, params, inputs), seen.focal[: len(shift)], None

    return encode_batch


def _mirrored(canonical: affine.Canonical) -> affine.Canonical:
    return canonical._replace(
        values=clouds.mirrored_rows(canonical.values), mask=clouds.mirrored_rows(canonical.mask)
    )


def _both(rows: Any, others: Any) -> Any:
    return jax.tree.map(lambda one, other: jnp.concatenate([one, other]), rows, others)


def _averaged(posterior: Posterior, maps: int) -> Posterior:
    """The posteriors of maps and of their mirror images, which must be the same."""
    one, other = posterior.log_probability[:maps], posterior.log_probability[maps:]
    return Posterior(jax.nn.log_softmax((one + other) / 2))


def _prior(batch: Batch, shown_focal: jax.Array, known_shift: jax.Array | None) -> Prior:
    """The known values, or else the prior of focal lengths over `shown_focal`, and the hints."""
    shift = _soft_shift(batch)
    if known_shift is not None:
        shift = or_known(shift, affine.shift_to_ratio(known_shift), ratio_bins())
    size = batch.blocks.size
    of_shown = jnp.log(shown_focal / camera.initial_focal(size[..., 0]))[:, None]
    focal = focal_prior(size, focal_bins() + of_shown) + batch.hints.of_focal(shown_focal)
    if batch.lines is not None:
        places = jnp.asarray(focal_bins(), focal.dtype)
        focal = focal + interpolate(places + of_shown, places, batch.lines.focal)
    return Prior(shift, or_known(focal, jnp.log(batch.known_focal / shown_focal), focal_bins()))


def _soft_shift(batch: Batch) -> jax.Array:
    """Log-likelihood of the shift by hints and lines, (B, SHIFT_BINS)."""
    hints = batch.hints.of_shift()
    return hints if batch.lines is None else hints + batch.lines.shift
