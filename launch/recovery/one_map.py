"""One depth map: read, solved and written.  What launch.infer and launch.view have in common."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from data.protocol import DataError
from data.user_maps.depth_files import DepthFile, Found, read_depth_file, search
from data.user_maps.known_cameras import ray_length_to_depth
from launch.recovery import saving
from launch.recovery.config import RecoveryConfig
from launch.recovery.shared_camera import Shared
from launch.recovery.summary import NAME
from train3d_jax.errors import UserError
from train3d_jax.export import answers as export
from train3d_jax.inference import map_checks
from train3d_jax.inference import recovery as inference
from train3d_jax.inference.models import Model, is_metric

NOT_SOLVABLE = "too few valid pixels, all of one value, or no surface to judge by"

NOT_FINITE = "its values are too large, too small or too far apart to compute with"


class Map(NamedTuple):
    """A map that was read.

    Attributes:
      file: where it is from.
      values: shape (H, W); 0 and what is not finite is missing.
      intrinsics: (3, 3) in pixels; None where the camera is not known.
    """

    file: DepthFile
    values: np.ndarray
    intrinsics: np.ndarray | None


class Solved(NamedTuple):
    """An answer, scale and offset of the canonical form that it is in, and the map's checks."""

    solution: inference.Estimate
    canonical: tuple[float, float]
    check: map_checks.MapCheck

    def is_finite(self) -> bool:
        """Whether there is a number for everything."""
        focal, shift, a, b = self.solution[:4]
        return bool(np.isfinite([focal, shift, a, b, *self.canonical]).all()) and focal > 0


class Origin(NamedTuple):
    """Where an answer is from, as its JSON tells.

    Attributes:
      method: that answered.
      model: names of the networks that did.
      metric: depth comes out in metres.
      settings: digest of what the answer depends on besides the map.
    """

    method: str
    model: str
    metric: bool
    settings: str


def origin_of(config: RecoveryConfig, models: Sequence[Model]) -> Origin:
    """The origin of all answers of a run."""
    return Origin(
        config.method,
        ",".join(model.name for model in models),
        is_metric(models),
        config.digest(models),
    )


def find_maps(config: RecoveryConfig) -> Found:
    """The files that are asked for, under the names that their answers get, and what else is there.

    Raises:
      UserError: there is nothing to read, answers would lie among the maps, or --rgb is not there
        or is one image for many maps.
    """
    found = search(config.input, leave_out=config.out, reserved=(NAME,))
    if config.out.resolve() == found.files[0].root.resolve():
        raise UserError(f"--out={config.out}: is where the input is; give another folder")
    saving.check_images(config.saving.rgb, len(found.files))
    return found


def read_map(file: DepthFile, config: RecoveryConfig) -> Map:
    """Reads a map and finds what is known of its camera.

    Raises:
      UserError: the file cannot be read, or what is known of its camera does not fit.
    """
    values = read_depth_file(file.path, config.reading)
    height, width = values.shape
    intrinsics = config.camera.of(file, (height, width))
    if config.ray_depth and intrinsics is not None:
        values = ray_length_to_depth(values, intrinsics, config.space)
    return Map(file, values, intrinsics)


def solve(
    maps: Sequence[Map],
    config: RecoveryConfig,
    models: Sequence[Model],
    shared: Shared | None = None,
    known_shift: float | None = None,
) -> list[Solved | str]:
    """Solves up to `config.batch_size` maps at once.

    Args:
      maps: at least one.
      config: with what.
      models: networks of `config.runs`.
      shared: the camera that took all maps.
      known_shift: canonical units; in place of the maps' own where `config.shift_known` is not set.

    Returns:
      An answer for each, or why there is none.
    """
    # Always a full batch: another size would be compiled anew, and its last digits differ.
    full = [*maps, *[maps[0]] * (config.batch_size - len(maps))]
    intrinsics = [found.intrinsics for found in full]
    focal = None
    if config.camera.is_known:
        focal = np.array([camera[1, 1] for camera in intrinsics if camera is not None])
    elif shared is not None:
        focal = np.full(len(full), shared.focal)
    shift = config.shift_known if known_shift is None else np.full(len(full), known_shift)
    blocks = inference.make_blocks([found.values for found in full], intrinsics=intrinsics)
    recovery = inference.recover_blocks(
        models, blocks, inference.Known(focal, shift), config.method, config.space
    )
    checks = map_checks.check([found.values for found in maps], blocks, config.space)
    solved: list[Solved | str] = []
    for number in range(len(maps)):
        solution = recovery.at(number)
        if solution is None:
            solved.append(NOT_SOLVABLE)
            continue
        if shared is not None:
            solution = solution._replace(focal_interval=shared.interval)
        scale, offset = (
            float(values[number])
            for values in (recovery.canonical_scale, recovery.canonical_offset)
        )
        solution = solution._replace(flags=(*solution.flags, *checks[number].flags))
        found = Solved(solution, (scale, offset), checks[number])
        solved.append(found if found.is_finite() else NOT_FINITE)
    return solved


def write(found: Map, solved: Solved, config: RecoveryConfig, origin: Origin) -> dict[str, Any]:
    """Writes what is asked for of one map, its answer last.

    Returns:
      The answer, as `export.answer`.

    Raises:
      UserError: a file cannot be written.
      OSError: an earlier one cannot be removed.
    """
    height, width = found.values.shape
    recovered = saving.Recovered(
        file=found.file,
        values=found.values,
        space=config.space,
        solution=solved.solution,
        canonical=solved.canonical,
        intrinsics=export.camera_of(solved.solution.focal, (height, width), found.intrinsics),
        camera_known=config.camera.is_known,
        unit="metres" if origin.metric else "arbitrary",
    )
    saving.remove(config.out, found.file.name)
    flags = saving.save(config.out, recovered, config.saving)
    answer = answer_of(found.file, config, origin, found, solved, flags)
    export.write_answer(config.out / f"{found.file.name}.json", answer)
    return answer


def answer_of(
    file: DepthFile,
    config: RecoveryConfig,
    origin: Origin,
    found: Map | None,
    solved: Solved | None = None,
    flags: tuple[str, ...] = (),
    error: str | None = None,
) -> dict[str, Any]:
    """The contents of a map's JSON.

    Args:
      file: the map.
      config: what was asked for.
      origin: of the answer.
      found: None where the file could not be read.
      solved: None where there is no answer.
      flags: what is to be said about its colours.
      error: why there is no answer.
    """
    solution, canonical = (solved.solution, solved.canonical) if solved else (None, None)
    if config.reading.negate and solution is not None and canonical is not None:
        # The file's own values, which a and b are for, have the other sign.
        solution = solution._replace(a=-solution.a)
        canonical = -canonical[0], canonical[1]
    return export.answer(
        input_name=file.relative,
        space=config.space,
        size=None if found is None else (found.values.shape[0], found.values.shape[1]),
        solution=solution,
        canonical=canonical,
        metric=origin.metric,
        model=origin.model,
        method=origin.method,
        intrinsics=None if found is None else found.intrinsics,
        flags=flags,
        settings=origin.settings,
        error=error,
    )


def reason(file: DepthFile, error: BaseException) -> str:
    """What went wrong with a map, without its path, which is told beside it."""
    if isinstance(error, MemoryError):
        return "needs more memory than there is"
    if isinstance(error, OSError):
        return f"cannot be written: {error.strerror or ' '.join(str(error).split())}"
    if isinstance(error, DataError) and error.file == str(file.path):
        return error.reason
    return " ".join(str(error).split())
