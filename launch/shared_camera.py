"""One focal length for a whole folder: the first of two passes over it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data.depth_files import DepthFile, ReadSettings, read_depth_file
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
      asked: maps that it was found from.
      total: maps in the folder.
    """

    focal: float
    interval: tuple[float, float]
    asked: int
    total: int

    def told(self) -> str:
        """A line for the user."""
        low, high = self.interval
        return (
            f"shared camera: focal length {self.focal:.1f} px ({low:.1f} to {high:.1f}), from "
            f"{self.asked} of {self.total} maps"
        )


def find(
    files: Sequence[DepthFile],
    reading: ReadSettings,
    models: Sequence[inference.Model],
    method: str,
    batch_size: int,
) -> Shared:
    """Adds up what all maps tell about the focal length.

    Maps that cannot be read are left to the second pass to report.

    Raises:
      UserError: maps differ in size, or none tells anything.
    """
    chosen = np.unique(np.linspace(0, len(files) - 1, min(len(files), MOST_MAPS)).round())
    first: tuple[Path, tuple[int, ...]] | None = None
    evidence, asked, batch = np.zeros(()), 0, []

    def take_batch() -> None:
        nonlocal evidence, asked
        full = batch + batch[:1] * (batch_size - len(batch))
        blocks = inference.make_blocks(full)
        found = np.asarray(inference.focal_evidence(models, blocks, method))[: len(batch)]
        evidence = evidence + found.sum(0)
        asked += len(batch)
        batch.clear()

    for index in tqdm(chosen, desc="camera", unit="map"):
        path = files[int(index)].path
        try:
            values = read_depth_file(path, reading)
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
        if len(batch) == batch_size:
            take_batch()
    if batch:
        take_batch()
    if first is None:
        raise UserError(f"--shared_camera: none of {len(files)} maps can be read")
    focal, interval = inference.shared_focal(evidence, asked, first[1][0])
    return Shared(float(focal), (float(interval[0]), float(interval[1])), asked, len(files))


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[0]}"
