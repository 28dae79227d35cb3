"""What is recovered of depth maps: cameras, straight depth, and straight clouds."""

import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32

from train3d_jax.errors import Argument, ArgumentError
from train3d_jax.export.shapes import save_shape
from train3d_jax.geometry import camera, depth_maps
from train3d_jax.geometry.affine import Space
from train3d_jax.inference.clip_recovery import Pooled
from train3d_jax.inference.estimates import FLAGS, Estimates, log_sigma_of, sigma_of
from train3d_jax.inference.rgb import pictures_of
from train3d_jax.placement.facts import CameraHeight, Fact, KnownDepth, KnownLength, Pixel
from train3d_jax.placement.metres import Unknowns, Variant, metric_scale, scaled
from train3d_jax.placement.upright import Upright, upright

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
      depth: straight depth, z along the optical axis, float32 (H, W), in `unit`.  0 where the map
        holds no value, and where the recovered depth is not positive or not finite.
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
      space: of the input.
      unit: of `depth`: "arbitrary", or "metres" where a fact or a network that covers the scale
        tells them.
      canonical: scale and offset of its canonical form, (2,): scale * input + offset.
      gravity_by_lines: the direction down as the lines of the picture alone tell it, (3,), and the
        standard deviation of its angle in degrees: (4,); NaN where they do not.
      scale_sigma: standard deviation of the logarithm of metric depths, see `in_metres`; NaN where
        no fact gives metres.
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
    space: Space
    unit: str
    canonical: Float[np.ndarray, "*maps 2"]
    gravity_by_lines: Float[np.ndarray, "*maps 4"]
    scale_sigma: Number = np.float64(np.nan)  # noqa: RUF009  # immutable

    @functools.cached_property
    def points(self) -> Float32[np.ndarray, "*maps h w 3"] | list[Float32[np.ndarray, "_ _ 3"]]:
        """The straight cloud: `depth` unprojected with `intrinsics`, (H, W, 3), in its unit.

        Axes are as in OpenCV: x right, y down, z forward.  Points are 0 where `mask` is False.
        """
        if isinstance(self.depth, list):
            return [_unproject(*one) for one in zip(self.depth, self.intrinsics, strict=True)]
        return _unproject(self.depth, self.intrinsics)

    @functools.cached_property
    def upright(self) -> Upright | tuple[Upright, ...]:
        """Gravity by planes and lines, and the height of the camera above the floor.

        `upright.pose()` is the 4 x 4 matrix from camera axes to a world with z up.  For several
        maps a tuple.
        """
        sigma: Any = log_sigma_of(self.focal_interval_px)
        depth: Any = self.depth
        arrays = (self.intrinsics, sigma, self.gravity_by_lines)
        if np.ndim(self.solvable) == 0:
            return _upright(depth, *arrays)
        return tuple(_upright(*each) for each in zip(depth, *arrays, strict=True))

    @functools.cached_property
    def gravity(self) -> Float[np.ndarray, "*maps 3"]:
        """The direction down in camera axes (x right, y down, z forward), of unit length, (3,).

        NaN where neither planes nor lines tell.  `geometry.camera.roll_and_pitch` makes angles of
        it.
        """
        return _of_each(self.upright, lambda one: one.gravity.down)

    @functools.cached_property
    def gravity_sigma_deg(self) -> Number:
        """Standard deviation of the angle of `gravity`, degrees; NaN where it is unknown."""
        return _of_each(self.upright, lambda one: np.float64(one.gravity.sigma_deg))

    def in_metres(
        self,
        *,
        known_length: tuple[Pixel, Pixel, float] | None = None,
        known_depth: tuple[Pixel, float] | None = None,
        camera_height: float | None = None,
        map: int | None = None,
    ) -> "Shape":
        """The same shape in metres, by one fact or several.

        Args:
          known_length: two pixels (u, v), and the metres between the points that they show.
          known_depth: a pixel, and metres along the optical axis to what it shows.
          camera_height: metres of the camera above the floor, the lowest level surface in view.
          map: of several maps of one scale and shift, as `clip="clip"` makes them, the number of
            the one that the facts are of.

        Returns:
          A shape with other `depth`, `a` and `b`, and with `scale_sigma`.

        Raises:
          ArgumentError: a fact is missing, or cannot be measured; or maps have no common scale.
        """
        facts = _facts(known_length, known_depth, camera_height)
        several = np.ndim(self.solvable) > 0
        if several:
            _refuse_scales(self, map)

        def of_map(values: Any) -> Any:
            return values[map] if several else values

        if not of_map(self.solvable):
            raise ArgumentError(Argument("map", map), ": it has no answer, so that nothing scales")
        unknowns = Unknowns(
            float(of_map(self.a)),
            float(of_map(self.b)),
            tuple(of_map(self.canonical)),
            float(of_map(self.shift)),
            float(sigma_of(*of_map(self.shift_interval))),
            float(log_sigma_of(of_map(self.focal_interval_px))),
        )
        place = Variant(of_map(self.depth), of_map(self.intrinsics))
        factor, sigma = metric_scale(facts, place, unknowns, self.space)
        sigma = np.broadcast_to(np.float64(sigma), np.shape(self.a))[()]
        return replace(metric(self, np.full(np.shape(self.a), factor)[()]), scale_sigma=sigma)

    def save(self, path: str | os.PathLike[str], rgb: Any = None, *, up: str | None = None) -> None:
        """Writes the shape of a single map: a point cloud (.ply), or a mesh with its camera (.glb).

        Args:
          path: file to write; its ending says which.
          rgb: the picture, as of `Model.recover`: colours of the cloud, texture of the mesh.
          up: "z" or "y" turns it upright, with the origin on the floor; in a GLB y is up in any
            case.  None keeps the axes of the camera, in a GLB as glTF has them.

        Raises:
          ArgumentError: there are several maps, the map has no answer, the ending is another one,
            `rgb` is no picture, or `up` is given and gravity is unknown.
          UserError: the file cannot be written.
        """
        depth: Any = self.depth
        if np.ndim(self.solvable) or not self.solvable:
            what = "no answer" if not np.ndim(self.solvable) else f"{len(self.flags)} maps"
            raise ArgumentError(f"the shape has {what}; recover a map alone to save it")
        if up not in (None, "z", "y"):
            raise ArgumentError(Argument("up", up), ": give 'z' or 'y', or leave it out")
        (picture,) = pictures_of(rgb, [depth])
        if picture is not None and picture.ndim == 2:
            picture = np.repeat(picture[..., None], 3, -1)
        found: Any = None if up is None else self.upright
        save_shape(Path(path), depth, self.intrinsics, self.unit, picture, found, up)

    def __repr__(self) -> str:
        if np.ndim(self.solvable):
            return f"Shape({len(self.flags)} maps, focal_px={self.focal_px})"
        low, high = self.focal_interval_px
        return (
            f"Shape(focal_px={self.focal_px:.1f} ({low:.1f} to {high:.1f}), "
            f"fov_deg={self.fov_deg:.1f}, a={self.a:.4g}, b={self.b:.4g}, flags={self.flags})"
        )


