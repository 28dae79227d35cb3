"""Prepares depth maps and cameras of ScanNet, 3D Ken Burns and Taskonomy for training.

    python -m launch.prepare -ss scannet -sk kenburns -st taskonomy -ns 100,50,50 --out prepared

Each dataset is optional; what is not given is counted 0.  The samples are spread over the scenes as
evenly as their sizes allow.  What is broken is told in quarantine.jsonl and replaced.  A run that
was interrupted goes on with the same command.  --verify and --repair need --out alone.
"""

import sys
from pathlib import Path

from absl import flags

from data.parallel.work import workers
from data.prepare import contact_sheet, distributions, plan
from data.prepare.preparation import PrepareConfig, prepare
from data.prepare.verify import repair, verify
from data.prepared import layout
from data.validity import DEFAULT_MIN_VALID
from launch import program
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
_SEED = flags.DEFINE_integer("seed", 0, "Decides which samples are taken.")
_NUM_WORKERS = flags.DEFINE_integer(
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
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Tell what would be taken, and write nothing.")
_VERIFY = flags.DEFINE_bool("verify", False, "Name every file of --out that is missing or changed.")
_REPAIR = flags.DEFINE_bool("repair", False, "Make the files again that --verify names.")


def main() -> int | None:
    """Does what the flags ask for."""
    if _VERIFY.value or _REPAIR.value:
        return _check_set(_out())
    config = config_from_flags()
    if _DRY_RUN.value:
        print(*plan.select(config), sep="\n")
        return None
    try:
        summary = prepare(config)
    except KeyboardInterrupt:
        print(f"{config.out}: what is done stays; the same command goes on", file=sys.stderr)
        raise
    if summary.already:
        print(f"{config.out}: is finished already, with the same settings; nothing to do")
    else:
        pictures = f"{distributions.PICTURE} and {contact_sheet.PICTURE}"
        print(f"{config.out}: {summary}; see {pictures} there")
    return None


def config_from_flags() -> PrepareConfig:
    """The flags as a checked configuration.  Raises UserError."""
    if _NUM_SAMPLES.value is None:
        raise UserError("--num_samples is missing: give three counts, such as 100,50,50")
    try:
        counts = tuple(int(count) for count in _NUM_SAMPLES.value.split(","))
    except ValueError:
        raise UserError(
            f"--num_samples={_NUM_SAMPLES.value}: give three whole numbers, such as 100,50,50"
        ) from None
    return PrepareConfig(
        roots=tuple(_roots().values()),
        scheduler=_scheduler(),
        num_samples=counts,
        out=Path() if _DRY_RUN.value else _out(),
        seed=_SEED.value,
        num_workers=_NUM_WORKERS.value,
        format=_FORMAT.value,
        max_depth_m=_MAX_DEPTH_M.value,
        min_valid=_MIN_VALID.value,
        max_bad_fraction=_MAX_BAD_FRACTION.value,
    )


def _roots() -> dict[str, Path | None]:
    values = (_SCANNET.value, _KENBURNS.value, _TASKONOMY.value)
    return {
        name: _path(root) if root else None for name, root in zip(plan.READERS, values, strict=True)
    }


def _out() -> Path:
    if not _OUT.value:
        raise UserError("--out is missing: give a folder for the prepared set")
    return _path(_OUT.value)


def _path(folder: str) -> Path:
    """Absolute where workers elsewhere are to find it too."""
    return Path(folder).absolute() if _scheduler() else Path(folder)


def _scheduler() -> str | None:
    if (_EXECUTOR.value == "dask") != bool(_SCHEDULER.value):
        raise UserError("--executor=dask and --scheduler=tcp://host:8786 go together: give both")
    return _SCHEDULER.value


def _check_set(out: Path) -> int:
    """Tells what is not as it was; the exit status."""
    left = mended = 0
    with workers(_NUM_WORKERS.value, _scheduler()) as (executor, number):
        if _REPAIR.value:
            for fault, done in repair(out, _roots(), executor, number):
                print(f"{out}/{fault}{', made again' if done else ''}")
                mended, left = mended + done, left + (not done)
        else:
            for fault in verify(out, executor, number):
                print(f"{out}/{fault}")
                left += 1
    again = f"{mended} files made again, " if mended else ""
    print(f"{out}: {again}{left} files are not as they were")
    return program.EXIT_SOME_FAILED if left else 0


if __name__ == "__main__":
    program.run(main)
