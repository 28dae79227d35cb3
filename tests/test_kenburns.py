import math

import numpy as np
import pytest
from raw_files import exr, put, put_kenburns

from data.readers.kenburns import KenBurns
from train3d_jax.errors import DataError

VIEWS = ("tl", "tr", "bl", "br")


def read_one(root, units, meta=None, scene="town-walking"):
    put(root / "rgb" / scene / "00001-meta.json", meta or {"intSample": 1, "fltFov": 90.0})
    put(root / "depths" / f"{scene}-depth" / "00001-tl-depth.exr", exr(units))
    reader = KenBurns(root)
    (scene,) = reader.scenes()
    return reader.read(scene, "00001-tl")


@pytest.mark.parametrize("size", [6, 40])  # one block of lines, and several
def test_depth_is_in_metres(tmp_path, size):
    units = np.random.default_rng(0).uniform(50, 5000, (size, size)).astype(np.float16)
    depth = read_one(tmp_path, units).depth
    assert depth.dtype == np.float32
    np.testing.assert_allclose(depth, units.astype(np.float64) / 100, rtol=1e-6)


def test_the_sky_and_what_is_not_finite_are_missing(tmp_path):
    units = np.full((6, 6), 59968, np.float16)  # the last half below the sky
    units[0, :5] = 60000, 65024, 65280, np.inf, np.nan
    depth = read_one(tmp_path, units).depth
    assert (depth[0, :5] == 0).all()
    assert np.count_nonzero(depth) == 31 and depth[1, 1] == np.float32(599.68)


@pytest.mark.parametrize("field_of_view_deg", [90.0, 37.5])
def test_the_camera_sees_the_whole_field_of_view_about_the_centre(tmp_path, field_of_view_deg):
    meta = {"intSample": 1, "fltFov": field_of_view_deg}
    intrinsics = read_one(tmp_path, np.full((8, 8), 100, np.float16), meta).intrinsics
    focal = 4 / math.tan(math.radians(field_of_view_deg / 2))
    expected = [[focal, 0, 3.5], [0, focal, 3.5], [0, 0, 1]]
    np.testing.assert_allclose(intrinsics, expected, rtol=1e-12)


def test_the_views_of_an_id_are_one_place(tmp_path):
    put_kenburns(tmp_path, "town-walking", ids=("00002", "00001"))
    put_kenburns(tmp_path, "town-walking", ids=("00003",), views=("br", "tr"))
    (scene,) = KenBurns(tmp_path).scenes()
    assert list(scene.places) == [
        tuple(f"00001-{view}" for view in VIEWS),
        tuple(f"00002-{view}" for view in VIEWS),
        ("00003-tr", "00003-br"),
    ]
    assert scene.rounds() == [3, 3, 2, 2]


def test_depth_folders_with_and_without_the_suffix_are_accepted(tmp_path):
    put_kenburns(tmp_path, "town-walking")
    put_kenburns(tmp_path, "asdf", folder="asdf")
    (tmp_path / "depths" / "empty-depth").mkdir()
    scenes = KenBurns(tmp_path).scenes()
    assert [scene.name for scene in scenes] == ["asdf", "town-walking"]
    for scene in scenes:
        assert KenBurns(tmp_path).read(scene, "00001-br").depth.shape == (6, 6)


@pytest.mark.parametrize(
    "layout",
    [
        ("{}", "{}-depth"),  # as the archives unpack
        ("{0}", "{0}"),  # all archives of a scene unpacked into one folder
        ("rgb/{}", "depths/{}-depth"),
    ],
)
def test_every_layout_is_read_and_what_macos_leaves_is_not(tmp_path, layout):
    for scene in ("town-walking", "town-flying"):
        put_kenburns(tmp_path, scene, ids=("00001", "00002"), layout=layout)
        depths = tmp_path / layout[1].format(scene)
        put(depths / "._00001-tl-depth.exr", b"\0\5\x16\7")
        put(tmp_path / "__MACOSX" / depths.name / "._00001-tl-depth.exr", b"\0\5\x16\7")
        put(tmp_path / f"{scene}-normal" / "00001-tl-normal.exr", b"not depth")
    reader = KenBurns(tmp_path)
    scenes = reader.scenes()
    assert [scene.name for scene in scenes] == ["town-flying", "town-walking"]
    for scene in scenes:
        assert [place[0] for place in scene.places] == ["00001-tl", "00002-tl"]
        depth, intrinsics, _ = reader.read(scene, "00002-br")
        assert depth.shape == (6, 6) and intrinsics[0, 0] == pytest.approx(3)
        assert reader.file(scene, "00002-br").is_file()


