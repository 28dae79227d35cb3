"""The written files are parsed here by hand, after the formats' definitions, not by our readers."""

import io
import json
import math
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import OpenEXR
import pytest
from PIL import Image

from data.prepare.plan import READERS
from data.protocol import licence_of
from data.rooms import raw_writers
from data.rooms.cameras import pose
from data.rooms.raw_writers import (
    field_of_view,
    scene_seed,
    write_kenburns_scene,
    write_raw_rooms,
    write_scannet_scene,
    write_taskonomy_building,
)
from data.rooms.views import View
from train3d_jax.errors import UserError


def view_of(depth: np.ndarray, focal: float = 20.0, entries: dict | None = None) -> View:
    height, width = depth.shape
    intrinsics = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1.0]])
    for (row, column), value in (entries or {}).items():
        intrinsics[row, column] = value
    return View(depth.astype(np.float32), intrinsics, pose([1, 2, 3], 0.1, 0.2, 0.3))


def random_depth(seed: int, height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    depth = rng.uniform(0.2, 9.0, (height, width))
    depth[rng.random((height, width)) < 0.2] = 0
    return depth


def files_under(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


class Bytes:
    """A little-endian packed stream."""

    def __init__(self, content: bytes):
        self.stream = io.BytesIO(content)

    def take(self, layout: str) -> Any:
        values = struct.unpack("<" + layout, self.stream.read(struct.calcsize("<" + layout)))
        return values[0] if len(values) == 1 else values

    def matrix(self) -> np.ndarray:
        return np.array(self.take("16f")).reshape(4, 4)


def test_a_sens_file_reads_as_version_4_byte_by_byte(tmp_path):
    # Not square, pixels neither, principal point off the centre: rows and columns cannot be mixed.
    camera = {(1, 1): 21.5, (0, 2): 9.25, (1, 2): 4.5}
    views = [view_of(random_depth(seed, 12, 17), entries=camera) for seed in range(3)]
    path = write_scannet_scene(tmp_path, "scene0007_00", views)
    assert path == tmp_path / "scans" / "scene0007_00" / "scene0007_00.sens"
    sens = Bytes(path.read_bytes())
    assert sens.take("I") == 4
    sens.stream.read(sens.take("Q")).decode("ascii")
    _, identity, intrinsic_depth, extrinsic_depth = (sens.matrix() for _ in range(4))
    expected = np.eye(4)
    expected[:3, :3] = [[20, 0, 9.25], [0, 21.5, 4.5], [0, 0, 1]]
    np.testing.assert_array_equal(intrinsic_depth, expected)
    np.testing.assert_array_equal(identity, np.eye(4))
    np.testing.assert_array_equal(extrinsic_depth, np.eye(4))
    assert sens.take("ii") == (2, 1)
    color_width, color_height, depth_width, depth_height, depth_shift = sens.take("IIIIf")
    assert (depth_width, depth_height, depth_shift) == (17, 12, 1000.0)
    assert sens.take("Q") == 3
    for index, view in enumerate(views):
        np.testing.assert_allclose(sens.matrix(), view.camera_to_world, atol=1e-6)
        time_color, time_depth, color_bytes, depth_bytes = sens.take("QQQQ")
        assert time_color == time_depth == 33_333 * index
        colour = Image.open(io.BytesIO(sens.stream.read(color_bytes)))
        assert colour.format == "JPEG"
        assert colour.size == (color_width, color_height)
        payload = zlib.decompress(sens.stream.read(depth_bytes))
        assert len(payload) == 17 * 12 * 2
        millimetres = np.frombuffer(payload, "<u2").reshape(12, 17)
        assert ((millimetres == 0) == (view.depth == 0)).all()
        assert np.abs(millimetres / 1000 - view.depth).max() <= 0.0005 + 1e-6
    assert sens.take("Q") == 0
    assert sens.stream.read() == b""


def test_depth_that_does_not_fit_a_format_becomes_missing(tmp_path):
    depth = np.array([[65.534, 65.6], [0.0001, 1.0]])
    sens = write_scannet_scene(tmp_path, "s", [view_of(depth)]).read_bytes()
    payload = zlib.decompress(sens[sens.index(b"\xff\xd9") + 2 : -8])
    assert np.frombuffer(payload, "<u2").tolist() == [65534, 0, 0, 1000]
    (png,) = write_taskonomy_building(tmp_path, "b", [view_of(np.array([[127.9, 128], [0, 1]]))])
    assert np.asarray(Image.open(png)).tolist() == [[65485, 65535], [65535, 512]]
    exr = write_kenburns_scene(tmp_path, "k", [[view_of(np.array([[599, 601], [0, 1.0]]))] * 4])[0]
    with OpenEXR.File(str(exr)) as file:
        assert file.channels()["Y"].pixels.tolist() == [[59904, 65280], [65280, 100]]


def test_a_sens_file_refuses_views_of_different_cameras(tmp_path):
    depth = random_depth(0, 8, 8)
    for views in ([], [view_of(depth), view_of(depth, 21)], [view_of(depth), view_of(depth[1:])]):
        with pytest.raises(ValueError, match="scene0000_00"):
            write_scannet_scene(tmp_path, "scene0000_00", views)
    assert files_under(tmp_path) == {}


def test_kenburns_files_hold_centimetres_as_half_floats_under_the_four_names(tmp_path):
    quadruples = [
        [view_of(random_depth(4 * number + corner, 32, 32), 10.0 + number) for corner in range(4)]
        for number in range(2)
    ]
    paths = write_kenburns_scene(tmp_path, "town-walking", quadruples)
    assert sorted(files_under(tmp_path)) == sorted(
        [
            f"depths/town-walking-depth/0000{number}-{corner}-depth.exr"
            for number in (1, 2)
            for corner in ("tl", "tr", "bl", "br")
        ]
        + [f"rgb/town-walking/0000{number}-meta.json" for number in (1, 2)]
    )
    for number, quadruple in enumerate(quadruples):
        meta = json.loads((tmp_path / f"rgb/town-walking/0000{number + 1}-meta.json").read_text())
        focal = 16 / math.tan(math.radians(meta["fltFov"]) / 2)
        assert focal == pytest.approx(10.0 + number, rel=1e-12)
        for path, view in zip(paths[4 * number :], quadruple, strict=False):
            with OpenEXR.File(str(path)) as file:
                assert file.header()["compression"] == OpenEXR.ZIP_COMPRESSION
                assert file.header()["type"] == OpenEXR.scanlineimage
                assert list(file.channels()) == ["Y"]
                values = file.channels()["Y"].pixels
            assert values.dtype == np.float16
            missing = view.depth == 0
            assert (values[missing] == 65280).all()
            # Half floats have 11 significant bits: rounding is off by 2**-11 of the value at most.
            metres = values[~missing].astype(np.float64) / 100
            np.testing.assert_allclose(metres, view.depth[~missing], rtol=2**-11)


def test_taskonomy_files_hold_512ths_of_a_metre_and_the_field_of_view(tmp_path):
    views = [view_of(random_depth(seed, 24, 24), 15.0 + seed) for seed in range(2)]
    paths = write_taskonomy_building(tmp_path, "cabinet", views)
    stem = "taskonomy/cabinet/point_{}_view_0_domain_"
    assert sorted(files_under(tmp_path)) == sorted(
        [f"depth_zbuffer/{stem}depth_zbuffer.png".format(point) for point in (0, 1)]
        + [f"point_info/{stem}point_info.json".format(point) for point in (0, 1)]
    )
    for point, (path, view) in enumerate(zip(paths, views, strict=True)):
        image = Image.open(path)
        # IHDR: 24 x 24, 16 bits, grey.
        assert struct.unpack(">IIBB", path.read_bytes()[16:26]) == (24, 24, 16, 0)
        units = np.asarray(image).astype(np.float64)
        missing = view.depth == 0
        assert (units[missing] == 65535).all()
        assert np.abs(units[~missing] / 512 - view.depth[~missing]).max() <= 0.5 / 512 + 1e-6
        info = json.loads(
            (tmp_path / f"point_info/{stem}point_info.json".format(point)).read_text()
        )
        assert info["resolution"] == 24
        assert 12 / math.tan(info["field_of_view_rads"] / 2) == pytest.approx(15.0 + point)


@pytest.mark.parametrize(
    "view",
    [
        view_of(np.ones((8, 9))),
        view_of(np.ones((8, 8)), entries={(1, 1): 20.5}),
        view_of(np.ones((8, 8)), entries={(0, 2): 4.0}),
    ],
)
def test_square_formats_refuse_cameras_that_they_cannot_describe(tmp_path, view):
    with pytest.raises(ValueError, match="centre"):
        field_of_view(view)
    with pytest.raises(ValueError, match="centre"):
        write_taskonomy_building(tmp_path, "building", [view])
    with pytest.raises(ValueError, match="centre"):
        write_kenburns_scene(tmp_path, "scene", [[view] * 4])
    assert files_under(tmp_path) == {}


@pytest.mark.parametrize("count", [3, 5])
def test_kenburns_refuses_an_id_without_its_four_views(tmp_path, count):
    with pytest.raises(ValueError, match="four views"):
        write_kenburns_scene(tmp_path, "scene", [[view_of(np.ones((8, 8)))] * count])


def test_a_file_that_fails_to_be_written_leaves_no_file(tmp_path, monkeypatch):
    def fail(source, target):
        raise OSError("disk full")

    monkeypatch.setattr(raw_writers.os, "replace", fail)
    with pytest.raises(UserError, match=r"scene\.sens: cannot be written: disk full"):
        write_scannet_scene(tmp_path, "scene", [view_of(np.ones((8, 8)))])
    assert files_under(tmp_path) == {}


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("raw")
    write_raw_rooms(root, (4, 1, 2), (2, 1, 2), seed=3, num_workers=0, size=(24, 32))
    return root


def test_a_raw_tree_holds_as_many_scenes_and_views_as_were_asked_for(tree):
    names = sorted(files_under(tree))
    assert sum(name.endswith(".sens") for name in names) == 4
    assert sum(name.endswith(".exr") for name in names) == 4
    assert sum(name.endswith(".png") for name in names) == 4
    assert sum(name.endswith("LICENCE.txt") for name in names) == 3
    assert len(names) == 4 + (4 + 1) + (4 + 4) + 3
    for path in tree.rglob("*.sens"):
        content = path.read_bytes()
        start = 12 + struct.unpack_from("<Q", content, 4)[0] + 4 * 64 + 8
        width, height, frames = struct.unpack_from("<8xII4xQ", content, start)
        assert frames == 2
        assert abs(width * height / (24 * 32) - 1) < 0.05


def test_rendered_rooms_are_free_whatever_their_layout(tree):
    readers = [kind(tree / name) for name, kind in READERS.items()]
    assert {licence_of(reader) for reader in readers} == {"rendered rooms, free to use"}
    assert all(reader.licence != licence_of(reader) for reader in readers)


def test_no_two_scenes_of_a_tree_show_the_same_room(tree):
    maps = (".sens", ".exr", ".png")
    contents = [content for name, content in files_under(tree).items() if name.endswith(maps)]
    assert len(set(contents)) == len(contents)
    seeds = {scene_seed(*numbers) for numbers in np.ndindex(3, 3, 50)}
    assert len(seeds) == 450


def test_a_tree_depends_on_the_seed_and_not_on_workers_or_the_number_of_scenes(tree, tmp_path):
    write_raw_rooms(tmp_path / "one", (1, 0, 1), (2, 1, 2), seed=3, num_workers=1, size=(24, 32))
    again = files_under(tmp_path / "one")
    assert len(again) == 1 + 4 + 2
    expected = files_under(tree)
    assert all(expected[name] == content for name, content in again.items())
    other = write_raw_rooms(
        tmp_path / "two", (1, 0, 0), (2, 1, 2), seed=4, num_workers=0, size=(24, 32)
    )
    assert other.kenburns is None
    assert other.taskonomy is None
    assert other.scannet == tmp_path / "two" / "scannet"
    name = "scannet/scans/scene0000_00/scene0000_00.sens"
    assert files_under(tmp_path / "two")[name] != expected[name]


def test_progress_is_shown_while_rendering(tmp_path, capsys):
    write_raw_rooms(tmp_path, (1, 1, 0), (2, 1, 1), num_workers=0, size=(24, 32))
    assert "6/6" in capsys.readouterr().err


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        write_raw_rooms(tmp_path, (1, 0, 0))
    assert list(files_under(tmp_path)) == ["notes.txt"]


@pytest.mark.parametrize(
    "arguments", [{"num_scenes": (1, -1, 0)}, {"num_views": (5, 0, 5)}, {"num_workers": -1}]
)
def test_counts_out_of_range_are_refused(tmp_path, arguments):
    with pytest.raises(ValueError, match="out of range"):
        write_raw_rooms(tmp_path, **{"num_scenes": (1, 1, 1), **arguments})
