"""The record of a run: metrics as JSON lines, on screen, and for TensorBoard."""

import json
from pathlib import Path
from typing import Any

from tqdm import tqdm

from train3d_jax.files import write_whole

METRICS = "metrics.jsonl"


class RunLog:
    """Takes rows of metrics as `training.run_training` makes them.

    Rows of steps after `step` are dropped from the file first: a run that was killed goes on from
    its last checkpoint and makes them again.
    """

    def __init__(self, run: Path, step: int, tensorboard: bool):
        self._path = run / METRICS
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        kept = [line for line in lines if _step(line) <= step]
        write_whole(self._path, "".join(f"{line}\n" for line in kept).encode())
        self._writer = None
        if tensorboard:
            from tensorboardX import SummaryWriter

            self._writer = SummaryWriter(str(run), purge_step=step + 1)

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, *error: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def record(self, row: dict[str, Any]) -> None:
        """Appends one row with `step` and `split` to the file, and shows it."""
        rounded = {
            name: float(f"{value:.6g}") if isinstance(value, float) else value
            for name, value in row.items()
        }
        with self._path.open("a") as file:
            file.write(json.dumps(rounded) + "\n")
        numbers = {name: value for name, value in rounded.items() if isinstance(value, float)}
        shown = "  ".join(f"{name} {value:.4g}" for name, value in numbers.items())
        tqdm.write(f"step {row['step']:>6}  {row['split']:<10}  {shown}")
        if self._writer is not None:
            for name, value in numbers.items():
                self._writer.add_scalar(f"{row['split']}/{name}", value, row["step"])


def _step(line: str) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return 1 << 62  # half a line, written when the run was killed
