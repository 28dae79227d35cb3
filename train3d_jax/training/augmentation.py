"""What makes rendered and clean depth look like depth that sensors and networks really give.

`augment` applies kinds of damage to blocks of true depth.  Each kind is a pure function of

  key: random key;
  w: inverse depth in units of the far depth's (`far_depth`), shape (..., rows, columns): 1 far away
    and larger near by, on a plane affine in the pixels;
  mask: valid blocks, shape (..., rows, columns), where it asks for them;
  strength: factor of all its amplitudes, shape (), 0 for no change and 1 for the recipe;

and returns the new w, or what it says.  It draws an amplitude for each map on its own, mostly
log-uniformly, so that nearly clean maps stay among them: a network trained on noisy maps alone
loses accuracy on clean ones.

The recipe comes from this project's experiments: trained with it on rendered rooms, tested on the
maps of five depth cameras and of a depth network.
"""

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtr, ndtri
from jax.typing import ArrayLike

from train3d_jax.geometry import points
from train3d_jax.geometry.affine import Space
from train3d_jax.geometry.clouds import Blocks

KINDS = ("bias", "ripple", "blur", "lens", "noise", "quantisation", "outliers", "holes", "reach")
"""In the order in which they are applied: what a network or a lens does to the scene, then what a
sensor does.  The number of a kind's random key is its place."""

UNTOUCHED_SHARE = 0.15
"""Maps that nothing is done to."""

NETWORK_SHARE = 0.35
"""Maps made to look like those of a depth network; the others look like a sensor's."""
NETWORK_STRENGTH = {"bias": 2.0, "ripple": 1.5, "noise": 0.2, "quantisation": 0.2, "outliers": 0.0,
                    "holes": 0.0, "reach": 0.0}  # fmt: skip
"""Factors of the amplitudes of a kind in such maps, 1 for the others.  In the maps of a network
planes are smooth, but all are bent: 3 % of their depth over 16 blocks, 9 % over 32, in a quarter of
the windows at the least, where sensors bend 2 and 8 %; and there are no holes."""

BIAS_SIZE = (0.0003, 0.04)
"""Standard deviation of the smooth error of depth, relative."""
BIAS_WIDTH = (6.0, 24.0)
"""Blocks; standard deviation of the bumps that the error is made of."""
FLATTENED_SHARE = 0.5
"""Maps whose far range is flattened too; by `BIAS_SIZE` at the far depth."""

RIPPLE_SHARE = 0.5
RIPPLE_SIZE = (0.0003, 0.008)
"""Relative, as of the bias."""
RIPPLE_WIDTH = (1.5, 6.0)
"""Blocks: the smallest waves that a depth network draws.  In the maps of one, windows of 4 x 4
blocks on planes are bent by 0.8 % of their depth, and hardly any of it is noise."""

BLUR_SHARE = 0.6
BLUR_WIDTH = (0.25, 2.5)
"""Blocks; standard deviation of the Gaussian."""
BLUR_RADIUS = 6
"""Blocks; three standard deviations of the widest blur at strength 1."""

LENS_SHARE = 0.5
LENS_DEVIATION = 0.04
"""Standard deviation of the radial distortion at the half diagonal, relative."""
LENS_LIMIT = 0.2
"""Far from where the image would fold, about -0.4."""
LENS_NEUTRAL = 0.47
"""Squared radius that keeps its place, in squared half diagonals: the mean of r^4 over that of r^2
(square 0.467, 4:3 0.477).  So the focal length that fits the image best stays the true one."""

NOISE_SIZE = (0.00025, 0.0126)
"""Standard deviation of the noise of w, white and correlated each; depth noise grows as z^2."""
NOISE_WIDTH = (0.5, 4.0)
"""Blocks; standard deviation of the smoothing that correlates it, down and across on their own:
stereo compares along rows, and its noise stands in upright streaks."""
PROPORTIONAL_SIZE = (0.0001, 0.0063)
"""Standard deviation of white noise in proportion to the depth."""
LARGEST_CHANGE = 0.5
"""Noise takes no more than this share of w away, nor adds more: what is far behind everything else
stays positive."""

