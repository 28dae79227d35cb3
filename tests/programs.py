"""Starts the programs as users do: new processes, from another folder."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


PROGRAMS = [
    path.stem
    for path in sorted((ROOT / "launch").glob("*.py"))
    if "program.run(" in path.read_text()
]


def run(folder, program, *arguments, status=0, **environment):
    """Starts a program in `folder`; fails unless it ends with `status`."""
    ended = subprocess.run(
        [sys.executable, "-m", f"launch.{program}", *map(str, arguments)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == status, ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr
    return ended


def metrics_of(run_folder):
    return [json.loads(line) for line in (run_folder / "metrics.jsonl").read_text().splitlines()]
