"""Clouds, depth, pictures and cameras that are saved beside an answer."""

import io
import json
import re

import numpy as np
import pycolmap
import pytest
import trimesh
from broken_files import picture
from folders import NAMES, REPORTS, SIZE, fill, recovered, rows_of, written
from folders import solver as solver
from PIL import Image
from ply_files import read_ply
from raw_files import put

from launch.recovery import pictures
from launch.recovery.config import ENDINGS, SaveSettings
from train3d_jax.errors import UserError
from train3d_jax.export import cameras
from train3d_jax.lines.pictures import OTHER_ASPECT

# pytest sets the filters of data.images aside.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


# Colours, pictures and other formats.


def test_clouds_are_coloured_by_images_of_the_same_name(tmp_path, solver, capsys):
    fill(tmp_path / "in", NAMES[:3])
    colours = np.random.default_rng(0).integers(0, 256, (*SIZE, 3)).astype(np.uint8)
    put(tmp_path / "rgb" / "a/map0.png", picture(colours, "png"))
    put(tmp_path / "rgb" / "a/map1.jpg", picture(np.repeat(colours, 2, 0), "jpeg"))
    recovered(tmp_path, saving=SaveSettings(("ply",), rgb=tmp_path / "rgb"))
    out = tmp_path / "out"
    body = (out / "a/map0.ply").read_bytes().split(b"end_header\n")[1]
    rows = np.frombuffer(body, np.uint8).reshape(-1, 15)
    answer = json.loads((out / "a/map0.json").read_text())
    depth = answer["a"] * np.load(tmp_path / "in" / NAMES[0]) + answer["b"]
    np.testing.assert_array_equal(rows[:, 12:], colours[depth > 0])
    flags = [json.loads((out / f"a/map{n}.json").read_text())["flags"] for n in range(3)]
    stretched = [pictures.RESIZED_COLOURS, OTHER_ASPECT]
    assert flags == [[], stretched, [pictures.NO_COLOURS]]
    message = capsys.readouterr().out
    assert "another size" in message and "no colours" in message
    counted = json.loads((out / "summary.json").read_text())["flags"]
    assert counted == dict.fromkeys([*stretched, pictures.NO_COLOURS], 1)


@pytest.mark.parametrize("photo", ["map.jpg", "one photo.png"])
def test_one_map_gets_the_one_image_that_is_given(tmp_path, solver, photo):
    fill(tmp_path / "in", ["map.npy"])
    colours = np.random.default_rng(0).integers(0, 256, (*SIZE, 3)).astype(np.uint8)
    put(tmp_path / photo, picture(colours, photo.rsplit(".")[-1].replace("jpg", "jpeg")))
    for source in (tmp_path / "in" / "map.npy", tmp_path / "in"):
        settings = SaveSettings(("ply",), rgb=tmp_path / photo)
        assert recovered(tmp_path, input=source, saving=settings).recovered == 1
        head = (tmp_path / "out" / "map.ply").read_bytes().split(b"end_header")[0]
        assert b"red" in head
        assert json.loads((tmp_path / "out" / "map.json").read_text())["flags"] == []


@pytest.mark.parametrize(
    ("rgb", "message"),
    [
        ("nowhere", r"--rgb=.*nowhere: is not there"),
        ("photo.png", r"--rgb=.*photo\.png: is one image, and there are 9 depth maps"),
    ],
)
def test_a_flag_rgb_that_fits_no_map_stops_the_run_before_any_work(tmp_path, solver, rgb, message):
    fill(tmp_path / "in", NAMES)
    put(tmp_path / "photo.png", picture(np.zeros((*SIZE, 3), np.uint8), "png"))
    with pytest.raises(UserError, match=message) as error:
        recovered(tmp_path, saving=SaveSettings(rgb=tmp_path / rgb))
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()


def test_one_image_that_cannot_be_read_stops_the_run_before_any_work(tmp_path, solver):
    fill(tmp_path / "in", NAMES[:1])
    put(tmp_path / "notes.txt", b"no picture")
    with pytest.raises(UserError, match=r"--rgb=.*notes\.txt: is not a readable picture"):
        recovered(tmp_path, saving=SaveSettings(rgb=tmp_path / "notes.txt"))
    assert not (tmp_path / "out").exists()


