"""The installed command: a wheel, unpacked, among packages and files that have the same names."""

import json
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest
from raw_files import put, put_sens
from test_cluster import Cluster

from launch import program
from train3d_jax import __version__, command
from train3d_jax.errors import UserError

ROOT = Path(__file__).parents[1]
SCRIPT = "import sys; from train3d_jax.command import main; sys.exit(main())"  # as pip writes it


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """What is on PYTHONPATH: first packages of others called data and launch, then the wheel."""
    others, site = tmp_path_factory.mktemp("others"), tmp_path_factory.mktemp("site")
    for name in ("data", "launch"):
        put(others / name / "__init__.py", b"raise RuntimeError('not ours')")
    zipfile.ZipFile(wheel).extractall(site)
    put(site / "train3d", SCRIPT.encode())
    return os.pathsep.join(map(str, (others, site)))


@pytest.fixture
def odd(tmp_path):
    """A folder of files that are called as modules are."""
    for name in ("data", "launch", "train3d_jax", "numpy", "random", "pickle", "socket"):
        put(tmp_path / f"{name}.py", b"raise RuntimeError('run by mistake')")
    return tmp_path


def run(folder, installed, *arguments, status=0):
    script = os.path.join(installed.split(os.pathsep)[1], "train3d")
    done = subprocess.run(
        [sys.executable, script, *map(str, arguments)],
        cwd=folder, env=os.environ | {"PYTHONPATH": installed}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_a_wheel_installs_one_package_and_one_command(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    about = f"train3d_jax-{__version__}.dist-info"
    assert {name.partition("/")[0] for name in names} == {"train3d_jax", about}
    commands = zipfile.ZipFile(wheel).read(f"{about}/entry_points.txt").decode()
    assert "train3d = train3d_jax.command:main" in commands
    assert not any(name.endswith(".pyc") for name in names)


@pytest.mark.parametrize("name", ["infer", "demo"])  # a module, and a package
def test_help_names_the_program_as_it_was_started(installed, odd, name):
    shown = run(odd, installed, name, "--help").stdout
    assert f"train3d {name} --" in shown
    assert f"launch.{name}" not in shown.replace(f"launch.{name}:", "")


def test_programs_and_their_worker_processes_are_found_from_any_folder(installed, odd):
    put_sens(odd / "raw", "scene0000_00", 4)
    flags = ["-ss", "raw", "-ns", "4,0,0", "--out", "out", "--num_workers", 1]
    told = run(odd, installed, "prepare", *flags).stdout
    assert "4 maps" in told
    counts = json.loads((odd / "out" / "dataset.json").read_text())["counts"]
    assert counts == {"scannet": 4}


def test_workers_of_a_cluster_need_only_the_wheel(installed, odd, tmp_path_factory):
    put_sens(odd / "raw", "scene0000_00", 4)
    cluster = Cluster(tmp_path_factory.mktemp("cluster"), PYTHONPATH=installed)
    try:
        cluster.add_worker("only")
        flags = ["-ss", "raw", "-ns", "4,0,0", "--out", "out", "--executor", "dask"]
        run(odd, installed, "prepare", *flags, "--scheduler", cluster.address)
    finally:
        cluster.close()
    assert (odd / "out" / "dataset.json").is_file()


def test_a_step_of_a_program_is_shown_and_run_as_the_user_would(installed, odd):
    code = (
        "from train3d_jax import command; command._running = True; command.make_importable();"
        "from launch import steps; steps.launch('view', '--help')"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=odd, check=True, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": installed, "PYTHONSAFEPATH": "1"},
    )  # fmt: skip
    first, *shown = done.stdout.splitlines()
    assert first == "$ train3d view --help" and "    train3d view --input" in "\n".join(shown)


def test_mistakes_are_one_line_that_names_the_command(installed, tmp_path):
    for arguments, told in (
        (["fly"], "train3d: there is no program 'fly'; give one of prepare, train, infer"),
        ([], "train3d: which program? Give one of"),
        (["infer", "--input", "d", "--out", "o", "--space", "depth"], "train3d infer: d: is not "),
    ):
        ended = run(tmp_path, installed, *arguments, status=2)
        assert ended.stderr.startswith(told) and len(ended.stderr.splitlines()) == 1
        assert not ended.stdout and not list(tmp_path.iterdir())
    assert run(tmp_path, installed, "--version").stdout == f"train3d-jax {__version__}\n"
    listed = run(tmp_path, installed, "--help").stdout
    assert all(f"{name:14}{summary}" in listed for name, summary in command.PROGRAMS.items())


@pytest.mark.parametrize(
    ("name", "missing", "told"),
    [
        ("view --input map.npy --space depth", ["viser"], "needs viser: pip install '{}[view]'"),
        (
            "infer --input map.npy --out o --space depth --save rrd",
            ["rerun"],
            "--save=rrd: needs rerun: pip install '{}[rerun]'",
        ),
        (
            "infer --input map.npy --out o --space depth --save mesh --simplify 9",
            ["fast_simplification"],
            "--simplify: needs fast_simplification: pip install '{}[mesh]'",
        ),
        ("demo", ["OpenEXR"], "needs OpenEXR: pip install '{}[prepare]'"),
        ("demo", ["open3d", "embreex"], "needs open3d or embreex: pip install '{}[prepare]'"),
    ],
)
def test_a_program_without_its_extra_says_what_to_type(tmp_path, name, missing, told):
    np.save(tmp_path / "map.npy", np.ones((4, 4)))
    code = f"import sys; sys.modules.update(dict.fromkeys({missing})); {SCRIPT}"
    done = subprocess.run(
        [sys.executable, "-c", code, *name.split()],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    program_name = name.partition(" ")[0]
    expected = f"train3d {program_name}: {told.format('train3d-jax')}\n"
    assert (done.returncode, done.stderr) == (2, expected)
    assert [path.name for path in tmp_path.iterdir()] == ["map.npy"]


def test_an_image_is_made_of_all_that_the_wheel_is_made_of():
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    copied = {name for line in lines if line.startswith("COPY ") for name in line.split()[1:-1]}
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line[0] == "!"}
    about = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = about["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {*wheel["packages"], *wheel["force-include"], *about["project"]["license-files"]}
    assert copied == allowed == needed | {"pyproject.toml", about["project"]["readme"]}
    assert all((ROOT / name).exists() for name in copied)


def test_an_alternative_is_enough():
    program.require("prepare", "no_such_module|numpy")
    with pytest.raises(UserError, match="needs no_such_module or nor_such"):
        program.require("prepare", "no_such_module|nor_such")
