"""Metres from one fact: exact on exact maps, with their uncertainty, and errors that say why."""

import numpy as np
import pytest
import trimesh
from box_rooms import seen, turned

from train3d_jax import load_model
from train3d_jax.errors import ArgumentError
from train3d_jax.geometry import camera
from train3d_jax.placement.facts import CameraHeight, KnownDepth, KnownLength
from train3d_jax.placement.metres import Unknowns, Variant, metric_scale, scaled

SIZE, FOCAL = (96, 128), 90.0
ROOM, PLACE = np.array([6.0, 2.6, 5.0]), np.array([2.0, 1.1, 1.5])
TURN = turned(0.6, -0.4)
DEPTH, INTRINSICS = seen(ROOM, PLACE, TURN, FOCAL, SIZE)
POINTS = camera.unproject(DEPTH, INTRINSICS)

ENDS = ((20, 30), (100, 70))
LENGTH = float(np.linalg.norm(POINTS[30, 20] - POINTS[70, 100]))
FACTS = [
    KnownLength(*ENDS, LENGTH),
    KnownDepth((64, 80), float(DEPTH[80, 64])),
    CameraHeight(ROOM[1] - PLACE[1]),
]
NOTHING = Unknowns(1.0, 0.0, (1.0, 0.0), 0.0, 0.0, 0.0)
"""All is known."""

some_fact = pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.name)


@some_fact
def test_a_fact_gives_metres_whatever_the_unit(fact):
    found = metric_scale([fact], Variant(DEPTH / 7.3, INTRINSICS), NOTHING, "depth")
    # The median of 3 x 3 pixels stands for one, on planes that are curved in depth.
    assert found.factor == pytest.approx(7.3, rel=5e-3) and found.sigma == 0


def test_several_facts_have_their_mean():
    facts = [KnownDepth((64, 80), 2.0), KnownDepth((64, 80), 8.0)]
    one, both = (
        metric_scale(f, Variant(DEPTH, INTRINSICS), NOTHING, "depth") for f in (facts[:1], facts)
    )
    assert both.factor == pytest.approx(2 * one.factor)


@pytest.mark.parametrize("space", ["depth", "disparity", "log"])
def test_a_and_b_have_the_unit_of_the_depth(space):
    values = {"depth": DEPTH, "disparity": 1 / DEPTH, "log": np.log(DEPTH)}[space]
    a, b = scaled(0.5, 0.25, 3.0, space)
    depth = {"depth": lambda v: v, "disparity": lambda v: 1 / v, "log": np.exp}[space]
    np.testing.assert_allclose(depth(a * values + b), 3 * depth(0.5 * values + 0.25), rtol=1e-5)


def test_of_a_length_across_the_view_the_focal_length_makes_metres_uncertain():
    wall = Variant(np.full(SIZE, 2.0), INTRINSICS)
    across = KnownLength((10, 48), (110, 48), 3.0)
    found = metric_scale([across], wall, NOTHING._replace(focal_sigma=0.1), "depth")
    # Depth is metres * focal / pixels there.
    assert found.sigma == pytest.approx(0.1, rel=1e-3)
    along = metric_scale(
        [KnownDepth((64, 48), 2.0)], wall, NOTHING._replace(focal_sigma=0.1), "depth"
    )
    assert along.sigma == 0


@pytest.mark.parametrize("space", ["depth", "disparity"])
def test_a_shift_makes_depth_elsewhere_uncertain(space):
    values = DEPTH.astype(float) if space == "depth" else 1 / DEPTH.astype(float)
    near, far = np.quantile(values, [0.02, 0.98])
    scale = 0.5 / (far - near)
    offset = 0.5 - scale * near
    shift = -offset  # the right one
    unknowns = Unknowns(1.0, 0.0, (scale, offset), shift, 0.05, 0.0)
    found = metric_scale([KnownDepth((64, 80), 2.0)], Variant(DEPTH, INTRINSICS), unknowns, space)

    def size(changed):
        moved = scale * values + changed
        depth = moved if space == "depth" else 1 / moved
        return np.log(np.median(depth) / np.median(depth[79:82, 63:66]))

    wanted = (size(0.05) - size(-0.05)) / 2
    assert found.sigma == pytest.approx(abs(wanted), rel=0.1) and found.sigma > 1e-3


def holed(depth):
    depth = depth.copy()
    depth[30, 20] = 0
    return depth


@pytest.mark.parametrize(
    ("fact", "depth", "message"),
    [
        (
            FACTS[0], holed(DEPTH),
            f"known_length=20,30,100,70,{LENGTH:g}: pixel 20,30 holds no depth; give one that does",
        ),
        (
            KnownLength((5, 5), (5, 5), 1.0), DEPTH,
            "known_length=5,5,5,5,1: both ends are one pixel; give the two ends of the length",
        ),
        (
            KnownDepth((128, 5), 2.5), DEPTH,
            "known_depth=128,5,2.5: pixel 128,5 is outside of the map of 128 x 96 pixels",
        ),
        (
            CameraHeight(1.6), np.full(SIZE, 2.0),
            "camera_height=1.6: no floor is seen; give a known length or depth instead",
        ),
    ],
)  # fmt: skip
def test_a_fact_that_cannot_be_measured_is_named(fact, depth, message):
    with pytest.raises(ArgumentError) as error:
        metric_scale([fact], Variant(depth, INTRINSICS), NOTHING, "depth")
    assert str(error.value) == message


# From Python.


@pytest.fixture(scope="module")
def shape():
    return load_model(None, space="depth").recover(0.1 * DEPTH + 0.3)


