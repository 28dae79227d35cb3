"""The flags of launch.prepare, and the configuration that they make."""

from pathlib import Path

from absl import flags

from data.prepare import plan
from data.prepare.plan import PrepareConfig
from data.prepared import layout
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
_NUM_SAMPLES = flags.DEFINE_string(
    "num_samples",
    None,
    "How many depth maps to take of ScanNet, 3D Ken Burns and Taskonomy, in this order, such as"
    " 100,50,50.",
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
        raise UserError("--num_samples is missing: give three counts, such as 100,50,50")
    try:
        counts = tuple(int(count) for count in _NUM_SAMPLES.value.split(","))
    except ValueError:
        raise UserError(
            f"--num_samples={_NUM_SAMPLES.value}: give three whole numbers, such as 100,50,50"
        ) from None
    return PrepareConfig(
        roots=tuple(roots().values()),
        scheduler=scheduler(),
        num_samples=counts,
        out=Path() if DRY_RUN.value else out(),
        seed=_SEED.value,
        num_workers=NUM_WORKERS.value,
        format=_FORMAT.value,
        max_depth_m=_MAX_DEPTH_M.value,
        min_valid=_MIN_VALID.value,
        max_bad_fraction=_MAX_BAD_FRACTION.value,
    )


def roots() -> dict[str, Path | None]:
    """The folders of the datasets, by name; None where one is not given."""
    values = (_SCANNET.value, _KENBURNS.value, _TASKONOMY.value)
    return {
        name: _path(root) if root else None for name, root in zip(plan.READERS, values, strict=True)
    }


def out() -> Path:
    """The folder of the set.  Raises UserError where it is not given."""
    if not _OUT.value:
        raise UserError("--out is missing: give a folder for the prepared set")
    return _path(_OUT.value)


def _path(folder: str) -> Path:
    """Absolute where workers on other machines are to find it."""
    return Path(folder).absolute() if scheduler() else Path(folder)


def scheduler() -> str | None:
    """Address of the Dask scheduler; None for processes of this machine.  Raises UserError."""
    if (_EXECUTOR.value == "dask") != bool(_SCHEDULER.value):
        raise UserError("--executor=dask and --scheduler=tcp://host:8786 go together: give both")
    return _SCHEDULER.value
