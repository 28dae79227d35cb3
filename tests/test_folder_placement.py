"""Clouds upright and in metres, as launch.infer writes them: read back by other libraries."""

import json

import numpy as np
import pytest
import trimesh
from absl.testing import flagsaver
from box_rooms import seen, turned
from folders import config_of, written
from folders import solver as solver
from ply_files import read_ply
from test_folder_clips import FOCAL as CLIP_FOCAL
from test_folder_clips import FRAMES, OFFSET
from test_folder_clips import evidence as evidence

from launch.recovery import placement_flags
from launch.recovery.config import NamedFact, PlacementSettings, SaveSettings
from launch.recovery.folder import recover_folder
from train3d_jax.errors import UserError
from train3d_jax.geometry import camera
from train3d_jax.placement.facts import CameraHeight, KnownDepth, KnownLength

SIZE, FOCAL = (96, 128), 30.0
"""The stand-in for the solver says 30 pixels, and keeps the shift of maps where that is known."""

ROOM, PLACE = np.array([6.0, 2.6, 5.0]), np.array([2.0, 1.1, 1.5])
HEIGHT = ROOM[1] - PLACE[1]
UNIT = 5.0
"""Metres of one unit of the maps."""


def view(yaw=0.6, pitch=-0.3, focal=FOCAL, size=SIZE):
    """Depth in metres, and the direction down."""
    turn = turned(yaw, pitch)
    return seen(ROOM, PLACE, turn, focal, size)[0], turn.T @ [0, 1, 0]


def put_maps(tmp_path, *maps):
    (tmp_path / "in").mkdir()
    for number, depth in enumerate(maps):
        np.save(tmp_path / "in" / f"map{number}.npy", depth / UNIT)


def run(tmp_path, *facts, kinds=("ply",), upright=False, up="z", **changes):
    placing = PlacementSettings(upright, up, tuple(facts))
    given = {"shift_known": True, "placing": placing, "saving": SaveSettings(kinds)}
    return recover_folder(config_of(tmp_path, **given | changes), [])


def answer_of(tmp_path, name="map0"):
    return json.loads((tmp_path / "out" / f"{name}.json").read_text())


def cloud_of(depth):
    intrinsics = np.array([[FOCAL, 0, 63.5], [0, FOCAL, 47.5], [0, 0, 1]])
    return camera.unproject(depth, intrinsics).reshape(-1, 3)


@pytest.mark.parametrize(("up", "axis"), [("z", 2), ("y", 1)])
def test_upright_clouds_stand_on_the_floor(tmp_path, solver, up, axis):
    depth, down = view()
    put_maps(tmp_path, depth)
    kinds = ("ply", "glb", "mesh", "obj", "colmap", "nerfstudio")
    fact = NamedFact(CameraHeight(HEIGHT))
    run(tmp_path, fact, kinds=kinds, upright=True, up=up)
    answer, out = answer_of(tmp_path), tmp_path / "out"
    points = read_ply(out / "map0.ply")
    # In metres, so that the room's own height comes out; its floor is at 0.
    assert np.quantile(points[:, axis], 0.01) == pytest.approx(0, abs=0.02)
    assert points[:, axis].max() == pytest.approx(ROOM[1], abs=0.03)
    assert answer["unit"] == "metres" and answer["scale_source"] == "camera_height"
    assert answer["camera_height"] == pytest.approx(HEIGHT, rel=1e-3)
    assert f"comment axes: x right, y {'forward' if up == 'z' else 'up'}" in (
        out / "map0.ply"
    ).read_bytes()[:300].decode("ascii", "replace")
    # The matrix of the answer is the one that was applied.
    transform = np.array(answer["transform"])
    wanted = cloud_of(depth) @ transform[:3, :3].T + transform[:3, 3]
    np.testing.assert_allclose(points, wanted, atol=0.01)
    np.testing.assert_allclose(answer["gravity"], down, atol=5e-3)
    # GLB is y up in any case, and the meshes are the cloud.
    for name in ("map0.glb", "map0.mesh.glb"):
        low, high = trimesh.load(out / name).bounds[:, 1]
        assert (low, high) == pytest.approx((0, ROOM[1]), abs=0.05)
    (obj,) = out.rglob("*.obj")
    low, high = trimesh.load(obj).bounds[:, axis]
    assert (low, high) == pytest.approx((0, ROOM[1]), abs=0.05)
    (transforms,) = out.rglob("transforms.json")
    (frame,) = json.loads(transforms.read_text())["frames"]
    assert frame["transform_matrix"][axis][3] == pytest.approx(HEIGHT, rel=1e-3)


