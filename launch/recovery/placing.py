"""Where a recovered map lies: its depth in metres by facts, its gravity, its pose when upright."""

import math
import statistics
from collections.abc import Sequence

import numpy as np

from launch.recovery.config import RecoveryConfig
from launch.recovery.recovered import Placed, Recovered
from launch.recovery.shared_camera import CommonScale, Metres
from train3d_jax.errors import UserError
from train3d_jax.geometry import camera, depth_maps
from train3d_jax.inference.estimates import log_sigma_of, sigma_of
from train3d_jax.placement import metres
from train3d_jax.placement.facts import CameraHeight, Fact
from train3d_jax.placement.metres import MetricScale, Unknowns, Variant
from train3d_jax.placement.upright import upright

GRAVITY_UNKNOWN, SCALE_UNKNOWN = "gravity_unknown", "scale_unknown"
"""Flags of an answer: --upright was given, and its gravity is uncertain; facts were given, and none
is of this map."""

MOST_MEASURED = 8
"""Maps of a clip in which the height of its camera is measured; chosen."""


def placed(recovered: Recovered, config: RecoveryConfig) -> Recovered:
    """A map that has an estimate, with its place.

    Raises:
      ArgumentError: a fact on this map cannot be measured.
    """
    recovered, scale = _in_metres(recovered, config)
    depth, intrinsics = _depth_and_camera(recovered, config)
    assert recovered.estimate is not None
    lines, by_lines = recovered.lines, None
    if lines is not None:
        by_lines = (lines.gravity, float(lines.gravity_sigma))
    focal_sigma = float(log_sigma_of(recovered.estimate.focal_interval))
    found = upright(depth, intrinsics, focal_sigma, by_lines)
    settings, flags = config.placing, []
    if settings.upright and not found.gravity.is_known:
        flags.append(GRAVITY_UNKNOWN)
    if settings.facts and scale is None:
        flags.append(SCALE_UNKNOWN)
    up = settings.up if settings.upright and found.gravity.is_known else None
    return recovered._replace(placed=Placed(depth, intrinsics, found, up, scale, tuple(flags)))


def _in_metres(recovered: Recovered, config: RecoveryConfig) -> tuple[Recovered, Metres | None]:
    """The map in metres, where a fact tells."""
    estimate, depth_map = recovered.estimate, recovered.map
    assert estimate is not None and depth_map is not None
    common = None if depth_map.shared is None else depth_map.shared.common
    if common is not None:
        estimate = estimate._replace(a=common.a, b=common.b)
        return recovered._replace(estimate=estimate, metric=True), common.metres
    facts = config.placing.facts_of(recovered.file)
    if not facts:
        return recovered, None
    factor, sigma = scale_of(recovered, facts, config)
    a, b = metres.scaled(estimate.a, estimate.b, factor, config.space)
    estimate = estimate._replace(a=a, b=b)
    return recovered._replace(estimate=estimate, metric=True), Metres(facts[0].name, sigma)


def common_scale(maps: Sequence[Recovered], config: RecoveryConfig) -> CommonScale:
    """The scale of maps that have one, by the facts on them: the mean of its logarithm.

    Raises:
      UserError: a fact cannot be measured; of the camera's height in several maps, in none of them.
    """
    found: list[tuple[float, float, Metres]] = []
    failure: UserError | None = None
    for recovered in maps:
        facts = config.placing.facts_of(recovered.file)
        if recovered.estimate is None or not facts:
            continue
        try:
            factor, sigma = scale_of(recovered, facts, config)
        except UserError as error:
            if any(not isinstance(fact, CameraHeight) for fact in facts):
                raise
            failure = error
        else:
            a, b = metres.scaled(recovered.estimate.a, recovered.estimate.b, factor, config.space)
            found.append((a, b, Metres(facts[0].name, sigma)))
    if not found:
        name = config.placing.facts[0].fact.name
        raise failure or UserError(f"--{name}: none of the maps that it is of can be recovered")
    a = math.exp(statistics.fmean(math.log(a) for a, _, _ in found))
    b = a * statistics.fmean(b / a for a, b, _ in found)
    reasons = [reason for _, _, reason in found]
    sigma = statistics.fmean(each.sigma for each in reasons)
    return CommonScale(a, b, Metres(reasons[0].source, sigma))


def scale_of(recovered: Recovered, facts: Sequence[Fact], config: RecoveryConfig) -> MetricScale:
    """Metres of one unit of a map's recovered depth.

    Raises:
      ArgumentError: a fact cannot be measured.
    """
    estimate, canonical = recovered.estimate, recovered.canonical
    assert estimate is not None and canonical is not None
    place = Variant(*_depth_and_camera(recovered, config))
    unknowns = Unknowns(
        estimate.a, estimate.b, canonical, estimate.shift,
        sigma_of(*estimate.shift_interval), float(log_sigma_of(estimate.focal_interval)),
    )  # fmt: skip
    return metres.metric_scale(facts, place, unknowns, config.space)


def _depth_and_camera(
    recovered: Recovered, config: RecoveryConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Straight depth, (H, W), and intrinsics, (3, 3), of a map that has an estimate."""
    depth_map, estimate = recovered.map, recovered.estimate
    assert depth_map is not None and estimate is not None
    return (
        depth_maps.recovered_depth(depth_map.values, estimate.a, estimate.b, config.space),
        camera.recovered_intrinsics(estimate.focal, depth_map.size, depth_map.intrinsics),
    )
