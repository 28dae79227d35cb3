"""Starts programs as new processes, forked from this one, which has imported what they import.

A program takes 2.5 s of CPU to import; a fork has it in milliseconds.  This process holds no state
that one program could leave to the next: JAX has no device yet, no flag of a program is defined, no
thread of Python runs.  It reads requests and writes answers, each a line of JSON; `programs` asks.
"""

import gc
import importlib
import json
import os
import pkgutil
import runpy
import sys
from typing import TextIO

import jax
import matplotlib.pyplot  # noqa: F401  # imported late, as are the others
import orbax.checkpoint  # noqa: F401
import scipy.optimize  # noqa: F401
import tensorboardX  # noqa: F401
import trimesh  # noqa: F401
from absl import flags

import data
import train3d_jax

LEFT_OUT = ("_programs", "__main__", "command")
"""Of the library: the programs once more; what runs when it is imported."""


def import_all() -> None:
    for package in (train3d_jax, data):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not any(name in module.name for name in LEFT_OUT):
                importlib.import_module(module.name)


def move(request: dict) -> None:
    """Goes to `folder`, and writes to the files `output` and `errors` from now on."""
    os.chdir(request["folder"])
    sys.path[0] = request["folder"]
    for number, path in enumerate((os.devnull, request["output"], request["errors"])):
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o666)
        os.dup2(file, number)
        os.close(file)


def become(request: dict) -> None:
    """Makes this process `python -m launch.PROGRAM` in another folder; the rest is the program's.

    Args:
      request: `program` (or lines of Python), `arguments`, see `move`, and `environment`, added to
        that of this process; None takes a variable away.
    """
    move(request)
    for name, text in request["environment"].items():
        if text is None:
            os.environ.pop(name, None)
            continue
        os.environ[name] = text
        if name.startswith("JAX_"):  # of the type that it has: a number of seconds, or text
            usual = jax.config.values[name.lower()]
            jax.config.update(name.lower(), text if usual is None else type(usual)(text))
    sys.argv = ["", *request["arguments"]]
    program = request["program"]
    if program.isidentifier():
        runpy.run_module(f"launch.{program}", run_name="__main__", alter_sys=True)
    else:
        exec(program, sys.modules["__main__"].__dict__)


def stay(requests: TextIO, answers: TextIO) -> None:
    """Runs commands of one program one after the other: tracing takes most of each."""
    while line := requests.readline():
        request = json.loads(line)
        move(request)
        from launch import program  # a fork imports it in its own folder

        started = importlib.import_module(f"launch.{request['program']}")
        flags.FLAGS.unparse_flags()
        sys.argv = [started.__file__, *request["arguments"]]
        try:
            program.run(started.main)
        except SystemExit as ended:
            sys.stdout.flush()
            answers.write(f"{ended.code or 0}\n")


def fork(requests: TextIO, answers: TextIO) -> None:
    """Starts programs and waits for them."""
    import_all()
    gc.collect()
    gc.freeze()  # a fork would take 0.8 s to collect what is imported when it ends
    while line := requests.readline():
        request = json.loads(line)
        if "program" in request:
            number = os.fork()
            if not number:
                requests.close()
                answers.close()
                become(request)
                return
            answers.write(f"{number}\n")
        else:
            options = 0 if request["wait"] else os.WNOHANG
            ended, status = os.waitpid(request["number"], options)
            answers.write(f"{os.waitstatus_to_exitcode(status) if ended else 'null'}\n")


if __name__ == "__main__":
    # Standard input and output are those of the programs.
    serve = {"fork": fork, "stay": stay}[sys.argv[1]]
    serve(os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w", buffering=1))
