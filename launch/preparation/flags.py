"""The flags of launch.prepare, and the configuration that they make."""

import math
from pathlib import Path

from absl import flags

from data.prepare import plan, sources
from data.prepare.plan import PrepareConfig
from data.prepared import layout
from data.user_maps.listed_maps import MANIFEST
from data.validity import DEFAULT_MIN_VALID
from train3d_jax.errors import UserError

_SCANNET = flags.DEFINE_string(
    "scannet",
    None,
    "Folder of ScanNet: holds scans/, or the scenes themselves, as .sens or frames.",
    short_name="ss",
)
_KENBURNS = flags.DEFINE_string(
    "kenburns",
    None,
    "Folder of 3D Ken Burns: its unpacked archives, or rgb/ and depths/.",
    short_name="sk",
)
_TASKONOMY = flags.DEFINE_string(
    "taskonomy", None, "Folder of Taskonomy: holds depth_zbuffer/ and point_info/.", short_name="st"
)
_MAPS = flags.DEFINE_string(
    "maps",
    None,
    f"Own depth maps: a {MANIFEST} as launch.evaluate reads it, or a folder that holds one.",
)
_NERFSTUDIO = flags.DEFINE_string(
    "nerfstudio", None, "Folder of captures as nerfstudio has them: transforms.json and depth."
)
_TUM = flags.DEFINE_string(
    "tum", None, "Folder of captures as TUM RGB-D has them: depth.txt and depth/*.png."
)
_RECORD3D = flags.DEFINE_string(
    "record3d", None, "Folder of recordings of Record3D: .r3d, or exported as EXR."
)
_TUM_CAMERA = flags.DEFINE_list(
    "tum_camera",
    None,
    "fx,fy,cx,cy of the captures of --tum, in pixels of their depth maps; not needed where they"
    " have a calibration.txt or are TUM's own.",
)
_NUM_SAMPLES = flags.DEFINE_string(
    "num_samples",
    None,
    "How many depth maps to take of ScanNet, 3D Ken Burns and Taskonomy, in this order, such as"
    " 100,50,50; and behind them of each folder of own captures, in the order of their flags. The"
    " latter alone do where no dataset is given, as --maps mine --num_samples 200.",
    short_name="ns",
)
_OUT = flags.DEFINE_string("out", None, "Folder for the prepared set; new, empty or unfinished.")
_SEED = flags.DEFINE_integer("seed", 0, "Decides which samples are drawn.")
NUM_WORKERS = flags.DEFINE_integer(
    "num_workers", 2, "Processes that read and write; 0: this one. The result is the same."
)
_EXECUTOR = flags.DEFINE_enum(
    "executor",
    "processes",
    ("processes", "dask"),
    "processes: --num_workers of this machine; dask: the workers of --scheduler. The result is the"
    " same.",
)
_SCHEDULER = flags.DEFINE_string(
    "scheduler", None, "Address of a Dask scheduler, such as tcp://host:8786; all folders must be"
    " on storage that its workers share.",
)  # fmt: skip
_FORMAT = flags.DEFINE_enum(
    "format",
    layout.NPZ,
    layout.FORMATS,
    "npz: two files a sample, as the original Train-3D; array_record: shards, depth in 16 bits,"
    " three times as fast to read.",
)
_MAX_DEPTH_M = flags.DEFINE_float("max_depth_m", None, "Depth beyond these metres is missing.")
_MIN_VALID = flags.DEFINE_float(
    "min_valid", DEFAULT_MIN_VALID, "Maps with a smaller share of valid pixels are not taken."
)
_MAX_BAD_FRACTION = flags.DEFINE_float(
    "max_bad_fraction",
    plan.DEFAULT_MAX_BAD_FRACTION,
    "Stop when more is broken than this share of all that is read.",
)
DRY_RUN = flags.DEFINE_bool("dry_run", False, "Print what would be taken, and write nothing.")
VERIFY = flags.DEFINE_bool("verify", False, "Name every file of --out that is missing or changed.")
REPAIR = flags.DEFINE_bool("repair", False, "Write the files that --verify names again.")


def configuration() -> PrepareConfig:
    """The configuration that the flags make.  Raises UserError where values exclude each other."""
    if _NUM_SAMPLES.value is None:
        raise UserError(
            "--num_samples is missing: give three counts, such as 100,50,50, or one for each folder"
            " of own captures"
        )
    try:
        counts = tuple(int(count) for count in _NUM_SAMPLES.value.split(","))
    except ValueError:
        raise UserError(
            f"--num_samples={_NUM_SAMPLES.value}: give whole numbers, three such as 100,50,50 for"
            " the datasets, and one for each folder of own captures"
        ) from None
    return PrepareConfig(
        roots=_given_roots(),
        scheduler=scheduler(),
        num_samples=counts,
        out=Path() if DRY_RUN.value else out(),
        seed=_SEED.value,
        num_workers=NUM_WORKERS.value,
        format=_FORMAT.value,
        max_depth_m=_MAX_DEPTH_M.value,
        min_valid=_MIN_VALID.value,
        max_bad_fraction=_MAX_BAD_FRACTION.value,
        tum_camera=_tum_camera(),
    )


def roots() -> dict[str, Path | None]:
    """The folders of the datasets, by name; None where one is not given."""
    return {name: _path(flag.value) if flag.value else None for name, flag in _FOLDERS.items()}


_FOLDERS = {
    "scannet": _SCANNET,
    "kenburns": _KENBURNS,
    "taskonomy": _TASKONOMY,
    "maps": _MAPS,
    "nerfstudio": _NERFSTUDIO,
    "tum": _TUM,
    "record3d": _RECORD3D,
}
"""In the order of `sources.READERS` and `sources.OWN_READERS`."""


def _given_roots() -> tuple[Path | None, ...]:
    """The folders of the datasets; with those of own captures where one is given."""
    folders = tuple(roots().values())
    datasets = len(sources.READERS)
    return folders if any(folders[datasets:]) else folders[:datasets]


def _tum_camera() -> sources.Camera | None:
    if _TUM_CAMERA.value is None:
        return None
    given = f"--tum_camera={','.join(_TUM_CAMERA.value)}"
    try:
        fx, fy, cx, cy = (float(number) for number in _TUM_CAMERA.value)
        if not (0 < fx < math.inf and 0 < fy < math.inf and math.isfinite(cx + cy)):
            raise ValueError
    except ValueError:
        raise UserError(
            f"{given}: give fx,fy,cx,cy in pixels of the depth maps, such as 525,525,319.5,239.5"
        ) from None
    if not _TUM.value:
        raise UserError(f"{given}: is for captures of --tum, which is not given")
    return fx, fy, cx, cy


def out() -> Path:
    """The folder of the set.  Raises UserError where it is not given."""
    if not _OUT.value:
        raise UserError("--out is missing: give a folder for the prepared set")
    return _path(_OUT.value)


def _path(folder: str) -> Path:
    """Absolute where workers on other machines are to find it; of a manifest, its folder."""
    path = Path(folder)
    path = path.parent if path.name == MANIFEST and path.is_file() else path
    return path.absolute() if scheduler() else path


def scheduler() -> str | None:
    """Address of the Dask scheduler; None for processes of this machine.  Raises UserError."""
    if (_EXECUTOR.value == "dask") != bool(_SCHEDULER.value):
        raise UserError("--executor=dask and --scheduler=tcp://host:8786 go together: give both")
    return _SCHEDULER.value
