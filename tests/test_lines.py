"""Lines of a box of known camera: where they meet, and which focal length they say."""

import cv2
import jax
import numpy as np
import pytest

from train3d_jax.lines import segments as of_pictures
from train3d_jax.lines.evidence import LineFrames, LineSettings
from train3d_jax.lines.findings import findings
from train3d_jax.lines.frames import Planes, frame_likelihoods
from train3d_jax.lines.segments import Segments
from train3d_jax.lines.vanishing import lines_of, misses, vanishing_points

FOCAL, ALPHA = 400.0, 1.25
"""Of the first guess in pixels, and the true focal length over it."""

ALPHAS = np.exp(np.linspace(np.log(0.5), np.log(3.0), 15)).astype(np.float32)
SIZE = (480, 640)


def turned(seed: int) -> np.ndarray:
    """A frame, rows are directions, each of them far from the image plane."""
    rng = np.random.default_rng(seed)
    while True:
        frame = np.linalg.qr(rng.standard_normal((3, 3)))[0]
        if np.abs(frame[:, 2]).min() > 0.25:
            return frame


def box_lines(frame: np.ndarray, seed: int, stray: int = 0) -> Segments:
    """Segments along the axes of a frame, and some of any direction, noise of half a degree."""
    rng = np.random.default_rng(seed)
    count = 60
    centre = np.array([(SIZE[1] - 1) / 2, (SIZE[0] - 1) / 2])
    middle = rng.uniform((40, 40), (600, 440), (count + stray, 2))
    points = FOCAL * ALPHA * frame[:, :2] / frame[:, 2:] + centre
    along = points[np.arange(count) % 3] - middle[:count]
    angle = np.arctan2(along[:, 1], along[:, 0]) + np.radians(0.3) * rng.standard_normal(count)
    angle = np.concatenate([angle, rng.uniform(0, np.pi, stray)])
    half = 30 * np.stack([np.cos(angle), np.sin(angle)], -1)
    segments = of_pictures.none()
    ends = np.stack([middle - half, middle + half], 1)
    segments.ends[: len(ends)] = ends
    segments.sigma[: len(ends)] = np.radians(0.6)
    segments.mask[: len(ends)] = True
    return segments


@jax.jit
def seen(segments: Segments):
    """Vanishing points of a map, and the likelihood of `ALPHAS` by lines alone."""
    centre = np.array([(SIZE[1] - 1) / 2, (SIZE[0] - 1) / 2], np.float32)
    lines = lines_of(segments, centre, np.float32(FOCAL))
    points = vanishing_points(lines)
    none = np.zeros(9, np.float32)
    planes = Planes(np.ones((9, 2), np.float32), none + 1, np.ones((9, 2), np.float32),
                    np.zeros((9, 2), np.float32), none)  # fmt: skip
    frames = frame_likelihoods(lines, points, planes, ALPHAS, np.array([[1, 0]], np.float32))
    return lines, points, frames


@pytest.mark.parametrize("seed", range(4))
def test_three_directions_of_a_box_are_found_among_stray_lines(seed):
    frame = turned(seed)
    lines, points, frames = seen(box_lines(frame, seed, stray=40))
    true = frame * [ALPHA, ALPHA, 1]
    miss, _ = jax.vmap(misses, (0, None))(np.asarray(points.points), lines)
    assert points.mask[:3].all()
    for direction in true:
        to_true = np.abs(np.asarray(misses(direction.astype(np.float32), lines)[0]))
        # Some vanishing point is pointed to by the lines that point to the true one.
        of_axis = (to_true < np.radians(1.5)) & np.asarray(lines.weight > 0)
        assert np.median(np.abs(np.asarray(miss))[:3][:, of_axis], 1).min() < np.radians(0.6)
    best = int(np.asarray(frames.log_likelihood)[:, 0].argmax())
    assert abs(np.log(ALPHAS[best] / ALPHA)) < 0.15  # the bins are .128 apart
    cosines = np.abs(np.asarray(frames.best)[best, 0] @ frame.T)
    assert cosines.max(1).min() > np.cos(np.radians(4.0))


