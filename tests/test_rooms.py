import dataclasses
import functools
import itertools
import math
import subprocess
import sys

import numpy as np
import pytest

from data.rooms import cameras, views
from data.rooms.building import Room
from data.rooms.cameras import Camera, pose
from data.rooms.meshes import Mesh, ball, box, merge, place, transform
from data.rooms.scenes import KINDS, KINDS_AMONG, random_room
from data.rooms.shells import rectangle_plan
from data.rooms.views import RayCaster, random_quadruples, random_views

SIZE = (36, 48)


# embree intersects in float32 (eps 6e-8) with sums of a few products of coordinates of some
# metres: errors of 1e-6 relative are usual, grazing rays a few times that.
RAY_TOLERANCE = 1e-5


def scene_of(mesh: Mesh) -> Room:
    return Room("test", mesh, rectangle_plan(4.0, 6.0), 2.5, np.empty((0, 3)), 0.0)


def box_room(tmp_width=4.0, tmp_depth=6.0, height=2.5) -> Room:
    """The inside of a box: |x| <= 2, |y| <= 3, 0 <= z <= 2.5."""
    solid = box(tmp_width, tmp_depth, height)
    return scene_of(Mesh(solid.vertices, solid.faces[:, ::-1]))


def camera_at(position, yaw=0.4, pitch=-0.2, roll=0.3, size=(31, 40)) -> Camera:
    """Everything odd at once: unequal focal lengths, a principal point well off the centre."""
    intrinsics = np.array([[30.0, 0.0, 22.7], [0.0, 33.0, 11.2], [0.0, 0.0, 1.0]])
    return Camera(size, intrinsics, pose(position, yaw, pitch, roll))


def world_points(view: views.View) -> np.ndarray:
    """(H, W, 3): unprojected after DESIGN's formula, pixel centres at integers, then moved."""
    height, width = view.depth.shape
    v, u = np.mgrid[:height, :width].astype(np.float64)
    z = view.depth.astype(np.float64)
    x = (u - view.intrinsics[0, 2]) * z / view.intrinsics[0, 0]
    y = (v - view.intrinsics[1, 2]) * z / view.intrinsics[1, 1]
    points = np.stack([x, y, z], axis=-1)
    return points @ view.camera_to_world[:3, :3].T + view.camera_to_world[:3, 3]


@pytest.fixture(scope="module")
def many_views() -> list[views.View]:
    return [view for seed in range(40) for view in random_views(seed, 3, SIZE)]


@pytest.mark.parametrize("yaw", [0.4, 2.5, -1.2])
@pytest.mark.parametrize("pitch", [-0.9, 0.5])
def test_unprojected_pixels_lie_on_the_walls_of_a_known_room(yaw, pitch):
    view = RayCaster(box_room(), 1).render(camera_at([0.5, -1.0, 1.2], yaw, pitch))
    points = world_points(view)
    # How far each point is from the nearest of the six planes, and that none is outside.
    half = np.array([2.0, 3.0, 1.25])
    beyond = np.abs(points - [0, 0, 1.25]) - half
    assert np.abs(beyond.max(axis=-1)).max() < 6.0 * RAY_TOLERANCE


def test_depth_is_z_and_not_the_length_of_the_ray():
    camera = camera_at([0.0, 0.0, 1.0], yaw=0.0, pitch=0.0, roll=0.0)
    depth = RayCaster(box_room(), 1).render(camera).depth
    # Straight at the wall x = 2, 2 m ahead.  What meets it has z = 2 however far off the axis.
    v, u = np.mgrid[:31, :40]
    across, down = 2 * (u - 22.7) / 30.0, 2 * (v - 11.2) / 33.0
    meets_wall = (np.abs(across) < 3) & (down < 1.0) & (down > -1.5)
    assert meets_wall.mean() > 0.4
    np.testing.assert_allclose(depth[meets_wall], 2.0, rtol=RAY_TOLERANCE)


def test_a_small_ball_appears_at_the_pixel_where_pinhole_projection_puts_it():
    camera = camera_at([0.0, 0.0, 1.0], yaw=0.0, pitch=0.0, roll=0.0)
    # 3 m ahead, 0.5 m to the right (-y), 0.2 m up: u = 22.7 + 30*.5/3, v = 11.2 - 33*.2/3.
    mesh = transform(ball(0.01), np.eye(3), (3.0, -0.5, 1.19))
    sharp = dataclasses.replace(camera, size=(310, 400), intrinsics=camera.intrinsics * 10)
    sharp.intrinsics[2, 2] = 1.0
    v, u = np.nonzero(RayCaster(scene_of(mesh), 1).render(sharp).depth)
    assert len(u) > 1
    np.testing.assert_allclose([u.mean(), v.mean()], [277.0, 90.0], atol=0.5)


