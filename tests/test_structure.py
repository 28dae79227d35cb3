"""The layers of the code, read from its imports: what each package may know, and how long it is."""

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MOST_LINES = 400

LAYERS = (
    ("train3d_jax.errors",),
    ("train3d_jax.files", "train3d_jax.locks", "train3d_jax.chunking"),
    ("train3d_jax.compilation",),
    ("train3d_jax.stored_programs",),
    ("train3d_jax.formats",),
    ("train3d_jax.geometry",),
    ("train3d_jax.placement",),
    ("train3d_jax.windows",),
    ("train3d_jax.evidence",),
    ("train3d_jax.lines",),
    ("train3d_jax.networks",),
    ("train3d_jax.pictures",),
    ("train3d_jax.training",),
    ("train3d_jax.storage",),
    ("train3d_jax.inference",),
    ("train3d_jax.export",),
    ("train3d_jax.evaluation",),
    ("train3d_jax.shape",),
    ("train3d_jax.api",),
    ("train3d_jax.predictions",),
    ("train3d_jax.command",),
    ("train3d_jax.__main__",),
    ("data.validity", "data.walking"),
    ("data.protocol",),
    ("data.readers", "data.prepared", "data.user_maps"),
    ("data.parallel",),
    ("data.prepare", "data.loading", "data.rooms"),
    ("launch",),
)
"""From low to high; packages of one layer do not import each other, `SIDEWAYS` apart."""

SIDEWAYS = {("data.user_maps", "data.prepared"), ("data.readers", "data.user_maps")}
"""Imports within a layer: maps with a known truth may be those of a prepared set, and users' maps
and cameras are prepared too."""

COMMAND = "train3d_jax.command"
"""The installed command, which starts programs: the one module of the library that knows flags."""

WITHOUT_JAX = ("data.readers", "data.prepared", "data.prepare", "data.parallel", "data.user_maps")
"""What worker processes import: numpy only, so that they start quickly and take little memory."""


@functools.cache
def modules() -> dict[str, Path]:
    """Every module of the three packages by its dotted name."""
    found = {}
    for package in ("train3d_jax", "data", "launch"):
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@functools.cache
def imports(module: str, everywhere: bool = True) -> frozenset[str]:
    """The modules that a module imports; without `everywhere`, those that functions import not.

    What is imported for type checkers alone does not count.
    """
    tree = ast.parse(modules()[module].read_text())
    lazy, typing = (
        {inner for node in ast.walk(tree) if is_kind(node) for inner in ast.walk(node)}
        for is_kind in (
            lambda node: isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef),
            lambda node: isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test),
        )
    )
    names = set()
    for node in ast.walk(tree):
        if node in typing or (node in lazy and not everywhere):
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}: a relative import"
            whole = node.module or ""
            inner = {f"{whole}.{alias.name}" for alias in node.names}
            names |= {
                whole if whole in modules() and name not in modules() else name for name in inner
            }
    return frozenset(names)


def layer_of(module: str) -> tuple[int, str] | None:
    """Number and entry of a module's layer; None for the top of a package and for libraries."""
    for number, entries in enumerate(LAYERS):
        for entry in entries:
            if module == entry or module.startswith(f"{entry}."):
                return number, entry
    return None


def reached(module: str) -> set[str]:
    """All modules of ours that are imported along with a module, and the libraries."""
    seen, waiting = set(), [module]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += imports(name, everywhere=False) if name in modules() else ()
    return seen


def test_every_module_has_a_layer():
    tops = {"train3d_jax", "data", "launch"}
    assert [name for name in modules() if layer_of(name) is None and name not in tops] == []


@pytest.mark.parametrize("module", modules())
def test_no_module_imports_from_a_layer_above(module):
    own = layer_of(module)
    if own is None:
        return
    for name in imports(module):
        other = layer_of(name)
        if other is None or other[1] == own[1] or (own[1], other[1]) in SIDEWAYS:
            continue
        assert other[0] < own[0], f"{module} imports {name}"


def test_no_modules_import_each_other_in_a_circle():
    done: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " -> ".join((*way[way.index(module) :], module))
        if module in done:
            return
        for name in sorted(imports(module) & modules().keys()):
            if name != module:
                visit(name, (*way, module))
        done.add(module)

    for module in modules():
        visit(module, ())


@pytest.mark.parametrize(
    "path",
    sorted(
        path
        for folder in ("train3d_jax", "data", "launch", "tests", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
    ),
    ids=lambda path: path.relative_to(ROOT).as_posix(),
)
def test_no_module_is_longer_than_a_reader_s_patience(path):
    assert len(path.read_text().splitlines()) <= MOST_LINES


@pytest.mark.parametrize(
    "package", [name for name, path in modules().items() if path.name == "__init__.py"]
)
def test_every_package_says_what_belongs_there_and_what_does_not(package):
    text = ast.get_docstring(ast.parse(modules()[package].read_text()))
    assert text
    if package != "train3d_jax":  # its docstring is the API's help
        words = " ".join(text.split())
        assert "Here: " in words and "Not here: " in words


def test_the_library_knows_neither_data_nor_programs_nor_their_flags():
    for module in modules():
        if module.partition(".")[0] != "train3d_jax":
            continue
        outside = {name.partition(".")[0] for name in imports(module)}
        assert not outside & {"data", "launch"}, module
        assert not imports(module) & {"absl.app", "absl.flags"}, module
        if module == COMMAND:
            continue
        tree = ast.parse(modules()[module].read_text())
        holders = (ast.Module, ast.ClassDef, ast.FunctionDef)
        docstrings = {
            id(node.value)
            for holder in ast.walk(tree)
            if isinstance(holder, holders)
            for node in holder.body
            if isinstance(node, ast.Expr)
        }
        texts = [
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in docstrings
        ]
        assert [text for text in texts if re.search(r"(?<!\w)--[a-z]\w", text)] == [], module


def test_the_data_does_not_know_the_programs():
    for module in modules():
        if module.partition(".")[0] == "data":
            assert not {name.partition(".")[0] for name in imports(module)} & {"launch", "absl"}


@pytest.mark.parametrize(
    "module", [name for name in modules() if (layer_of(name) or (0, ""))[1] in WITHOUT_JAX]
)
def test_what_worker_processes_import_is_without_jax(module):
    heavy = {"jax", "jaxlib", "flax", "optax", "orbax", "grain"}
    assert not {name.partition(".")[0] for name in reached(module)} & heavy


def test_only_storage_imports_orbax():
    for module in modules():
        if any(name.partition(".")[0] == "orbax" for name in imports(module)):
            assert module.startswith("train3d_jax.storage."), module
