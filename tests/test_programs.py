"""The programs as users start them: new processes, from another folder."""

import json
import re
import shutil

import jax
import numpy as np
import pytest
from box_rooms import box_room
from programs import PROGRAMS, ROOT, run, run_python
from raw_files import png16, put

from launch import program
from train3d_jax.storage import checkpoint, weights

FLAGS = {
    "prepare": [
        *("scannet", "kenburns", "taskonomy", "num_samples", "out", "seed", "num_workers"),
        *("maps", "nerfstudio", "tum", "tum_camera", "record3d"),
    ],
    "train": ["data", "model_name", "targets", "input_channels", "learning_rate_decay", "logs"],
    "infer": [
        *("input", "out", "model", "space", "method", "batch_size", "key", "channel", "invalid"),
        *("allow_8bit", "ray_depth", "camera", "focal_px", "fov_deg", "intrinsics", "shift_known"),
        *("shared_camera", "save", "rgb", "edge_filter", "resume", "from", "clip", "affine"),
        *("normals", "simplify"),
    ],
    "evaluate": [
        *("data", "model", "out", "space", "crop", "crops", "seed", "max_maps", "batch_size"),
        *("noise", "worst"),
    ],
    "view": [
        *("input", "data", "space", "model", "rgb", "out", "host", "port", "key", "channel"),
        *("invalid", "allow_8bit", "negate", "save", "edge_filter", "camera", "focal_px"),
        *("fov_deg", "intrinsics", "from", "shift_known", "ray_depth", "clip", "affine"),
        *("normals", "simplify"),
    ],
    "export_model": ["out", "space", "size", "model", "batch_size"],
    "weights": ["out", "epochs", "share", "init_from"],
}


_RUN = ["--model", "m", "--space", "depth"]
_MESH = ["--input", "d", "--out", "o", *_RUN, "--save", "mesh", "--simplify"]


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_shows_what_the_program_is_for_and_its_flags(tmp_path, program):
    shown = run_python(tmp_path, program, "--help").stdout
    assert f"python -m launch.{program}" in shown
    for flag in FLAGS.get(program, []):
        assert f"--{flag}" in shown or f"--[no]{flag}" in shown


@pytest.mark.parametrize(
    ("program", "arguments", "message"),
    [
        ("prepare", ["--out", "new", "-ns", "1,0,0", "-ss", "nowhere"], "nowhere"),
        ("train", ["--data", "d", "--model_name", "m", "--targets", "0,5"], "--targets"),
        ("train", ["--data", "nowhere", "--model_name", "m"], "nowhere"),
        ("weights", ["--init_from", "nowhere"], "nowhere: is not a run"),
        ("weights", ["--init_from", "default", "--space", "form"], "--init_from is for depth"),
        ("infer", ["--input", "d", "--out", "o", "--space", "depth", "--model="], "--model"),
        ("infer", ["--input", "d", "--out", "o", "--space", "disparity"], "d: is not there"),
        ("view", ["--input", "d", "--space", "depth"], "d: is not there"),
        ("view", ["--space", "depth"], "--input"),
        ("view", ["--data", "d", "--rgb", "r", "--space", "depth"], "--rgb"),
        ("infer", ["--input", "d", "--out", "o", "--model", "m"], "--space"),
        ("infer", ["--input", "d", "--out", "o", *_RUN, "--save", "ply,stl"], "--save"),
        ("infer", [*_MESH, "0"], "--simplify"),
        ("infer", [*_MESH, "-5"], "--simplify"),
        ("infer", [*_MESH, "many"], "--simplify"),
        ("infer", [*_MESH, "9", "--save=glb"], "--simplify=9: there is no mesh to simplify; add"),
        ("infer", [*_MESH, "9", "--save=glb,mesh", "--normals"], "--normals: adds normals to PLY;"),
        ("view", ["--input", "d", "--space", "depth", "--simplify", "9"], "--simplify=9: there is"),
        (
            "infer",
            ["--input", "d", "--out", "o", *_RUN, "--focal_px", "5", "--fov_deg", "60"],
            "--focal_px",
        ),
        (
            "infer",
            ["--input", "d", "--out", "o", *_RUN, "--camera", "map", "--ray_depth"],
            "--ray_depth",
        ),
        ("view", ["--data", "d", "--fov_deg", "60", "--space", "depth"], "--fov_deg"),
        ("infer", ["--input", "d", "--out", "o", *_RUN, "--method", "hybrid"], "was removed"),
        ("infer", ["--input", "nowhere", "--out", "o", *_RUN], "nowhere"),
        ("infer", ["--input", str(ROOT / "docs"), "--out", "o", *_RUN, "--rgb", "r"], "--rgb=r: "),
        ("view", ["--input", str(ROOT / "docs"), "--space", "depth", "--rgb", "r"], "--rgb=r: "),
        ("infer", ["--input", "d", "--out", "o", "--space", "depth", "--model", "m", "x"], "x"),
        ("evaluate", ["--data", "nowhere", "--out", "o"], "nowhere"),
    ],
)
def test_a_mistake_is_reported_in_one_line_and_nothing_is_written(
    tmp_path, program, arguments, message
):
    ended = run(tmp_path, program, *arguments, status=2)
    assert len(ended.stderr.splitlines()) == 1
    assert ended.stderr.startswith(f"launch.{program}: ") and message in ended.stderr
    assert ended.stdout == "" and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("module", ["data.py", "data/__init__.py"])
