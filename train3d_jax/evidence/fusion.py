"""Weighs what networks and geometry say of shift and focal length, and answers.

Whatever the method, it ends in a posterior over the near/far ratio and one over log(focal / f0), on
the bins of `joint`.  Their medians are the answers and their quantiles the intervals.
"""

import functools
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from train3d_jax import chunking
from train3d_jax.evidence import joint_posterior, solver
from train3d_jax.evidence.calibration import without_bins
from train3d_jax.evidence.targets import RANGES, Target
from train3d_jax.geometry import affine, camera, clouds

Method = Literal["learned", "geometric", "hybrid"]

INTERVAL = (0.05, 0.5, 0.95)
"""Quantiles that are told: the median, and the ends of the central 90 %."""

DOUBT = 0.05
"""Chance that a posterior is wrong altogether, where another is weighed against it: spread evenly
over all bins, so that neither can rule out what the other is sure of."""

NETWORK_WEIGHT, GEOMETRY_WEIGHT = 1.0, 0.05
"""Shares of the network's log-probability and of geometry's that count where they are weighed.
Both rest on the same windows, so their product would be too sure; and the network has learned to
judge them, so geometry adds little where the network is sure.  With more of it shifts on noisy and
predicted depth were more than a tenth worse than the network's alone."""

ENOUGH: dict[affine.Space, float] = {"depth": 0.5, "disparity": 0.25}
"""Nats that geometry tells of a shift, below which the network's word on it counts less, down to
nothing.  Both see the same windows: on clean rooms geometry finds 4 nats in them, on a rock, which
has no plane, 0.3.  What a network then says is what is usual in rooms.  In disparity space, where
parallels alone tell, it is less throughout."""

HESITATES = (1.0, 1.5)
HESITANT_WEIGHTS = 0.8, 0.2
"""Nats that a network tells of a focal length, beyond the prior, below which (and above which not)
these are the shares that count.  Of clean rooms it tells 3.8, of noisy ones 2.6, of real depth 1,
where the two err in different places."""

FLAGS = ("near_planar", "few_valid_pixels", "out_of_training_range", "solver_disagrees")

FEW_VALID = 0.1
"""Share of the map's pixels that hold a value, below which a map counts as sparse."""

ONE_PLANE_SHARE = 0.9
"""Share of flat windows that face one way, within ten degrees, above which the focal length cannot
be told; it is 1 where no window is flat."""

FAR_TAIL = 3.0
"""Distance of a canonical value from 0.75, the middle of the near and the far quantile.  A value at
this distance is 5.5 times as far beyond its quantile as the two quantiles (0.5 and 1) are apart: no
room has such values, but sky, outliers and failed networks do."""

BORDER_SHARE = 0.02
"""Of a posterior's range at either end: an answer there was cut off by the range."""


class Learned(NamedTuple):
    """What networks say.

    Calibrated log-probabilities over their bins, (B, bins) each, None where none answers; the
    focal length in pixels that the focal ratio multiplies, (B,); and `Calibration.finest` of both.
    """

    shift: jax.Array | None = None
    focal: jax.Array | None = None
    assumed: jax.Array | None = None
    finest_shift: float | None = None
    finest_focal: float | None = None


class Answers(NamedTuple):
    """Low end, median and high end of both answers, (B, 3).

    Also whether there was anything to judge by, and the flags, (B,) each.
    """

    shift: jax.Array
    focal: jax.Array
    judged: jax.Array
    flags: dict[str, jax.Array]


