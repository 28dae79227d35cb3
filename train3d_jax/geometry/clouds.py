"""From blocks of a depth map to the cloud that an encoder of points takes in.

Canonical form, unprojection with the assumed camera, one point a voxel, a sample of fixed size.
Training and inference share this path, so a network gets the same input in both.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Real

from train3d_jax.geometry import affine, camera, points
from train3d_jax.geometry.affine import Either


@dataclass(frozen=True)
class CloudSettings:
    """How depth maps become clouds; stored with every run, because inference must do the same.

    Attributes:
      space: "depth" or "disparity", of the input.
      input_channels: 3 for x, y, z; 5 for x, y, z and the rays (u - cx) / f0, (v - cy) / f0.
      voxel_size: edge of the voxels of which one point each is kept, in canonical units; 0 for all.
      num_points: points in a cloud; 0 for all, in the order of the grid of blocks.
      init_fov: vertical field of view of the first guess of the camera, in degrees.
      shift_known: clouds are made with the true shift, scaled to a far quantile of 1.
      focal_known: clouds are made with the true focal length instead of the first guess f0.
    """

    space: affine.Space = "depth"
    input_channels: int = 5
    voxel_size: float = 0.005
    num_points: int = 3072
    init_fov: float = camera.INITIAL_FOV_DEGREES
    shift_known: bool = False
    focal_known: bool = False

    @property
    def size(self) -> int:
        """Points in a cloud."""
        return self.num_points or points.BLOCKS[0] * points.BLOCKS[1]


class Blocks(NamedTuple):
    """Depth maps averaged over blocks (`points.average_blocks`), any leading axes.

    Attributes:
      pixels: (u, v) of each block, shape (..., P, 2).
      values: depth or disparity, shape (..., P).
      mask: blocks that hold a value, shape (..., P).
      size: height and width of the map in pixels, shape (..., 2).
      centre: assumed principal point, (cx, cy) in pixels, shape (..., 2).
      valid_share: share of the map's pixels that hold a value, in [0, 1], shape (...); None where
        no flag few_valid_pixels is needed, as in training.
    """

    pixels: Float[Either, "*b p 2"]
    values: Float[Either, "*b p"]
    mask: Bool[Either, "*b p"]
    size: Float[Either, "*b 2"]
    centre: Float[Either, "*b 2"]
    valid_share: Float[Either, "*b"] | None = None


def valid(values: Real[np.ndarray, "*s"]) -> Bool[np.ndarray, "*s"]:
    """Pixels that hold a value: missing ones are 0 or not finite."""
    return np.isfinite(values) & (values != 0)


def blocks_of(values: Real[np.ndarray, "h w"], mask: Bool[np.ndarray, "h w"]) -> Blocks:
    """Averages one map over blocks, on the host.

    Args:
      values: depth or disparity, shape (H, W).
      mask: pixels that hold a value, shape (H, W).

    Returns:
      numpy arrays without a batch axis; the assumed principal point is the image centre.
    """
    height, width = values.shape
    size = np.array([height, width], np.float32)
    centre = np.array([(width - 1) / 2, (height - 1) / 2], np.float32)
    valid_share = np.array(np.count_nonzero(mask) / mask.size, np.float32)
    return Blocks(*points.average_blocks(values, mask), size, centre, valid_share)


def mirrored(blocks: Blocks) -> Blocks:
    """The maps mirrored left to right about the principal point.

    Args:
      blocks: the maps, any leading axes.

    Returns:
      The same shapes; the blocks are in the order of the grid.
    """

    def turned(rows: Either) -> Array:
        axis = np.ndim(blocks.mask) - 1
        grid = jnp.reshape(rows, (*rows.shape[:axis], *points.BLOCKS, *rows.shape[axis + 1 :]))
        return jnp.reshape(jnp.flip(grid, axis + 1), rows.shape)

    pixels = turned(blocks.pixels)
    return blocks._replace(
        pixels=pixels.at[..., 0].set(2 * blocks.centre[..., None, 0] - pixels[..., 0]),
        values=turned(blocks.values),
        mask=turned(blocks.mask),
    )


class Clouds(NamedTuple):
    """The input of an encoder.

    Attributes:
      points: shape (..., N, input channels), 0 where masked.
      mask: shape (..., N).
      focal: focal length in pixels of the unprojection, shape (...).
      canonical: the canonical form of the blocks.
    """

    points: Float[Array, "*b n channels"]
    mask: Bool[Array, "*b n"]
    focal: Float[Array, "*b"]
    canonical: affine.Canonical


def make_clouds(
    key: jax.Array,
    blocks: Blocks,
    settings: CloudSettings,
    shift: Float[Array, "*b"] | None = None,
    focal: Float[Array, "*b"] | None = None,
    first_guess: Float[Array, "*b"] | None = None,
) -> Clouds:
    """Makes the clouds of a batch of maps.

    Args:
      key: random key of the sample of points.
      blocks: the maps, leading axes (...).
      settings: how.
      shift: canonical shift, shape (...); used where `settings.shift_known`.
      focal: focal length in pixels, shape (...); used where `settings.focal_known`.
      first_guess: focal length f0 in pixels, shape (...), instead of that of `settings.init_fov`.

    Returns:
      The clouds; a map without a canonical form is masked as a whole.
    """
    canonical = affine.canonicalise(blocks.values, blocks.mask)
    values = canonical.values
    if settings.shift_known and shift is not None:
        shift = shift[..., None]
        values = (values + shift) / (affine.FAR_VALUE + shift)
    mask = canonical.mask & (values > affine.SMALLEST_VALUE)
    z = jnp.where(mask, values, 1.0)
    z = z if settings.space == "depth" else 1 / z
    f0: jax.Array = (
        camera.initial_focal(blocks.size[..., 0], settings.init_fov)
        if first_guess is None
        else first_guess
    )
    focal = focal if settings.focal_known and focal is not None else f0
    centred = blocks.pixels - blocks.centre[..., None, :]
    xy = centred / focal[..., None, None] * z[..., None]
    cloud = jnp.concatenate([xy, z[..., None]], -1)
    mask = points.one_point_per_voxel(cloud, mask, settings.voxel_size)
    if settings.input_channels == 5:
        cloud = jnp.concatenate([cloud, centred / f0[..., None, None]], -1)
    if settings.num_points:
        cloud, mask = points.sample_points(key, cloud, mask, settings.num_points)
    return Clouds(cloud, mask, focal, canonical)