@pytest.mark.parametrize("count", [1, 2, 40])
@pytest.mark.parametrize("noise", [0.0, 1e-4, 1e-2])
def test_pieces_of_a_single_line_have_finite_answers(count, noise):
    rng = np.random.default_rng(count)
    segments = of_pictures.none()
    start = rng.uniform(0, 0.9, (count, 1, 1))
    ends = (100, 50) + np.concatenate([start, start + 0.1], 1) * (400, 130)
    segments.ends[:count] = ends + noise * rng.standard_normal(ends.shape)
    segments.sigma[:count], segments.mask[:count] = np.radians(1.0), True
    _, points, frames = seen(segments)
    assert np.isfinite(points.points).all()
    assert all(np.isfinite(numbers).all() for numbers in frames)


def test_best_frames_are_rotations():
    _, _, frames = seen(box_lines(turned(1), 1))
    product = np.asarray(frames.best) @ np.asarray(frames.best).swapaxes(-1, -2)
    assert np.abs(product - np.eye(3)).max() < 1e-4  # float32, five steps


def test_lines_of_no_frame_say_little():
    stray = box_lines(turned(0), 0, stray=60)
    stray.mask[:60] = False
    _, _, frames = seen(stray)
    _, _, of_box = seen(box_lines(turned(0), 0))
    curve, box = (np.asarray(f.log_likelihood)[:, 0] for f in (frames, of_box))
    assert np.ptp(curve) < 0.2 * np.ptp(box)


def test_segments_are_found_where_they_are_drawn():
    picture = np.full((240, 320, 3), 40, np.uint8)
    picture[60:180, 100:220] = 200
    found = of_pictures.detect(picture, (480, 640))
    ends = found.ends[found.mask]
    assert found.mask.sum() == 4
    # In pixels of the map, twice as many as those of the picture.
    assert np.abs(ends[..., 0].min() - 199.5) < 3 and np.abs(ends[..., 0].max() - 439.5) < 3
    assert np.abs(ends[..., 1].min() - 119.5) < 3 and np.abs(ends[..., 1].max() - 359.5) < 3


def test_a_picture_without_edges_has_no_segments():
    found = of_pictures.detect(np.full((240, 320), 90, np.uint8), (240, 320))
    assert not found.mask.any()


def test_noise_and_blur_of_a_large_picture_hide_no_edge():
    picture = np.full((1800, 2400), 40, np.uint8)
    picture[450:1350, 750:1650] = 120
    noise = np.random.default_rng(0).integers(-16, 17, (3600, 4800))
    large = cv2.blur(cv2.resize(picture, (4800, 3600)), (25, 25)) + noise
    found = of_pictures.detect(large.astype(np.uint8), SIZE)
    ends = found.ends[found.mask]
    assert found.mask.sum() >= 4
    assert np.abs(ends[..., 0].min() - 199.5) < 3 and np.abs(ends[..., 0].max() - 439.5) < 3
    assert np.abs(ends[..., 1].min() - 119.5) < 3 and np.abs(ends[..., 1].max() - 359.5) < 3


def gravity_of(axis: tuple[float, ...], turn: float) -> np.ndarray:
    """That is told by lines along a frame with this axis, turned about it."""
    axis = np.array(axis) / np.linalg.norm(axis)
    across = np.cross(axis, [1.0, 0, 0])
    across /= np.linalg.norm(across)
    other = np.cos(turn) * across + np.sin(turn) * np.cross(axis, across)
    frame = np.stack([axis, other, np.cross(axis, other)])
    settings = LineSettings()
    segments = Segments(*(each[None] for each in box_lines(frame, 0)))
    centre = np.array([[(SIZE[1] - 1) / 2, (SIZE[0] - 1) / 2]], np.float32)
    lines = lines_of(segments, centre, np.float32([FOCAL]))
    bins = np.ones((1, settings.focal_bins, 1, 1), np.float32)
    frames = LineFrames(None, lines, bins * np.float32(frame), bins * 1000 * np.eye(3))
    return np.asarray(findings(frames, np.log(np.float32([ALPHA])), settings).gravity[0])


def test_down_is_the_axis_that_is_vertical_as_cameras_are_held():
    looking_down = gravity_of((0.1, 0.86, 0.5), 0.3)
    np.testing.assert_allclose(looking_down, [0.1, 0.86, 0.5], atol=0.01)


def test_down_is_unknown_where_the_camera_would_be_held_as_none_is():
    """Rolled by 50 degrees, and looking up by 67: the others are more unusual still."""
    assert np.isnan(gravity_of((0.3, 0.25, -0.92), np.pi / 4)).all()
