"""Whether edges of a map and a picture meet, on rendered views whose pictures are registered."""

import functools

import numpy as np
import pytest
from rendered_pictures import SIZE, pictures, views

from train3d_jax.lines import registration
from train3d_jax.lines.pictures import NOT_REGISTERED, OTHER_ASPECT, evidence_of, other_aspect

DIAGONAL = np.hypot(*SIZE)


@functools.cache
def depths():
    return [view.depth for view in views()]


def inverse(depth):
    return np.where(depth > 0, 1 / np.where(depth > 0, depth, 1), 0)


def is_registered(depth, picture, space="depth"):
    return registration.measure(depth, np.ascontiguousarray(picture), space).is_registered


def moved(depth, picture, down, right):
    """Both without the border that one of them lacks when the picture moves."""
    (top, left), (low, far) = np.maximum((down, right), 0), np.minimum((down, right), 0)
    height, width = SIZE
    map_part = depth[top : height + low, left : width + far]
    return map_part, picture[-low : height - top, -far : width - left]


def test_pictures_of_the_same_view_are_registered():
    # Views of rooms; one of a bare corner has nearly no edges.
    called = [is_registered(*pair) for pair in zip(depths(), pictures(), strict=True)]
    assert sum(called) >= len(called) - 1


@pytest.mark.parametrize("share", [0.06, 0.09])
def test_pictures_that_are_moved_are_not(share):
    step = round(share * DIAGONAL)
    caught = [
        not is_registered(*moved(depth, picture, down * step, right * step))
        for depth, picture in zip(depths(), pictures(), strict=True)
        for down, right in ((0, 1), (0, -1), (1, 0), (-1, 0))
    ]
    # Measured 94 % of 96 moves of 12 views, those of the bare corner included.
    assert np.mean(caught) > 0.8


def test_the_offset_says_where_edges_meet():
    step = round(0.06 * DIAGONAL)
    found = [
        registration.measure(*map(np.ascontiguousarray, moved(d, p, 0, step)), "depth").offset
        for d, p in zip(depths(), pictures(), strict=True)
    ]
    # The map's window lies to the right: what it shows is to the right in the picture.
    off = np.hypot(*(np.array(found) - [0.06, 0.0]).T)
    assert np.median(off) < 0.01


def test_mirrored_pictures_and_those_of_other_rooms_are_mostly_caught():
    mirrored = [not is_registered(d, p[:, ::-1]) for d, p in zip(depths(), pictures(), strict=True)]
    others = [
        not is_registered(depths()[one], pictures()[other])
        for one in range(len(depths()))
        for other in range(len(depths()))
        if one != other
    ]
    # Rooms are symmetric: 9 of 12 mirrored pictures were caught, and 75 % of 132 others.
    assert np.mean(mirrored) > 0.5
    assert np.mean(others) > 0.5


def test_depth_and_its_disparity_are_judged_alike():
    """Both have the same edges, near ones steeper in disparity."""
    step = round(0.06 * DIAGONAL)
    for depth, picture in zip(depths(), pictures(), strict=True):
        if registration.measure(depth, picture, "depth").edges < 2:  # near where it cannot tell
            continue
        assert is_registered(depth, picture) and is_registered(inverse(depth), picture, "disparity")
        window, part = moved(depth, picture, 0, step)
        assert is_registered(window, part) == is_registered(inverse(window), part, "disparity")


def test_any_affine_unit_is_judged_alike():
    depth, picture = depths()[0], pictures()[0]
    found = registration.measure(depth, picture, "depth")
    other = registration.measure(np.where(depth > 0, 7 * depth + 3, 0), picture, "depth")
    np.testing.assert_allclose(other[:2], found[:2], rtol=1e-3)


@pytest.mark.parametrize(
    "values", [np.full(SIZE, value) for value in (0.0, 2.5, np.nan)], ids=["none", "one", "nan"]
)
def test_a_map_with_few_edges_counts_as_registered(values):
    found = registration.measure(values, pictures()[0], "depth")
    assert found.edges < registration.LEAST_EDGES and found.is_registered


@pytest.mark.parametrize("size", [(1, 1), (4, 4), (1, 9), (3, 200)])
def test_a_map_of_a_few_pixels_counts_as_registered(size):
    values = 1 + np.arange(size[0] * size[1], dtype=np.float32).reshape(size)
    assert is_registered(values, np.zeros((60, 80, 3), np.uint8))


def test_a_slanted_plane_counts_as_registered():
    plane = 1 + np.linspace(0, 1, SIZE[0] * SIZE[1]).reshape(SIZE)
    assert is_registered(plane, pictures()[0])


def test_the_reason_is_flagged():
    depth, picture = depths()[0], pictures()[0]
    assert evidence_of(picture, depth, "depth").flags == ()
    found = evidence_of(np.roll(picture, round(0.08 * DIAGONAL), 1), depth, "depth")
    assert found.segments is None and found.flags == (NOT_REGISTERED,)
    found = evidence_of(picture[:-20], depth, "depth")
    assert found.segments is None and found.flags == (OTHER_ASPECT,)


def test_any_size_of_the_same_aspect_ratio_counts():
    """As sizes are rounded: half a pixel of the smaller one is no crop."""
    for size in ((240, 320), (480, 640), (1512, 2016), (60, 80), (121, 161), (239, 319)):
        assert not other_aspect(size, SIZE)
    for size in ((240, 240), (240, 300), (320, 240), (240, 330)):
        assert other_aspect(size, SIZE)
