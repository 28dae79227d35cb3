"""The flags of launch.view, and the configuration that they make."""

import dataclasses
from pathlib import Path
from typing import Any, cast

from absl import flags

from launch.recovery import camera_flags, shared_flags
from launch.recovery.config import GUESS, NO_NETWORK, RecoveryConfig
from launch.viewer.config import ViewConfig
from train3d_jax.errors import UserError

_INPUT = flags.DEFINE_string(
    "input", None, "A depth map, a folder of them, or a pattern in quotes ('a/**/depth_*.png')."
)
_DATA = flags.DEFINE_string(
    "data", None, "In place of --input: a prepared set or a folder with a manifest.json."
)
_SPACE = flags.DEFINE_enum(
    "space", None, ["depth", "disparity", "log", GUESS],
    "What the maps hold, up to scale and shift: depth (metric networks, sensors), disparity "
    "(MiDaS, DPT, Depth Anything) or log (Pixel-Perfect Depth; geometry alone); guess decides "
    "between depth and disparity from the statistics of all maps.  With --data, the space that "
    "depth is converted to.  Not needed where --from says it.",
)  # fmt: skip
_OUT = flags.DEFINE_string("out", "recovered", "Folder for what is saved.")
_HOST = flags.DEFINE_string(
    "host", "127.0.0.1", "Address to listen at; 0.0.0.0 lets other machines in, without a password."
)
_PORT = flags.DEFINE_integer("port", 8080, "Port; 0 takes any.", lower_bound=0, upper_bound=65535)
flags.adopt_module_key_flags(camera_flags)
flags.adopt_module_key_flags(shared_flags)
flags.register_multi_flags_validator(
    ["space", "from"], shared_flags.has_space, shared_flags.NO_SPACE
)


_OF_INPUT = ("rgb", "from", "focal_px", "fov_deg", "intrinsics")


@flags.multi_flags_validator(
    ["input", "data", *_OF_INPUT],
    "give --input (and --rgb, --from, --focal_px, --fov_deg, --intrinsics), or --data",
)
def _one_source(values: dict[str, Any]) -> bool:
    return (values["input"] is None) != (values["data"] is None) and (
        values["data"] is None or all(values[name] is None for name in _OF_INPUT)
    )


def configuration() -> ViewConfig:
    """The configuration that the flags make.

    Prints a guessed space, and that no network covers log depth.

    Raises:
      UserError: there is no map, or the space cannot be guessed.
    """
    from launch.recovery import producer_notes, space_guess  # start-up: they import JAX
    from launch.recovery.one_map import find_maps

    space = shared_flags.space()
    guessed = space == GUESS
    if guessed and _DATA.value is not None:
        raise UserError("--space=guess: the maps of --data hold depth; give depth or disparity")
    named = shared_flags.model_was_given()
    runs = shared_flags.runs()
    if space == "log" and not named:
        runs = ()
        print(NO_NETWORK, flush=True)
    config = RecoveryConfig(
        input=Path(_INPUT.value or _DATA.value or ""),
        out=Path(_OUT.value),
        runs=runs,
        space=cast(Any, "depth" if guessed else space),
        method="learned" if runs else "geometric",
        camera=camera_flags.known_camera(),
        reading=shared_flags.reading(),
        saving=shared_flags.saving(),
        **shared_flags.known(),
    )
    listing = find_maps(config) if _DATA.value is None else None
    if guessed and listing is not None:
        guess = space_guess.guess(listing.files, config.reading)
        print(guess.text, flush=True)
        config = dataclasses.replace(config, space=guess.space, reading=guess.reading)
    if listing is not None and (line := producer_notes.contradiction(listing, config)):
        print(line, flush=True)
    return ViewConfig(config, listing, _HOST.value, _PORT.value, named)
