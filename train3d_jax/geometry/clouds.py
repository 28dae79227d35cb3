"""From blocks of a depth map to what networks see: the one path of training and inference.

Canonical form and the rays of an assumed camera (`observe`); for networks of point sets also the
unprojected cloud, one point a voxel, in a sample of fixed size (`make_clouds`).
"""

# JAX types many of its functions in part only, hence what is switched off.
# pyright: strict, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Real, Shaped

from train3d_jax.geometry import affine, camera, points
from train3d_jax.geometry.affine import Either


@dataclass(frozen=True)
class CloudSettings:
    """How depth maps become clouds; saved with every run, because inference must do the same.

    Attributes:
      space: "depth" or "disparity", of the values that come in.
      input_channels: 3 for x, y, z; 5 for x, y, z and the rays (u - cx) / f0, (v - cy) / f0.
      voxel_size: edge of the voxels of which one point each is kept, in canonical units; 0 keeps
        all points.
      num_points: points in a cloud; 0 for all, in the order of the grid of blocks.
      init_fov: vertical field of view of the first guess of the camera, in degrees.
      shift_known: clouds are made with the true shift, scaled to a far quantile of 1.
      focal_known: clouds are made with the true focal length instead of the first guess f0.
    """

    space: affine.Space = "depth"
    input_channels: int = 5
    voxel_size: float = 0.0
    num_points: int = 0
    init_fov: float = camera.INITIAL_FOV_DEGREES
    shift_known: bool = False
    focal_known: bool = False

    @property
    def size(self) -> int:
        """Points that come out."""
        return self.num_points or points.BLOCKS[0] * points.BLOCKS[1]


POINT_SETS = CloudSettings(voxel_size=0.005, num_points=3072)
"""Settings that suit networks of point sets.  Chosen: more points cost time and gain nothing."""


class Blocks(NamedTuple):
    """Depth maps averaged over blocks (`points.average_blocks`), any leading axes.

    Attributes:
      pixels: (u, v) of each block, shape (..., P, 2).
      values: depth or disparity, shape (..., P).
      mask: blocks that hold a value, shape (..., P).
      size: height and width of the map in pixels, shape (..., 2).
      centre: the principal point that is assumed, (cx, cy) in pixels, shape (..., 2).
      valid_share: share of the map's pixels that hold a value, in [0, 1], shape (...); None where
        the flag few_valid_pixels is not asked for, as in training.
    """

    pixels: Float[Either, "*b p 2"]
    values: Float[Either, "*b p"]
    mask: Bool[Either, "*b p"]
    size: Float[Either, "*b 2"]
    centre: Float[Either, "*b 2"]
    valid_share: Float[Either, "*b"] | None = None


def valid(values: Real[np.ndarray, "*s"]) -> Bool[np.ndarray, "*s"]:
    """Pixels that hold a value: 0 and what is not finite stand for missing ones."""
    return np.isfinite(values) & (values != 0)


def blocks_of(values: Real[np.ndarray, "h w"], mask: Bool[np.ndarray, "h w"]) -> Blocks:
    """Averages one map over blocks, on the host.

    Args:
      values: depth or disparity, shape (H, W).
      mask: pixels that hold a value, shape (H, W).

    Returns:
      numpy arrays without a batch axis; the principal point is assumed in the image centre.
    """
    height, width = values.shape
    size = np.array([height, width], np.float32)
    centre = np.array([(width - 1) / 2, (height - 1) / 2], np.float32)
    valid_share = np.array(np.count_nonzero(mask) / mask.size, np.float32)
    return Blocks(*points.average_blocks(values, mask), size, centre, valid_share)


def blocks_on_device(maps: Float[Array, "b h w"]) -> Blocks:
    """`blocks_of` in JAX for a batch of maps of one size, 0 and what is not finite missing.

    Args:
      maps: depth or disparity, shape (B, H, W).

    Returns:
      The blocks, leading axis B; the principal point is assumed in the image centre.
    """
    count, height, width = maps.shape
    mask = jnp.isfinite(maps) & (maps != 0)
    size = jnp.array([height, width], jnp.float32)
    centre = jnp.array([(width - 1) / 2, (height - 1) / 2], jnp.float32)
    return Blocks(
        *jax.vmap(points.average_blocks_on_device)(maps, mask),
        jnp.broadcast_to(size, (count, 2)),
        jnp.broadcast_to(centre, (count, 2)),
        mask.sum((1, 2)) / jnp.float32(height * width),
    )


def in_square_pixels(
    pixels: Float[Either, "*b 2"], intrinsics: Float[np.ndarray, "3 3"]
) -> Float[Either, "*b 2"]:
    """Places (u, v) stretched across about the principal point, so that pixels are square.

    Focal lengths are then vertical ones.

    Args:
      pixels: shape (..., 2).
      intrinsics: of which the principal point and the ratio of the focal lengths are used.
    """
    centre = np.asarray(intrinsics, np.float32)[:2, 2]
    stretch = np.array([intrinsics[1, 1] / intrinsics[0, 0], 1.0], np.float32)
    return centre + (pixels - centre) * stretch


