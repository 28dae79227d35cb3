"""--from: a small file as each producer writes it, and the error or note that names a producer."""

import json

import imagecodecs
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from broken_files import any_exr, colmap, depth, hdf5, mat73, npy, npz, pfm, png16_of, r3d
from folders import SIZE, box_room, solver  # noqa: F401
from raw_files import exr, png16

from data.user_maps.producers import PRODUCERS
from data.user_maps.recognition import recognised
from launch.recovery import flags as infer_flags
from launch.recovery import one_map, producer_notes
from launch.recovery.folder import recover_folder
from train3d_jax.errors import DataError, UserError
from train3d_jax.formats.frames import read_frames

DEPTH = box_room(0, SIZE)[0].astype(np.float32)
CLIP = np.stack([DEPTH, DEPTH + 1])
TWICE = np.repeat((DEPTH * 20).astype(np.uint8)[..., None], 3, -1)
MILLIMETRES = (1000 * DEPTH).astype(np.uint16)
SKY = DEPTH.copy()
SKY[0] = np.inf
MATRIX = np.diag([30.0, 30.0, 1.0])


def png(values):
    return imagecodecs.png_encode(np.ascontiguousarray(values))


def scene_exr(folder):
    far = np.where(np.arange(SIZE[1]) < 5, np.float32(1e10), DEPTH)
    layers = {f"ViewLayer.Combined.{name}": DEPTH for name in "RGBA"}
    return any_exr(folder / "x.exr", {**layers, "ViewLayer.Depth.Z": far})


def config_of(folder, *arguments):
    """What the flags of launch.infer make, and the maps that they name."""
    given = ["infer", "--input", str(folder), "--out", str(folder / "out"), *arguments]
    with flagsaver.flagsaver():
        flags.FLAGS(given)
        return infer_flags.configuration()


def fill(folder, files):
    folder.mkdir(exist_ok=True)
    for name, contents in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents)
    return folder


GIVEN = ("--method", "geometric", "--save=")