def test_a_module_of_the_user_that_hides_ours_is_reported_in_one_line(tmp_path, module):
    (tmp_path / module).parent.mkdir(exist_ok=True)
    (tmp_path / module).write_text("raise RuntimeError('run by mistake')")
    message = run_python(tmp_path, "infer", "--help", status=2).stderr
    assert len(message.splitlines()) == 1 and "-P" in message
    assert f"{module.split('/')[0]} in {tmp_path} hides" in message
    run_python(tmp_path, "infer", "--help", PYTHONSAFEPATH="1")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    path = f"{tmp_path}:{ROOT}"
    message = run_python(elsewhere, "infer", "--help", status=2, PYTHONPATH=path).stderr
    assert len(message.splitlines()) == 1 and "PYTHONPATH" in message


def test_a_folder_of_data_hides_nothing(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "notes.py").touch()
    run_python(tmp_path, "infer", "--help")


@pytest.mark.parametrize("program", ["infer", "evaluate", "view"])
@pytest.mark.parametrize("platform", ["nonsense", "tpu"])
def test_a_platform_that_jax_cannot_use_is_reported_before_any_work(tmp_path, program, platform):
    np.save(tmp_path / "map.npy", box_room(0)[0])
    flags = {
        "infer": ["--input", "map.npy", "--out", "o", "--space", "depth", "--method", "geometric"],
        "evaluate": ["--data", "d", "--out", "o", "--model="],
        "view": ["--input", "map.npy", "--space", "depth", "--model="],
    }
    ended = run(tmp_path, program, *flags[program], status=2, JAX_PLATFORMS=platform)
    assert len(ended.stderr.splitlines()) == 1 and ended.stdout == ""
    assert f"JAX_PLATFORMS={platform}: " in ended.stderr and "JAX_PLATFORMS=cpu" in ended.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["map.npy"]


def test_a_platform_without_its_plugin_is_reported_too(monkeypatch, capsys):
    def devices():
        raise AssertionError  # as JAX does for cuda

    monkeypatch.setattr(jax, "devices", devices)
    for platform, message in (("cuda", "JAX_PLATFORMS=cuda: "), ("", "JAX finds no device")):
        monkeypatch.setenv("JAX_PLATFORMS", platform)
        with pytest.raises(SystemExit) as ended, program.one_line_for_mistakes():
            raise AssertionError
        assert ended.value.code == 2 and message in capsys.readouterr().err


def test_a_defect_of_ours_keeps_its_traceback():
    with pytest.raises(AssertionError, match="ours"), program.one_line_for_mistakes():
        raise AssertionError("ours")


