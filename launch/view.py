"""Shows depth maps in the browser: drag field of view and shift, and see rooms bend and straighten.

    python -m launch.view --input DEPTH_MAPS --space depth

Then open http://127.0.0.1:8080.  Ctrl-C ends it.  With --data in place of --input it shows a
prepared set, or a folder with a manifest.json, beside its truth.
"""

import importlib.util
import signal
import time
from pathlib import Path
from typing import cast

from absl import flags

from launch import compiled, program
from launch.recovery import reading_flags
from launch.recovery.config import RecoveryConfig
from launch.recovery.saving import SaveSettings
from train3d_jax.errors import UserError
from train3d_jax.geometry.affine import Space
from train3d_jax.inference.models import DEFAULT, check_models, load_model

_INPUT = flags.DEFINE_string(
    "input", None, "A depth map, a folder of them, or a pattern in quotes ('a/**/depth_*.png')."
)
_DATA = flags.DEFINE_string(
    "data", None, "In place of --input: a prepared set or a folder with a manifest.json."
)
_SPACE = flags.DEFINE_enum(
    "space", None, ["depth", "disparity"],
    "What the maps hold, up to scale and shift: depth (metric networks, sensors) or disparity "
    "(MiDaS, DPT, Depth Anything); of --data, what is made of them.", required=True,
)  # fmt: skip
_MODEL = flags.DEFINE_list(
    "model", [DEFAULT], "Runs of launch.train that together cover shift and focal length; default "
    "for the weights that come along; --model= leaves geometry.",
)  # fmt: skip
_RGB = flags.DEFINE_string(
    "rgb", None,
    "Folder of images (.png, .jpg) that colour the clouds; or the image of a single map.",
)  # fmt: skip
_OUT = flags.DEFINE_string("out", "recovered", "Folder for what is saved.")
_HOST = flags.DEFINE_string(
    "host", "127.0.0.1", "Address to listen at; 0.0.0.0 lets other machines in, without a password."
)
_PORT = flags.DEFINE_integer("port", 8080, "Port; 0 takes any.", lower_bound=0, upper_bound=65535)
flags.adopt_module_key_flags(reading_flags)


@flags.multi_flags_validator(["input", "data", "rgb"], "give --input (and --rgb), or --data")
def _one_source(values: dict[str, str | None]) -> bool:
    return (values["input"] is None) != (values["data"] is None) and (
        values["rgb"] is None or values["data"] is None
    )


def main() -> None:
    """From flags to a page; ends with Ctrl-C or SIGTERM."""
    if importlib.util.find_spec("viser") is None:
        raise UserError("the viewer needs viser: pip install 'train3d-jax[view]'")
    from launch.viewer.maps import entries_of_folder, entries_of_set
    from launch.viewer.server import Server
    from launch.viewer.window import Exhibition

    for number in (signal.SIGTERM, signal.SIGINT):  # the latter is ignored in a script's background
        signal.signal(number, signal.default_int_handler)
    compiled.start()
    source = Path(_INPUT.value or _DATA.value or "")
    config = RecoveryConfig(
        source,
        Path(_OUT.value),
        tuple(Path(run) for run in _MODEL.value),
        cast(Space, _SPACE.value),
        "learned" if _MODEL.value else "geometric",
        reading=reading_flags.settings(),
        saving=SaveSettings(rgb=None if _RGB.value is None else Path(_RGB.value)),
    )
    find = entries_of_folder if _DATA.value is None else entries_of_set
    entries = find(config)
    try:
        models = [load_model(run, config.space) for run in config.runs]
    except UserError as error:
        raise UserError(f"{program.message(error)}; --model= shows maps without networks") from None
    if models:
        check_models(models, config.space, focal_known=False)
    named = flags.FLAGS["model"].present > 0
    server = Server(
        Exhibition(entries, config, models, named, truth=_DATA.value is not None),
        _HOST.value,
        _PORT.value,
    )
    try:
        address = f"http://{_HOST.value}:{server.get_port()}"
        many = f"{len(entries)} maps" if len(entries) > 1 else "1 map"
        print(f"{address} shows {many} of {source}; Ctrl-C ends it", flush=True)
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        print()
    finally:
        server.stop()


if __name__ == "__main__":
    program.run(main)