def test_exports_describe_the_image_that_they_name(tmp_path, solver):
    fill(tmp_path / "in", ["living room.npy", "map.npy", "plain.npy"])
    photos = {"living room.jpg": (4 * SIZE[0], 4 * SIZE[1]), "map.png": (3 * SIZE[0], SIZE[1])}
    for name, size in photos.items():
        kind = {"jpg": "jpeg", "png": "png"}[name[-3:]]
        put(tmp_path / "rgb" / name, picture(np.zeros((*size, 3), np.uint8), kind))
    recovered(
        tmp_path, saving=SaveSettings(("colmap", "nerfstudio"), rgb=tmp_path / "rgb"),
    )  # fmt: skip
    out = tmp_path / "out"
    named = {}
    for stem in ("living room", "map", "plain"):
        model = pycolmap.Reconstruction(out / f"{stem}.colmap")
        (image,) = model.images.values()
        place = out / f"{stem}.nerfstudio"
        message = json.loads((place / "transforms.json").read_text())
        path = (place / message["frames"][0]["file_path"]).resolve()
        assert path.is_file() and path.name == image.name
        size = photos.get(image.name, SIZE)
        assert (image.camera.height, image.camera.width) == (message["h"], message["w"]) == size
        np.testing.assert_allclose(
            image.camera.params, [message["fl_x"], message["fl_y"], message["cx"], message["cy"]]
        )
        # The solver answers 30 pixels of the map, and the image's centre.
        ratio = np.array([size[1] / SIZE[1], size[0] / SIZE[0]])
        np.testing.assert_allclose(image.camera.params[:2], 30 * ratio)
        np.testing.assert_allclose(image.camera.params[2:], [size[1] / 2, size[0] / 2])
        named[stem] = image.name
    assert named == {
        "living room": "living room.jpg", "map": "map.png", "plain": "plain.npy",
    }  # fmt: skip


def test_a_broken_image_fails_its_map_which_leaves_nothing_half_done(tmp_path, solver):
    fill(tmp_path / "in", NAMES[:1])
    put(tmp_path / "rgb" / "a/map0.png", b"no picture")
    assert recovered(tmp_path, saving=SaveSettings(rgb=tmp_path / "rgb")).failed == 1
    assert re.search(r"rgb.*map0\.png", rows_of(tmp_path / "out")[0]["error"])
    assert written(tmp_path / "out") == REPORTS | {"a/map0.json"}


def test_the_edge_filter_thins_clouds_and_leaves_depth_whole(tmp_path, solver):
    values = np.full(SIZE, 1.0)
    values[:, 16:] = 3.0
    put(tmp_path / "in" / "map.npy", b"")
    np.save(tmp_path / "in" / "map.npy", values)
    recovered(tmp_path, saving=SaveSettings(("ply", "npz"), edge_filter=0.1))
    assert len(read_ply(tmp_path / "out" / "map.ply")) == SIZE[0] * (SIZE[1] - 2)
    with np.load(tmp_path / "out" / "map.npz") as held:
        assert (held["depth"] > 0).all()