def test_what_prepare_makes_is_what_the_contract_says(folder):
    prepared = folder / "prepared"
    counts = json.loads((prepared / "dataset.json").read_text())["counts"]
    assert counts == {"scannet": 15, "kenburns": 4, "taskonomy": 9}
    assert len(list((prepared / "depths").iterdir())) == 28
    assert len(np.load(prepared / "focals.npy")) == len(np.load(prepared / "scales.npy")) == 28
    rows = [json.loads(line) for line in (prepared / "manifest.jsonl").read_text().splitlines()]
    first = rows[0]
    seed = 10 * int(first["scene"][8]) + first["frame"]
    depth = np.load(prepared / "depths" / f"{first['id']}.npz")["arr_0"]
    np.testing.assert_allclose(depth, box_room(seed, fov_degrees=50 + seed // 10)[0], atol=1e-3)


@pytest.fixture(scope="module")
def made(folder, tmp_path_factory):
    """Where the recipe of the weights was run, with which flags, and what it told.

    A thousandth of the rooms: that it works, not how well.  Two of four sets are finished.
    """
    where = tmp_path_factory.mktemp("recipe")
    for seed in (78, 87):
        shutil.copytree(folder / "prepared", where / "made" / f"rooms{seed}" / "prepared")
    arguments = ["--out", "made", "--space", "disparity", "--share", "0.001", "--epochs", "1"]
    return where, arguments, run(where, "weights", *arguments)


def test_the_recipe_of_the_weights_makes_weights_and_begun_again_nothing_anew(made):
    where, arguments, message = made
    packed = where / "made" / "disparity"
    assert "packed" in message.stdout
    before = (packed / "weights.npz").read_bytes()
    finished = {path: path.stat().st_mtime_ns for path in where.rglob("dataset.json")}
    assert len(finished) == 4
    run(where, "weights", *arguments)
    assert (packed / "weights.npz").read_bytes() == before
    assert all(path.stat().st_mtime_ns == when for path, when in finished.items())
    np.save(where / "map.npy", 1 / box_room(0)[0])
    run(
        where, "infer", "--input", "map.npy", "--out", "found", "--space", "disparity",
        "--model", packed, "--save=",
    )  # fmt: skip
    assert json.loads((where / "found" / "map.json").read_text())["error"] is None


def test_the_weights_of_the_package_are_trained_on_with_own_maps(made, tmp_path):
    """With the flags of the recipe, and as many steps: its compiled step."""
    where, _, message = made
    (steps,) = re.findall(r"to validate, (\d+) steps", message.stdout)
    rows = []
    for number in range(40 * int(steps)):  # of which 9 in 10 are for batches of 32
        depth, intrinsics = box_room(number, (24, 32))
        put(tmp_path / "own" / f"{number}.png", png16(np.uint16(1000 * depth)))
        row = {"depth": f"{number}.png", "metres_per_unit": 0.001, "scene": f"room {number // 4}"}
        fx, fy, cx, cy = intrinsics[[0, 1, 0, 1], [0, 1, 2, 2]].tolist()
        rows.append({**row, "fx": fx, "fy": fy, "cx": cx, "cy": cy})
    put(tmp_path / "own" / "manifest.json", rows)
    own = ["--maps", "own", "-ns", len(rows), "--num_workers", 0]
    run(tmp_path, "prepare", *own, "--out", "prepared")
    flags = ["--flagfile", where / "made/runs/disparity/run.flags", "--workdir", "runs"]
    flags += ["--data", "prepared", "--mix=", "--model_name", "fine", "--init_from", "default"]
    ended = run(tmp_path, "train", *flags, "--train_split", 0.9)
    assert f"{steps} steps" in ended.stdout
    fine = checkpoint.load_params(tmp_path / "runs" / "fine")[2]
    shipped = weights.load(weights.bundled("disparity"))[2]
    moved = jax.tree.map(lambda one, other: np.abs(one - other).max(), fine, shipped)
    assert 0 < max(jax.tree.leaves(moved)) < 0.01  # not those that a new run begins with
