"""The film of a clip: its clouds as given beside recovered, as a GIF."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from data.user_maps.clips import frames_by_clip, read_map
from data.user_maps.depth_files import DepthFile
from launch.recovery import pictures, saving
from launch.recovery.config import RecoveryConfig
from train3d_jax.export import answers
from train3d_jax.geometry import depth_maps
from train3d_jax.pictures.shapes import Shape
from train3d_jax.pictures.turntables import draw_film

ENDING = ".clip.gif"

MOST_FRAMES = 40
"""Frames that are drawn; of more, an even share.  Chosen: five seconds, some MB."""


def draw_films(
    files: Sequence[DepthFile], clips: Mapping[str, str], config: RecoveryConfig
) -> list[Path]:
    """Draws the film of each clip that has two recovered frames, from the answers in `config.out`.

    Args:
      files: all maps.
      clips: the clip of each that is a frame, by its name.
      config: of the run that recovered them.

    Returns:
      The files that were written: the clip's name with `ENDING`.

    Raises:
      UserError: one cannot be written.
    """
    written = []
    for clip, maps in frames_by_clip(files, clips).items():
        chosen = np.unique(np.linspace(0, len(maps) - 1, min(len(maps), MOST_FRAMES)).round())
        answered = [
            (file, answer)
            for file in (maps[int(index)] for index in chosen)
            if (answer := answers.read_answer(config.out / f"{file.name}.json")) is not None
            and answer["error"] is None
        ]
        if len(answered) > 1:
            written.append(config.out / f"{clip}{ENDING}")
            draw_film(written[-1], _shapes(answered, config))
    return written


def _shapes(
    answered: Sequence[tuple[DepthFile, Mapping]], config: RecoveryConfig
) -> Iterator[tuple[Shape, Shape, np.ndarray | None]]:
    sign = -1 if config.reading.negate else 1  # a and b are for the file's own values
    for file, answer in answered:
        values = sign * read_map(file, config.reading)
        size = values.shape[0], values.shape[1]
        intrinsics = np.array(answer["intrinsics"])
        low, high = answer["focal_interval_px"] or (0, 1)
        canonical = answer["canonical_scale"], answer["canonical_offset"]
        given = saving.given_shape(
            values, canonical, intrinsics if low == high else None, config.space
        )
        found = depth_maps.recovered_depth(values, answer["a"], answer["b"], config.space)
        colours = pictures.colours_of(file, size, config.saving.rgb)
        yield given, Shape(found, intrinsics), colours
