"""One focal length for a whole folder: the first of two passes over it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from data.user_maps.depth_files import DepthFile, read_depth_file
from launch import compiling
from launch.recovery.config import RecoveryConfig
from train3d_jax.errors import UserError
from train3d_jax.inference import recovery as inference
from train3d_jax.inference.models import Model

_FLOAT32 = 1e-6
"""Relative tolerance: a focal length goes through float32 on its way into an answer."""

_OTHER_MACHINE = 1e-4
"""Relative tolerance: processors add the evidence up in another order; chosen, below 0.1 pixels for
every focal length under 1000."""

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

    def took(self, answer: Mapping[str, Any]) -> bool:
        """Whether an answer of an earlier run has this focal length and interval."""
        found = focal_and_interval(answer)
        return found is None or np.allclose(found, (self.focal, *self.interval), _FLOAT32, 0)

    def told(self) -> str:
        """A line for the user."""
        low, high = self.interval
        return (
            f"shared camera: focal length {self.focal:.1f} px ({low:.1f} to {high:.1f}), from "
            f"{self.told_by} of {self.total} maps"
        )


def find(files: Sequence[DepthFile], config: RecoveryConfig, models: Sequence[Model]) -> Shared:
    """Adds up what all maps tell about the focal length.

    Maps that cannot be read or solved are left to the second pass to report.

    Raises:
      UserError: maps differ in size, or none tells anything.
    """
    chosen = np.unique(np.linspace(0, len(files) - 1, min(len(files), MOST_MAPS)).round())
    first: tuple[Path, tuple[int, ...]] | None = None
    unread: str | None = None
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

    with tqdm(total=len(chosen), desc="camera", unit="map") as bar, compiling.shown_on(bar):
        for index in chosen:
            bar.update()
            path = files[int(index)].path
            try:
                values = read_depth_file(path, config.reading)
            except (UserError, MemoryError) as error:
                unread = unread or str(error) or f"{path}: needs more memory than there is"
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
        why = unread or (
            f"{files[0].path}: too few valid pixels, all of one value, or no surface to measure"
        )
        raise UserError(
            f"--shared_camera: none of {len(chosen)} maps can be read and solved; the first: {why}"
        )
    focal, interval = inference.shared_focal(total, told_by, first[1][0])
    return Shared(focal, interval, told_by, len(files))


def focal_and_interval(answer: Mapping[str, Any]) -> tuple[float, float, float] | None:
    """What an answer says of the shared camera, pixels; None where a map has no answer."""
    if answer["error"] is not None:
        return None
    low, high = answer["focal_interval_px"] or (math.nan, math.nan)
    return answer["focal_px"], low, high


def refuse_other_camera(
    file: DepthFile, answer: Mapping[str, Any], first: DepthFile, first_answer: Mapping[str, Any]
) -> None:
    """Makes sure that two answers, neither of them a failure, are of one shared camera.

    Raises:
      UserError: the shards saw different maps.
    """
    found, wanted = focal_and_interval(answer), focal_and_interval(first_answer)
    if found and wanted and not np.allclose(found, wanted, _OTHER_MACHINE, 0, equal_nan=True):
        raise UserError(
            f"--merge: {file.relative} has another shared camera ({found[0]:.6g} px) than "
            f"{first.relative} ({wanted[0]:.6g} px): maps were added, removed or changed between "
            "the shards; run all shards again with the same flags"
        )


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[0]}"
