import math

import numpy as np
import pytest

from data.rooms import furniture, outdoors, ray_casting
from data.rooms.meshes import Mesh, ball, beam, box, cylinder, transform, tube
from data.rooms.shells import Opening, inside, rectangle_plan, sloped_ceiling, walls


def facing_outwards(mesh: Mesh, seed: int) -> bool:
    """Whether rays from far away, aimed into the mesh, meet every surface from its front."""
    rng = np.random.default_rng(seed)
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    aim = rng.uniform(low, high, (4000, 3))
    away = rng.normal(size=(4000, 3))
    origin = aim + 30 * away / np.linalg.norm(away, axis=1, keepdims=True)
    cast = ray_casting.make_caster(mesh.vertices, mesh.faces, threads=1)
    hits = cast(origin, aim - origin)
    hit = np.isfinite(hits.distance)
    assert hit.sum() > 20
    toward = (hits.normals * (aim - origin)).sum(axis=1)[hit]
    # A ray along a seam between two solids may slip in between.
    return bool((toward > 1e-3).mean() < 0.002)


PIECES = {
    piece.__name__: piece
    for table in (
        furniture.WALL_PIECES,
        furniture.FREE_PIECES,
        furniture.ROUND_PIECES,
        furniture.ODD_PIECES,
        outdoors.STREET_PIECES,
    )
    for piece in table
}


@pytest.mark.parametrize("name", PIECES)
def test_furniture_is_closed_faces_outwards_and_stands_on_the_floor(name):
    for seed in range(4):
        piece = PIECES[name](np.random.default_rng(seed))
        assert facing_outwards(piece.mesh, seed)
        # A leg at a slant dips its edge a little into the floor.
        assert -0.03 < piece.mesh.vertices[:, 2].min() <= 0
        assert piece.width > 0.1
        assert piece.depth > 0.1


def test_fronts_and_barriers_face_outwards_and_are_as_long_as_asked_for():
    for seed in range(8):
        house = outdoors.front(np.random.default_rng(seed), 9.0)
        assert facing_outwards(house, seed)
        assert np.ptp(house.vertices[:, 0]) == pytest.approx(9.0)
        barrier = outdoors.barrier(np.random.default_rng(seed), 12.0)
        assert facing_outwards(barrier, seed)
        assert 11.5 < np.ptp(barrier.vertices[:, 0]) < 16  # bushes are round


@pytest.mark.parametrize("thing", set(furniture.SMALL_THINGS))
def test_small_things_are_small_and_face_outwards(thing):
    for seed in range(4):
        mesh = thing(np.random.default_rng(seed))
        assert facing_outwards(mesh, seed)
        assert np.ptp(mesh.vertices, axis=0).max() < 0.7


def volume(mesh: Mesh) -> float:
    """By the divergence theorem: right, and positive, only for a closed mesh facing outwards."""
    a, b, c = np.moveaxis(mesh.vertices[mesh.faces], 1, 0)
    return float((a * np.cross(b, c)).sum() / 6)


@pytest.mark.parametrize(
    ("mesh", "expected", "tolerance"),
    [
        (box(2, 3, 4, base=1), 24.0, 1e-12),
        (beam([1, 2, 3], [1, 2, 5], 0.5, 0.2), 0.2, 1e-12),
        (beam([0, 0, 0], [3, 0, 4], 0.5, 0.2), 0.5, 1e-12),
        (transform(box(2, 3, 4), np.diag([-1.0, 1.0, 1.0])), 24.0, 1e-12),
        # Facets lie inside the circle: 0.3 % of its area at 48, twice that with the latitudes.
        (cylinder(0.5, 2.0), math.pi / 2, 0.003),
        (ball(0.5), math.pi / 6, 0.01),
        (ball(0.5, 0.5), math.pi / 12, 0.01),
        (tube(np.array([[0.5, 0.0], [0.5, 1.0]]), 0.1), math.pi * (0.25 - 0.16 * 0.9), 0.003),
        (walls(rectangle_plan(4, 6), 2.5, 0.2), 2.5 * (4.4 * 6.4 - 24), 1e-12),
        (
            walls(rectangle_plan(4, 6), 2.5, 0.2, (Opening(0, 1.0, 2.0, 0.5, 1.5),)),
            2.5 * (4.4 * 6.4 - 24) - 0.2,
            1e-12,
        ),
        (
            sloped_ceiling(
                rectangle_plan(4, 6), np.array([[-1, 1.0], [0.5, 2.5], [1, 1.5]]), 2.5, 0.0
            ),
            6 * (0.5 * 3 * 1.5 + 0.5 * 1),
            0.01,
        ),
    ],
)
def test_solids_are_closed_and_have_the_volume_of_geometry(mesh, expected, tolerance):
    assert volume(mesh) == pytest.approx(expected, rel=tolerance)


def test_walls_of_a_plan_with_an_inward_corner_keep_out_of_the_room():
    plan = np.array([[0, 0], [4, 0], [4, 2], [2, 2], [2, 4], [0, 4.0]])
    mesh = walls(plan, 2.0, 0.3)
    assert not inside(plan, mesh.vertices[:, :2], 1e-6).any()
    # Outline grown by 0.3 m, less the plan: perimeter 16, four more corners outward than inward.
    assert volume(mesh) == pytest.approx(2.0 * (16 * 0.3 + 4 * 0.09))


def test_inside_knows_plans_that_are_not_convex():
    plan = np.array([[0, 0], [4, 0], [4, 2], [2, 2], [2, 4], [0, 4.0]])
    points = np.array([[1, 1], [3, 1], [3, 3], [1, 3], [-1, 1], [1.9, 3], [2.1, 1.9]])
    assert inside(plan, points).tolist() == [True, True, False, True, False, True, True]
    assert inside(plan, points, 0.2).tolist() == [True, True, False, True, False, False, False]
