"""Every command and every line of Python in README and docs runs, on tiny data."""

import contextlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import yaml
from box_rooms import box_room
from raw_files import exr, png16, put, sens

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
CHECKED = {"sh", "python", "json", "text"}
"""Languages of fenced blocks: run, run, parsed, and shown only."""

SMALLER = {
    "prepare": ["--num_workers=0"],
    "train": ["--epochs=1", "--batch_size=8", "--width=8", "--num_points=128", "--num_workers=0"],
    "infer": ["--batch_size=4"],
    "evaluate": ["--max_maps=1", "--crops=1", "--worst=1"],
}
"""Flags put behind those of a documented command, so that it does little; the last one counts."""

FEWER = {"100,50,50": "15,4,9", "20,0,0": "9,0,0"}
"""Counts of samples that the tiny raw datasets have, in place of documented ones."""

AS_IT_IS = {"--dry_run", "--verify", "--repair", "--flagfile"}
"""Commands with these do little already, and refuse other settings than those of before."""


class Block(NamedTuple):
    """A fenced block: where it is, its language, its text, and why it is not run."""

    page: str
    line: int
    language: str
    text: str
    not_run: str | None

    @property
    def place(self):
        return f"{self.page}:{self.line}"


def blocks_of(page):
    """The fenced blocks of a page, each with the comment right above it."""
    blocks, text, reason, language, first = [], None, None, "", 0
    for number, line in enumerate(page.read_text().splitlines(), start=1):
        fence = re.fullmatch(r"\s*```(\w*)", line)
        if fence and text is None:
            text, language, first = [], fence[1], number
        elif fence:
            name = str(page.relative_to(ROOT))
            blocks.append(Block(name, first, language, "\n".join(text), reason))
            text = reason = None
        elif text is not None:
            text.append(line)
        elif comment := re.fullmatch(r"<!-- not run: (.+) -->", line):
            reason = comment[1]
        else:
            reason = None
    return blocks


BLOCKS = [block for page in PAGES for block in blocks_of(page)]
RUN = [block for block in BLOCKS if block.language in ("sh", "python") and not block.not_run]


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A folder in which `make demo` has left what the documentation builds on, but tiny."""
    folder = tmp_path_factory.mktemp("clone")
    raw = folder / "demo" / "raw"
    for scene in range(5):
        maps = [box_room(10 * scene + frame, fov_degrees=50 + scene) for frame in range(3)]
        name = f"scene000{scene}_00"
        units = [np.uint16(1000 * depth) for depth, _ in maps]
        put(raw / "scannet" / "scans" / name / f"{name}.sens", sens(units, intrinsics=maps[0][1]))
    depth = np.float16(100 * box_room(60, (96, 96), fov_degrees=70)[0])
    for view in ("tl", "tr", "bl", "br"):
        put(raw / "kenburns" / "depths" / "town-depth" / f"00001-{view}-depth.exr", exr(depth))
    meta = {"intSample": 1, "fltFov": 70.0}
    put(raw / "kenburns" / "rgb" / "town" / "00001-meta.json", meta)
    camera = {"field_of_view_rads": float(np.radians(60)), "resolution": 96}
    for building in ("allensville", "beechwood", "benevolence"):
        for point in range(3):
            depth = np.uint16(512 * box_room(70 + point, (96, 96), fov_degrees=60)[0])
            stem = f"taskonomy/{building}/point_{point}_view_0_domain_"
            put(raw / f"taskonomy/depth_zbuffer/{stem}depth_zbuffer.png", png16(depth))
            put(raw / f"taskonomy/point_info/{stem}point_info.json", camera)
    (folder / "demo" / "test_maps").mkdir()
    for number in range(2):
        values = 0.3 * box_room(80 + number)[0] + 0.5
        np.save(folder / "demo" / "test_maps" / f"room00{number}_0.npy", values)
    return folder


STAYS = """
import importlib, json, sys
from absl import flags
from launch import program
started = importlib.import_module("launch." + sys.argv[1])
for line in sys.stdin:
    flags.FLAGS.unparse_flags()
    sys.argv = [started.__file__, *json.loads(line)]
    try:
        program.run(started.main)
    except SystemExit as ended:
        print(f"\\n{ended.code or 0}", end="\\0", flush=True)
