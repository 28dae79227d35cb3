import os
import subprocess
import sys

import pytest

PROGRAM = """
import jax
from launch import compiled
compiled.LEAST_SECONDS = 0
compiled.keep()
jax.jit(lambda x: x @ x)(jax.numpy.ones((8, 8)))
print(jax.config.jax_compilation_cache_dir)
"""


def start(caches, **environment):
    """Runs the program with its own cache folder; what it printed."""
    inherited = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    environment = inherited | {"XDG_CACHE_HOME": str(caches)} | environment
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True
    )
    assert not done.stderr
    return done.stdout.strip()


def test_what_was_compiled_is_kept_and_found_again(tmp_path):
    folder = start(tmp_path)
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*-cache")}
    assert kept and str(tmp_path) in folder
    assert start(tmp_path) == folder
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*-cache")} == kept


def test_a_place_that_jax_was_told_of_is_used(tmp_path):
    told = str(tmp_path / "told")
    assert start(tmp_path / "caches", JAX_COMPILATION_CACHE_DIR=told) == told
    assert not (tmp_path / "caches").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_without_a_place_to_write_to_nothing_is_kept_and_nothing_said(tmp_path):
    tmp_path.chmod(0o500)
    assert start(tmp_path / "caches") == "None"


def test_a_file_in_place_of_the_folder_is_no_reason_to_stop(tmp_path):
    (tmp_path / "caches").touch()
    assert start(tmp_path / "caches") == "None"
