import dataclasses
import json

import numpy as np
import pytest
from PIL import Image
from test_rooms import box_room, world_points

from data.rooms import patterns, textures
from data.rooms.cameras import Camera, pose
from data.rooms.evaluation_sets import write_evaluation_set
from data.rooms.meshes import box, merge, place
from data.rooms.patterns import Places
from data.rooms.scenes import random_room
from data.rooms.views import RayCaster, View, random_views
from data.user_maps.listed_maps import ListedMaps
from train3d_jax.lines import segments

SIZE = (36, 48)


def camera_at(position, yaw, pitch, size=(240, 320), focal=260.0) -> Camera:
    height, width = size
    centre = (width - 1) / 2, (height - 1) / 2
    intrinsics = np.array([[focal, 0, centre[0]], [0, focal, centre[1]], [0, 0, 1.0]])
    return Camera(size, intrinsics, pose(position, yaw, pitch, 0.05))


def pictures_of(room, cameras, seed=0) -> list[View]:
    caster = RayCaster(room, 1)
    return caster.with_pictures([caster.render(camera) for camera in cameras], seed)


@pytest.mark.parametrize("surroundings", ["homes", "streets", "rocks"])
def test_the_same_seed_gives_the_same_picture(surroundings):
    ask = {"surroundings": surroundings, "pictures": True}
    once, again = (random_views(3, 2, SIZE, threads=threads, **ask) for threads in (0, 1))
    for one, other in zip(once, again, strict=True):
        assert one.picture.shape == (*SIZE, 3)
        assert one.picture.dtype == np.uint8
        np.testing.assert_array_equal(one.picture, other.picture)
    assert (random_views(4, 1, SIZE, **ask)[0].picture != once[0].picture).any()


def test_depth_and_cameras_do_not_depend_on_pictures():
    for seed in range(3):
        without = random_views(seed, 2, SIZE)
        for one, other in zip(without, random_views(seed, 2, SIZE, pictures=True), strict=True):
            assert one.picture is None
            np.testing.assert_array_equal(one.depth, other.depth)
            np.testing.assert_array_equal(one.intrinsics, other.intrinsics)
            np.testing.assert_array_equal(one.camera_to_world, other.camera_to_world)


@pytest.mark.parametrize("seed", range(4))
def test_textures_are_fixed_to_the_world(seed):
    """What both views see has the same colours, but for the camera's own light and noise."""
    cameras = [camera_at([-1.2, y, 1.5], 0.5 * y + 0.2, -0.3) for y in (-0.4, 0.3)]
    one, other = pictures_of(box_room(), cameras, seed)
    points = world_points(one).reshape(-1, 3)
    to_camera = np.linalg.inv(other.camera_to_world)
    x, y, z = other.intrinsics @ (to_camera[:3, :3] @ points.T + to_camera[:3, 3:])
    u, v = (np.rint(np.where(z > 0, axis / z, -1)).astype(int) for axis in (x, y))
    height, width = other.depth.shape
    seen = (u >= 0) & (v >= 0) & (u < width) & (v < height)
    seen[seen] &= np.isclose(other.depth[v[seen], u[seen]], z[seen], rtol=0.01)
    assert seen.mean() > 0.3
    first = one.picture.reshape(-1, 3)[seen].astype(float)
    second = other.picture[v[seen], u[seen]].astype(float)
    assert first.std() > 3
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] > 0.9
    # Not so where the pictures are laid over each other as they are.
    unmoved = np.corrcoef(one.picture.ravel(), other.picture.ravel())[0, 1]
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] > unmoved


@pytest.mark.parametrize("yaw", [0.5, 1.1])
def test_boards_meet_at_the_vanishing_points_of_the_camera(monkeypatch, yaw):
    """A long segment, drawn on, goes through the vanishing point of an axis of the room."""
    monkeypatch.setattr(textures, "FLOORS", {"boards": 1.0})
    monkeypatch.setattr(textures, "WALLS", {"plain": 1.0})
    monkeypatch.setattr(textures, "ASKEW_CHANCE", 0.0)
    monkeypatch.setattr(textures, "THINGS_PER_METRE", 0.0)
    camera = camera_at([-1.0, -1.5, 1.5], yaw, -0.45, (480, 640), 520.0)
    ends = []
    for seed in range(2):
        (view,) = pictures_of(box_room(), [camera], seed)
        found = segments.detect(view.picture, view.depth.shape)
        ends.append(found.ends[found.mask].astype(float))
    ends = np.concatenate(ends)
    ends = ends[np.linalg.norm(ends[:, 1] - ends[:, 0], axis=1) > 40]
    middle, along = ends.mean(1), ends[:, 1] - ends[:, 0]
    off = []
    for x, y, w in (camera.intrinsics @ camera.camera_to_world[:3, :3].T).T:
        towards = np.array([x, y]) - w * middle
        crossed = along[:, 0] * towards[:, 1] - along[:, 1] * towards[:, 0]
        sine = crossed / np.linalg.norm(along, axis=1) / np.linalg.norm(towards, axis=1)
        off.append(np.degrees(np.arcsin(np.abs(sine).clip(0, 1))))
    assert len(ends) > 20
    assert (np.min(off, axis=0) < 1.0).mean() > 0.9
    # The floor, not the edges of the room alone: many lines to one point or the other.
    assert (np.array(off)[:2] < 1.0).sum() > 15


