"""What is known of camera and shift reaches the solver, the answer and the cloud."""

import json

import numpy as np
import pytest
from box_rooms import box_room
from folders import NAMES, SIZE, config_of, fill, recovered
from folders import solver as solver
from ply_files import read_ply
from raw_files import put

from data.user_maps.known_cameras import KnownCamera
from launch.recovery.config import SaveSettings
from train3d_jax.errors import UserError
from train3d_jax.formats.depth import ReadSettings
from train3d_jax.geometry.depth_maps import point_cloud

# What is known.


def test_known_intrinsics_reach_the_solver_the_answer_and_the_cloud(tmp_path, solver):
    fill(tmp_path / "in", NAMES[:2])
    for place, name in enumerate(NAMES[:2]):
        (tmp_path / "cameras" / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(tmp_path / "cameras" / name, [[40 + place, 0, 14], [0, 50 + place, 13], [0, 0, 1]])
    recovered(tmp_path, camera=KnownCamera(intrinsics=tmp_path / "cameras"))
    ((blocks, known),) = solver
    np.testing.assert_array_equal(known.focal, [50, 51])
    np.testing.assert_array_equal(blocks.centre[:2], [[14, 13], [14, 13]])
    answer = json.loads((tmp_path / "out" / "a/map1.json").read_text())
    assert answer["intrinsics"] == [[41, 0, 14], [0, 51, 13], [0, 0, 1]]
    depth = answer["a"] * np.load(tmp_path / "in" / NAMES[1]).astype(float) + answer["b"]
    cloud = point_cloud(depth, np.array(answer["intrinsics"]))
    np.testing.assert_allclose(read_ply(tmp_path / "out" / "a/map1.ply"), cloud, rtol=1e-6)


def test_a_map_without_intrinsics_fails_alone(tmp_path, solver):
    fill(tmp_path / "in", NAMES[:2])
    put(tmp_path / "cameras" / "a" / "map0.json", b'{"fx": 30, "fy": 30, "cx": 15, "cy": 11}')
    assert recovered(tmp_path, camera=KnownCamera(intrinsics=tmp_path / "cameras")) == (1, 1, 0)


def test_the_answer_of_one_run_is_a_camera_for_the_next(tmp_path, solver):
    fill(tmp_path / "in", NAMES[:2])
    recovered(tmp_path)
    recovered(tmp_path, out=tmp_path / "again", camera=KnownCamera(intrinsics=tmp_path / "out"))
    first, again = (
        json.loads((tmp_path / place / "a/map0.json").read_text()) for place in ("out", "again")
    )
    assert first["intrinsics"] == again["intrinsics"] and not again["error"]


def test_ray_lengths_are_converted_before_they_are_solved(tmp_path, solver):
    depth, intrinsics = box_room(0, SIZE)
    points = point_cloud(depth, intrinsics).reshape(*SIZE, 3)
    put(tmp_path / "in" / "map.npy", b"")
    np.save(tmp_path / "in" / "map.npy", np.linalg.norm(points, axis=-1))
    recovered(
        tmp_path, camera=KnownCamera(focal_px=float(intrinsics[0, 0])), ray_depth=True,
        saving=SaveSettings(("npz",)),
    )  # fmt: skip
    answer = json.loads((tmp_path / "out" / "map.json").read_text())
    with np.load(tmp_path / "out" / "map.npz") as held:
        # float32 in three steps.
        np.testing.assert_allclose(held["depth"], answer["a"] * depth + answer["b"], rtol=1e-5)


def test_values_that_mean_missing_are_left_out_of_the_cloud(tmp_path, solver):
    values = box_room(0, SIZE)[0]
    values[:5] = 65535
    put(tmp_path / "in" / "map.npy", b"")
    np.save(tmp_path / "in" / "map.npy", values)
    recovered(tmp_path, reading=ReadSettings(invalid=(65535.0,)))
    assert len(read_ply(tmp_path / "out" / "map.ply")) <= (SIZE[0] - 5) * SIZE[1]


@pytest.mark.parametrize(
    "changes",
    [
        {"ray_depth": True},
        {"shift_known": True, "camera": KnownCamera(focal_px=3.0)},
        {"shared_camera": True, "camera": KnownCamera(fov_deg=60.0)},
        {"method": "learned"},
        {"method": "hybrid"},
    ],
)
def test_settings_that_exclude_each_other_are_refused_in_one_line(tmp_path, changes):
    with pytest.raises(UserError, match="--") as error:
        config_of(tmp_path, **changes)
    assert "\n" not in str(error.value)
