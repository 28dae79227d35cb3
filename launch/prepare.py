"""Prepares depth maps and cameras of ScanNet, 3D Ken Burns and Taskonomy for training.

    python -m launch.prepare -ss scannet -sk kenburns -st taskonomy -ns 100,50,50 --out prepared

Each dataset is optional; what is not given is counted 0.  The samples are spread over the scenes as
evenly as their sizes allow.  The prepared set comes to be in --out, with a picture of its focal
lengths, fields of view and scales.
"""

from pathlib import Path

from absl import flags

from data import distributions
from data.prepare import PrepareConfig, prepare
from launch import program
from train3d_jax.errors import UserError

_SCANNET = flags.DEFINE_string(
    "scannet", None, "Folder of ScanNet: holds scans/, or the scenes themselves.", short_name="ss"
)
_KENBURNS = flags.DEFINE_string(
    "kenburns", None, "Folder of 3D Ken Burns: holds rgb/ and depths/.", short_name="sk"
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


def main() -> None:
    """Prepares what the flags ask for."""
    config = config_from_flags()
    summary = prepare(config)
    if summary.already:
        print(f"{config.out}: is finished already, with the same settings; nothing to do")
        return
    print(f"{config.out}: {summary}; see {distributions.PICTURE} there")


def config_from_flags() -> PrepareConfig:
    """The flags as a checked configuration.  Raises UserError."""
    if not _OUT.value:
        raise UserError("--out is missing: give a folder for the prepared set")
    if _NUM_SAMPLES.value is None:
        raise UserError("--num_samples is missing: give three counts, such as 100,50,50")
    try:
        counts = tuple(int(count) for count in _NUM_SAMPLES.value.split(","))
    except ValueError:
        raise UserError(
            f"--num_samples={_NUM_SAMPLES.value}: give three whole numbers, such as 100,50,50"
        ) from None
    roots = (_SCANNET.value, _KENBURNS.value, _TASKONOMY.value)
    return PrepareConfig(
        roots=tuple(Path(root) if root else None for root in roots),
        num_samples=counts,
        out=Path(_OUT.value),
        seed=_SEED.value,
        num_workers=_NUM_WORKERS.value,
    )


if __name__ == "__main__":
    program.run(main)
