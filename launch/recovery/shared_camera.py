"""One focal length for a whole folder: the first of two passes over it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from data.user_maps.depth_files import DepthFile
from launch import compiling, program
from launch.recovery.config import RecoveryConfig
from train3d_jax import chunking
from train3d_jax.errors import UserError
from train3d_jax.formats.depth import read_depth_file
from train3d_jax.inference import clips, recovery
from train3d_jax.inference.models import Model

_FLOAT32 = 1e-6
"""Relative tolerance, some float32 roundings (6e-8 each): answers hold float32 focal lengths."""

_OTHER_MACHINE = 1e-4
"""Relative tolerance: processors sum the evidence in another order.  Chosen: below 0.1 pixels for
every focal length under 1000."""

MOST_MAPS = 2_000
"""Maps that the estimate uses; of more, an even share of the folder.  Chosen: maps of one camera
are correlated, so that more change the estimate little."""


@dataclass(frozen=True)
class SharedCamera:
    """The camera that took all maps, as it was estimated.

    Attributes:
      focal: pixels.
      interval: pixels, central 90 %.
      used: maps that the estimate is based on.
      total: maps in the folder.
    """

    focal: float
    interval: tuple[float, float]
    used: int
    total: int

    def is_of(self, answer: Mapping[str, Any]) -> bool:
        """Whether an answer of an earlier run has this focal length and interval."""
        values = focal_and_interval(answer)
        return values is None or np.allclose(values, (self.focal, *self.interval), _FLOAT32, 0)

    def __str__(self) -> str:
        low, high = self.interval
        return (
            f"shared camera: focal length {self.focal:.1f} px ({low:.1f} to {high:.1f}), from "
            f"{self.used} of {self.total} maps"
        )


def estimate(
    files: Sequence[DepthFile], config: RecoveryConfig, models: Sequence[Model]
) -> SharedCamera:
    """Estimates the focal length from the sum of the log-likelihoods of all maps.

    Maps that cannot be read or solved are left to the second pass to report.

    Raises:
      UserError: maps differ in size, or no map can be solved.
    """
    at_once = chunking.maps_at_once(len(files))
    chosen = np.unique(np.linspace(0, len(files) - 1, min(len(files), MOST_MAPS)).round())
    first: tuple[Path, tuple[int, int]] | None = None
    unread: str | None = None
    total, used, batch = np.zeros(()), 0, []

    def take_batch() -> None:
        nonlocal total, used
        evidence = recovery.evidence(
            models,
            recovery.make_blocks(batch),
            recovery.Known(shift=config.shift_known, shift_sigma=config.shift_sigma),
            config.method,
            config.space,
            at_once,
        )
        total = total + evidence.focal.sum(0)
        used += int(evidence.solvable.sum())
        batch.clear()

    with tqdm(total=len(chosen), desc="camera", unit="map") as bar, compiling.shown_on(bar):
        for index in chosen:
            bar.update()
            path = files[int(index)].path
            try:
                values = read_depth_file(path, config.reading)
            except UserError as error:
                unread = unread or program.message(error)
                continue
            except MemoryError:
                unread = unread or f"{path}: needs more memory than there is"
                continue
            if first is None:
                first = path, (values.shape[0], values.shape[1])
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
    if first is None or not used:
        why = unread or (
            f"{files[0].path}: too few valid pixels, all of one value, or no surface to measure"
        )
        raise UserError(
            f"--shared_camera: none of {len(chosen)} maps can be read and solved; the first: {why}"
        )
    focal, interval = clips.shared_focal(total, used, first[1])
    return SharedCamera(focal, interval, used, len(files))


def focal_and_interval(answer: Mapping[str, Any]) -> tuple[float, float, float] | None:
    """Focal length and its interval in an answer, pixels; None for a map that failed."""
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
    here, wanted = focal_and_interval(answer), focal_and_interval(first_answer)
    if here and wanted and not np.allclose(here, wanted, _OTHER_MACHINE, 0, equal_nan=True):
        raise UserError(
            f"--merge: {file.relative} has another shared camera ({here[0]:.6g} px) than "
            f"{first.relative} ({wanted[0]:.6g} px): maps were added, removed or changed between "
            "the shards; run all shards again with the same flags"
        )


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[0]}"
