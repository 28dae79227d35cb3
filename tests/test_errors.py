import ast
import dataclasses
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from tiny import CONFIG

import train3d_jax
from launch import program
from train3d_jax.errors import Argument, ArgumentError, DataError, UserError
from train3d_jax.inference.models import check_models
from train3d_jax.storage import run_config

WRONG_SPACE = ArgumentError(Argument("space", "depth"), ": give ", Argument("model"), " another")


def test_arguments_are_spelled_as_python_does_and_by_launchers_as_flags():
    assert str(WRONG_SPACE) == "space='depth': give model another"
    assert program.message(WRONG_SPACE) == "--space=depth: give --model another"
    assert program.message(ArgumentError(Argument("targets", (0, 2)))) == "--targets=0,2"
    assert program.message(UserError("a.npy: is broken")) == "a.npy: is broken"


def test_a_launcher_prints_flags(capsys):
    with pytest.raises(SystemExit) as ended, program.one_line_for_mistakes():
        check_models([], "depth", focal_known=False)
    assert ended.value.code == program.EXIT_WRONG_USE
    assert "--method=learned: needs a --model; without" in capsys.readouterr().err


def test_an_argument_keeps_its_name_on_the_way_from_another_process():
    again = pickle.loads(pickle.dumps(WRONG_SPACE))
    assert program.message(again) == program.message(WRONG_SPACE)


def test_a_message_is_one_short_line_whatever_the_value():
    message = str(ArgumentError(Argument("focal_px", np.full((50, 50), -1.0)), ": is wrong"))
    assert len(message) < 100 and "\n" not in message and message.startswith("focal_px=[[-1.")


def test_the_name_of_a_run_is_a_flag_of_another_name(tmp_path):
    run_config.save_config(tmp_path, CONFIG, {"data": 1})
    with pytest.raises(UserError, match="use another run, or") as error:
        run_config.refuse_other_settings(tmp_path, dataclasses.replace(CONFIG, seed=2))
    assert "use another --model_name, or" in program.message(error.value)


def test_the_library_knows_no_flags():
    flags = []
    for path in Path(train3d_jax.__file__).parent.rglob("*.py"):
        if path.name == "command.py":  # is a command line
            continue
        tree = ast.parse(path.read_text())
        documentation = {
            id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)
        }  # docstrings, of modules and constants too
        flags += [
            (path.name, node.lineno)
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in documentation
            and re.search(r"(^|\W)--[a-z]", node.value)
        ]
    assert not flags


def test_a_file_that_needs_an_argument_names_it_as_python_does_and_launchers_name_the_flag():
    error = pickle.loads(pickle.dumps(DataError("a.npz", "name one (", Argument("key"), ")\n.")))
    assert (error.file, error.reason) == ("a.npz", "name one (key) .")
    assert str(error) == "a.npz: name one (key) ."
    assert program.message(error) == "a.npz: name one (--key) ."
