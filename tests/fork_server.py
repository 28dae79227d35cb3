"""Starts programs as new processes, forked from this one, which has imported what they import.

A program takes 2.5 s of CPU to import; a fork has it in milliseconds.  This process holds no state
that one program could leave to the next: JAX has no device yet, no flag is defined, no thread of
Python runs.  It reads requests and writes answers, each a line of JSON; `programs` asks.
"""

import gc
import importlib
import json
import os
import pkgutil
import runpy
import sys

import jax
import matplotlib.pyplot  # noqa: F401  # imported late, as are the others
import orbax.checkpoint  # noqa: F401
import scipy.optimize  # noqa: F401
import tensorboardX  # noqa: F401
import trimesh  # noqa: F401

import data
import train3d_jax

LEFT_OUT = ("_programs", "__main__", "command")
"""Of the library: the programs once more; what runs when it is imported."""


def import_all() -> None:
    for package in (train3d_jax, data):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not any(name in module.name for name in LEFT_OUT):
                importlib.import_module(module.name)


def become(request: dict) -> None:
    """Makes this process `python -m launch.PROGRAM` in another folder; the rest is the program's.

    Args:
      request: `program`, `arguments`, `folder`, `output` and `errors` (files to write to) and
        `environment`, added to that of this process.
    """
    os.chdir(request["folder"])
    for number, path in enumerate((os.devnull, request["output"], request["errors"])):
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o666)
        os.dup2(file, number)
        os.close(file)
    for name, value in request["environment"].items():
        os.environ[name] = value
        if name.startswith("JAX_"):  # read when jax was imported
            jax.config.update(name.lower(), value)
    sys.path[0] = os.getcwd()
    sys.argv = ["", *request["arguments"]]
    runpy.run_module(f"launch.{request['program']}", run_name="__main__", alter_sys=True)


def main() -> None:
    import_all()
    gc.collect()
    gc.freeze()  # a fork would take 0.8 s to collect what is imported when it ends
    # Its standard output is that of its programs; answers have a file of their own.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    while line := sys.stdin.readline():
        request = json.loads(line)
        if "program" in request:
            number = os.fork()
            if not number:
                answers.close()
                become(request)
                return
            answers.write(f"{number}\n")
        else:
            options = 0 if request["wait"] else os.WNOHANG
            ended, status = os.waitpid(request["number"], options)
            answers.write(f"{os.waitstatus_to_exitcode(status) if ended else 'null'}\n")


if __name__ == "__main__":
    main()
