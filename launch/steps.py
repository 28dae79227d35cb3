"""Programs that run other programs, step by step: what the user would type, shown and run."""

import shlex
import subprocess
import sys

from launch import program
from train3d_jax import command
from train3d_jax.errors import UserError


def say(step: str) -> None:
    """Announces a step."""
    print(f"\n{step}", flush=True)


def launch(name: str, *arguments: object) -> None:
    """Shows a command as the user would type it, and runs it; UserError where it fails."""
    given = [*map(str, arguments)]
    print(f"$ {program.as_typed(f'python -m launch.{name}')} {shlex.join(given)}", flush=True)
    module = ["train3d_jax", name] if command.is_running() else [f"launch.{name}"]
    status = subprocess.run([sys.executable, "-m", *module, *given]).returncode
    if status:
        raise UserError(f"launch.{name} ended with status {status}; see above")