# Files, and what is expected: space, metres of a unit, the map that is read and its values.
WRITTEN = {
    "marigold": (
        {
            "depth_npy/a_pred.npy": npy(DEPTH[None]),
            "depth_bw/a_pred.png": png16(MILLIMETRES),
            "depth_colored/a_pred_colored.png": png(TWICE),
        },
        ("depth", None, "depth_npy/a_pred.npy", DEPTH),
    ),
    "depth-anything-v2": ({"a.png": png(TWICE)}, ("disparity", None, "a.png", TWICE[..., 0])),
    "depth-anything-3": (
        {"exports/mini_npz/results.npz": npz(
            depth=CLIP[:1], conf=CLIP[:1], extrinsics=np.ones((1, 3, 4)), intrinsics=MATRIX[None]
        )},
        ("depth", None, "exports/mini_npz/results.npz", DEPTH),
    ),
    "video-depth-anything": (
        {"a_depths.npz": npz(depths=DEPTH[None]), "a_src.npz": npz(a=DEPTH)},
        ("disparity", None, "a_depths.npz", DEPTH),
    ),
    "depthcrafter": (
        {"a.npz": npz(depth=DEPTH[None])}, ("disparity", None, "a.npz", DEPTH),
    ),
    "depth-pro": ({"a.npz": npz(depth=DEPTH)}, ("depth", 1.0, "a.npz", DEPTH)),
    "moge": (
        {
            "room/depth.exr": exr(SKY.astype(np.float16)),
            "room/points.exr": exr(DEPTH.astype(np.float16)),
            "room/mask.png": png(TWICE),
            "room/fov.json": json.dumps({"fov_x": 60, "fov_y": 47}).encode(),
        },
        ("depth", None, "room/depth.exr", SKY.astype(np.float16)),
    ),
    "metric3d": (
        {"a.npy": npy(DEPTH), "a_d.png": png16(MILLIMETRES), "a.json": b'{"cam_in": [9, 9, 5, 5]}'},
        ("depth", 1.0, "a.npy", DEPTH),
    ),
    "zoedepth": ({"a.png": png16(MILLIMETRES)}, ("depth", 1 / 256, "a.png", MILLIMETRES)),
    "midas": (
        {"a-dpt_beit_large_512.pfm": pfm(DEPTH), "a-dpt_beit_large_512.png": png16(MILLIMETRES)},
        ("disparity", None, "a-dpt_beit_large_512.pfm", DEPTH),
    ),
    "dust3r": (
        {"a.npz": npz(depths=DEPTH[None], pts3d=np.ones((1, *SIZE, 3)), focals=np.ones(1))},
        ("depth", None, "a.npz", DEPTH),
    ),
    "record3d": (
        {"a.r3d": r3d(DEPTH), "rgbd/0.depth": depth(DEPTH)}, ("depth", 1.0, "a.r3d", DEPTH),
    ),
    "stray-scanner": (
        {
            "depth/000000.png": png16(MILLIMETRES),
            "confidence/000000.png": png(TWICE[..., 0]),
            "camera_matrix.csv": b"120, 0, 64\n0, 120, 48\n0, 0, 1\n",
        },
        ("depth", 0.001, "depth/000000.png", MILLIMETRES),
    ),
    "nyu": (
        {"nyu_depth_v2_labeled.mat": mat73(
            DEPTH[..., None], "depths", {"labels": MILLIMETRES.T, "rawDepths": DEPTH.T}
        )},
        ("depth", 1.0, "nyu_depth_v2_labeled.mat", DEPTH),
    ),
    "colmap": (
        {
            "stereo/depth_maps/a.jpg.geometric.bin": colmap(DEPTH),
            "stereo/depth_maps/a.jpg.photometric.bin": colmap(DEPTH),
            "stereo/normal_maps/a.jpg.geometric.bin": colmap(DEPTH, 3),
        },
        ("depth", None, "stereo/depth_maps/a.jpg.geometric.bin", DEPTH),
    ),
    "kitti": (
        {"groundtruth/image_02/0000000005.png": png16(MILLIMETRES)},
        ("depth", 1 / 256, "groundtruth/image_02/0000000005.png", MILLIMETRES),
    ),
    "comfyui": (
        {"depth_00001_.png": png(TWICE)}, ("disparity", None, "depth_00001_.png", TWICE[..., 0]),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRITTEN)
def test_a_file_as_its_producer_writes_it_is_read_with_from_alone(tmp_path, name):
    files, (space, metres, relative, values) = WRITTEN[name]
    space_flag = ("--space", space) if name == "comfyui" else ()
    config, listing = config_of(fill(tmp_path / "in", files), "--from", name, *space_flag, *GIVEN)
    assert (config.space, config.producer) == (space, name)
    assert [file.relative for file in listing.files] == [relative]
    found = one_map.read_map(listing.files[0], config)
    np.testing.assert_array_equal(found.values, values.astype(np.float32))
    assert found.metres == metres
    assert config.shift_known == PRODUCERS[name].shift_known
    if name not in ("comfyui", "zoedepth", "metric3d", "depth-anything-v2"):
        assert recognised(listing.files[0].path) == name


def test_hypersim_holds_distances_and_needs_a_camera(tmp_path):
    name = "images/scene_cam_00_geometry_hdf5/frame.0000.depth_meters.hdf5"
    values = DEPTH.astype(np.float16)
    values[0, 0] = np.nan
    folder = fill(tmp_path / "in", {name: hdf5(values, "dataset")})
    config, listing = config_of(folder, "--from", "hypersim", "--fov_deg", "60", *GIVEN)
    found = one_map.read_map(listing.files[0], config)
    assert config.ray_depth and config.shift_known and found.metres == 1
    assert np.isnan(found.values[0, 0]) and found.values[0, 1] < values[0, 1]
    assert recognised(folder / name) == "hypersim"
    config, listing = config_of(folder, "--from", "hypersim", *GIVEN)
    with pytest.raises(DataError, match=r"needs the exact camera.*Hypersim have --fov_deg 60"):
        one_map.read_map(listing.files[0], config)


def test_the_background_of_blender_is_missing(tmp_path):
    folder = fill(tmp_path / "in", {"a.exr": scene_exr(tmp_path)})
    config, listing = config_of(folder, "--from", "blender", *GIVEN)
    values = one_map.read_map(listing.files[0], config).values
    assert not values[:, :5].any()
    np.testing.assert_array_equal(values[:, 5:], DEPTH[:, 5:])
    assert recognised(listing.files[0].path) == "blender"


def test_the_maps_of_pixel_perfect_depth_are_in_log_depth(tmp_path):
    folder = fill(tmp_path / "in", {"a.npy": npy(DEPTH)})
    if "log" in flags.FLAGS["space"].parser.enum_values:
        assert config_of(folder, "--from", "pixel-perfect-depth", *GIVEN)[0].space == "log"
        return
    with pytest.raises(UserError, match=r"--from=pixel-perfect-depth: .* affine in log depth"):
        config_of(folder, "--from", "pixel-perfect-depth", *GIVEN)


def test_every_producer_has_a_test():
    assert {*WRITTEN, "hypersim", "blender", "pixel-perfect-depth"} == PRODUCERS.keys()


@pytest.mark.parametrize("name", ["depth-anything-3", "video-depth-anything", "depthcrafter"])
def test_clips_of_producers_are_stacks(tmp_path, name):
    arrays = {"depth": CLIP, "conf": CLIP} if name == "depth-anything-3" else {}
    arrays = arrays or {PRODUCERS[name].keys[0]: CLIP}
    file = {"depth-anything-3": "results.npz"}.get(name, "a_depths.npz")
    config, listing = config_of(
        fill(tmp_path / "in", {file: npz(**arrays)}), "--from", name, *GIVEN
    )
    np.testing.assert_array_equal(
        np.stack([*read_frames(listing.files[0].path, config.reading)]), CLIP
    )


def test_flags_that_are_given_win_over_the_table(tmp_path):
    values = DEPTH.copy()
    values[0, 0] = 7e9
    folder = fill(tmp_path / "in", {"a.npz": npz(depth=DEPTH, other=values)})
    plain, _ = config_of(folder, "--from", "depth-pro", *GIVEN)
    assert (plain.space, plain.shift_known, plain.reading.key) == ("depth", True, None)
    config, listing = config_of(
        folder,
        "--from",
        "depth-pro",
        "--noshift_known",
        "--key",
        "other",
        "--invalid",
        "7e9",
        *GIVEN,
    )
    found = one_map.read_map(listing.files[0], config)
    assert not config.shift_known and found.metres is None and found.values[0, 0] == 0
    config, _ = config_of(folder, "--from", "depth-pro", "--shift_known=0.05", *GIVEN)
    assert (config.shift_known, config.shift_sigma) == (True, 0.05)
    assert config.metres_of(listing.files[0].path) == 1
    config, _ = config_of(folder, "--from", "depth-pro", "--space", "disparity", *GIVEN)
    assert (config.space, config.shift_known) == ("disparity", False)
    assert config.metres_of(listing.files[0].path) is None
    config, _ = config_of(folder, "--from", "blender", "--invalid", "0.5", *GIVEN)
    assert config.reading.invalid == (0.5,)
    config, _ = config_of(folder, "--from", "depth-anything-v2", "--noallow_8bit", *GIVEN)
    assert not config.reading.allow_8bit


@pytest.mark.parametrize("arguments", [(), ("--from", "comfyui")])
def test_without_a_space_of_either_flag_there_is_an_error(tmp_path, arguments):
    with pytest.raises(flags.IllegalFlagValueError, match="give --space, or --from"):
        config_of(tmp_path, *arguments, *GIVEN)


def test_a_known_unit_and_shift_make_depth_in_metres(tmp_path, solver):  # noqa: F811
    folder = fill(tmp_path / "in", {"a.png": png16(MILLIMETRES), "b.npy": npy(DEPTH)})
    arguments = ("--from", "zoedepth", "--method", "geometric", "--save", "npz")
    config, listing = config_of(folder, *arguments)
    assert recover_folder(config, [], listing).counts.recovered == 2
    for name, metres, values in (("a", 1 / 256, MILLIMETRES), ("b", 1.0, DEPTH)):
        answer = json.loads((folder / "out" / f"{name}.json").read_text())
        assert (answer["a"], answer["b"], answer["unit"]) == (metres, 0, "metres")
        with np.load(folder / "out" / f"{name}.npz") as held:
            np.testing.assert_allclose(held["depth"], metres * values, rtol=1e-6)
            assert str(held["unit"]) == "metres"
    config, listing = config_of(folder, *arguments, "--noshift_known")
    recover_folder(config, [], listing)
    answer = json.loads((folder / "out" / "a.json").read_text())
    assert answer["unit"] == "arbitrary" and answer["a"] != 1 / 256


def test_with_a_known_camera_too_nothing_is_left_but_the_cloud(tmp_path, solver):  # noqa: F811
    folder = fill(tmp_path / "in", {"a.npz": npz(depth=DEPTH)})
    config, listing = config_of(folder, "--from", "depth-pro", "--focal_px", "40", *GIVEN)
    recover_folder(config, [], listing)
    answer = json.loads((folder / "out" / "a.json").read_text())
    assert (answer["focal_px"], answer["a"], answer["b"]) == (40, 1, 0)


def error_of(folder, name, *arguments):
    config, listing = config_of(folder, *arguments, *GIVEN)
    (file,) = [file for file in listing.files if file.relative == name]
    with pytest.raises(DataError) as error:
        one_map.read_map(file, config)
    assert "\n" not in str(error.value)
    return one_map.reason(file, error.value)


def test_a_file_that_looks_like_a_producer_s_is_named_in_its_error(tmp_path):
    side_by_side = np.full((24, 90, 3), 255, np.uint8)
    side_by_side[:, :20] = np.random.default_rng(0).integers(0, 255, (24, 20, 3))
    side_by_side[:, 70:] = np.arange(20, dtype=np.uint8)[:, None]
    folder = fill(tmp_path / "in", {
        "results.npz": npz(depth=CLIP, conf=CLIP, extrinsics=CLIP, intrinsics=MATRIX),
        "pair.npz": npz(pts3d=np.ones((*SIZE, 3)), conf=DEPTH), "photo.png": png(side_by_side),
        "broken.npz": b"", "8bit.png": png(TWICE),
    })  # fmt: skip
    for name, producer in (
        ("results.npz", "Depth Anything 3's: try --from depth-anything-3"),
        ("pair.npz", "DUSt3R's: try --from dust3r"),
        ("photo.png", "Depth Anything V2's: try --from depth-anything-v2"),
    ):
        assert f"; this looks like {producer}" in error_of(folder, name, "--space", "depth")
    for name in ("broken.npz", "8bit.png"):
        assert "looks like" not in error_of(folder, name, "--space", "depth")


def test_a_clip_of_one_array_needs_no_producer(tmp_path):
    folder = fill(tmp_path / "in", {"a_depths.npz": npz(depths=CLIP)})
    config, listing = config_of(folder, "--space", "depth", *GIVEN)
    assert [file.frame for file in listing.files] == [0, 1]
    line = producer_notes.contradiction(listing, config)
    assert line is not None and "try --from video-depth-anything" in line


def test_pictures_of_depth_anything_are_refused_with_the_way_to_save_them(tmp_path):
    mapped = np.random.default_rng(0).integers(0, 256, (*SIZE, 3)).astype(np.uint8)
    grey_photo = np.full((24, 90), 255, np.uint8)
    grey_photo[:, :20] = grey_photo[:, 70:] = np.arange(20, dtype=np.uint8)
    folder = fill(tmp_path / "in", {"mapped.png": png(mapped), "photo.png": png(grey_photo)})
    for name, problem in (
        ("mapped.png", "is in colour"),
        ("photo.png", "a photo beside its depth"),
    ):
        reason = error_of(folder, name, "--from", "depth-anything-v2")
        assert problem in reason and "--pred-only --grayscale" in reason


def test_flags_that_contradict_what_a_file_looks_like_get_a_line(tmp_path, capsys):
    folder = fill(tmp_path / "in", {"a.npz": npz(depths=DEPTH)})
    line = (
        "a.npz: this looks like Video Depth Anything's: try --from video-depth-anything; its maps "
        "hold disparity, not depth\n"
    )
    config_of(folder, "--space", "depth", *GIVEN)
    assert capsys.readouterr().out == line
    config_of(folder, "--space", "disparity", *GIVEN)
    config_of(folder, "--from", "video-depth-anything", "--space", "depth", *GIVEN)
    assert capsys.readouterr().out == ""


def test_three_equal_channels_of_16_bits_are_read_from_any_producer(tmp_path):
    equal = png16_of(MILLIMETRES, MILLIMETRES, MILLIMETRES)
    config, listing = config_of(fill(tmp_path / "in", {"a.png": equal}), "--from", "kitti", *GIVEN)
    np.testing.assert_array_equal(one_map.read_map(listing.files[0], config).values, MILLIMETRES)
