"""The clouds of index.html, read back as its script reads them."""

import base64
import json

import numpy as np
import pytest
from box_rooms import box_room

from train3d_jax.export.browser_clouds import MOST_POINTS, write_browser_clouds
from train3d_jax.geometry.camera import centred_intrinsics
from train3d_jax.geometry.depth_maps import point_cloud
from train3d_jax.pictures.shapes import Shape

DEPTH, INTRINSICS = box_room(0)
AFTER = Shape(DEPTH, INTRINSICS)
BEFORE = Shape(DEPTH + 2, centred_intrinsics(60.0, *DEPTH.shape))


def read(path, before=BEFORE, after=AFTER, colours=None):
    write_browser_clouds(path, before, after, colours)
    text = path.read_text("ascii")
    call, end = "document.currentScript.receive(", ");\n"
    assert text.startswith(call) and text.endswith(end) and "<" not in text
    data = json.loads(text[len(call) : -len(end)])
    data["pixels"] = np.frombuffer(base64.b64decode(data["pixels"]), "<u4").astype(int)
    data["colours"] = np.frombuffer(base64.b64decode(data["colours"]), "u1").reshape(-1, 3)
    return data


def cloud_of(data, number):
    """Depth, NaN where it is missing, and points, as cloud_views.js makes them."""
    part = data["clouds"][number]
    codes = np.frombuffer(base64.b64decode(part["depth"]), "<u2").astype(float)
    z = np.where(codes > 0, np.exp(part["low"] + part["step"] * (codes - 1)), np.nan)
    v, u = np.divmod(data["pixels"], data["size"][0])
    fx, fy, cx, cy = part["camera"]
    return z, np.stack([(u - cx) / fx * z, (v - cy) / fy * z, z], -1)


def test_a_small_map_comes_back_whole_up_to_sixteen_bits(tmp_path):
    colours = np.random.default_rng(0).integers(0, 256, (*DEPTH.shape, 3)).astype(np.uint8)
    data = read(tmp_path / "a.view.js", colours=colours)
    np.testing.assert_array_equal(data["pixels"], np.flatnonzero(DEPTH > 0))
    np.testing.assert_array_equal(data["colours"], colours[DEPTH > 0])
    for number, shape in enumerate((BEFORE, AFTER)):
        expected = point_cloud(np.where(DEPTH > 0, shape.depth, 0), shape.intrinsics)
        # Half a step of log depth, of a range of less than 1e3: ln(1e3) / 65534 / 2.
        np.testing.assert_allclose(cloud_of(data, number)[1], expected, rtol=6e-5, atol=1e-6)


def test_large_maps_are_thinned_evenly_and_the_same_each_time(tmp_path):
    depth = np.full((480, 640), 3.0)
    depth[:, :320] = 0
    large = Shape(depth, centred_intrinsics(500.0, 480, 640))
    data = read(tmp_path / "a.view.js", large, large)
    assert len(data["pixels"]) == MOST_POINTS
    rows, columns = np.divmod(data["pixels"], 640)
    assert columns.min() >= 320
    counts, _, _ = np.histogram2d(rows, columns, (12, 8), ((0, 480), (320, 640)))
    # 521 expected in each; a Poisson draw would scatter by 23.
    assert np.abs(counts - MOST_POINTS / 96).max() < 80
    again = read(tmp_path / "b.view.js", large, large)
    np.testing.assert_array_equal(data["pixels"], again["pixels"])
    assert (tmp_path / "a.view.js").stat().st_size < 750_000


def test_far_outliers_do_not_make_the_room_a_dot(tmp_path):
    far = DEPTH.copy()
    far[:10] = 1e6
    data = read(tmp_path / "a.view.js", Shape(far + 2, INTRINSICS), Shape(far, INTRINSICS))
    alone = read(tmp_path / "b.view.js", Shape(DEPTH + 2, INTRINSICS))
    for number in (0, 1):
        z, _ = cloud_of(data, number)
        assert np.isnan(z[data["pixels"] < 10 * DEPTH.shape[1]]).all()
        radius, expected = (d["clouds"][number]["radius"] for d in (data, alone))
        assert 0.5 * expected < radius < 1.5 * expected


def test_what_is_missing_in_one_cloud_is_there_in_the_other(tmp_path):
    before = BEFORE.depth.copy()
    before[20:30] = 0
    data = read(tmp_path / "a.view.js", Shape(before, BEFORE.intrinsics))
    z, _ = cloud_of(data, 0)
    rows = data["pixels"] // DEPTH.shape[1]
    np.testing.assert_array_equal(np.isnan(z), (rows >= 20) & (rows < 30))
    assert np.isfinite(cloud_of(data, 1)[0]).all()


@pytest.mark.parametrize("points", [0, 1])
def test_maps_with_hardly_a_point_are_written(tmp_path, points):
    depth = np.zeros((7, 9))
    depth.flat[:points] = 2.0
    shape = Shape(depth, centred_intrinsics(10.0, 7, 9))
    data = read(tmp_path / "a.view.js", shape, shape)
    assert len(data["pixels"]) == points
    for number in (0, 1):
        assert data["clouds"][number]["radius"] > 0
        np.testing.assert_allclose(cloud_of(data, number)[0], [2.0] * points)


def test_without_a_picture_walls_have_the_colours_of_their_directions(tmp_path):
    wall = Shape(np.full((60, 80), 2.0), centred_intrinsics(60.0, 60, 80))
    colours = read(tmp_path / "a.view.js", wall, wall)["colours"].astype(int)
    middle = colours.reshape(60, 80, 3)[5:-5, 5:-5]
    assert (middle == middle[0, 0]).all() and middle[0, 0, 2] > middle[0, 0, 0] + 50