@pytest.mark.parametrize("photo", [SIZE, (4 * SIZE[0], 4 * SIZE[1]), (3 * SIZE[0], SIZE[1])])
def test_a_mesh_has_its_photo_as_texture_at_its_own_size_turned_upright(tmp_path, solver, photo):
    fill(tmp_path / "in", ["map.npy", "plain.npy"])
    colours = np.random.default_rng(0).integers(0, 256, (*photo, 3)).astype(np.uint8)
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6  # orientation: to be turned clockwise
    Image.fromarray(np.rot90(colours)).save(file, "PNG", exif=exif)
    put(tmp_path / "rgb" / "map.png", file.getvalue())
    recovered(tmp_path, saving=SaveSettings(("mesh", "obj"), rgb=tmp_path / "rgb"))
    out = tmp_path / "out"
    with Image.open(out / "map.mesh" / "mesh.jpg") as image:
        assert image.size == (photo[1], photo[0])
        blocks = np.asarray(image).reshape(photo[0] // 8, 8, photo[1] // 8, 8, 3)
    # JPEG drops single pixels of noise; means of its blocks stay, and differ by 10 when turned.
    expected = colours.reshape(photo[0] // 8, 8, photo[1] // 8, 8, 3)
    assert np.abs(blocks.mean((1, 3)) - expected.mean((1, 3))).mean() < 2
    (mesh,) = trimesh.load(out / "map.mesh.glb", process=False).geometry.values()
    assert mesh.visual.material.baseColorTexture.size == (photo[1], photo[0])
    # A map without a picture has a mesh without a texture.
    assert written(out) == REPORTS | {
        "map.json", "map.mesh.glb", *(f"map.mesh/mesh.{end}" for end in ("obj", "mtl", "jpg")),
        "plain.json", "plain.mesh.glb", "plain.mesh/mesh.obj", "plain.mesh/mesh.mtl",
    }  # fmt: skip


def test_meshes_are_cut_where_the_edge_filter_says_or_between_surfaces(tmp_path, solver):
    values = np.full(SIZE, 1.0)
    values[:, 16:] = 3.0
    values[5, 5] = 1.001  # the solver answers depth that is affine in values
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "map.npy", values)
    for edge_filter, columns in ((0.0, (15, 15)), (0.1, (14, 14)), (1e9, (31,))):
        recovered(tmp_path, saving=SaveSettings(("mesh",), edge_filter=edge_filter))
        (mesh,) = trimesh.load(tmp_path / "out" / "map.mesh.glb", process=False).geometry.values()
        assert len(mesh.faces) == 2 * (SIZE[0] - 1) * sum(columns)
    # Where no pixel is left, no triangle is: the files are whole, and the map has an answer.
    checks = np.indices(SIZE).sum(0) % 2 + 1.0
    np.save(tmp_path / "in" / "map.npy", checks)
    kinds = tuple(kind for kind in ENDINGS if kind not in ("picture", "turntable"))
    settings = SaveSettings(kinds, edge_filter=0.1, normals=True, simplify=5)
    assert recovered(tmp_path, saving=settings).recovered == 1
    assert trimesh.load(tmp_path / "out" / "map.mesh.glb").is_empty
    assert len(read_ply(tmp_path / "out" / "map.ply")) == 0


def test_two_maps_that_would_write_one_file_stop_the_run_before_any_work(tmp_path, solver):
    fill(tmp_path / "in", ["a/x.npy", "a/x.mesh.npy"])
    with pytest.raises(UserError, match=r"a/x\.mesh\.glb would be the mesh of a/x and"):
        recovered(tmp_path, saving=SaveSettings(("mesh", "glb")))
    assert not (tmp_path / "out").exists()
    assert recovered(tmp_path, saving=SaveSettings(("mesh",))).recovered == 2


def test_what_users_put_beside_ours_stays(tmp_path, solver):
    fill(tmp_path / "in", ["map.npy"])
    settings = SaveSettings(("obj", "colmap", "nerfstudio"))
    recovered(tmp_path, saving=settings)
    theirs = {"map.mesh/notes.txt", "map.colmap/database.db", "map.nerfstudio/run/config.yml"}
    for name in theirs:
        put(tmp_path / "out" / name, b"mine")
    recovered(tmp_path, saving=SaveSettings(()))
    assert written(tmp_path / "out") == REPORTS | {"map.json"} | theirs


def test_everything_that_can_be_saved_is_and_the_page_links_it(tmp_path, solver):
    fill(tmp_path / "in", NAMES[:1])
    recovered(tmp_path, saving=SaveSettings(tuple(ENDINGS)))
    out = tmp_path / "out"
    assert written(out) == REPORTS | {
        "a/map0.json", "a/map0.ply", "a/map0.npz", "a/map0.glb", "a/map0.png", "a/map0.gif",
        "a/map0.mesh.glb", "a/map0.mesh/mesh.obj", "a/map0.mesh/mesh.mtl", "a/map0.rrd",
        "a/map0.view.js",
        *(f"a/map0.colmap/{name}" for name in cameras.COLMAP_FILES),
        "a/map0.colmap/stereo/depth_maps/map0.npy.geometric.bin",
        "a/map0.nerfstudio/transforms.json", "a/map0.nerfstudio/depth.npy",
    }  # fmt: skip
    transforms = json.loads((out / "a/map0.nerfstudio/transforms.json").read_text())
    place = out / "a/map0.nerfstudio"
    assert (place / transforms["ply_file_path"]).resolve() == (out / "a/map0.ply").resolve()
    assert (place / transforms["frames"][0]["file_path"]).resolve() == tmp_path / "in" / NAMES[0]
    page = (out / "index.html").read_text()
    assert all(f'"a/map0{ending}"' in page for ending in ENDINGS.values())
    with Image.open(io.BytesIO((out / "a/map0.png").read_bytes())) as image:
        assert image.format == "PNG"
    # A map that has no answer any more leaves nothing of the old one.
    np.save(tmp_path / "in" / NAMES[0], np.ones(SIZE))
    recovered(tmp_path)
    assert written(out) == REPORTS | {"a/map0.json"}