@functools.partial(
    jax.jit, static_argnames=("method", "space"), compiler_options=chunking.COMPILER_OPTIONS
)
def answer(
    geometry: solver.Solution,
    learned: Learned,
    blocks: clouds.Blocks,
    canonical: affine.Canonical,
    method: Method,
    space: affine.Space,
    own_shift: jax.Array | None,
    known_focal: jax.Array | None,
) -> Answers:
    """Weighs and answers a batch of B maps.

    Args:
      geometry: what the solver says.
      learned: what networks say.
      blocks: the maps.
      canonical: their canonical form.
      method: whose answer it is.
      space: of the maps' values.
      own_shift: known canonical shifts, shape (B,); None where they are sought.
      known_focal: known focal lengths in pixels, shape (B,); None where they are sought.
    """
    first_guess = camera.initial_focal(blocks.size[..., 0])
    ratios = _shift_opinions(geometry, learned, space)
    alphas = _focal_opinions(geometry, learned, first_guess)
    judged = geometry.fit.windows.mask.sum(-1) >= solver.LEAST_WINDOWS
    ratio = joint_posterior.quantiles(
        ratios.weighed(method), joint_posterior.ratio_bins(), INTERVAL
    )
    log_alpha = joint_posterior.quantiles(
        alphas.weighed(method), joint_posterior.focal_bins(), INTERVAL
    )
    if method == "learned":
        judged = jnp.ones_like(judged)
    if method == "hybrid":
        ratio = _of_network_within_a_bin(ratio, ratios.network, joint_posterior.ratio_bins())
        log_alpha = _of_network_within_a_bin(
            log_alpha, alphas.network, joint_posterior.focal_bins()
        )
    if method != "learned":
        # A bin is coarser than what clean maps tell.
        finer = solver.refine_ratio(geometry, ratio[:, 1])
        sure = (method == "geometric") | _is_sure(finer, joint_posterior.ratio_bins())
        ratio = _refined(ratio, finer, sure)
        if method == "geometric" and space == "depth":
            width = joint_posterior.ratio_bins()[1] - joint_posterior.ratio_bins()[0]
            finest = jnp.minimum(VOTES_FINEST * finer.deviation[:, None] / width, 0.5)
            ratio = without_bins(ratio, "shift", joint_posterior.SHIFT_BINS, finest)
        within = jnp.clip(ratio[:, 1], *joint_posterior.SAFE_RATIO)
        finer = solver.refine_log_alpha(geometry, within, log_alpha[:, 1], space)
        # Angles look sure under noise too, and in disparity space under any shift: on clean depth
        # alone, where votes about the shift are sure, they are better than a network.
        sure &= (method == "geometric") | (
            _is_sure(finer, joint_posterior.focal_bins()) & (space == "depth")
        )
        log_alpha = _refined(log_alpha, finer, sure)
    if method != "geometric":
        if learned.shift is not None:
            bins, finest = learned.shift.shape[-1], learned.finest_shift
            if known_focal is not None and finest is not None:
                finest = jnp.maximum(finest, FINEST_WITH_FOCAL)
            ratio = without_bins(ratio, "shift", bins, finest)
        if learned.focal is not None:
            bins = learned.focal.shape[-1]
            log_alpha = without_bins(log_alpha, "focal", bins, learned.finest_focal)
    shift = affine.ratio_to_shift(jnp.clip(ratio, *joint_posterior.SAFE_RATIO))
    focal = jnp.exp(log_alpha) * first_guess[:, None]
    disagrees = out_of_range = jnp.zeros_like(judged)
    if own_shift is not None:
        shift = jnp.repeat(own_shift[:, None], 3, 1)
    else:
        disagrees |= ratios.exclude_each_other(joint_posterior.ratio_bins())
        out_of_range |= _at_border(ratio[:, 1], "shift")
    if known_focal is not None:
        focal = jnp.repeat(known_focal[:, None], 3, 1)
    else:
        disagrees |= alphas.exclude_each_other(joint_posterior.focal_bins())
        out_of_range |= _at_border(log_alpha[:, 1], "focal")
    spread = jnp.abs(jnp.where(canonical.mask, canonical.values, 1.0) - 0.5 - 0.25)
    out_of_range |= (spread.max(-1) > FAR_TAIL) & canonical.solvable
    planes = solver.plane_share(blocks, space, shift[:, 1], focal[:, 1])
    flags = {
        "near_planar": (planes > ONE_PLANE_SHARE) & canonical.solvable,
        "few_valid_pixels": _few_valid(blocks),
        "out_of_training_range": out_of_range & canonical.solvable,
        "solver_disagrees": disagrees & canonical.solvable,
    }
    return Answers(shift, focal, judged, flags)


def _few_valid(blocks: clouds.Blocks) -> jax.Array:
    """Whether less than `FEW_VALID` of the pixels hold a value; of the blocks, without a count."""
    share = blocks.valid_share
    return jnp.asarray(blocks.mask.mean(-1) if share is None else share) < FEW_VALID


