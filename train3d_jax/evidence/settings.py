"""The settings of the evidence: how windows and pairs of them become log-likelihoods.

They are stored with every network, which was trained with them, and read from there.  So a change
of a default here changes neither the answers of trained weights nor those of earlier runs.
"""

# JAX types many of its functions in part only, hence what is switched off.
# pyright: strict, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

import dataclasses
from collections.abc import Mapping
from typing import Any

from train3d_jax.geometry.affine import Space
from train3d_jax.windows.block_windows import WindowSettings


@dataclasses.dataclass(frozen=True)
class CurvatureSettings:
    """The likelihood of a shift by how flat windows are; see `likelihoods.curvature`.

    Attributes:
      odds: that a window lies on one plane.  Chosen.
      sigma: standard deviation of the curvature q of windows on planes beyond their noise.  Chosen.
      spread: standard deviation of q in windows that lie on no plane.  Chosen.
      twist_weight: how much the curvature across the gradient, which a plane lacks, adds to the
        standard deviation of the one along it: the root of 1/2, as it has two components.
      temper: weight of the log-likelihood of each window.  Windows overlap and share planes.
        Derived by `benchmarks.tune`.
      least_depth: true depth in canonical units below which a shift excludes a window.  Chosen.
    """

    odds: float = 0.2
    sigma: float = 0.02
    spread: float = 3.0
    twist_weight: float = 0.7
    temper: float = 0.25
    least_depth: float = 0.02


@dataclasses.dataclass(frozen=True)
class ParallelSettings:
    """The likelihood of a shift by how many planes are parallel; see `likelihoods.parallelism`.

    Attributes:
      odds: that the planes of a pair are parallel, or one plane.  Chosen.
      sigma: standard deviation of a parallel plane's gradient beyond the noise of the fits, over
        the gradients that are compared and the mean one of the map: about one degree.  Chosen.
      independent: number of independent pairs that all pairs together count as.  Derived by
        `benchmarks.tune`.
      pairs: how many are compared.
      bins: of the near/far ratio, at which they are compared.
    """

    odds: float = 0.05
    sigma: float = 0.015
    independent: float = 26.88
    pairs: int = 768
    bins: int = 128


@dataclasses.dataclass(frozen=True)
class AngleSettings:
    """The likelihood of shift and focal length by right angles; see `likelihoods.right_angles`.

    Attributes:
      odds: that the planes of a pair are at a right angle.  Chosen.
      sigma: standard deviation of the cosine of right angles beyond the noise of the fits: one
        degree.  Chosen.
      independent: number of independent pairs that all pairs together count as.  Derived by
        `benchmarks.tune`.
      pairs: how many are evaluated.
      bins: of log(focal / f0), at which they are evaluated; a divisor of `targets.FOCAL_BINS`.
      nodes: shifts at which they are evaluated, see `joint_posterior.shift_nodes`.
      node_temper: weight of the log-probability of the shift where nodes are placed.  On noisy
        depth the true shift is often where curvature and parallels show little.  Chosen.
      node_doubt: share of the nodes that are spread evenly.  Chosen.
    """

    odds: float = 0.05
    sigma: float = 0.02
    independent: float = 92.16
    pairs: int = 512
    bins: int = 192
    nodes: int = 12
    node_temper: float = 0.3
    node_doubt: float = 0.2


@dataclasses.dataclass(frozen=True)
class EvidenceSettings:
    """All settings of the evidence; hashable, so that compiled programs can depend on it.

    Attributes:
      windows: how windows are fitted.
      curvature, parallel, angles: of the three likelihoods.
      inference_pairs: pairs that a network evaluates in inference, in place of those of its
        training; None for as many.
    """

    windows: WindowSettings = dataclasses.field(default_factory=WindowSettings)
    curvature: CurvatureSettings = dataclasses.field(default_factory=CurvatureSettings)
    parallel: ParallelSettings = dataclasses.field(default_factory=ParallelSettings)
    angles: AngleSettings = dataclasses.field(default_factory=AngleSettings)
    inference_pairs: int | None = None

    def with_pairs(self, pairs: int) -> "EvidenceSettings":
        """The same with another number of pairs, which together count as before."""
        return dataclasses.replace(
            self,
            parallel=dataclasses.replace(self.parallel, pairs=pairs),
            angles=dataclasses.replace(self.angles, pairs=pairs),
        )

    def fits_as(self, other: "EvidenceSettings") -> bool:
        """Whether `window_fit.fit_maps` gives the same with either."""
        return (self.windows, self.curvature) == (other.windows, other.curvature)


def solver_settings(space: Space) -> EvidenceSettings:
    """Those of the solver.

    In disparity space parallel planes alone constrain the shift before angles are evaluated, so
    there are more nodes, and half as many bins to keep the time.  In log space planes bend as in
    depth space, and with `affine.to_depth` so do numbers.
    """
    if space != "disparity":
        return EvidenceSettings()
    return EvidenceSettings(angles=AngleSettings(nodes=64, bins=96))


def network_settings(space: Space) -> EvidenceSettings:
    """Those of new networks: 384 pairs in training and 768 in inference.

    A network weights each pair, so it may evaluate more of them than in its training: the field of
    view of noisy rendered rooms improves by 0.1 degree, of real depth by 0.1 to 0.4.
    """
    nodes, bins = (12, 192) if space == "depth" else (32, 96)
    return EvidenceSettings(
        windows=WindowSettings(
            grids=((16, 16), (11, 11), (7, 7), (5, 5), (4, 4), (3, 3)),
            far_residual=3.0,
            least_surface_sigma=2e-4,
            least_plane_sigma=1e-3,
            stray_sigma=0.1,
            noise_quantile=0.2,
        ),
        curvature=CurvatureSettings(
            odds=0.2, sigma=0.02, spread=3.0, twist_weight=0.7, temper=0.25, least_depth=0.02
        ),
        parallel=ParallelSettings(odds=0.05, sigma=0.015, independent=38.4, pairs=384, bins=128),
        angles=AngleSettings(
            odds=0.05,
            sigma=0.02,
            independent=122.88,
            pairs=384,
            bins=bins,
            nodes=nodes,
            node_temper=0.3,
            node_doubt=0.2,
        ),
        inference_pairs=768,
    )


def from_json(contents: Mapping[str, Any]) -> EvidenceSettings:
    """The settings that `dataclasses.asdict` and JSON have made of a record.

    Raises:
      KeyError, TypeError: a part is missing or unknown.
    """
    windows = dict(contents["windows"])
    windows["grids"] = tuple((int(across), int(down)) for across, down in windows["grids"])
    return EvidenceSettings(
        WindowSettings(**windows),
        CurvatureSettings(**contents["curvature"]),
        ParallelSettings(**contents["parallel"]),
        AngleSettings(**contents["angles"]),
        contents["inference_pairs"],
    )
