"""The record of a run: metrics as JSON lines, a progress bar, TensorBoard, curves at the end."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from train3d_jax.errors import UserError
from train3d_jax.files import write_whole
from train3d_jax.geometry import affine
from train3d_jax.training.config import TrainingConfig
from train3d_jax.training.validation import Validation

METRICS = "metrics.jsonl"
CURVES = "curves.png"

_SECONDS_BETWEEN_UPDATES = 0.5
"""Between two updates of the numbers beside the progress bar."""


class Silence:
    """Replaces a `RunLog` in all processes but the first."""

    bar = None

    def __enter__(self) -> "Silence":
        return self

    def __exit__(self, *error: object) -> None:
        """Does nothing."""

    def progress(self, step: int, measured: dict[str, Any]) -> None:
        """Does nothing."""

    def record(self, row: dict[str, Any]) -> None:
        """Does nothing."""

    def validated(self, step: int, validation: Validation) -> None:
        """Does nothing."""

    def draw_curves(self) -> None:
        """Does nothing."""


class RunLog:
    """Writes the log of `loop.run_training` to the run's folder and to the screen.

    Rows of steps after `step` are dropped from metrics.jsonl first: a run that was killed resumes
    from its last checkpoint and makes them again.  The file holds nothing that depends on time, so
    it is the same however often a run was stopped.

    Attributes:
      bar: the progress bar.
    """

    def __init__(
        self, run: Path, config: TrainingConfig, step: int, total_steps: int, tensorboard: bool
    ):
        self._run, self._config = run, config
        lines = (run / METRICS).read_text().splitlines() if (run / METRICS).exists() else []
        kept = [line for line in lines if _step(line) <= step]
        write_whole(run / METRICS, "".join(f"{line}\n" for line in kept).encode())
        self._writer = None
        if tensorboard:
            from tensorboardX import SummaryWriter

            self._writer = SummaryWriter(str(run), purge_step=step + 1)
        self.bar = tqdm(desc="training", total=total_steps, initial=step, unit="step")
        self._recorded = (step, time.perf_counter())
        self._updated = 0.0
        self._measured: dict[str, jax.Array] | None = None

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()
        if self._writer is not None:
            self._writer.close()

    def progress(self, step: int, measured: dict[str, Any]) -> None:
        """Moves the bar, and sometimes shows the previous step, without waiting for the device."""
        before, self._measured = self._measured, measured
        now = time.perf_counter()
        if before is not None and now - self._updated > _SECONDS_BETWEEN_UPDATES:
            self._updated = now
            numbers = {"loss": f"{jax.device_get(before['loss']):.3f}"}
            if "fov_error_deg" in before:
                numbers["field of view"] = f"{jax.device_get(before['fov_error_deg']):.1f} deg"
            elif "shift_error" in before:
                numbers["shift"] = f"{100 * jax.device_get(before['shift_error']):.1f} %"
            numbers["samples/s"] = f"{self._rate(step, now):.0f}"
            self.bar.set_postfix(numbers, refresh=False)
        self.bar.update()

    def record(self, row: dict[str, Any]) -> None:
        """Appends one row with `step` and `split` to the file, and shows it.

        Raises:
          UserError: the file cannot be written.
        """
        rounded = {
            name: float(f"{value:.6g}") if isinstance(value, float) else value
            for name, value in row.items()
        }
        path = self._run / METRICS
        try:
            with path.open("a") as file:
                file.write(json.dumps(rounded) + "\n")
        except OSError as error:
            raise UserError(
                f"{path}: cannot be written: {error.strerror or error}; make room, then start the "
                "same command again"
            ) from None
        numbers = {name: value for name, value in rounded.items() if isinstance(value, float)}
        shown = "  ".join(f"{name} {value:.4g}" for name, value in numbers.items())
        tqdm.write(f"step {row['step']:>6}  {row['split']:<10}  {shown}")
        sys.stdout.flush()  # for a reader of a log file
        if self._writer is not None:
            for name, value in numbers.items():
                self._writer.add_scalar(f"{row['split']}/{name}", value, row["step"])
            if row["split"] == "train":
                rate = self._rate(row["step"], time.perf_counter())
                self._writer.add_scalar("train/samples_per_second", rate, row["step"])
        self._recorded = (row["step"], time.perf_counter())

    def validated(self, step: int, validation: Validation) -> None:
        """Writes predictions against the truth, and one cloud, for TensorBoard."""
        if self._writer is None:
            return
        from train3d_jax.pictures import cloud_plots, curves, figures  # start-up: matplotlib

        for target, true in validation.true.items():
            predicted = validation.predicted[target]
            self._writer.add_histogram(f"{target}/true", true, step)
            self._writer.add_histogram(f"{target}/predicted", predicted, step)
            pixels = curves.render_predictions(target, true, predicted)
            self._writer.add_image(f"{target}/predicted against true", pixels, step, None, "HWC")
        clouds = _first_cloud(validation, self._config)
        if clouds is not None:
            pixels = figures.pixels(cloud_plots.render_clouds(clouds, title=f"step {step}"))
            self._writer.add_image("first of the validation part", pixels, step, None, "HWC")

    def draw_curves(self) -> None:
        """Writes curves.png from metrics.jsonl."""
        from train3d_jax.pictures import curves  # start-up: matplotlib

        rows = [json.loads(line) for line in (self._run / METRICS).read_text().splitlines()]
        if rows:
            write_whole(self._run / CURVES, curves.render_curves(rows))

    def _rate(self, step: int, now: float) -> float:
        since, began = self._recorded
        return (step - since) * self._config.batch_size / max(now - began, 1e-9)


def _first_cloud(validation: Validation, config: TrainingConfig) -> dict[str, np.ndarray] | None:
    """The first validation cloud: as in the input, as corrected, and the true one."""
    points, space = validation.points, config.clouds.space
    if not len(points):
        return None

    @jax.transfer_guard("allow")  # the loop disallows implicit transfers
    def straight(estimate: dict[Any, np.ndarray]) -> np.ndarray:
        # A quantity that is given, or not a target, stays as it is.
        shift, alpha = 0.0, 1.0
        if "shift" in estimate and not config.clouds.shift_known:
            shift = float(affine.ratio_to_shift(estimate["shift"][0]))
        if "focal" in estimate:
            alpha = float(np.exp(estimate["focal"][0]))
        return np.asarray(affine.straighten(points, shift, alpha, space))

    clouds = {
        "distorted": points,
        "corrected": straight(validation.predicted),
        "true": straight(validation.true),
    }
    # A large error of the shift puts some points behind the camera.
    return {name: cloud[cloud[:, 2] > 0] for name, cloud in clouds.items()}


def _step(line: str) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return 1 << 62  # half a line, written when the run was killed
