"""Starts the programs as users do: new processes, from another folder."""

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
def _server():
    """The process that starts programs, see `fork_server`; ends with this one."""
    server = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("fork_server.py")],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    atexit.register(server.communicate)
    return server


def _ask(**request):
    server = _server()
    server.stdin.write(json.dumps(request) + "\n")
    server.stdin.flush()
    return json.loads(server.stdout.readline())


class Started:
    """A program that runs, as subprocess.Popen has it.

    Attributes:
      pid: of its process.
      returncode: None while it runs; minus the signal's number where one ended it.
    """

    def __init__(self, folder, program, *arguments, output=None, errors=None, **environment):
        self._files = tempfile.TemporaryDirectory(prefix="train3d_jax_program_")
        self._output = Path(output or Path(self._files.name, "output"))
        self._errors = Path(errors or output or Path(self._files.name, "errors"))
        self.returncode = None
        self.pid = _ask(
            program=program, arguments=[*map(str, arguments)], folder=str(folder),
            output=str(self._output), errors=str(self._errors), environment=environment,
        )  # fmt: skip

    @property
    def stdout(self):
        """What it has written until now."""
        return self._output.read_text() if self._output.exists() else ""

    @property
    def stderr(self):
        return self._errors.read_text() if self._errors.exists() else ""

    def poll(self):
        if self.returncode is None:
            self.returncode = _ask(number=self.pid, wait=False)
        return self.returncode

    def wait(self, timeout=None):
        end = None if timeout is None else time.monotonic() + timeout
        while end is not None and self.poll() is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            time.sleep(0.01)
        if self.returncode is None:
            self.returncode = _ask(number=self.pid, wait=True)
        return self.returncode

    def send_signal(self, number):
        os.kill(self.pid, number)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def kill(self):
        self.send_signal(signal.SIGKILL)


def run(folder, program, *arguments, status=0, **environment):
    """Starts a program in `folder`; fails unless it ends with `status`."""
    ended = Started(folder, program, *arguments, **environment)
    ended.wait()
    return _checked(ended, status)


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
    return _checked(ended, status)


def _checked(ended, status):
    assert ended.returncode == status, ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr
    return ended


def metrics_of(run_folder):
    return [json.loads(line) for line in (run_folder / "metrics.jsonl").read_text().splitlines()]
