"""Compiled programs that later processes read without tracing, lowering or compiling.

JAX's own cache (`compilation`) spares a process the compiling of a program that it has traced and
lowered.  Both take seconds for large programs.  Here the executable itself is kept, under a key
that says all that it depends on: the code of this package, versions, settings and shapes.
"""

import contextlib
import functools
import hashlib
import math
import os
import pickle
import threading
import zlib
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import serialize_executable

from train3d_jax import chunking, compilation, files

_FOLDER = "programs"
"""Within the folder of JAX's cache."""

_PACKAGE = Path(__file__).parent

_SETTINGS = ("jax_enable_x64", "jax_default_matmul_precision", "jax_numpy_dtype_promotion")
"""Settings of JAX that change what a function is traced to."""


class Program:
    """A function of arrays, compiled once for each shape, and kept between processes.

    It does not compute under `jax.jit`, `jax.vmap` or `jax.grad`.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        described: str,
        compiler_options: dict[str, Any],
        donates: bool = False,
    ):
        """Compiles nothing yet.

        Args:
          function: of any trees of arrays; returns one, of dicts, lists, tuples and NamedTuples.
          described: all that it depends on beside its arguments and the code of this package.
          compiler_options: as of `jax.jit`.
          donates: whether the arrays of the first argument are given away, as by `donate_argnums`.
        """
        self._function, self._described, self._options = function, described, compiler_options
        self._donates = donates
        self._compiled: dict[Any, Callable[..., Any]] = {}
        self._lock = threading.Lock()

    def __call__(self, *arguments: Any) -> Any:
        """The function's value for arrays of numpy or JAX."""
        leaves, key = _flat(arguments)
        with self._lock:  # another thread may be compiling it
            if key not in self._compiled:
                path = self._path(key)
                self._compiled[key] = (path and _read(path)) or self._compile(leaves, key, path)
        return self._compiled[key](*leaves)

    def is_kept(self, *arguments: Any) -> bool:
        """Whether the program for such arguments need not be compiled."""
        _, key = _flat(arguments)
        path = self._path(key)
        return key in self._compiled or (path is not None and path.exists())

    def _path(self, key: Any) -> Path | None:
        return _path(f"{self._described} {self._options} {key}")

    def _compile(self, leaves: list[Any], key: Any, path: Path | None) -> Callable[..., Any]:
        trees: list[Any] = []

        def flat(*leaves: Any) -> Any:
            result, tree = jax.tree.flatten(self._function(*jax.tree.unflatten(key[0], leaves)))
            trees.append(tree)
            return result

        flat.__name__ = getattr(self._function, "__name__", "flat")
        # The tree of all arguments is a tuple of theirs.
        donated = range(key[0].children()[0].num_leaves) if self._donates else ()
        jitted = jax.jit(flat, donate_argnums=tuple(donated))
        lowered = jitted.lower(*leaves)
        with _not_in_cache_of_jax():
            compiled = lowered.compile(self._options)
        if path is not None:
            _write(path, compiled, trees[0])
        return _with_tree(compiled, trees[0])


@contextlib.contextmanager
def _not_in_cache_of_jax() -> Iterator[None]:
    """Keeps JAX from keeping a program too: what it reads from its cache cannot be kept again.

    On a CPU such an executable is written without its code, and fails when it is run.
    """
    before = jax.config.values[compilation.SECONDS]
    jax.config.update(compilation.SECONDS, math.inf)
    try:
        yield
    finally:
        jax.config.update(compilation.SECONDS, before)


def _flat(arguments: Any) -> tuple[list[Any], Any]:
    """The arrays among arguments, and what a program depends on."""
    leaves, tree = jax.tree.flatten(arguments)
    return leaves, (tree, tuple((np.shape(leaf), str(leaf.dtype)) for leaf in leaves))


def _with_tree(compiled: Callable[..., Any], tree: Any) -> Callable[..., Any]:
    return lambda *leaves: jax.tree.unflatten(tree, compiled(*leaves))


class QuickFirst:
    """A function as two `Program`: one that compiles quickly, and later one that runs quickly."""

    def __init__(self, function: Callable[..., Any], described: str, calls: int):
        """Compiles nothing yet.

        Args:
          function: see `Program`.
          described: see `Program`.
          calls: of the first program before the second one is compiled; 0 for the second alone.  It
            is used at once where it is kept from an earlier process.
        """
        self._quick, self._full = (
            Program(function, described, chunking.compiler_options(level))
            for level in (chunking.QUICK, chunking.FULL)
        )
        self._left = calls

    def __call__(self, *arguments: Any) -> Any:
        """The function's value for arrays of numpy or JAX."""
        if self._left and self._full.is_kept(*arguments):
            self._left = 0
        if not self._left:
            return self._full(*arguments)
        self._left -= 1
        return self._quick(*arguments)


def _path(described: str) -> Path | None:
    """Where a program is kept; None where nothing is, or where several devices share the work."""
    folder = jax.config.values[compilation.FOLDER]
    if folder is None or "://" in folder or jax.device_count() > 1:
        return None
    device = jax.devices()[0]
    settings = [jax.config.values[name] for name in _SETTINGS]
    whole = f"{described} {_code()} {device.platform} {device.device_kind} {settings}"
    whole += os.environ.get("XLA_FLAGS", "")
    return Path(folder) / _FOLDER / hashlib.sha256(whole.encode()).hexdigest()


@functools.cache
def _code() -> str:
    """A digest of the code of this package, and of the versions of what it computes with."""
    digest = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*.py")):
        digest.update(f"{path.relative_to(_PACKAGE)} ".encode() + path.read_bytes())
    for name in ("jax", "jaxlib", "flax"):
        digest.update(version(name).encode())
    return digest.hexdigest()


def _read(path: Path) -> Callable[..., Any] | None:
    """A program; None where there is none, or one that was cut short or cannot be loaded here."""
    try:
        contents = path.read_bytes()
        payload, check = contents[:-4], contents[-4:]
        if zlib.crc32(payload).to_bytes(4, "big") != check:
            return None
        executable, result = pickle.loads(payload)
        loaded = serialize_executable.deserialize_and_load(*executable)
        return _with_tree(loaded, jax.tree.structure(result))
    except Exception:  # whatever is wrong with it, it is compiled again
        return None


def _write(path: Path, compiled: Any, tree: Any) -> None:
    """Keeps a program where that can be done: without it the next process compiles it again."""
    try:
        # A structure with NamedTuples cannot be pickled, but a tree of it can.
        result = jax.tree.unflatten(tree, range(tree.num_leaves))
        payload = pickle.dumps((serialize_executable.serialize(compiled), result))
        path.parent.mkdir(parents=True, exist_ok=True)
        check = zlib.crc32(payload).to_bytes(4, "big")
        files.write_whole(path, payload, check, beside=files.own_part)
    except Exception:
        return