def test_a_view_that_does_not_tell_stays_as_it_is_flagged(tmp_path, solver, capsys):
    wall = 1 / np.linspace(1 / 2, 1 / 2.4, SIZE[1]) * np.ones(SIZE)  # one plane
    put_maps(tmp_path, wall)
    outcome = run(tmp_path, upright=True)
    answer = answer_of(tmp_path)
    assert "gravity_unknown" in answer["flags"] and outcome.flags["gravity_unknown"] == 1
    assert answer["transform"] is answer["gravity"] is answer["camera_height"] is None
    points = read_ply(tmp_path / "out" / "map0.ply")
    shape = cloud_of(np.float32(wall))
    np.testing.assert_allclose(points / points[0, 2], shape / shape[0, 2], rtol=1e-4, atol=1e-5)
    assert "stays in camera axes" in capsys.readouterr().out


def test_gravity_is_in_every_answer_and_clouds_are_turned_only_where_that_is_asked(
    tmp_path, solver
):
    depth, down = view()
    put_maps(tmp_path, depth)
    run(tmp_path)
    answer = answer_of(tmp_path)
    np.testing.assert_allclose(answer["gravity"], down, atol=5e-3)
    assert answer["transform"] is None and answer["unit"] == "arbitrary"
    assert answer["roll_interval_deg"][0] < 0 < answer["roll_interval_deg"][1]
    assert answer["flags"] == []


def test_a_length_gives_the_map_that_it_names_metres_and_the_other_is_flagged(
    tmp_path, solver, capsys
):
    depths = [view(yaw)[0] for yaw in (0.6, 0.9)]
    put_maps(tmp_path, *depths)
    points = cloud_of(depths[1]).reshape(*SIZE, 3)
    length = float(np.linalg.norm(points[30, 20] - points[70, 100]))
    fact = NamedFact(KnownLength((20, 30), (100, 70), length), "map1.npy")
    outcome = run(tmp_path, fact, kinds=("npz",))
    with np.load(tmp_path / "out" / "map1.npz") as file:
        np.testing.assert_allclose(file["depth"], depths[1], rtol=0.01)
        assert str(file["unit"]) == "metres"
    assert answer_of(tmp_path, "map1")["scale_sigma"] > 0
    assert answer_of(tmp_path, "map0")["unit"] == "arbitrary"
    assert outcome.flags == {"scale_unknown": 1}
    assert "no fact gives it metres" in capsys.readouterr().out


SMALL = (24, 32)
"""For which the stand-in for the evidence says `CLIP_FOCAL`."""


def small_view(yaw):
    return view(yaw, -0.3, CLIP_FOCAL, SMALL)[0]


@pytest.mark.parametrize(
    "fact",
    [
        NamedFact(KnownDepth((16, 20), float(small_view(0.9)[20, 16])), "map1"),
        NamedFact(CameraHeight(HEIGHT)),
    ],
    ids=["depth", "height"],
)
def test_one_fact_serves_all_maps_of_a_shared_camera_whose_shift_is_known(
    tmp_path, solver, evidence, fact
):
    depths = [small_view(yaw) for yaw in (0.6, 0.9, 1.2)]
    wall = np.full(SMALL, 2.0) + np.linspace(0, 0.5, SMALL[1])  # no floor is seen
    depths.append(np.float32(wall))
    put_maps(tmp_path, *depths)
    run(tmp_path, fact, kinds=("npz",), shared_camera=True)
    for number, depth in enumerate(depths):
        with np.load(tmp_path / "out" / f"map{number}.npz") as file:
            np.testing.assert_allclose(file["depth"], depth, rtol=0.03)
        assert answer_of(tmp_path, f"map{number}")["unit"] == "metres"


def test_one_fact_serves_a_clip_of_one_scale_and_shift(tmp_path, solver, evidence):
    depths = [small_view(0.4 + 0.2 * n) for n in range(FRAMES)]
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "film.npy", np.float32(depths) / UNIT - OFFSET)
    fact = NamedFact(KnownDepth((16, 12), float(depths[2][12, 16])), "film.npy[2]")
    run(tmp_path, fact, kinds=("npz",), affine="clip", shift_known=False)
    for number, depth in enumerate(depths):
        with np.load(tmp_path / f"out/film/{number:06d}.npz") as file:
            np.testing.assert_allclose(file["depth"], depth, rtol=0.03)
        assert answer_of(tmp_path, f"film/{number:06d}")["scale_source"] == "known_depth"