def test_inverse_depth_is_affine_over_the_pixels_of_a_plane():
    wall = scene_of(place(box(20, 0.2, 20, base=-10), 0, 3))
    view = RayCaster(wall, 1).render(camera_at([0.3, 0.1, 1.0], yaw=1.1, pitch=-0.3))
    v, u = np.nonzero(view.depth)
    assert len(u) > 0.9 * view.depth.size
    inverse = 1 / view.depth[v, u].astype(np.float64)
    design = np.column_stack([u, v, np.ones_like(u)])
    residual = inverse - design @ np.linalg.lstsq(design, inverse, rcond=None)[0]
    assert np.ptp(inverse) > 0.2
    assert np.abs(residual).max() < RAY_TOLERANCE * inverse.max()


def test_rays_that_meet_nothing_have_depth_zero():
    view = RayCaster(scene_of(box(0.5, 0.5, 0.5)), 1).render(camera_at([-2, 0, 0.3], 0, 0, 0))
    assert 0 < (view.depth == 0).mean() < 1
    assert np.isfinite(view.depth).all()
    assert view.depth.dtype == np.float32
    assert view.intrinsics.dtype == np.float64


def test_a_positive_roll_turns_the_picture_anticlockwise():
    """The camera turns clockwise, so what was above the axis moves to the left."""
    thing = scene_of(transform(ball(0.05), np.eye(3), (3.0, 0.0, 1.5)))
    camera = camera_at([0.0, 0.0, 1.0], 0.0, 0.0, math.pi / 2)
    v, u = np.nonzero(RayCaster(thing, 1).render(camera).depth)
    assert u.mean() < camera.intrinsics[0, 2] - 3
    assert abs(v.mean() - camera.intrinsics[1, 2]) < 1


def test_the_same_seed_gives_the_same_views_whatever_the_threads():
    once, again = random_views(5, 3, SIZE), random_views(5, 3, SIZE, threads=1)
    for first, second in zip(once, again, strict=True):
        np.testing.assert_array_equal(first.depth, second.depth)
        np.testing.assert_array_equal(first.intrinsics, second.intrinsics)
        np.testing.assert_array_equal(first.camera_to_world, second.camera_to_world)
    assert (random_views(6, 3, SIZE)[0].depth != once[0].depth).any()


def test_cameras_stay_within_the_stated_ranges(many_views):
    angles, offsets, pitches, rolls = [], [], [], []
    for view in many_views:
        (fx, _, cx), (_, fy, cy), _ = view.intrinsics
        angles.append(math.degrees(2 * math.atan(SIZE[1] / 2 / fx)))
        assert abs(fy / fx - 1) < 5 * cameras.PIXEL_ASPECT_DEVIATION
        offsets.append([cx / SIZE[1] - 0.5 + 0.5 / SIZE[1], cy / SIZE[0] - 0.5 + 0.5 / SIZE[0]])
        right, _, forward = view.camera_to_world[:3, :3].T
        pitches.append(math.degrees(math.asin(forward[2])))
        rolls.append(math.degrees(math.asin(right[2] / -math.hypot(*forward[:2]))))
        np.testing.assert_allclose(
            view.camera_to_world[:3, :3] @ view.camera_to_world[:3, :3].T, np.eye(3), atol=1e-12
        )
    assert 35 <= min(angles) < 42
    assert 93 < max(angles) <= 100
    assert np.abs(offsets).max() <= cameras.OFF_CENTRE_SHARE + 1e-9
    moved = (np.abs(offsets) > 1e-9).any(axis=1).mean()
    assert 0.15 < moved < 0.45
    # Close-ups look down at up to 65 degrees and some jitter.
    assert min(pitches) > -90
    assert max(pitches) <= cameras.PITCH_DEG[1] + 1e-6
    assert np.ptp(pitches) > 50
    assert np.abs(rolls).max() <= cameras.ROLL_DEG[1] + 1e-6
    assert np.std(rolls) > 2


def test_every_view_is_near_enough_full_and_not_too_near(many_views):
    for view in many_views:
        assert view.depth[view.depth > 0].min() >= cameras.HABITS["homes"].nearest_m
        # The coarse look and the full picture differ by a pixel along the edges.
        assert (view.depth > 0).mean() > 1 - cameras.HABITS["homes"].most_missing - 0.1
        assert view.depth.max() < 40
    assert np.mean([(view.depth > 0).mean() for view in many_views]) > 0.95


