import json

import numpy as np
import pytest
from box_rooms import box_room
from raw_files import png16, put

from data.prepared import manifest, writing
from data.protocol import DepthMap
from data.user_maps.true_maps import TrueMaps
from train3d_jax.errors import DataError, UserError

VALUES = np.arange(2000, 2048, dtype=np.uint16).reshape(6, 8)
ROW = {
    "depth": "a.png", "fx": 9.0, "fy": 9.5, "cx": 3.5, "cy": 2.5, "metres_per_unit": 0.001,
    "invalid": None, "scene": "room",
}  # fmt: skip


def put_manifest(folder, *rows, values=VALUES):
    put(folder / "a.png", png16(values))
    put(folder / "manifest.json", json.dumps(rows).encode())
    return TrueMaps(folder)


def test_a_manifest_gives_metres_and_cameras(tmp_path):
    values = VALUES.copy()
    values[0, :3] = 0, 65535, 7
    maps = put_manifest(tmp_path, ROW | {"invalid": [65535, 7]}, ROW, values=values)
    assert len(maps) == 2
    found = maps[0]
    assert (found.name, found.scene, found.depth.dtype) == ("a", "room", np.float32)
    np.testing.assert_array_equal(found.depth == 0, np.arange(48).reshape(6, 8) < 3)
    np.testing.assert_allclose(found.depth[1:], VALUES[1:] / 1000, rtol=1e-6)
    np.testing.assert_array_equal(found.intrinsics, [[9, 0, 3.5], [0, 9.5, 2.5], [0, 0, 1]])
    np.testing.assert_allclose(maps[1].depth[0, :3], [0, 65.535, 0.007], rtol=1e-6)


def test_optional_fields_may_be_absent(tmp_path):
    row = {key: value for key, value in ROW.items() if key not in ("invalid", "scene")}
    assert put_manifest(tmp_path, row)[0].scene == ""


def test_files_are_read_beside_the_manifest_or_else_above_it(tmp_path):
    folder = tmp_path / "depth"
    maps = put_manifest(folder, ROW | {"depth": "depth/a.png"}, ROW)
    np.testing.assert_array_equal(maps[0].depth, maps[1].depth)
    assert maps[0].name == "depth/a"
    put(folder / "depth" / "a.png", png16(2 * VALUES))
    np.testing.assert_array_equal(maps[0].depth, 2 * maps[1].depth)


def test_a_prepared_set_gives_its_maps_and_scenes(tmp_path):
    writing.begin(tmp_path)
    rows = []
    for index in range(2):
        true = DepthMap(*box_room(index))
        origin = manifest.Origin("scannet", f"scene000{index}_00", "x", 0)
        rows.append(writing.write_sample(tmp_path, index, true, origin))
    manifest.append_rows(tmp_path, rows)
    writing.finish(tmp_path, {}, "0")
    maps = TrueMaps(tmp_path)
    assert len(maps) == 2
    assert (maps[1].name, maps[1].scene) == ("000001", "scannet/scene0001")
    np.testing.assert_array_equal(maps[1].depth, box_room(1)[0])
    np.testing.assert_array_equal(maps[1].intrinsics, box_room(1)[1])
    (tmp_path / "depths" / "000001.npz").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"000001\.npz"):
        maps[1]


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"{", "is no JSON"),
        (b"\xff\xfe\x00", "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b'{"depth": 1}', "holds no list"),
        (b"[]", "lists no map"),
    ],
)
def test_a_broken_manifest_is_named(tmp_path, contents, message):
    put(tmp_path / "manifest.json", contents)
    with pytest.raises(DataError, match=rf"manifest\.json: {message}"):
        TrueMaps(tmp_path)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (3, "row 2 is no object"),
        (ROW | {"depth": None}, "row 2 names no file"),
        (ROW | {"depth": ""}, "row 2 names no file"),
        (ROW | {"fx": "9"}, "row 2: fx is '9', not a number"),
        (ROW | {"cy": None}, "row 2: cy is None, not a number"),
        (ROW | {"cx": float("nan")}, "row 2: cx is nan, not a number"),
        (ROW | {"fy": True}, "row 2: fy is True, not a number"),
        (ROW | {"fy": 0}, "row 2: fy is 0, not positive"),
        (ROW | {"metres_per_unit": -1}, "row 2: metres_per_unit is -1, not positive"),
        (ROW | {"invalid": "none"}, "row 2: invalid is 'none', not a number"),
        (ROW | {"space": "disparity"}, "row 2 is in 'disparity', not in depth"),
        (ROW | {"depth": "a\0.png"}, "row 2 names no file"),
        (ROW | {"fx": 10**400}, "row 2: fx is 1000"),
        (ROW | {"fx": 0.01}, "a: its field of view of 179.7 degrees"),
        (ROW | {"depth": "missing.png"}, r"missing\.png: is missing"),
        (ROW | {"depth": "manifest.json"}, r"manifest\.json: is not a depth map"),
        (ROW | {"cx": 90}, r"a: its principal point \(90, 2\.5\) is outside"),
    ],
)
def test_a_broken_row_is_reported_when_it_is_read_and_leaves_the_others(tmp_path, row, message):
    maps = put_manifest(tmp_path, ROW, row)
    with pytest.raises(DataError, match=message):
        maps[1]
    assert maps[0].depth.shape == (6, 8)


def test_a_broken_image_is_reported_when_it_is_read(tmp_path):
    maps = put_manifest(tmp_path, ROW)
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"a\.png"):
        maps[0]


def test_a_folder_that_holds_neither_is_refused(tmp_path):
    with pytest.raises(UserError, match="nowhere: is no folder"):
        TrueMaps(tmp_path / "nowhere")
    with pytest.raises(UserError, match="there is no prepared set"):
        TrueMaps(tmp_path)


def test_the_real_maps_are_read(real_data):
    for folder, scene in (("depth", "lingbot 0"), ("predicted", "nyuv2_labeled_1098")):
        maps = TrueMaps(real_data / folder)
        first = maps[0]
        assert first.scene == scene and 0.3 < np.median(first.depth[first.depth > 0]) < 6
