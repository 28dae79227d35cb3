import os

import jax
import pytest
from programs import ROOT, run

from train3d_jax import chunking

PROGRAM = """
import jax
from launch import compiled
from train3d_jax import compilation
compilation.LEAST_SECONDS = 0
compiled.keep()
jax.jit(lambda x: x @ x)(jax.numpy.ones((8, 8)))
print(jax.config.jax_compilation_cache_dir)
"""


def start(caches, program=PROGRAM, output="", **environment):
    """Runs the program with its own cache folder; what it printed.

    Fails unless it says `output` on standard error, in one line, or nothing.
    """
    unset = ("JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS")
    environment = dict.fromkeys(unset) | {"XDG_CACHE_HOME": str(caches)} | environment
    done = run(ROOT, program, **environment)
    assert output in done.stderr and len(done.stderr.splitlines()) == bool(output)
    return done.stdout.strip()


def test_what_was_compiled_is_kept_and_loaded_again(tmp_path):
    folder = start(tmp_path)
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*-cache")}
    assert kept and str(tmp_path) in folder
    assert start(tmp_path) == folder
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*-cache")} == kept


def test_the_library_keeps_programs_where_the_programs_do(tmp_path):
    library = PROGRAM.replace("compiled.keep()", "compilation.keep_programs()")
    assert start(tmp_path, library) == start(tmp_path)


def test_the_environment_can_say_that_nothing_is_kept(tmp_path):
    assert start(tmp_path, TRAIN3D_JAX_CACHE="0") == "None"
    assert not list(tmp_path.iterdir())


def test_settings_of_the_user_s_own_code_are_left_alone(tmp_path):
    own = """
import jax
from train3d_jax import compilation
jax.config.update("jax_persistent_cache_min_compile_time_secs", 7.0)
compilation.keep_programs()
print(jax.config.jax_persistent_cache_min_compile_time_secs)
jax.config.update("jax_compilation_cache_dir", "mine")
compilation.keep_programs()
print(jax.config.jax_compilation_cache_dir)
"""
    assert start(tmp_path, own).split() == ["7.0", "mine"]


def test_a_folder_that_jax_is_set_to_is_used(tmp_path):
    output = str(tmp_path / "output")
    assert start(tmp_path / "caches", JAX_COMPILATION_CACHE_DIR=output) == output
    assert not (tmp_path / "caches").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_without_a_place_to_write_to_nothing_is_kept_and_nothing_said(tmp_path):
    tmp_path.chmod(0o500)
    assert start(tmp_path / "caches") == "None"


def test_a_file_in_place_of_the_folder_is_no_reason_to_stop(tmp_path):
    (tmp_path / "caches").touch()
    assert start(tmp_path / "caches") == "None"


def test_a_user_without_a_home_compiles_each_time(tmp_path):
    nobody = """
import os, pwd
def getpwuid(number): raise KeyError(f"getpwuid(): uid not found: {number}")
pwd.getpwuid = getpwuid
for name in ("HOME", "XDG_CACHE_HOME"): os.environ.pop(name, None)
"""
    assert start(tmp_path, nobody + PROGRAM) == "None"


def test_a_folder_of_the_user_s_that_cannot_be_written_is_reported_once(tmp_path):
    (tmp_path / "file").touch()
    chosen = str(tmp_path / "file" / "cache")
    output = f"JAX_COMPILATION_CACHE_DIR={chosen}: cannot be written"
    start(tmp_path, output=output, JAX_COMPILATION_CACHE_DIR=chosen)


def test_a_full_disk_is_reported_once_where_the_user_chose_it_and_never_else(tmp_path):
    full = PROGRAM.replace("LEAST_SECONDS = 0", "LEAST_BYTES = 1 << 62")
    start(tmp_path, full, "its disk is full", JAX_COMPILATION_CACHE_DIR=str(tmp_path / "chosen"))
    assert start(tmp_path, full) == "None"


@pytest.mark.parametrize("left", [0.0, 0.5])
def test_half_a_program_in_the_cache_is_compiled_again_and_replaced(tmp_path, left):
    start(tmp_path)
    sizes = {path: path.stat().st_size for path in tmp_path.rglob("*-cache")}
    for path, size in sizes.items():
        path.write_bytes(path.read_bytes()[: int(left * size)])
    start(tmp_path)
    again = {path: path.read_bytes() for path in tmp_path.rglob("*-cache")}
    assert again.keys() == sizes.keys()
    assert all(len(body) > 0.9 * sizes[path] for path, body in again.items())


def test_other_warnings_are_shown_as_ever(tmp_path):
    warn = "import warnings; warnings.warn_explicit('x', UserWarning, 'f', 1)"
    start(tmp_path, PROGRAM + warn, "f:1: UserWarning: x")


@pytest.mark.parametrize("level", [chunking.QUICK, chunking.SIMPLE, chunking.FULL])
def test_the_compiler_knows_its_options(monkeypatch, level):
    monkeypatch.delenv("XLA_FLAGS", raising=False)  # what it names is left out
    options = chunking.compiler_options(level)
    assert "xla_gpu_experimental_enable_fusion_autotuner" in options
    assert jax.jit(lambda x: x + 1, compiler_options=options)(1) == 2
    monkeypatch.setattr(chunking.jaxlib_version, "__version__", "0.11.2")  # it has no such option
    assert "xla_cpu_use_fusion_emitters" not in chunking.compiler_options(level)