DISPARITY_STEPS_SHARE = 0.35
DISPARITY_STEP = (0.001, 0.02)
"""Step of disparity over the map's mean, as stereo matching makes it."""
DEPTH_STEPS_SHARE = 0.15
DEPTH_STEP = (0.0003, 1 / 256)
"""Step of depth over the far depth: from files in millimetres to files of 8 bits."""

OUTLIERS_SHARE = 0.3
MOST_OUTLIERS = 0.02
"""Share of a map's blocks."""

HOLES_SHARE = 0.4
MOST_HOLES = 0.45
"""Share of a map's blocks."""
HOLES_WIDTH = (2.0, 6.0)
"""Blocks; standard deviation of the bumps whose valleys are the holes."""
EATEN_SHARE = 0.4
"""Maps that lose blocks at edges of depth (some to all of them) and at the border."""
EDGE_STEP = 0.1
"""An edge is where the second difference of w exceeds this share of w: planes have none."""
WIDEST_BORDER = 4.0
"""Blocks lost on each side."""
REACH_SHARE = 0.3
"""Maps of a sensor with a limited reach, and as many of one that is blind near by."""
MOST_DROPPED = 0.5
"""Share of a map's valid blocks; a map that would lose more keeps them."""


def augment(
    key: jax.Array, blocks: Blocks, kinds: tuple[str, ...], strength: ArrayLike, space: Space
) -> Blocks:
    """Applies the chosen kinds to a batch of maps, each map with its own random amplitudes.

    A kind draws the same whether others are on or off.

    Args:
      key: random key.
      blocks: true depth or inverse depth, up to scale, > 0 where valid; P as in `points.BLOCKS`.
      kinds: names out of `KINDS`, in any order.
      strength: multiplies every amplitude, shape (); 0 changes nothing, 1 is the recipe.
      space: of the values, which changes nothing but how they are written.

    Returns:
      Blocks of the same shapes; values are finite, > 0 where valid and 0 elsewhere, what was masked
      stays so, and at least half of a map's valid blocks stay valid.

    Raises:
      ValueError: a kind that does not exist, or blocks on another grid.
    """
    if unknown := set(kinds) - set(KINDS):
        raise ValueError(f"no kind of augmentation: {', '.join(sorted(unknown))}; of {KINDS}")
    lead = blocks.values.shape[:-1]
    if blocks.values.shape[-1] != points.BLOCKS[0] * points.BLOCKS[1]:
        raise ValueError(f"{blocks.values.shape[-1]} blocks a map, not a grid of {points.BLOCKS}")
    mask = jnp.reshape(jnp.asarray(blocks.mask), (*lead, *points.BLOCKS))
    values = jnp.where(mask, jnp.reshape(jnp.asarray(blocks.values), mask.shape), 1.0)
    pixels = jnp.asarray(blocks.pixels)
    z = values if space == "depth" else 1 / values
    far = far_depth(z, mask)[..., None, None]
    true = w = far / z
    kept = mask
    clean_key, *keys = (jax.random.fold_in(key, number) for number in range(len(KINDS) + 1))
    drawn = jax.random.uniform(clean_key, (*lead, 1, 1))
    untouched = drawn < UNTOUCHED_SHARE
    of_network = drawn > 1 - NETWORK_SHARE
    for kind, kind_key in zip(KINDS, keys, strict=True):
        if kind not in kinds:
            continue
        amplitude = strength * jnp.where(of_network, NETWORK_STRENGTH.get(kind, 1.0), 1.0)
        match kind:
            case "bias":
                w = bend_depth(kind_key, w, amplitude)
            case "ripple":
                w = add_ripple(kind_key, w, amplitude)
            case "blur":
                w = blur_edges(kind_key, w, mask, amplitude)
            case "lens":
                pixels = bend_rays(kind_key, pixels, blocks.size, blocks.centre, strength)
            case "noise":
                w = add_sensor_noise(kind_key, w, amplitude)
            case "quantisation":
                w = quantise(kind_key, w, mask, amplitude)
            case "outliers":
                w = add_outliers(kind_key, w, mask, amplitude)
            case "holes":
                kept = cut_holes(kind_key, true, mask, amplitude)
            case "reach":
                kept = _without(mask, kept, ~limit_reach(kind_key, true, mask, amplitude))
    changed = far / w if space == "depth" else w / far
    untouched |= jnp.asarray(strength) <= 0
    kept = jnp.where(untouched, mask, kept)
    # Chosen, not multiplied by 0: to inverse depth and back would round.
    changed = jnp.where(kept, jnp.where(untouched, values, changed), 0.0)
    return Blocks(
        jnp.where(untouched, blocks.pixels, pixels),
        changed.reshape(blocks.values.shape),
        kept.reshape(blocks.mask.shape),
        blocks.size,
        blocks.centre,
        blocks.valid_share,
    )


