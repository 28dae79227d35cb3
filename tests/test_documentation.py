"""Every command and every line of Python in README and docs runs, on tiny data."""

import contextlib
import io
import json
import re
import shlex
import shutil
from typing import NamedTuple

import jax
import numpy as np
import pytest
import yaml
from box_rooms import box_room
from own_files import put_maps, put_nerfstudio, put_r3d, put_tum
from PIL import Image
from programs import ROOT, run, stay

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
CHECKED = {"sh", "python", "json", "text"}
"""Languages of fenced blocks: run, run, parsed, and shown only."""

SMALLER = {
    "prepare": ["--num_workers=0"],
    "train": ["--epochs=3", "--batch_size=8", "--num_points=256", "--num_workers=0"],
    "infer": ["--batch_size=4"],
    "evaluate": ["--max_maps=1", "--crops=1", "--worst=1"],
}
"""Flags put behind those of a documented command, so that it does little; the last one counts.
Those of `train` are the ones of the fixture `trained`, whose step is compiled."""

SMALLER_ORIGINAL = ["--num_points=128", "--num_workers=0"]
"""The same for the command line of the original, as in test_train_program."""

FEWER = {
    "100,50,50": "15,4,9", "20,0,0": "9,0,0", "200": "4", "150,50": "2,3", "80": "2",
    "192x256": "96x128",
}  # fmt: skip
"""Counts of samples that the tiny raw datasets have, and the size of their maps, in place of
documented ones."""

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
def clone(folder, trained, tmp_path_factory):
    """A folder in which `make demo` has left what the documentation builds on, but tiny."""
    clone = tmp_path_factory.mktemp("clone")
    for name in ("scannet", "kenburns", "taskonomy"):
        shutil.copytree(folder / name, clone / "demo" / "raw" / name)
    shutil.copytree(folder / "prepared", clone / "demo" / "prepared")
    shutil.copytree(trained[0], clone / "demo" / "runs" / "both")
    put_maps(clone / "my_maps")
    put_nerfstudio(clone / "scans", "room")
    put_r3d(clone / "phone", "mug")
    put_tum(clone / "kinect", "desk", size=(480, 640))
    for name in ("test_maps", "test_rgb"):
        (clone / "demo" / name).mkdir()
    for number in range(2):
        depth, _ = box_room(80 + number)
        np.save(clone / "demo" / "test_maps" / f"room00{number}_0.npy", 0.3 * depth + 0.5)
        shades = Image.fromarray(np.uint8(255 * depth / depth.max()))
        shades.convert("RGB").save(clone / "demo" / "test_rgb" / f"room00{number}_0.png")
    return clone


def commands_of(block):
    """Its commands as (program, arguments)."""
    for line in block.text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words:
            assert words[:2] == ["python", "-m"], f"{block.place}: {line}"
            package, program = words[2].split(".")
            assert package == "launch", f"{block.place}: {line}"
            yield program, [FEWER.get(word, word) for word in words[3:]]


def smaller(program, arguments):
    """The arguments of a documented command, and those that make it do little."""
    if AS_IT_IS.intersection(word.split("=")[0] for word in arguments):
        return arguments
    original = "--input_chanels" in arguments
    return arguments + (SMALLER_ORIGINAL if original else SMALLER.get(program, []))


@pytest.fixture(scope="module")
def recovered():
    """Arguments of infer that were run: some are on several pages."""
    return []


@pytest.fixture
def same_cache():
    """A block may name another cache of JAX: programs of later tests would land in its folder."""
    before = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
    yield
    jax.config.update("jax_compilation_cache_dir", before)


@pytest.mark.parametrize("page", dict.fromkeys(block.page for block in RUN))
def test_what_a_page_says_runs(clone, recovered, page, monkeypatch, same_cache):
    """From the top to the bottom: blocks build on the ones before."""
    monkeypatch.chdir(clone)
    names = {}
    for block in RUN:
        if block.page != page:
            continue
        if block.language == "python":
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(block.text, block.place, "exec"), names)
            continue
        for program, arguments in commands_of(block):
            if program != "infer":
                run(clone, program, *smaller(program, arguments))
            elif arguments not in recovered:
                recovered.append(arguments)
                stay(clone, program, *smaller(program, arguments))


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