@functools.partial(jax.jit, static_argnames="method", compiler_options=chunking.COMPILER_OPTIONS)
def focal_evidence(
    geometry: solver.Solution, learned: Learned, blocks: clouds.Blocks, method: Method
) -> tuple[jax.Array, jax.Array]:
    """Log-likelihood of each focal length without any prior, (B, joint_posterior.FOCAL_BINS).

    And whether there was anything to judge by, (B,).
    """
    first_guess = camera.initial_focal(blocks.size[..., 0])
    judged = geometry.fit.windows.mask.sum(-1) >= solver.LEAST_WINDOWS
    if method == "learned":
        judged = jnp.ones_like(judged)
    posterior = _focal_opinions(geometry, learned, first_guess).weighed(method)
    likelihood = jax.nn.log_softmax(_doubted(posterior) - joint_posterior.focal_prior())
    return likelihood - likelihood.max(-1, keepdims=True), judged


def _shift_opinions(
    geometry: solver.Solution, learned: Learned, space: affine.Space
) -> "_Opinions":
    """What networks and geometry say of the near/far ratio."""
    trust = jnp.minimum(_information(geometry.shift) / ENOUGH[space], 1.0) ** 2
    shares = _between((0.0, 1.0), (NETWORK_WEIGHT, GEOMETRY_WEIGHT), trust)
    return _Opinions(
        _finer_ratio(learned), geometry.shift, np.zeros(joint_posterior.SHIFT_BINS), shares
    )


def _focal_opinions(
    geometry: solver.Solution, learned: Learned, first_guess: jax.Array
) -> "_Opinions":
    """What networks and geometry say of the focal length.

    Networks have seen crops of cameras of any kind, far more of them unusual than users have: so
    what they say, nearly a likelihood, is multiplied with the same prior as geometry's.
    """
    network = _finer_focal(learned, first_guess)
    prior = joint_posterior.focal_prior()
    shares = (jnp.ones(()), jnp.ones(()))
    if network is not None:
        low, high = HESITATES
        sure = jnp.clip((_information(network) - low) / (high - low), 0.0, 1.0)
        shares = _between(HESITANT_WEIGHTS, (NETWORK_WEIGHT, GEOMETRY_WEIGHT), sure)
        network = jax.nn.log_softmax(network + prior)
    return _Opinions(network, geometry.focal, prior, shares)