@pytest.mark.parametrize("v", [12, 500])
def test_a_fact_on_one_clip_leaves_the_other_its_camera(tmp_path, solver, evidence, capsys, v):
    """And a fact that cannot be measured leaves both theirs."""
    depths = [small_view(0.4 + 0.2 * n) for n in range(FRAMES)]
    (tmp_path / "in").mkdir()
    for name in ("film", "other"):
        np.save(tmp_path / "in" / f"{name}.npy", np.float32(depths) / UNIT - OFFSET)
    fact = NamedFact(KnownDepth((16, v), float(depths[2][12, 16])), "film.npy[2]")
    run(tmp_path, fact, kinds=("npz",), affine="clip", shift_known=False)
    metric = v == 12
    for number in range(FRAMES):
        other, film = (answer_of(tmp_path, f"{name}/{number:06d}") for name in ("other", "film"))
        assert other["focal_source"] == "maps" and other["flags"] == ["scale_unknown"]
        assert film["error"] or film["focal_source"] == "maps"
        assert bool(film["error"]) == (number == 2 and not metric)
        assert film["unit"] == ("metres" if metric else "arbitrary")
    assert ("outside of the map" in capsys.readouterr().out) != metric


# What cannot be measured.


def test_a_fact_that_cannot_be_measured_fails_its_map_alone(tmp_path, solver, capsys):
    depths = [view(yaw)[0] for yaw in (0.6, 0.9)]
    depths[1][80, 64] = 0
    put_maps(tmp_path, *depths)
    fact = NamedFact(KnownDepth((64, 80), 2.0), "map1")
    counts = run(tmp_path, fact).counts
    assert (counts.recovered, counts.failed) == (1, 1)
    error = "--known_depth=64,80,2: pixel 64,80 holds no depth; give one that does"
    assert answer_of(tmp_path, "map1")["error"] == error
    assert f"map1.npy: {error}" in capsys.readouterr().out
    assert not [name for name in written(tmp_path / "out") if name.startswith("map1.p")]


@pytest.mark.parametrize(
    ("fact", "message"),
    [
        (
            NamedFact(KnownDepth((64, 80), 2.0)),
            '--known_depth="64,80,2": there are 2 maps; put the name of the one with these pixels '
            'before them, as in "map0.npy:64,80,2"',
        ),
        (
            NamedFact(KnownDepth((64, 80), 2.0), "door"),
            '--known_depth="door:64,80,2": no map has this name; the first is map0.npy',
        ),
    ],
)
def test_facts_have_to_name_a_map(tmp_path, solver, fact, message):
    put_maps(tmp_path, view()[0], view()[0])
    with pytest.raises(UserError) as error:
        run(tmp_path, fact)
    assert str(error.value) == message
    assert not (tmp_path / "out").exists()


# Flags.


def test_flags_say_what_is_known():
    with flagsaver.flagsaver(
        upright=True, known_length=["a:b.npy:1,2,3,4,1.5", "1,2,3,4,2"], known_depth=["5,6,7"],
        camera_height=1.6,
    ):  # fmt: skip
        found = placement_flags.placement()
    assert found == PlacementSettings(
        True,
        "z",
        (
            NamedFact(KnownLength((1, 2), (3, 4), 1.5), "a:b.npy"),
            NamedFact(KnownLength((1, 2), (3, 4), 2.0)),
            NamedFact(KnownDepth((5, 6), 7.0)),
            NamedFact(CameraHeight(1.6)),
        ),
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"known_length": ["1,2,3"]}, '--known_length="1,2,3": give 5 numbers'),
        ({"known_length": ["1,2,3,4,-1"]}, "the last one metres over 0"),
        ({"known_length": ["5,5,5,5,1"]}, "both ends are one pixel; give the two ends"),
        ({"known_depth": ["a,b,c"]}, '--known_depth="a,b,c": give 3 numbers'),
        ({"known_depth": ["1,2,nan"]}, "give 3 numbers"),
        ({"camera_height": 0.0}, "--camera_height=0: give metres over 0"),
    ],
)
def test_what_is_no_fact_is_refused(given, message):
    with flagsaver.flagsaver(**given), pytest.raises(UserError) as error:
        placement_flags.placement()
    assert message in str(error.value) and "\n" not in str(error.value)
