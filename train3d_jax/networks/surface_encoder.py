"""The default encoder: learned weights of the likelihoods of windows and of pairs of windows.

Quadrics are fitted to windows of the grid of blocks at six scales.  Flat windows, parallel planes
and right angles have likelihoods (`evidence.likelihoods`).  The solver gives all windows and pairs
equal weights.  This network sees the windows and the whole map, and learns for each window how
likely it lies on a plane, for each pair how likely it is parallel or at a right angle, the standard
deviations, and the weights.  With fresh parameters it is about the solver.  A small network over
the bins corrects the sum of the log-likelihoods.

Windows are parts of the grid of blocks, so it is no function of a set, as
`point_set_encoder.PointSetEncoder` is, and sees no sample of the points.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from train3d_jax.evidence import likelihoods
from train3d_jax.evidence.joint_posterior import (
    interpolate,
    marginals,
    shift_nodes,
    with_known_shift,
)
from train3d_jax.evidence.prior import Prior, point_mass
from train3d_jax.evidence.settings import EvidenceSettings, network_settings
from train3d_jax.evidence.targets import (
    BINS,
    Posterior,
    Target,
    at_focal_bins,
    ratio_bins,
)
from train3d_jax.evidence.window_fit import WindowFit, fit_maps, fit_true_maps
from train3d_jax.geometry import affine
from train3d_jax.geometry.clouds import CloudSettings, Observation
from train3d_jax.networks.encoder import Encoder
from train3d_jax.networks.heads import AngleHead, CurveHead, LearnedWeights
from train3d_jax.networks.window_networks import PairNetwork, SurfaceNetwork, surface_features


class SurfaceEncoder(Encoder):
    """Window network, likelihoods of planes and of angles, one posterior over both unknowns.

    Attributes:
      evidence: settings of the likelihoods; None for `settings.network_settings` of the space.
    """

    evidence: EvidenceSettings | None = None

    @property
    def settings(self) -> EvidenceSettings:
        """The settings of the likelihoods."""
        return self.evidence or network_settings(self.space)

    def inputs(
        self, key: jax.Array, observation: Observation, settings: CloudSettings
    ) -> Sequence[jax.Array]:
        """The rays, values and mask of the blocks."""
        return observation.rays, observation.values, observation.mask

    def fit(self, rays: jax.Array, values: jax.Array, mask: jax.Array) -> WindowFit:
        """Fits the windows of maps; arguments as of a call."""
        # Masked blocks may hold anything, NaN included: it must not reach a sum.
        rays = jnp.where(mask[..., None], rays, 0.0)
        values = jnp.where(mask, values, 1.0)
        if not self.shift_known:
            return fit_maps(rays, values, mask, self.space, self.settings)
        mask = mask & (values > affine.SMALLEST_VALUE)
        values = jnp.where(mask, values, 1.0)
        inverse = 1 / values if self.space == "depth" else values
        return fit_true_maps(rays, inverse, mask, self.settings)

    def __call__(
        self, rays: jax.Array, values: jax.Array, mask: jax.Array, prior: Prior | None = None
    ) -> dict[Target, Posterior]:
        """Encodes maps.

        Args:
          rays: of the blocks in the order of the grid, shape (B, P, 2).
          values: canonical depth or disparity, or true values where the shift is known; (B, P).
          mask: blocks that count, shape (B, P).
          prior: beside the one that training has taught; None for no other.

        Returns:
          A posterior for each of `estimated`, (B, SHIFT_BINS), (B, FOCAL_BINS) or (B, BINS) for the
          scale.
        """
        return self.from_windows(self.fit(rays, values, mask), prior)

    def prepared(self, *inputs: jax.Array) -> WindowFit:
        """The fit of the windows."""
        return self.fit(*inputs)

    def from_prepared(self, prepared: WindowFit) -> dict[Target, Posterior]:
        """See `from_windows`."""
        return self.from_windows(prepared)

    @nn.compact
    def from_windows(self, fit: WindowFit, prior: Prior | None = None) -> dict[Target, Posterior]:
        """The same from windows that are fitted already."""
        windows, base = jax.lax.stop_gradient((fit.windows, fit.base))
        features = surface_features(windows, base, self.settings.windows.grids)
        local, context = SurfaceNetwork(self.width, self.dtype)(features, windows.mask)
        posteriors: dict[Target, Posterior] = {}
        if "scale" in self.heads:
            no_curve = jnp.zeros((len(base), BINS, 1))
            head = CurveHead(self.width, self.dtype, name="scale")
            posteriors["scale"] = Posterior(jax.nn.log_softmax(head(no_curve, context)))
        if not {"shift", "focal"} & set(self.estimated):
            return posteriors
        pairs = likelihoods.pairs_of(self.settings)
        of_pairs = PairNetwork(self.width, self.dtype)(windows, local, context, pairs)
        by_shift = self._shift_curve(fit, local, of_pairs, context)
        count = 1 if self.shift_known else None
        nodes = jax.lax.stop_gradient(shift_nodes(by_shift, self.settings.angles, count))
        shift = by_shift
        if prior is not None:
            # Multiplied on what was estimated without it: the heads have never seen it.
            shift = shift + prior.shift
            nodes = with_known_shift(nodes, prior.shift)
        weights = LearnedWeights(name="angles")(of_pairs)
        angles = likelihoods.right_angles(
            windows, base, jax.lax.stop_gradient(nodes), self.space, self.settings, weights
        )
        head = AngleHead(self.dtype, name="focal")
        both = head(angles, _at_nodes(nodes, jax.nn.log_softmax(by_shift)), nodes, context)
        both = at_focal_bins(both)
        if prior is not None:
            both = both + prior.focal[:, None]
        shift, focal = marginals(shift, nodes, both)
        joint: dict[Target, Posterior] = {"shift": Posterior(shift), "focal": Posterior(focal)}
        posteriors.update({target: joint[target] for target in self.estimated if target in joint})
        return posteriors

    def _shift_curve(self, fit: WindowFit, local, of_pairs, context) -> jax.Array:
        """Log-likelihood of each shift without the angles, (B, SHIFT_BINS), up to a constant."""
        windows, base = jax.lax.stop_gradient((fit.windows, fit.base))
        if self.shift_known:
            return point_mass(affine.shift_to_ratio(base), ratio_bins())
        weights = LearnedWeights(name="parallels")(of_pairs)
        curves = [likelihoods.parallelism(windows, base, self.space, self.settings, weights)]
        if self.space == "depth":
            weights = LearnedWeights(name="bending")(local)
            equal = jax.lax.stop_gradient(fit.curvature)
            settings = self.settings.curvature
            learned = likelihoods.curvature(windows, base, settings, weights, likelihoods.LARGEST)
            curves += [learned, equal]
        # The curvature with equal weights is a feature beside the learned one: it counts once.
        initial = (1.0, 1.0, 0.0)[: len(curves)]
        head = CurveHead(self.width, self.dtype, initial, name="shift")
        return head(jnp.stack(curves, -1), context)


def _at_nodes(nodes: jax.Array, curve: jax.Array) -> jax.Array:
    """A curve over `ratio_bins`, (B, SHIFT_BINS), at ratios (B, K)."""
    bins = jnp.asarray(ratio_bins(), curve.dtype)
    return interpolate(nodes, bins, curve)
