"""`train3d`: the programs under one name, from any folder.

The programs are the packages `launch` and `data`.  In the repository they lie beside this package;
a wheel has them in `train3d_jax/_programs`, so that it installs no package of these names and hides
none.  Only the process of a program looks for them there.
"""

import importlib
import os
import pickle
import runpy
import sys
from pathlib import Path
from typing import Any

from train3d_jax import __version__

PROGRAMS = {
    "prepare": "raw depth datasets to a prepared set",
    "train": "prepared sets to a network",
    "infer": "depth maps to cameras, straight depth and point clouds",
    "evaluate": "maps with a known truth to errors of networks and baselines",
    "export_model": "recovery to one file that runs with JAX alone",
    "view": "depth maps in the browser, to drag shift and field of view",
    "demo": "all of this on rendered rooms, without a download",
}
"""Each with what it makes of what."""

_WRONG_USE = 2

_HELP = "\n".join(
    [
        "Recovers focal length and depth shift of depth maps.",
        "",
        "    train3d PROGRAM [flags]",
        "    train3d PROGRAM --help",
        "",
        *(f"{name:14}{summary}" for name, summary in PROGRAMS.items()),
        "",
    ]
)

_running = False


def main() -> None:
    """Runs the program that the command line names, as `python -m launch.PROGRAM` would."""
    global _running
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name in ("--help", "-h", "help"):
        print(_HELP, end="")
        return
    if name == "--version":
        print(f"train3d-jax {__version__}")
        return
    if name not in PROGRAMS:
        wrong = f"there is no program {name!r}; give" if name else "which program? Give"
        print(f"train3d: {wrong} one of {', '.join(PROGRAMS)}, or --help", file=sys.stderr)
        sys.exit(_WRONG_USE)
    _running = True
    make_importable()
    # Worker processes would find modules in the current folder before those of Python.
    os.environ["PYTHONSAFEPATH"] = "1"
    del sys.argv[1]
    runpy.run_module(f"launch.{name}", run_name="__main__", alter_sys=True)


def is_running() -> bool:
    """Whether this process was started as `train3d`, and not as `python -m launch.PROGRAM`."""
    return _running


def make_importable() -> None:
    """Has this process find our packages `data` and `launch` before any others of these names."""
    here = Path(__file__).resolve().parent
    folder = here / "_programs"
    place = str(folder if folder.is_dir() else here.parent)
    if sys.path[0] != place:
        sys.path.insert(0, place)
        importlib.invalidate_caches()


def call(pickled: bytes) -> Any:
    """Calls a function of the programs in a process that may not know them.

    Workers of a cluster import this module, which is installed there, and with it the programs.

    Args:
      pickled: the function, its positional arguments, and a dictionary of the others.

    Returns:
      What the function returns.
    """
    make_importable()
    function, args, kwargs = pickle.loads(pickled)
    return function(*args, **kwargs)