def test_linked_scenes_are_read_each_once(tmp_path):
    put_kenburns(tmp_path / "store", "asdf-flying", layout=("{}", "{}-depth"))
    root = tmp_path / "root"
    root.mkdir()
    for name in ("asdf-flying", "asdf-flying-depth"):
        (root / name).symlink_to(tmp_path / "store" / name)
    (root / "again-depth").symlink_to(root / "asdf-flying-depth")
    (root / "depths").symlink_to(root)  # a loop
    (scene,) = KenBurns(root).scenes()
    assert scene.name == "asdf-flying"
    assert KenBurns(root).read(scene, "00001-tl").depth.shape == (6, 6)


def test_two_folders_for_one_scene_are_an_error(tmp_path):
    put_kenburns(tmp_path, "asdf")
    put_kenburns(tmp_path, "asdf", folder="asdf")
    with pytest.raises(DataError, match="as does"):
        KenBurns(tmp_path).scenes()


@pytest.mark.parametrize("fltFov", [0, 180, -90, float("nan"), "wide", None])
def test_a_field_of_view_that_cannot_be_is_an_error(tmp_path, fltFov):
    with pytest.raises(DataError, match="field of view"):
        read_one(tmp_path, np.full((6, 6), 100, np.float16), {"fltFov": fltFov})


@pytest.mark.parametrize("contents", [b"{", b"[]", b"{}", b"\xff\xfe"])
def test_a_malformed_meta_json_is_an_error_that_names_it(tmp_path, contents):
    put_kenburns(tmp_path, "asdf")
    put(tmp_path / "rgb" / "asdf" / "00001-meta.json", contents)
    (scene,) = KenBurns(tmp_path).scenes()
    with pytest.raises(DataError, match=r"00001-meta\.json: "):
        KenBurns(tmp_path).read(scene, "00001-tl")


def test_a_missing_meta_json_or_exr_is_an_error_that_names_it(tmp_path):
    put_kenburns(tmp_path, "asdf")
    (scene,) = KenBurns(tmp_path).scenes()
    (tmp_path / "rgb" / "asdf" / "00001-meta.json").rename(tmp_path / "away")
    with pytest.raises(DataError, match=r"00001-meta\.json: is missing"):
        KenBurns(tmp_path).read(scene, "00001-tl")
    (tmp_path / "away").rename(tmp_path / "rgb" / "asdf" / "00001-meta.json")
    (tmp_path / "depths" / "asdf-depth" / "00001-tl-depth.exr").unlink()
    with pytest.raises(DataError, match=r"00001-tl-depth\.exr: is missing"):
        KenBurns(tmp_path).read(scene, "00001-tl")


def test_an_image_that_is_not_square_is_an_error(tmp_path):
    with pytest.raises(DataError, match="8x6, not square"):
        read_one(tmp_path, np.full((6, 8), 100, np.float16))


def test_a_damaged_exr_is_an_error_that_names_it_and_prints_nothing(tmp_path, capfd):
    put_kenburns(tmp_path, "asdf")
    (scene,) = KenBurns(tmp_path).scenes()
    units = np.random.default_rng(0).uniform(50, 5000, (40, 40)).astype(np.float16)
    whole = exr(units)
    for length in range(0, len(whole), 101):
        put(tmp_path / "depths" / "asdf-depth" / "00001-tl-depth.exr", whole[:length])
        with pytest.raises(DataError, match=r"00001-tl-depth\.exr: is not a readable OpenEXR"):
            KenBurns(tmp_path).read(scene, "00001-tl")
    put(tmp_path / "depths" / "asdf-depth" / "00001-tl-depth.exr", exr(units, channel=b"Z"))
    with pytest.raises(DataError, match="no channel Y"):
        KenBurns(tmp_path).read(scene, "00001-tl")
    assert capfd.readouterr() == ("", "")
    print("heard again")
    assert capfd.readouterr().out == "heard again\n"
