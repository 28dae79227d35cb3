"""The file of launch.export_model, run where this package is not: by JAX and numpy alone."""

import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from box_rooms import box_room
from jax import export
from programs import run
from recoveries import noisy_room

from train3d_jax import load_model
from train3d_jax.export import stablehlo

SIZE = (96, 128)

LOADER = """
import sys
import jax
import numpy as np
from jax import export

with open("model.stablehlo", "rb") as file:
    program = export.deserialize(bytearray(file.read()))
found = jax.jit(program.call)(np.load("maps.npy"))
flags = found.pop("flags")
np.savez("found.npz", **found, **flags)
assert not [name for name in sys.modules if name.startswith(("train3d_jax", "flax", "launch"))]
"""


def holed(values):
    values = values.copy()
    values[30:50, 60:90], values[0, :5] = 0, np.nan
    return values


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The file for one map in depth space, and what launch.export_model printed."""
    folder = tmp_path_factory.mktemp("exported")
    ended = run(folder, "export_model", "--out", "model.stablehlo", "--space", "depth",
                "--size", "96x128")  # fmt: skip
    return folder / "model.stablehlo", ended.stdout.splitlines()


def test_a_process_that_has_jax_alone_gets_the_answer_of_recover(exported):
    path, _ = exported
    values = holed(noisy_room(0))
    np.save(path.with_name("maps.npy"), values[None])
    done = subprocess.run(
        [sys.executable, "-I", "-c", LOADER], cwd=path.parent, capture_output=True, text=True,
        env={name: text for name, text in os.environ.items() if name != "PYTHONPATH"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = np.load(path.with_name("found.npz"))
    expected = load_model().recover(values)
    for name in ("focal_px", "focal_interval_px", "shift", "shift_interval", "a", "b", "solvable"):
        # Compiled twice, so sums over bins and windows have other orders: their last digits.
        np.testing.assert_allclose(
            found[name][0], getattr(expected, name), rtol=1e-4, atol=1e-4, err_msg=name
        )
    np.testing.assert_allclose(found["depth"][0], expected.depth, rtol=1e-3)
    np.testing.assert_array_equal(found["depth"][0] > 0, expected.mask)
    raised = tuple(name for name in stablehlo.FLAGS if found[name][0])
    assert raised == tuple(name for name in expected.flags if name in stablehlo.FLAGS)


def test_the_file_is_for_both_platforms_and_calls_no_library(exported):
    path, told = exported
    program = export.deserialize(bytearray(path.read_bytes()))
    assert program.platforms == ("cpu", "cuda")
    assert [(each.shape, each.dtype) for each in program.in_avals] == [((1, *SIZE), np.float32)]
    assert "custom_call" not in program.mlir_module()  # LAPACK, cuSOLVER and others
    assert told[:2] == ["tracing", "lowering for cpu, cuda"]
    size = f"{path.stat().st_size / 1e6:.1f} MB"
    assert len(told) == 3 and told[2].startswith(f"model.stablehlo: {size}, takes maps of 96 x 128")
    assert [each.name for each in path.parent.glob("*.stablehlo*")] == ["model.stablehlo"]


@pytest.mark.parametrize("space", ["disparity", "log"])
def test_geometry_alone_is_exported_in_every_space_for_several_maps(space):
    """One of them without an answer, which changes nothing for the other."""
    depth, _ = box_room(1, SIZE)
    values = holed(np.float32(1 / depth if space == "disparity" else np.log(depth) + 2))
    contents = stablehlo.export_recovery([], space, SIZE, batch=2)
    call = jax.jit(export.deserialize(bytearray(contents)).call)
    found = jax.device_get(call(np.stack([np.zeros(SIZE, np.float32), values])))
    assert set(found) == set(stablehlo.OUTPUTS) and set(found["flags"]) == set(stablehlo.FLAGS)
    assert found["solvable"].tolist() == [False, True]
    assert np.isnan(found["focal_px"][0]) and not found["depth"][0].any()
    assert not found["flags"]["focal_uncertain"][0]
    expected = load_model(None, space=space).recover(values)
    for name in ("focal_px", "focal_interval_px", "shift", "a", "b"):
        np.testing.assert_allclose(found[name][1], getattr(expected, name), rtol=1e-3, err_msg=name)
    np.testing.assert_allclose(found["depth"][1], expected.depth, rtol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--size", "480"], "--size=480: give height x width in pixels, as 480x640"),
        (["--size", "640*480"], "--size=640*480: give height x width"),
        (["--size", "16x640"], "--size: 16 x 640 pixels are too few; give 32 or more"),
        (["--out", "no/model"], "--out=no/model: there is no folder no; make it first"),
        (["--out", "."], "--out=.: is a folder"),
        (["--space", "log", "--model", "default"], "--space=log: no network covers it"),
        (["--model", "nowhere"], "nowhere: is not a run"),
        (["--batch_size", "0"], "--batch_size=0"),
    ],
)
def test_what_cannot_be_exported_is_one_line_and_no_file(tmp_path, arguments, told):
    flags = ["--out", "model", "--space", "depth", "--size", "480x640", *arguments]
    ended = run(tmp_path, "export_model", *flags, status=2)
    assert len(ended.stderr.splitlines()) == 1 and told in ended.stderr
    assert ended.stderr.startswith("launch.export_model: ") and not list(tmp_path.iterdir())


def test_a_size_is_needed(tmp_path):
    ended = run(tmp_path, "export_model", "--out", "model", "--space", "depth", status=2)
    assert "--size must have a value" in ended.stderr and ended.stdout == ""
