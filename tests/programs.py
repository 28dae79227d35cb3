"""Starts the programs as users do: from another folder, in a process of their own.

`run` is what most tests need: a new process, forked from one that has imported the libraries.
`run_python` starts a new Python, `Started` does not wait, and `stay` runs one command after the
other in one process.
"""

import atexit
import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]


PROGRAMS = [
    path.stem
    for path in sorted((ROOT / "launch").glob("*.py"))
    if "program.run(" in path.read_text()
]


@functools.cache
def _server(mode, _program=""):
    """A process that runs programs, see `fork_server`; ends with this one."""
    # A fork is told its settings of JAX, which reads them when it is imported.
    kept = {name: text for name, text in os.environ.items() if mode == "stay" or not _of_jax(name)}
    server = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("fork_server.py"), mode],
        env=kept | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    atexit.register(server.communicate)
    return server


def _of_jax(name):
    return name.startswith("JAX_")


def _ask(server, **request):
    server.stdin.write(json.dumps(request) + "\n")
    server.stdin.flush()
    answer = server.stdout.readline()
    assert answer, "the server of programs has ended"
    return json.loads(answer)


class _Files:
    """Of what a program prints."""

    def __init__(self, output=None):
        self._folder = tempfile.TemporaryDirectory(prefix="train3d_jax_program_")
        self.output = Path(output or Path(self._folder.name, "output"))
        self.errors = Path(output or Path(self._folder.name, "errors"))

    def request(self, folder, program, arguments):
        return {
            "program": program, "arguments": [*map(str, arguments)], "folder": str(folder),
            "output": str(self.output), "errors": str(self.errors),
        }  # fmt: skip

    def texts(self):
        return [path.read_text() if path.exists() else "" for path in (self.output, self.errors)]


class Started:
    """A program in a process of its own, as subprocess.Popen has it.

    Args:
      folder: where it is started.
      program: its name, as `infer`; or lines of Python.
      *arguments: flags.
      output: a file for all that it prints; otherwise `stdout` and `stderr` are kept apart.
      **environment: added to that of the tests; None takes a variable away.
    """

    def __init__(self, folder, program, *arguments, output=None, **environment):
        self._files = _Files(output)
        request = self._files.request(folder, program, arguments)
        jax = {name: text for name, text in os.environ.items() if _of_jax(name)}
        self.pid = _ask(_server("fork"), **request, environment=jax | environment)
        self.returncode = None

    @property
    def stdout(self):
        """What it has printed until now."""
        return self._files.texts()[0]

    def poll(self):
        return self._ended(wait=False)

    def _ended(self, wait):
        if self.returncode is None:
            self.returncode = _ask(_server("fork"), number=self.pid, wait=wait)
        return self.returncode

    def wait(self, timeout=None):
        end = None if timeout is None else time.monotonic() + timeout
        while end is not None and self.poll() is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            time.sleep(0.01)
        return self._ended(wait=True)

    def communicate(self):
        """Waits; what it has printed, and its errors."""
        self.wait()
        return self._files.texts()

    def send_signal(self, number):
        os.kill(self.pid, number)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def kill(self):
        self.send_signal(signal.SIGKILL)


def run(folder, program, *arguments, status=0, **environment):
    """Starts a program, or lines of Python, in `folder`; fails unless it ends with `status`."""
    started = Started(folder, program, *arguments, **environment)
    return _checked(status, *started.communicate(), started.returncode)


def run_python(folder, program, *arguments, status=0, **environment):
    """The same in a new Python: where what is imported, and from where, is what matters."""
    ended = subprocess.run(
        [sys.executable, "-m", f"launch.{program}", *map(str, arguments)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return _checked(status, ended.stdout, ended.stderr, ended.returncode)


def stay(folder, program, *arguments, status=0):
    """The same in the process of the last `stay` with this program, which has traced and compiled.

    Only for what comes after a `run` of it, or is proved by one elsewhere.
    """
    files = _Files()
    request = files.request(folder, program, arguments)
    ended = _ask(_server("stay", program), **request)
    return _checked(status, *files.texts(), ended)


def _checked(status, output, errors, returned):
    assert returned == status, output + errors
    assert "Traceback" not in errors
    return subprocess.CompletedProcess((), returned, output, errors)


def metrics_of(run_folder):
    return [json.loads(line) for line in (run_folder / "metrics.jsonl").read_text().splitlines()]
