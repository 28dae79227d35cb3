"""Programs that run other programs, step by step: what the user would type, shown and run."""

import shlex
import subprocess
import sys

from train3d_jax.errors import UserError


def say(step: str) -> None:
    """Announces a step."""
    print(f"\n{step}", flush=True)


def launch(name: str, *arguments: object) -> None:
    """Shows a command as the user would type it, and runs it; UserError where it fails."""
    command = ["python", "-m", f"launch.{name}", *map(str, arguments)]
    print(f"$ {shlex.join(command)}", flush=True)
    status = subprocess.run([sys.executable, *command[1:]]).returncode
    if status:
        raise UserError(f"launch.{name} ended with status {status}; see above")