def _between(
    one: tuple[float, float], other: tuple[float, float], part: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Shares of network and geometry, the one at part 0 and the other at 1."""
    of_network, of_geometry = (a + (b - a) * part for a, b in zip(one, other, strict=True))
    return of_network, of_geometry


class _Opinions(NamedTuple):
    """Log-probabilities over the same bins by the network, if it has any, and by geometry.

    And the logarithm of the prior that is in both of them, up to a constant; and the shares of both
    that count in hybrid, (..., 1) each.
    """

    network: jax.Array | None
    geometry: jax.Array
    prior: np.ndarray | jax.Array
    shares: tuple[jax.Array, jax.Array]

    def weighed(self, method: Method) -> jax.Array:
        """The posterior that a method answers by."""
        if method == "geometric" or self.network is None:
            return self.geometry
        if method == "learned":
            return self.network
        of_network, of_geometry = self.shares
        evidence = of_network * _doubted(self.network - self.prior)
        evidence += of_geometry * _doubted(self.geometry - self.prior)
        return jax.nn.log_softmax(evidence + self.prior)

    def exclude_each_other(self, bins: np.ndarray) -> jax.Array:
        """Whether the median of either lies outside of the other's interval."""
        if self.network is None:
            return jnp.zeros(self.geometry.shape[:-1], bool)
        one = joint_posterior.quantiles(self.network, bins, INTERVAL)
        other = joint_posterior.quantiles(self.geometry, bins, INTERVAL)
        outside = lambda x, y: (x[:, 1] < y[:, 0]) | (x[:, 1] > y[:, 2])  # noqa: E731
        return outside(one, other) & outside(other, one)


def _information(log_probability: jax.Array) -> jax.Array:
    """Nats by which a posterior differs from knowing nothing, (..., 1)."""
    normalised = jax.nn.log_softmax(log_probability)
    mean = (jnp.exp(normalised) * normalised).sum(-1, keepdims=True)
    return mean + np.log(log_probability.shape[-1])


def _doubted(log_probability: jax.Array) -> jax.Array:
    """A posterior that holds anything possible, see `DOUBT`."""
    bins = log_probability.shape[-1]
    normalised = jax.nn.log_softmax(log_probability)
    return jnp.logaddexp(normalised + np.log1p(-DOUBT), np.log(DOUBT / bins))


def _finer_ratio(learned: Learned) -> jax.Array | None:
    if learned.shift is None:
        return None
    finer = joint_posterior.SHIFT_BINS // learned.shift.shape[-1]
    return jax.nn.log_softmax(jnp.repeat(learned.shift, finer, -1))


def _finer_focal(learned: Learned, first_guess: jax.Array) -> jax.Array | None:
    """On the solver's bins: the network's count from the focal length that it was shown."""
    if learned.focal is None or learned.assumed is None:
        return None
    low, high = RANGES["focal"]
    bins = learned.focal.shape[-1]
    from_assumed = joint_posterior.focal_bins() - jnp.log(learned.assumed / first_guess)[:, None]
    # Rounding must not decide where both counts agree: bins are asked a hair above their centre.
    index = jnp.floor((from_assumed - low) / (high - low) * bins + 1e-3).astype(jnp.int32)
    taken = jnp.take_along_axis(learned.focal, jnp.clip(index, 0, bins - 1), -1)
    return jax.nn.log_softmax(jnp.where((index >= 0) & (index < bins), taken, -30.0))


def _of_network_within_a_bin(quantiles, network: jax.Array | None, bins: np.ndarray) -> jax.Array:
    """Moves a hybrid median to the network's where they are less than a bin apart.

    Weighing the shares of bins blurs what they tell of the place within one, and on clean depth
    that is all there is to tell.
    """
    if network is None:
        return quantiles
    own = joint_posterior.quantiles(network, bins, (0.5,))
    apart = jnp.abs(own - quantiles[:, 1:2])
    return jnp.where(apart < bins[1] - bins[0], _with_median(quantiles, own[:, 0]), quantiles)


def _refined(quantiles, finer: solver.Refined, sure: jax.Array) -> jax.Array:
    """Puts in what the solver's votes say within a bin, where they are sure."""
    middle = jnp.where(sure, finer.value, quantiles[:, 1])
    return jnp.where(sure[:, None], _with_median(quantiles, middle), quantiles)


def _is_sure(finer: solver.Refined, bins: np.ndarray) -> jax.Array:
    """Whether votes are surer than half a bin, as on clean depth.

    Beside a network they count only then: under noise it knows better, even within a bin, than all
    windows' votes alike.
    """
    return finer.deviation < SURE * (bins[1] - bins[0])


SURE = 0.35
"""Bins.  The deviation of votes is 0.3 of a bin on clean rendered rooms, in the median, and 1.1
with 1 % of noise.  At 0.45 the votes of some noisy rooms counted, and hybrid's shift on them was
1.13 times the network's in the median; now 1.05, and clean rooms are the same."""


VOTES_FINEST = 0.85
"""Deviations of votes that 90 % of true ratios lie within where one bin holds nearly all the
probability.  On 205 clean rendered rooms it was 0.59 to 0.84, the surer the votes the less."""


FINEST_WITH_FOCAL = 0.4
"""Bins of the ratio that 90 % of true ones lie within where the focal length is known, on 410 clean
rendered views: it is put into a bin of 2 %, and draws the shift along by part of that."""


def _with_median(quantiles: jax.Array, middle: jax.Array) -> jax.Array:
    """Puts a finer median between the ends, which it may push outwards."""
    low, high = jnp.minimum(quantiles[:, 0], middle), jnp.maximum(quantiles[:, 2], middle)
    return jnp.stack([low, middle, high], -1)


def _at_border(value: jax.Array, target: Target) -> jax.Array:
    low, high = RANGES[target]
    part = (value - low) / (high - low)
    return (part < BORDER_SHARE) | (part > 1 - BORDER_SHARE)
