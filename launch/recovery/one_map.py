"""One depth map: read, solved and written.  What launch.infer and launch.view have in common."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from data.user_maps import clips
from data.user_maps.depth_files import DepthFile, Listing, search
from data.user_maps.hints import CameraHint
from data.user_maps.known_cameras import ray_length_to_depth
from data.user_maps.producers import PRODUCERS
from launch import program
from launch.recovery import pictures, placing, saving
from launch.recovery.config import RecoveryConfig
from launch.recovery.producer_notes import explained, refuse_photo
from launch.recovery.recovered import Map, Recovered
from launch.recovery.shared_camera import Pooling, SharedCamera
from launch.recovery.summary import NAME
from train3d_jax import chunking
from train3d_jax.errors import DataError, UserError
from train3d_jax.export import answers
from train3d_jax.inference import clips as clip_math
from train3d_jax.inference import map_checks, recovery
from train3d_jax.inference.models import Model, is_metric
from train3d_jax.lines.segments import stacked

NOT_SOLVABLE = "too few valid pixels, all of one value, or no surface to measure"

NOT_FINITE = "its values are too large, too small or too far apart to compute with"


class Origin(NamedTuple):
    """Where an answer comes from, as its JSON states.

    Attributes:
      method: of the answer.
      model: names of the networks.
      metric: depth comes out in metres.
      settings: digest of all that the answer depends on besides the map.
    """

    method: str
    model: str
    metric: bool
    settings: str


def origin_of(config: RecoveryConfig, models: Sequence[Model]) -> Origin:
    """The origin of all answers of a run."""
    names = ",".join(model.name for model in models)
    return Origin(config.method, names, is_metric(models), config.digest(models))


def find_maps(config: RecoveryConfig) -> Listing:
    """The depth maps of `config.input`, with the names of their answers; and what else lies there.

    Raises:
      UserError: there is no map, `config.out` is the folder of the maps, --rgb is missing or one
        image for many maps, a fact names no map, or two maps would write one file.
    """
    wanted = PRODUCERS[config.producer].files if config.producer else ()
    listing = search(config.input, leave_out=config.out, reserved=(NAME,), wanted=wanted)
    if config.out.resolve() == listing.files[0].root.resolve():
        raise UserError(f"--out={config.out}: is where the input is; give another folder")
    files, of_clips = clips.with_frames(listing.files, config.reading)
    if config.clip:
        files = clips.in_order_of_numbers(files)
        of_clips = dict.fromkeys((file.name for file in files), clips.FOLDER)
    pictures.check_images(config.saving.rgb, len(files))
    config.placing.check(files)
    _refuse_one_name(files, config)
    return listing._replace(files=files, clips=of_clips)


def _refuse_one_name(files: Sequence[DepthFile], config: RecoveryConfig) -> None:
    """The mesh of `a` has the name of the points of `a.mesh`."""
    names = {file.name for file in files} if {"mesh", "glb"} <= {*config.saving.kinds} else set()
    for name in sorted(names):
        if f"{name}.mesh" in names:
            raise UserError(
                f"--save=glb,mesh: {name}.mesh.glb would be the mesh of {name} and the points of "
                f"{name}.mesh; rename one of them, or save one kind at a time"
            )


def read_map(file: DepthFile, config: RecoveryConfig) -> Map:
    """Reads a map, and what is known of its camera.

    Raises:
      UserError: the file or its image cannot be read, the camera that flags give does not fit it,
        or ray lengths have no camera.
    """
    try:
        values = clips.read_map(file, config.reading)
        refuse_photo(file.path, config.producer)
    except DataError as error:
        raise explained(error, file.path, config.producer) from None
    height, width = values.shape
    hints, notes = hints_of(file, (height, width), config)
    intrinsics = hints[0].intrinsics if hints else None
    if config.ray_depth:
        if intrinsics is None or hints[0].sigma:
            raise DataError(
                file.path,
                "--ray_depth needs the exact camera of each map: give --focal_px, --fov_deg or "
                f"--intrinsics{config.advice}",
            )
        values = ray_length_to_depth(values, intrinsics, config.space)
    colours, segments = pictures.picture_of(file, values, intrinsics, config)
    metres = config.metres_of(file.path)
    return Map(file, values, intrinsics, hints, notes, metres, colours, segments)


def hints_of(
    file: DepthFile, size: tuple[int, int], config: RecoveryConfig
) -> tuple[tuple[CameraHint, ...], tuple[str, ...]]:
    """What is known of the camera of a map, and lines on what was found without a flag."""
    notes: list[str] = []
    picture = pictures.image_of(file, config.saving.rgb) if config.camera.automatic else None
    hints = config.camera.hints(file, size, picture, file.frame, report=notes.append)
    found = [hint for hint in hints if hint.source != "flag"]
    if config.shared_camera:  # flags exclude it; a clip has its hints in its camera
        notes = [f"{hint.origin}: not used, --shared_camera estimates it" for hint in found]
        hints = ()
    else:
        notes += map(str, found)
    return hints, tuple(f"camera: {note}" for note in notes)


def pooled(
    frames: Sequence[DepthFile], clip: str, config: RecoveryConfig, models: Sequence[Model]
) -> SharedCamera:
    """The camera of the frames of a clip and their shifts, from all of them.

    Args:
      frames: the maps.
      clip: its name; empty for maps of one camera that are no clip.
      config: method, space and what is known.
      models: networks of `config.runs`.

    Raises:
      UserError: frames differ in size, or none can be solved.
    """
    pooling = Pooling(frames, config, models, clip)
    shared = pooling.camera(lambda file, size: hints_of(file, size, config)[0])
    if clip and config.affine == "clip":
        return pooling.with_offset(shared)
    if clip and not config.shift_known:
        return pooling.with_shifts(shared)
    return shared


def in_metres(
    frames: Sequence[DepthFile],
    shared: SharedCamera,
    config: RecoveryConfig,
    models: Sequence[Model],
) -> SharedCamera:
    """The camera with the scale of all frames in metres, where facts on some of them tell it.

    Frames have one scale where a clip has one of each (`--affine clip`), and where their shift is
    exact, as that of a sensor.

    Raises:
      UserError: a fact cannot be measured.
    """
    if shared.offset is None and not config.shift_is_exact:
        return shared
    chosen = [file for file in frames if config.placing.names(file)]
    if not chosen and frames and config.placing.facts_of(frames[0]):  # on each of them
        spread = clip_math.spread(len(frames), placing.MOST_MEASURED)
        chosen = [frames[number] for number in spread]
    if not chosen:
        return shared
    read = [read_map(file, config)._replace(shared=shared) for file in chosen]
    at_once = chunking.maps_at_once(len(frames))  # the program that the frames are solved with
    solved = solve(read, config, models, at_once=at_once)
    return dataclasses.replace(shared, common=placing.common_scale(solved, config))


def solve(
    maps: Sequence[Map],
    config: RecoveryConfig,
    models: Sequence[Model],
    known_shift: float | None = None,
    at_once: int = 1,
) -> list[Recovered]:
    """Solves several maps.

    Args:
      maps: at least one.
      config: method, space and what is known.
      models: networks of `config.runs`.
      known_shift: in canonical units; overrides `config.shift_known`.
      at_once: maps that one program computes, on which last digits depend.

    Returns:
      Each map with its estimate, or with the reason why it has none.
    """
    known = _known_of(maps, config, known_shift)
    blocks = recovery.make_blocks(
        [each.values for each in maps], intrinsics=[each.intrinsics for each in maps]
    )
    segments = stacked([each.segments for each in maps], config.counts_pictures)
    batch = recovery.recover_blocks(
        models, blocks, known, config.method, config.space, at_once, segments
    )
    checks = map_checks.check([each.values for each in maps], blocks, config.space, at_once)
    results = []
    for number, (each, check) in enumerate(zip(maps, checks, strict=True)):
        metres = each.metres if known_shift is None else None
        found = _recovered(each, batch, number, check, config)
        results.append(found if metres is None else _in_metres(found, metres, config))
    return results


def _known_of(
    maps: Sequence[Map], config: RecoveryConfig, known_shift: float | None
) -> recovery.Known:
    """What flags, the most trusted hint of each map, and the other maps of its camera say."""
    focal, shift, offset = (np.full(len(maps), np.nan) for _ in range(3))
    focal_sigma, shift_sigma = np.zeros(len(maps)), np.zeros(len(maps))
    if known_shift is not None:
        shift[:] = known_shift
    elif config.shift_known:
        offset[:], shift_sigma[:] = 0, config.shift_sigma
    for number, each in enumerate(maps):
        if each.shared is None:
            if each.hints:
                hint = each.hints[0]
                focal[number], focal_sigma[number] = hint.intrinsics[1, 1], hint.sigma
            continue
        focal[number] = each.shared.camera.focal
        if each.shared.offset is not None:
            offset[number], shift_sigma[number] = each.shared.offset[1], 0
        elif each.shared.shifts is not None:
            shift[number] = each.shared.shift_of(each.file)
    return recovery.Known(focal, focal_sigma, shift, offset, shift_sigma)


def _recovered(
    each: Map,
    batch: recovery.Estimates,
    number: int,
    check: map_checks.MapCheck,
    config: RecoveryConfig,
) -> Recovered:
    estimate = batch.at(number, config.space)
    if estimate is None:
        return Recovered(each.file, each, error=NOT_SOLVABLE)
    canonical = float(batch.canonical_scale[number]), float(batch.canonical_offset[number])
    numbers = [estimate.focal, estimate.shift, estimate.a, estimate.b, *canonical]
    if not np.isfinite(numbers).all() or estimate.focal <= 0:
        return Recovered(each.file, each, error=NOT_FINITE)
    if each.shared is not None:
        estimate = each.shared.applied(each.file, estimate, canonical)
    estimate = estimate._replace(flags=(*estimate.flags, *check.flags))
    dropped = bool(batch.map_wins[number])
    lines = None
    if batch.lines is not None and each.segments is not None:
        lines = batch.lines.at(number)
    return Recovered(each.file, each, estimate, canonical, check, hint_dropped=dropped, lines=lines)


def _in_metres(recovered: Recovered, metres: float, config: RecoveryConfig) -> Recovered:
    """The same with depth in metres, given those of one unit of the map."""
    estimate = recovered.estimate
    if estimate is None:
        return recovered
    # An exact shift of 0 comes out with float32's roundings of the canonical form.
    b = 0.0 if config.shift_is_exact else estimate.b * metres / estimate.a
    return recovered._replace(estimate=estimate._replace(a=metres, b=b), metric=True)


def write(recovered: Recovered, config: RecoveryConfig, origin: Origin) -> dict[str, Any]:
    """Writes all files of a map, its answer last; of a map without an estimate the answer alone.

    Returns:
      The answer, as `answers.answer`.

    Raises:
      UserError: a file cannot be written, or a fact on the map cannot be measured.
      OSError: a file of an earlier run cannot be removed.
    """
    saving.remove(config.out, recovered.file.name)
    flags: tuple[str, ...] = ()
    if not recovered.error:
        recovered = placing.placed(recovered, config)
        flags = saving.save(recovered, config, _unit(recovered, origin))
    answer = answer_of(recovered, config, origin, flags)
    answers.write_answer(config.out / f"{recovered.file.name}.json", answer)
    return answer


def _unit(recovered: Recovered, origin: Origin) -> str:
    """The unit of recovered depth."""
    return "metres" if origin.metric or recovered.metric else "arbitrary"


def answer_of(
    recovered: Recovered, config: RecoveryConfig, origin: Origin, flags: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The contents of a map's JSON.

    Args:
      recovered: the map with its estimate, or with the reason why it has none.
      config: settings of the run.
      origin: of the answer.
      flags: on the image that colours the cloud.
    """
    estimate, canonical = recovered.estimate, recovered.canonical
    if config.reading.negate and estimate is not None and canonical is not None:
        # a and b are for the file's own values, which have the other sign.
        estimate = estimate._replace(a=-estimate.a)
        canonical = -canonical[0], canonical[1]
    hints = () if recovered.map is None else recovered.map.hints
    place = recovered.placed
    return answers.answer(
        input_name=recovered.file.label,
        space=config.space,
        size=None if recovered.map is None else recovered.map.size,
        solution=estimate,
        canonical=canonical,
        metric=origin.metric or recovered.metric,
        model=origin.model,
        method=origin.method,
        intrinsics=None if recovered.map is None else recovered.map.intrinsics,
        focal_source=_focal_source(recovered),
        hints=[(hint.source, hint.origin, hint.intrinsics[1, 1], hint.sigma) for hint in hints],
        segments=_segments_of(recovered, config),
        findings=recovered.lines,
        upright=None if place is None else place.upright,
        pose=None if place is None else place.pose,
        metres=None if place is None else place.metres,
        flags=(*(() if place is None else place.flags), *flags),
        settings=origin.settings,
        error=recovered.error,
    )


def _segments_of(recovered: Recovered, config: RecoveryConfig) -> int | None:
    """How many segments a map's image has; None where it has none that may be evidence."""
    depth_map = recovered.map
    colours = None if depth_map is None else depth_map.colours
    if depth_map is None or colours is None or colours.pixels is None or not config.lines:
        return None
    return 0 if depth_map.segments is None else int(depth_map.segments.mask.sum())


def _focal_source(recovered: Recovered) -> str:
    """Where the focal length of an answer is from, as its JSON names it."""
    shared = None if recovered.map is None else recovered.map.shared
    if shared is not None:
        return shared.source
    hints = () if recovered.map is None else recovered.map.hints
    return "map" if recovered.hint_dropped or not hints else hints[0].source


def reason(file: DepthFile, error: BaseException) -> str:
    """What went wrong with a map, without its path, which is printed beside it."""
    if isinstance(error, MemoryError):
        return "needs more memory than there is"
    if isinstance(error, OSError):
        return f"cannot be written: {error.strerror or ' '.join(str(error).split())}"
    if isinstance(error, DataError) and error.file == str(file.path):
        return error.reason_spelled(program.flag_of)
    message = program.message(error) if isinstance(error, UserError) else str(error)
    return " ".join(message.split())
