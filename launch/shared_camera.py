"""One focal length for a whole folder: the first of two passes over it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data.depth_files import DepthFile, read_depth_file
from launch import compiled
from launch.recovery_config import RecoveryConfig
from train3d_jax import inference
from train3d_jax.errors import UserError

MOST_MAPS = 2_000
"""Maps that are asked for the focal length; of more, an even share of the folder."""


@dataclass(frozen=True)
class Shared:
    """The camera that took all maps.

    Attributes:
      focal: pixels.
      interval: pixels, central 90 %.
      told_by: maps that it was found from.
      total: maps in the folder.
    """

    focal: float
    interval: tuple[float, float]
    told_by: int
    total: int

    def told(self) -> str:
        """A line for the user."""
        low, high = self.interval
        return (
            f"shared camera: focal length {self.focal:.1f} px ({low:.1f} to {high:.1f}), from "
            f"{self.told_by} of {self.total} maps"
        )


def find(
    files: Sequence[DepthFile], config: RecoveryConfig, models: Sequence[inference.Model]
) -> Shared:
    """Adds up what all maps tell about the focal length.

    Maps that cannot be read or solved are left to the second pass to report.

    Raises:
      UserError: maps differ in size, or none tells anything.
    """
    chosen = np.unique(np.linspace(0, len(files) - 1, min(len(files), MOST_MAPS)).round())
    first: tuple[Path, tuple[int, ...]] | None = None
    total, told_by, batch = np.zeros(()), 0, []

    def take_batch() -> None:
        nonlocal total, told_by
        full = batch + batch[:1] * (config.batch_size - len(batch))
        evidence = inference.focal_evidence(
            models,
            inference.make_blocks(full),
            config.method,
            inference.Known(shift=config.shift_known),
            config.space,
        )[: len(batch)]
        total = total + evidence.sum(0)
        told_by += int(evidence.any(-1).sum())  # all 0 is a map that cannot be solved
        batch.clear()

    with tqdm(total=len(chosen), desc="camera", unit="map") as bar, compiled.shown_on(bar):
        for index in chosen:
            bar.update()
            path = files[int(index)].path
            try:
                values = read_depth_file(path, config.reading)
            except UserError:
                continue
            if first is None:
                first = path, values.shape
            if values.shape != first[1]:
                raise UserError(
                    f"--shared_camera: {first[0]} is {_size(first[1])} pixels and {path} "
                    f"{_size(values.shape)}; one camera has one size"
                )
            batch.append(values)
            if len(batch) == config.batch_size:
                take_batch()
        if batch:
            take_batch()
    if first is None or not told_by:
        raise UserError(f"--shared_camera: none of {len(files)} maps can be read and solved")
    focal, interval = inference.shared_focal(total, told_by, first[1][0])
    return Shared(focal, interval, told_by, len(files))


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[0]}"
