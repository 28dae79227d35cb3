import numpy as np
import pytest

from data.loading import crops


def plane_map(rng):
    """A plane seen by a camera whose principal point is off the centre; n . p = 1 on it."""
    height, width = rng.integers(20, 90, 2)
    intrinsics = np.array(
        [[rng.uniform(40, 90), 0, width * 0.4], [0, rng.uniform(40, 90), height * 0.55], [0, 0, 1]]
    )
    normal = rng.uniform([-0.3, -0.3, 0.5], [0.3, 0.3, 1])
    v, u = np.mgrid[:height, :width]
    rays = np.stack(
        [
            (u - intrinsics[0, 2]) / intrinsics[0, 0],
            (v - intrinsics[1, 2]) / intrinsics[1, 1],
            np.ones(u.shape),
        ],
        -1,
    )
    return 1 / (rays @ normal), intrinsics, normal


def unproject(depth, intrinsics):
    v, u = np.mgrid[: depth.shape[0], : depth.shape[1]]
    x = (u - intrinsics[0, 2]) * depth / intrinsics[0, 0]
    y = (v - intrinsics[1, 2]) * depth / intrinsics[1, 1]
    return np.stack([x, y, depth], -1)


@pytest.mark.parametrize("seed", range(40))
def test_a_plane_stays_where_it_is_when_the_map_is_cropped_and_mirrored(seed):
    rng = np.random.default_rng(seed)
    depth, intrinsics, normal = plane_map(rng)
    cropped, moved = crops.random_crop(depth, intrinsics, rng)
    points = unproject(cropped, moved)
    here = np.allclose(points @ normal, 1, atol=1e-9)
    mirrored = np.allclose(points @ (normal * [-1, 1, 1]), 1, atol=1e-9)
    assert here != mirrored
    np.testing.assert_array_equal(moved[[0, 1], [0, 1]], intrinsics[[0, 1], [0, 1]])
    # The principal point stays at its place in the window, to the pixel.
    place = (moved[:2, 2] + 0.5) / cropped.shape[::-1]
    before = (intrinsics[:2, 2] + 0.5) / depth.shape[::-1]
    before[0] = 1 - before[0] if mirrored else before[0]
    assert (np.abs(place - before) * cropped.shape[::-1] <= 1).all()


@pytest.mark.parametrize("seed", range(20))
def test_without_crops_or_mirror_the_other_comes_out_the_same(seed):
    depth, intrinsics, _ = plane_map(np.random.default_rng(seed))

    def drawn(**options):
        return crops.random_crop(depth, intrinsics, np.random.default_rng(seed), **options)

    both, mirror_only, crop_only = drawn(), drawn(crop=False), drawn(mirror=False)
    whole, camera = drawn(crop=False, mirror=False)
    assert whole is depth and camera is intrinsics
    is_mirrored = mirror_only[0].strides[1] < 0
    if is_mirrored:
        crop_only = crops.mirrored(*crop_only)
        mirror_only = crops.mirrored(*mirror_only)
    np.testing.assert_array_equal(mirror_only[0], depth)
    np.testing.assert_allclose(mirror_only[1], intrinsics, rtol=1e-12)  # mirrored twice
    for one, other in zip(both, crop_only, strict=True):
        np.testing.assert_array_equal(one, other)


def test_mirroring_twice_changes_nothing():
    depth, intrinsics, _ = plane_map(np.random.default_rng(0))
    twice, camera = crops.mirrored(*crops.mirrored(depth, intrinsics))
    np.testing.assert_array_equal(twice, depth)
    np.testing.assert_allclose(camera, intrinsics, rtol=1e-12)


def test_crops_have_the_sizes_and_shares_that_the_constants_say():
    rng = np.random.default_rng(0)
    depth, intrinsics = np.ones((1000, 1000)), np.array([[900.0, 0, 499], [0, 900, 499], [0, 0, 1]])
    sizes = np.array([crops.random_crop(depth, intrinsics, rng)[0].shape for _ in range(2000)])
    share = sizes / 1000
    whole = (sizes == 1000).all(1)
    square = sizes[:, 0] == sizes[:, 1]
    # 2000 draws: a standard deviation of 0.011; four of them.
    assert abs(whole.mean() - crops.UNCROPPED_SHARE) < 0.045
    narrowed = (1 - crops.UNCROPPED_SHARE) * crops.NARROWED_SHARE
    assert abs((~square).mean() - narrowed) < 0.045
    assert share.max(1).min() >= crops.SMALLEST_CROP - 1e-3
    ratio = share.min(1) / share.max(1)
    assert crops.NARROWEST - 5e-3 < ratio.min() < crops.NARROWEST + 0.05


def test_the_smallest_maps_can_be_cropped():
    rng = np.random.default_rng(0)
    for _ in range(20):
        depth, _ = crops.random_crop(np.ones((1, 2)), np.diag([5.0, 5, 1]), rng)
        assert depth.shape in ((1, 1), (1, 2))