def test_a_lamp_casts_shadows(monkeypatch):
    """Where all is white, the edge of a shadow is all that breaks the floor."""
    monkeypatch.setattr(
        textures.Textures,
        "colours",
        lambda self, faces, points, steps: np.full((len(faces), 3), 0.5),
    )
    camera = camera_at([0.0, -2.5, 2.0], np.pi / 2, -0.8)
    shelf = place(box(0.8, 0.8, 0.05), 0.0, 0.0, 1.0)
    shaded = dataclasses.replace(box_room(), mesh=merge([box_room().mesh, shelf]))
    steepest = []
    for room in (box_room(), shaded):
        (view,) = pictures_of(room, [camera])
        floor = np.abs(world_points(view)[..., 2]) < 1e-3
        lightness = view.picture.astype(float).mean(-1)
        steps = np.abs(lightness[:, 8:] - lightness[:, :-8])
        within = np.all([floor[:, start : start - 8 or None] for start in range(9)], axis=0)
        steepest.append(np.quantile(steps[within], 0.995))
    assert steepest[1] > steepest[0] + 15


@pytest.mark.parametrize("kind", ["manhattan", "clutter", "curved", "street", "rocks"])
def test_every_face_of_a_room_has_a_frame_and_a_colour(kind):
    among = {"street": "streets", "rocks": "rocks"}.get(kind, "homes")
    room = random_room(np.random.default_rng(2), kind, among)
    looks = textures.Textures(room, 0)
    surfaces = looks.surfaces
    real = np.linalg.norm(surfaces.normals, axis=1) > 0.5
    for one, other in (("along", "up"), ("along", "normals"), ("up", "normals")):
        product = (getattr(surfaces, one) * getattr(surfaces, other)).sum(1)
        assert np.abs(product).max() < 1e-9
    np.testing.assert_allclose(np.linalg.norm(surfaces.along[real], axis=1), 1, atol=1e-9)
    faces = np.nonzero(real)[0]
    points = room.mesh.vertices[room.mesh.faces[faces]].mean(1).astype(np.float32)
    colours = looks.colours(faces, points, np.full((2, len(faces), 3), 0.01, np.float32))
    assert np.isfinite(colours).all()
    assert colours.min() >= 0
    assert colours.max() < 2
    normals = surfaces.shading_normals(faces, points)
    assert ((normals * surfaces.normals[faces]).sum(1) > 0.7).all()


def test_solids_and_pieces_are_told_apart():
    room = random_room(np.random.default_rng(1), "manhattan")
    surfaces = textures.Textures(room, 0).surfaces
    assert surfaces.face_counts.sum() == len(room.mesh.faces)
    assert surfaces.piece.max() == len(room.pieces) - 1
    # No vertex belongs to two solids.
    least = np.full(len(room.mesh.vertices), 10**9)
    most = np.zeros(len(room.mesh.vertices), int)
    for corner in room.mesh.faces.T:
        np.minimum.at(least, corner, surfaces.solid)
        np.maximum.at(most, corner, surfaces.solid)
    assert (least == most).all()


def test_lines_finer_than_a_pixel_fade_into_their_mean():
    x = np.linspace(0, 1, 1001, dtype=np.float32)
    near = patterns.share(x, np.full_like(x, 1e-4), 0.1, 0.02)
    assert set(np.unique(near.round(2))) >= {0, 1}
    assert near.mean() == pytest.approx(0.2, abs=0.01)
    far = patterns.share(x, np.full_like(x, 1.0), 0.1, 0.02)
    np.testing.assert_allclose(far, 0.2, atol=1e-3)


def test_a_turned_pattern_is_the_pattern_of_turned_places():
    pattern = patterns.boards(np.random.default_rng(0))
    u, v = np.random.default_rng(1).uniform(-2, 2, (2, 50)).astype(np.float32)
    width = np.full_like(u, 0.003)
    expected = pattern(Places(v, -u, width, width))
    there = patterns.turned(pattern, np.pi / 2)(Places(u, v, width, width))
    np.testing.assert_allclose(there, expected, atol=1e-3)


def test_a_set_for_evaluation_is_read_back(tmp_path):
    clean = write_evaluation_set(tmp_path / "clean", 2, 1, SIZE, first_seed=7)
    noisy = write_evaluation_set(tmp_path / "noisy", 2, 1, SIZE, first_seed=7, noise=0.01)
    rows = json.loads((clean / "manifest.json").read_text())
    maps, others = (ListedMaps(folder / "manifest.json") for folder in (clean, noisy))
    assert len({row["scene"] for row in rows}) == 2
    for index, row in enumerate(rows):
        (view,) = random_views(7 + index, 1, SIZE, pictures=True)
        np.testing.assert_array_equal(maps[index].depth, view.depth)
        np.testing.assert_allclose(maps[index].intrinsics, view.intrinsics)
        with Image.open(clean / row["rgb"]) as one, Image.open(noisy / row["rgb"]) as other:
            np.testing.assert_array_equal(np.asarray(one), view.picture)
            np.testing.assert_array_equal(np.asarray(other), view.picture)
        present = view.depth > 0
        share = others[index].depth[present] / view.depth[present] - 1
        assert np.std(share) == pytest.approx(0.01, rel=0.15)