def from_square_pixels(
    pixels: Float[Either, "*b 2"], intrinsics: Float[np.ndarray, "3 3"]
) -> Float[Either, "*b 2"]:
    """The inverse of `in_square_pixels`."""
    centre = np.asarray(intrinsics, np.float32)[:2, 2]
    stretch = np.array([intrinsics[0, 0] / intrinsics[1, 1], 1.0], np.float32)
    return centre + (pixels - centre) * stretch


def mirrored_rows(rows: Shaped[Either, "*b p"]) -> Shaped[Array, "*b p"]:
    """Values of blocks, shape (..., P), in the order of the map's mirror image."""
    grid = jnp.reshape(rows, (*rows.shape[:-1], *points.BLOCKS))
    return jnp.reshape(jnp.flip(grid, -1), rows.shape)


def mirrored(blocks: Blocks) -> Blocks:
    """The mirror images of maps, left for right about the principal point.

    Args:
      blocks: the maps, any leading axes.

    Returns:
      The same shapes, in the order of the grid.
    """
    u, v = (mirrored_rows(blocks.pixels[..., axis]) for axis in (0, 1))
    return blocks._replace(
        pixels=jnp.stack([2 * blocks.centre[..., None, 0] - u, v], -1),
        values=mirrored_rows(blocks.values),
        mask=mirrored_rows(blocks.mask),
    )


def block_rays(blocks: Blocks, focal: Float[Either, "*b"]) -> Float[Array, "*b p 2"]:
    """Rays (u - cx) / focal, (v - cy) / focal of blocks under focal lengths in pixels (...).

    Returns:
      Shape (..., P, 2).
    """
    return jnp.asarray(blocks.pixels - blocks.centre[..., None, :]) / focal[..., None, None]


class Observation(NamedTuple):
    """What is known of maps before shift and focal length are estimated, leading axes (...).

    Attributes:
      rays: of the blocks under `focal`, shape (..., P, 2).
      values: canonical depth or disparity; true values over the far one where the shift is known,
        shape (..., P).
      mask: shape (..., P).
      focal: focal length in pixels that rays are made with, shape (...).
      first_guess: focal length in pixels before any estimate, shape (...).
      canonical: the canonical form.
    """

    rays: Float[Array, "*b p 2"]
    values: Float[Array, "*b p"]
    mask: Bool[Array, "*b p"]
    focal: Float[Array, "*b"]
    first_guess: Float[Array, "*b"]
    canonical: affine.Canonical


def observe(
    blocks: Blocks,
    canonical: affine.Canonical,
    settings: CloudSettings,
    shift: Float[Either, "*b"] | None = None,
    focal: Float[Either, "*b"] | None = None,
    first_guess: Float[Either, "*b"] | None = None,
) -> Observation:
    """Makes what a network sees of maps, leading axes (...).

    Args:
      blocks: the maps.
      canonical: their canonical form.
      settings: what is known.
      shift: canonical shift, shape (...); used where `settings.shift_known`.
      focal: focal length in pixels, shape (...); used where `settings.focal_known`.
      first_guess: focal length in pixels, shape (...), in place of that of `settings.init_fov`.
    """
    values = canonical.values
    if settings.shift_known and shift is not None:
        shift = shift[..., None]
        values = (values + shift) / (affine.FAR_VALUE + shift)
    if first_guess is None:
        first_guess = jnp.asarray(camera.initial_focal(blocks.size[..., 0], settings.init_fov))
    shown = focal if settings.focal_known and focal is not None else first_guess
    rays = block_rays(blocks, shown)
    shown, first_guess = jnp.asarray(shown), jnp.asarray(first_guess)
    return Observation(rays, values, canonical.mask, shown, first_guess, canonical)


class Clouds(NamedTuple):
    """Clouds for networks of point sets.

    Attributes:
      points: shape (..., N, input channels), 0 where masked.
      mask: shape (..., N).
    """

    points: Float[Array, "*b n channels"]
    mask: Bool[Array, "*b n"]


def make_clouds(key: jax.Array, observation: Observation, settings: CloudSettings) -> Clouds:
    """Makes the clouds of a batch of maps.

    Args:
      key: random key of the sample of points.
      observation: the maps, leading axes (...).
      settings: voxels, sample and channels.

    Returns:
      The clouds; all of a cloud is masked where its canonical form is not solvable.
    """
    mask = observation.mask & (observation.values > affine.SMALLEST_VALUE)
    z = jnp.where(mask, observation.values, 1.0)
    z = z if settings.space == "depth" else 1 / z
    cloud = jnp.concatenate([observation.rays * z[..., None], z[..., None]], -1)
    mask = points.one_point_per_voxel(cloud, mask, settings.voxel_size)
    if settings.input_channels == 5:
        ratio = (observation.focal / observation.first_guess)[..., None, None]
        cloud = jnp.concatenate([cloud, observation.rays * ratio], -1)
    if settings.num_points:
        cloud, mask = points.sample_points(key, cloud, mask, settings.num_points)
    return Clouds(cloud, jnp.asarray(mask))
