import io
import math

import numpy as np
import pytest
from PIL import Image
from raw_files import depth_units, png16, put, put_taskonomy

from data.readers.taskonomy import Taskonomy
from train3d_jax.errors import DataError

END_OF_PNG = 12  # bytes of the last chunk: it holds nothing but its name and a checksum of that
FRAME = "point_3_view_1"


@pytest.mark.parametrize("suffix", ["point_info", "fixatedpose"])
@pytest.mark.parametrize(
    "layout",
    [
        "{kind}/taskonomy/cabinet",
        "{kind}/cabinet",
        "cabinet/{kind}",
        "cabinet/{kind}/cabinet",
        "cabinet/{kind}/taskonomy/cabinet",
        "taskonomy/{kind}/cabinet",
        "taskonomy/cabinet/{kind}",
        # Archives unpacked into folders of their names: Taskonomy's, Omnidata's, its tool's.
        "cabinet_{kind}/{kind}",
        "cabinet_{kind}",
        "{kind}-taskonomy-cabinet/{kind}/taskonomy/cabinet",
        "{kind}__taskonomy__cabinet/{kind}",
    ],
)
def test_every_layout_and_json_suffix_is_read(tmp_path, layout, suffix):
    units = depth_units(8, 8, base=512)
    units[0, :2] = 0, 65535
    images = tmp_path / layout.format(kind="depth_zbuffer")
    infos = tmp_path / layout.format(kind="point_info")
    put(images / f"{FRAME}_domain_depth_zbuffer.png", png16(units))
    info = {"field_of_view_rads": 0.9, "resolution": 8}
    put(infos / f"{FRAME}_domain_{suffix}.json", info)
    (scene,) = Taskonomy(tmp_path).scenes()
    assert scene.name == "cabinet" and list(scene.places) == [(FRAME,)]
    depth, intrinsics, _ = Taskonomy(tmp_path).read(scene, FRAME)
    assert depth.dtype == np.float32 and (depth[0, :2] == 0).all()
    np.testing.assert_array_equal(depth[1:], units[1:] / np.float32(512))
    focal = 4 / math.tan(0.45)
    np.testing.assert_allclose(intrinsics, [[focal, 0, 3.5], [0, focal, 3.5], [0, 0, 1]], 1e-12)


def test_other_datasets_of_omnidata_are_no_buildings(tmp_path):
    put_taskonomy(tmp_path, "cabinet")
    put_taskonomy(tmp_path, "apartment_0", layout="{kind}/replica/{}")
    assert [scene.name for scene in Taskonomy(tmp_path).scenes()] == ["cabinet"]


def test_linked_buildings_are_read_each_once(tmp_path):
    put_taskonomy(tmp_path / "store", "cabinet", layout="{}/{kind}")
    root = tmp_path / "root"
    root.mkdir()
    (root / "cabinet").symlink_to(tmp_path / "store" / "cabinet")
    (root / "alias").symlink_to(tmp_path / "store" / "cabinet")
    (root / "taskonomy").symlink_to(root)  # a loop
    (scene,) = Taskonomy(root).scenes()
    assert scene.name == "cabinet" and len(scene.places) == 2
    assert Taskonomy(root).read(scene, "point_0_view_0").depth.all()


def test_buildings_and_frames_come_in_order_whatever_else_lies_about(tmp_path):
    put_taskonomy(tmp_path, "wiconisco", points=(10, 9, 100), views=(1, 0))
    put_taskonomy(tmp_path, "ackermanville")
    put(tmp_path / "depth_zbuffer" / "taskonomy" / "README", b"")
    put(tmp_path / "depth_zbuffer" / "taskonomy" / "ackermanville" / "point_x.png", b"")
    first, second = Taskonomy(tmp_path).scenes()
    assert (first.name, second.name) == ("ackermanville", "wiconisco")
    assert list(first.places) == [("point_0_view_0",), ("point_1_view_0",)]
    assert [place[0] for place in second.places] == [
        f"point_{point}_view_{view}" for point in (9, 10, 100) for view in (0, 1)
    ]


def read_with(root, *, png=None, info=None):
    put_taskonomy(root, "cabinet", points=(0,))
    image = root / "depth_zbuffer/taskonomy/cabinet/point_0_view_0_domain_depth_zbuffer.png"
    json_file = root / "point_info/taskonomy/cabinet/point_0_view_0_domain_point_info.json"
    for path, contents in ((image, png), (json_file, info)):
        if contents is not None:
            put(path, contents)
    (scene,) = Taskonomy(root).scenes()
    return Taskonomy(root).read(scene, "point_0_view_0")


def test_every_flipped_byte_of_a_png_is_noticed(tmp_path):
    whole = png16(depth_units())
    read_with(tmp_path, png=whole)
    for position in range(len(whole) - END_OF_PNG):
        damaged = bytearray(whole)
        damaged[position] ^= 0x55
        with pytest.raises(DataError, match=r"depth_zbuffer\.png: "):
            read_with(tmp_path, png=bytes(damaged))


def test_every_cut_png_is_noticed(tmp_path):
    whole = png16(depth_units())
    for length in range(len(whole) - END_OF_PNG + 1):
        with pytest.raises(DataError, match=r"depth_zbuffer\.png: "):
            read_with(tmp_path, png=whole[:length])


def test_a_png_that_is_not_16_bit_grey_is_an_error(tmp_path):
    packed = io.BytesIO()
    Image.fromarray(np.zeros((6, 6), np.uint8)).save(packed, "PNG")
    with pytest.raises(DataError, match="not 16-bit grey"):
        read_with(tmp_path, png=packed.getvalue())


@pytest.mark.parametrize(
    "info",
    [b"", b"{", b"[]", {}, {"field_of_view_rads": "x"}, {"field_of_view_rads": None}],
)
def test_a_malformed_json_is_an_error_that_names_it(tmp_path, info):
    with pytest.raises(DataError, match=r"point_info\.json: "):
        read_with(tmp_path, info=info)


def test_a_missing_json_is_an_error_that_names_it(tmp_path):
    put_taskonomy(tmp_path, "cabinet")
    (scene,) = Taskonomy(tmp_path).scenes()
    (tmp_path / "point_info/taskonomy/cabinet/point_0_view_0_domain_point_info.json").unlink()
    with pytest.raises(DataError, match=r"point_0_view_0_domain_point_info\.json: is missing"):
        Taskonomy(tmp_path).read(scene, "point_0_view_0")
    assert Taskonomy(tmp_path).read(scene, "point_1_view_0").depth.all()


@pytest.mark.parametrize("fov_rads", [0.0, math.pi, -1.0, float("nan")])
def test_a_field_of_view_that_cannot_be_is_an_error(tmp_path, fov_rads):
    with pytest.raises(DataError, match="field of view"):
        read_with(tmp_path, info={"field_of_view_rads": fov_rads})


def test_a_size_that_disagrees_is_an_error(tmp_path):
    with pytest.raises(DataError, match="resolution 512"):
        read_with(tmp_path, info={"field_of_view_rads": 1.0, "resolution": 512})
    with pytest.raises(DataError, match="not square"):
        read_with(tmp_path, png=png16(depth_units(4, 6)))
