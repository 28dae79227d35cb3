"""What programs and the library import before they need it: start-up takes what imports take.

Each list is of modules that are not there once a new process has imported what is named.
"""

import json
import os
import subprocess
import sys

import pytest
from programs import PROGRAMS, ROOT

COMPUTING = ("jax", "jaxlib", "flax", "optax", "orbax", "grain", "scipy")
DRAWING = ("matplotlib", "PIL", "trimesh", "viser", "open3d", "tensorboardX")
READING = (
    "imagecodecs", "tifffile", "OpenImageIO", "h5py", "pillow_heif", "array_record", "distributed",
)  # fmt: skip

RECOVERY = "import launch.compiled, launch.recovery.folder, launch.recovery.notes; "
LOADED = "from train3d_jax.inference.models import load_model; load_model().digest"


def imported(statements):
    """The packages that a new process has imported after these statements."""
    shown = "import json, sys; print(json.dumps([*sys.modules]))"
    ended = subprocess.run(
        [sys.executable, "-c", f"{statements}\n{shown}"],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return {name.partition(".")[0] for name in json.loads(ended.stdout)}


@pytest.mark.parametrize("program", [*PROGRAMS, "demo.__main__"])
def test_flags_are_defined_without_what_computes_draws_and_reads(program):
    there = imported(f"import launch.{program}")
    assert "absl" in there
    assert not there & {*COMPUTING, *DRAWING, *READING}


@pytest.mark.parametrize(
    "statements",
    ["import launch.prepare; from data.prepare import preparation", "import train3d_jax.errors"],
)
def test_what_needs_no_jax_imports_none(statements):
    assert not imported(statements) & {*COMPUTING, *DRAWING, *READING}


@pytest.mark.parametrize("statements", [RECOVERY + LOADED, f"import train3d_jax.api; {LOADED}"])
def test_maps_are_recovered_with_shipped_weights_without_what_trains_and_draws(statements):
    there = imported(statements)
    assert "jax" in there
    assert not there & {"optax", "orbax", "grain", "scipy", *DRAWING, *READING}


def test_shipped_weights_are_read_without_flax():
    assert not imported(LOADED) & {"flax", "optax", "orbax", "grain", "scipy", *DRAWING, *READING}