def metric(shape: Shape, factor: Number) -> Shape:
    """A shape in metres.

    Args:
      shape: in any unit.
      factor: on the depth of each map.
    """
    a, b = scaled(shape.a, shape.b, factor, shape.space)
    depth = shape.depth
    if isinstance(depth, list):
        factors = np.asarray(factor, np.float32)
        depth = [one * each for one, each in zip(factors, depth, strict=True)]
    else:
        depth = np.asarray(factor, np.float32)[..., None, None] * depth
    return replace(shape, depth=depth, a=a, b=b, unit="metres")


def shape_of(
    maps: Sequence[np.ndarray],
    form: str,
    space: Space,
    matrices: Sequence[np.ndarray | None],
    found: Estimates,
    flags: Sequence[Sequence[str]],
    pooled: Pooled | None = None,
    unit: str = "arbitrary",
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
      unit: of recovered depth.
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
    by_lines = np.full((len(maps), 4), np.nan)
    if found.lines is not None:
        by_lines = np.concatenate([found.lines.gravity, found.lines.gravity_sigma[:, None]], -1)
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
        "canonical": np.stack([found.canonical_scale, found.canonical_offset], -1),
        "gravity_by_lines": by_lines,
    }
    if form == "one":
        rest = {name: values[0] for name, values in numbers_of_maps.items()}
        one = {"depth": depths[0], "mask": masks[0], "flags": raised[0]}
        return Shape(**one, space=space, unit=unit, **rest)
    if form == "batch":
        depths, masks = np.stack(depths), np.stack(masks)
    of_all = {"depth": depths, "mask": masks, "flags": raised}
    return Shape(**of_all, space=space, unit=unit, **numbers_of_maps)


def _unproject(depth: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    points = camera.unproject(depth, np.nan_to_num(intrinsics, nan=1.0))
    return np.asarray(points, np.float32)


def _upright(
    depth: np.ndarray, intrinsics: np.ndarray, focal_sigma: float, by_lines: np.ndarray
) -> Upright:
    matrix = np.nan_to_num(intrinsics, nan=1.0)
    return upright(depth, matrix, float(focal_sigma), (by_lines[:3], float(by_lines[3])))


def _of_each(value: Upright | tuple[Upright, ...], get: Callable[[Upright], Any]) -> Any:
    # An Upright is a tuple itself.
    return get(value) if isinstance(value, Upright) else np.stack([get(one) for one in value])


def _facts(
    length: tuple[Pixel, Pixel, float] | None,
    depth: tuple[Pixel, float] | None,
    height: float | None,
) -> list[Fact]:
    """The facts that are given, at least one."""
    facts: list[Fact] = []
    if length is not None:
        facts.append(KnownLength(*length))
    if depth is not None:
        facts.append(KnownDepth(*depth))
    if height is not None:
        facts.append(CameraHeight(height))
    if not facts:
        raise ArgumentError("give known_length, known_depth or camera_height")
    for fact in facts:
        if not (np.isfinite(fact.metres) and fact.metres > 0):
            raise ArgumentError(Argument(fact.name, fact), ": metres are over 0")
    return facts


def _refuse_scales(shape: Shape, map: int | None) -> None:
    """Makes sure that several maps have one scale, and that one of them is named."""
    count = len(shape.flags)
    if map is None or not 0 <= map < count:
        raise ArgumentError(Argument("map", map), f": give the number of one of {count} maps")
    pairs = np.stack([shape.a, shape.b], -1)
    if not np.allclose(pairs, pairs[map], 1e-6):
        raise ArgumentError(
            Argument("map", map), ": each map has a scale of its own; recover it alone"
        )