def normals_of(view: views.View) -> np.ndarray:
    """(N, 3) unit normals by differences of the unprojected points, jumps in depth left out."""
    points = world_points(view)
    across, down = points[:-1, 1:] - points[:-1, :-1], points[1:, :-1] - points[:-1, :-1]
    normal = np.cross(across, down)
    z = view.depth[:-1, :-1]
    jump = np.maximum(abs(view.depth[:-1, 1:] - z), abs(view.depth[1:, :-1] - z)) > 0.3 * z
    good = (z > 0) & ~jump & (view.depth[:-1, 1:] > 0) & (view.depth[1:, :-1] > 0)
    return normal[good] / np.linalg.norm(normal[good], axis=-1, keepdims=True)


def test_most_views_show_several_plane_directions(many_views):
    largest = []
    for view in many_views:
        normals = normals_of(view)[::3]
        alike = np.abs(np.einsum("ik,jk->ij", normals, normals)) > views.ONE_DIRECTION_COSINE
        largest.append(alike.mean(axis=1).max())
    # Measured: median 0.49, 95th percentile 0.79.
    assert np.median(largest) < 0.6
    assert np.quantile(largest, 0.9) < 0.85


def test_a_view_of_a_bare_wall_or_from_inside_a_box_is_not_worthwhile():
    caster = RayCaster(box_room(), 1)
    corner = camera_at([-1.5, -2.5, 1.2], yaw=1.0, pitch=-0.2)
    # A field of view of 15 degrees, straight at the far wall.
    narrow = np.array([[30.0, 0.0, 3.5], [0.0, 30.0, 3.5], [0.0, 0.0, 1.0]])
    wall = Camera((8, 8), narrow, pose([0, 0, 1.2], 1.57, 0, 0))
    assert caster.is_worthwhile(corner)
    assert not caster.is_worthwhile(wall)
    crate = merge([box_room().mesh, place(box(1.0, 1.0, 1.0), -1.5, -2.5, 0.7)])
    assert not RayCaster(scene_of(crate), 1).is_worthwhile(corner)
    near = merge([box_room().mesh, place(box(0.1, 0.1, 2.0), -1.41, -2.35, 0.1)])
    assert not RayCaster(scene_of(near), 1).is_worthwhile(corner)


@pytest.mark.parametrize(
    ("surroundings", "kind"),
    [
        *itertools.product(("homes", "halls"), [kind for kind in KINDS if KINDS[kind][0]]),
        *((among, kind) for among, kinds in KINDS_AMONG.items() for kind in kinds),
    ],
)
def test_every_kind_of_room_can_be_photographed(kind, surroundings):
    worthwhile = 0
    for seed in range(3):
        rng = np.random.default_rng(seed)
        room = random_room(rng, kind, surroundings)
        assert room.kind == kind
        assert 2.0 < room.height < (7.1 if surroundings == "halls" else 6.1)
        assert room.mesh.faces.min() >= 0
        assert room.mesh.faces.max() < len(room.mesh.vertices)
        caster = RayCaster(room, 1)
        placed = [cameras.random_camera(rng, room, SIZE) for _ in range(20)]
        worthwhile += sum(caster.is_worthwhile(camera) for camera in placed)
    assert worthwhile >= 15


def test_kinds_are_drawn_by_their_weights():
    drawn = {random_room(np.random.default_rng(seed)).kind for seed in range(120)}
    assert len(drawn) >= sum(weight > 0 for weight, _ in KINDS.values()) - 1
    assert drawn <= {kind for kind, (weight, _) in KINDS.items() if weight > 0}


@functools.cache
def photographs_among(surroundings):
    return [
        view
        for seed in range(40)
        for view in random_views(seed, 3, SIZE, surroundings=surroundings)
    ]


def test_halls_are_deeper_and_seen_from_lower_and_more_corridors_are_among_them():
    def seen(among):
        rooms = [random_room(np.random.default_rng(seed), None, among) for seed in range(75)]
        photographs = photographs_among(among)
        return (
            np.mean([room.kind == "corridor" for room in rooms]),
            np.quantile([np.ptp(room.plan, axis=0).max() for room in rooms], 0.9),
            np.quantile([view.depth.max() for view in photographs], 0.9),
            np.mean([view.camera_to_world[2, 3] < 0.7 for view in photographs]),
        )

    corridors, longest, farthest, low = np.divide(seen("halls"), seen("homes"))
    assert corridors > 1.3
    assert longest > 1.3
    assert farthest > 1.2
    assert low > 1.5