def test_a_shape_in_metres_is_the_true_one(shape):
    metric = shape.in_metres(known_length=(*ENDS, LENGTH))
    ratio = metric.depth / DEPTH
    assert np.median(ratio) == pytest.approx(1, abs=0.02)
    np.testing.assert_allclose(metric.a * (0.1 * DEPTH + 0.3) + metric.b, metric.depth, rtol=1e-5)
    assert 0 < metric.scale_sigma < 0.2 and np.isnan(shape.scale_sigma)
    assert metric.upright.camera_height == pytest.approx(ROOM[1] - PLACE[1], rel=0.03)
    by_height = shape.in_metres(camera_height=ROOM[1] - PLACE[1])
    assert by_height.a == pytest.approx(metric.a, rel=0.02)


def test_the_facts_of_a_shape_are_checked(shape):
    with pytest.raises(ArgumentError, match="give known_length, known_depth or camera_height"):
        shape.in_metres()
    with pytest.raises(ArgumentError, match="camera_height=-1: metres are over 0"):
        shape.in_metres(camera_height=-1)


def test_maps_of_one_scale_are_scaled_together_and_others_refused(shape):
    model = load_model(None, space="depth")
    frames = [0.1 * DEPTH + 0.3] * 3
    clip = model.recover(frames, clip="clip")
    fact = {"known_depth": ((64, 80), float(DEPTH[80, 64]))}
    metric = clip.in_metres(**fact, map=1)
    assert metric.scale_sigma.shape == (3,)
    np.testing.assert_allclose(metric.depth[0][80, 64], DEPTH[80, 64], rtol=0.01)
    with pytest.raises(ArgumentError, match="map: give the number of one of 3 maps"):
        clip.in_metres(**fact)
    others = model.recover([*frames[:2], 0.2 * DEPTH + 0.1])
    with pytest.raises(ArgumentError, match="map=0: each map has a scale of its own"):
        others.in_metres(**fact, map=0)


def test_each_shape_has_its_own_place(shape):
    model = load_model(None, space="depth")
    several = model.recover([0.1 * DEPTH + 0.3] * 3)
    assert several.gravity.shape == (3, 3) and several.gravity_sigma_deg.shape == (3,)
    np.testing.assert_allclose(several.gravity[0], shape.gravity, atol=0.02)
    assert len(several.upright) == 3
    np.testing.assert_allclose(shape.upright.pose()[:3, :3] @ shape.gravity, [0, 0, -1], atol=1e-6)


# Files from Python.


def test_a_shape_is_saved_as_a_cloud_and_as_a_mesh_with_its_picture(shape, tmp_path):
    metric = shape.in_metres(camera_height=ROOM[1] - PLACE[1])
    picture = np.random.default_rng(0).integers(0, 256, (2 * SIZE[0], 2 * SIZE[1], 3), np.uint8)
    metric.save(tmp_path / "room.ply", picture)
    metric.save(tmp_path / "room.GLB", picture)
    cloud = trimesh.load(tmp_path / "room.ply")
    np.testing.assert_allclose(cloud.vertices, metric.points[metric.mask], rtol=1e-6)
    wanted = picture.reshape(SIZE[0], 2, SIZE[1], 2, 3).mean((1, 3))[metric.mask]
    np.testing.assert_allclose(cloud.colors[:, :3], wanted, atol=1)
    assert b"unit: metres" in (tmp_path / "room.ply").read_bytes()[:300]
    (mesh,) = trimesh.load(tmp_path / "room.GLB", file_type="glb").geometry.values()
    assert mesh.visual.material.baseColorTexture.size == (2 * SIZE[1], 2 * SIZE[0])
    # glTF's y is up, and z backward.
    low, high = metric.points[metric.mask].min(0), metric.points[metric.mask].max(0)
    np.testing.assert_allclose(mesh.bounds[:, 1], [-high[1], -low[1]], atol=0.05)


@pytest.mark.parametrize(
    ("name", "up", "axis"), [("a.ply", "z", 2), ("a.ply", "y", 1), ("a.glb", "z", 1)]
)
def test_a_saved_shape_stands_on_the_floor(shape, tmp_path, name, up, axis):
    metric = shape.in_metres(camera_height=ROOM[1] - PLACE[1])
    metric.save(tmp_path / name, up=up)
    low, high = trimesh.load(tmp_path / name).bounds[:, axis]
    heights = ROOM[1] - PLACE[1] - (POINTS @ TURN.T)[..., 1]
    assert low == pytest.approx(0, abs=0.05) and high == pytest.approx(heights.max(), abs=0.1)


def test_what_cannot_be_saved_is_named(shape, tmp_path):
    model = load_model(None, space="depth")
    several = model.recover([0.1 * DEPTH + 0.3] * 3)
    wall = model.recover(np.full(SIZE, 2.0) + np.linspace(0, 0.5, SIZE[1]))
    nothing = model.recover(np.ones(SIZE))
    for wrong, arguments, message in (
        (shape, {"path": tmp_path / "a.obj"}, "give a name that ends in .ply or .glb"),
        (shape, {"path": tmp_path / "a.ply", "up": "x"}, "up='x': give 'z' or 'y'"),
        (shape, {"path": tmp_path / "a.ply", "rgb": "a.png"}, "rgb: is a path"),
        (wall, {"path": tmp_path / "a.ply", "up": "z"}, "does not tell which way is down"),
        (several, {"path": tmp_path / "a.ply"}, "the shape has 3 maps; recover a map alone"),
        (nothing, {"path": tmp_path / "a.ply"}, "the shape has no answer"),
    ):
        with pytest.raises(ArgumentError, match=message):
            wrong.save(**arguments)
    assert not list(tmp_path.iterdir())
