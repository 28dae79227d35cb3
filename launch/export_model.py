"""Writes recovery as one file that runs with JAX alone, without this package.

    python -m launch.export_model --out model.stablehlo --space depth --size 480x640

The file is a program of `jax.export` for maps of one size, for CPUs and CUDA, with the weights
inside.  docs/export-model.md has the ten lines that load it.
"""

import re
from pathlib import Path
from typing import Any, cast

from absl import flags

from launch import program
from launch.recovery.config import NO_NETWORK
from train3d_jax.errors import UserError
from train3d_jax.inference.models import DEFAULT

_OUT = flags.DEFINE_string(
    "out", None, "File to write, in a folder that is there: model.stablehlo.", required=True
)
_SPACE = flags.DEFINE_enum(
    "space", None, ["depth", "disparity", "log"],
    "What the maps hold, up to scale and shift: depth (metric networks, sensors), disparity "
    "(MiDaS, DPT, Depth Anything) or log (Pixel-Perfect Depth; geometry alone).",
    required=True,
)  # fmt: skip
_SIZE = flags.DEFINE_string(
    "size", None, "Height x width of the maps in pixels: 480x640.", required=True
)
_MODEL = flags.DEFINE_list(
    "model", [DEFAULT], "Runs of launch.train that together cover shift and focal length; default: "
    "the weights of the package; --model= exports geometry alone.",
)  # fmt: skip
_BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", 1, "Maps that the program takes at once.", lower_bound=1
)


def _size() -> tuple[int, int]:
    """Height and width."""
    found = re.fullmatch(r"(\d{1,5})[xX](\d{1,5})", _SIZE.value.strip())
    if not found:
        raise UserError(f"--size={_SIZE.value}: give height x width in pixels, as 480x640")
    return int(found[1]), int(found[2])


def _runs() -> list[str]:
    """The networks; none in log space."""
    if _SPACE.value != "log":
        return _MODEL.value
    if not flags.FLAGS["model"].present:
        print(NO_NETWORK, flush=True)
    elif _MODEL.value:
        raise UserError("--space=log: no network covers it; leave out --model")
    return []


def _out() -> Path:
    """The file, which can be written."""
    out = Path(_OUT.value)
    if not out.parent.is_dir():
        raise UserError(f"--out={out}: there is no folder {out.parent}; make it first")
    if out.is_dir():
        raise UserError(f"--out={out}: is a folder; give the name of a file")
    return out


def main() -> None:
    """From flags to a file."""
    out, size, runs = _out(), _size(), _runs()
    # Imported here for start-up: flags are checked, and --help answered, without JAX.
    import jax

    from launch import compiled
    from train3d_jax.export.stablehlo import export_recovery
    from train3d_jax.files import write_whole
    from train3d_jax.inference.models import load_model

    jax.config.update("jax_platforms", "cpu")  # the file does not depend on this machine's devices
    compiled.start()
    space = cast(Any, _SPACE.value)  # the flag's type is str
    networks = [load_model(run, space) for run in runs]
    contents = export_recovery(
        networks, space, size, _BATCH_SIZE.value, lambda step: print(step, flush=True)
    )
    write_whole(out, contents)
    print(
        f"{out}: {len(contents) / 1e6:.1f} MB, takes maps of {size[0]} x {size[1]} pixels, "
        f"float32 {(_BATCH_SIZE.value, *size)}"
    )


if __name__ == "__main__":
    program.run(main)
