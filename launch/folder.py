"""Recovers a folder of depth maps: reads, solves and writes, batch by batch."""

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from data.depth_files import find_depth_files, read_depth_file
from train3d_jax import export, inference
from train3d_jax.depth import Space
from train3d_jax.errors import UserError
from train3d_jax.files import write_whole

SUMMARY = "summary.csv"
NOT_SOLVABLE = "too few valid pixels, or all of one value"


@dataclass(frozen=True)
class RecoveryConfig:
    """What to recover, with what, and where to.

    Attributes:
      input: a depth map, or a folder of them.
      out: folder for the answers.
      runs: folders of runs that together cover what is asked for.
      space: of the maps.
      batch_size: maps solved at once.
      focal_px: focal length in pixels, where it is known.
      fov_deg: horizontal field of view in degrees, where it is known.
    """

    input: Path
    out: Path
    runs: tuple[Path, ...]
    space: Space
    batch_size: int = 16
    focal_px: float | None = None
    fov_deg: float | None = None

    def known_focal(self, width: int) -> float | None:
        """The focal length in pixels that the user gave, for a map of this width."""
        if self.fov_deg is not None:
            return width / 2 / math.tan(math.radians(self.fov_deg) / 2)
        return self.focal_px

    def name_of(self, path: Path) -> str:
        """A file's path as answers tell it: relative to `input` where that is a folder."""
        return path.name if path == self.input else path.relative_to(self.input).as_posix()


def recover_folder(config: RecoveryConfig) -> list[dict[str, Any]]:
    """Recovers every map and writes its answer; shows progress, and what failed as it fails.

    Returns:
      What each JSON holds, in the order of the inputs; `error` is None where a map was recovered.

    Raises:
      UserError: nothing to read, or networks that do not fit; before any work.
    """
    files = find_depth_files(config.input)
    models = [inference.load_model(run) for run in config.runs]
    inference.check_models(models, config.space, config.known_focal(1) is not None)
    answers: list[dict[str, Any]] = []
    with tqdm(total=len(files), desc="recovering", unit="map") as bar:
        for start in range(0, len(files), config.batch_size):
            batch = files[start : start + config.batch_size]
            for answer in _recover_batch(config, models, batch):
                if answer["error"]:
                    tqdm.write(f"{answer['input']}: {answer['error']}")
                answers.append(answer)
                bar.update()
    order = {config.name_of(path): place for place, (path, _) in enumerate(files)}
    answers.sort(key=lambda answer: order[answer["input"]])
    _write_summary(config.out / SUMMARY, answers)
    return answers


def _recover_batch(
    config: RecoveryConfig, models: Sequence[inference.Model], files: Sequence[tuple[Path, str]]
) -> Iterator[dict[str, Any]]:
    read: list[tuple[str, str, np.ndarray]] = []
    for path, name in files:
        try:
            read.append((config.name_of(path), name, read_depth_file(path)))
        except UserError as error:
            reason = str(error).removeprefix(f"{path}: ")
            yield {"input": config.name_of(path), "error": reason}
    if not read:
        return
    # Always a full batch: another size would be compiled anew.
    maps = [values for _, _, values in read]
    maps += maps[:1] * (config.batch_size - len(maps))
    known = [config.known_focal(values.shape[1]) for values in maps]
    focals = None if known[0] is None else np.array(known)
    recovery = inference.recover_blocks(
        models, inference.make_blocks(maps), inference.Known(focals)
    )
    for i, (input_name, name, values) in enumerate(read):
        yield _write_answer(config, models, recovery.at(i), input_name, name, values)


def _write_answer(
    config: RecoveryConfig,
    models: Sequence[inference.Model],
    solution: inference.Solution | None,
    input_name: str,
    name: str,
    values: np.ndarray,
) -> dict[str, Any]:
    """Writes the JSON of one map, and its cloud where it was solved; returns the JSON."""
    answer = export.answer(
        input_name=input_name,
        space=config.space,
        size=(values.shape[0], values.shape[1]),
        solution=solution,
        metric=inference.is_metric(models),
        model=",".join(model.name for model in models),
        error=NOT_SOLVABLE if solution is None else None,
    )
    if solution is not None:
        depth = export.recovered_depth(values, solution.a, solution.b, config.space)
        cloud = export.cloud_of(depth, solution.focal)
        comments = ("axes: x right, y down, z forward", f"unit: {answer['unit']}")
        export.write_ply(config.out / f"{name}.ply", cloud, comments)
    export.write_answer(config.out / f"{name}.json", answer)
    return answer


def _write_summary(path: Path, answers: Sequence[dict[str, Any]]) -> None:
    """One line for each input, the columns of its JSON; empty where there is no value."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(export.ANSWER_FIELDS)
    writer.writerows([answer.get(field) for field in export.ANSWER_FIELDS] for answer in answers)
    write_whole(path, text.getvalue().encode())
