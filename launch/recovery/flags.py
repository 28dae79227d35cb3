"""The flags of launch.infer, and the configuration that they make."""

import dataclasses
from pathlib import Path
from typing import Any, cast

from absl import flags

from data.user_maps.depth_files import Listing
from launch.recovery import camera_flags, placement_flags, shared_flags
from launch.recovery.config import GUESS, METHODS, NO_NETWORK, REMOVED_METHODS, RecoveryConfig
from launch.recovery.shards import shard_of

_INPUT = flags.DEFINE_string(
    "input", None, "A depth map, a folder of them, or a pattern in quotes ('a/**/depth_*.png').",
    required=True,
)  # fmt: skip
_OUT = flags.DEFINE_string("out", None, "Folder for the answers.", required=True)
_SPACE = flags.DEFINE_enum(
    "space", None, ["depth", "disparity", "log", GUESS],
    "What the maps hold, up to scale and shift: depth (metric networks, sensors), disparity "
    "(MiDaS, DPT, Depth Anything) or log (Pixel-Perfect Depth; geometry alone); guess decides "
    "between depth and disparity from the statistics of all maps.  Not needed where --from says "
    "it.",
)  # fmt: skip


class _MethodParser(flags.EnumParser):
    """Says of a method that was removed what to use."""

    def parse(self, argument: str) -> Any:
        if argument in REMOVED_METHODS:
            raise ValueError(REMOVED_METHODS[argument])
        return super().parse(argument)


_METHOD = flags.DEFINE(
    _MethodParser(METHODS), "method", "learned",
    "learned: the networks; geometric: geometry alone, which needs no --model, and is what "
    "--space=log takes.",
    serializer=flags.ArgumentSerializer(),
)  # fmt: skip
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 16, "Maps solved at once.", lower_bound=1)

_SHARED_CAMERA = flags.DEFINE_bool(
    "shared_camera", False, "One camera took all maps; estimate its focal length from all together."
)

_RESUME = flags.DEFINE_bool("resume", False, "Keep the answers of an earlier run.")
_SHARD = flags.DEFINE_string(
    "shard", None, "2/8: recover the second of eight parts, here or elsewhere; then --merge."
)
_MERGE = flags.DEFINE_bool(
    "merge", False, "Write the summaries of answers that shards with the same flags have left."
)
flags.adopt_module_key_flags(camera_flags)
flags.adopt_module_key_flags(shared_flags)
flags.adopt_module_key_flags(placement_flags)
flags.register_multi_flags_validator(
    ["space", "from"], shared_flags.has_space, shared_flags.NO_SPACE
)


def configuration() -> tuple[RecoveryConfig, Listing]:
    """The configuration that the flags make, and the maps that it names.

    Prints a guessed space, and that no network covers log depth.

    Prints a line, too, where a file looks like those of a producer that the flags contradict.

    Raises:
      UserError: flags exclude each other, there is no map, or the space cannot be guessed.
    """
    from launch.recovery import producer_notes, space_guess  # start-up: they import JAX
    from launch.recovery.one_map import find_maps

    space, method = shared_flags.space(), _METHOD.value
    if space == "log" and not flags.FLAGS["method"].present:
        method = "geometric"
        print(NO_NETWORK, flush=True)
    config = RecoveryConfig(
        input=Path(_INPUT.value),
        out=Path(_OUT.value),
        runs=shared_flags.runs() if _needs_networks(method) else (),
        space=cast(Any, "depth" if space == GUESS else space),
        method=cast(Any, method),
        batch_size=_BATCH_SIZE.value,
        camera=camera_flags.known_camera(),
        shared_camera=_SHARED_CAMERA.value,
        reading=shared_flags.reading(),
        saving=shared_flags.saving(),
        placing=placement_flags.placement(),
        resume=_RESUME.value,
        shard=shard_of(_SHARD.value, _MERGE.value),
        merge=_MERGE.value,
        **shared_flags.known(),
    )
    listing = find_maps(config)
    if space == GUESS:
        guess = space_guess.guess(listing.files, config.reading)
        print(guess.text, flush=True)
        config = dataclasses.replace(config, space=guess.space, reading=guess.reading)
    if line := producer_notes.contradiction(listing, config):
        print(line, flush=True)
    return config, listing


def _needs_networks(method: str) -> bool:
    """Geometry alone is compared with networks only where --model is given."""
    return method != "geometric" or shared_flags.model_was_given()
