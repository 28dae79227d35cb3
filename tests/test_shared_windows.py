"""Network and solver share their windows, and what is known narrows both."""

import dataclasses

import jax
import numpy as np
import pytest
from recoveries import FOCALS, MAPS, NOTHING_KNOWN, every_method
from tiny import CONFIG

from train3d_jax.evidence import solver
from train3d_jax.geometry import affine, clouds
from train3d_jax.inference import recovery as inference
from train3d_jax.inference.models import Model
from train3d_jax.networks import encoder
from train3d_jax.training.config import build_encoder, initial_params
from train3d_jax.windows.block_windows import mirrored

SPACES = pytest.mark.parametrize("space", ["depth", "disparity"])


@pytest.fixture(scope="module")
def surface_models():
    """Fresh weights of the default encoder: they answer as the solver."""
    settings = clouds.CloudSettings(num_points=0, voxel_size=0.0)
    return {
        space: Model(
            f"{space}@0",
            config := dataclasses.replace(
                CONFIG,
                clouds=dataclasses.replace(settings, space=space),
                encoder="surfaces",
                augmentation=(),
            ),
            initial_params(config),
        )
        for space in ("depth", "disparity")
    }


def maps_of(space):
    return [values if space == "depth" else 1 / values for values in MAPS]


@SPACES
def test_windows_of_the_solver_serve_the_network(surface_models, space):
    """Posteriors are those from maps and mirror images whose windows the network fits itself."""
    model = surface_models[space]
    network = build_encoder(model.config)
    grids = network.settings.windows.grids

    @jax.jit
    def fit_of(blocks):
        fit = solver.solve(blocks, affine.canonicalise(blocks.values, blocks.mask), space).fit
        return fit, fit._replace(windows=mirrored(fit.windows, grids))

    @jax.jit
    def posteriors(maps, fit):
        canonical = affine.canonicalise(maps.values, maps.mask)
        seen = clouds.observe(maps, canonical, model.config.clouds)
        inputs = network.inputs(jax.random.key(0), seen, model.config.clouds)
        own = encoder.encode(network, model.params, inputs)
        return own, network.apply(model.params, fit, method="from_windows")

    blocks = inference.make_blocks(maps_of(space))
    fit, mirrored_fit = fit_of(blocks)
    for maps, windows in ((blocks, fit), (clouds.mirrored(blocks), mirrored_fit)):
        own, shared = posteriors(maps, windows)
        for target in own:
            # Probabilities; the fits' rounding goes through second derivatives of depth.
            np.testing.assert_allclose(
                np.exp(shared[target].log_probability),
                np.exp(own[target].log_probability),
                atol=5e-3,
            )


@SPACES
@every_method
def test_what_is_known_sharpens_the_rest(surface_models, space, method):
    """Angles tell of both together, so either narrows the other, in network and solver."""
    model, blocks = surface_models[space], inference.make_blocks(maps_of(space))
    canonical = affine.canonicalise(blocks.values, blocks.mask)
    asked = lambda known: inference.recover_blocks([model], blocks, known, method)  # noqa: E731
    nothing = asked(NOTHING_KNOWN)
    with_focal = asked(inference.Known(focal=FOCALS))
    with_shift = asked(inference.Known(shift=-np.asarray(canonical.offset)))
    np.testing.assert_allclose(with_focal.focal, FOCALS, rtol=1e-6)
    for found, one, other in ((with_focal, "shift", nothing), (with_shift, "focal", nothing)):
        if space == "depth" and one == "shift":
            continue  # curvature determines it already, to a bin
        wide, narrow = (
            np.log(np.ptp(getattr(recovery, f"{one}_interval"), axis=-1)).mean()
            for recovery in (other, found)
        )
        assert narrow < wide
    error = np.abs(np.log(with_shift.focal / FOCALS))
    assert np.median(error) < 0.05