def far_depth(z: jax.Array, mask: jax.Array, cell: int = 8) -> jax.Array:
    """The far depth of a map, without sorting: the mean depth of the farthest square of blocks.

    Args:
      z: depth, shape (..., rows, columns), multiples of `cell`.
      mask: shape (..., rows, columns).
      cell: blocks along a square's side; a block too far by a mistake counts little in it.

    Returns:
      Shape (...); 1 where nothing is valid.
    """
    *lead, rows, columns = z.shape

    def total(image: jax.Array) -> jax.Array:
        return image.reshape(*lead, rows // cell, cell, columns // cell, cell).sum((-3, -1))

    far = total(jnp.where(mask, z, 0.0)) / jnp.maximum(total(mask.astype(z.dtype)), 1.0)
    far = far.max((-2, -1))
    return jnp.where(far > 0, far, 1.0)


def bend_depth(key: jax.Array, w: jax.Array, strength: ArrayLike) -> jax.Array:
    """The smooth error of depth networks: a factor that varies slowly, and a flattened far range.

    The logarithm of the factor has mean 0 over the grid.  Flattening makes w into sqrt(w^2 + 2 c):
    depth keeps its order, hardly changes near by, and is smaller by the share c at the far depth.
    """
    map_key, field_key = jax.random.split(key)
    size, down, across, flattens, flattening = _draws(map_key, w.shape[:-2], 5)
    widths = _log_between(down, BIAS_WIDTH), _log_between(across, BIAS_WIDTH)
    size = strength * _log_between(size, BIAS_SIZE)
    w = w * jnp.exp(size * random_field(field_key, w.shape, *widths, knots=12))
    flattening = strength * _log_between(flattening, BIAS_SIZE)
    return jnp.where(flattens < FLATTENED_SHARE, jnp.sqrt(w**2 + 2 * flattening), w)


def add_ripple(key: jax.Array, w: jax.Array, strength: ArrayLike) -> jax.Array:
    """The uneven surfaces of depth networks: a factor with waves of a few blocks."""
    map_key, field_key = jax.random.split(key)
    happens, size, down, across = _draws(map_key, w.shape[:-2], 4)
    widths = _log_between(down, RIPPLE_WIDTH), _log_between(across, RIPPLE_WIDTH)
    size = jnp.where(happens < RIPPLE_SHARE, strength * _log_between(size, RIPPLE_SIZE), 0.0)
    return w * jnp.exp(size * random_field(field_key, w.shape, *widths, knots=w.shape[-1] // 2))


def blur_edges(key: jax.Array, w: jax.Array, mask: jax.Array, strength: ArrayLike) -> jax.Array:
    """The smoothed edges of depth networks: a Gaussian blur of w that leaves planes as they are.

    Neighbours count in pairs, one on each side, both valid: so a plane stays exact up to holes and
    borders, where weights that are only normalised would bend it.
    """
    happens, width = _draws(key, w.shape[:-2], 2)
    width = jnp.where(happens < BLUR_SHARE, strength * _log_between(width, BLUR_WIDTH), 0.0)
    # The share of a Gaussian that falls into each block, of all within the radius.
    width = jnp.maximum(width, 1e-3)
    reached = ndtr((jnp.arange(BLUR_RADIUS + 1) + 0.5) / width[..., None])
    weights = jnp.diff(reached) / (2 * reached[..., -1:] - 1)
    for axis in (-2, -1):
        # Padded once: the compiler otherwise pads anew for each distance and every block.
        padded = jax.lax.optimization_barrier(_padded(w, BLUR_RADIUS, axis))
        valid = jax.lax.optimization_barrier(_padded(mask.astype(w.dtype), BLUR_RADIUS, axis))
        change = jnp.zeros_like(w)
        for distance in range(1, BLUR_RADIUS + 1):
            before, after = _neighbours(padded, distance, axis, BLUR_RADIUS)
            both = _neighbours(valid, distance, axis, BLUR_RADIUS)
            bend = both[0] * both[1] * (before + after - 2 * w)
            change = change + weights[..., distance - 1] * bend
        w = w + change
    return w


def bend_rays(
    key: jax.Array, pixels: jax.Array, size: ArrayLike, centre: ArrayLike, strength: ArrayLike
) -> jax.Array:
    """What is left of a lens' radial distortion: moves pixels to or from the principal point.

    Args:
      key: random key.
      pixels: (u, v) of blocks, shape (..., P, 2).
      size: height and width in pixels, shape (..., 2).
      centre: the principal point, (cx, cy) in pixels, shape (..., 2).
      strength: factor of the distortion, shape ().

    Returns:
      Pixels, shape (..., P, 2), r (1 + k (r^2 - `LENS_NEUTRAL`)) from the centre where r was their
      distance in half diagonals, k normal.
    """
    happens, size_drawn = _draws(key, pixels.shape[:-2], 2)
    k = jnp.clip(strength * LENS_DEVIATION * ndtri(size_drawn), -LENS_LIMIT, LENS_LIMIT)
    k = jnp.where(happens < LENS_SHARE, k, 0.0)[..., 0]
    centre = jnp.asarray(centre)[..., None, :]
    u, v = pixels[..., 0] - centre[..., 0], pixels[..., 1] - centre[..., 1]
    half_diagonal_squared = (jnp.asarray(size) ** 2).sum(-1)[..., None] / 4
    change = k * ((u**2 + v**2) / half_diagonal_squared - LENS_NEUTRAL)
    return pixels + jnp.stack([u * change, v * change], -1)


def add_sensor_noise(key: jax.Array, w: jax.Array, strength: ArrayLike) -> jax.Array:
    """The noise of stereo and structured light: that of disparity, so depth noise grows as z^2.

    White noise of w, noise of w with neighbours alike, and white noise in proportion to the depth;
    together no more than half of w.
    """
    map_key, white_key, field_key = jax.random.split(key, 3)
    white, correlated, proportional, down, across = _draws(map_key, w.shape[:-2], 5)
    white = strength * _log_between(white, NOISE_SIZE)
    correlated = strength * _log_between(correlated, NOISE_SIZE)
    proportional = strength * _log_between(proportional, PROPORTIONAL_SIZE)
    # Two independent normal numbers add up to one: half of the random numbers.
    white = jnp.sqrt(white**2 + (proportional * w) ** 2)
    noise = white * jax.random.normal(white_key, w.shape)
    widths = _log_between(down, NOISE_WIDTH), _log_between(across, NOISE_WIDTH)
    noise += correlated * random_field(field_key, w.shape, *widths, knots=w.shape[-1])
    return w + jnp.clip(noise, -LARGEST_CHANGE * w, LARGEST_CHANGE * w)


def quantise(key: jax.Array, w: jax.Array, mask: jax.Array, strength: ArrayLike) -> jax.Array:
    """Steps of disparity, as stereo sensors have them, or of depth, as files have."""
    happens, size = _draws(key, w.shape[:-2], 2)
    mean = _mean(w, mask)
    of_disparity = happens < DISPARITY_STEPS_SHARE
    of_depth = ~of_disparity & (happens < DISPARITY_STEPS_SHARE + DEPTH_STEPS_SHARE)
    step = jnp.where(
        of_disparity, mean * _log_between(size, DISPARITY_STEP), _log_between(size, DEPTH_STEP)
    )
    step = strength * step
    quantised = jnp.where(of_depth, 1 / w, w)
    # Not 0 steps: the depth would be infinite or none.
    quantised = jnp.maximum(jnp.round(quantised / jnp.maximum(step, 1e-9)), 1.0) * step
    quantised = jnp.where(of_depth, 1 / quantised, quantised)
    return jnp.where((of_disparity | of_depth) & (step > 0), quantised, w)


def add_outliers(key: jax.Array, w: jax.Array, mask: jax.Array, strength: ArrayLike) -> jax.Array:
    """Flying pixels: a few blocks get another depth within the map's range, any ratio as likely."""
    map_key, block_key = jax.random.split(key)
    happens, share = _draws(map_key, w.shape[:-2], 2)
    share = jnp.where(happens < OUTLIERS_SHARE, strength * MOST_OUTLIERS * share, 0.0)
    smallest = jnp.where(mask, w, jnp.inf).min((-2, -1), keepdims=True)
    largest = jnp.where(mask, w, 0.0).max((-2, -1), keepdims=True)
    # A number below the share is spread evenly below it: it serves for the depth as well.
    drawn = jax.random.uniform(block_key, w.shape)
    other = smallest * (largest / smallest) ** (drawn / jnp.maximum(share, 1e-9))
    return jnp.where(mask & (drawn < share), other, w)


def cut_holes(key: jax.Array, w: jax.Array, mask: jax.Array, strength: ArrayLike) -> jax.Array:
    """The mask without what sensors miss: blobs, blocks at edges of depth, the image's border.

    At least half of a map's valid blocks are left.
    """
    map_key, field_key = jax.random.split(key)
    happens, share, down, across, is_eaten, edges, *border = _draws(map_key, w.shape[:-2], 10)
    widths = _log_between(down, HOLES_WIDTH), _log_between(across, HOLES_WIDTH)
    field = random_field(field_key, w.shape, *widths, knots=w.shape[-1] // 2)
    share = jnp.where(happens < HOLES_SHARE, jnp.minimum(strength * MOST_HOLES * share, 1.0), 0.0)
    # The field is nearly normal: the level under which it is with this chance, without a sort.
    kept = _without(mask, mask, field < ndtri(share))

    eaten = jnp.where(is_eaten < EATEN_SHARE, strength, 0.0)
    # By the other end of the same field: edges are lost in stretches, not block by block.
    at_edges = _at_edges(w, mask) & (field > ndtri(1 - jnp.minimum(eaten * edges, 1.0)))
    kept = _without(mask, kept, at_edges)
    top, bottom, left, right = (jnp.floor(eaten * WIDEST_BORDER * side) for side in border)
    rows, columns = jnp.arange(w.shape[-2])[:, None], jnp.arange(w.shape[-1])
    at_border = (rows < top) | (rows >= w.shape[-2] - bottom)
    at_border |= (columns < left) | (columns >= w.shape[-1] - right)
    return _without(mask, kept, at_border)


def limit_reach(key: jax.Array, w: jax.Array, mask: jax.Array, strength: ArrayLike) -> jax.Array:
    """The mask without what is beyond a sensor's reach, or too near for it.

    The reach lies between the mean of w and its far end, or its near one, any ratio as likely.  At
    least half of a map's valid blocks are left.
    """
    is_far, far, is_near, near = _draws(key, w.shape[:-2], 4)
    mean = _mean(w, mask)
    farthest = jnp.where(mask, w, jnp.inf).min((-2, -1), keepdims=True)
    nearest = jnp.where(mask, w, 0.0).max((-2, -1), keepdims=True)
    share = jnp.minimum(strength, 1.0) * REACH_SHARE
    beyond = (is_far < share) & (w < mean * (farthest / mean) ** far)
    kept = _without(mask, mask, beyond)
    return _without(mask, kept, (is_near < share) & (w > mean * (nearest / mean) ** near))


def random_field(
    key: jax.Array, shape: tuple[int, ...], down: jax.Array, across: jax.Array, knots: int
) -> jax.Array:
    """Smooth random numbers: Gaussian bumps of random height, with mean 0 and deviation 1 a map.

    Args:
      key: random key.
      shape: of the result, (..., rows, columns).
      down: standard deviation of the bumps along columns in blocks, shape (..., 1, 1).
      across: along rows, likewise.
      knots: bumps down and across; they show where their distance is more than twice their width.

    Returns:
      Shape `shape`.
    """
    # Uniform, which costs less than normal numbers: sums of many are normal all the same.
    heights = jax.random.uniform(key, (*shape[:-2], knots, knots), minval=-1.0)
    down, across = _bumps(shape[-2], knots, down), _bumps(shape[-1], knots, across)
    field = jnp.einsum("...ik,...kl,...jl->...ij", down, heights, across, precision="highest")
    field = field - field.mean((-2, -1), keepdims=True)
    return field / jnp.sqrt((field**2).mean((-2, -1), keepdims=True) + 1e-12)


def _bumps(blocks: int, knots: int, width: jax.Array) -> jax.Array:
    """What each knot of a line adds to each block of it, shape (..., blocks, knots)."""
    place = (jnp.arange(knots) + 0.5) * (blocks / knots)
    distance = jnp.arange(blocks)[:, None] + 0.5 - place
    bumps = jnp.exp(-0.5 * (distance / width) ** 2)
    # Fewer bumps reach the border: they must not make the field smaller there.
    return bumps / jnp.sqrt((bumps**2).sum(-1, keepdims=True))


def _mean(w: jax.Array, mask: jax.Array) -> jax.Array:
    """Of a map's valid blocks, shape (..., 1, 1)."""
    total = jnp.where(mask, w, 0.0).sum((-2, -1), keepdims=True)
    return total / jnp.maximum(mask.sum((-2, -1), keepdims=True), 1)


def _draws(key: jax.Array, lead: tuple[int, ...], count: int) -> list[jax.Array]:
    """So many uniform numbers for each map, each of shape (..., 1, 1).

    All at once: each call of the generator is compiled anew, which takes most of the time.
    """
    drawn = jax.random.uniform(key, (*lead, count), minval=jnp.finfo(jnp.float32).tiny)
    return [drawn[..., i, None, None] for i in range(count)]


def _log_between(drawn: jax.Array, limits: tuple[float, float]) -> jax.Array:
    """Numbers from 0 to 1 spread evenly over the logarithm between the limits."""
    low, high = limits
    return low * (high / low) ** drawn


def _padded(image: jax.Array, radius: int, axis: int) -> jax.Array:
    """The image with 0 on both sides of a negative axis."""
    padding = [(0, 0)] * image.ndim
    padding[axis] = (radius, radius)
    return jnp.pad(image, padding)


def _neighbours(
    padded: jax.Array, distance: int, axis: int, radius: int
) -> tuple[jax.Array, jax.Array]:
    """What lies so many blocks before and after each block of the image that was padded."""
    length = padded.shape[axis] - 2 * radius

    def moved(start: int) -> jax.Array:
        return jax.lax.slice_in_dim(padded, start, start + length, axis=axis)

    return moved(radius - distance), moved(radius + distance)


def _at_edges(w: jax.Array, mask: jax.Array) -> jax.Array:
    found = jnp.zeros_like(mask)
    for axis in (-2, -1):
        before, after = _neighbours(_padded(w, 1, axis), 1, axis, 1)
        both = _neighbours(_padded(mask, 1, axis), 1, axis, 1)
        found |= (jnp.abs(before + after - 2 * w) > EDGE_STEP * w) & both[0] & both[1]
    return found


def _without(mask: jax.Array, kept: jax.Array, dropped: jax.Array) -> jax.Array:
    """What is kept of `mask` with more dropped, except in maps where too little would be left."""
    left = kept & ~dropped
    enough = left.sum((-2, -1)) >= (1 - MOST_DROPPED) * mask.sum((-2, -1))
    return jnp.where(enough[..., None, None], left, kept)
