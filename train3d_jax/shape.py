"""What is recovered of depth maps: cameras, straight depth, and straight clouds."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32

from train3d_jax.geometry import camera, depth_maps
from train3d_jax.geometry.affine import Space
from train3d_jax.inference.clip_recovery import Pooled
from train3d_jax.inference.estimates import FLAGS, Estimates

Number = Float[np.ndarray, "*maps"] | np.floating
"""One number for each map: an array, or a scalar for a single map."""


@dataclass(frozen=True, eq=False, repr=False)
class Shape:
    """What was recovered: a camera and straight depth for each map.

    For a single map, given as (H, W), (H, W, 1) or (1, H, W), the arrays have the shapes below, and
    numbers are scalars.  For a batch each has a leading axis B.  For a list of maps too, but for
    `depth`, `mask` and `points`, which are lists of arrays, because sizes may differ.

    A map without an answer (`solvable` False) has NaN for each number and a depth of 0 throughout.

    Attributes:
      depth: straight depth, z along the optical axis, float32 (H, W); up to scale, or in metres
        where a network that covers the scale took part.  0 where the map holds no value, and where
        the recovered depth is not positive or not finite.
      mask: where `depth` holds a value, bool (H, W).
      intrinsics: [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] in pixels, float64 (3, 3); pixel centres are
        at integers.  The principal point and fx / fy are those that were given, or else those of a
        centred camera with square pixels.
      fov_deg: horizontal field of view in degrees.
      focal_px: vertical focal length fy in pixels.
      focal_interval_px: holds the vertical focal length with 90 % probability, pixels, (2,).
      shift: in canonical units: the 2 % quantile of the input at 0.5, the 98 % quantile at 1.
      shift_interval: holds the shift with 90 % probability, (2,).
      a: > 0; a * input + b is the straight depth, in disparity space its inverse, in log space its
        logarithm.
      b: see `a`.
      flags: names of the flags that are raised, a tuple; for several maps a tuple of one for each.
        Of `estimates.FLAGS`, `map_checks.FLAGS` and `lines.pictures.FLAGS`.
      solvable: whether there is an answer.
      gravity: the direction down in camera axes (x right, y down, z forward), of unit length, (3,),
        as the lines of the picture tell it; NaN where they do not, or there is no picture.
        `geometry.camera.roll_and_pitch` makes angles of it.
      gravity_sigma_deg: standard deviation of its angle, degrees; NaN where it is unknown.
    """

    depth: Float32[np.ndarray, "*maps h w"] | list[Float32[np.ndarray, "_ _"]]
    mask: Bool[np.ndarray, "*maps h w"] | list[Bool[np.ndarray, "_ _"]]
    intrinsics: Float[np.ndarray, "*maps 3 3"]
    fov_deg: Number
    focal_px: Number
    focal_interval_px: Float[np.ndarray, "*maps 2"]
    shift: Number
    shift_interval: Float[np.ndarray, "*maps 2"]
    a: Number
    b: Number
    flags: tuple[str, ...] | tuple[tuple[str, ...], ...]
    solvable: Bool[np.ndarray, "*maps"] | np.bool_
    gravity: Float[np.ndarray, "*maps 3"]
    gravity_sigma_deg: Number

    @functools.cached_property
    def points(self) -> Float32[np.ndarray, "*maps h w 3"] | list[Float32[np.ndarray, "_ _ 3"]]:
        """The straight cloud: `depth` unprojected with `intrinsics`, (H, W, 3), in its unit.

        Axes are as in OpenCV: x right, y down, z forward.  Points are 0 where `mask` is False.
        """
        if isinstance(self.depth, list):
            return [_unproject(*one) for one in zip(self.depth, self.intrinsics, strict=True)]
        return _unproject(self.depth, self.intrinsics)

    def __repr__(self) -> str:
        if np.ndim(self.solvable):
            return f"Shape({len(self.flags)} maps, focal_px={self.focal_px})"
        low, high = self.focal_interval_px
        return (
            f"Shape(focal_px={self.focal_px:.1f} ({low:.1f} to {high:.1f}), "
            f"fov_deg={self.fov_deg:.1f}, a={self.a:.4g}, b={self.b:.4g}, flags={self.flags})"
        )


def shape_of(
    maps: Sequence[np.ndarray],
    form: str,
    space: Space,
    matrices: Sequence[np.ndarray | None],
    found: Estimates,
    flags: Sequence[Sequence[str]],
    pooled: Pooled | None = None,
) -> Shape:
    """The shape of maps from their estimates.

    Args:
      maps: shape (H, W) each.
      form: how they were given, see `arrays.Maps`.
      space: of their values.
      matrices: their cameras, (3, 3) in pixels, where they are known.
      found: their estimates.
      flags: of each map, besides those of the estimates.
      pooled: what they have in common, if they are frames of a clip.
    """
    if pooled is None:
        a, b = found.coefficients(space)
    else:
        found = pooled.applied(found)
        a, b = pooled.coefficients(found, space)
    focal, solvable = found.focal, found.solvable
    intrinsics = np.stack(
        [
            camera.recovered_intrinsics(one, (values.shape[0], values.shape[1]), known)
            for one, values, known in zip(focal, maps, matrices, strict=True)
        ]
    )
    depths = [
        depth_maps.recovered_depth(values, float(a[i]), float(b[i]), space).astype(np.float32)
        if solvable[i]
        else np.zeros(values.shape, np.float32)
        for i, values in enumerate(maps)
    ]
    masks = [depth > 0 for depth in depths]
    widths = [values.shape[1] for values in maps]
    raised = tuple(
        (*(name for name in FLAGS if found.flags[name][i]), *others)
        for i, others in enumerate(flags)
    )
    unknown = np.full(len(maps), np.nan)
    numbers_of_maps = {
        "intrinsics": intrinsics,
        "fov_deg": camera.focal_to_degrees(intrinsics[:, 0, 0], np.array(widths)),
        "focal_px": focal,
        "focal_interval_px": found.focal_interval,
        "shift": found.shift,
        "shift_interval": found.shift_interval,
        "a": a,
        "b": b,
        "solvable": solvable,
        "gravity": np.stack([unknown] * 3, -1) if found.lines is None else found.lines.gravity,
        "gravity_sigma_deg": unknown if found.lines is None else found.lines.gravity_sigma,
    }
    if form == "one":
        rest = {name: values[0] for name, values in numbers_of_maps.items()}
        return Shape(depth=depths[0], mask=masks[0], flags=raised[0], **rest)
    if form == "batch":
        return Shape(depth=np.stack(depths), mask=np.stack(masks), flags=raised, **numbers_of_maps)
    return Shape(depth=depths, mask=masks, flags=raised, **numbers_of_maps)


def _unproject(depth: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    points = camera.unproject(depth, np.nan_to_num(intrinsics, nan=1.0))
    return np.asarray(points, np.float32)
