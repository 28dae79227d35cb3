"""Table tops, bins, shelves, roads, facades and gardens, and the cameras that see them."""

import numpy as np
import pytest

from data.rooms import cameras, scenes, views
from data.rooms.cameras import DIAGONAL_DEG, HABITS, random_intrinsics, random_size
from data.rooms.scenes import KINDS_AMONG, random_room
from data.rooms.views import View, random_views, rows_of_scanner, scaled
from train3d_jax.geometry.camera import focal_to_fov

SIZE = (48, 64)
NEW = ("tables", "outdoors")


@pytest.mark.parametrize("surroundings", NEW)
def test_views_are_a_function_of_the_seed_and_hold_depth(surroundings):
    once, again = (
        random_views(3, 2, SIZE, one_camera=True, surroundings=surroundings, threads=1)
        for _ in range(2)
    )
    habits = HABITS[surroundings]
    for one, other in zip(once, again, strict=True):
        np.testing.assert_array_equal(one.depth, other.depth)
        assert np.isfinite(one.depth).all()
        assert one.depth[one.depth > 0].min() >= habits.scale * habits.nearest_m


def test_kinds_are_drawn_where_they_belong():
    for surroundings in NEW:
        drawn = {
            random_room(np.random.default_rng(seed), None, surroundings).kind for seed in range(9)
        }
        assert drawn == set(KINDS_AMONG[surroundings])


def test_bins_are_seen_from_above_and_tables_from_nearer_than_rooms():
    def looks(kind, surroundings):
        """Of cameras before a kind: the sine of the pitch, and a short distance to a target."""
        down, near = [], []
        for seed in range(12):
            rng = np.random.default_rng(seed)
            room = random_room(rng, kind, surroundings)
            for _ in range(8):
                camera = cameras.random_camera(rng, room, SIZE)
                down.append(-camera.camera_to_world[2, 2])
                offsets = room.targets - camera.camera_to_world[:3, 3]
                near.append(np.linalg.norm(offsets, axis=1).min())
        return np.median(down), np.quantile(near, 0.1)

    assert looks("bin", "tables")[0] > np.sin(np.radians(55))
    assert looks("table_top", "tables")[1] < 0.75 * looks("manhattan", "homes")[1]


def test_lenses_and_aspect_ratios_span_what_people_have():
    rng = np.random.default_rng(0)
    angles, ratios = [], []
    for _ in range(400):
        size = random_size(rng, aspects=HABITS["tables"].aspects)
        intrinsics = random_intrinsics(rng, size, centred=True, all_lenses=True)
        diagonal = float(np.hypot(*size))
        angles.append(np.degrees(focal_to_fov(float(intrinsics[0, 0]), diagonal)))
        ratios.append(size[1] / size[0])
    low, high = DIAGONAL_DEG
    assert low - 1e-6 <= min(angles) < 10
    assert 110 < max(angles) <= high + 1e-6
    assert 0.3 < np.mean(np.array(angles) < 40) < 0.6
    assert min(ratios) < 0.52
    assert max(ratios) > 3.9


def test_a_narrow_lens_is_taken_farther_away():
    room = random_room(np.random.default_rng(0), "table_top", "tables")

    def distance(degrees):
        focal = 0.5 * np.hypot(*SIZE) / np.tan(np.radians(degrees) / 2)
        intrinsics = np.array([[focal, 0, 31.5], [0, focal, 23.5], [0, 0, 1]])
        rng = np.random.default_rng(1)
        placed = [cameras.random_camera(rng, room, SIZE, intrinsics=intrinsics) for _ in range(60)]
        middle = room.targets.mean(0)
        return np.median(
            [np.linalg.norm(camera.camera_to_world[:3, 3] - middle) for camera in placed]
        )

    assert distance(10) > 2 * distance(60)


def test_a_scaled_view_shows_the_same_points_scaled():
    (view,) = random_views(2, 1, SIZE, threads=1)
    large = scaled(view, 5.0)
    np.testing.assert_allclose(large.depth, 5 * view.depth, rtol=1e-6)
    np.testing.assert_allclose(large.camera_to_world[:3, 3], 5 * view.camera_to_world[:3, 3])
    np.testing.assert_array_equal(large.camera_to_world[:3, :3], view.camera_to_world[:3, :3])


def test_a_scanner_leaves_level_rows_at_equal_angles():
    focal = 200.0
    intrinsics = np.array([[focal, 0, 63.5], [0, focal, 47.5], [0, 0, 1]])
    down = np.radians(12.0)
    view = View(
        np.full((96, 128), 9, np.float32), intrinsics, cameras.pose([0, 0, 1.7], 0.3, -down, 0.0)
    )
    left = rows_of_scanner(view, 48)
    kept = np.nonzero(left.depth[:, 63] > 0)[0]
    elevations = -np.degrees(down + np.arctan((kept - 47.5) / focal))
    step = (views.SCANNER_DEG[1] - views.SCANNER_DEG[0]) / 47
    numbers = (elevations - views.SCANNER_DEG[0]) / step
    tolerance = np.degrees(views.SCANNED_PIXELS / focal) / step
    assert np.abs(numbers - np.rint(numbers)).max() <= 1.01 * tolerance
    assert elevations.max() <= views.SCANNER_DEG[1] + tolerance * step
    assert 0.35 <= (left.depth > 0).mean() < 0.7
    assert len(set(np.rint(numbers))) > 30


def test_a_scanner_that_would_see_next_to_nothing_leaves_the_view():
    up = cameras.pose([0, 0, 1.7], 0.3, 1.2, 0.0)
    intrinsics = np.array([[90.0, 0, 31.5], [0, 90.0, 23.5], [0, 0, 1]])
    view = View(np.full(SIZE, 9, np.float32), intrinsics, up)
    assert rows_of_scanner(view, 64) is view


def test_every_kind_among_surroundings_exists():
    for kinds in KINDS_AMONG.values():
        assert set(kinds) <= set(scenes.KINDS)
        assert sum(kinds.values()) == pytest.approx(1.0)