"""
"""A process of a program that runs one command after the other: tracing takes most of each."""

STAYING = ("infer", "evaluate")


class Programs:
    """Runs commands in a folder; each fails unless it succeeds."""

    def __init__(self, folder):
        self.folder = folder
        self._processes = {}
        self._done = []

    def run(self, program, arguments):
        if program == "infer" and [program, arguments] in self._done:
            return  # on several pages
        self._done.append([program, arguments])
        if program not in STAYING:
            ended = self._start("-m", f"launch.{program}", *arguments)
            shown = ended.communicate()[0]
            assert ended.returncode == 0, shown
            return
        if program not in self._processes:
            self._processes[program] = self._start("-c", STAYS, program)
        process = self._processes[program]
        process.stdin.write(json.dumps(arguments) + "\n")
        process.stdin.flush()
        shown = ""
        while not shown.endswith("\0"):
            character = process.stdout.read(1)
            assert character, shown
            shown += character
        assert shown.endswith("\n0\0"), shown

    def end(self):
        for process in self._processes.values():
            process.communicate()

    def _start(self, *arguments):
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


@pytest.fixture(scope="module")
def programs(clone):
    """Programs in the folder, where a prepared set and a run lie too, as the demo leaves them."""
    programs = Programs(clone)
    raw = [f"-s{letter}=demo/raw/{name}" for letter, name in
           (("s", "scannet"), ("k", "kenburns"), ("t", "taskonomy"))]  # fmt: skip
    programs.run("prepare", [*raw, "-ns=15,4,9", "--out=demo/prepared", *SMALLER["prepare"]])
    flags = ["--data=demo/prepared", "--model_name=both", "--targets=0,2", "--workdir=demo/runs"]
    programs.run("train", [*flags, *SMALLER["train"]])
    yield programs
    programs.end()


def commands_of(block):
    """Its commands as (program, arguments)."""
    for line in block.text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words:
            assert words[:2] == ["python", "-m"], f"{block.place}: {line}"
            package, program = words[2].split(".")
            assert package == "launch", f"{block.place}: {line}"
            yield program, [FEWER.get(word, word) for word in words[3:]]


@pytest.mark.parametrize("page", dict.fromkeys(block.page for block in RUN))
def test_what_a_page_says_runs(programs, page, monkeypatch):
    """From the top to the bottom: blocks build on the ones before."""
    monkeypatch.chdir(programs.folder)
    names = {}
    for block in RUN:
        if block.page != page:
            continue
        if block.language == "python":
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(block.text, block.place, "exec"), names)
            continue
        for program, arguments in commands_of(block):
            alone = AS_IT_IS.intersection(word.split("=")[0] for word in arguments)
            programs.run(program, arguments + ([] if alone else SMALLER.get(program, [])))


def test_a_block_that_is_not_run_says_why():
    for block in BLOCKS:
        assert block.language in CHECKED, f"{block.place}: name the language of the block"
        if block.language == "json":
            json.loads(block.text)
    assert len(RUN) > 10


def test_commands_that_are_not_run_are_those_of_programs_and_targets_that_exist():
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for block in BLOCKS:
        if block.language != "sh" or not block.not_run:
            continue
        for line in block.text.splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["make"]:
                assert words[1] in targets, f"{block.place}: {line}"
            elif words[:2] == ["python", "-m"]:
                assert (ROOT / (words[2].replace(".", "/") + ".py")).exists(), block.place


def test_flags_in_the_text_are_flags_of_the_programs():
    """Of any program: tables name flags without a command."""
    sources = [*(ROOT / "launch").rglob("*.py"), *(ROOT / "benchmarks").glob("*.py")]
    known = set(re.findall(r'"(\w+)"', "".join(path.read_text() for path in sources)))
    ours = {"print_losses_evry", "input_chanels", "num_w", "flagfile", "help", "logdir"}
    for page in PAGES:
        for flag in re.findall(r"`[^`\n]*?--(\w+)", page.read_text()):
            name = flag.removeprefix("no")
            known_flag = {flag, name} & (known | ours)
            assert known_flag or flag.startswith("xla_"), f"{page.name}: --{flag}"


def test_paths_in_the_text_exist():
    for page in [*PAGES, ROOT / "WORKSPACE.md"]:
        text = page.read_text()
        for path in re.findall(r"`((?:train3d_jax|data|launch|tests|benchmarks)/[\w./]*)`", text):
            assert (ROOT / path).exists(), f"{page.name}: {path}"


def test_every_package_is_on_the_map():
    on_the_map = (ROOT / "WORKSPACE.md").read_text()
    for package in ("train3d_jax", "data", "launch"):
        for path in (ROOT / package).glob("*/__init__.py"):
            assert f"`{path.parent.name}/`" in on_the_map, path


def test_links_between_pages_lead_somewhere():
    """Files and headings; mkdocs checks docs alone, with headings as here."""
    for page in [*PAGES, ROOT / "WORKSPACE.md", ROOT / "CHANGELOG.md"]:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            if re.match(r"https?:", target):
                continue
            name, _, heading = target.partition("#")
            file = page.parent / name if name else page
            assert file.exists(), f"{page.name}: {target}"
            if heading:
                heads = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
                slugs = [re.sub(r"[^\w-]", "", head.lower().replace(" ", "-")) for head in heads]
                assert heading in slugs, f"{page.name}: {target}"


def test_every_page_is_in_the_site_and_every_decision_in_its_list():
    navigation = json.dumps(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    for page in (ROOT / "docs").rglob("*.md"):
        assert f'"{page.relative_to(ROOT / "docs")}"' in navigation
    listed = (ROOT / "docs" / "decisions" / "index.md").read_text()
    for page in (ROOT / "docs" / "decisions").glob("*.md"):
        assert page.name == "index.md" or f"({page.name})" in listed


def test_readme_is_short_and_its_python_comes_early():
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 130
    assert lines.index("```python") < 60
