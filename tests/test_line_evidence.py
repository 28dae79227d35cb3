"""What lines of a textured corner of a room say of its shift and focal length."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train3d_jax.evidence import solver
from train3d_jax.evidence.settings import solver_settings
from train3d_jax.evidence.targets import FOCAL_BINS, SHIFT_BINS, focal_bins, ratio_bins
from train3d_jax.geometry import affine, camera
from train3d_jax.inference import recovery
from train3d_jax.lines import segments as of_pictures
from train3d_jax.lines.evidence import LineSettings, line_evidence

SIZE, FOCAL = (96, 128), 100.0
FRAME = np.array([[0.8, 0.2, -0.5657], [0.0, 0.9428, 0.3333], [0.6, -0.2667, 0.7543]])
"""Axes of the room in camera axes, rows."""

SPACES = pytest.mark.parametrize("space", ["depth", "disparity"])


def rays_of(pixels):
    centre = ((SIZE[1] - 1) / 2, (SIZE[0] - 1) / 2)
    return np.concatenate([(pixels - centre) / FOCAL, np.ones((*pixels.shape[:-1], 1))], -1)


def corner(pixels):
    """Depth of a corner at pixels (..., 2), and the axis that each wall is across."""
    directions = rays_of(pixels) @ FRAME.T
    walls = np.where(directions > 0, [2.0, 1.5, 3.0], [-1.0, -1.2, -2.0]) / directions
    return walls.min(-1), walls.argmin(-1)


def boards(count=150):
    """Segments on the walls along the room's axes, with a fifth of a degree of noise."""
    rng = np.random.default_rng(0)
    found = of_pictures.none()
    middle = rng.uniform((6, 6), (SIZE[1] - 7, SIZE[0] - 7), (count, 2))
    depth, across = corner(middle)
    axis = (across + rng.integers(1, 3, count)) % 3
    points = rays_of(middle) * depth[:, None]
    moved = points + 0.05 * FRAME[axis]
    along = moved[:, :2] / moved[:, 2:] - points[:, :2] / points[:, 2:]
    angle = np.arctan2(along[:, 1], along[:, 0]) + np.radians(0.2) * rng.standard_normal(count)
    half = 5 * np.stack([np.cos(angle), np.sin(angle)], -1)
    found.ends[:count] = np.stack([middle - half, middle + half], 1)
    found.sigma[:count] = np.radians(0.6)
    found.mask[:count] = True
    return found


def strewn():
    """The same segments, turned in the image by any angle."""
    found = boards()
    rng = np.random.default_rng(1)
    angle = rng.uniform(0, np.pi, len(found.ends))
    half = 5 * np.stack([np.cos(angle), np.sin(angle)], -1)
    middle = found.ends.mean(1, keepdims=True)
    ends = middle + np.stack([-half, half], 1)
    return found._replace(ends=np.where(found.mask[:, None, None], ends, 0).astype(np.float32))


@functools.cache
def evaluated(space):
    """Curves of the corner with its boards, with strewn segments, with none; and the true ratio."""
    pixels = np.stack(np.meshgrid(np.arange(SIZE[1]), np.arange(SIZE[0])), -1).astype(float)
    depth, _ = corner(pixels)
    noise = 1 + 0.003 * np.random.default_rng(2).standard_normal(SIZE)
    true = np.float32(depth * noise if space == "depth" else 1 / (depth * noise))
    blocks = recovery.make_blocks([true] * 3)
    segments = of_pictures.stacked([boards(), strewn(), None])

    @jax.jit
    def curves(blocks, segments):
        # Of the true map: its own offset is the shift that is to be found.
        canonical = affine.canonicalise(blocks.values, blocks.mask)
        known = jnp.full(3, jnp.nan)
        geometry = solver.solve(blocks, canonical, space)
        found = line_evidence(
            segments, blocks, geometry.fit, geometry.shift, known, space,
            solver_settings(space).windows.grids, LineSettings(),
        )  # fmt: skip
        return found.curves, affine.shift_to_ratio(-canonical.offset)

    found, ratio = curves(blocks, segments)
    return jax.tree.map(np.asarray, found), float(ratio[0])


@SPACES
def test_lines_in_planes_say_the_shift(space):
    curves, ratio = evaluated(space)
    best = ratio_bins()[curves.shift[0].argmax()]
    assert abs(best - ratio) < 0.04  # evaluated at 64 bins of .016
    # Wrong shifts are as unlikely as the doubt allows.
    assert np.ptp(curves.shift[0]) > 0.5 * np.log(SHIFT_BINS)


@SPACES
def test_lines_of_a_room_say_its_focal_length(space):
    curves, _ = evaluated(space)
    true = np.log(FOCAL / camera.initial_focal(SIZE[0]))
    assert abs(focal_bins()[curves.focal[0].argmax()] - true) < 0.08  # 32 bins of .08


@SPACES
def test_strewn_segments_say_less(space):
    curves, _ = evaluated(space)
    for curve in curves:
        assert np.ptp(curve[1]) < 0.6 * np.ptp(curve[0])


@SPACES
def test_a_map_without_a_picture_has_flat_curves(space):
    curves, _ = evaluated(space)
    assert not curves.focal[2].any() and not curves.shift[2].any()


@SPACES
def test_no_lines_outweigh_the_doubt(space):
    curves, _ = evaluated(space)
    settings = LineSettings()
    for curve, doubt, bins in (
        (curves.focal, settings.focal_doubt, FOCAL_BINS),
        (curves.shift, settings.shift_doubt, SHIFT_BINS),
    ):
        assert np.ptp(curve, axis=-1).max() <= np.log1p((1 - doubt) / doubt * bins) + 1e-3