def test_some_views_among_halls_face_a_wall_and_some_among_streets_show_much_sky():
    def seen(among):
        photographs = photographs_among(among)
        levels = np.array([view.camera_to_world[2, 2] for view in photographs])
        spreads = [np.ptp(np.quantile(view.depth[view.depth > 0], [0.05, 0.95]))
                   / np.median(view.depth[view.depth > 0]) for view in photographs]  # fmt: skip
        missing = np.array([(view.depth == 0).mean() for view in photographs])
        shallow = (np.abs(levels) < 0.5) & (np.array(spreads) < 0.3)
        return shallow.mean(), (missing > 0.2).mean(), missing.max()

    homes, halls, streets = (seen(among) for among in ("homes", "halls", "streets"))
    assert halls[0] > 1.5 * homes[0]
    assert homes[1] < 0.1 < streets[1]
    assert (
        streets[2] < cameras.HABITS["streets"].most_missing + 0.1
    )  # `is_worthwhile` uses a coarse grid


@pytest.mark.parametrize("surroundings", ["halls", "streets", "rocks"])
def test_other_surroundings_are_a_function_of_the_seed_too(surroundings):
    once, again, home = (
        random_views(5, 2, SIZE, surroundings=among)
        for among in (surroundings, surroundings, "homes")
    )
    assert all((a.depth == b.depth).all() for a, b in zip(once, again, strict=True))
    assert any((a.depth != b.depth).any() for a, b in zip(once, home, strict=True))


def test_hardly_anything_among_rocks_is_flat():
    """Of the small squares that lie on one surface, few have an inverse depth that is affine."""

    def flat_share(surroundings):
        shares = []
        for seed in range(12):
            for view in random_views(seed, 2, (60, 80), surroundings=surroundings):
                w = 1 / np.where(view.depth > 0, view.depth, np.nan)
                squares = w[:60, :80].reshape(6, 10, 8, 10).swapaxes(1, 2).reshape(-1, 10, 10)
                squares = squares[np.isfinite(squares).all((1, 2))]
                v, u = np.mgrid[:10, :10]
                design = np.column_stack([u.ravel(), v.ravel(), np.ones(100)])
                flat = squares.reshape(-1, 100).T
                residual = flat - design @ np.linalg.lstsq(design, flat, rcond=None)[0]
                shares.append((residual.std(0) < 1e-4 * flat.mean(0)).mean())
        return np.mean(shares)

    assert flat_share("rocks") < 0.1 < 0.25 < flat_share("homes")


def test_quadruples_are_shifted_squarely_and_see_the_same_room():
    for quadruple in random_quadruples(3, 2, (40, 40), threads=1):
        top_left, bottom_right = quadruple[0], quadruple[3]
        turn = top_left.camera_to_world[:3, :3]
        shifts = [
            turn.T @ (view.camera_to_world[:3, 3] - top_left.camera_to_world[:3, 3])
            for view in quadruple
        ]
        baseline = shifts[1][0]
        assert 0.02 <= baseline <= 0.1
        np.testing.assert_allclose(shifts[1], [baseline, 0, 0], atol=1e-12)
        np.testing.assert_allclose(shifts[2], [0, baseline, 0], atol=1e-12)
        np.testing.assert_allclose(shifts[3], [baseline, baseline, 0], atol=1e-12)
        for view in quadruple:
            np.testing.assert_array_equal(view.camera_to_world[:3, :3], turn)
            np.testing.assert_array_equal(view.intrinsics, top_left.intrinsics)
            assert view.intrinsics[:2, 2].tolist() == [19.5, 19.5]
        assert (top_left.depth != bottom_right.depth).any()


def test_centred_and_shared_cameras_on_request():
    views = random_views(11, 4, (30, 30), centred=True)
    assert all(view.intrinsics[:2, 2].tolist() == [14.5, 14.5] for view in views)
    assert all(view.intrinsics[0, 0] == view.intrinsics[1, 1] for view in views)
    assert len({view.intrinsics[0, 0] for view in views}) == 4
    shared = random_views(11, 4, SIZE, one_camera=True)
    assert len({view.intrinsics.tobytes() for view in shared}) == 1


def test_random_sizes_keep_the_number_of_pixels():
    sizes = [cameras.random_size(np.random.default_rng(seed)) for seed in range(60)]
    ratios = [width / height for height, width in sizes]
    assert min(ratios) < 0.6
    assert max(ratios) > 1.7
    assert all(abs(height * width / (192 * 256) - 1) < 0.01 for height, width in sizes)


def test_importing_the_renderer_imports_neither_open3d_nor_jax():
    code = "import sys, data.rooms.views; assert not {'open3d', 'jax'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
